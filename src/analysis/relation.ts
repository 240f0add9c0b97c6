/**
 * What happens to every call of one client to one destination: all requests, cut into cases that are answered alike.
 * Walks the same ways as the answer to a single call.
 */
import type { HTTPMatch } from "../world/types.ts";
import type { InboundPort, Rule } from "../policy/ir.ts";
import type { Identity, ServiceName } from "../world/names.ts";
import { authoritiesOf } from "./authority.ts";
import type { Requests, RequestSet } from "./requests.ts";
import { waysOf, type Destination, type Ground, type RouteWay, type Server, type Way } from "./ways.ts";

export type Verdict = "allowed" | "denied" | "not-routed" | "not-in-mesh";

/** A backend of the route that takes the call. */
export interface Share {
  readonly service: ServiceName;
  /** Of the calls that this route takes. */
  readonly percent: number;
  /** Whether the pods behind it let the call through: each, some or none of them. */
  readonly lets: "each" | "some" | "none";
  /** Who they are where only some do: account and port. Sorted. */
  readonly by: readonly string[];
}

/** What becomes of a call. */
export interface Answer {
  readonly verdict: Verdict;
  /** `namespace/name` of the split that took it. */
  readonly split?: string;
  /** Of an allowed call, by name: with those that refuse it. */
  readonly shares: readonly Share[];
}

/** Requests that are answered alike. */
export interface Case {
  /** Of connections, which have no parts: all. */
  readonly requests: RequestSet;
  readonly answer: Answer;
  /** Who may get them. */
  readonly servers: readonly Server[];
}

/** The requests that a client may make at a port of a pod, whatever led it there. On a TCP port all or none. */
export function allowedAt(requests: Requests, { access, protocol }: InboundPort, client: Identity): RequestSet {
  const rules = access.filter(({ sources }) => sources === undefined || sources.includes(client));
  if (protocol !== "http") return rules.length > 0 ? requests.all : requests.none;
  const allowed = requests.unionOf(rules.map(({ matches }) => requests.matches(matches)));
  // Where any rule restricts the path, whoever's it is, an escaped slash is answered 400 (smi-semantics, row 11).
  const restricted = access.some((rule) => rule.matches?.some((m: HTTPMatch) => m.pathRegex !== undefined));
  return restricted ? requests.difference(allowed, requests.escapedSlash) : allowed;
}

/** What becomes of every call; the cases overlap nowhere and leave no call out. */
export function relationOf(requests: Requests, ground: Ground, client: Identity, to: Destination): readonly Case[] {
  const found = waysOf(ground, { kind: "account", identity: client }, to);
  if (found.kind !== "ways") return everything(requests, found.kind);
  const total = found.ways.reduce((sum, { to: pods }) => sum + (pods?.length ?? 1), 0) || 1;
  const [first, ...more] = found.ways.map((way) =>
    casesOfWay(requests, way, client, to).map((one) => ({
      ...one,
      answer: scaled(one.answer, (way.to?.length ?? 1) / total),
    })),
  );
  // Where the address decides, who calls the name may be led to any of them.
  return more
    .reduce((one, other) => combined(requests, one, other), first ?? everything(requests, "not-routed"))
    .map(told);
}

/** Who refuses is of interest where somebody else does not. */
const told = (one: Case): Case =>
  one.answer.verdict === "allowed" ? one : { ...one, answer: { ...one.answer, shares: [] } };

const scaled = (answer: Answer, part: number): Answer =>
  part === 1 ? answer : { ...answer, shares: answer.shares.map((s) => ({ ...s, percent: s.percent * part })) };

const everything = (requests: Requests, verdict: Verdict): readonly Case[] => [
  { requests: requests.all, answer: { verdict, shares: [] }, servers: [] },
];

function casesOfWay(requests: Requests, way: Way, client: Identity, to: Destination): readonly Case[] {
  // Who does not know the Service is refused by its own sidecar: that is a share too, where the address decides.
  const refused: Share = { service: way.service.name, percent: 100, lets: "none", by: [] };
  if (!way.known) return [{ requests: requests.all, answer: { verdict: "denied", shares: [refused] }, servers: [] }];
  const routes = routesTaken(requests, way, client, to);
  if (routes.length === 0) return everything(requests, "not-routed");
  return routes.flatMap(({ route, taken }) => casesOf(requests, route, taken, client));
}

/**
 * Whether calls of this way are looked at request by request: by the client's sidecar, or by a server's that takes a TCP port's connection for
 * HTTP. Where neither does, only connections count.
 */
export const looksAtRequests = ({ port, routes }: Way): boolean =>
  port.protocol === "http" ||
  routes.some(({ backends }) => backends.some((b) => b.servers.some(({ inbound }) => inbound?.protocol === "http")));

function combined(requests: Requests, some: readonly Case[], others: readonly Case[]): readonly Case[] {
  return some.flatMap((a) =>
    others.flatMap((b): Case[] => {
      const both = requests.intersection(a.requests, b.requests);
      if (requests.isEmpty(both)) return [];
      const better = a.answer.verdict === "allowed" ? a.answer : b.answer;
      const servers = [...a.servers, ...b.servers];
      return [{ requests: both, answer: { ...better, shares: joined(a.answer, b.answer) }, servers }];
    }),
  );
}

