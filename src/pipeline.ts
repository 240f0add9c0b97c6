/**
 * The whole sentence: world → mesh → resources → cache, at two speeds. Keeps the last known good when something is wrong with its own work,
 * and shows what it holds, read-only, to whoever explains or prints it.
 */
import { Settle, type Clock } from "./lib/settle.ts";
import { Compiler } from "./policy/compile.ts";
import type { Mesh } from "./policy/ir.ts";
import type { Log } from "./telemetry/log.ts";
import type { Metrics } from "./telemetry/metrics.ts";
import { isIPv6 } from "./world/address.ts";
import {
  dualStackGroup,
  groupOfDualStack,
  localName,
  namespaceOf,
  type GroupName,
  type Identity,
} from "./world/names.ts";
import type { Store } from "./world/store.ts";
import type { Pod, Problem } from "./world/types.ts";
import type { World } from "./world/world.ts";
import { Builder, missing, type Built } from "./xds/build.ts";
import { dualStack, singleStack } from "./xds/dual-stack.ts";
import { changedServices } from "./xds/endpoints.ts";
import type { Resources } from "./xds/resource.ts";
import type { Trust } from "./xds/tls.ts";

export { changedServices };

/** Where snapshots go: `ads/`'s cache. */
export interface Publication {
  set(group: string, resources: Resources): void;
  delete(group: string): void;
}

export interface PipelineOptions {
  readonly store: Store;
  readonly publication: Publication;
  readonly trust: Trust;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Milliseconds that policy changes settle: quiet, and at most. */
  readonly settle?: { readonly quiet: number; readonly max: number };
  readonly clock?: Clock;
  /** For tests of what happens when Envoy rejects something: changes resources on their way out. */
  readonly tamper?: (group: GroupName, resources: Resources) => Resources;
}

/** What the pipeline holds, for those who only look. */
export interface Inspect {
  readonly world: World;
  readonly mesh: Mesh | undefined;
  /** Problems that compiling found. */
  readonly problems: readonly Problem[];
  /** The store's revision that is published. */
  readonly published: number;
  resources(group: GroupName): Resources | undefined;
  /** What was compiled and encoded since the start, by part and type. */
  readonly work: {
    readonly compiled: Readonly<Record<string, number>>;
    readonly built: Readonly<Record<string, number>>;
  };
}

/** A stream's interest in the group of its proxy. */
interface Follower {
  readonly proxyId: string;
  readonly identity: Identity;
  /** Name of its pod, when it was last seen. */
  pod: string | undefined;
  group: GroupName | undefined;
  readonly changed: (group: GroupName | undefined) => void;
}

export class Pipeline implements Inspect {
  readonly #options: PipelineOptions;
  readonly #compiler = new Compiler();
  readonly #builder = new Builder();
  readonly #settle: Settle;
  /** By their pods' namespace: a pod that changes concerns nobody else. */
  readonly #followers = new Map<string, Set<Follower>>();
  readonly #watchers = new Set<(path: "policy" | "endpoints") => void>();
  /** Groups with a proxy, now or before, whose pod has an IPv6 address. */
  readonly #dualStack = new Set<GroupName>();
  #waiting: { revision: number; resolve: () => void }[] = [];
  #mesh: Mesh | undefined;
  #problems: readonly Problem[] = [];
  #world: World;
  #published = -1;
  #running = false;
  #endpointsDue = false;
  #policyDue = false;
  #counted: Record<string, number> = {};

  constructor(options: PipelineOptions) {
    this.#options = options;
    this.#world = options.store.world;
    const settle = { quiet: 20, max: 200, ...options.settle, ...(options.clock ? { clock: options.clock } : {}) };
    this.#settle = new Settle(settle, () => this.#publishMesh());
  }

