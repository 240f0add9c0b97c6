/**
 * The outbound listener: one chain for each HTTP port number of the mesh (Services are told apart by name, in RDS, so that policies change
 * under open connections), one for each TCP Service by its addresses, and one for what the mesh does not know.
 */
import { Listener } from "../../gen/envoy/config/listener/v3/listener.ts";
import type { CidrRange } from "../../gen/envoy/config/core/v3/address.ts";
import type {
  Filter,
  FilterChain,
  ListenerFilter,
  ListenerFilterChainMatchPredicate,
} from "../../gen/envoy/config/listener/v3/listener_components.ts";
import { TrafficDirection } from "../../gen/envoy/config/core/v3/base.ts";
import type { RouteConfiguration } from "../../gen/envoy/config/route/v3/route.ts";
import { HttpInspector } from "../../gen/envoy/extensions/filters/listener/http_inspector/v3/http_inspector.ts";
import {
  TcpProxy,
  type TcpProxy_WeightedCluster,
} from "../../gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.ts";
import type { MeshPort, MeshService } from "../policy/ir.ts";
import { isIPv6 } from "../world/address.ts";
import { SOURCE_LOG } from "./access-log.ts";
import { httpConnectionManager } from "./http.ts";
import { ORIGINAL_DST_FILTER, TLS_INSPECTOR_FILTER } from "./inbound.ts";
import { any, seconds, tcpAddress } from "./message.ts";
import * as names from "./names.ts";
import { resource, type Reference, type Resource } from "./resource.ts";

const REFUSAL =
  "no TrafficTarget lets this pod's ServiceAccount call %REQ(:AUTHORITY):200%, or there is no such Service in the mesh";

export interface OutboundListenerInput {
  readonly services: readonly MeshService[];
  /** Ready pods of a headless Service's TCP port: it has no address of its own. */
  readonly podsOf: (service: MeshService, port: MeshPort) => readonly string[];
  readonly httpPorts: readonly number[];
  readonly tcpPorts: readonly number[];
  readonly egress: boolean;
}

export function outboundListener(input: OutboundListenerInput): Resource {
  const { services, podsOf } = input;
  const ipv4 = (addresses: readonly string[]) => addresses.filter((address) => !isIPv6(address));
  const plain = () =>
    listener({
      ...input,
      services: services.map((service) => ({ ...service, clusterIPs: ipv4(service.clusterIPs) })),
      podsOf: (service, port) => ipv4(podsOf(service, port)),
    });
  const some = services.some((s) => [...s.clusterIPs, ...s.ports.flatMap((p) => podsOf(s, p))].some(isIPv6));
  return listener(input, some ? plain() : undefined);
}

function listener(
  { services, podsOf, httpPorts, tcpPorts, egress }: OutboundListenerInput,
  withoutIPv6?: Resource,
): Resource {
  const refs: Reference[] = [];
  const filterChains: FilterChain[] = [];
  const taken = new Set<string>();
  for (const port of httpPorts) {
    refs.push({ type: "RDS", name: names.outboundRouteName(port) });
    filterChains.push({
      name: names.outboundHttpChainName(port),
      filterChainMatch: { destinationPort: port, transportProtocol: "raw_buffer" },
      filters: [http(names.outboundRouteName(port), { rds: names.outboundRouteName(port) })],
    });
  }
  for (const service of services) {
    for (const port of service.ports) {
      // Where nothing is left to send to, the addresses are free for who comes next.
      if (port.protocol === "http" || port.routes.at(-1)?.backends.length === 0) continue;
      // Two headless Services may have the same pods: Envoy refuses a listener in which two chains match one address.
      const addresses = (service.headless ? podsOf(service, port) : service.clusterIPs).filter((address) => {
        const place = `${address} ${port.port}`;
        return !taken.has(place) && taken.add(place);
      });
      const chain = tcpChain(service, port, addresses, refs);
      if (chain) filterChains.push(chain);
    }
  }
  if (egress) refs.push({ type: "CDS", name: names.PASSTHROUGH_CLUSTER });
  else filterChains.push(refusedHttp());
  const message: Listener = {
    name: names.OUTBOUND_LISTENER,
    address: tcpAddress("0.0.0.0", names.OUTBOUND_PORT),
    trafficDirection: TrafficDirection.OUTBOUND,
    listenerFilters: listenerFilters(httpPorts, tcpPorts, egress),
    listenerFiltersTimeout: seconds(5),
    continueOnListenerFiltersTimeout: true,
    filterChains,
    ...(egress ? { defaultFilterChain: { name: "outbound-egress-filter-chain", filters: [passthrough()] } } : {}),
  };
  return resource("LDS", names.OUTBOUND_LISTENER, Listener.encode(message).finish(), refs, withoutIPv6);
}

