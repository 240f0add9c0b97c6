/**
 * What has to wait for what, so that a proxy never routes to a cluster that it does not have or that is still warming:
 * make before break, over the types of one stream. Pure; knows no stream, no time and no encoding.
 */
import type { Reference, Resource, Resources, Type } from "../xds/resource.ts";
import { interested, type KnownMap, type Subscription } from "./subscription.ts";

export type Subscriptions = { readonly [T in Type]: Subscription };

/** Types whose resources refer to each type. */
const REFERRERS: { readonly [T in Type]: readonly Type[] } = {
  CDS: ["LDS", "RDS"],
  EDS: ["CDS"],
  SDS: ["CDS", "LDS"],
  LDS: [],
  RDS: ["LDS"],
};

/** `wait`: so long, but not for ever. `keep`: as long as it takes, because what the proxy has needs it and nothing waits for this. */
export type Verdict = "go" | "wait" | "keep";

/** Whether a change of one resource may be sent to a proxy in this state now. */
export function gate(
  subs: Subscriptions,
  target: Resources,
  type: Type,
  name: string,
  change: "set" | "remove",
): Verdict {
  if (change === "remove") return mayRemove(subs, type, name);
  if (type !== "LDS" && type !== "RDS") return "go";
  for (const cluster of clustersOf(target, target[type].get(name)))
    if (!clusterReady(subs, target, cluster)) return "wait";
  return "go";
}

/** The clusters that a listener or route configuration needs, also through the routes that a listener names. */
function* clustersOf(target: Resources, resource: Resource | undefined): Generator<string> {
  for (const ref of resource?.refs ?? []) {
    if (ref.type === "CDS") yield ref.name;
    else if (ref.type === "RDS" && resource?.type === "LDS") yield* clustersOf(target, target.RDS.get(ref.name));
  }
}

/**
 * The proxy has confirmed this cluster, and after it the endpoints and secrets without which it does not finish warming.
 * Of those any version will do: endpoints that change all the time must not hold up routes.
 */
export function clusterReady(subs: Subscriptions, target: Resources, name: string): boolean {
  const cluster = target.CDS.get(name);
  // What is not there, or was never asked for on this stream, cannot be waited for.
  if (!cluster || !subs.CDS.begun || !interested(subs.CDS, name)) return true;
  if (subs.CDS.known.get(name)?.version !== cluster.version || subs.CDS.pending?.removed.has(name)) return false;
  return cluster.refs.every((ref) => !target[ref.type].has(ref.name) || confirmed(subs[ref.type], ref.name));
}

function confirmed({ known, asked, pending }: Subscription, name: string): boolean {
  return known.has(name) && !asked.has(name) && !pending?.asked.has(name) && !pending?.removed.has(name);
}

/**
 * A resource goes only when nothing that the proxy holds, or may be about to hold, refers to it: also when it rejects what would
 * replace its last good configuration, which needs this.
 */
function mayRemove(subs: Subscriptions, type: Type, name: string): Verdict {
  let verdict: Verdict = "go";
  for (const referrer of REFERRERS[type]) {
    if (mayRefer(subs[referrer], type, name)) return "keep";
    // After a reconnect, types that have not spoken yet may hold anything; perhaps they never speak.
    if (!subs[referrer].begun && subs[type].resumed) verdict = "wait";
  }
  return verdict;
}

function mayRefer(sub: Subscription, type: Type, name: string): boolean {
  const key = `${type} ${name}`;
  for (const held of [sub.known, sub.pending?.sent, sub.nack?.sent]) {
    if (!held || held.size === 0) continue;
    const refs = refsOf(held);
    if (refs === "unknown" || refs.has(key)) return true;
  }
  return false;
}

const memo = new WeakMap<KnownMap, ReadonlySet<string> | "unknown">();

/** All that a map's resources refer to; unknown where only the version of one of them is known. Made once a map. */
function refsOf(held: KnownMap): ReadonlySet<string> | "unknown" {
  let refs = memo.get(held);
  if (refs === undefined) memo.set(held, (refs = collectRefs(held)));
  return refs;
}

function collectRefs(held: KnownMap): ReadonlySet<string> | "unknown" {
  const refs = new Set<string>();
  for (const { refs: own } of held.values()) {
    if (!own) return "unknown";
    for (const ref of own) refs.add(keyOf(ref));
  }
  return refs;
}

const keyOf = (ref: Reference): string => `${ref.type} ${ref.name}`;