function joined(a: Answer, b: Answer): readonly Share[] {
  const shares = new Map<ServiceName, Share>();
  for (const share of [...a.shares, ...b.shares]) {
    const known = shares.get(share.service);
    const lets = known && known.lets !== share.lets ? "some" : share.lets;
    const by = [...new Set([...(known?.by ?? []), ...share.by])].sort();
    shares.set(share.service, { ...share, percent: share.percent + (known?.percent ?? 0), lets, by });
  }
  return [...shares.values()].sort(byService);
}

/** A route, and the requests that it takes because none before it does. */
export interface Taken {
  /** Undefined: what no route takes. */
  readonly route: RouteWay | undefined;
  readonly taken: RequestSet;
}

/** Routes of a client's calls, those that take anything. */
export function routesTaken(requests: Requests, way: Way, client: Identity, to: Destination): readonly Taken[] {
  if (way.port.protocol !== "http") return way.routes.map((route) => ({ route, taken: requests.all }));
  // Where nobody asks for the authority, it need not be looked at: the calls' names are many, and their automata large.
  let left = asksAuthority(way)
    ? requests.with({ authority: authoritiesOf(requests.languages, client, way, to) })
    : requests.all;
  const found: Taken[] = [];
  for (const route of way.routes) {
    const matches = requests.matches(route.route.matches);
    found.push({ route, taken: requests.intersection(left, matches) });
    left = requests.difference(left, matches);
  }
  return [...found, { route: undefined, taken: left }].filter(({ taken }) => !requests.isEmpty(taken));
}

const asksAuthority = ({ routes }: Way): boolean =>
  routes.some(
    ({ route, backends }) =>
      route.matches?.some(isAboutAuthority) ||
      backends.some(({ servers }) => servers.some(({ inbound }) => inbound && asked(inbound.access))),
  );

const asking = new WeakMap<readonly Rule[], boolean>();

function asked(access: readonly Rule[]): boolean {
  let found = asking.get(access);
  if (found === undefined)
    asking.set(access, (found = access.some(({ matches }) => matches?.some(isAboutAuthority) ?? false)));
  return found;
}

const isAboutAuthority = ({ headers }: HTTPMatch): boolean =>
  headers.some(({ name }) => name === "host" || name === ":authority");

/** The requests that a route takes, cut where its servers differ about them. */
function casesOf(requests: Requests, route: RouteWay | undefined, taken: RequestSet, client: Identity): Case[] {
  if (!route) return [{ requests: taken, answer: { verdict: "not-routed", shares: [] }, servers: [] }];
  const servers = route.backends.flatMap((b) => b.servers);
  const allowed = new Set(servers.map((server) => letBy(requests, server, client)));
  let pieces: { set: RequestSet; lets: ReadonlySet<RequestSet> }[] = [{ set: taken, lets: new Set() }];
  for (const set of allowed) {
    pieces = pieces.flatMap((piece) => {
      const inside = { set: requests.intersection(piece.set, set), lets: new Set([...piece.lets, set]) };
      const outside = { set: requests.difference(piece.set, set), lets: piece.lets };
      return [inside, outside].filter((p) => !requests.isEmpty(p.set));
    });
  }
  return pieces.map(({ set, lets }) => answered(route, set, (server) => lets.has(letBy(requests, server, client))));
}

/** What a server lets through. Pods without a sidecar speak no TLS of the mesh, so nothing reaches them. */
export const letBy = (requests: Requests, { inbound }: Server, client: Identity): RequestSet =>
  inbound ? allowedAt(requests, inbound, client) : requests.none;

function answered({ route, backends }: RouteWay, set: RequestSet, lets: (server: Server) => boolean): Case {
  const sum = backends.reduce((total, { backend }) => total + backend.weight, 0);
  const shares = new Map<ServiceName, { weight: number; servers: Server[] }>();
  for (const { backend, servers } of backends) {
    const share = shares.get(backend.service) ?? { weight: 0, servers: [] };
    share.weight += backend.weight;
    share.servers.push(...servers);
    shares.set(backend.service, share);
  }
  const list = [...shares].map(([service, { weight, servers }]): Share => {
    const through = servers.filter(lets);
    const how = through.length === 0 ? "none" : through.length === servers.length ? "each" : "some";
    const by = how === "some" ? [...new Set(through.map(({ identity, port }) => `${identity} ${port}`))].sort() : [];
    return { service, percent: (100 * weight) / sum, lets: how, by };
  });
  const allowed = list.some((share) => share.lets !== "none");
  return {
    requests: set,
    answer: {
      verdict: backends.length === 0 ? "not-routed" : allowed ? "allowed" : "denied",
      ...(route.split === undefined ? {} : { split: route.split }),
      shares: list.sort(byService),
    },
    servers: backends.flatMap((b) => b.servers),
  };
}

const byService = (a: Share, b: Share): number => (a.service < b.service ? -1 : 1);

/** Whether two answers are the same for who calls. Why they are is another question. */
export const sameAnswer = (a: Answer, b: Answer): boolean =>
  a.verdict !== "allowed" || b.verdict !== "allowed"
    ? (a.verdict === "allowed") === (b.verdict === "allowed")
    : a.shares.length === b.shares.length &&
      a.shares.every((share, i) => {
        const other = b.shares[i];
        return (
          share.service === other?.service &&
          share.lets === other.lets &&
          share.by.join() === other.by.join() &&
          Math.abs(share.percent - other.percent) < 1e-9
        );
      });
