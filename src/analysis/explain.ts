/**
 * One call → what becomes of it, and why: the same decisions, in the same order, as the client's sidecar and the servers' make them.
 * Pure; what is said in words is in `trail.ts` and `nearest.ts`.
 */
import type { Backend, Mesh, RouteMatch, Rule, SplitRoute } from "../policy/ir.ts";
import { localName, namespaceOf, type Identity, type PodName, type ServiceName } from "../world/names.ts";
import { named } from "./hosts.ts";
import { isUnfit, type Unfit } from "./headers.ts";
import { hasEscapedSlash } from "./normal-path.ts";
import {
  authorityOf,
  passageOf,
  takes,
  unfitOf,
  withoutDot,
  type Passage,
  type Request,
  type Seen,
} from "./request.ts";
import {
  pastSplits,
  waysOf,
  type BackendWay,
  type Client,
  type Destination,
  type Ground,
  type NoWay,
  type RouteWay,
  type Server,
  type Way,
  type Ways,
} from "./ways.ts";

export type Verdict = "allowed" | "denied" | "not-routed" | "not-in-mesh";

export interface Call {
  readonly client: Client;
  readonly destination: Destination;
  /** Undefined: a TCP connection. */
  readonly request?: Request;
}

/** What a server's sidecar does with a call. */
export type Judgement =
  | { readonly allowed: true; readonly rule: Rule; readonly match?: RouteMatch }
  | { readonly allowed: false; readonly because: Refusal };

/** Why a server, or the way to it, lets a call not through. */
export type Refusal =
  /** No rule lets this caller do it. */
  | "no-rule"
  /** The path has an escaped slash, and a rule of the port restricts paths. */
  | "escaped-slash"
  /** The port speaks HTTP, and this is no HTTP. */
  | "http-only"
  /** The pod has no sidecar, so it does not speak the mesh's TLS. */
  | "no-sidecar"
  /** Nor does the application, to which the port is led past the sidecar. */
  | "past-sidecar"
  /** The pod's sidecar has no such port. */
  | "no-port";

export interface ServerAnswer {
  readonly server: Server;
  readonly judgement: Judgement;
}

/** A backend that may get the call. */
export interface Share {
  readonly service: ServiceName;
  readonly backend: Backend;
  /** Percent of all calls. */
  readonly weight: number;
  readonly servers: readonly ServerAnswer[];
}

/** What one way makes of the call. */
export interface Taken {
  readonly way: Way;
  /** The route that takes it, and by which of its matches; undefined: none was asked, as the call got no further. */
  readonly route?: SplitRoute;
  readonly shares: readonly Share[];
}

/** Why a call ends before any server is asked. */
export type Stop =
  | NoWay
  /** The client's sidecar answers it itself: the path has a `#` or `%00`, or a header is out of order. */
  | ({ readonly kind: "denied"; readonly reason: "unfit" } & Unfit)
  /** The authority names no Service that the client was told of on this port. */
  | { readonly kind: "denied"; readonly reason: "unknown-host"; readonly authority: string }
  /** The authority names a headless Service, and the connection goes on to an address that is none of its pods'. */
  | { readonly kind: "denied"; readonly reason: "other-address"; readonly authority: string };

export interface Explanation {
  readonly call: Call;
  readonly verdict: Verdict;
  /** Set when no server is asked. */
  readonly stop?: Stop;
  /** As the servers' sidecars see the request; absent on TCP. */
  readonly seen?: Seen;
  /** Another Service than the one that is connected to, when the request names it in its authority. */
  readonly redirected?: ServiceName;
  /** The client's sidecar was told of none of these Services, so it refuses the call itself. */
  readonly unknown: boolean;
  readonly taken: readonly Taken[];
  /** HTTP status that the caller sees from a sidecar, or that the connection is closed; undefined when the call is allowed or leaves the mesh. */
  readonly answer?: Unfit["status"] | 503 | "closed";
}

