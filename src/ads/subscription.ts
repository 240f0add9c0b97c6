/**
 * What one stream has asked for, holds and rejects of one type: the half of the pure reducer that takes requests, shared by delta
 * and SotW (`offer` is the other half). Knows no socket, no clock, no encoding and no other type.
 */
import type { Reference, Resource, Type } from "../xds/resource.ts";

export type Protocol = "delta" | "sotw";

/** A resource that the proxy holds. After a reconnect often the version only: then nobody knows what it refers to. */
export interface Known {
  readonly version: string;
  readonly refs?: readonly Reference[];
}
export type KnownMap = ReadonlyMap<string, Known>;

/** One request, of either protocol. */
export interface Request {
  /** Delta: names added. SotW: all names wanted from now on. */
  readonly subscribe: readonly string[];
  /** Delta: names dropped. */
  readonly unsubscribe: readonly string[];
  /** Delta, in the first request of a stream and type: what the proxy holds, name → version. */
  readonly initial: ReadonlyMap<string, string>;
  /** SotW: the version that the proxy accepted last. */
  readonly version: string;
  readonly nonce: string;
  /** The proxy's message when it rejects the response of `nonce`. */
  readonly error: string | undefined;
}

/** One answer, not yet encoded. */
export interface Response {
  readonly type: Type;
  readonly nonce: string;
  /** SotW: hash of all that the proxy holds of this type once it accepts. Empty for delta. */
  readonly version: string;
  readonly resources: readonly Resource[];
  /** Delta only. */
  readonly removed: readonly string[];
  /** The same object for every stream that gets these very bytes. */
  readonly shared: object | undefined;
}

/** A response without ACK or NACK so far. At most one a stream and type. */
export interface Pending {
  readonly nonce: string;
  readonly sent: ReadonlyMap<string, Resource>;
  readonly removed: ReadonlySet<string>;
  /** Names sent because they had to be, whatever the proxy holds. */
  readonly asked: ReadonlySet<string>;
  /** What the proxy holds if it accepts, where that is known already. */
  readonly after: KnownMap | undefined;
}

/** What the proxy rejected last. */
export interface Nack {
  readonly message: string;
  readonly sent: ReadonlyMap<string, Resource>;
  readonly removed: ReadonlySet<string>;
  /** True until any of the rejected contents changes: so long, none of them is sent again. */
  readonly withheld: boolean;
}

export interface Subscription {
  readonly type: Type;
  readonly protocol: Protocol;
  /** A request has come. */
  readonly begun: boolean;
  readonly wildcard: boolean;
  /** A name, `*` included, was asked for at some time: an empty list no longer means everything. */
  readonly explicit: boolean;
  readonly names: ReadonlySet<string>;
  /** Confirmed by the proxy, within what it asks for. */
  readonly known: KnownMap;
  /** Names to be answered whatever the proxy holds. */
  readonly asked: ReadonlySet<string>;
  readonly pending: Pending | undefined;
  readonly nack: Nack | undefined;
  /** Nonce of the last response on this stream; empty before the first. */
  readonly nonce: string;
  readonly responses: number;
  /** The proxy said at the start that it holds something: it comes from an earlier stream. */
  readonly resumed: boolean;
  /** SotW: the version of that, compared once when there is something to compare with. */
  readonly claimed: string;
  /** Delta: `known` still has bare versions. */
  readonly unresolved: boolean;
}

const NONE: ReadonlySet<string> = new Set();
const NOTHING: KnownMap = new Map();

export const subscription = (type: Type, protocol: Protocol): Subscription => ({
  type,
  protocol,
  begun: false,
  wildcard: false,
  explicit: false,
  names: NONE,
  known: NOTHING,
  asked: NONE,
  pending: undefined,
  nack: undefined,
  nonce: "",
  responses: 0,
  resumed: false,
  claimed: "",
  unresolved: false,
});

export const interested = (sub: Subscription, name: string): boolean => sub.wildcard || sub.names.has(name);

/** Types for which a first request without names means everything ("How the client specifies what resources to return"). */
const legacyWildcard = (type: Type): boolean => type === "CDS" || type === "LDS";

/**
 * Types of which SotW always carries all resources, so that absence means removal; of the others it carries what changed
 * ("Grouping Resources into Responses").
 */
export const carriesAll = (sub: Subscription): boolean => sub.protocol === "sotw" && legacyWildcard(sub.type);

/** What a request changes. Sends nothing: `offer` does. */
export function receive(sub: Subscription, request: Request): Subscription {
  if (sub.protocol === "sotw") {
    // "The management server should not send a DiscoveryResponse for any DiscoveryRequest that has a stale nonce": the names in
    // it will come again with the ACK. Before our first response a nonce can only come from an earlier stream.
    if (request.nonce !== "" && sub.nonce !== "" && request.nonce !== sub.nonce) return sub;
    return wantExactly(confirm(sub, request), request);
  }
  return wantMore(confirm(sub, request), request);
}

