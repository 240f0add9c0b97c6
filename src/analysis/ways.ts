/**
 * Where a call may go before anybody looks at the request: the port's routes, their backends, and the pods behind these with the ports
 * that decide. One request (explain) and all requests (plan, prove) are judged on the same ways. Knows no request and no verdict.
 *
 * What Envoys are told is the truth here: `xds/` turns the same Mesh into configuration, and `test/live/why.test.ts` compares.
 */
import type { Backend, InboundPort, Mesh, MeshPort, MeshService, SplitRoute } from "../policy/ir.ts";
import {
  localName,
  namespaceOf,
  type GroupName,
  type Identity,
  type PodName,
  type ServiceName,
} from "../world/names.ts";
import type { Pod, Service, Workload } from "../world/types.ts";
import type { World } from "../world/world.ts";
import { knownTo, openBehind, podOf, podsOf, selectedBy, serviceOf, targetPortIn, unguarded } from "./pods.ts";

/** What is asked about: a world, and what it compiled to. */
export interface Ground {
  readonly world: World;
  readonly mesh: Mesh;
}

/** Who calls: a pod with a sidecar, as its account, or somebody without one. */
export type Client = { readonly kind: "account"; readonly identity: Identity } | { readonly kind: "outside" };

/**
 * What is called: a Service's port, by one of the Service's names or its virtual IP; or a pod's port, by the pod's name behind a headless
 * Service, or else its address.
 */
export type Destination =
  | { readonly kind: "service"; readonly service: ServiceName; readonly port: number }
  | { readonly kind: "pod"; readonly pod: PodName; readonly port: number };

/** Pods of one group (or without a sidecar) that a backend may send to, all on the same port. */
export interface Server {
  readonly identity: Identity;
  /** Of their sidecars; undefined: none guards the port, so nothing that comes from the mesh's sidecars reaches them. */
  readonly group?: GroupName;
  /** They have sidecars, and the port is led past these. */
  readonly past?: true;
  /** The pods' port. */
  readonly port: number;
  /** What decides there, on requests if its protocol is HTTP, else on connections; undefined: their sidecars have no such port. */
  readonly inbound?: InboundPort;
  /** Sorted. */
  readonly pods: readonly PodName[];
}

export interface BackendWay {
  readonly backend: Backend;
  /** By identity. Empty: nobody stands behind it. */
  readonly servers: readonly Server[];
}

export interface RouteWay {
  readonly route: SplitRoute;
  /** Those of the route, in its order. Empty: nothing is left to send to. */
  readonly backends: readonly BackendWay[];
}

/** Where calls to one Service's port go. */
export interface Way {
  /** Whose routes count, and what the client's sidecar takes the call for (its protocol). */
  readonly service: MeshService;
  readonly port: MeshPort;
  /** Set where the address decides: this way is for connections to these pods only. */
  readonly to?: readonly PodName[];
  /**
   * Whether the client's sidecar was told of the Service. If not, it refuses the call itself; that is never narrower than the servers,
   * none of which allows this client anything then.
   */
  readonly known: boolean;
  /** In order: a request goes the first one whose `matches` take it (on TCP there is one). One without `matches` is the last. */
  readonly routes: readonly RouteWay[];
}

export type NoWay =
  /** Not the mesh's business. */
  | { readonly kind: "not-in-mesh"; readonly reason: NotInMesh }
  /** The mesh knows the destination, and no way to it. */
  | { readonly kind: "not-routed"; readonly reason: NotRouted }
  /** Whatever is asked. */
  | { readonly kind: "denied"; readonly reason: "client-without-sidecar" };

/** `unknown`: there is no such object. `unmonitored`: its namespace is not in the mesh. `not-tcp`: the port is UDP's or SCTP's. */
export type NotInMesh =
  | "unknown"
  | "external-name"
  | "no-selector"
  | "unmonitored"
  | "not-tcp"
  | "no-sidecar"
  /** Who has no sidecar reaches pods that none guards. */
  | "open";
/** `pod-address`: Services' names and addresses lead somewhere, a bare pod's address does not. */
export type NotRouted = "no-port" | "no-pods" | "no-target-port" | "pod-address";

export type Ways = NoWay | { readonly kind: "ways"; readonly ways: readonly Way[] };

/** Everything that can happen to calls of one client to one destination. One way, but where the address decides. */
export const waysOf = (ground: Ground, client: Client, destination: Destination): Ways =>
  destination.kind === "service"
    ? toService(ground, client, destination.service, destination.port)
    : toPod(ground, client, destination.pod, destination.port);

const notInMesh = (reason: NotInMesh): NoWay => ({ kind: "not-in-mesh", reason });
const notRouted = (reason: NotRouted): NoWay => ({ kind: "not-routed", reason });
const REFUSED: NoWay = { kind: "denied", reason: "client-without-sidecar" };

