/**
 * Endpoints: the fast path. One Service's slices → one load assignment a port.
 */
import { ClusterLoadAssignment } from "../../gen/envoy/config/endpoint/v3/endpoint.ts";
import type { MeshPort } from "../policy/ir.ts";
import { sameItems } from "../lib/memo.ts";
import type { ServiceName } from "../world/names.ts";
import type { EndpointSlice } from "../world/types.ts";
import type { World } from "../world/world.ts";
import { tcpAddress } from "./message.ts";
import { resource, type Resource } from "./resource.ts";

type Slices = readonly EndpointSlice[];
const NONE: Slices = Object.freeze([]);

const indexed = new WeakMap<ReadonlyMap<string, EndpointSlice>, ReadonlyMap<ServiceName, Slices>>();

/** A Service's slices, by name. Indexed once for each state of a namespace. */
export function slicesOf(world: World, namespace: string, service: ServiceName): Slices {
  const objects = world.tables.EndpointSlice.get(namespace);
  if (!objects) return NONE;
  let index = indexed.get(objects);
  if (!index) {
    const made = new Map<ServiceName, EndpointSlice[]>();
    for (const name of [...objects.keys()].sort()) {
      const slice = objects.get(name) as EndpointSlice;
      const list = made.get(slice.service);
      if (list) list.push(slice);
      else made.set(slice.service, [slice]);
    }
    indexed.set(objects, (index = made));
  }
  return index.get(service) ?? NONE;
}

/** Services whose slices differ between two worlds. Looks only into namespaces that changed. */
export function* changedServices(before: World, after: World): Generator<ServiceName> {
  const tables = [before.tables.EndpointSlice, after.tables.EndpointSlice];
  if (tables[0] === tables[1]) return;
  for (const namespace of new Set(tables.flatMap((t) => [...t.keys()]))) {
    const [a, b] = tables.map((t) => t.get(namespace));
    if (a === b) continue;
    const services = new Set([...(a?.values() ?? []), ...(b?.values() ?? [])].map((slice) => slice.service));
    for (const service of services) {
      if (!sameItems(slicesOf(before, namespace, service), slicesOf(after, namespace, service))) yield service;
    }
  }
}

/** Ready endpoints of one port as `ip:port` pairs, sorted, without repeats. */
export function addressesOf(
  slices: Slices,
  portName: string,
): readonly { readonly ip: string; readonly port: number }[] {
  const found = new Map<string, { ip: string; port: number }>();
  for (const { ports, endpoints } of slices) {
    const port = ports.find((p) => p.name === portName)?.port;
    if (port === undefined) continue;
    for (const { ip, ready } of endpoints) if (ready) found.set(`${ip} ${port}`, { ip, port });
  }
  return [...found.keys()].sort().map((key) => found.get(key) as { ip: string; port: number });
}

/** The load assignment of the cluster of one of a Service's ports. */
export function loadAssignment(name: string, port: MeshPort, slices: Slices): Resource {
  const lbEndpoints = addressesOf(slices, port.name).map((a) => ({
    hostIdentifier: { $case: "endpoint" as const, value: { address: tcpAddress(a.ip, a.port) } },
  }));
  const message: ClusterLoadAssignment = {
    clusterName: name,
    endpoints: lbEndpoints.length > 0 ? [{ locality: { zone: "local" }, lbEndpoints }] : [],
  };
  return resource("EDS", name, ClusterLoadAssignment.encode(message).finish());
}