  /** Publishes what the store holds, and from then on each change, until the signal. Call it when the sources have synced. */
  start(signal: AbortSignal): void {
    this.#running = true;
    const unfollow = this.#options.store.follow((reach) => {
      if (reach === "policy") {
        this.#policyDue = true;
        this.#settle.poke();
      } else if (!this.#endpointsDue) {
        this.#endpointsDue = true;
        setImmediate(() => this.#publishEndpoints());
      }
    });
    signal.addEventListener("abort", () => {
      this.#running = false;
      unfollow();
      this.#settle.stop();
    });
    this.#publishMesh();
  }

  get world(): World {
    return this.#world;
  }
  get mesh(): Mesh | undefined {
    return this.#mesh;
  }
  get problems(): readonly Problem[] {
    return this.#problems;
  }
  get published(): number {
    return this.#published;
  }
  get work(): Inspect["work"] {
    return { compiled: this.#compiler.made, built: this.#builder.built };
  }
  resources(group: GroupName): Resources | undefined {
    const plain = groupOfDualStack(group);
    const found = this.#builder.resources(plain ?? group);
    return found && (plain ? dualStack(found) : this.#singleStack(found));
  }

  /** Resolves when this revision of the store, or a later one, is published. */
  settled(revision = this.#options.store.revision): Promise<void> {
    if (this.#published >= revision) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ revision, resolve }));
  }

  /**
   * Tells a stream the group of its proxy, now and whenever it becomes another one; undefined while no pod of this
   * proxy id and account is known. The answer ends it.
   */
  follow(proxyId: string, identity: Identity, changed: (group: GroupName | undefined) => void): () => void {
    const follower: Follower = { proxyId, identity, changed, group: undefined, pod: undefined };
    follower.group = this.#groupOf(follower);
    const namespace = namespaceOf(identity);
    let beside = this.#followers.get(namespace);
    if (!beside) this.#followers.set(namespace, (beside = new Set()));
    beside.add(follower);
    changed(follower.group);
    return () => {
      beside.delete(follower);
      if (beside.size === 0 && this.#followers.get(namespace) === beside) this.#followers.delete(namespace);
    };
  }

  /** Calls after each publication, without data: read what you need. The answer ends it. */
  onPublished(watcher: (path: "policy" | "endpoints") => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Publishes every group again as it is: for `tamper`, whose mind may change. */
  republish(): void {
    const groups = this.#mesh?.groups.keys() ?? [];
    const changed = new Map(
      [...groups].flatMap((group) => {
        const resources = this.#builder.resources(group);
        return resources ? [[group, resources] as const] : [];
      }),
    );
    this.#publish({ changed, removed: [] });
  }

  #publishMesh(): void {
    if (!this.#running) return;
    const { store, trust, log, metrics } = this.#options;
    const { world, revision } = store;
    const started = performance.now();
    try {
      const { mesh, problems } = this.#compiler.compile(world);
      const built = this.#builder.mesh(mesh, world, trust);
      const groups = this.#publish(built);
      this.#mesh = mesh;
      this.#problems = problems;
      this.#policyDue = false;
      this.#done(world, revision, "policy");
      metrics.publishTime.observe((performance.now() - started) / 1000);
      log.info("published", {
        revision,
        groups,
        problems: problems.length,
        ms: Math.round((performance.now() - started) * 10) / 10,
      });
    } catch (error) {
      // What is published is older than the store until a compile succeeds: endpoints must not pass for all of it.
      this.#policyDue = true;
      this.#alarm("could not compile the mesh", revision, error);
    }
    for (const beside of this.#followers.values()) for (const follower of beside) this.#refresh(follower);
  }

  #publishEndpoints(): void {
    this.#endpointsDue = false;
    const { store } = this.#options;
    const { world, revision } = store;
    if (!this.#running) return;
    const before = this.#world;
    try {
      this.#publish(this.#builder.endpoints(world, changedServices(before, world)));
      // A policy change that is settling must not be overtaken by a world that the mesh does not know: endpoints alone are published.
      if (this.#policyDue)
        this.#world = { ...this.#world, tables: { ...this.#world.tables, EndpointSlice: world.tables.EndpointSlice } };
      else this.#done(world, revision, "endpoints");
    } catch (error) {
      this.#alarm("could not build the endpoints", revision, error);
    }
    if (world.tables.Pod === before.tables.Pod) return;
    for (const [namespace, beside] of this.#followers)
      if (world.tables.Pod.get(namespace) !== before.tables.Pod.get(namespace))
        for (const follower of beside) this.#refresh(follower);
  }

  #alarm(what: string, revision: number, error: unknown): void {
    const { metrics, log } = this.#options;
    metrics.publishFailures.inc();
    log.error(`${what}: proxies keep their last configuration; this is a fault of Heddle's, please report it`, {
      revision,
      error: String(error),
      stack: error instanceof Error ? error.stack : undefined,
    });
  }

  #publish({ changed, removed }: Built): number {
    const { publication, log, metrics } = this.#options;
    for (const [group, resources] of changed) {
      const absent = missing(resources);
      if (absent.length > 0) {
        metrics.publishFailures.inc();
        log.error(
          "a snapshot refers to what is not there: its proxies keep their last configuration; this is a fault of Heddle's, please report it",
          { group, absent: absent.slice(0, 10) },
        );
        continue;
      }
      this.#give(group, resources);
    }
    for (const group of removed) {
      publication.delete(group);
      if (this.#dualStack.delete(group)) publication.delete(dualStackGroup(group));
    }
    return changed.size;
  }

  #give(group: GroupName, resources: Resources): void {
    const { publication, tamper } = this.#options;
    const given = tamper ? tamper(group, resources) : resources;
    publication.set(group, this.#singleStack(given));
    if (this.#dualStack.has(group)) publication.set(dualStackGroup(group), dualStack(given));
  }

  #singleStack(resources: Resources): Resources {
    return this.#builder.hasIPv6 ? singleStack(resources) : resources;
  }

  #done(world: World, revision: number, path: "policy" | "endpoints"): void {
    const { metrics } = this.#options;
    this.#world = world;
    this.#published = revision;
    metrics.publishes.inc({ path });
    for (const [type, count] of Object.entries(this.#builder.built)) {
      metrics.built.inc({ type }, count - (this.#counted[type] ?? 0));
      this.#counted[type] = count;
    }
    const waiting = this.#waiting;
    this.#waiting = waiting.filter((w) => w.revision > revision);
    for (const { revision: wanted, resolve } of waiting) if (wanted <= revision) resolve();
    for (const watcher of this.#watchers) watcher(path);
  }

  #refresh(follower: Follower): void {
    const group = this.#groupOf(follower);
    if (group === follower.group) return;
    follower.group = group;
    follower.changed(group);
  }

  #groupOf(follower: Follower): GroupName | undefined {
    const { group: before } = follower;
    const pod = this.#podOf(follower);
    const group = pod && this.#mesh?.groupOf.get(pod.workload.key);
    if (!pod || !group) return undefined;
    // Where it listens depends on its addresses: without knowing them it is given nothing yet, and keeps what it has.
    if (pod.ips.length === 0) return before;
    if (!pod.ips.some(isIPv6)) return group;
    if (!this.#dualStack.has(group)) {
      this.#dualStack.add(group);
      const resources = this.#builder.resources(group);
      if (resources && missing(resources).length === 0) this.#give(group, resources);
    }
    return dualStackGroup(group);
  }

  #podOf(follower: Follower): Pod | undefined {
    const { proxyId, identity } = follower;
    const pods = this.#options.store.world.tables.Pod.get(namespaceOf(identity));
    const known = follower.pod === undefined ? undefined : pods?.get(follower.pod);
    if (known?.proxyId === proxyId && known.workload.identity === identity) return known;
    const found = pods && podByProxy(pods, proxyId, identity);
    follower.pod = found && localName(found.name);
    return found;
  }
}

/** Made only for those whose pod is not where it was: of all pods that such a map has. */
const proxies = new WeakMap<ReadonlyMap<string, Pod>, ReadonlyMap<string, Pod>>();

/** By proxy id and account: the id is a label that users may write, and a pod of another account may bear the same one. */
function podByProxy(pods: ReadonlyMap<string, Pod>, proxyId: string, identity: Identity): Pod | undefined {
  let index = proxies.get(pods);
  if (!index) {
    index = new Map([...pods.values()].map((pod) => [proxyKey(pod.proxyId, pod.workload.identity), pod]));
    proxies.set(pods, index);
  }
  return index.get(proxyKey(proxyId, identity));
}

/** No account's name has a blank. */
const proxyKey = (proxyId: string, identity: Identity): string => `${identity} ${proxyId}`;
