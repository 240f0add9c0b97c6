/**
 * Which pods stand behind what, looked up once for each state of a world. Knows no policy.
 */
import type { Mesh, MeshPort, MeshService } from "../policy/ir.ts";
import { podPort, selects } from "../policy/services.ts";
import { localName, namespaceOf, type Identity, type PodName, type ServiceName } from "../world/names.ts";
import type { Pod, Service, Workload } from "../world/types.ts";
import type { World } from "../world/world.ts";

const NO_WORKLOADS: readonly Workload[] = Object.freeze([]);
const NO_PODS: readonly Pod[] = Object.freeze([]);

export const serviceOf = (world: World, name: ServiceName): Service | undefined =>
  world.tables.Service.get(namespaceOf(name))?.get(localName(name));

export const podOf = (world: World, name: PodName): Pod | undefined =>
  world.tables.Pod.get(namespaceOf(name))?.get(localName(name));

const selected = new WeakMap<Service, { from: ReadonlyMap<string, Workload>; found: readonly Workload[] }>();

/** Workloads that a Service selects, by identity and key. */
export function selectedBy(world: World, service: Service): readonly Workload[] {
  const from = world.workloads.get(namespaceOf(service.name));
  if (!from) return NO_WORKLOADS;
  const known = selected.get(service);
  if (known?.from === from) return known.found;
  const found = [...from.values()].filter((w) => selects(service, w.labels)).sort(byIdentity);
  selected.set(service, { from, found });
  return found;
}

const byIdentity = (a: Workload, b: Workload): number =>
  a.identity === b.identity ? (a.key < b.key ? -1 : 1) : a.identity < b.identity ? -1 : 1;

const byWorkload = new WeakMap<ReadonlyMap<string, Pod>, ReadonlyMap<string, readonly Pod[]>>();

/** The pods of a workload of this namespace, by name. */
export function podsOf(world: World, namespace: string, { key }: Workload): readonly Pod[] {
  const pods = world.tables.Pod.get(namespace);
  if (!pods) return NO_PODS;
  let index = byWorkload.get(pods);
  if (!index) {
    const sorted = [...pods.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    byWorkload.set(pods, (index = Map.groupBy(sorted, (pod) => pod.workload.key)));
  }
  return index.get(key) ?? NO_PODS;
}

/** The pods' port behind a Service's port, in pods of this workload; undefined: they are no endpoints of it. */
export function targetPortIn(service: Service, port: MeshPort, workload: Workload): number | undefined {
  const declared = service.ports.find((p) => p.port === port.port && p.name === port.name && p.protocol === "TCP");
  return declared && podPort(declared, workload);
}

/** `annotation`, `mesh-config`: there is a sidecar, and that leads the port past it. */
export type Unguarded = "no-sidecar" | "annotation" | "mesh-config";

/** Why nothing is enforced at a port of a workload's pods; undefined: their sidecars decide there. */
export function unguarded(mesh: Mesh, workload: Workload, port: number): Unguarded | undefined {
  if (!mesh.groupOf.has(workload.key)) return "no-sidecar";
  if (workload.past?.includes(port)) return "annotation";
  return mesh.settings.sidecar.inboundPortExclusions.includes(port) ? "mesh-config" : undefined;
}

/** A port of an account's pods, behind a Service's port. */
export interface OpenPort {
  readonly service: ServiceName;
  readonly port: number;
  readonly identity: Identity;
  readonly podPort: number;
  readonly because: Unguarded;
  /** Others of the account's pods are guarded there. */
  readonly mixed: boolean;
}

/** What is not guarded behind a Service's port, one for each account and port of its pods. */
export function openBehind(world: World, mesh: Mesh, service: Service, port: number): readonly OpenPort[] {
  const found = new Map<string, OpenPort>();
  const guarded = new Set<string>();
  for (const declared of service.ports) {
    if (declared.port !== port || declared.protocol !== "TCP") continue;
    for (const workload of selectedBy(world, service)) {
      const number = podPort(declared, workload);
      if (number === undefined) continue;
      const { identity } = workload;
      const key = `${identity} ${number}`;
      const because = unguarded(mesh, workload, number);
      if (because) found.set(key, { service: service.name, port, identity, podPort: number, because, mixed: false });
      else guarded.add(key);
    }
  }
  return [...found].map(([key, one]) => ({ ...one, mixed: guarded.has(key) }));
}

const reaches = new WeakMap<Mesh, Map<Identity, ReadonlySet<MeshService> | undefined>>();

/** The Services that sidecars of an account were told of, in order of name; undefined when no pod with a sidecar has the account. */
export function knownTo(mesh: Mesh, identity: Identity): ReadonlySet<MeshService> | undefined {
  let known = reaches.get(mesh);
  if (!known) {
    known = new Map();
    for (const policy of mesh.groups.values())
      if (!known.has(policy.identity)) known.set(policy.identity, new Set(policy.outbound.services));
    reaches.set(mesh, known);
  }
  return known.get(identity);
}
