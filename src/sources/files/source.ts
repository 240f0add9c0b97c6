/**
 * A folder of YAML as a source: read, watched, and told to a sink as a cluster's API server would tell it. Runs no pod: who does
 * reports their status here; pods are pending until then.
 */
import { stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { realClock, Settle, type Clock } from "../../lib/settle.ts";
import type { Log } from "../../telemetry/log.ts";
import type { PodName } from "../../world/names.ts";
import type { PodManifest, PodStatus } from "../../world/pod.ts";
import type { Change, ObjectRef, Problem } from "../../world/types.ts";
import type { Sink } from "../sink.ts";
import { byPlace, catalogOf, Places, type Catalog } from "./catalog.ts";
import { Cluster, type Derived, type Subnets } from "./cluster.ts";
import { readFolder, type Folder, type ReadFile, type Watched } from "./folder.ts";
import { Watches } from "./watch.ts";

/** Milliseconds: long enough for an editor's rename-and-write, short enough for an edit to take effect within 100. */
const SETTLE = { quiet: 15, max: 60 } as const;

export interface FilesSourceOptions {
  readonly dir: string;
  readonly log: Log;
  readonly subnets: Subnets;
  readonly clock?: Clock;
  /** How a file's bytes are read; for tests of what may happen meanwhile. */
  readonly read?: ReadFile;
}

export class FilesSource {
  readonly #options: FilesSourceOptions;
  readonly #cluster: Cluster;
  readonly #statuses = new Map<PodName, PodStatus>();
  readonly #listeners = new Set<() => void>();
  #sink: Sink | undefined;
  #signal: AbortSignal | undefined;
  #watches: Watches | undefined;
  #settle: Settle | undefined;
  #folder: Folder = { files: new Map(), problems: [], directories: new Map() };
  #catalog: Catalog = { entries: [], problems: [] };
  #derived: Derived = { changes: [], pods: [], owners: new Map(), problems: [] };
  #current: ReadonlyMap<string, Change> = new Map();
  #problems: readonly Problem[] = [];
  #places = new Places([], new Map());
  readonly #changedFiles = new Set<string>();
  #scanning: Promise<void> | undefined;
  #scanAgain = false;
  #telling = false;
  #synced = false;

  constructor(options: FilesSourceOptions) {
    this.#options = options;
    this.#cluster = new Cluster(options.subnets);
  }

  /** Resolves when everything was read and told; goes on watching until the signal. A folder that is not there is a Problem. */
  async start(sink: Sink, signal: AbortSignal): Promise<void> {
    this.#sink = sink;
    this.#signal = signal;
    if (signal.aborted) return;
    this.#settle = new Settle({ ...SETTLE, clock: this.#options.clock ?? realClock }, () => void this.#scan());
    this.#watches = new Watches(this.#options.log, () => this.#settle?.poke());
    signal.addEventListener("abort", () => this.#stop(), { once: true });
    await this.#scan();
    if (signal.aborted) return;
    this.#synced = true;
    sink.synced();
  }

  /** What became of a pod; undefined when it is no more. Told to the sink before the next turn of the event loop. */
  setStatus(name: PodName, status: PodStatus | undefined): void {
    if (status === undefined) this.#statuses.delete(name);
    else this.#statuses.set(name, status);
    if (this.#telling || !this.#synced) return;
    this.#telling = true;
    queueMicrotask(() => {
      this.#telling = false;
      this.#tell();
    });
  }

  /** The pods that the folder's objects make; an equal pod is the same object as before. */
  pods(): readonly PodManifest[] {
    return this.#derived.pods;
  }

  /** Calls after `pods()` has changed. The answer ends it. */
  onPods(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Everything that is wrong with the folder and its objects, by file and line. */
  problems(): readonly Problem[] {
    return this.#problems;
  }

  /** Files that were read anew, or are gone, since this was asked last; below the folder, in order. */
  takeChangedFiles(): readonly string[] {
    const files = [...this.#changedFiles].sort();
    this.#changedFiles.clear();
    return files;
  }

  /** Where an object stands, or the one that a pod was made of; the line is the field's. */
  locate(ref: ObjectRef, path: string): { readonly file: string; readonly line: number } | undefined {
    return this.#places.locate(ref, path);
  }

  #stop(): void {
    this.#settle?.stop();
    this.#watches?.close();
  }

  /** One reading at a time; what happens meanwhile makes another one. */
  #scan(): Promise<void> {
    if (this.#scanning) {
      this.#scanAgain = true;
      return this.#scanning;
    }
    this.#scanning = this.#read().finally(() => {
      this.#scanning = undefined;
    });
    return this.#scanning;
  }

  async #read(): Promise<void> {
    const { dir, read, clock = realClock } = this.#options;
    do {
      this.#scanAgain = false;
      const folder = await readFolder(dir, this.#folder.files, read);
      if (this.#signal?.aborted) return;
      // What happened in a directory before it was watched is not known: once more.
      if (this.#watches?.set(await this.#watched(folder))) this.#scanAgain = true;
      if (this.#signal?.aborted) return this.#stop();
      if (folder.again !== undefined) {
        const cancel = clock.after(folder.again, () => this.#settle?.poke());
        this.#signal?.addEventListener("abort", cancel, { once: true });
      }
      for (const path of new Set([...this.#folder.files.keys(), ...folder.files.keys()])) {
        if (this.#synced && this.#folder.files.get(path) !== folder.files.get(path)) this.#changedFiles.add(path);
      }
      this.#folder = folder;
    } while (this.#scanAgain);
    this.#catalog = catalogOf(this.#folder.files.values(), (path) => join(dir, path));
    this.#tell();
  }

  /** The folder's directories, and the one around it, where its replacement is seen. */
  async #watched(folder: Folder): Promise<ReadonlyMap<string, Watched>> {
    const dir = resolve(this.#options.dir);
    const parent = dirname(dir);
    if (parent === dir || folder.directories.has(parent)) return folder.directories;
    try {
      const stats = await stat(parent, { bigint: true });
      return new Map([...folder.directories, [parent, { id: `${stats.dev}:${stats.ino}`, only: basename(dir) }]]);
    } catch {
      return folder.directories;
    }
  }

  #tell(): void {
    if (this.#signal?.aborted) return;
    const before = this.#derived.pods;
    this.#derived = this.#cluster.derive(this.#catalog.entries, this.#statuses);
    this.#places = new Places(this.#catalog.entries, this.#derived.owners);
    const changes = this.#difference(this.#derived.changes);
    if (changes.length > 0) this.#sink?.apply(changes);
    const fileProblems = [...this.#folder.files.values()].flatMap((file) => file.problems);
    const problems = [
      ...this.#folder.problems,
      ...fileProblems,
      ...this.#catalog.problems,
      ...this.#derived.problems,
    ].sort(byPlace);
    if (!isDeepStrictEqual(problems, this.#problems)) {
      this.#problems = problems;
      this.#sink?.problems(problems);
    }
    const pods = this.#derived.pods;
    if (pods.length !== before.length || pods.some((pod, i) => pod !== before[i]))
      for (const listener of this.#listeners) listener();
  }

  /** What differs from what was told last; a value that is equal stays the same object. */
  #difference(all: readonly Change[]): Change[] {
    const next = new Map<string, Change>();
    const changes: Change[] = [];
    for (const change of all) {
      const key = `${change.kind}/${change.namespace}/${change.name}`;
      if (change.value === undefined || next.has(key)) continue;
      const before = this.#current.get(key);
      const same = before !== undefined && isDeepStrictEqual(before.value, change.value);
      next.set(key, same ? before : change);
      if (!same) changes.push(change);
    }
    for (const [key, change] of this.#current) if (!next.has(key)) changes.push({ ...change, value: undefined });
    this.#current = next;
    return changes;
  }
}
