/**
 * The CA's certificate, by which sidecars verify the control plane, as a ConfigMap in every namespace of the mesh; and gone from those that
 * left it, as soon as no pod there has a sidecar. Knows namespaces and pods as the world has them.
 */
import { realClock } from "../lib/settle.ts";
import { isRaw } from "../manifest/reader.ts";
import { pause } from "../sources/kubernetes/back-off.ts";
import type { KubernetesClient } from "../sources/kubernetes/client.ts";
import { isNotFound } from "../sources/kubernetes/errors.ts";
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
  /** The field manager. */
  readonly manager: string;
  /** PEM. */
  readonly certificate: string;
  /** Milliseconds between looks when nothing changes; 1 s when absent. */
  readonly every?: number;
}

/** On each copy, so that somebody's own ConfigMap of that name is never removed. */
export const COPY_LABELS = { "app.kubernetes.io/part-of": "heddle" } as const;
/** Looks after which what the API server has is looked at anew: a copy that somebody deleted is there again within a minute. */
const LAPS = 60;

/** Runs until the signal. */
export async function spreadCa(options: CaSpreadOptions, signal: AbortSignal): Promise<void> {
  const { log, store, ready } = options;
  /** What the copy of a namespace says, as far as this replica knows. */
  let there = new Map<string, string>();
  const failed = (what: string, namespace: string, error: unknown): void => {
    if (!signal.aborted && !isNotFound(error))
      log.warn(`could not ${what} the CA's certificate`, { namespace, error: String(error) });
  };
  for (let lap = 0; !signal.aborted; lap++) {
    const { world } = store;
    if (lap % LAPS === 0) there = (await copies(options, signal)) ?? there;
    for (const namespace of members(world)) {
      if (signal.aborted) return;
      if (there.get(namespace) === options.certificate) continue;
      await write(options, namespace, signal).then(
        () => there.set(namespace, options.certificate),
        (error: unknown) => failed("write", namespace, error),
      );
    }
    for (const namespace of ready() ? [...there.keys()] : []) {
      if (signal.aborted) return;
      if (inUse(world, namespace)) continue;
      await options.client.delete(CONFIG_MAPS, { namespace, name: options.name }, signal).then(
        () => there.delete(namespace),
        (error: unknown) => failed("remove", namespace, error),
      );
    }
    await changed(options, world, signal);
  }
}

const members = (world: World): string[] =>
  [...(world.tables.Namespace.get("")?.values() ?? [])].flatMap(({ name, monitored }) => (monitored ? [name] : []));

/** A pod's kubelet renews its token only while all that is in the same volume is there, so a sidecar's copy stays as long as it. */
const inUse = (world: World, namespace: string): boolean =>
  world.tables.Namespace.get("")?.get(namespace)?.monitored === true ||
  [...(world.workloads.get(namespace)?.values() ?? [])].some(({ meshed }) => meshed);

async function write(
  { client, name, manager, certificate }: CaSpreadOptions,
  namespace: string,
  signal: AbortSignal,
): Promise<void> {
  const metadata = { name, namespace, labels: COPY_LABELS };
  const object = { apiVersion: "v1", kind: "ConfigMap", metadata, data: { "ca.crt": certificate } };
  await client.apply(CONFIG_MAPS, object, { manager, force: true }, signal);
}

/** Undefined when the API server does not say. */
async function copies(
  { client, log, name }: CaSpreadOptions,
  signal: AbortSignal,
): Promise<Map<string, string> | undefined> {
  try {
    return await copiesOf(client, name, signal);
  } catch (error) {
    if (!signal.aborted)
      log.warn("could not look which namespaces have the CA's certificate", { error: String(error) });
    return undefined;
  }
}

/** Namespace → certificate, of all copies of ours in the cluster, whoever wrote them. Takes the right to list ConfigMaps of that name only. */
export async function copiesOf(
  client: Pick<KubernetesClient, "list">,
  name: string,
  signal: AbortSignal,
): Promise<Map<string, string>> {
  const [label] = Object.entries(COPY_LABELS);
  const found = new Map<string, string>();
  for (let next = ""; ;) {
    const options = { fieldSelector: `metadata.name=${name}`, labelSelector: label?.join("="), limit: 500, next };
    const page = await client.list(CONFIG_MAPS, options, signal);
    for (const item of page.items) {
      const certificate = isRaw(item["data"]) ? item["data"]["ca.crt"] : undefined;
      found.set(metadataOf(item, "namespace"), typeof certificate === "string" ? certificate : "");
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
