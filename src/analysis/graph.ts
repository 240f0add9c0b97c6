/**
 * Who may call whom: for each client and Service port the routes that its calls may take, with the shares of splits, and what the servers
 * behind each let through. Knows no way to draw it.
 */
import type { Mesh, MeshPort, Protocol, RouteMatch, Rule } from "../policy/ir.ts";
import type { Identity, ServiceName } from "../world/names.ts";
import type { HTTPMatch } from "../world/types.ts";
import { waysOf, type BackendWay, type Ground, type RouteWay } from "./ways.ts";

export interface Graph {
  /** By client, Service and port. */
  readonly edges: readonly Edge[];
  /** Everybody in the mesh may call everything in it: each edge is from everybody. */
  readonly permissive: boolean;
  /** Whether calls to what the mesh does not know are let out of it. */
  readonly egress: boolean;
}

/** A client, and a Service port at which something lets it through. */
export interface Edge {
  /** Undefined: everybody with an identity of the mesh. */
  readonly from?: Identity;
  readonly to: ServiceName;
  readonly port: number;
  readonly protocol: Protocol;
  /** In the order in which requests try them; the last one is for all that is left. */
  readonly routes: readonly GraphRoute[];
}

export interface GraphRoute {
  /** `namespace/name` of the TrafficSplit; undefined: calls go to the Service itself. */
  readonly split?: string;
  /** Requests that take this route, ORed; undefined: all that come this far. */
  readonly when?: readonly HTTPMatch[];
  /** Empty: the split has nothing left to send to, requests are answered 503. */
  readonly backends: readonly GraphBackend[];
}

export interface GraphBackend {
  readonly service: ServiceName;
  /** Percent of the requests that take the route. */
  readonly weight: number;
  /** Accounts of the pods that may get them. */
  readonly accounts: readonly Identity[];
  /** Undefined: every one of them (or every connection). Empty: none, they are refused. ORed. */
  readonly allows?: readonly RouteMatch[];
  /** Some of the pods refuse what others let through, or have no sidecar. */
  readonly partly?: true;
}

/** Which edges are wanted. */
export interface Wanted {
  readonly from?: (client: Identity | undefined) => boolean;
  readonly to?: (service: ServiceName, port: number) => boolean;
}

export function graphOf(ground: Ground, wanted: Wanted = {}): Graph {
  const { mesh } = ground;
  const edges: Edge[] = [];
  const clients = clientsOf(mesh);
  for (const service of mesh.services.values()) {
    for (const port of service.ports) {
      if (wanted.to && !wanted.to(service.name, port.port)) continue;
      for (const from of clients(port)) {
        if (wanted.from && !wanted.from(from)) continue;
        const edge = edgeOf(ground, from, service.name, port);
        if (edge) edges.push(edge);
      }
    }
  }
  const { permissive, egress } = mesh.settings;
  return { edges: edges.sort(byPlace), permissive, egress };
}

/** Clients that any server behind a Service's port may let through: only these need be looked at. */
function clientsOf(mesh: Mesh): (port: MeshPort) => ReadonlySet<Identity | undefined> {
  const byAccount = new Map<Identity, Set<Identity | undefined>>();
  for (const { identity, inbound } of mesh.groups.values()) {
    let known = byAccount.get(identity);
    if (!known) byAccount.set(identity, (known = new Set()));
    for (const { access } of inbound)
      for (const rule of access) for (const s of rule.sources ?? [undefined]) known.add(s);
  }
  return ({ routes }) => {
    const services = new Set(routes.flatMap((route) => route.backends.map((backend) => backend.service)));
    const accounts = new Set([...services].flatMap((name) => mesh.services.get(name)?.identities ?? []));
    return new Set([...accounts].flatMap((account) => [...(byAccount.get(account) ?? [])]));
  };
}

function edgeOf(
  ground: Ground,
  from: Identity | undefined,
  to: ServiceName,
  { port, protocol }: MeshPort,
): Edge | undefined {
  // In permissive mode all identities are alike; any of them shows the way.
  const identity = from ?? ground.mesh.groups.values().next().value?.identity;
  if (identity === undefined) return undefined;
  const found = waysOf(ground, { kind: "account", identity }, { kind: "service", service: to, port });
  if (found.kind !== "ways") return undefined;
  const routes = found.ways.flatMap((way) => way.routes.map((route) => routeOf(route, identity)));
  const open = routes.some(({ backends }) => backends.some(({ allows }) => allows === undefined || allows.length > 0));
  return open ? { ...(from === undefined ? {} : { from }), to, port, protocol, routes } : undefined;
}

function routeOf({ route, backends }: RouteWay, client: Identity): GraphRoute {
  const sum = backends.reduce((total, { backend }) => total + backend.weight, 0);
  return {
    ...(route.split === undefined ? {} : { split: route.split }),
    ...(route.matches ? { when: route.matches } : {}),
    backends: backends.map((way) => backendOf(way, client, (100 * way.backend.weight) / sum)),
  };
}

function backendOf({ backend, servers }: BackendWay, client: Identity, weight: number): GraphBackend {
  const each = servers.map(({ inbound }) => allowedTo(client, inbound?.access ?? []));
  const whole = each.some((one) => one === undefined);
  const matches = whole ? undefined : unique(each.flatMap((one) => one ?? []));
  const partly = new Set(each.map(textOf)).size > 1;
  return {
    service: backend.service,
    weight,
    accounts: [...new Set(servers.map((server) => server.identity))].sort(),
    ...(matches ? { allows: matches } : {}),
    ...(partly ? { partly } : {}),
  };
}

/** What rules let a client do: undefined is everything. */
function allowedTo(client: Identity, access: readonly Rule[]): readonly RouteMatch[] | undefined {
  const own = access.filter(({ sources }) => !sources || sources.includes(client));
  if (own.some(({ matches }) => !matches)) return undefined;
  return unique(own.flatMap(({ matches }) => matches ?? []));
}

const keyOf = ({ group, name }: RouteMatch): string => `${group} ${name}`;
const unique = (matches: readonly RouteMatch[]): RouteMatch[] => [
  ...new Map(matches.map((m) => [keyOf(m), m])).values(),
];
const textOf = (matches: readonly RouteMatch[] | undefined): string => matches?.map(keyOf).sort().join("|") ?? "all";

const byPlace = (a: Edge, b: Edge): number =>
  compare(a.from ?? "", b.from ?? "") || compare(a.to, b.to) || a.port - b.port;
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
