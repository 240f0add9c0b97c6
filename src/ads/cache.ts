/**
 * The latest resources of each group of equal proxies, and who is to be told when they change. Holds no history and no queue:
 * whoever is woken gets the latest. Knows no stream and no proxy.
 */
import { TYPES, type Resources } from "../xds/resource.ts";

export type Wake = (resources: Resources | undefined) => void;

interface Subscriber {
  readonly group: Group;
  readonly wake: Wake;
}

interface Group {
  resources: Resources | undefined;
  readonly subscribers: Set<Subscriber>;
}

export interface CacheOptions {
  /** Runs soon, outside the current call; `setImmediate` when absent. */
  readonly schedule?: (run: () => void) => void;
}

/** Subscribers told in one go before other work gets a turn. */
const TURN = 256;

/** A group exists while it has resources or subscribers. */
export class Cache {
  readonly #groups = new Map<string, Group>();
  readonly #schedule: (run: () => void) => void;
  /** Who is to be woken: a set, so that a change that comes while another waits adds nothing. */
  readonly #queue = new Set<Subscriber>();
  readonly #dirty = new Set<Group>();
  #scheduled = false;
  #changes = 0;
  #wakes = 0;

  constructor(options: CacheOptions = {}) {
    this.#schedule = options.schedule ?? ((run) => setImmediate(run));
  }

  /** Replaces what a group gets. Equal references are no change. */
  set(name: string, resources: Resources): void {
    const group = this.#group(name);
    const { resources: before } = group;
    if (before && TYPES.every((type) => before[type] === resources[type])) return;
    this.#change(group, resources);
  }

  /** No workload is in this group any more. Proxies that still are connected keep what they have. */
  delete(name: string): void {
    const group = this.#groups.get(name);
    if (!group) return;
    if (group.resources) this.#change(group, undefined);
    this.#sweep(name, group);
  }

  get(name: string): Resources | undefined {
    return this.#groups.get(name)?.resources;
  }

  /** `wake` runs soon after each change, once for many of them; not for what is there already. The answer unsubscribes. */
  subscribe(name: string, wake: Wake): () => void {
    const group = this.#group(name);
    const subscriber = { group, wake };
    group.subscribers.add(subscriber);
    return () => {
      group.subscribers.delete(subscriber);
      this.#queue.delete(subscriber);
      this.#sweep(name, group);
    };
  }

  /** Groups known, changes published and subscribers woken so far. */
  get counters(): { readonly groups: number; readonly changes: number; readonly wakes: number } {
    return { groups: this.#groups.size, changes: this.#changes, wakes: this.#wakes };
  }

  #group(name: string): Group {
    let group = this.#groups.get(name);
    if (!group) this.#groups.set(name, (group = { resources: undefined, subscribers: new Set() }));
    return group;
  }

  #sweep(name: string, group: Group): void {
    if (!group.resources && group.subscribers.size === 0 && this.#groups.get(name) === group) this.#groups.delete(name);
  }

  #change(group: Group, resources: Resources | undefined): void {
    group.resources = resources;
    this.#changes++;
    this.#dirty.add(group);
    this.#arm();
  }

  #arm(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#schedule(() => this.#turn());
  }

  #turn(): void {
    this.#scheduled = false;
    for (const group of this.#dirty) for (const subscriber of group.subscribers) this.#queue.add(subscriber);
    this.#dirty.clear();
    let left = TURN;
    for (const subscriber of this.#queue) {
      if (left-- === 0) return this.#arm();
      this.#queue.delete(subscriber);
      this.#wakes++;
      subscriber.wake(subscriber.group.resources);
    }
  }
}
