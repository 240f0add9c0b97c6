/**
 * Watches directories and says that something changed, never what: who is told reads again. Knows nothing of their content.
 */
import { watch, type FSWatcher } from "node:fs";
import type { Log } from "../../telemetry/log.ts";
import type { Watched } from "./folder.ts";

/** Milliseconds between looks at a directory that the kernel would not watch. */
const POLL = 1_000;

export class Watches {
  readonly #log: Log;
  readonly #changed: () => void;
  readonly #watchers = new Map<string, { readonly as: Watched; readonly watcher: FSWatcher }>();
  #poll: NodeJS.Timeout | undefined;

  constructor(log: Log, changed: () => void) {
    this.#log = log;
    this.#changed = changed;
  }

  /**
   * Watches exactly these directories, by path; one that was replaced is watched anew.
   * Answers whether any was added: what happened in it before is not known, so it must be read again.
   */
  set(directories: ReadonlyMap<string, Watched>): boolean {
    let added = false;
    let refused = false;
    for (const [path, { as, watcher }] of this.#watchers) {
      const wanted = directories.get(path);
      if (wanted?.id === as.id && wanted.only === as.only) continue;
      watcher.close();
      this.#watchers.delete(path);
    }
    for (const [path, as] of directories) {
      if (this.#watchers.has(path)) continue;
      try {
        const watcher = watch(path, (_event, name) => {
          if (as.only === undefined || name === null || name === as.only) this.#changed();
        });
        watcher.on("error", () => {
          watcher.close();
          this.#watchers.delete(path);
          this.#changed();
        });
        this.#watchers.set(path, { as, watcher });
        added = true;
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        if (code !== "ENOENT") refused = true;
        if (code !== "ENOENT" && !this.#poll)
          this.#log.warn("directory cannot be watched, so it is looked at every second", { path, code });
      }
    }
    if (refused) this.#poll ??= setInterval(this.#changed, POLL);
    else this.#stopPoll();
    return added;
  }

  close(): void {
    this.#stopPoll();
    for (const { watcher } of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #stopPoll(): void {
    clearInterval(this.#poll);
    this.#poll = undefined;
  }
}
