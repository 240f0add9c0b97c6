/**
 * The next response of one stream and type: the half of the pure reducer that answers, shared by delta and SotW.
 * Knows no socket, no clock, no encoding and no other type: what must wait for another type is told to it by a `Hold`.
 */
import type { Resource, ResourceMap } from "../xds/resource.ts";
import { changesBetween, setVersion } from "./changes.ts";
import {
  carriesAll,
  interested,
  type Known,
  type KnownMap,
  type Pending,
  type Response,
  type Subscription,
} from "./subscription.ts";

const NONE: ReadonlySet<string> = new Set();

/** Whether a change of a name has to wait. Pure. */
export type Hold = (name: string, change: "set" | "remove") => boolean;

/**
 * The next response, if one is due: the difference between what the proxy holds and `target`, the latest that it may have.
 * While a response is pending there is none: the next is computed against the latest value when the ACK comes.
 * `limit` is the number of bytes of resources above which the rest waits for the next response.
 */
export function offer(
  before: Subscription,
  target: ResourceMap,
  hold: Hold,
  limit: number,
): [Subscription, Response | undefined] {
  if (!before.begun || before.pending) return [before, undefined];
  const sub = release(resolve(before, target), target);
  const changes = changesBetween(sub.known, target);
  const withheld = (name: string): boolean =>
    sub.nack?.withheld === true && !sub.asked.has(name) && (sub.nack.sent.has(name) || sub.nack.removed.has(name));

  const sent = new Map<string, Resource>();
  const removed = new Set<string>();
  const asked = new Set<string>();
  const waiting = new Set<string>();
  let size = 0;
  let whole = true;
  let held = false;
  const holds = (name: string, change: "set" | "remove"): boolean => {
    const now = hold(name, change);
    held ||= now;
    return now;
  };
  const take = (resource: Resource): boolean => {
    if (sent.size > 0 && !carriesAll(sub) && size + resource.bytes.length > limit) return false;
    sent.set(resource.name, resource);
    size += resource.bytes.length;
    return true;
  };
  for (const name of changes.removed) {
    if (withheld(name) || holds(name, "remove")) whole = false;
    else removed.add(name);
  }
  for (const name of sub.asked) {
    const resource = target.get(name);
    if (!resource) {
      if (sub.known.has(name) && !removed.has(name)) waiting.add(name);
      else {
        asked.add(name);
        removed.add(name);
      }
    } else if (holds(name, "set") || !take(resource)) waiting.add(name);
    else asked.add(name);
  }
  for (const resource of changes.set) {
    if (sent.has(resource.name)) continue;
    if (!interested(sub, resource.name) || withheld(resource.name) || holds(resource.name, "set") || !take(resource))
      whole = false;
  }

  // A wildcard's first answer is due even if it is empty: the proxy waits for it before it goes on to the next type.
  const greet = sub.wildcard && sub.nonce === "" && whole && sub.known.size === 0;
  // It comes from an earlier stream and holds what nobody knows: what is left out of "everything" would be removed.
  if (held && carriesAll(sub) && sub.resumed && sub.nonce === "" && sub.known.size === 0) return [sub, undefined];
  const saysNothing = sent.size === 0 && (removed.size === 0 || (sub.protocol === "sotw" && !carriesAll(sub)));
  if (saysNothing && !greet) {
    // SotW cannot say of these types that a resource is gone: there is nothing to be confirmed.
    const known = removed.size > 0 ? without(sub.known, removed) : sub.known;
    const nack = sub.nack && !sub.nack.withheld && waiting.size === 0 && whole ? undefined : sub.nack;
    if (known === sub.known && nack === sub.nack && waiting.size === sub.asked.size) return [sub, undefined];
    return [{ ...sub, known, nack, asked: waiting }, undefined];
  }

  // All changes applied to what is known give the target itself: streams that are level share one map.
  const after = whole && waiting.size === 0 ? target : undefined;
  const shared = after && sub.asked.size === 0 && sent.size + removed.size > 0 ? changes : undefined;
  const nonce = shared ? changes.id : `${sub.responses + 1}`;
  if (sub.protocol === "delta") {
    const pending: Pending = { nonce, sent, removed, asked, after };
    const response: Response = {
      type: sub.type,
      nonce,
      version: "",
      resources: [...sent.values()],
      removed: [...removed],
      shared,
    };
    return [{ ...sub, asked: waiting, pending, nonce, responses: sub.responses + 1 }, response];
  }
  const then = after ?? merge(sub.known, sent, removed);
  const resources = carriesAll(sub) ? ([...then.values()] as Resource[]) : [...sent.values()];
  const pending: Pending = { nonce, sent, removed, asked, after: then };
  const response: Response = { type: sub.type, nonce, version: setVersion(then), resources, removed: [], shared };
  return [{ ...sub, asked: waiting, pending, nonce, responses: sub.responses + 1 }, response];
}

/** After a reconnect: what the proxy claims to hold, compared with what there is. */
function resolve(sub: Subscription, target: ResourceMap): Subscription {
  if (sub.claimed !== "") {
    const candidate = covered(sub, target) ?? new Map([...target].filter(([name]) => interested(sub, name)));
    const same = setVersion(candidate) === sub.claimed;
    return same ? { ...sub, claimed: "", known: candidate, asked: NONE } : { ...sub, claimed: "" };
  }
  if (!sub.unresolved) return sub;
  let equal = sub.known.size === target.size;
  const known = new Map<string, Known>();
  for (const [name, held] of sub.known) {
    const resource = target.get(name);
    const same = resource?.version === held.version;
    known.set(name, same ? resource : held);
    equal &&= same;
  }
  return { ...sub, unresolved: false, known: equal ? target : known };
}

/** A rejection ends when any of the rejected contents is another one; then all of it is sent, for nobody knows what was applied. */
function release(sub: Subscription, target: ResourceMap): Subscription {
  const { nack } = sub;
  if (!nack?.withheld) return sub;
  let changed = false;
  for (const [name, resource] of nack.sent) changed ||= target.get(name)?.version !== resource.version;
  for (const name of nack.removed) changed ||= target.has(name);
  if (!changed) return sub;
  const again = [...nack.sent.keys(), ...nack.removed].filter((name) => interested(sub, name));
  return { ...sub, nack: { ...nack, withheld: false }, asked: new Set([...sub.asked, ...again]) };
}

/** `target` itself where the proxy asks for all of it, so that streams share one map. */
const covered = (sub: Subscription, target: ResourceMap): ResourceMap | undefined =>
  sub.wildcard || (sub.names.size >= target.size && [...target.keys()].every((name) => sub.names.has(name)))
    ? target
    : undefined;

function merge(known: KnownMap, sent: ReadonlyMap<string, Resource>, removed: ReadonlySet<string>): KnownMap {
  const next = new Map(known);
  for (const name of removed) next.delete(name);
  for (const [name, resource] of sent) next.set(name, resource);
  return next;
}

const without = (known: KnownMap, names: ReadonlySet<string>): KnownMap =>
  new Map([...known].filter(([name]) => !names.has(name)));
