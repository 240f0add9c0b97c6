/**
 * What a sink was told of the objects of one kind in one place: decides what is a real change. Holds decoded values only, the very
 * ones that the sink has, so that an object costs no more here than its entry. Knows no request.
 */
import { isDeepStrictEqual } from "node:util";
import type { Decoder } from "../../manifest/decode.ts";
import { isPolicy, type KINDS } from "../../manifest/kinds.ts";
import { isRaw, type Raw } from "../../lib/json.ts";
import type { Change, Problem } from "../../world/types.ts";
import type { Objects, Target } from "./reflector.ts";
import { apiVersionOf, metadataOf } from "./resource.ts";

/** Where changes go: gathered there, and told together. */
export interface Outlet {
  change(change: Change): void;
  /** The problems of an object are others than before, or are those of another revision. */
  problemsChanged(): void;
}

/** Which object of its name it is, for one that was deleted and made anew begins at generation 1 again, and which generation of it. */
export interface Revision {
  readonly uid: string;
  readonly generation: number;
}

type Value = NonNullable<Change["value"]>;
type Entry = (typeof KINDS)[number];

/** Objects by namespace and name, with what is wrong with some of them. */
class Contents {
  readonly values = new Map<string, Map<string, Value>>();
  /** Few objects have any. By `namespace/name`. */
  readonly problems = new Map<string, readonly Problem[]>();
  /** Of policy objects, those too of which nothing can be used. By `namespace/name`. */
  readonly revisions = new Map<string, Revision>();
}

/** Implements `Target` for a reflector: decodes at once, keeps nothing of the raw object. */
export class Holding implements Target {
  readonly #entry: Entry;
  readonly #decoder: Decoder;
  readonly #outlet: Outlet;
  #contents = new Contents();
  #apiVersion = "";

  constructor(entry: Entry, decoder: Decoder, outlet: Outlet) {
    this.#entry = entry;
    this.#decoder = decoder;
    this.#outlet = outlet;
  }

  /** The version in which objects come from now on. */
  setVersion(version: string): void {
    this.#apiVersion = apiVersionOf({ ...this.#entry, version });
  }

  /** Objects that are used. */
  get size(): number {
    let size = 0;
    for (const names of this.#contents.values.values()) size += names.size;
    return size;
  }

  *problems(): Generator<Problem> {
    for (const list of this.#contents.problems.values()) yield* list;
  }

  /** Of a policy object when it was last read; undefined for others. */
  revisionOf(namespace: string, name: string): Revision | undefined {
    return this.#contents.revisions.get(`${namespace}/${name}`);
  }

  put(object: Raw): void {
    this.#put(this.#contents, object, true);
  }

  remove(object: Raw): void {
    const namespace = this.#namespaceOf(object);
    const name = metadataOf(object, "name");
    if (drop(this.#contents.values, namespace, name)) this.#tell(namespace, name, undefined);
    this.#contents.revisions.delete(`${namespace}/${name}`);
    if (this.#contents.problems.delete(`${namespace}/${name}`)) this.#outlet.problemsChanged();
  }

  replacement(): Objects & { commit(): void } {
    const next = new Contents();
    return {
      put: (object) => this.#put(next, object, false),
      remove: (object) => {
        const namespace = this.#namespaceOf(object);
        const name = metadataOf(object, "name");
        drop(next.values, namespace, name);
        next.revisions.delete(`${namespace}/${name}`);
        next.problems.delete(`${namespace}/${name}`);
      },
      commit: () => this.#take(next),
    };
  }

  /** Everything is gone: the server no longer has the kind. */
  clear(): void {
    this.#take(new Contents());
  }

  #put(contents: Contents, object: Raw, tell: boolean): void {
    // Lists of Kubernetes' own kinds leave these out, for they say it once for all.
    const whole = { ...object, apiVersion: this.#apiVersion, kind: this.#entry.kind };
    const { changes, problems } = this.#decoder.decode(whole);
    const namespace = this.#namespaceOf(object);
    const name = metadataOf(object, "name");
    const value = changes[0]?.value;
    // What the sink has already stays the same object, also through a replacement.
    const known = this.#contents.values.get(namespace)?.get(name);
    const same = known !== undefined && isDeepStrictEqual(known, value);
    if (value === undefined) drop(contents.values, namespace, name);
    else put(contents.values, namespace, name, same ? known : value);
    const key = `${namespace}/${name}`;
    const before = contents.problems.get(key);
    if (problems.length > 0) contents.problems.set(key, problems);
    else contents.problems.delete(key);
    const renewed = this.#renew(contents, key, object);
    if (!tell) return;
    if (!same && known !== value) this.#tell(namespace, name, value);
    if (renewed || !isDeepStrictEqual(before ?? [], problems)) this.#outlet.problemsChanged();
  }

  /** Whether it is another revision. */
  #renew({ revisions }: Contents, key: string, object: Raw): boolean {
    const { metadata } = object;
    const generation = isRaw(metadata) ? metadata["generation"] : undefined;
    if (!isPolicy(this.#entry) || typeof generation !== "number") return false;
    const revision: Revision = { uid: metadataOf(object, "uid"), generation };
    if (isDeepStrictEqual(revisions.get(key), revision)) return false;
    revisions.set(key, revision);
    return true;
  }

  #take(next: Contents): void {
    const before = this.#contents;
    this.#contents = next;
    // Deletions first: an address that moved from one pod to another is then never told of two.
    for (const [namespace, names] of before.values)
      for (const name of names.keys())
        if (!next.values.get(namespace)?.has(name)) this.#tell(namespace, name, undefined);
    for (const [namespace, names] of next.values)
      for (const [name, value] of names)
        if (before.values.get(namespace)?.get(name) !== value) this.#tell(namespace, name, value);
    const [was, is] = [before, next].map(({ problems, revisions }) => ({ problems, revisions }));
    if (!isDeepStrictEqual(was, is)) this.#outlet.problemsChanged();
  }

  #tell(namespace: string, name: string, value: Value | undefined): void {
    // The decoder of this kind made the value; that is what the cast says.
    this.#outlet.change({ kind: this.#entry.kind, namespace, name, value } as Change);
  }

  #namespaceOf(object: Raw): string {
    return this.#entry.namespaced ? metadataOf(object, "namespace") : "";
  }
}

function put(values: Map<string, Map<string, Value>>, namespace: string, name: string, value: Value): void {
  let names = values.get(namespace);
  if (!names) values.set(namespace, (names = new Map<string, Value>()));
  names.set(name, value);
}

/** Whether it was there. */
function drop(values: Map<string, Map<string, Value>>, namespace: string, name: string): boolean {
  const names = values.get(namespace);
  if (!names?.delete(name)) return false;
  if (names.size === 0) values.delete(namespace);
  return true;
}
