/**
 * Whether a change opens anything new at the pods behind some Services: what a pipeline refuses. Looks at every way that leads there, and at
 * the pods' own rules, whether a way leads to them today or not.
 */
import type { InboundPort } from "../policy/ir.ts";
import type { Identity, ServiceName } from "../world/names.ts";
import type { Service } from "../world/types.ts";
import { hostsOf } from "./authority.ts";
import { admittedAt, identitiesOf, leadsTo, portsBehind } from "./callers.ts";
import { decidedBy, type Deciding } from "./deciding.ts";
import { cannotTell } from "./limits.ts";
import { changedDestinations, type ServicePort } from "./destinations.ts";
import { changedOpen } from "./open.ts";
import { selectedBy, serviceOf, unguarded, type OpenPort, type Unguarded } from "./pods.ts";
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
    const guard = new Guard(requests, before, after, service);
    const ports = new Map<string, OpenPort>();
    for (const one of opened.filter((open) => guard.isAbout(open))) {
      const key = `${one.identity} ${one.podPort}`;
      // By its own name rather than by another's.
      if (one.service === service || !ports.has(key)) ports.set(key, one);
    }
    for (const { port, podPort, because, ...one } of ports.values())
      found.push({ from: "everybody", service, to: { service: one.service, port }, podPort, rules: [], open: because });
    found.push(...guard.fresh());
  }
  return found;
}

/** A port of an account's pods, with what decides there and in which groups of proxies. */
interface GuardedPort {
  readonly identity: Identity;
  readonly port: number;
  readonly inbound: InboundPort[];
  /** `group port`. */
  readonly places: Set<string>;
}

/**
 * The pods behind a Service, as it was or as it is: they are guarded also where their Service has another name now, each account's for itself, at
 * all of their ports.
 */
class Guard {
  readonly #requests: Requests;
  readonly #before: Ground;
  readonly #after: Ground;
  readonly #service: ServiceName;
  readonly #objects: readonly Service[];
  readonly #was: ReadonlyMap<string, GuardedPort>;
  readonly #is: ReadonlyMap<string, GuardedPort>;

  constructor(requests: Requests, before: Ground, after: Ground, service: ServiceName) {
    this.#requests = requests;
    this.#before = before;
    this.#after = after;
    this.#service = service;
    this.#objects = [before, after].flatMap(({ world }) => serviceOf(world, service) ?? []);
    this.#was = this.#portsOf(before);
    this.#is = this.#portsOf(after);
  }

  #portsOf({ world, mesh }: Ground): ReadonlyMap<string, GuardedPort> {
    const found = new Map<string, GuardedPort>();
    for (const workload of new Set(this.#objects.flatMap((object) => selectedBy(world, object)))) {
      const { identity } = workload;
      const group = mesh.groupOf.get(workload.key);
      for (const inbound of group === undefined ? [] : (mesh.groups.get(group)?.inbound ?? [])) {
        if (unguarded(mesh, workload, inbound.port)) continue;
        const key = `${identity} ${inbound.port}`;
        const known = found.get(key) ?? { identity, port: inbound.port, inbound: [], places: new Set() };
        found.set(key, known);
        const place = `${group} ${inbound.port}`;
        if (!known.places.has(place)) known.inbound.push(inbound);
        known.places.add(place);
      }
    }
    return found;
  }

  /** What a port is compared with: itself, or where the account had no pods here, those of the others. */
  #former(one: GuardedPort): readonly GuardedPort[] {
    const ports = [...this.#was.values()];
    const own = ports.filter(({ identity }) => identity === one.identity);
    return (own.length > 0 ? own : ports).filter(({ port }) => port === one.port);
  }

