/**
 * Which groups of proxies hold the endpoints of which Service: where a change of endpoints goes. A reach is the key of an `Outbound`;
 * groups that may call the same share it.
 */
import type { Mesh, MeshService, Outbound } from "../policy/ir.ts";
import type { GroupName, ServiceName } from "../world/names.ts";

/** Services that a client's configuration is about: those that it may call, and the backends behind them. */
export function* reached(outbound: Outbound): Generator<MeshService> {
  yield* outbound.services;
  yield* outbound.backends;
}

const NOTHING: ReadonlySet<never> = new Set();

/** Follows a mesh from round to round: only groups that reach something else than before are looked at. */
export class Reaches {
  readonly #of = new Map<ServiceName, Set<string>>();
  readonly #groups = new Map<string, Set<GroupName>>();

  /** Reaches whose endpoints are this Service's too. */
  of(service: ServiceName): ReadonlySet<string> {
    return this.#of.get(service) ?? NOTHING;
  }

  /** The groups of a reach. */
  groups(key: string): ReadonlySet<GroupName> {
    return this.#groups.get(key) ?? NOTHING;
  }

  update(before: Mesh | undefined, { groups }: Mesh): void {
    for (const [group, { outbound }] of groups) {
      const old = before?.groups.get(group)?.outbound;
      // Equal keys are equal Services, by name.
      if (old?.key === outbound.key) continue;
      if (old) this.#remove(group, old);
      this.#add(group, outbound);
    }
    for (const [group, { outbound }] of before?.groups ?? []) if (!groups.has(group)) this.#remove(group, outbound);
  }

  #add(group: GroupName, outbound: Outbound): void {
    const { key } = outbound;
    const known = this.#groups.get(key);
    if (known) {
      known.add(group);
      return;
    }
    this.#groups.set(key, new Set([group]));
    for (const { name } of reached(outbound)) {
      const keys = this.#of.get(name);
      if (keys) keys.add(key);
      else this.#of.set(name, new Set([key]));
    }
  }

  #remove(group: GroupName, outbound: Outbound): void {
    const { key } = outbound;
    const known = this.#groups.get(key);
    known?.delete(group);
    if (!known || known.size > 0) return;
    this.#groups.delete(key);
    for (const { name } of reached(outbound)) {
      const keys = this.#of.get(name);
      keys?.delete(key);
      if (keys?.size === 0) this.#of.delete(name);
    }
  }
}