function confirm(sub: Subscription, { nonce, error }: Request): Subscription {
  const { pending } = sub;
  if (!pending || nonce !== pending.nonce) return sub;
  if (error !== undefined) {
    const { sent, removed } = pending;
    // What was rejected before and is still withheld stays so: it was not part of this response.
    const before = sub.nack?.withheld ? sub.nack : undefined;
    // It has dropped all of that meanwhile: nothing is left to be rejected.
    if (![...sent.keys(), ...removed].some((name) => interested(sub, name))) {
      return { ...sub, pending: undefined, nack: before };
    }
    const nack: Nack = {
      message: error,
      sent: before ? new Map([...before.sent, ...sent]) : sent,
      removed: before ? new Set([...before.removed, ...removed]) : removed,
      withheld: true,
    };
    return { ...sub, pending: undefined, nack };
  }
  let known = pending.after;
  if (!known) {
    const next = new Map(sub.known);
    for (const name of pending.removed) next.delete(name);
    for (const [name, resource] of pending.sent) if (interested(sub, name)) next.set(name, resource);
    known = next;
  }
  return { ...sub, pending: undefined, known, nack: sub.nack?.withheld ? sub.nack : undefined };
}

/** Delta: names are added and dropped. */
function wantMore(sub: Subscription, request: Request): Subscription {
  const first = !sub.begun;
  if (!first && request.subscribe.length === 0 && request.unsubscribe.length === 0) return sub;
  const names = new Set(sub.names);
  const asked = new Set(sub.asked);
  let { wildcard, explicit } = sub;
  if (first && request.subscribe.length === 0 && legacyWildcard(sub.type)) wildcard = true;
  for (const name of request.subscribe) {
    explicit = true;
    if (name === "*") {
      wildcard = true;
      continue;
    }
    names.add(name);
    // "The server must respond with all resources listed in resource_names_subscribe, even if it believes the client has the most
    // recent version": the proxy may have dropped them. With initial_resource_versions it says that it has not.
    if (!(first && request.initial.has(name))) asked.add(name);
  }
  const dropped = new Set<string>();
  for (const name of request.unsubscribe) {
    if (name === "*") {
      wildcard = false;
      continue;
    }
    names.delete(name);
    asked.delete(name);
    dropped.add(name);
  }
  // A name that is dropped while the wildcard may still cover it: the proxy is told whether it has it or not.
  if (wildcard) for (const name of dropped) if (sub.begun) asked.add(name);
  let known = sub.known;
  if (first && request.initial.size > 0) {
    known = new Map([...request.initial].map(([name, version]) => [name, { version }] as const));
  }
  const next = {
    ...sub,
    begun: true,
    wildcard,
    explicit,
    names,
    asked,
    known,
    resumed: sub.resumed || (first && known.size > 0),
  };
  return forget({ ...next, unresolved: sub.unresolved || (first && known.size > 0) });
}

/** SotW: the names are the whole list. */
function wantExactly(sub: Subscription, request: Request): Subscription {
  const listed = request.subscribe.filter((name) => name !== "*");
  const explicit = sub.explicit || request.subscribe.length > 0;
  // "Once the client does explicitly subscribe to a resource name, then this legacy semantic is no longer available."
  const wildcard = explicit ? listed.length < request.subscribe.length : legacyWildcard(sub.type);
  const same =
    sub.begun &&
    wildcard === sub.wildcard &&
    listed.length === sub.names.size &&
    listed.every((name) => sub.names.has(name));
  if (same) return explicit === sub.explicit ? sub : { ...sub, explicit };
  const names = new Set(listed);
  const asked = new Set([...sub.asked].filter((name) => names.has(name)));
  for (const name of names) if (!sub.names.has(name)) asked.add(name);
  const claimed = sub.begun ? sub.claimed : request.version;
  return forget({
    ...sub,
    begun: true,
    wildcard,
    explicit,
    names,
    asked,
    claimed,
    resumed: sub.resumed || claimed !== "",
  });
}

/** Drops from what is known the names that are no longer asked for: the proxy drops them too. */
function forget(sub: Subscription): Subscription {
  if (sub.wildcard) return sub;
  let shrunk = false;
  for (const name of sub.known.keys()) shrunk ||= !sub.names.has(name);
  const known = shrunk ? new Map([...sub.known].filter(([name]) => sub.names.has(name))) : sub.known;
  let { pending } = sub;
  if (pending?.after && [...pending.after.keys()].some((name) => !sub.names.has(name)))
    pending = { ...pending, after: undefined };
  const { nack } = sub;
  const matters = nack && [...nack.sent.keys(), ...nack.removed].some((name) => sub.names.has(name));
  return { ...sub, known, pending, nack: matters ? nack : undefined };
}

/** Names that are to be sent again though the proxy confirmed them: what holds them has been replaced. Others are left out. */
export function sendAgain(sub: Subscription, names: readonly string[]): Subscription {
  const again = names.filter((name) => interested(sub, name) && (sub.known.has(name) || sub.pending?.sent.has(name)));
  return again.length === 0 ? sub : { ...sub, asked: new Set([...sub.asked, ...again]) };
}
