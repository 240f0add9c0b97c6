/**
 * What the owner of the local pods and their control plane say to each other. Plain data: it crosses a process boundary.
 */
import type { NamedService } from "../local/names.ts";
import type { VirtualPort } from "../local/service-rules.ts";
import type { LogLevel } from "../telemetry/log.ts";
import type { PodName } from "../world/names.ts";
import type { PodManifest, PodStatus } from "../world/pod.ts";
import type { Problem } from "../world/types.ts";
import type { Type } from "../xds/resource.ts";

/** The first message to a control plane. */
export interface Start {
  readonly kind: "start";
  /** The folder of YAML. */
  readonly dir: string;
  readonly id: string;
  readonly runDir: string;
  /** Directory of the root certificate. */
  readonly caDir: string;
  readonly host: string;
  readonly port: number;
  readonly podSubnet: string;
  readonly serviceSubnet: string;
  /** Of the debug pages on loopback; 0: any free port. */
  readonly debugPort: number;
  readonly logLevel: LogLevel;
  /** Pods that run already: the control plane may have been away. */
  readonly statuses: readonly (readonly [PodName, PodStatus])[];
  /** What `images.yaml` gave rise to. */
  readonly problems: readonly Problem[];
}

export type ToController =
  | Start
  | { readonly kind: "status"; readonly pod: PodName; readonly status?: PodStatus }
  /** For tests: makes one resource unreadable for Envoy, or (without name) none. */
  | { readonly kind: "tamper"; readonly type?: Type; readonly name?: string }
  /** For tests: every proxy gets a new certificate now. */
  | { readonly kind: "renew" };

export type FromController =
  | { readonly kind: "listening"; readonly debugPort: number }
  | { readonly kind: "pods"; readonly pods: readonly PodManifest[] }
  | { readonly kind: "directory"; readonly names: readonly NamedService[]; readonly ports: readonly VirtualPort[] }
  | State
  /** It cannot run, and trying again will not help. `name` is the error's: it tells a user's mistake from ours. */
  | { readonly kind: "failed"; readonly name: string; readonly message: string };

/** Sent after each publication, and whenever problems change. */
export interface State {
  readonly kind: "state";
  readonly ready: boolean;
  readonly revision: number;
  readonly problems: readonly Problem[];
  /** What changed in meaning since the last message, a line each. */
  readonly changes: readonly string[];
}
