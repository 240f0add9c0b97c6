/**
 * A cluster as a source: every kind of the table followed, decoded, and told to a sink as real changes. Writes nothing.
 */
import { setImmediate as nextTurn } from "node:timers";
import { Decoder } from "../../manifest/decode.ts";
import { isSetting, KINDS } from "../../manifest/kinds.ts";
import { realClock, type Clock } from "../../lib/settle.ts";
import type { Log } from "../../telemetry/log.ts";
import type { Change, Kind, Problem } from "../../world/types.ts";
import type { Sink } from "../sink.ts";
import type { KubernetesClient, Selection } from "./client.ts";
import { Discovery } from "./discovery.ts";
import { Holding, type Revision } from "./holding.ts";
import { KindWatch, type KindState } from "./kind-watch.ts";
import type { End } from "./reflector.ts";
import type { WatchLimits } from "./watch.ts";

/** What of a cluster is read. */
export interface Scope {
  /** Namespaces whose objects are read, each with watches of its own, so that Roles in them are enough; all when absent. */
  readonly namespaces?: readonly string[];
  /** Label selectors by kind, as `{ Pod: "osm-proxy-uuid" }`: the server sends what they select and nothing else. */
  readonly selectors?: Partial<Readonly<Record<Kind, string>>>;
  /** Kinds that are read; all when absent. */
  readonly kinds?: readonly Kind[];
  /** Settings (MeshConfig) count in this namespace alone, the control plane's; in every namespace when absent. */
  readonly meshConfigNamespace?: string;
  /** Namespaces of another mesh are not in this one; those of any mesh are when absent. */
  readonly meshName?: string;
}

export interface KubernetesSourceOptions {
  readonly client: KubernetesClient;
  readonly log: Log;
  readonly scope?: Scope;
  readonly clock?: Clock;
  /** From 0 up to 1; for jitter. */
  readonly random?: () => number;
  readonly limits?: Partial<WatchLimits>;
  /** Objects of a page of a list. */
  readonly page?: number;
  /** Milliseconds after which a kind is listed again although nothing went wrong. */
  readonly relist?: number;
  /** Milliseconds between looks at which kinds the cluster has. */
  readonly discoverEvery?: number;
  /** For a counter: a list or watch of a kind has ended, and is begun again. */
  readonly ended?: (kind: Kind, end: End) => void;
}

export type WatchState = KindState & {
  readonly kind: Kind;
  /** Undefined: of the whole cluster. */
  readonly namespace: string | undefined;
};

export class KubernetesSource {
  readonly #options: KubernetesSourceOptions;
  readonly #decoder: Decoder;
  readonly #watches: { kind: Kind; selection: Selection; holding: Holding; watch: KindWatch }[] = [];
  #sink: Sink | undefined;
  #changes: Change[] = [];
  #problemsChanged = false;
  #telling = false;
  #ended = false;

  constructor(options: KubernetesSourceOptions) {
    this.#options = options;
    this.#decoder = new Decoder({ mesh: options.scope?.meshName });
  }

  /** Resolves when every kind that the cluster has was read and told, or the signal came; goes on following until the signal. */
  async start(sink: Sink, signal: AbortSignal): Promise<void> {
    const { client, log, clock = realClock, random = Math.random, limits, page, relist, discoverEvery } = this.#options;
    if (signal.aborted) return;
    this.#sink = sink;
    const groups = [...new Set(KINDS.map((entry) => entry.group).filter((group) => group !== ""))];
    const every = discoverEvery === undefined ? {} : { every: discoverEvery };
    const discovery = new Discovery({ client, groups, log, clock, random, ...every });
    const waiting: Promise<void>[] = [];
    const kinds = this.#options.scope?.kinds;
    for (const entry of KINDS.filter(({ kind }) => kinds?.includes(kind) ?? true)) {
      for (const selection of this.#selections(entry)) {
        const holding = new Holding(entry, this.#decoder, {
          change: (change) => {
            this.#changes.push(change);
            this.#tellSoon();
          },
          problemsChanged: () => {
            this.#problemsChanged = true;
            this.#tellSoon();
          },
        });
        const { promise, resolve: listed } = Promise.withResolvers<void>();
        const ended = (end: End) => this.#options.ended?.(entry.kind, end);
        const parts = { client, discovery, holding, log, clock, random, limits, page, relist };
        const watch = new KindWatch({ entry, selection, ...parts, ended, listed });
        this.#watches.push({ kind: entry.kind, selection, holding, watch });
        waiting.push(promise);
        // Listens for looks before the first one.
        void watch.run(signal);
      }
    }
    void discovery.run(signal);
    const stopped = Promise.withResolvers<void>();
    const stop = () => {
      this.#ended = true;
      stopped.resolve();
    };
    signal.addEventListener("abort", stop, { once: true });
    await Promise.race([Promise.all(waiting), stopped.promise]);
    if (this.#ended) return;
    this.#tell();
    sink.synced();
  }

  /** How each kind is followed: for gauges, readiness and debug pages. */
  states(): readonly WatchState[] {
    return this.#watches.map(({ kind, selection, watch }) => ({
      kind,
      namespace: selection.namespace,
      ...watch.state(),
    }));
  }

  /** Of a policy object when it was last read; undefined where there is none. */
  revisionOf(kind: Kind, namespace: string, name: string): Revision | undefined {
    for (const one of this.#watches) {
      const revision = one.kind === kind ? one.holding.revisionOf(namespace, name) : undefined;
      if (revision) return revision;
    }
    return undefined;
  }

  /** Seconds since the server was last heard of a kind, the worst of its watches; for the gauge. Kinds that the cluster lacks are left out. */
  silence(): ReadonlyMap<Kind, number> {
    const seconds = new Map<Kind, number>();
    for (const state of this.states())
      if ("silent" in state) seconds.set(state.kind, Math.max(seconds.get(state.kind) ?? 0, state.silent / 1_000));
    return seconds;
  }

  #selections(entry: (typeof KINDS)[number]): Selection[] {
    const { namespaces, selectors, meshConfigNamespace } = this.#options.scope ?? {};
    const labelSelector = selectors?.[entry.kind];
    const own = isSetting(entry) && meshConfigNamespace !== undefined ? [meshConfigNamespace] : namespaces;
    if (!own) return [{ labelSelector }];
    // A namespace is not in itself, but a role may name it.
    return own.map((name) =>
      entry.namespaced ? { namespace: name, labelSelector } : { fieldSelector: `metadata.name=${name}`, labelSelector },
    );
  }

  /** All that came in this turn of the event loop, of every kind, makes one batch. */
  #tellSoon(): void {
    if (this.#telling) return;
    this.#telling = true;
    nextTurn(() => this.#tell());
  }

  #tell(): void {
    this.#telling = false;
    if (this.#ended) return;
    const changes = this.#changes;
    this.#changes = [];
    if (changes.length > 0) this.#sink?.apply(changes);
    if (!this.#problemsChanged) return;
    this.#problemsChanged = false;
    const problems = this.#watches.flatMap(({ holding }) => [...holding.problems()]);
    this.#sink?.problems(problems.sort(byObject));
  }
}

function byObject(a: Problem, b: Problem): number {
  const [x, y] = [a, b].map(({ object: { kind, namespace, name } }) => `${kind}/${namespace}/${name}`) as [
    string,
    string,
  ];
  return x < y ? -1 : x > y ? 1 : 0;
}
