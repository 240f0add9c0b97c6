/**
 * Endpoints: the fast path. One Service's slices → one load assignment a port.
 */
import { ClusterLoadAssignment } from "../../gen/envoy/config/endpoint/v3/endpoint.ts";
import type { Endpoint, LbEndpoint } from "../../gen/envoy/config/endpoint/v3/endpoint_components.ts";
import type { MeshPort } from "../policy/ir.ts";
import { sameItems } from "../lib/memo.ts";
import { isIPv6 } from "../world/address.ts";
import type { PodName, ServiceName } from "../world/names.ts";
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

interface Place {
  readonly ip: string;
  readonly port: number;
  readonly pod: PodName | undefined;
}

/** Ready endpoints of one port, sorted, without repeats. A pod with addresses of both families stands there twice. */
export function addressesOf(slices: Slices, portName: string): readonly Place[] {
  const found = new Map<string, Place>();
  for (const { ports, endpoints } of slices) {
    const port = ports.find((p) => p.name === portName)?.port;
    if (port === undefined) continue;
    for (const { ip, ready, pod } of endpoints) if (ready) found.set(`${ip} ${port}`, { ip, port, pod });
  }
  return [...found.keys()].sort().map((key) => found.get(key) as Place);
}

/** One endpoint a pod: with addresses of both families it gets no more than others' share of the requests. IPv4 first. */
function endpointsOf(places: readonly Place[]): LbEndpoint[] {
  const families = [...places].sort((a, b) => Number(isIPv6(a.ip)) - Number(isIPv6(b.ip)));
  return [...Map.groupBy(families, ({ ip, port, pod }) => `${pod ?? ip} ${port}`).values()].map(([first, ...more]) => {
    const { ip, port } = first as Place;
    const additionalAddresses = more.map((other) => ({ address: tcpAddress(other.ip, other.port) }));
    const value: Endpoint = {
      address: tcpAddress(ip, port),
      ...(additionalAddresses.length > 0 ? { additionalAddresses } : {}),
    };
    return { hostIdentifier: { $case: "endpoint", value } };
  });
}

/** The load assignment of the cluster of one of a Service's ports. */
export function loadAssignment(name: string, port: MeshPort, slices: Slices): Resource {
  const places = addressesOf(slices, port.name);
  const ipv4 = places.filter(({ ip }) => !isIPv6(ip));
  return assignment(name, places, ipv4.length < places.length ? assignment(name, ipv4) : undefined);
}

function assignment(name: string, places: readonly Place[], withoutIPv6?: Resource): Resource {
  const lbEndpoints = endpointsOf(places);
  const message: ClusterLoadAssignment = {
    clusterName: name,
    endpoints: lbEndpoints.length > 0 ? [{ locality: { zone: "local" }, lbEndpoints }] : [],
  };
  return resource("EDS", name, ClusterLoadAssignment.encode(message).finish(), [], withoutIPv6);
}
