/**
 * The World: one immutable value that holds all that is true in the cluster. Changes make a new one that shares
 * whatever they do not touch. Knows nothing of policies' meaning.
 */
import type { Change, Kind, ObjectOf, Pod, Settings, Table, Workload } from "./types.ts";
import { DEFAULT_SETTINGS } from "./types.ts";

/**
 * Tables of every kind, by namespace and name; an untouched namespace's map is the same object as before.
 * `workloads` is derived from the pods: it stays the same object while pods only come, go, or change their readiness.
 */
export interface World {
  readonly tables: { readonly [K in Kind]: Table<ObjectOf[K]> };
  /** By namespace, then by workload key. */
  readonly workloads: Table<Workload>;
}

export const KINDS: readonly Kind[] = [
  "Namespace",
  "Service",
  "Pod",
  "EndpointSlice",
  "TrafficTarget",
  "HTTPRouteGroup",
  "TCPRoute",
  "UDPRoute",
  "TrafficSplit",
  "MeshConfig",
];

export const EMPTY_WORLD: World = Object.freeze({
  tables: Object.freeze(Object.fromEntries(KINDS.map((kind) => [kind, new Map()]))) as unknown as World["tables"],
  workloads: new Map(),
});

/** Kinds whose change never changes policy by itself: they take the fast path. */
const ENDPOINT_KINDS: ReadonlySet<Kind> = new Set(["Pod", "EndpointSlice"]);

/** The world after these changes, in order; the same reference when they change nothing. */
export function apply(world: World, changes: readonly Change[]): World {
  const tables = { ...world.tables } as { [K in Kind]: Table<unknown> };
  const copied = new Set<string>();
  let changed = false;
  for (const { kind, namespace, name, value } of changes) {
    if (tables[kind].get(namespace)?.get(name) === value) continue;
    changed = true;
    if (!copied.has(kind)) {
      copied.add(kind);
      tables[kind] = new Map(tables[kind]);
    }
    const table = tables[kind] as Map<string, ReadonlyMap<string, unknown>>;
    const place = `${kind}/${namespace}`;
    if (!copied.has(place)) {
      copied.add(place);
      table.set(namespace, new Map(table.get(namespace)));
    }
    const objects = table.get(namespace) as Map<string, unknown>;
    if (value === undefined) objects.delete(name);
    else objects.set(name, value);
  }
  if (!changed) return world;
  for (const place of copied) {
    const slash = place.indexOf("/");
    if (slash < 0) continue;
    const kind = place.slice(0, slash) as Kind;
    const namespace = place.slice(slash + 1);
    const table = tables[kind] as Map<string, ReadonlyMap<string, unknown>>;
    if (table.get(namespace)?.size === 0) table.delete(namespace);
  }
  const next = tables as unknown as World["tables"];
  return Object.freeze({ tables: Object.freeze(next), workloads: workloadsOf(world, next.Pod) });
}

/** Whether two worlds mean the same to policy: they differ in pods and endpoints at most. */
export function samePolicyInput(a: World, b: World): boolean {
  if (a.workloads !== b.workloads) return false;
  return KINDS.every((kind) => ENDPOINT_KINDS.has(kind) || a.tables[kind] === b.tables[kind]);
}

/** What MeshConfig says; the first by namespace and name counts, as there is to be one only. */
export function settingsOf(world: World): Settings {
  const namespaces = [...world.tables.MeshConfig.keys()].sort();
  for (const namespace of namespaces) {
    const objects = world.tables.MeshConfig.get(namespace);
    const first = objects && [...objects.keys()].sort()[0];
    if (first !== undefined) return objects?.get(first) ?? DEFAULT_SETTINGS;
  }
  return DEFAULT_SETTINGS;
}

/** Every object of a table, in order of namespace and name. */
export function* all<T>(table: Table<T>): Generator<T> {
  for (const namespace of [...table.keys()].sort()) yield* inNamespace(table, namespace);
}

/** Every object of one namespace, in order of name. */
export function* inNamespace<T>(table: Table<T>, namespace: string): Generator<T> {
  const objects = table.get(namespace);
  if (!objects) return;
  for (const name of [...objects.keys()].sort()) yield objects.get(name) as T;
}

function workloadsOf(before: World, pods: Table<Pod>): Table<Workload> {
  if (pods === before.tables.Pod) return before.workloads;
  let changed = false;
  const next = new Map(before.workloads);
  for (const [namespace, objects] of pods) {
    if (objects === before.tables.Pod.get(namespace)) continue;
    const old = before.workloads.get(namespace);
    const workloads = new Map<string, Workload>();
    for (const pod of objects.values())
      if (!workloads.has(pod.workload.key)) workloads.set(pod.workload.key, pod.workload);
    if (old && old.size === workloads.size && [...workloads.keys()].every((key) => old.has(key))) continue;
    for (const [key, workload] of old ?? []) if (workloads.has(key)) workloads.set(key, workload);
    next.set(namespace, workloads);
    changed = true;
  }
  for (const namespace of before.workloads.keys()) {
    if (!pods.has(namespace)) {
      next.delete(namespace);
      changed = true;
    }
  }
  return changed ? next : before.workloads;
}
