/**
 * A call that is refused → the rules that come nearest to allowing it, each with what differs. It reads the TrafficTargets themselves, because
 * a rule that is broken or in the wrong namespace is in no Mesh; what they mean is never decided here, only named. Pure.
 */
import { destinationOf } from "../policy/access.ts";
import { headerMeant, routesOf, writtenMatch } from "../policy/routes.ts";
import { identity as identityOf, localName, namespaceOf, type Identity } from "../world/names.ts";
import type { HTTPMatch, ObjectRef, RuleRef, TrafficTarget } from "../world/types.ts";
import { all, type World } from "../world/world.ts";
import type { Explanation } from "./explain.ts";
import { hasEscapedSlash } from "./normal-path.ts";
import { misfitsOf, type Request, type Seen } from "./request.ts";
import { refTo, serversOf, titleOf } from "./trail.ts";
import type { Ground, Server } from "./ways.ts";

/** One thing that would have to be otherwise. */
export interface Difference {
  readonly what:
    | "source"
    | "method"
    | "path"
    | "header"
    | "port"
    | "protocol"
    | "namespace"
    | "broken"
    | "escaped-slash"
    | "wanting";
  /** As the end of "it would be allowed if …". */
  readonly says: string;
}

export interface Miss {
  readonly object: ObjectRef;
  /** Of the rule. */
  readonly path: string;
  /** The match that was looked at. */
  readonly match?: { readonly object: ObjectRef; readonly path: string; readonly name: string };
  /** What fits, in words; empty when nothing special does. */
  readonly fits: readonly string[];
  /** At least one. */
  readonly differs: readonly Difference[];
  /** The whole, in one sentence without a full stop. */
  readonly says: string;
}

const MOST = 10;

/** The nearest first; none for a call that is allowed. */
export function nearestOf(ground: Ground, explanation: Explanation): readonly Miss[] {
  const misses = new Map<string, Miss>();
  for (const { server, through } of serversOf(explanation)) {
    if (through || !server.group) continue;
    for (const target of targetsOf(ground.world, server.identity))
      for (const miss of missesOf(ground, explanation, target, server)) {
        const key = `${titleOf(miss.object)} ${miss.path} ${miss.match?.name ?? ""}`;
        const known = misses.get(key);
        if (!known || miss.differs.length < known.differs.length) misses.set(key, miss);
      }
  }
  return [...misses.values()].sort(byDistance).slice(0, MOST);
}

const FAR: Record<Difference["what"], number> = {
  source: 10,
  method: 10,
  header: 11,
  path: 12,
  port: 13,
  "escaped-slash": 13,
  namespace: 14,
  broken: 14,
  wanting: 14,
  protocol: 15,
};
const distance = ({ differs }: Miss): number => differs.reduce((sum, { what }) => sum + FAR[what], 0);
const byDistance = (a: Miss, b: Miss): number =>
  a.differs.length - b.differs.length || distance(a) - distance(b) || (keyOf(a) < keyOf(b) ? -1 : 1);
const keyOf = (miss: Miss): string => `${titleOf(miss.object)} ${miss.path} ${miss.match?.name ?? ""}`;

const indexed = new WeakMap<World["tables"]["TrafficTarget"], ReadonlyMap<Identity, readonly TrafficTarget[]>>();

/** Targets about an account, wherever they are. */
function targetsOf(world: World, account: Identity): readonly TrafficTarget[] {
  const table = world.tables.TrafficTarget;
  let index = indexed.get(table);
  if (!index) {
    const list = [...all(table)];
    index = Map.groupBy(list, ({ destination: { namespace, name } }) => identityOf(namespace, name));
    indexed.set(table, index);
  }
  return index.get(account) ?? [];
}

function* missesOf(
  { world }: Ground,
  explanation: Explanation,
  target: TrafficTarget,
  server: Server,
): Generator<Miss> {
  const { call, seen } = explanation;
  const common: Difference[] = [];
  if (destinationOf(target) === undefined)
    common.push({ what: "namespace", says: `the TrafficTarget were in namespace ${namespaceOf(server.identity)}` });
  const sources = target.sources.filter(({ kind, name, namespace }) => kind === "ServiceAccount" && name && namespace);
  const who = call.client.kind === "account" ? call.client.identity : undefined;
  const fromHere = sources.some(({ name, namespace }) => identityOf(namespace, name) === who);
  if (!fromHere) common.push(sourceDifference(sources.map(({ name, namespace }) => `${namespace}/${name}`)));
  const http = server.inbound?.protocol === "http";
  for (const [i, rule] of target.rules.entries()) {
    const path = `spec.rules[${i}]`;
    for (const found of ruleMisses(world, target, rule, server, http, seen, call.request)) {
      const differs = [...common, ...found.differs];
      if (differs.length === 0) continue;
      const fits = [...(fromHere && found.differs.length > 0 ? ["the source fits"] : []), ...found.fits];
      const object = refTo("TrafficTarget", `${target.namespace}/${target.name}`);
      const match = found.match ? { match: found.match } : {};
      yield {
        object,
        path,
        ...match,
        fits,
        differs,
        says: sentence(`${target.namespace}/${target.name}`, fits, differs),
      };
    }
  }
}

interface Found {
  readonly differs: readonly Difference[];
  readonly fits: readonly string[];
  readonly match?: { readonly object: ObjectRef; readonly path: string; readonly name: string };
}

