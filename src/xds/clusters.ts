/**
 * Clusters: the pods behind a Service, the own application, and what lies outside of the mesh.
 */
import { Cluster, Cluster_DiscoveryType, Cluster_LbPolicy } from "../../gen/envoy/config/cluster/v3/cluster.ts";
import { HttpProtocolOptions } from "../../gen/envoy/extensions/upstreams/http/v3/http_protocol_options.ts";
import type { ServiceName } from "../world/names.ts";
import { ADS, any, seconds, tcpAddress } from "./message.ts";
import { ADMIN_PORT, localClusterName, METRICS_CLUSTER, outboundValidationName, PASSTHROUGH_CLUSTER } from "./names.ts";
import { resource, type Reference, type Resource } from "./resource.ts";
import { upstreamTls } from "./tls.ts";

const UNLIMITED = 2 ** 32 - 1;

const httpAsDownstream = (more: HttpProtocolOptions = {}) => ({
  "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": any(HttpProtocolOptions, {
    ...more,
    upstreamProtocolOptions: {
      $case: "useDownstreamProtocolConfig",
      value: { httpProtocolOptions: {}, http2ProtocolOptions: {} },
    },
  }),
});
const HTTP_AS_DOWNSTREAM = httpAsDownstream();

/**
 * Applications close connections that are idle (Node after 5 s, gunicorn after 2), and a request that is just on its way is lost with them.
 * Another connection to the own pod costs nothing, so ours is the shorter patience.
 */
const HTTP_TO_APPLICATION = httpAsDownstream({ commonHttpProtocolOptions: { idleTimeout: seconds(1) } });

/** A dead address costs one connect time-out, then the request goes elsewhere. */
const CONNECT_TIMEOUT = seconds(2);

const cluster = (message: Cluster & { name: string }, refs: readonly Reference[] = []): Resource =>
  resource("CDS", message.name, Cluster.encode(message).finish(), refs);

/**
 * The pods behind a Service.
 * @param to - a headless Service's clients choose the pod themselves (by its name in DNS), so connections go `where-they-were-going`;
 *   others are spread over the `endpoints`
 * @param serverName - what the client asks for in TLS: the Service, or (on TCP ports) itself, see `tcpChains`
 */
export function serviceCluster(
  name: string,
  service: ServiceName,
  to: "endpoints" | "where-they-were-going",
  serverName: string,
): Resource {
  const validation: Reference = { type: "SDS", name: outboundValidationName(service) };
  const common: Cluster & { name: string } = {
    name,
    connectTimeout: CONNECT_TIMEOUT,
    transportSocket: upstreamTls(service, serverName),
    typedExtensionProtocolOptions: HTTP_AS_DOWNSTREAM,
    // OSM sets no limits unless told so; Envoy's own (1,024) would answer 503 in a burst.
    circuitBreakers: {
      thresholds: [
        {
          maxConnections: UNLIMITED,
          maxPendingRequests: UNLIMITED,
          maxRequests: UNLIMITED,
          maxRetries: UNLIMITED,
          trackRemaining: true,
        },
      ],
    },
    ignoreHealthOnHostRemoval: true,
  };
  if (to === "where-they-were-going") {
    return cluster(
      {
        ...common,
        clusterDiscoveryType: { $case: "type", value: Cluster_DiscoveryType.ORIGINAL_DST },
        lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
      },
      [validation],
    );
  }
  return cluster(
    {
      ...common,
      clusterDiscoveryType: { $case: "type", value: Cluster_DiscoveryType.EDS },
      edsClusterConfig: { edsConfig: ADS },
    },
    [validation, { type: "EDS", name }],
  );
}

/** The application behind this sidecar. */
export const localCluster = (service: ServiceName, port: number): Resource =>
  loopback(localClusterName(service, port), port, { typedExtensionProtocolOptions: HTTP_TO_APPLICATION });

/** Envoy's own admin, for who scrapes it. */
export const metricsCluster = (): Resource => loopback(METRICS_CLUSTER, ADMIN_PORT, {});

/** Where the connection was going, in plain text. */
export const passthroughCluster = (): Resource =>
  cluster({
    name: PASSTHROUGH_CLUSTER,
    connectTimeout: seconds(5),
    clusterDiscoveryType: { $case: "type", value: Cluster_DiscoveryType.ORIGINAL_DST },
    lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
    typedExtensionProtocolOptions: HTTP_AS_DOWNSTREAM,
  });

const loopback = (name: string, port: number, more: Partial<Cluster>): Resource =>
  cluster({
    ...more,
    name,
    connectTimeout: seconds(1),
    clusterDiscoveryType: { $case: "type", value: Cluster_DiscoveryType.STATIC },
    loadAssignment: {
      clusterName: name,
      endpoints: [
        { lbEndpoints: [{ hostIdentifier: { $case: "endpoint", value: { address: tcpAddress("127.0.0.1", port) } } }] },
      ],
    },
    circuitBreakers: {
      thresholds: [
        { maxConnections: UNLIMITED, maxPendingRequests: UNLIMITED, maxRequests: UNLIMITED, maxRetries: UNLIMITED },
      ],
    },
  });