function toService(ground: Ground, client: Client, name: ServiceName, number: number): Ways {
  const { world, mesh } = ground;
  const object = serviceOf(world, name);
  if (!object) return notInMesh("unknown");
  if (object.externalName !== undefined) return notInMesh("external-name");
  if (Object.keys(object.selector ?? {}).length === 0) return notInMesh("no-selector");
  const service = mesh.services.get(name);
  if (!service) return notInMesh("unmonitored");
  const declared = object.ports.filter((p) => p.port === number);
  if (declared.length === 0) return notRouted("no-port");
  if (declared.every((p) => p.protocol !== "TCP")) return notInMesh("not-tcp");
  const workloads = selectedBy(world, object);
  const port = service.ports.find((p) => p.port === number);
  if (!port) return notRouted(workloads.length === 0 ? "no-pods" : "no-target-port");
  // Whoever knows the Service has a way to it and is answered there, also where nothing is left of a split, or nobody stands behind.
  const known = client.kind === "account" && knownTo(mesh, client.identity)?.has(service) === true;
  if (!known && port.routes.every(({ backends }) => backends.length > 0 && backends.every((b) => b.service === name))) {
    if (workloads.length === 0) return notRouted("no-pods");
    if (workloads.every((w) => !mesh.groupOf.has(w.key))) return notInMesh("no-sidecar");
  }
  if (client.kind === "outside")
    return openBehind(world, mesh, object, number).length > 0 ? notInMesh("open") : REFUSED;
  const { identity } = client;
  if (!service.headless) return { kind: "ways", ways: [wayOf(ground, identity, service, port)] };
  // On TCP the address is all that there is, and a headless Service without pods has none, whatever its split says.
  if (port.protocol !== "http" && workloads.every((w) => targetPortIn(object, port, w) === undefined))
    return notRouted("no-pods");
  return { kind: "ways", ways: byAddress(ground, identity, service, port, object, workloads) };
}

/** Clients connect to a headless Service's pods themselves, and a TCP chain for that address goes before all else. */
function byAddress(
  ground: Ground,
  identity: Identity,
  service: MeshService,
  port: MeshPort,
  object: Service,
  workloads: readonly Workload[],
): readonly Way[] {
  const owners = new Map<MeshService, Workload[]>();
  for (const workload of workloads) {
    if (targetPortIn(object, port, workload) === undefined) continue;
    const owner = addressOwner(ground, identity, workload, namespaceOf(service.name), port.port) ?? service;
    const list = owners.get(owner);
    if (list) list.push(workload);
    else owners.set(owner, [workload]);
  }
  if (owners.size === 0) return [wayOf(ground, identity, service, port)];
  const whole = owners.size === 1 && owners.has(service);
  return [...owners].map(([owner, list]) =>
    owner === service
      ? wayOf(ground, identity, service, port, whole && port.protocol === "http" ? undefined : list)
      : wayOf(ground, identity, owner, portOf(owner, port.port), list),
  );
}

/**
 * Whose TCP chain matches connections to these pods' addresses: several headless Services may have the same pods, and then the first by
 * name that the client was told of has them. Undefined: none has.
 */
function addressOwner(
  { world, mesh }: Ground,
  identity: Identity,
  workload: Workload,
  namespace: string,
  number: number,
): MeshService | undefined {
  for (const service of knownTo(mesh, identity) ?? []) {
    if (!service.headless || namespaceOf(service.name) !== namespace) continue;
    const port = service.ports.find((p) => p.port === number);
    if (!port || port.protocol === "http" || port.routes.at(-1)?.backends.length === 0) continue;
    const object = serviceOf(world, service.name);
    if (object && selectedBy(world, object).includes(workload) && targetPortIn(object, port, workload) !== undefined)
      return service;
  }
  return undefined;
}

const portOf = (service: MeshService, number: number): MeshPort =>
  service.ports.find((p) => p.port === number) as MeshPort;

function toPod(ground: Ground, client: Client, name: PodName, number: number): Ways {
  const { world, mesh } = ground;
  const pod = podOf(world, name);
  if (!pod) return notInMesh("unknown");
  const open = unguarded(mesh, pod.workload, number);
  const bare = open === "no-sidecar";
  if (client.kind === "outside") return bare ? notInMesh(open) : open ? notInMesh("open") : REFUSED;
  const { identity } = client;
  const owner = addressOwner(ground, identity, pod.workload, namespaceOf(name), number);
  // A headless Service's TCP chain has its pods' addresses, whether they have a sidecar or not.
  if (bare && !owner) return notInMesh(open);
  const headless = owner ? { service: owner, port: portOf(owner, number) } : headlessOf(ground, identity, pod, number);
  if (!headless) return notRouted("pod-address");
  const { service, port } = headless;
  // Row 33: a pod's name is no split's business. On TCP the address is all that there is, and a split of the Service has it.
  const routes: readonly SplitRoute[] =
    port.protocol === "http"
      ? [{ backends: [{ service: service.name, targetPort: port.targetPort, weight: 1 }] }]
      : port.routes;
  return {
    kind: "ways",
    ways: [wayOf(ground, identity, service, { ...port, routes }, [pod.workload], name)],
  };
}

