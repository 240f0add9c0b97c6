/**
 * Who there is and what can be called: the clients and destinations that a question about a whole mesh goes through.
 */
import type { InboundPort, Mesh, MeshService, ProxyPolicy } from "../policy/ir.ts";
import { namespaceOf, type Identity, type ServiceName } from "../world/names.ts";
import type { ServicePort } from "./destinations.ts";
import type { Server } from "./ways.ts";

/** Accounts that have pods in the mesh, and those that any rule names: a pod of theirs may come at any time. Sorted. */
export function identitiesOf({ groups }: Mesh): readonly Identity[] {
  const found = new Set<Identity>();
  for (const { identity, inbound } of groups.values()) {
    found.add(identity);
    for (const { access } of inbound) for (const { sources } of access) for (const id of sources ?? []) found.add(id);
  }
  return [...found].sort();
}

/** Accounts that any of these ports lets in with any request at all; `"everybody"` in permissive mode. */
export function admittedAt(ports: Iterable<InboundPort | undefined>): ReadonlySet<Identity> | "everybody" {
  const found = new Set<Identity>();
  for (const port of ports) {
    for (const { sources } of port?.access ?? []) {
      if (!sources) return "everybody";
      for (const id of sources) found.add(id);
    }
  }
  return found;
}

const headless = new WeakMap<Mesh, ReadonlyMap<string, readonly MeshService[]>>();

/** Headless Services by namespace and TCP port. */
function headlessAt(mesh: Mesh, key: string): readonly MeshService[] {
  let index = headless.get(mesh);
  if (!index) {
    const made = new Map<string, MeshService[]>();
    for (const service of mesh.services.values()) {
      for (const { port, protocol } of service.headless ? service.ports : []) {
        if (protocol === "http") continue;
        const at = `${namespaceOf(service.name)} ${port}`;
        const list = made.get(at);
        if (list) list.push(service);
        else made.set(at, [service]);
      }
    }
    headless.set(mesh, (index = made));
  }
  return index.get(key) ?? [];
}

/**
 * Services behind whose pods calls of a Service's port may end: itself and its backends; and for a headless one those of others in its namespace,
 * whose TCP chains may have its pods' addresses.
 */
export function leadsTo(mesh: Mesh, { service, port }: ServicePort): ReadonlySet<ServiceName> {
  const found = new Set([service]);
  const own = mesh.services.get(service);
  const others = own?.headless ? headlessAt(mesh, `${namespaceOf(service)} ${port}`) : [];
  for (const { ports } of own ? [own, ...others] : [])
    for (const { routes } of ports.filter((p) => p.port === port))
      for (const { backends } of routes) for (const backend of backends) found.add(backend.service);
  return found;
}

/** Ports of the pods behind a Service, with the group that each is of. */
export function portsBehind(mesh: Mesh, service: ServiceName): readonly (InboundPort & Pick<ProxyPolicy, "group">)[] {
  return (indexOf(mesh).get(service) ?? []).map(({ policy, port }) => ({ ...port, group: policy.group }));
}

type Index = ReadonlyMap<ServiceName, readonly { readonly policy: ProxyPolicy; readonly port: InboundPort }[]>;
const indexed = new WeakMap<Mesh, Index>();

function indexOf(mesh: Mesh): Index {
  let index = indexed.get(mesh);
  if (!index) {
    const made = new Map<ServiceName, { policy: ProxyPolicy; port: InboundPort }[]>();
    for (const policy of mesh.groups.values()) {
      for (const port of policy.inbound) {
        for (const service of port.services) {
          const list = made.get(service);
          if (list) list.push({ policy, port });
          else made.set(service, [{ policy, port }]);
        }
      }
    }
    indexed.set(mesh, (index = made));
  }
  return index;
}

/** Whether a server stands behind one of these Services, whatever led there. */
export const isBehind = ({ inbound }: Server, services: ReadonlySet<ServiceName>): boolean =>
  inbound?.services.some((name) => services.has(name)) ?? false;

/** A pattern for accounts or Services: `*`, `namespace/*`, or a whole name. */
export const covers = (pattern: string, name: Identity | ServiceName): boolean =>
  pattern === "*" || pattern === name || (pattern.endsWith("/*") && pattern.slice(0, -2) === namespaceOf(name));
