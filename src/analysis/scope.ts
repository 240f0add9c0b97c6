/**
 * Who and what an invariant is about: its names looked up in the mesh. A name that is not there is an answer too: nobody can prove
 * anything about a spelling mistake.
 */
import type { InboundPort } from "../policy/ir.ts";
import { podPort } from "../policy/services.ts";
import { namespaceOf, type GroupName, type Identity, type ServiceName } from "../world/names.ts";
import type { Service } from "../world/types.ts";
import { all } from "../world/world.ts";
import { covers, identitiesOf } from "./callers.ts";
import { openText } from "./open.ts";
import { selectedBy, unguarded } from "./pods.ts";
import type { Ground, Server } from "./ways.ts";

export interface Scope {
  /** Accounts that `from` names. */
  readonly clients: readonly Identity[];
  /** Those that it does not. */
  readonly others: readonly Identity[];
  /** Services that `to` names. */
  readonly services: readonly ServiceName[];
  /** The one Service port that `to` names. */
  readonly port?: number;
  /** Ports of the pods behind these, by group: all ways to them count, whatever Service's they are. */
  readonly ports: ReadonlyMap<GroupName, readonly InboundPort[]>;
  /** Why nothing is enforced at some of the pods; undefined: it is at all of them. */
  readonly open?: string;
}

/** The scope, or a sentence that says what is not there. */
export function scopeOf(ground: Ground, from: readonly string[], to: string): Scope | string {
  const { world, mesh } = ground;
  const everybody = identitiesOf(mesh);
  for (const pattern of from) {
    const fault = unknownName(ground, pattern, everybody, "no account of the mesh is called");
    if (fault !== undefined) return fault;
  }
  const colon = to.lastIndexOf(":");
  const port = colon < 0 ? undefined : Number(to.slice(colon + 1));
  const wanted = colon < 0 ? to : to.slice(0, colon);
  const objects = [...all(world.tables.Service)];
  const fault = unknownName(
    ground,
    wanted,
    objects.map((s) => s.name),
    "there is no Service",
  );
  if (fault !== undefined) return fault;
  const named = objects.filter(({ name }) => covers(wanted, name));
  if (port !== undefined && !named.some((s) => s.ports.some((p) => p.port === port)))
    return `Service ${wanted} has no port ${port}`;
  const services = named.map((s) => s.name);
  const ports = portsOf(ground, named, port);
  const open = openPods(ground, named, ports, port);
  return {
    clients: everybody.filter((id) => from.some((pattern) => covers(pattern, id))),
    others: everybody.filter((id) => !from.some((pattern) => covers(pattern, id))),
    services,
    ...(port === undefined ? {} : { port }),
    ports,
    ...(open === undefined ? {} : { open }),
  };
}

/** Whether a server is one of those that an invariant is about. */
export const isIn = ({ ports }: Scope, { group, port }: Server): boolean =>
  group !== undefined && (ports.get(group)?.some((p) => p.port === port) ?? false);

function unknownName({ world }: Ground, pattern: string, names: readonly string[], says: string): string | undefined {
  if (pattern === "*" || names.includes(pattern)) return undefined;
  if (!pattern.endsWith("/*")) return `${says} ${pattern}`;
  const namespace = pattern.slice(0, -2);
  return world.tables.Namespace.get("")?.has(namespace) ? undefined : `there is no namespace ${namespace}`;
}

function portsOf({ world, mesh }: Ground, services: readonly Service[], port: number | undefined) {
  const found = new Map<GroupName, Map<number, InboundPort>>();
  for (const service of services) {
    const declared = service.ports.filter((p) => p.port === port && p.protocol === "TCP");
    for (const workload of selectedBy(world, service)) {
      const group = mesh.groupOf.get(workload.key);
      if (group === undefined) continue;
      const numbers = declared.map((p) => podPort(p, workload));
      const known = found.get(group) ?? new Map<number, InboundPort>();
      found.set(group, known);
      // Without a port, the pods are meant, with all that is open at them.
      for (const one of mesh.groups.get(group)?.inbound ?? [])
        if (port === undefined || numbers.includes(one.port)) known.set(one.port, one);
    }
  }
  return new Map([...found].map(([group, ports]) => [group, [...ports.values()]]));
}

function openPods(
  { world, mesh }: Ground,
  services: readonly Service[],
  ports: Scope["ports"],
  port: number | undefined,
): string | undefined {
  const says = (what: string): string => `${what}: nothing is enforced there`;
  for (const service of services) {
    // What lies outside of the mesh is meant where it is named, and not where everything is.
    const meant = services.length === 1 || mesh.services.has(service.name) || isMember(world, service);
    if (!meant) continue;
    if (service.externalName !== undefined || Object.keys(service.selector ?? {}).length === 0)
      return says(`Service ${service.name} selects no pods of the mesh`);
    const other = service.ports.find((p) => p.protocol !== "TCP" && (port === undefined || p.port === port));
    if (other)
      return says(`port ${other.port} of Service ${service.name} is ${other.protocol}'s and goes past the sidecars`);
    for (const workload of selectedBy(world, service)) {
      const group = mesh.groupOf.get(workload.key);
      // Without a sidecar all ports are open.
      const numbers = group === undefined ? [0] : (ports.get(group) ?? []).map((p) => p.port);
      for (const podPort of numbers) {
        const because = unguarded(mesh, workload, podPort);
        if (because)
          return says(`pods of ${workload.identity} behind Service ${service.name} ${openText({ because, podPort })}`);
      }
    }
  }
  const [only, ...more] = services;
  if (only && more.length === 0 && !mesh.services.has(only.name))
    return says(`Service ${only.name} selects no pods of the mesh`);
  return undefined;
}

const isMember = ({ tables }: Ground["world"], { name }: Service): boolean =>
  tables.Namespace.get("")?.get(namespaceOf(name))?.monitored === true;