  /** Whether an open port is one of its pods', by whatever Service. */
  isAbout({ service, identity }: OpenPort): boolean {
    const { world } = this.#after;
    const object = serviceOf(world, service);
    const mine = new Set(this.#objects.flatMap((one) => selectedBy(world, one)));
    return object !== undefined && selectedBy(world, object).some((w) => w.identity === identity && mine.has(w));
  }

  fresh(): readonly NewAccess[] {
    const now = [...this.#is.values()];
    if (now.length === 0) return [];
    const admitted = admittedAt(now.flatMap(({ inbound }) => inbound));
    const clients = admitted === "everybody" ? identitiesOf(this.#after.mesh) : [...admitted].sort();
    const places = [...changedDestinations(this.#before, this.#after)].filter((to) => this.#leadsHere(to));
    return clients.flatMap((from): readonly NewAccess[] => {
      try {
        const ways = places.flatMap((to) => now.flatMap((one) => this.#byWay(from, to, one) ?? []));
        return ways.length > 0 ? ways : now.flatMap((one) => this.#atPods(from, one) ?? []);
      } catch (error) {
        const unknown = cannotTell(error);
        if (unknown === undefined) throw error;
        return [{ from, service: this.#service, podPort: now[0]?.port ?? 0, rules: [], unknown }];
      }
    });
  }

  #leadsHere(to: ServicePort): boolean {
    const { mesh } = this.#after;
    const places = new Set([...this.#is.values()].flatMap((one) => [...one.places]));
    return [...leadsTo(mesh, to)].some((name) =>
      portsBehind(mesh, name).some((p) => places.has(`${p.group} ${p.port}`)),
    );
  }

  #byWay(from: Identity, to: ServicePort, one: GuardedPort): NewAccess | undefined {
    const requests = this.#requests;
    const now = this.#reached(this.#after, from, to, [one]);
    const old = this.#reached(this.#before, from, to, this.#former(one));
    const fresh = requests.difference(now.set, old.set);
    if (requests.isEmpty(fresh) && (old.connections || !now.connections)) return undefined;
    const request = now.hosts.length > 0 ? requests.witness(fresh, now.hosts) : undefined;
    return {
      from,
      service: this.#service,
      to,
      podPort: one.port,
      ...(request ? { request } : {}),
      rules: decidedBy(requests, now.servers, from, request),
    };
  }

  /** What of a client's calls to a Service is let through by these pods. */
  #reached(ground: Ground, from: Identity, to: ServicePort, ports: readonly GuardedPort[]): Reached {
    const requests = this.#requests;
    const destination = { kind: "service", ...to } as const;
    const found = waysOf(ground, { kind: "account", identity: from }, destination);
    const places = new Set(ports.flatMap((one) => [...one.places]));
    const servers: Server[] = [];
    const hosts: string[] = [];
    let set = requests.none;
    let connections = false;
    for (const way of found.kind === "ways" ? found.ways : []) {
      if (!way.known) continue;
      if (looksAtRequests(way)) hosts.push(...hostsOf(from, way, destination));
      for (const { route, taken } of routesTaken(requests, way, from, destination)) {
        for (const server of route?.backends.flatMap((b) => b.servers) ?? []) {
          if (!places.has(`${server.group} ${server.port}`)) continue;
          servers.push(server);
          const lets = requests.intersection(taken, letBy(requests, server, from));
          set = requests.union(set, lets);
          const raw = way.port.protocol !== "http" && server.inbound?.protocol !== "http";
          connections ||= raw && !requests.isEmpty(lets);
        }
      }
    }
    return { set, connections, hosts, servers };
  }

  /** What the pods would let through though no way leads there. */
  #atPods(from: Identity, one: GuardedPort): NewAccess | undefined {
    const requests = this.#requests;
    const allowed = (ports: readonly GuardedPort[]): RequestSet =>
      requests.unionOf(ports.flatMap(({ inbound }) => inbound.map((p) => allowedAt(requests, p, from))));
    const former = this.#former(one);
    const fresh = requests.difference(allowed([one]), allowed(former));
    const connects = (ports: readonly GuardedPort[]): boolean =>
      ports.some(({ inbound }) => inbound.some((p) => p.protocol !== "http" && admits(p, from)));
    if (requests.isEmpty(fresh) && (connects(former) || !connects([one]))) return undefined;
    const request = one.inbound.some((p) => p.protocol === "http") ? requests.witness(fresh) : undefined;
    return {
      from,
      service: this.#service,
      podPort: one.port,
      ...(request ? { request } : {}),
      rules: decidedBy(
        requests,
        one.inbound.map((inbound) => ({ inbound })),
        from,
        request,
      ),
    };
  }
}

const admits = ({ access }: InboundPort, from: Identity): boolean =>
  access.some(({ sources }) => sources === undefined || sources.includes(from));

interface Reached {
  readonly set: RequestSet;
  /** Whether any connection is let through, be it HTTP or not. */
  readonly connections: boolean;
  readonly hosts: readonly string[];
  readonly servers: readonly Server[];
}
