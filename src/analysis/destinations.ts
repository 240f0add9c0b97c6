/**
 * Where a change may be felt. Knows no request.
 */
import type { ServiceName } from "../world/names.ts";
import type { Ground } from "./ways.ts";

export interface ServicePort {
  readonly service: ServiceName;
  readonly port: number;
}

/** Ports of Services in namespaces in which anything is other than before: policies do not leave their namespace. */
export function* changedDestinations(before: Ground, after: Ground): Generator<ServicePort> {
  const sides = [before, after];
  const settings = JSON.stringify(before.mesh.settings) !== JSON.stringify(after.mesh.settings);
  const places = new Map<string, ServicePort>();
  for (const { world } of sides) {
    for (const [namespace, services] of world.tables.Service) {
      if (!settings && sameNamespace(before, after, namespace)) continue;
      for (const { name: service, ports } of services.values())
        for (const { port } of ports) places.set(`${service}:${port}`, { service, port });
    }
  }
  for (const key of [...places.keys()].sort()) yield places.get(key) as ServicePort;
}

const KINDS = [
  "Service",
  "TrafficTarget",
  "HTTPRouteGroup",
  "TCPRoute",
  "TrafficSplit",
  "Pod",
  "EndpointSlice",
] as const;

/** Worlds share what they have in common, so that what is the same is told by looking at references. */
function sameNamespace({ world: a }: Ground, { world: b }: Ground, namespace: string): boolean {
  const own = (world: Ground["world"]) => world.tables.Namespace.get("")?.get(namespace);
  return own(a) === own(b) && KINDS.every((kind) => a.tables[kind].get(namespace) === b.tables[kind].get(namespace));
}
