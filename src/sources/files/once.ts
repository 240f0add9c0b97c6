/**
 * Folders and files read once, one laid over another if asked for, and what a cluster would make of each. What two readings have in common
 * is parsed and decoded once, and is the same object in both. Watches nothing, runs nothing.
 */
import { stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { splitApiVersion } from "../../manifest/kinds.ts";
import { isRaw } from "../../lib/json.ts";
import type { Change, ObjectRef, Problem, Namespace } from "../../world/types.ts";
import { byPlace, catalogOf, Places, refKey, type Entry } from "./catalog.ts";
import { Cluster, type Subnets } from "./cluster.ts";
import { readFolder, readOneFile, type Parse, type ReadFile } from "./folder.ts";
import { parseYaml } from "./yaml.ts";

/** The objects of a folder or file, not yet decoded. */
export interface Objects {
  readonly entries: readonly Entry[];
  readonly problems: readonly Problem[];
}

/** What is so when these objects are. */
export interface Outcome {
  /** All that is there, one change for each object. */
  readonly changes: readonly Change[];
  readonly problems: readonly Problem[];
  /** Where an object stands, or the one that a pod was made of; the line is the field's. */
  readonly locate: (ref: ObjectRef, path: string) => { readonly file: string; readonly line: number } | undefined;
  /** What a pod was made of. */
  readonly ownerOf: (ref: ObjectRef) => Entry | undefined;
}

export class Readings {
  readonly #cluster: Cluster;
  readonly #parsed = new Map<string, ReturnType<Parse>>();
  readonly #raws = new Map<string, Entry["raw"]>();

  constructor(subnets: Subnets) {
    this.#cluster = new Cluster(subnets);
  }

  /**
   * Reads a folder or a single file. Rejects with a system error when there is neither.
   * @param bytesOf - how a folder's files are read; for tests of what may happen meanwhile
   */
  async read(path: string, bytesOf?: ReadFile): Promise<Objects> {
    const parse: Parse = (text) => {
      let parsed = this.#parsed.get(text);
      if (!parsed) this.#parsed.set(text, (parsed = parseYaml(text)));
      return parsed;
    };
    if ((await stat(path)).isDirectory()) {
      const folder = await readFolder(path, undefined, bytesOf, parse);
      const catalog = catalogOf(folder.files.values(), (below) => join(path, below));
      const found = [...folder.files.values()].flatMap((file) => file.problems);
      return this.#shared(catalog.entries, [...folder.problems, ...found, ...catalog.problems]);
    }
    const file = await readOneFile(path, parse);
    const catalog = catalogOf([file], () => (dirname(path) === "." ? basename(path) : path));
    return this.#shared(catalog.entries, [...file.problems, ...catalog.problems]);
  }

  /** Every object of `top`, and those of `base` that it does not replace: as `kubectl apply` would leave it. */
  over(base: Objects, top: Objects): Objects {
    const replaced = new Set(top.entries.map(keyOf));
    const kept = base.entries.filter((entry) => !replaced.has(keyOf(entry)));
    return { entries: [...kept, ...top.entries], problems: [...base.problems, ...top.problems] };
  }

  /** What a cluster would make of the objects, as if every pod were running and ready. `known`: namespaces as they are there. */
  outcome({ entries, problems }: Objects, known?: ReadonlyMap<string, Namespace>): Outcome {
    const derived = this.#cluster.derive(entries, "assume-ready", known);
    const places = new Places(entries, derived.owners);
    return {
      changes: derived.changes,
      problems: [...problems, ...derived.problems].sort(byPlace),
      ownerOf: (ref) => places.ownerOf(ref),
      locate: (ref, path) => places.locate(ref, path),
    };
  }

  /** An object that another reading had in the same words is the same object. */
  #shared(entries: readonly Entry[], problems: readonly Problem[]): Objects {
    const shared = entries.map((entry) => {
      const key = keyOf(entry);
      const known = this.#raws.get(key);
      if (known === entry.raw) return entry;
      if (known !== undefined && isDeepStrictEqual(known, entry.raw)) return { ...entry, raw: known };
      this.#raws.set(key, entry.raw);
      return entry;
    });
    return { entries: shared, problems };
  }
}

function keyOf({ ref, raw, file, line }: Entry): string {
  const apiVersion = isRaw(raw) ? raw["apiVersion"] : undefined;
  const group = typeof apiVersion === "string" ? splitApiVersion(apiVersion).group : "";
  return ref.name === "" ? `${file}:${line}` : `${group}/${refKey(ref)}`;
}
