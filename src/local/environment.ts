/**
 * A container's environment as the kubelet makes it: downward API and `$(NAME)` references. Pure.
 */
import type { Container, PodManifest } from "../world/pod.ts";

export interface EnvironmentInput {
  readonly pod: PodManifest;
  readonly container: Container;
  /** The pod's address. */
  readonly ip: string;
  /** What the machine and the image give; the container's own `env` wins. */
  readonly base: Readonly<Record<string, string>>;
}

/** Entries in order: later ones may refer to earlier ones. */
export function environment({ pod, container, ip, base }: EnvironmentInput): Record<string, string> {
  const env: Record<string, string> = { ...base, HOSTNAME: (pod.spec.hostname ?? pod.metadata.name).slice(0, 63) };
  for (const { name, value, valueFrom } of container.env ?? []) {
    const path = valueFrom?.fieldRef?.fieldPath;
    env[name] = path === undefined ? expand(value ?? "", env) : fieldOf(path, pod, ip);
  }
  return env;
}

/** `$(NAME)` of a known variable becomes its value, `$$` a dollar sign; the rest stays as it is written (kubelet's `expansion` package). */
export const expand = (text: string, env: Readonly<Record<string, string>>): string =>
  text.replace(/\$\$|\$\(([^)]*)\)/g, (whole, name?: string) => (name === undefined ? "$" : (env[name] ?? whole)));

function fieldOf(path: string, { metadata, spec }: PodManifest, ip: string): string {
  const keyed = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path);
  if (keyed) return (keyed[1] === "labels" ? metadata.labels : metadata.annotations)[keyed[2] ?? ""] ?? "";
  switch (path) {
    case "metadata.name":
      return metadata.name;
    case "metadata.namespace":
      return metadata.namespace;
    case "metadata.uid":
      return metadata.uid;
    case "spec.serviceAccountName":
      return spec.serviceAccountName;
    case "spec.nodeName":
      return "local";
    case "status.podIP":
    case "status.podIPs":
      return ip;
    case "status.hostIP":
    case "status.hostIPs":
      return "127.0.0.1";
    default:
      return "";
  }
}
