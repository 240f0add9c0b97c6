/**
 * Which groups of proxies hold the endpoints of which Service: where a change of endpoints goes. A reach is the key of an `Outbound`;
 * groups that may call the same share it.
 */
import type { Mesh, MeshService, Outbound } from "../policy/ir.ts";
import type { GroupName, ServiceName } from "../world/names.ts";

export interface Reaches {
  /** By Service: reaches whose endpoints are its too. */
  readonly of: ReadonlyMap<ServiceName, ReadonlySet<string>>;
  readonly groups: ReadonlyMap<string, readonly GroupName[]>;
}

/** Services that a client's configuration is about: those that it may call, and the backends behind them. */
export function* reached(outbound: Outbound): Generator<MeshService> {
  yield* outbound.services;
  yield* outbound.backends;
}

export function reachesOf(mesh: Mesh): Reaches {
  const of = new Map<ServiceName, Set<string>>();
  const groups = new Map<string, GroupName[]>();
  for (const { group, outbound } of mesh.groups.values()) {
    const known = groups.get(outbound.key);
    if (known) {
      known.push(group);
      continue;
    }
    groups.set(outbound.key, [group]);
    for (const { name } of reached(outbound)) {
      const keys = of.get(name);
      if (keys) keys.add(outbound.key);
      else of.set(name, new Set([outbound.key]));
    }
  }
  return { of, groups };
}

/** Whether every group reaches what it did. */
export function sameReaches(before: Mesh, { groups }: Mesh): boolean {
  if (before.groups.size !== groups.size) return false;
  for (const [group, { outbound }] of groups) if (before.groups.get(group)?.outbound.key !== outbound.key) return false;
  return true;
}
