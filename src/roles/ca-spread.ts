/**
 * The CA's certificate, by which sidecars verify the control plane, as a ConfigMap in every namespace of the mesh; and gone from those that
 * left it, as soon as no pod there has a sidecar. Another mesh's copies, of the same name, are left alone. Knows namespaces and pods as the world has them.
 */
import { realClock } from "../lib/settle.ts";
import { isRaw } from "../lib/json.ts";
import { pause } from "../sources/kubernetes/back-off.ts";
import type { KubernetesClient } from "../sources/kubernetes/client.ts";
import { isConflict, isNotFound } from "../sources/kubernetes/errors.ts";
import { metadataOf } from "../sources/kubernetes/resource.ts";
import type { Log } from "../telemetry/log.ts";
import type { Store } from "../world/store.ts";
import type { World } from "../world/world.ts";
import { CONFIG_MAPS } from "./cluster.ts";

export type CaSpreadApi = Pick<KubernetesClient, "list" | "apply" | "delete">;

export interface CaSpreadOptions {
  readonly client: CaSpreadApi;
  readonly log: Log;
  readonly store: Store;
  /** Whether the cluster has been read to the end: before that a namespace only seems to have no pods. */
  readonly ready: () => boolean;
  /** Of the ConfigMap. */
  readonly name: string;
  /** Stands on each copy: several meshes of a cluster have ConfigMaps of that name. */
  readonly meshName: string;
  /** The field manager. */
  readonly manager: string;
  /** PEM. */
  readonly certificate: string;
  /** Milliseconds between looks when nothing changes; 1 s when absent. */
  readonly every?: number;
}

/** A copy as it was last seen. */
interface Copy {
  readonly certificate: string;
  /** Of exactly this one: a namespace that changes its mesh has the other mesh's copy at any moment. */
  readonly resourceVersion: string;
}

/** On each copy, as on the chart's objects, so that neither another mesh's nor somebody's own ConfigMap of that name is removed. */
const labelsOf = (meshName: string) => ({
  "app.kubernetes.io/part-of": "heddle",
  "app.kubernetes.io/instance": meshName,
});
/** Looks after which what the API server has is looked at anew: a copy that somebody deleted is there again within a minute. */
const LAPS = 60;

/** Runs until the signal. */
export async function spreadCa(options: CaSpreadOptions, signal: AbortSignal): Promise<void> {
  const { log, store, ready } = options;
  /** The copy of a namespace, as far as this replica knows. One without the mesh's name is not among them, so members get theirs anew. */
  let there = new Map<string, Copy>();
  /** What was said of a namespace that has failed since: it is tried again each time, and told once. */
  const said = new Map<string, string>();
  const failed = (what: string, namespace: string, error: unknown): void => {
    if (signal.aborted || isNotFound(error)) return;
    if (said.get(namespace) !== String(error))
      log.warn(`could not ${what} the CA's certificate, tried again until it can be`, {
        namespace,
        error: String(error),
      });
    said.set(namespace, String(error));
  };
  for (let lap = 0; !signal.aborted; lap++) {
    const { world } = store;
    if (lap % LAPS === 0) there = (await copies(options, signal)) ?? there;
    for (const namespace of members(world)) {
      if (signal.aborted) return;
      if (there.get(namespace)?.certificate === options.certificate) continue;
      await write(options, namespace, signal).then(
        (copy) => {
          there.set(namespace, copy);
          said.delete(namespace);
        },
        (error: unknown) => failed("write", namespace, error),
      );
    }
    for (const [namespace, { resourceVersion }] of ready() ? [...there] : []) {
      if (signal.aborted) return;
      if (inUse(world, namespace)) continue;
      await options.client.delete(CONFIG_MAPS, { namespace, name: options.name }, signal, { resourceVersion }).then(
        () => {
          there.delete(namespace);
          said.delete(namespace);
        },
        // Another version is perhaps another mesh's: whose it is, the next list says.
        (error: unknown) => (isConflict(error) ? there.delete(namespace) : failed("remove", namespace, error)),
      );
    }
    await changed(options, world, signal);
  }
}

/** The API server takes nothing new for a namespace that is being deleted. */
const members = (world: World): string[] =>
  [...(world.tables.Namespace.get("")?.values() ?? [])].flatMap(({ name, monitored, terminating }) =>
    monitored && terminating !== true ? [name] : [],
  );

/** A pod's kubelet renews its token only while all that is in the same volume is there, so a sidecar's copy stays as long as it. */
const inUse = (world: World, namespace: string): boolean =>
  world.tables.Namespace.get("")?.get(namespace)?.monitored === true ||
  [...(world.workloads.get(namespace)?.values() ?? [])].some(({ meshed }) => meshed);

async function write(
  { client, name, meshName, manager, certificate }: CaSpreadOptions,
  namespace: string,
  signal: AbortSignal,
): Promise<Copy> {
  const metadata = { name, namespace, labels: labelsOf(meshName) };
  const object = { apiVersion: "v1", kind: "ConfigMap", metadata, data: { "ca.crt": certificate } };
  const applied = await client.apply(CONFIG_MAPS, object, { manager, force: true }, signal);
  return { certificate, resourceVersion: metadataOf(applied, "resourceVersion") };
}

/** Undefined when the API server does not say. */
async function copies(
  { client, log, name, meshName }: CaSpreadOptions,
  signal: AbortSignal,
): Promise<Map<string, Copy> | undefined> {
  try {
    return await copiesOf(client, name, meshName, signal);
  } catch (error) {
    if (!signal.aborted)
      log.warn("could not look which namespaces have the CA's certificate", { error: String(error) });
    return undefined;
  }
}

/** Namespace → copy, of all in the cluster that bear this mesh's name, whoever wrote them. Takes the right to list ConfigMaps of that name only. */
export async function copiesOf(
  client: Pick<KubernetesClient, "list">,
  name: string,
  meshName: string,
  signal: AbortSignal,
): Promise<Map<string, Copy>> {
  const labelSelector = Object.entries(labelsOf(meshName))
    .map((label) => label.join("="))
    .join(",");
  const found = new Map<string, Copy>();
  for (let next = ""; ;) {
    const options = { fieldSelector: `metadata.name=${name}`, labelSelector, limit: 500, next };
    const page = await client.list(CONFIG_MAPS, options, signal);
    for (const item of page.items) {
      const certificate = isRaw(item["data"]) ? item["data"]["ca.crt"] : undefined;
      found.set(metadataOf(item, "namespace"), {
        certificate: typeof certificate === "string" ? certificate : "",
        resourceVersion: metadataOf(item, "resourceVersion"),
      });
    }
    next = page.next;
    if (next === "") return found;
  }
}

/** Resolves when a namespace or the kinds of pods in it are others than in that world, at the latest after a while. */
function changed({ store, every = 1_000 }: CaSpreadOptions, { tables, workloads }: World, signal: AbortSignal) {
  const ending = new AbortController();
  const look = (): void => {
    const { world } = store;
    if (world.tables.Namespace !== tables.Namespace || world.workloads !== workloads) ending.abort();
  };
  const unfollow = store.follow(look);
  look();
  return pause(realClock, every, AbortSignal.any([signal, ending.signal])).finally(unfollow);
}
