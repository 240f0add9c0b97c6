/**
 * `heddle cleanup`: removes what the control plane made while it ran, after the chart is gone. Whatever is not there is well.
 */
import type { KubernetesClient } from "../sources/kubernetes/client.ts";
import { LEASES, metadataOf, SECRETS, type Name, type Resource } from "../sources/kubernetes/resource.ts";
import type { Log } from "../telemetry/log.ts";
import { CONFIG_MAPS } from "./cluster.ts";

export interface CleanupOptions {
  readonly client: KubernetesClient;
  readonly log: Log;
  readonly namespace: string;
  readonly caSecret: string;
  readonly caConfigMap: string;
}

const NAMESPACES: Resource = { group: "", version: "v1", plural: "namespaces" };
const MESH_CONFIGS: Resource = { group: "config.openservicemesh.io", version: "v1alpha2", plural: "meshconfigs" };

/** Rejects when something could not be removed, after everything was tried. */
export async function cleanup(
  { client, log, namespace, caSecret, caConfigMap }: CleanupOptions,
  signal: AbortSignal,
): Promise<void> {
  const failed: string[] = [];
  const remove = async (resource: Resource, name: Name) => {
    try {
      if (await client.delete(resource, name, signal)) log.info("removed", { resource: resource.plural, ...name });
    } catch (error) {
      failed.push(`${resource.plural} ${name.namespace ?? ""}/${name.name}: ${String(error)}`);
    }
  };
  for (let next = ""; ;) {
    const page = await client.list(NAMESPACES, { limit: 500, ...(next ? { next } : {}) }, signal);
    for (const item of page.items)
      await remove(CONFIG_MAPS, { namespace: metadataOf(item, "name"), name: caConfigMap });
    next = page.next;
    if (next === "") break;
  }
  await remove(MESH_CONFIGS, { namespace, name: "osm-mesh-config" });
  await remove(LEASES, { namespace, name: "heddle-controller" });
  await remove(SECRETS, { namespace, name: caSecret });
  client.close();
  if (failed.length > 0) throw new Error(`could not be removed: ${failed.join("; ")}`);
}
