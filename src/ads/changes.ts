/**
 * The difference between what a proxy holds and what it may have, made once for all streams that hold the same maps.
 * Pure; knows no stream.
 */
import { hash } from "../lib/hash.ts";
import type { Resource, ResourceMap } from "../xds/resource.ts";
import type { KnownMap } from "./subscription.ts";

export interface Changes {
  /** New, or of another version. */
  readonly set: readonly Resource[];
  /** Held, and no longer there. */
  readonly removed: readonly string[];
  /** Hash of the content: it is the nonce of a response that carries just this. */
  readonly id: string;
}

/**
 * Of this turn of the event loop only: streams that get the same get it in a burst. Kept longer, every group's first response
 * would stay for good, since all new proxies hold the same nothing.
 */
const memo = new Map<ResourceMap, Map<KnownMap, Changes>>();
const NO_CHANGES: Changes = { set: [], removed: [], id: hash("") };

/** What brings `known` to `target`. Compares by reference first, then by name and version. */
export function changesBetween(known: KnownMap, target: ResourceMap): Changes {
  if (known === target) return NO_CHANGES;
  if (memo.size === 0) setImmediate(() => memo.clear());
  let byKnown = memo.get(target);
  if (!byKnown) memo.set(target, (byKnown = new Map()));
  let changes = byKnown.get(known);
  if (!changes) byKnown.set(known, (changes = compare(known, target)));
  return changes;
}

function compare(known: KnownMap, target: ResourceMap): Changes {
  const set: Resource[] = [];
  for (const resource of target.values())
    if (known.get(resource.name)?.version !== resource.version) set.push(resource);
  const removed: string[] = [];
  for (const name of known.keys()) if (!target.has(name)) removed.push(name);
  let id: string | undefined;
  return {
    set,
    removed,
    get id() {
      return (id ??= hash(
        [...set.map(({ name, version }) => `+${name}@${version}`), ...removed.map((name) => `-${name}`)].join("\n"),
      ));
    },
  };
}

const versions = new WeakMap<KnownMap, string>();

/** Hash of names and versions: equal content has an equal version, whatever the order. */
export function setVersion(known: KnownMap): string {
  let version = versions.get(known);
  if (version === undefined) {
    const lines = [...known].map(([name, held]) => `${name}@${held.version}`).sort();
    versions.set(known, (version = hash(lines.join("\n"))));
  }
  return version;
}