function* ruleMisses(
  world: World,
  target: TrafficTarget,
  rule: RuleRef,
  server: Server,
  http: boolean,
  seen: Seen | undefined,
  sent: Request | undefined,
): Generator<Found> {
  const { namespace } = target;
  if (rule.broken) return yield broken("the rule could be read");
  if (rule.kind === "TCPRoute") {
    const route = world.tables.TCPRoute.get(namespace)?.get(rule.name);
    if (!route) return yield broken(`there were a TCPRoute ${namespace}/${rule.name}`);
    const differs: Difference[] = [...portDifference(target, server)];
    if (route.ports.length > 0 && !route.ports.includes(server.port))
      differs.push({
        what: "port",
        says: `TCPRoute ${rule.name} named the pods' port ${server.port} (it names ${route.ports.join(", ")})`,
      });
    if (http && target.rules.some(({ kind }) => kind === "HTTPRouteGroup" || kind === "unknown")) return;
    return yield { differs, fits: [] };
  }
  if (rule.kind !== "HTTPRouteGroup") return;
  const group = world.tables.HTTPRouteGroup.get(namespace)?.get(rule.name);
  if (!group) return yield broken(`there were an HTTPRouteGroup ${namespace}/${rule.name}`);
  const { matches } = routesOf(group);
  const wanted = rule.matches.length === 0 ? [...new Set(group.matches.map((m) => m.name))] : rule.matches;
  for (const name of wanted) {
    const written = writtenMatch(group, name);
    const where = written && {
      object: refTo("HTTPRouteGroup", `${namespace}/${rule.name}`),
      path: written.where,
      name,
    };
    const match = matches.get(name);
    if (!match) {
      const says =
        where === undefined
          ? `HTTPRouteGroup ${rule.name} had a match ${name}`
          : `match ${name} of HTTPRouteGroup ${rule.name} were usable`;
      yield { ...broken(says), ...(where ? { match: where } : {}) };
      continue;
    }
    const { differs, fits } = requestDifferences(match, seen, sent, http);
    yield {
      ...(where ? { match: where } : {}),
      fits,
      differs: [...portDifference(target, server), ...limited(target, server, http), ...differs],
    };
  }
}

const broken = (says: string): Found => ({ fits: [], differs: [{ what: "broken", says }] });

function portDifference({ port }: TrafficTarget, server: Server): Difference[] {
  return port === undefined || port === server.port
    ? []
    : [{ what: "port", says: `its destination.port were ${server.port}, the pods' port, and not ${port}` }];
}

/** Row 21: TCPRoutes beside HTTP rules may limit these to other ports. The Mesh knows whether they do: the target has no rule on the port. */
function limited(target: TrafficTarget, { inbound, port }: Server, http: boolean): Difference[] {
  const here = inbound?.access.some((rule) => rule.target === `${target.namespace}/${target.name}`);
  const beside = target.rules.some(({ kind }) => kind === "TCPRoute" || kind === "unknown");
  if (!http || here || !beside || target.port !== undefined) return [];
  if (destinationOf(target) === undefined || target.sources.length === 0) return [];
  return [{ what: "port", says: `one of its TCPRoutes named port ${port}: those that it has limit it to other ports` }];
}

function requestDifferences(
  match: HTTPMatch,
  seen: Seen | undefined,
  sent: Request | undefined,
  http: boolean,
): { differs: Difference[]; fits: string[] } {
  if (!http)
    return {
      fits: [],
      differs: [{ what: "protocol", says: "the port spoke HTTP: it speaks TCP, which only TCPRoutes open" }],
    };
  if (!seen)
    return { fits: [], differs: [{ what: "protocol", says: "it were an HTTP request: the port speaks HTTP" }] };
  const misfits = misfitsOf(match, seen);
  const differs: Difference[] = [];
  const fits: string[] = [];
  const { pathRegex, methods } = match;
  if (pathRegex !== undefined) {
    if (misfits.path) differs.push({ what: "path", says: `the path matched ${pathRegex}` });
    else fits.push(`the path matches ${pathRegex}`);
    if (!misfits.path && hasEscapedSlash(seen.path))
      differs.push({ what: "escaped-slash", says: "the path had no escaped slash (%2F or %5C)" });
  }
  if (misfits.method)
    differs.push({ what: "method", says: `the method were ${orList(methods)} and not ${seen.method}` });
  else if (methods.length > 0 && !methods.includes("*")) fits.push(`the method is ${seen.method}`);
  for (const { name, regex } of match.headers) {
    if (!misfits.headers.includes(name)) continue;
    const is = seen.headers.get(headerMeant(name));
    const taken = sent?.headers.some(([written]) => written.toLowerCase() === name);
    const now = is === undefined ? (taken ? "taken away by sidecars" : "missing") : JSON.stringify(is);
    differs.push({ what: "header", says: `header ${name} matched ${regex} (it is ${now})` });
  }
  return { differs, fits };
}

function sourceDifference(names: readonly string[]): Difference {
  return names.length === 0
    ? { what: "wanting", says: "it named any source" }
    : { what: "source", says: `the source were ${orList(names)}` };
}

/** `a, b or c`; many are cut short. */
function orList(names: readonly string[]): string {
  if (names.length > 4) return `${names.slice(0, 3).join(", ")} or one of ${names.length - 3} more`;
  return names.length < 2 ? (names[0] ?? "") : `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
}

function sentence(target: string, fits: readonly string[], differs: readonly Difference[]): string {
  const conditions = differs.map(({ says }) => says).join(", and ");
  const good = fits.filter((text) => text !== "the source fits");
  const but = good.length > 0 ? ` (${good.join(", ")})` : "";
  return `allowed by ${target} if ${conditions}${but}`;
}

/** @internal Which part of a name a user may have meant. */
export const shortName = (identity: Identity): string => localName(identity);