const http = (name: string, routes: { rds: string } | { inline: RouteConfiguration }): Filter =>
  httpConnectionManager({
    direction: "outbound",
    statPrefix: `mesh-http-conn-manager.${name}`,
    routes,
    log: SOURCE_LOG,
    refusal: REFUSAL,
  });

function tcpChain(
  service: MeshService,
  port: MeshPort,
  addresses: readonly string[],
  refs: Reference[],
): FilterChain | undefined {
  const backends = port.routes.at(-1)?.backends ?? [];
  if (addresses.length === 0) return undefined;
  for (const b of backends) refs.push({ type: "CDS", name: names.backendClusterName(b) });
  const name = names.outboundChainName(service.name, port.port, port.protocol);
  const [only, ...more] = backends;
  const weighted: TcpProxy_WeightedCluster = {
    clusters: backends.map((b) => ({ name: names.backendClusterName(b), weight: b.weight })),
  };
  const proxy = any(TcpProxy, {
    statPrefix: `outbound-mesh-tcp-proxy_${name}`,
    clusterSpecifier:
      only && more.length === 0
        ? { $case: "cluster", value: names.backendClusterName(only) }
        : { $case: "weightedClusters", value: weighted },
    accessLog: SOURCE_LOG,
    idleTimeout: seconds(0),
    maxConnectAttempts: 3,
  });
  return {
    name,
    filterChainMatch: { destinationPort: port.port, prefixRanges: addresses.map(host) },
    filters: [{ name: "envoy.filters.network.tcp_proxy", configType: { $case: "typedConfig", value: proxy } }],
  };
}

const host = (address: string): CidrRange => ({ addressPrefix: address, prefixLen: isIPv6(address) ? 128 : 32 });

/** HTTP to a port that no Service of the mesh has is refused in words. */
function refusedHttp(): FilterChain {
  const inline: RouteConfiguration = {
    name: "refused",
    virtualHosts: [
      {
        name: "refused",
        domains: ["*"],
        routes: [
          {
            match: { pathSpecifier: { $case: "prefix", value: "/" } },
            action: { $case: "directResponse", value: { status: 403 } },
          },
        ],
      },
    ],
  };
  return {
    name: "outbound-refused-http",
    filterChainMatch: { transportProtocol: "raw_buffer", applicationProtocols: ["http/1.0", "http/1.1", "h2c"] },
    filters: [http("refused", { inline })],
  };
}

const passthrough = (): Filter => ({
  name: "envoy.filters.network.tcp_proxy",
  configType: {
    $case: "typedConfig",
    value: any(TcpProxy, {
      statPrefix: `egress-tcp-proxy.${names.PASSTHROUGH_CLUSTER}`,
      clusterSpecifier: { $case: "cluster", value: names.PASSTHROUGH_CLUSTER },
      accessLog: SOURCE_LOG,
      idleTimeout: seconds(0),
    }),
  },
});

/**
 * Nobody waits for a client's first bytes where the server may talk first: the inspectors are off on ports that speak TCP. TLS is told apart
 * only on HTTP ports (there it is not for the mesh), HTTP only on unknown ports, and only to refuse it.
 */
function listenerFilters(httpPorts: readonly number[], tcpPorts: readonly number[], egress: boolean): ListenerFilter[] {
  const filters: ListenerFilter[] = [ORIGINAL_DST_FILTER];
  const plain = httpPorts.filter((p) => !tcpPorts.includes(p));
  if (egress && plain.length > 0)
    filters.push({ ...TLS_INSPECTOR_FILTER, filterDisabled: { rule: { $case: "notMatch", value: ports(plain) } } });
  const known = [...new Set([...httpPorts, ...tcpPorts])].sort((a, b) => a - b);
  if (!egress) {
    const inspector: ListenerFilter = {
      name: "envoy.filters.listener.http_inspector",
      configType: { $case: "typedConfig", value: any(HttpInspector, {}) },
    };
    filters.push(known.length > 0 ? { ...inspector, filterDisabled: ports(known) } : inspector);
  }
  return filters;
}

function ports(list: readonly number[]): ListenerFilterChainMatchPredicate {
  const rules = list.map((p): ListenerFilterChainMatchPredicate => ({
    rule: { $case: "destinationPortRange", value: { start: p, end: p + 1 } },
  }));
  const [only, ...more] = rules;
  return only && more.length === 0 ? only : { rule: { $case: "orMatch", value: { rules } } };
}
