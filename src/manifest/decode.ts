/**
 * One raw Kubernetes object → a Change, or Problems. The only way from Kubernetes' shapes into the world; knows no source.
 */
import { contentHash } from "../lib/hash.ts";
import type { Change, ObjectRef, Problem, Workload } from "../world/types.ts";
import { kindOf, KINDS, splitApiVersion } from "./kinds.ts";
import { isRaw, type Raw } from "../lib/json.ts";
import { describe, isName, isNear, NAME_WANTED, Reader } from "./reader.ts";

export interface Decoded {
  readonly object: ObjectRef;
  /**
   * One change when it is known which object this is, else none. Its value is undefined when the object cannot be used:
   * a source applies that too, so that an edit that broke an object does not leave its former meaning in force.
   */
  readonly changes: readonly Change[];
  /** The object is used, or named here: one of the two at least. */
  readonly problems: readonly Problem[];
}

const text = (value: unknown): string => (typeof value === "string" ? value.slice(0, 300) : "");

/** Kind, namespace and name as far as they can be read, for naming the object; "" where they cannot. */
export function refOf(object: unknown): ObjectRef {
  const raw = isRaw(object) ? object : {};
  const metadata = isRaw(raw["metadata"]) ? raw["metadata"] : {};
  const kind = text(raw["kind"]);
  const entry = kindOf(splitApiVersion(text(raw["apiVersion"])).group, kind);
  const namespace = text(metadata["namespace"]);
  return { kind, namespace: entry?.namespaced ? namespace || "default" : namespace, name: text(metadata["name"]) };
}

/**
 * Where a field stands in an object as it is written. Policy names fields as SMI's newest versions do; the first ones had no `spec`,
 * and `specs` for a TrafficTarget's `rules`.
 */
export function writtenPath(object: Raw, path: string): string {
  if (object["spec"] !== undefined || !path.startsWith("spec.")) return path;
  const bare = path.slice("spec.".length);
  return object["specs"] === undefined ? bare : bare.replace(/^rules\b/, "specs");
}

/** Owns the table in which equal workloads become one object. Each source has one. */
export class Decoder {
  readonly #workloads = new Map<string, WeakRef<Workload>>();
  readonly #mesh: string | undefined;
  #sweepAt = 1_000;

  /** `mesh`: only namespaces of this mesh are in it; those of any mesh when absent. */
  constructor({ mesh }: { readonly mesh?: string | undefined } = {}) {
    this.#mesh = mesh;
  }

  /** Never throws, whatever it is given. */
  decode(object: unknown): Decoded {
    const ref = refOf(object);
    const reader = new Reader(ref);
    const changes = isRaw(object) ? this.#change(reader, object) : notAnObject(reader, object);
    return { object: ref, changes, problems: reader.problems };
  }

  #change(reader: Reader, object: Raw): readonly Change[] {
    const apiVersion = object["apiVersion"];
    if (typeof apiVersion !== "string" || reader.ref.kind === "") return notAnObject(reader, object);
    const { group, version } = splitApiVersion(apiVersion);
    const entry = kindOf(group, reader.ref.kind);
    if (!entry) {
      const near = KINDS.find(
        (one) => isNear(one.kind, reader.ref.kind) || (one.kind === reader.ref.kind && one.group !== ""),
      );
      const todo = near
        ? `did you mean ${near.kind} of ${near.group || "v1"}?`
        : "remove it, or correct its kind or apiVersion.";
      const message = `${apiVersion.slice(0, 300)} ${reader.ref.kind} is not a kind that is read here, so this object has no effect; ${todo}`;
      reader.report("unknown-kind", "kind", message);
      return [];
    }
    if (!entry.versions.includes(version)) {
      const served = entry.versions.map((one) => (group ? `${group}/${one}` : one)).join(", ");
      reader.report(
        "unknown-version",
        "apiVersion",
        `${entry.kind} is not read in version ${JSON.stringify(version.slice(0, 40))}, so this object has no effect; write one of ${served}.`,
      );
      return [];
    }
    const metadata = reader.map(object["metadata"], "metadata", "this object has no effect");
    if (!metadata) return [];
    for (const key of entry.namespaced ? ["name", "namespace"] : ["name"]) {
      const value = metadata[key];
      if (key === "namespace" && (value === undefined || value === null || value === "")) continue;
      const path = `metadata.${key}`;
      if (value === undefined) reader.missing(path, "this object has no effect");
      else if (typeof value !== "string" || !isName(value))
        reader.wrong(value, path, NAME_WANTED, "this object has no effect");
      else continue;
      return [];
    }
    const namespace = entry.namespaced ? reader.ref.namespace : "";
    const place = {
      namespace,
      name: reader.ref.name,
      version,
      uid: text(metadata["uid"]),
      created: text(metadata["creationTimestamp"]),
      intern: this.#intern,
      mesh: this.#mesh,
    };
    const value = entry.decode(reader, object, place);
    // The table pairs each kind with its own decoder; that is what the cast says.
    return [{ kind: entry.kind, namespace, name: reader.ref.name, value } as Change];
  }

  readonly #intern = (content: Omit<Workload, "key">): Workload => {
    const key = contentHash(content);
    const known = this.#workloads.get(key)?.deref();
    if (known) return known;
    const workload = Object.freeze({ key, ...content });
    this.#workloads.set(key, new WeakRef(workload));
    if (this.#workloads.size > this.#sweepAt) {
      for (const [old, reference] of this.#workloads) if (!reference.deref()) this.#workloads.delete(old);
      this.#sweepAt = Math.max(1_000, this.#workloads.size * 2);
    }
    return workload;
  };
}

function notAnObject(reader: Reader, object: unknown): readonly [] {
  const what = isRaw(object) ? "a map without apiVersion and kind" : describe(object);
  reader.report(
    "not-an-object",
    "",
    `This is ${what} where a Kubernetes object is needed, so it has no effect; give it apiVersion, kind and metadata.`,
  );
  return [];
}
