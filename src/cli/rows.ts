/**
 * Rows about pods and proxies, as the mesh hands them to the commands: the form of `-o json`. Pure.
 */
import type { ProxyStatus } from "../ads/status.ts";
import type { PodManifest, PodStatus } from "../world/pod.ts";
import type { World } from "../world/world.ts";

export interface PodRow {
  readonly namespace: string;
  readonly name: string;
  readonly serviceAccount: string;
  readonly phase: PodStatus["phase"];
  readonly ready: boolean;
  /** Ready containers of all, as `1/2`. */
  readonly readyContainers: string;
  readonly terminating: boolean;
  readonly restarts: number;
  readonly ip?: string;
  /** ISO 8601. */
  readonly startedAt?: string;
  /** Why it is not running or not ready. */
  readonly reason?: string;
  readonly containers: readonly string[];
}

export interface ProxyRow extends ProxyStatus {
  /** `namespace/name`; absent when no pod has this proxy. */
  readonly pod?: string;
}

export function podRow(manifest: PodManifest, status: PodStatus | undefined): PodRow {
  const { ip, startedAt, reason } = status ?? {};
  return {
    namespace: manifest.metadata.namespace,
    name: manifest.metadata.name,
    serviceAccount: manifest.spec.serviceAccountName,
    phase: status?.phase ?? "Pending",
    ready: status?.ready ?? false,
    readyContainers: status?.containers ?? `0/${manifest.spec.containers.length}`,
    terminating: status?.terminating ?? false,
    restarts: status?.restarts ?? 0,
    ...(ip !== undefined && { ip }),
    ...(startedAt !== undefined && { startedAt: new Date(startedAt).toISOString() }),
    ...(reason !== undefined && { reason }),
    containers: manifest.spec.containers.map((c) => c.name),
  };
}

export function proxyRows(proxies: readonly ProxyStatus[], world: World): ProxyRow[] {
  const pods = new Map<string, string>();
  // A proxy's id is a label that users may write: pods of other accounts may bear it too.
  const key = (id: string, identity: string) => `${identity} ${id}`;
  for (const objects of world.tables.Pod.values())
    for (const pod of objects.values()) pods.set(key(pod.proxyId, pod.workload.identity), pod.name);
  return proxies.map((proxy) => {
    const pod = pods.get(key(proxy.id, proxy.identity));
    return pod === undefined ? { ...proxy } : { ...proxy, pod };
  });
}
