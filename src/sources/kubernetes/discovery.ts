/**
 * Which versions of which collections the API server serves, asked again and again so that a CRD that comes or goes is noticed.
 * Knows no kind.
 */
import { isRaw } from "../../lib/json.ts";
import { realClock, type Clock } from "../../lib/settle.ts";
import type { Log } from "../../telemetry/log.ts";
import { BackOff, pause } from "./back-off.ts";
import type { KubernetesClient } from "./client.ts";
import { isNotFound, noAnswer } from "./errors.ts";

export interface DiscoveryOptions {
  readonly client: KubernetesClient;
  /** Groups that anybody asks about. */
  readonly groups: readonly string[];
  readonly log: Log;
  readonly clock?: Clock;
  readonly random?: () => number;
  /** Milliseconds between looks, give or take a quarter. A look that finds nothing new costs the server an empty answer. */
  readonly every?: number;
}

const AGGREGATED = ["v2", "v2beta1"]
  .map((version) => `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`)
  .concat("application/json")
  .join(",");

const list = (value: unknown): readonly Readonly<Record<string, unknown>>[] =>
  Array.isArray(value) ? value.filter(isRaw) : [];

export class Discovery {
  readonly #options: Required<DiscoveryOptions>;
  /** `group/plural` → versions. */
  #served: ReadonlyMap<string, ReadonlySet<string>> = new Map();
  #etag = "";
  #looks = 0;
  readonly #watchers = new Set<() => void>();
  #hurry: AbortController | undefined;

  constructor(options: DiscoveryOptions) {
    this.#options = { clock: realClock, random: Math.random, every: 5_000, ...options };
  }

  /** Versions of a collection at the last look; none before the first one. */
  versions(group: string, plural: string): ReadonlySet<string> {
    return this.#served.get(`${group}/${plural}`) ?? NONE;
  }

  /** Calls after each look that worked, whatever it found. The answer ends it. */
  onLook(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Looks that worked. */
  get looks(): number {
    return this.#looks;
  }

  /** There is reason to look now. */
  poke(): void {
    this.#hurry?.abort();
  }

  /** Looks until the signal. Never throws. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, every, log } = this.#options;
    const failed = new BackOff({ first: 100, most: Math.max(every, 100), random });
    while (!signal.aborted) {
      const hurry = new AbortController();
      this.#hurry = hurry;
      let wait: number;
      try {
        await this.#look(signal);
        if (failed.failures > 0) log.info("the API server can be asked what it serves again");
        failed.reset();
        wait = every * (0.75 + random() / 2);
        this.#looks++;
        for (const watcher of this.#watchers) watcher();
      } catch (error) {
        if (signal.aborted) return;
        if (failed.failures === 0)
          log.warn("the API server cannot be asked what it serves, tried again until it can", { error: String(error) });
        wait = failed.next();
      }
      // A poke while looking counts for the next look, a moment later.
      if (hurry.signal.aborted) await pause(clock, 50, signal);
      else {
        const end = () => hurry.abort();
        signal.addEventListener("abort", end, { once: true });
        await pause(clock, wait, hurry.signal);
        signal.removeEventListener("abort", end);
      }
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { client } = this.#options;
    const headers = { accept: AGGREGATED, ...(this.#etag === "" ? {} : { "if-none-match": this.#etag }) };
    const { status, body, headers: answered } = await client.ask("/apis", signal, headers);
    if (status === 304) return;
    const kind = isRaw(body) ? body["kind"] : undefined;
    if (!isRaw(body) || (kind !== "APIGroupDiscoveryList" && kind !== "APIGroupList"))
      throw noAnswer("GET /apis", "BadAnswer", "the API server's answer is not a list of groups");
    const aggregated = kind === "APIGroupDiscoveryList";
    const served = aggregated ? fromAggregated(body["items"]) : await this.#oneByOne(body["groups"], signal);
    this.#served = served;
    this.#etag = aggregated && typeof answered.etag === "string" ? answered.etag : "";
  }

  /** Servers before 1.27, or with aggregated discovery switched off. */
  async #oneByOne(groups: unknown, signal: AbortSignal): Promise<Map<string, Set<string>>> {
    const { client, groups: asked } = this.#options;
    const served = new Map<string, Set<string>>();
    for (const group of list(groups)) {
      const name = String(group["name"]);
      if (!asked.includes(name)) continue;
      for (const { version } of list(group["versions"])) {
        if (typeof version !== "string") continue;
        try {
          const { body } = await client.ask(`/apis/${name}/${version}`, signal);
          for (const one of list(isRaw(body) ? body["resources"] : undefined)) add(served, name, one["name"], version);
        } catch (error) {
          if (!isNotFound(error)) throw error;
        }
      }
    }
    return served;
  }
}

const NONE: ReadonlySet<string> = new Set();

function fromAggregated(items: unknown): Map<string, Set<string>> {
  const served = new Map<string, Set<string>>();
  for (const item of list(items)) {
    const metadata = isRaw(item["metadata"]) ? item["metadata"] : {};
    for (const version of list(item["versions"]))
      for (const one of list(version["resources"]))
        add(served, String(metadata["name"]), one["resource"], String(version["version"]));
  }
  return served;
}

function add(served: Map<string, Set<string>>, group: string, plural: unknown, version: string): void {
  const key = `${group}/${String(plural)}`;
  const versions = served.get(key);
  if (versions) versions.add(version);
  else served.set(key, new Set([version]));
}
