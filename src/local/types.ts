/**
 * What the runtime of local pods is given by others: commands for images, and sidecars for pods.
 */
import type { Container, PodManifest } from "../world/pod.ts";

/** The local command that stands for a container's image. */
export interface ResolvedImage {
  readonly argv: readonly string[];
  readonly cwd?: string;
  /** All of it, the container's own `env` included: nothing is inherited. */
  readonly env?: Readonly<Record<string, string>>;
  /** Whether it is our own server that stands in for an image without a mapping. */
  readonly standIn: boolean;
}

export interface Images {
  /** `ip`: the pod's address, for the downward API. */
  resolve(container: Container, pod: PodManifest, ip: string): ResolvedImage;
}

export interface Sidecar {
  /** Envoy and its arguments. Runs as uid and gid 1500 in the directory of its files. Needs `--disable-hot-restart`: several share the machine. */
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Name in the sidecar's directory → content; owned by uid 1500. */
  readonly files: Readonly<Record<string, { readonly content: string | Uint8Array; readonly mode: number }>>;
  /** Input of `iptables-restore --noflush`, for the pod's namespace. */
  readonly iptables: string;
  /** Of Envoy's admin interface on the pod's loopback; 15000 when absent. */
  readonly adminPort?: number;
}

/** Where a sidecar will run. */
export interface SidecarPlace {
  readonly ip: string;
  /** Absolute path of the directory that will hold its files. */
  readonly directory: string;
}
