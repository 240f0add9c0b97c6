/**
 * One group's resources, for pods with an IPv6 address and for pods without. Knows nothing of which pods these are.
 *
 * Where the kernel has no IPv6, Envoy refuses every resource that has an IPv6 address in it, and a refused listener takes its pod out of
 * the mesh. A pod that has such an address is proof that the kernel has it.
 */
import { Cluster } from "../../gen/envoy/config/cluster/v3/cluster.ts";
import { AdditionalAddress } from "../../gen/envoy/config/listener/v3/listener.ts";
import { element, spliced, tcpAddress } from "./message.ts";
import {
  INBOUND_LISTENER,
  INBOUND_PORT,
  isLocalCluster,
  OUTBOUND_LISTENER,
  OUTBOUND_PORT,
  PROMETHEUS_LISTENER,
  PROMETHEUS_PORT,
} from "./names.ts";
import { resource, TYPES, type Resource, type ResourceMap, type Resources, type Type } from "./resource.ts";

/** `Listener.additional_addresses`, by the listener's name. */
const ADDRESSES: ReadonlyMap<string, Uint8Array> = new Map(
  (
    [
      [INBOUND_LISTENER, INBOUND_PORT],
      [OUTBOUND_LISTENER, OUTBOUND_PORT],
      [PROMETHEUS_LISTENER, PROMETHEUS_PORT],
    ] as const
  ).map(([name, port]) => [name, element(33, AdditionalAddress, { address: tcpAddress("::", port) })]),
);

/** A change of resources that is made once for each, so that what stays the same is not sent again. */
function changing(types: Partial<Record<Type, (before: Resource) => Resource>>): (resources: Resources) => Resources {
  const groups = new WeakMap<Resources, Resources>();
  const maps = new WeakMap<ResourceMap, ResourceMap>();
  const made = new WeakMap<Resource, Resource>();
  const map = (before: ResourceMap, change: (before: Resource) => Resource) =>
    memo(maps, before, () => {
      const after = new Map([...before].map(([name, r]) => [name, memo(made, r, () => change(r))] as const));
      return [...before].every(([name, r]) => after.get(name) === r) ? before : after;
    });
  return (resources) =>
    memo(groups, resources, () => {
      const changed = TYPES.map((type) => {
        const change = types[type];
        return [type, change ? map(resources[type], change) : resources[type]] as const;
      });
      return Object.freeze(Object.fromEntries(changed) as Resources);
    });
}

const plain = (before: Resource): Resource => before.withoutIPv6 ?? before;

/** For pods without an IPv6 address. */
export const singleStack = changing({ LDS: plain, EDS: plain });

/** For pods with one: listeners are at both families, and the application may listen at either loopback. */
export const dualStack = changing({
  LDS: listener,
  CDS: (before) => (isLocalCluster(before.name) ? application(before) : before),
});

function listener(before: Resource): Resource {
  const address = ADDRESSES.get(before.name);
  if (!address) throw new Error(`no port is known for listener ${before.name}`);
  return resource("LDS", before.name, spliced([before.bytes, address]), before.refs);
}

/** IPv4 first: an application that listens at `::` usually takes it too, one that listens at IPv6 only does not. */
function application(before: Resource): Resource {
  const cluster = Cluster.decode(before.bytes);
  for (const { lbEndpoints } of cluster.loadAssignment?.endpoints ?? [])
    for (const { hostIdentifier } of lbEndpoints ?? []) {
      if (hostIdentifier?.$case !== "endpoint") continue;
      const at = hostIdentifier.value.address?.address;
      const port = at?.$case === "socketAddress" ? at.value.portSpecifier : undefined;
      if (port?.$case !== "portValue") continue;
      hostIdentifier.value.additionalAddresses = [{ address: tcpAddress("::1", port.value) }];
    }
  return resource("CDS", before.name, Cluster.encode(cluster).finish(), before.refs);
}

function memo<K extends object, V>(table: WeakMap<K, V>, key: K, make: () => V): V {
  let found = table.get(key);
  if (!found) table.set(key, (found = make()));
  return found;
}
