/**
 * Parsed files → the objects in them: Lists taken apart, kinds sorted, duplicates settled. Pure; decodes nothing.
 */
import { kindOf, splitApiVersion } from "../../manifest/kinds.ts";
import { isRaw, type Raw } from "../../lib/json.ts";
import { at, isName, NAME_WANTED, Reader } from "../../manifest/reader.ts";
import { refOf, writtenPath } from "../../manifest/decode.ts";
import { podName, type PodName } from "../../world/names.ts";
import type { ObjectRef, Problem } from "../../world/types.ts";
import { controllerOf, isPassedOver, type Controller } from "./kinds.ts";
import type { FileEntry } from "./folder.ts";

/** One object of a folder, and where it stands. */
export interface Entry {
  readonly ref: ObjectRef;
  readonly raw: Raw;
  /** Set when pods are made of it; else it is decoded. */
  readonly controller?: Controller;
  /** As the user would name it: the folder as given, and the path below. */
  readonly file: string;
  readonly line: number;
  /** Line of a field by its path in the object. */
  lineOf(path: string): number;
}

export interface Catalog {
  readonly entries: readonly Entry[];
  readonly problems: readonly Problem[];
}

export const refKey = (ref: ObjectRef): string =>
  `${ref.kind}/${ref.kind === "Namespace" ? "" : ref.namespace}/${ref.name}`;

/** In order of file and line. */
export function byPlace(a: Problem, b: Problem): number {
  const [x = "", y = ""] = [a.file, b.file];
  return x < y ? -1 : x > y ? 1 : (a.line ?? 0) - (b.line ?? 0);
}

/** Where objects stand, and the pods that were made of them. */
export class Places {
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #owners: ReadonlyMap<PodName, Entry>;

  constructor(entries: readonly Entry[], owners: ReadonlyMap<PodName, Entry>) {
    this.#entries = new Map(entries.map((entry) => [refKey(entry.ref), entry]));
    this.#owners = owners;
  }

  /** What a pod was made of. */
  ownerOf(ref: ObjectRef): Entry | undefined {
    return ref.kind === "Pod" ? this.#owners.get(podName(ref.namespace, ref.name)) : undefined;
  }

  /** The line is the field's. */
  locate(ref: ObjectRef, path: string): { readonly file: string; readonly line: number } | undefined {
    const entry = this.#entries.get(refKey(ref));
    if (entry) return { file: entry.file, line: entry.lineOf(writtenPath(entry.raw, path)) };
    const owner = this.ownerOf(ref);
    return owner && { file: owner.file, line: owner.lineOf(`spec.template.${path}`) };
  }
}

/** A Problem of an object, with file and line. */
export const placed = (problem: Problem, entry: Pick<Entry, "file" | "lineOf">): Problem => ({
  ...problem,
  file: entry.file,
  line: entry.lineOf(problem.path),
});

/** Files in order of path; `fileName` says how the user names one. */
export function catalogOf(files: Iterable<FileEntry>, fileName: (path: string) => string): Catalog {
  const entries: Entry[] = [];
  const problems: Problem[] = [];
  const first = new Map<string, Entry>();
  for (const { path, documents } of files) {
    const file = fileName(path);
    for (const document of documents) {
      for (const { value, prefix } of unlisted(document.value, "", 0)) {
        const lineOf = (field: string) =>
          document.lineOf(prefix === "" || field === "" ? `${prefix}${field}` : `${prefix}.${field}`);
        const place = { file, line: lineOf(""), lineOf };
        const { entry, problem } = entryOf(value, place);
        if (problem) problems.push(placed(problem, place));
        if (!entry) continue;
        const key = keyOf(entry);
        const known = key === undefined ? undefined : first.get(key);
        if (known) problems.push(duplicate(entry, known, path));
        else {
          if (key !== undefined) first.set(key, entry);
          entries.push(entry);
        }
      }
    }
  }
  return { entries, problems };
}

/** The objects of a document: itself, or the items of a List, which may be Lists again. */
function* unlisted(value: unknown, prefix: string, depth: number): Generator<{ value: unknown; prefix: string }> {
  const kind = isRaw(value) ? value["kind"] : undefined;
  const items = isRaw(value) ? value["items"] : undefined;
  if (depth > 4 || typeof kind !== "string" || !kind.endsWith("List") || !Array.isArray(items))
    return yield { value, prefix };
  for (const [i, item] of items.entries()) yield* unlisted(item, at(at(prefix, "items"), i), depth + 1);
}

function entryOf(value: unknown, place: Pick<Entry, "file" | "line" | "lineOf">): { entry?: Entry; problem?: Problem } {
  const ref = refOf(value);
  const raw = isRaw(value) ? value : undefined;
  const apiVersion = raw?.["apiVersion"];
  if (!raw || typeof apiVersion !== "string" || ref.kind === "") return { entry: { ref, raw: value as Raw, ...place } };
  const { group, version } = splitApiVersion(apiVersion);
  if (isPassedOver(group, ref.kind)) return {};
  const controller = controllerOf(group, version, ref.kind);
  if (!controller) {
    const reader = new Reader(ref);
    if (ref.kind.endsWith("List") && raw["items"] !== undefined)
      reader.wrong(raw["items"], "items", "a list", "nothing in it counts");
    const [problem] = reader.problems;
    return problem ? { problem } : { entry: { ref, raw, ...place } };
  }
  const named = { ...ref, namespace: ref.namespace || "default" };
  const reader = new Reader(named);
  const metadata = reader.map(raw["metadata"], "metadata", "no pod is made of it");
  if (metadata && metadata["name"] === undefined) reader.missing("metadata.name", "no pod is made of it");
  else if (metadata) {
    for (const key of ["name", "namespace"] as const) {
      const given = metadata[key];
      if (key === "namespace" && (given === undefined || given === null || given === "")) continue;
      if (typeof given !== "string" || !isName(given))
        reader.wrong(given, `metadata.${key}`, NAME_WANTED, "no pod is made of it");
    }
  }
  const [problem] = reader.problems;
  return problem ? { problem } : { entry: { ref: named, raw, controller, ...place } };
}

/** What may be there once: undefined for what is not an object, which decoding says. */
function keyOf({ ref, raw }: Entry): string | undefined {
  const apiVersion = isRaw(raw) ? raw["apiVersion"] : undefined;
  if (typeof apiVersion !== "string" || ref.name === "" || ref.kind === "") return undefined;
  const { group } = splitApiVersion(apiVersion);
  const namespaced = kindOf(group, ref.kind)?.namespaced ?? true;
  return `${group}/${ref.kind}/${namespaced ? ref.namespace : ""}/${ref.name}`;
}

function duplicate(entry: Entry, known: Entry, path: string): Problem {
  const name = entry.ref.namespace ? `${entry.ref.namespace}/${entry.ref.name}` : entry.ref.name;
  const folder = entry.file.slice(0, entry.file.length - path.length);
  const where = known.file.startsWith(folder) ? known.file.slice(folder.length) : known.file;
  const message = `${entry.ref.kind} ${name} is at ${where}:${known.line} and again at ${path}:${entry.line}, so the second has no effect; remove one of them.`;
  return {
    code: "duplicate",
    severity: "error",
    object: entry.ref,
    path: "",
    message,
    file: entry.file,
    line: entry.line,
  };
}
