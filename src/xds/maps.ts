/**
 * Maps of resources, compared and replaced by their versions: what holds the same stays the same map.
 */
import { TYPES, type Resource, type ResourceMap, type Resources } from "./resource.ts";

/** A map with these in place of what they replace; the map itself if they replace nothing. */
export function withThese(map: ResourceMap, resources: readonly Resource[]): ResourceMap {
  const others = resources.filter((r) => (map.get(r.name)?.version ?? r.version) !== r.version);
  return others.length === 0 ? map : new Map([...map, ...others.map((r) => [r.name, r] as const)]);
}

/** The old resources if the new ones hold the same versions: a rebuild that changed nothing is no change. */
export function same(now: Resources, before: Resources | undefined): Resources | undefined {
  if (!before) return undefined;
  const equal = TYPES.every((type) => {
    const [a, b] = [now[type], before[type]];
    if (a === b) return true;
    if (a.size !== b.size) return false;
    for (const [name, { version }] of a) if (b.get(name)?.version !== version) return false;
    return true;
  });
  return equal ? before : undefined;
}
