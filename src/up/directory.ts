/**
 * World → what local pods can look up: names of Services, and who answers behind virtual IPs. Pure.
 * IPv4 only, as local pods: a folder may have EndpointSlices of both families.
 */
import type { NamedService } from "../local/names.ts";
import type { VirtualPort } from "../local/service-rules.ts";
import { isIPv6 } from "../world/address.ts";
import { localName, namespaceOf } from "../world/names.ts";
import type { Service } from "../world/types.ts";
import { all, type World } from "../world/world.ts";
import { addressesOf, slicesOf } from "../xds/endpoints.ts";

export interface Directory {
  readonly names: readonly NamedService[];
  readonly ports: readonly VirtualPort[];
}

export function directoryOf(world: World): Directory {
  const names: NamedService[] = [];
  const ports: VirtualPort[] = [];
  for (const service of all(world.tables.Service)) {
    const slices = slicesOf(world, namespaceOf(service.name), service.name);
    names.push(...named(service, world));
    for (const port of service.ports) {
      if (port.protocol === "SCTP") continue;
      const endpoints = addressesOf(slices, port.name).filter(({ ip }) => !isIPv6(ip));
      for (const ip of service.clusterIPs) ports.push({ ip, port: port.port, protocol: port.protocol, endpoints });
    }
  }
  return { names, ports };
}

function named(service: Service, world: World): NamedService[] {
  const common = {
    namespace: namespaceOf(service.name),
    name: localName(service.name),
    ports: service.ports.flatMap(({ name, port, protocol }) => (protocol === "SCTP" ? [] : [{ name, port, protocol }])),
  };
  if (service.externalName !== undefined) return [{ ...common, kind: "externalName", target: service.externalName }];
  if (service.headless) {
    const slices = slicesOf(world, common.namespace, service.name);
    const endpoints = slices
      .flatMap((slice) => slice.endpoints)
      .filter(({ ready, ip }) => ready && !isIPv6(ip))
      .map(({ ip, hostname }) => (hostname === undefined ? { ip } : { ip, hostname }));
    return [{ ...common, kind: "headless", endpoints }];
  }
  const [ip] = service.clusterIPs;
  return ip === undefined ? [] : [{ ...common, kind: "clusterIP", ip }];
}
