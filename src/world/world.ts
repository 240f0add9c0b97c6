/**
 * The World: one immutable value that holds all that is true in the cluster. Changes make a new one that shares
 * whatever they do not touch. Knows nothing of policies' meaning.
 */
import { PersistentMap, type Edit } from "../lib/persistent-map.ts";
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
  /** How many pods each of them has, by the same keys: so that nobody counts a namespace's pods when one of them changes. */
  readonly podsOfWorkload: Table<number>;
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
  "MeshRootCertificate",
  "Egress",
  "IngressBackend",
  "Retry",
  "UpstreamTrafficSetting",
];

export const EMPTY_WORLD: World = Object.freeze({
  tables: Object.freeze(Object.fromEntries(KINDS.map((kind) => [kind, new Map()]))) as unknown as World["tables"],
  workloads: new Map(),
  podsOfWorkload: new Map(),
});

/** Kinds whose change never changes policy by itself: they take the fast path. */
const ENDPOINT_KINDS: ReadonlySet<Kind> = new Set(["Pod", "EndpointSlice"]);

/** The world after these changes, in order; the same reference when they change nothing. Costs what they touch. */
export function apply(world: World, changes: readonly Change[]): World {
  const edits = new Map<Kind, Map<string, Edit<unknown>>>();
  const recount = new Recount(world);
  let changed = false;
  for (const { kind, namespace, name, value } of changes) {
    let places = edits.get(kind);
    if (!places) edits.set(kind, (places = new Map()));
    let edit = places.get(namespace);
    if (!edit) places.set(namespace, (edit = editOf(world.tables[kind] as Table<unknown>, namespace)));
    const before = edit.get(name);
    if (before === value) continue;
    changed = true;
    if (value === undefined) edit.delete(name);
    else edit.set(name, value);
    if (kind === "Pod") recount.note(namespace, (before as Pod | undefined)?.workload, value?.workload);
  }
  if (!changed) return world;
  const tables = { ...world.tables } as { [K in Kind]: Table<unknown> };
  for (const [kind, places] of edits) tables[kind] = edited(tables[kind], places);
  return Object.freeze({ tables: Object.freeze(tables) as unknown as World["tables"], ...recount.done() });
}

const editOf = <V>(table: Table<V>, namespace: string): Edit<V> =>
  ((table.get(namespace) as PersistentMap<V> | undefined) ?? PersistentMap.of<V>()).edit();

/** The same table when no edit changed anything. */
function edited<V>(table: Table<V>, places: ReadonlyMap<string, Edit<V>>): Table<V> {
  let next: Map<string, ReadonlyMap<string, V>> | undefined;
  for (const [namespace, edit] of places) {
    const objects = edit.done();
    if (objects.size === 0 ? !table.has(namespace) : objects === table.get(namespace)) continue;
    next ??= new Map(table);
    if (objects.size === 0) next.delete(namespace);
    else next.set(namespace, objects);
  }
  return next ?? table;
}

/** Which workloads have pods, kept by counting. */
class Recount {
  readonly #world: World;
  readonly #counts = new Map<string, Edit<number>>();
  /** Workloads whose pods came or went. */
  readonly #touched = new Map<string, Map<string, Workload>>();

  constructor(world: World) {
    this.#world = world;
  }

  /** One pod is of another workload than before; undefined: there is none. */
  note(namespace: string, before: Workload | undefined, after: Workload | undefined): void {
    if (before?.key === after?.key) return;
    if (before) this.#add(namespace, before, -1);
    if (after) this.#add(namespace, after, 1);
  }

  done(): Pick<World, "workloads" | "podsOfWorkload"> {
    const places = new Map<string, Edit<Workload>>();
    for (const [namespace, touched] of this.#touched) {
      const [edit, counts] = [editOf(this.#world.workloads, namespace), this.#counts.get(namespace)];
      for (const [key, workload] of touched) {
        const there = counts?.get(key) !== undefined;
        if (!there) edit.delete(key);
        // Equal workloads are one: the one that was there stays.
        else if (edit.get(key) === undefined) edit.set(key, workload);
      }
      places.set(namespace, edit);
    }
    return {
      workloads: edited(this.#world.workloads, places),
      podsOfWorkload: edited(this.#world.podsOfWorkload, this.#counts),
    };
  }

  #add(namespace: string, workload: Workload, by: 1 | -1): void {
    let counts = this.#counts.get(namespace);
    if (!counts) this.#counts.set(namespace, (counts = editOf(this.#world.podsOfWorkload, namespace)));
    const count = (counts.get(workload.key) ?? 0) + by;
    if (count === 0) counts.delete(workload.key);
    else counts.set(workload.key, count);
    let touched = this.#touched.get(namespace);
    if (!touched) this.#touched.set(namespace, (touched = new Map()));
    touched.set(workload.key, workload);
  }
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
