/**
 * One kind in one place, followed for ever in the newest version that the cluster serves; while the cluster has no such kind, waits
 * until it does. Knows no object.
 */
import type { KINDS } from "../../manifest/kinds.ts";
import type { Clock } from "../../lib/settle.ts";
import type { Log } from "../../telemetry/log.ts";
import { BackOff, pause } from "./back-off.ts";
import type { KubernetesClient, Selection } from "./client.ts";
import type { Discovery } from "./discovery.ts";
import { isNotFound } from "./errors.ts";
import type { Holding } from "./holding.ts";
import { Reflector, type End, type ReflectorStatus } from "./reflector.ts";
import type { Resource } from "./resource.ts";
import type { WatchLimits } from "./watch.ts";

export interface KindWatchOptions {
  readonly entry: (typeof KINDS)[number];
  readonly selection: Selection;
  readonly client: KubernetesClient;
  readonly discovery: Discovery;
  readonly holding: Holding;
  readonly log: Log;
  readonly clock: Clock;
  readonly random: () => number;
  readonly limits?: Partial<WatchLimits> | undefined;
  readonly page?: number | undefined;
  readonly relist?: number | undefined;
  readonly ended: (end: End) => void;
  /** Called once: all that is there was told, or the cluster has no such kind. */
  readonly listed: () => void;
}

export type KindState =
  | { readonly phase: "starting" | "absent" }
  | (ReflectorStatus & { readonly version: string; readonly objects: number });

/** Milliseconds for which a kind that had objects must be absent before they are withdrawn. */
const SURE = 3_000;

export class KindWatch {
  readonly #options: KindWatchOptions;
  #reflector: Reflector | undefined;
  #version = "";
  #absent = false;
  #listed = false;

  constructor(options: KindWatchOptions) {
    this.#options = options;
  }

  state(): KindState {
    if (this.#absent) return { phase: "absent" };
    if (!this.#reflector) return { phase: "starting" };
    return { ...this.#reflector.status(), version: this.#version, objects: this.#options.holding.size };
  }

  /** Follows until the signal. Never throws. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, discovery, holding, log, entry } = this.#options;
    const again = new BackOff({ first: 200, most: 10_000, random });
    await this.#looked(signal);
    while (!signal.aborted) {
      const version = this.#newest() ?? (await this.#probed(again, signal));
      if (signal.aborted) return;
      if (version === undefined) {
        // A server that is starting up answers 503, not 404, so this is true; yet the stakes are high enough to ask twice.
        if (holding.size > 0 && !this.#absent) {
          this.#absent = true;
          await pause(clock, SURE, signal);
          continue;
        }
        log.info("the cluster does not have this kind; it is read as soon as it has", { kind: entry.kind });
        this.#absent = true;
        holding.clear();
        this.#tellListed();
        await this.#appeared(signal);
        continue;
      }
      const end = await this.#follow(version, signal);
      if (this.#reflector && this.#reflector.status().lists > 0) again.reset();
      if (end === "stopped") continue;
      discovery.poke();
      await pause(clock, again.next(), signal);
    }
  }

  async #follow(version: string, signal: AbortSignal): Promise<"absent" | "stopped"> {
    const { client, selection, holding, log, clock, random, limits, page, relist, ended } = this.#options;
    holding.setVersion(version);
    this.#version = version;
    const reflector = new Reflector({
      client,
      resource: this.#resource(version),
      selection,
      target: {
        put: (object) => holding.put(object),
        remove: (object) => holding.remove(object),
        replacement: () => {
          const whole = holding.replacement();
          return {
            put: (object) => whole.put(object),
            remove: (object) => whole.remove(object),
            commit: () => {
              whole.commit();
              this.#absent = false;
              this.#tellListed();
            },
          };
        },
      },
      log,
      clock,
      random,
      ended,
      ...(limits === undefined ? {} : { limits }),
      ...(page === undefined ? {} : { page }),
      ...(relist === undefined ? {} : { relist }),
    });
    this.#reflector = reflector;
    const ending = new AbortController();
    const end = () => ending.abort();
    signal.addEventListener("abort", end, { once: true });
    // A newer version is served now: what it says in its own words is read.
    const forget = this.#options.discovery.onLook(() => {
      const newest = this.#newest();
      if (newest !== undefined && newest !== version) ending.abort();
    });
    try {
      return await reflector.run(ending.signal);
    } finally {
      forget();
      signal.removeEventListener("abort", end);
    }
  }

  #tellListed(): void {
    if (this.#listed) return;
    this.#listed = true;
    this.#options.listed();
  }

  #resource(version: string): Resource {
    const { group, plural } = this.#options.entry;
    return { group, version, plural };
  }

  #newest(): string | undefined {
    const { entry, discovery } = this.#options;
    // The core group has one version, and is always there.
    if (entry.group === "") return entry.versions.at(-1);
    const served = discovery.versions(entry.group, entry.plural);
    return entry.versions.findLast((version) => served.has(version));
  }

  /** Discovery may be behind, so the collections themselves are asked before a kind counts as absent. Undefined: it is. */
  async #probed(again: BackOff, signal: AbortSignal): Promise<string | undefined> {
    const { entry, client, selection, clock } = this.#options;
    while (!signal.aborted) {
      try {
        for (const version of entry.versions.toReversed()) {
          try {
            await client.list(this.#resource(version), { ...selection, limit: 1 }, signal);
            return version;
          } catch (error) {
            if (!isNotFound(error)) throw error;
          }
        }
        return undefined;
      } catch {
        await pause(clock, again.next(), signal);
        const newest = this.#newest();
        if (newest !== undefined) return newest;
      }
    }
    return undefined;
  }

  /** Resolves after the first look. */
  #looked(signal: AbortSignal): Promise<void> {
    const { discovery, entry } = this.#options;
    return entry.group === "" || discovery.looks > 0 ? Promise.resolve() : this.#until(() => true, signal);
  }

  #appeared(signal: AbortSignal): Promise<void> {
    return this.#until(() => this.#newest() !== undefined, signal);
  }

  #until(holds: () => boolean, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const end = () => {
        forget();
        signal.removeEventListener("abort", end);
        resolve();
      };
      const forget = this.#options.discovery.onLook(() => {
        if (holds()) end();
      });
      signal.addEventListener("abort", end, { once: true });
    });
  }
}
