/**
 * Invariants of a mesh: what may never happen, who alone may do something, what must always work. Each is proved for all requests or refuted
 * with a call that breaks it. Knows the Mesh and the World; not where an invariant was written.
 */
import { asBytes } from "../lib/bytes.ts";
import { headerMeant } from "../policy/routes.ts";
import type { GroupName, Identity } from "../world/names.ts";
import { hostsOf } from "./authority.ts";
import { admittedAt, leadsTo, portsBehind } from "./callers.ts";
import { decidedBy, type Deciding } from "./deciding.ts";
import { cannotTell } from "./limits.ts";
import { knownTo, selectedBy, serviceOf } from "./pods.ts";
import { allowedAt, letBy, looksAtRequests, relationOf, routesTaken, type Share, type Verdict } from "./relation.ts";
import { HeaderNotCompared, isCompared, type Request, type Requests, type RequestSet } from "./requests.ts";
import { isIn, scopeOf, type Scope } from "./scope.ts";
import { waysOf, type Destination, type Ground, type Server } from "./ways.ts";

/** Requests that an invariant is about. */
export interface Wanted {
  /** Undefined: any. */
  readonly methods?: readonly string[];
  /** RE2, the whole path in normal form. Undefined: any. */
  readonly pathRegex?: string;
  /** The one path, in normal form, as bytes. */
  readonly path?: string;
  /** Requests with these headers; what else they carry is free. Names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Invariant {
  readonly kind: "never" | "only" | "always";
  /** `namespace/account`, `namespace/*` or `*`. */
  readonly from: readonly string[];
  /** `namespace/service`, with a port if it has one, `namespace/*` or `*`. */
  readonly to: string;
  /** Undefined: all requests, and connections to TCP ports. */
  readonly requests?: Wanted;
}

/** A call that breaks an invariant. */
export interface Counterexample {
  readonly from: Identity;
  readonly to: Destination;
  /** Undefined: a connection. */
  readonly request?: Request;
  readonly verdict: Verdict;
  /** Backends that may get it. */
  readonly shares: readonly Share[];
  /** Of `never` and `only`: what lets it through. */
  readonly rules: readonly Deciding[];
  /** Of `always`: pods that refuse it, or the Services behind which nobody is. */
  readonly refusing: readonly string[];
}

export type Proof =
  | { readonly result: "proved" }
  | { readonly result: "refuted"; readonly counterexample: Counterexample }
  | { readonly result: "unknown"; readonly why: string };

export function prove(requests: Requests, ground: Ground, invariant: Invariant): Proof {
  const scope = scopeOf(ground, invariant.from, invariant.to);
  if (typeof scope === "string") return { result: "unknown", why: scope };
  if (invariant.from.length === 0) return { result: "unknown", why: "no account is named" };
  try {
    // Of nothing everything is true.
    if (invariant.requests && requests.isEmpty(wantedBy(requests, invariant.requests)))
      return { result: "unknown", why: "there is no such request: no method or path is like this" };
    return invariant.kind === "always"
      ? proveAlways(requests, ground, scope, invariant)
      : proveNever(requests, ground, scope, invariant);
  } catch (error) {
    const why = cannotTell(error);
    if (why === undefined) throw error;
    return { result: "unknown", why };
  }
}

/** `never`, and `only` for those whom it does not name: nobody behind the Services lets any of it through, whatever way leads there. */
function proveNever(requests: Requests, ground: Ground, scope: Scope, { kind, requests: wanted }: Invariant): Proof {
  const clients = new Set(kind === "only" ? scope.others : scope.clients);
  const set = wantedBy(requests, wanted);
  const admitted = admittedAt([...scope.ports.values()].flat());
  const suspects = admitted === "everybody" ? [...clients] : [...admitted].filter((id) => clients.has(id)).sort();
  for (const to of destinationsOf(ground, scope)) {
    for (const from of suspects) {
      const broken = letThrough(requests, ground, scope, from, to, set, wanted !== undefined);
      if (broken) return { result: "refuted", counterexample: broken };
    }
  }
  for (const from of suspects) {
    const way = pastNames(requests, ground, scope, from, set, wanted !== undefined);
    if (way !== undefined) return { result: "unknown", why: way };
  }
  return scope.open === undefined || clients.size === 0 ? { result: "proved" } : { result: "unknown", why: scope.open };
}