/** Calls by the name of some pod behind a headless Service: no split's business (smi-semantics, row 33). */
export function pastSplits(ground: Ground, identity: Identity, service: MeshService, number: number): Way {
  const port = portOf(service, number);
  const routes = [{ backends: [{ service: service.name, targetPort: port.targetPort, weight: 1 }] }];
  return wayOf(ground, identity, service, { ...port, routes });
}

/** The headless Service under which a pod is called on this port: the one of its `subdomain`, else the first by name that the client knows. */
function headlessOf(
  { world, mesh }: Ground,
  identity: Identity,
  { name, workload }: Pod,
  number: number,
): { service: MeshService; port: MeshPort } | undefined {
  const known = knownTo(mesh, identity);
  const found: { service: MeshService; port: MeshPort; rank: number }[] = [];
  for (const object of world.tables.Service.get(namespaceOf(name))?.values() ?? []) {
    const service = object.headless ? mesh.services.get(object.name) : undefined;
    const port = service?.ports.find((p) => p.port === number);
    if (!service || !port || !selectedBy(world, object).includes(workload)) continue;
    const rank = (workload.subdomain === localName(object.name) ? 0 : 2) + (known && !known.has(service) ? 1 : 0);
    found.push({ service, port, rank });
  }
  return found.sort((a, b) => a.rank - b.rank || (a.service.name < b.service.name ? -1 : 1))[0];
}

/** @param to - workloads to whose pods the connection goes, where the address decides; `only` one pod of them */
function wayOf(
  ground: Ground,
  identity: Identity,
  service: MeshService,
  port: MeshPort,
  to?: readonly Workload[],
  only?: PodName,
): Way {
  const known = knownTo(ground.mesh, identity)?.has(service) ?? true;
  const namespace = namespaceOf(service.name);
  const names = to?.flatMap((w) => podsOf(ground.world, namespace, w).map((pod) => pod.name)).sort();
  const pods = only === undefined ? names : [only];
  // On TCP the last route is the only one that connections take.
  const routes = port.protocol === "http" ? port.routes : port.routes.slice(-1);
  return {
    service,
    port,
    known,
    ...(pods ? { to: pods } : {}),
    routes: routes.map((route) => ({
      route,
      backends: route.backends.map((backend) => ({ backend, servers: serversOf(ground, backend, port.port, pods) })),
    })),
  };
}

/**
 * The pods that a backend's cluster may choose. A headless Service's own cluster chooses none: the connection goes on to where it was going,
 * on the port to which it was going.
 */
function serversOf(
  { world, mesh }: Ground,
  backend: Backend,
  called: number,
  to: readonly PodName[] | undefined,
): readonly Server[] {
  const service = mesh.services.get(backend.service);
  const object = serviceOf(world, backend.service);
  if (!service || !object) return [];
  const goesOn = service.headless && !backend.spread;
  // Ports with one targetPort share a cluster, which has the first one's endpoints.
  const fed = service.ports.find((p) => p.targetPort === backend.targetPort);
  const namespace = namespaceOf(service.name);
  const servers = new Map<string, { -readonly [K in keyof Server]: Server[K] } & { pods: PodName[] }>();
  for (const workload of selectedBy(world, object)) {
    const port = goesOn ? called : fed && targetPortIn(object, fed, workload);
    if (port === undefined) continue;
    const pods = podsOf(world, namespace, workload).map((pod) => pod.name);
    const chosen = goesOn && to ? pods.filter((pod) => to.includes(pod)) : pods;
    if (chosen.length === 0) continue;
    const open = unguarded(mesh, workload, port);
    const past = open !== undefined && open !== "no-sidecar";
    const group = open ? undefined : mesh.groupOf.get(workload.key);
    const key = `${workload.identity} ${group ?? past} ${port}`;
    const known = servers.get(key);
    if (known) {
      known.pods.push(...chosen);
      known.pods.sort();
      continue;
    }
    const inbound = group && mesh.groups.get(group)?.inbound.find((p) => p.port === port);
    servers.set(key, {
      identity: workload.identity,
      ...(group ? { group } : {}),
      ...(past ? { past } : {}),
      port,
      ...(inbound ? { inbound } : {}),
      pods: [...chosen],
    });
  }
  return [...servers.values()];
}