/** What becomes of a call. Never throws. */
export function explain(ground: Ground, call: Call): Explanation {
  const { client, destination, request } = call;
  const nothing = { call, unknown: false, taken: [] };
  const direct = waysOf(ground, client, destination);
  const stopped = (stop: Stop): Explanation => {
    if (stop.kind === "not-in-mesh") return { ...nothing, verdict: stop.kind, stop };
    const refusal = clientRefusal(ground.mesh, destination.port, request);
    const answer = stop.reason === "other-address" && refusal === 403 ? 503 : refusal;
    return { ...nothing, verdict: stop.kind, stop, answer };
  };
  if (client.kind === "outside" || direct.kind === "denied")
    return direct.kind === "ways" ? stopped({ kind: "denied", reason: "client-without-sidecar" }) : stopped(direct);
  const { identity } = client;
  const asked = request && byAuthority(ground, identity, call, request, direct);
  if (asked && "stop" in asked) return stopped(asked.stop);
  const found = asked ?? direct;
  if (found.kind !== "ways") return stopped(found);
  const { ways } = found;
  const redirected = asked?.redirected === undefined ? {} : { redirected: asked.redirected };

  const http = ways.some(({ port }) => port.protocol === "http");
  const passage = request && passageOf(request, authority(call, request, ways));
  if (http && passage && isUnfit(passage)) return stopped({ kind: "denied", reason: "unfit", ...passage });
  const passed = passage && !isUnfit(passage) ? passage : undefined;
  const seen = http ? passed?.server : passed?.alone;

  const taken = ways.map((way) => take(way, identity, passed, (way.to?.length ?? 1) / total(ways)));
  const shares = taken.flatMap((t) => (t.way.known ? t.shares : []));
  const unknown = ways.every((way) => !way.known);
  const common = { call, ...(seen ? { seen } : {}), ...redirected, unknown, taken };
  if (shares.some(lets)) return { ...common, verdict: "allowed" };
  const nobody = !unknown && taken.every((t) => t.shares.every((s) => s.servers.length === 0));
  return {
    ...common,
    verdict: nobody ? "not-routed" : "denied",
    answer:
      unknown || (!http && !ways.some(hasChain))
        ? clientRefusal(ground.mesh, destination.port, request)
        : http && !request
          ? 400
          : refusalOf(http, taken),
  };
}

/** What a caller sees of its own sidecar's refusal. Ports on which no Service of the mesh speaks TCP are listened to for HTTP. */
function clientRefusal(
  { httpPorts, tcpPorts }: Mesh,
  port: number,
  request: Request | undefined,
): Unfit["status"] | "closed" {
  if (!httpPorts.includes(port) && (tcpPorts.includes(port) || !request)) return "closed";
  if (!request) return 400;
  return unfitOf(request)?.status ?? 403;
}

/** Whether any server of the backend lets the call through. */
export const lets = (share: Share): boolean => share.servers.some(({ judgement }) => judgement.allowed);

const total = (ways: readonly Way[]): number => ways.reduce((sum, { to }) => sum + (to?.length ?? 1), 0) || 1;

/** The name under which a Service is called when the request does not say: the shortest one that all namespaces know, with its port. */
function authority({ destination }: Call, request: Request, ways: readonly Way[]): string {
  const given = authorityOf(request);
  if (given !== undefined) return given;
  const { port } = destination;
  const suffix = port === 80 ? "" : `:${port}`;
  const [way] = ways;
  const service = destination.kind === "service" ? destination.service : way?.service.name;
  const host = service ? `${localName(service)}.${namespaceOf(service)}` : "";
  return `${destination.kind === "pod" ? `${localName(destination.pod)}.` : ""}${host}${suffix}`;
}

/**
 * Whether the client's sidecar has a TCP chain for these addresses: it has none for a Service that it does not know, nor where nothing is left
 * to send to; and a headless Service without pods has no address.
 */
const hasChain = ({ known, service, port, to, routes }: Way): boolean =>
  known &&
  port.protocol !== "http" &&
  (!service.headless || to !== undefined) &&
  routes.some(({ backends }) => backends.length > 0);

/** On HTTP ports the request's authority decides which Service is called, wherever the connection goes, unless a TCP chain has the address. */
function byAuthority(
  ground: Ground,
  identity: Identity,
  call: Call,
  request: Request,
  direct: Ways,
):
  | { readonly stop: Stop; readonly redirected?: ServiceName }
  | { readonly kind: "ways"; readonly ways: readonly Way[]; readonly redirected?: ServiceName }
  | undefined {
  const given = authorityOf(request);
  const { port } = call.destination;
  if (given === undefined || !ground.mesh.httpPorts.includes(port)) return undefined;
  if (direct.kind === "ways" && direct.ways.some(hasChain)) return undefined;
  const called = call.destination.kind === "service" ? call.destination.service : undefined;
  const found = named(ground.mesh, identity, port, withoutDot(given));
  const [way] = direct.kind === "ways" ? direct.ways : [];
  // One whose Service the client does not know is refused as any other; who reads the answer is told about that Service.
  if (!found) return way?.known ? { stop: { kind: "denied", reason: "unknown-host", authority: given } } : undefined;
  const { service, by } = found;
  const own = called === undefined ? "pods" : "service";
  if (by === own && (service === way?.service || service.name === called)) return undefined;
  const redirected = service === way?.service || service.name === called ? {} : { redirected: service.name };
  // Connections to a headless Service keep their address, which is not one of its pods'.
  if (service !== way?.service && service.headless)
    return { stop: { kind: "denied", reason: "other-address", authority: given } };
  if (by === "pods") return { kind: "ways", ways: [pastSplits(ground, identity, service, port)], ...redirected };
  const other = waysOf(ground, call.client, { kind: "service", service: service.name, port });
  return other.kind === "ways" ? { kind: "ways", ways: other.ways, ...redirected } : { stop: other, ...redirected };
}

