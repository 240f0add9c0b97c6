/**
 * `heddle cleanup`: removes what the control plane made while it ran, after the chart is gone. Whatever is not there is well.
 * A root of trust or settings that it found there and used are somebody else's, and of a root's key there is no other copy: they stay.
 */
import type { KubernetesClient, Preconditions } from "../sources/kubernetes/client.ts";
import { LEASES, metadataOf, SECRETS, type Name, type Resource } from "../sources/kubernetes/resource.ts";
import type { Log } from "../telemetry/log.ts";
import { copiesOf } from "./ca-spread.ts";
import { CONFIG_MAPS } from "./cluster.ts";
import { madeHere } from "./made-here.ts";
import { MESH_CONFIG, MESH_CONFIGS } from "./mesh-config.ts";

export interface CleanupOptions {
  readonly client: KubernetesClient;
  readonly log: Log;
  readonly namespace: string;
  /** Whose copies of the CA's certificate are removed. */
  readonly meshName: string;
  readonly caSecret: string;
  readonly caConfigMap: string;
}

/** Rejects when something could not be removed, after everything was tried. */
export async function cleanup(
  { client, log, namespace, meshName, caSecret, caConfigMap }: CleanupOptions,
  signal: AbortSignal,
): Promise<void> {
  const failed: string[] = [];
  const remove = async (resource: Resource, name: Name, only?: Preconditions) => {
    try {
      if (await client.delete(resource, name, signal, only))
        log.info("removed", { resource: resource.plural, ...name });
    } catch (error) {
      failed.push(`${resource.plural} ${name.namespace ?? ""}/${name.name}: ${String(error)}`);
    }
  };
  const removeOwn = async (resource: Resource, name: Name) => {
    try {
      const found = await client.get(resource, name, signal);
      if (found && madeHere(found)) await remove(resource, name, { uid: metadataOf(found, "uid") });
      else if (found) log.info("left: Heddle did not make it", { resource: resource.plural, ...name });
    } catch (error) {
      failed.push(`${resource.plural} ${name.namespace ?? ""}/${name.name}: ${String(error)}`);
    }
  };
  // What cannot be listed cannot be removed either; the rest can.
  const copies = await copiesOf(client, caConfigMap, meshName, signal).catch((error: unknown) => {
    failed.push(`copies of the CA's certificate: ${String(error)}`);
    return new Map<string, { readonly resourceVersion: string }>();
  });
  for (const [namespace, { resourceVersion }] of copies)
    await remove(CONFIG_MAPS, { namespace, name: caConfigMap }, { resourceVersion });
  await removeOwn(MESH_CONFIGS, { namespace, name: MESH_CONFIG });
  await removeOwn(SECRETS, { namespace, name: caSecret });
  await remove(LEASES, { namespace, name: "heddle-controller" });
  client.close();
  if (failed.length > 0) throw new Error(`could not be removed: ${failed.join("; ")}`);
}