/**
 * A request may name a headless Service that its caller knows while it goes to the address of another one's pod, which then decides by its own
 * rules, if it runs as an account of that Service. Such calls are no ways here (docs/why.md).
 */
function pastNames(
  requests: Requests,
  { world, mesh }: Ground,
  scope: Scope,
  from: Identity,
  set: RequestSet,
  requestsOnly: boolean,
): string | undefined {
  for (const service of knownTo(mesh, from) ?? []) {
    const object = service.headless ? serviceOf(world, service.name) : undefined;
    if (!object) continue;
    const selected = selectedBy(world, object);
    const accounts = new Set(selected.map((workload) => workload.identity));
    const own = new Set(selected.map((workload) => mesh.groupOf.get(workload.key)));
    for (const [group, inbound] of scope.ports) {
      const identity = mesh.groups.get(group)?.identity;
      if (identity === undefined || own.has(group) || !accounts.has(identity)) continue;
      for (const port of inbound) {
        if (!service.ports.some((p) => p.port === port.port && p.protocol === "http")) continue;
        if (port.protocol !== "http" && requestsOnly) continue;
        if (requests.isEmpty(requests.intersection(allowedAt(requests, port, from), set))) continue;
        return `pods of ${identity} let ${from} through on port ${port.port} when it names headless Service ${service.name} at their address, whatever leads there`;
      }
    }
  }
  return undefined;
}

/** All that may lead to the pods: their own Services first, then others (splits), then the pods themselves. */
function destinationsOf({ world, mesh }: Ground, scope: Scope): readonly Destination[] {
  const own = new Set(scope.services);
  const found: { to: Destination; order: string }[] = [];
  for (const { name: service, ports } of mesh.services.values()) {
    for (const { port } of ports) {
      const leads = [...leadsTo(mesh, { service, port })];
      if (!leads.some((name) => portsBehind(mesh, name).some(({ group }) => scope.ports.has(group)))) continue;
      const first = own.has(service) && (scope.port === undefined || scope.port === port);
      found.push({ to: { kind: "service", service, port }, order: `${first ? 0 : 1} ${service} ${port}` });
    }
  }
  const seen = new Set<GroupName>();
  for (const pods of world.tables.Pod.values()) {
    for (const { name, workload } of pods.values()) {
      const group = mesh.groupOf.get(workload.key);
      const ports = group === undefined ? undefined : scope.ports.get(group);
      if (group === undefined || !ports || seen.has(group)) continue;
      // Pods of one group have the same rules: one stands for all.
      seen.add(group);
      for (const { port } of ports) found.push({ to: { kind: "pod", pod: name, port }, order: `2 ${name} ${port}` });
    }
  }
  return found.sort((a, b) => (a.order < b.order ? -1 : 1)).map(({ to }) => to);
}

function letThrough(
  requests: Requests,
  ground: Ground,
  scope: Scope,
  from: Identity,
  to: Destination,
  set: RequestSet,
  requestsOnly: boolean,
): Counterexample | undefined {
  const found = waysOf(ground, { kind: "account", identity: from }, to);
  for (const way of found.kind === "ways" ? found.ways : []) {
    if (!way.known) continue;
    for (const { route, taken } of routesTaken(requests, way, from, to)) {
      for (const server of route?.backends.flatMap((b) => b.servers.filter((one) => isIn(scope, one))) ?? []) {
        const http = way.port.protocol === "http" || server.inbound?.protocol === "http";
        // A connection has no parts: only an invariant about everything is about it.
        if (!http && requestsOnly) continue;
        const broken = requests.intersection(requests.intersection(taken, letBy(requests, server, from)), set);
        if (requests.isEmpty(broken)) continue;
        const request = http ? requests.witness(broken, hostsOf(from, way, to)) : undefined;
        const answer = answerTo(requests, ground, from, to, request);
        const rules = decidedBy(requests, [server], from, request);
        return { from, to, ...(request ? { request } : {}), ...answer, rules, refusing: [] };
      }
    }
  }
  return undefined;
}

