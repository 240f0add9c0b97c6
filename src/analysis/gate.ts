/**
 * Whether a change opens anything new at the pods behind some Services: what a pipeline refuses. Looks at every way that leads there, and at
 * the pods' own rules, whether a way leads to them today or not.
 */
import type { Identity, ServiceName } from "../world/names.ts";
import { hostsOf } from "./authority.ts";
import { admittedAt, identitiesOf, portsBehind } from "./callers.ts";
import { decidedBy, type Deciding } from "./deciding.ts";
import { cannotTell } from "./limits.ts";
import { changedDestinations, type ServicePort } from "./destinations.ts";
import { changedOpen } from "./open.ts";
import type { Unguarded } from "./pods.ts";
import { allowedAt, letBy, looksAtRequests, routesTaken } from "./relation.ts";
import type { Request, Requests, RequestSet } from "./requests.ts";
import { waysOf, type Ground, type Server } from "./ways.ts";

/** Something that nobody let through before. */
export interface NewAccess {
  readonly from: Identity | "everybody";
  /** The Service behind whose pods it is. */
  readonly service: ServiceName;
  /** What is called; undefined: the pods would let it through, and no way leads there today. */
  readonly to?: ServicePort;
  /** The pods' port. */
  readonly podPort: number;
  /** Undefined: a connection. */
  readonly request?: Request;
  readonly rules: readonly Deciding[];
  /** No sidecar guards this port any more; why. */
  readonly open?: Unguarded;
  /** It could not be told; why. */
  readonly unknown?: string;
}

export function newAccess(
  requests: Requests,
  before: Ground,
  after: Ground,
  services: readonly ServiceName[],
): readonly NewAccess[] {
  const found: NewAccess[] = [];
  const { opened } = services.length > 0 ? changedOpen(before, after) : { opened: [] };
  for (const service of services) {
    for (const { port, podPort, because } of opened.filter((one) => one.service === service))
      found.push({ from: "everybody", service, to: { service, port }, podPort, rules: [], open: because });
    const open = portsBehind(after.mesh, service);
    if (open.length === 0) continue;
    const admitted = admittedAt(open);
    const clients = admitted === "everybody" ? identitiesOf(after.mesh) : [...admitted].sort();
    const places = [...changedDestinations(before, after)].filter((to) => leadsTo(after, to, service));
    for (const from of clients) {
      try {
        const ways = places.flatMap((to) => byWay(requests, before, after, from, to, service) ?? []);
        found.push(...(ways.length > 0 ? ways : atPods(requests, before, after, from, service)));
      } catch (error) {
        const unknown = cannotTell(error);
        if (unknown === undefined) throw error;
        found.push({ from, service, podPort: open[0]?.port ?? 0, rules: [], unknown });
      }
    }
  }
  return found;
}

function leadsTo({ mesh }: Ground, { service, port }: ServicePort, wanted: ServiceName): boolean {
  const routes = mesh.services.get(service)?.ports.find((p) => p.port === port)?.routes ?? [];
  const groups = new Set(portsBehind(mesh, wanted).map((p) => p.group));
  return [service, ...routes.flatMap((route) => route.backends.map((b) => b.service))].some((name) =>
    portsBehind(mesh, name).some((p) => groups.has(p.group)),
  );
}

interface Reached {
  readonly set: RequestSet;
  readonly hosts: readonly string[];
  readonly servers: readonly Server[];
}

function byWay(
  requests: Requests,
  before: Ground,
  after: Ground,
  from: Identity,
  to: ServicePort,
  service: ServiceName,
): NewAccess | undefined {
  const now = reached(requests, after, from, to, service);
  const fresh = requests.difference(now.set, reached(requests, before, from, to, service).set);
  if (requests.isEmpty(fresh)) return undefined;
  const request = now.hosts.length > 0 ? requests.witness(fresh, now.hosts) : undefined;
  return {
    from,
    service,
    to,
    podPort: now.servers[0]?.port ?? 0,
    ...(request ? { request } : {}),
    rules: decidedBy(requests, now.servers, from, request),
  };
}

/** What of a client's calls to a Service is let through by the pods behind another. */
function reached(requests: Requests, ground: Ground, from: Identity, to: ServicePort, service: ServiceName): Reached {
  const destination = { kind: "service", ...to } as const;
  const found = waysOf(ground, { kind: "account", identity: from }, destination);
  const servers: Server[] = [];
  const hosts: string[] = [];
  let set = requests.none;
  for (const way of found.kind === "ways" ? found.ways : []) {
    if (!way.known) continue;
    if (looksAtRequests(way)) hosts.push(...hostsOf(from, way, destination));
    for (const { route, taken } of routesTaken(requests, way, from, destination)) {
      for (const server of route?.backends.flatMap((b) => b.servers) ?? []) {
        if (!server.inbound?.services.includes(service)) continue;
        servers.push(server);
        set = requests.union(set, requests.intersection(taken, letBy(requests, server, from)));
      }
    }
  }
  return { set, hosts, servers };
}

function atPods(
  requests: Requests,
  before: Ground,
  after: Ground,
  from: Identity,
  service: ServiceName,
): readonly NewAccess[] {
  const allowed = ({ mesh }: Ground, port: number): RequestSet =>
    requests.unionOf(
      portsBehind(mesh, service)
        .filter((p) => p.port === port)
        .map((p) => allowedAt(requests, p, from)),
    );
  const ports = [...new Set(portsBehind(after.mesh, service).map((p) => p.port))];
  return ports.flatMap((podPort): NewAccess[] => {
    const fresh = requests.difference(allowed(after, podPort), allowed(before, podPort));
    if (requests.isEmpty(fresh)) return [];
    const own = portsBehind(after.mesh, service).filter((p) => p.port === podPort);
    const request = own.some((p) => p.protocol === "http") ? requests.witness(fresh) : undefined;
    return [
      {
        from,
        service,
        podPort,
        ...(request ? { request } : {}),
        rules: decidedBy(
          requests,
          own.map((inbound) => ({ inbound })),
          from,
          request,
        ),
      },
    ];
  });
}
