/**
 * The objects of a fake API server: collections, one growing resourceVersion, a history for watches, and server-side apply. No sockets.
 */
export type Json = Record<string, unknown>;

export interface CollectionSpec {
  readonly group: string;
  readonly versions: readonly string[];
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

export interface Event {
  readonly version: number;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: Json;
  /** Before it changed. */
  readonly before: Json | undefined;
}

/** A refusal with Kubernetes' status. */
export class Refused extends Error {
  readonly code: number;
  readonly reason: string;
  /** Fields that others own, as `.spec.a`. */
  readonly fields: readonly string[];
  constructor(code: number, reason: string, message = reason, fields: readonly string[] = []) {
    super(message);
    this.fields = fields;
    this.code = code;
    this.reason = reason;
  }
}

export const metadata = (object: Json): Json => (object["metadata"] ?? {}) as Json;
export const keyOf = (object: Json): string => {
  const { namespace = "", name } = metadata(object) as { namespace?: string; name?: string };
  return `${namespace}/${name}`;
};

const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
const isMap = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);

/** One counter for all collections, as in etcd. */
export class Revision {
  now = 1_000;
}

export class Collection {
  readonly spec: CollectionSpec;
  readonly objects = new Map<string, Json>();
  history: Event[] = [];
  /** Watches from before this version are told 410. */
  floor = 0;
  readonly #revision: Revision;
  /** Object → who applied which leaves. */
  readonly #owners = new Map<string, Map<string, Json>>();
  readonly #listeners = new Set<(event: Event) => void>();
  #uids = 0;

  constructor(spec: CollectionSpec, revision: Revision) {
    this.spec = spec;
    this.#revision = revision;
  }

  listen(listener: (event: Event) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Forgets history: older watches and pages are too old now. */
  compact(): void {
    this.history = [];
    this.floor = this.#revision.now;
  }

  create(object: Json): Json {
    const key = keyOf(object);
    if (this.objects.has(key)) throw new Refused(409, "AlreadyExists", `${this.spec.plural} "${key}" already exists`);
    const creationTimestamp = "2026-01-01T00:00:00Z";
    const uid = `uid-${this.spec.plural}-${++this.#uids}`;
    return this.#store("ADDED", { ...object, metadata: { creationTimestamp, uid, ...metadata(object) } });
  }

  /** Whatever was there. */
  put(object: Json): Json {
    const before = this.objects.get(keyOf(object));
    if (!before) return this.create(object);
    const { uid, creationTimestamp } = metadata(before);
    return this.#store("MODIFIED", { ...object, metadata: { ...metadata(object), uid, creationTimestamp } });
  }

  replace(object: Json): Json {
    const before = this.#existing(keyOf(object));
    const asked = metadata(object)["resourceVersion"];
    if (asked !== undefined && asked !== metadata(before)["resourceVersion"])
      throw new Refused(
        409,
        "Conflict",
        "the object has been modified; please apply your changes to the latest version",
      );
    return this.put(object);
  }

  delete(key: string, preconditions: Json = {}): Json {
    const before = this.#existing(key);
    for (const [field, wanted] of Object.entries(preconditions))
      if (wanted !== metadata(before)[field]) throw new Refused(409, "Conflict", `the ${field} does not match`);
    this.objects.delete(key);
    this.#owners.delete(key);
    const version = ++this.#revision.now;
    const object = { ...before, metadata: { ...metadata(before), resourceVersion: String(version) } };
    this.#tell({ version, type: "DELETED", object, before });
    return object;
  }

  /** Server-side apply, without lists as maps: a list is one value. */
  apply(object: Json, manager: string, force: boolean, subresource: string | undefined): Json {
    const key = keyOf(object);
    const before = this.objects.get(key);
    if (!before && subresource) throw new Refused(404, "NotFound", `${this.spec.plural} "${key}" not found`);
    const { apiVersion: _a, kind: _k, metadata: given, status, ...rest } = object;
    const { labels, annotations } = (given ?? {}) as Json;
    const wanted = leaves(subresource ? { status } : { ...rest, metadata: { labels, annotations } });
    const owners = this.#owners.get(key) ?? new Map<string, Json>();
    const now = leaves(before ?? {});
    const taken = [...owners].flatMap(([other, owned]) =>
      Object.keys(wanted).filter(
        (path) => other !== manager && path in owned && JSON.stringify(now[path]) !== JSON.stringify(wanted[path]),
      ),
    );
    if (!force && taken.length > 0) {
      const fields = taken.map((path) => `.${(JSON.parse(path) as string[]).join(".")}`);
      throw new Refused(
        409,
        "Conflict",
        `Apply failed with ${fields.length} conflict(s): ${fields.join(", ")}`,
        fields,
      );
    }
    // Whoever forces takes the field from those who had it.
    for (const [other, owned] of owners) if (other !== manager) for (const path of taken) delete owned[path];
    const shared = (path: string): boolean => [...owners].some(([other, owned]) => other !== manager && path in owned);
    const result = copy(before ?? { apiVersion: object["apiVersion"], kind: object["kind"], metadata: given });
    for (const path of Object.keys(owners.get(manager) ?? {}))
      if (!(path in wanted) && !shared(path) && (path.startsWith('["status"') ? subresource : !subresource))
        setLeaf(result, path, undefined);
    for (const [path, value] of Object.entries(wanted)) setLeaf(result, path, value);
    owners.set(manager, wanted);
    this.#owners.set(key, owners);
    if (before && JSON.stringify(leaves(before)) === JSON.stringify(leaves(result))) return before;
    return this.put(result);
  }

  #existing(key: string): Json {
    const object = this.objects.get(key);
    if (!object) throw new Refused(404, "NotFound", `${this.spec.plural} "${key}" not found`);
    return object;
  }

  #store(type: "ADDED" | "MODIFIED", given: Json): Json {
    const version = ++this.#revision.now;
    const object = copy({ ...given, metadata: { ...metadata(given), resourceVersion: String(version) } });
    const before = this.objects.get(keyOf(object));
    this.objects.set(keyOf(object), object);
    this.#tell({ version, type, object, before });
    return object;
  }

  #tell(event: Event): void {
    this.history.push(event);
    for (const listener of this.#listeners) listener(event);
  }
}

/** Every value that is not a map, by its path as JSON. */
function leaves(value: unknown, path: readonly string[] = [], into: Json = {}): Json {
  if (isMap(value)) {
    for (const [key, inner] of Object.entries(value))
      if (path.length > 0 || key !== "metadata" || isMap(inner)) leaves(inner, [...path, key], into);
  } else if (value !== undefined) into[JSON.stringify(path)] = value;
  return into;
}

function setLeaf(target: Json, path: string, value: unknown): void {
  const keys = JSON.parse(path) as string[];
  const last = keys.pop() as string;
  let at = target;
  for (const key of keys) at = (at[key] ??= {}) as Json;
  if (value === undefined) delete at[last];
  else at[last] = value;
}
