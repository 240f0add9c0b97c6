/**
 * The inbound listener: one filter chain a pod port, for the mesh's TLS only. Its HTTP chains do not depend on policies.
 */
import { Listener } from "../../gen/envoy/config/listener/v3/listener.ts";
import type { Filter, FilterChain } from "../../gen/envoy/config/listener/v3/listener_components.ts";
import { TrafficDirection } from "../../gen/envoy/config/core/v3/base.ts";
import type { RouteConfiguration } from "../../gen/envoy/config/route/v3/route.ts";
import { OriginalDst } from "../../gen/envoy/extensions/filters/listener/original_dst/v3/original_dst.ts";
import { TlsInspector } from "../../gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.ts";
import { RBAC } from "../../gen/envoy/extensions/filters/network/rbac/v3/rbac.ts";
import { TcpProxy } from "../../gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.ts";
import type { InboundPort, Rule } from "../policy/ir.ts";
import { principalDnsName, type ServiceName } from "../world/names.ts";
import { DESTINATION_LOG } from "./access-log.ts";
import { httpConnectionManager } from "./http.ts";
import { any, seconds, tcpAddress } from "./message.ts";
import * as names from "./names.ts";
import { rbac } from "./rbac.ts";
import { resource, type Reference, type Resource } from "./resource.ts";
import { downstreamTls } from "./tls.ts";

export const ORIGINAL_DST_FILTER = {
  name: "envoy.filters.listener.original_dst",
  configType: { $case: "typedConfig" as const, value: any(OriginalDst, {}) },
};
export const TLS_INSPECTOR_FILTER = {
  name: "envoy.filters.listener.tls_inspector",
  configType: { $case: "typedConfig" as const, value: any(TlsInspector, {}) },
};

const REFUSAL =
  "no TrafficTarget lets %DOWNSTREAM_PEER_URI_SAN% do %REQ(:METHOD)% %REQ(:PATH):200% on %REQ(:AUTHORITY):200%";
const PLAINTEXT_REFUSAL = "this pod takes calls from sidecars of the mesh only, and this one came without its TLS";

/** Undefined for a pod without a port that a Service stands for: an Envoy listener must have a chain. */
export function inboundListener(ports: readonly InboundPort[], trustDomain: string): Resource | undefined {
  const refs: Reference[] = [
    { type: "SDS", name: names.OWN_CERTIFICATE },
    { type: "SDS", name: names.INBOUND_VALIDATION },
  ];
  const filterChains: FilterChain[] = [];
  for (const port of ports) {
    const [service] = port.services;
    if (!service) continue;
    if (port.protocol === "http") {
      refs.push({ type: "RDS", name: names.inboundRouteName(port.port) });
      filterChains.push(meshChain(port, service, [http(port)]), plaintextChain(port.port));
    } else {
      refs.push({ type: "CDS", name: names.localClusterName(service, port.port) });
      filterChains.push(...tcpChains(port, service, trustDomain));
    }
  }
  if (filterChains.length === 0) return undefined;
  const listener: Listener = {
    name: names.INBOUND_LISTENER,
    address: tcpAddress("0.0.0.0", names.INBOUND_PORT),
    trafficDirection: TrafficDirection.INBOUND,
    listenerFilters: [TLS_INSPECTOR_FILTER, ORIGINAL_DST_FILTER],
    listenerFiltersTimeout: seconds(15),
    filterChains,
  };
  return resource("LDS", names.INBOUND_LISTENER, Listener.encode(listener).finish(), refs);
}

function meshChain(port: InboundPort, service: ServiceName, filters: Filter[], serverName?: string): FilterChain {
  const name = names.inboundChainName(service, port.port, port.protocol);
  const match = {
    destinationPort: port.port,
    transportProtocol: "tls",
    applicationProtocols: [names.MESH_ALPN],
    ...(serverName === undefined ? {} : { serverNames: [serverName] }),
  };
  return {
    name: serverName === undefined ? name : `${name}_${serverName}`,
    filterChainMatch: match,
    filters,
    transportSocket: downstreamTls(),
  };
}

/**
 * A chain for each account that may connect, found by the name that its sidecar asks for and open to that account only: when one
 * loses its permission, its chain goes and takes its connections along, and nobody else's. The last chain is for clients that ask
 * for the Service's name, as OSM's sidecars do.
 */
function tcpChains(port: InboundPort, service: ServiceName, trustDomain: string): FilterChain[] {
  const sources = [...new Set(port.access.flatMap((rule) => rule.sources ?? []))].sort();
  const own = sources.map((id) =>
    meshChain(
      port,
      service,
      tcp(port, service, [{ target: id, sources: [id] }], trustDomain),
      principalDnsName(id, trustDomain),
    ),
  );
  return [...own, meshChain(port, service, tcp(port, service, port.access, trustDomain))];
}

const http = (port: InboundPort): Filter =>
  httpConnectionManager({
    direction: "inbound",
    statPrefix: `mesh-http-conn-manager.${names.inboundRouteName(port.port)}`,
    routes: { rds: names.inboundRouteName(port.port) },
    log: DESTINATION_LOG,
    refusal: REFUSAL,
  });

function tcp(port: InboundPort, service: ServiceName, access: readonly Rule[], trustDomain: string): Filter[] {
  const rules = any(RBAC, { statPrefix: "network-", rules: rbac(access, trustDomain) });
  const proxy = any(TcpProxy, {
    statPrefix: `inbound-mesh-tcp-proxy.${names.localClusterName(service, port.port)}`,
    clusterSpecifier: { $case: "cluster", value: names.localClusterName(service, port.port) },
    accessLog: DESTINATION_LOG,
    idleTimeout: seconds(0),
  });
  return [
    { name: "envoy.filters.network.rbac", configType: { $case: "typedConfig", value: rules } },
    { name: "envoy.filters.network.tcp_proxy", configType: { $case: "typedConfig", value: proxy } },
  ];
}

/** HTTP without the mesh's TLS is told so: a reset would leave its sender guessing. */
function plaintextChain(port: number): FilterChain {
  const inline: RouteConfiguration = {
    name: "plaintext",
    virtualHosts: [
      {
        name: "plaintext",
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
    name: names.plaintextChainName(port),
    filterChainMatch: { destinationPort: port, transportProtocol: "raw_buffer" },
    filters: [
      httpConnectionManager({
        direction: "inbound",
        statPrefix: `plaintext.${port}`,
        routes: { inline },
        log: DESTINATION_LOG,
        refusal: PLAINTEXT_REFUSAL,
      }),
    ],
  };
}