/** Every request that is wanted is let through by everybody who may get it. */
function proveAlways(
  requests: Requests,
  ground: Ground,
  scope: Scope,
  { requests: wanted, to: written }: Invariant,
): Proof {
  const set = wantedBy(requests, wanted);
  if (scope.clients.length === 0) return { result: "unknown", why: "no account of the mesh is meant" };
  let asked = 0;
  for (const service of scope.services) {
    for (const { port, protocol } of ground.mesh.services.get(service)?.ports ?? []) {
      if (scope.port !== undefined && scope.port !== port) continue;
      if ((protocol === "http") !== (wanted !== undefined)) continue;
      for (const from of scope.clients) {
        asked++;
        const broken = refused(requests, ground, from, { kind: "service", service, port }, set, !wanted);
        if (broken) return { result: "refuted", counterexample: broken };
      }
    }
  }
  if (asked > 0) return { result: "proved" };
  const speaks = wanted ? "HTTP" : "TCP; name METHOD and PATH for an HTTP port";
  return { result: "unknown", why: `no port of ${written} that is in the mesh speaks ${speaks}` };
}

function refused(
  requests: Requests,
  ground: Ground,
  from: Identity,
  to: Destination,
  set: RequestSet,
  connections: boolean,
): Counterexample | undefined {
  const found = waysOf(ground, { kind: "account", identity: from }, to);
  // A server that takes a TCP port's connection for HTTP answers what is none.
  const speaks = ({ inbound }: Server): boolean => !connections || inbound?.protocol !== "http";
  const ways = found.kind === "ways" ? found.ways.filter(looksAtRequests) : [];
  for (const { requests: alike, answer, servers } of relationOf(requests, ground, from, to)) {
    if (answer.verdict === "allowed" && answer.shares.every((share) => share.lets === "each") && servers.every(speaks))
      continue;
    const broken = requests.intersection(alike, set);
    if (requests.isEmpty(broken)) continue;
    const hosts = ways.flatMap((way) => hostsOf(from, way, to));
    const request = hosts.length > 0 && !connections ? requests.witness(broken, hosts) : undefined;
    const lets = (server: Server): boolean =>
      speaks(server) && !requests.isEmpty(requests.intersection(broken, letBy(requests, server, from)));
    const refusing = servers.filter((server) => !lets(server)).flatMap((server) => server.pods);
    const { verdict, shares } = answer;
    return {
      from,
      to,
      ...(request ? { request } : {}),
      verdict,
      shares,
      rules: [],
      refusing: [...new Set(refusing)].sort(),
    };
  }
  return undefined;
}

function wantedBy(requests: Requests, wanted: Wanted = {}): RequestSet {
  const { languages } = requests;
  const { methods, pathRegex, path, headers } = wanted;
  const paths = path === undefined ? pathRegex && languages.regex(pathRegex) : languages.literal(path);
  const named = Object.entries(headers ?? {}).map(([written, value]) => {
    const name = headerMeant(written);
    if (!isCompared(name)) throw new HeaderNotCompared(name, "the invariant");
    return [name, languages.literal(asBytes(value))] as const;
  });
  return requests.with({
    ...(paths ? { path: paths } : {}),
    ...(methods ? { method: languages.oneOf(methods) } : {}),
    headers: new Map(named),
  });
}

/** What becomes of the one call, at all who may get it. */
function answerTo(
  requests: Requests,
  ground: Ground,
  from: Identity,
  to: Destination,
  request: Request | undefined,
): Pick<Counterexample, "verdict" | "shares"> {
  const cases = relationOf(requests, ground, from, to);
  const found = request ? cases.find((one) => requests.has(one.requests, request)) : cases[0];
  return found ? { verdict: found.answer.verdict, shares: found.answer.shares } : { verdict: "denied", shares: [] };
}