function take(way: Way, identity: Identity, passed: Passage | undefined, part: number): Taken {
  const http = way.port.protocol === "http";
  const seen = http ? passed?.server : passed?.alone;
  // What is no HTTP is answered 400 by the client's sidecar; where it would have gone is still of use to whoever asks.
  const found = way.routes.find(({ route }) => !http || !passed || fits(route, passed.client)) as RouteWay;
  const sum = found.backends.reduce((all, { backend }) => all + backend.weight, 0);
  const shares = found.backends.map(({ backend, servers }: BackendWay) => ({
    service: backend.service,
    backend,
    weight: (backend.weight / sum) * 100 * part,
    servers: servers.map((server) => ({ server, judgement: judge(server, identity, seen, http) })),
  }));
  return { way, route: found.route, shares };
}

const fits = ({ matches }: SplitRoute, seen: Seen): boolean =>
  matches === undefined || matches.some((match) => takes(match, seen));

/** The decision of one server's sidecar. */
export function judge(server: Server, identity: Identity, seen: Seen | undefined, http: boolean): Judgement {
  const { group, past, inbound } = server;
  if (!group) return refuse(past ? "past-sidecar" : "no-sidecar");
  if (!inbound) return refuse("no-port");
  // On a port that speaks HTTP the client's sidecar takes nothing else; a connection may lead to one that speaks it all the same.
  if (!seen && (http || inbound.protocol === "http")) return refuse("http-only");
  const mine = inbound.access.filter(({ sources }) => sources === undefined || sources.includes(identity));
  if (inbound.protocol !== "http") return mine[0] ? { allowed: true, rule: mine[0] } : refuse("no-rule");
  if (!seen) return refuse("http-only");
  const restricted = inbound.access.some(({ matches }) => matches?.some((m) => m.pathRegex !== undefined));
  if (restricted && hasEscapedSlash(seen.path)) return refuse("escaped-slash");
  for (const rule of mine) {
    if (rule.matches === undefined) return { allowed: true, rule };
    const match = rule.matches.find((one) => takes(one, seen));
    if (match) return { allowed: true, rule, match };
  }
  return refuse("no-rule");
}

const refuse = (because: Refusal): Judgement => ({ allowed: false, because });

/** The most telling of the servers' refusals. */
function refusalOf(http: boolean, taken: readonly Taken[]): NonNullable<Explanation["answer"]> {
  const answers = taken.flatMap(({ shares }) =>
    shares.flatMap(({ servers }) =>
      servers.map(({ server, judgement: j }) => (j.allowed ? undefined : statusOf(server, j.because, http))),
    ),
  );
  return ([403, 400, "closed"] as const).find((status) => answers.includes(status)) ?? (http ? 503 : "closed");
}

/**
 * What a caller sees when a server refuses.
 * @param http - whether the caller's sidecar takes the call for HTTP: it then says 503 for a connection that it could not make
 */
export function statusOf({ inbound }: Server, because: Refusal, http: boolean): NonNullable<Explanation["answer"]> {
  const closed = http ? 503 : "closed";
  switch (because) {
    case "no-rule":
      return inbound?.protocol === "http" ? 403 : closed;
    case "escaped-slash":
    case "http-only":
      return 400;
    case "no-sidecar":
    case "past-sidecar":
    case "no-port":
      return closed;
  }
}

/** What each pod that may get a call says, by name. */
export interface PodAnswer {
  readonly pod: PodName;
  /** The backend. */
  readonly service: ServiceName;
  readonly server: Server;
  readonly judgement: Judgement;
}

export function eachPod({ taken }: Explanation): readonly PodAnswer[] {
  return taken
    .flatMap(({ way, shares }) =>
      shares.flatMap(({ service, servers }) =>
        servers.flatMap(({ server, judgement }) =>
          server.pods.map((pod) => ({
            pod,
            service,
            server,
            // A sidecar that was not told of the Service asks nobody.
            judgement: way.known ? judgement : refuse("no-rule"),
          })),
        ),
      ),
    )
    .sort((a, b) => (a.pod === b.pod ? (a.service < b.service ? -1 : 1) : a.pod < b.pod ? -1 : 1));
}
