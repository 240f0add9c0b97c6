/**
 * Every name that Envoy sees is made here: clusters, listeners, filter chains, routes, virtual hosts and secrets, in OSM's
 * spelling wherever users scrape or read them.
 */
import type { ServiceName } from "../world/names.ts";
import type { Backend, Protocol } from "../policy/ir.ts";

export const OUTBOUND_LISTENER = "outbound-listener";
export const INBOUND_LISTENER = "inbound-listener";
export const PROMETHEUS_LISTENER = "inbound-prometheus-listener";

export const OUTBOUND_PORT = 15001;
export const INBOUND_PORT = 15003;
export const PROMETHEUS_PORT = 15010;
export const ADMIN_PORT = 15000;

/** Traffic to what the mesh does not know, in plain text to where it was going. */
export const PASSTHROUGH_CLUSTER = "passthrough-outbound";
export const METRICS_CLUSTER = "envoy-metrics-cluster";

/** The pods behind a Service on one of their ports. */
export const clusterName = (service: ServiceName, targetPort: number): string => `${service}|${targetPort}`;
/** The pods behind a headless Service, where the sidecar chooses among them: in splits. */
export const spreadClusterName = (service: ServiceName, targetPort: number): string =>
  `${clusterName(service, targetPort)}|spread`;
export const backendClusterName = ({ service, targetPort, spread }: Backend): string =>
  spread ? spreadClusterName(service, targetPort) : clusterName(service, targetPort);
/** The application of this pod, on one of its ports, as one of its Services. */
export const localClusterName = (service: ServiceName, port: number): string => `${service}|${port}|local`;
export const isLocalCluster = (name: string): boolean => name.endsWith("|local");

export const outboundRouteName = (port: number): string => `rds-outbound.${port}`;
export const inboundRouteName = (port: number): string => `rds-inbound.${port}`;

export const outboundChainName = (service: ServiceName, port: number, protocol: Protocol): string =>
  `outbound_${service}_${port}_${protocol}`;
export const outboundHttpChainName = (port: number): string => `outbound_${port}_http`;
export const inboundChainName = (service: ServiceName, port: number, protocol: Protocol): string =>
  `inbound_${service}_${port}_${protocol}`;
export const plaintextChainName = (port: number): string => `inbound_plaintext_${port}`;

export const outboundHostName = (fqdn: string): string => `outbound_virtual-host|${fqdn}`;
export const inboundHostName = (fqdn: string): string => `inbound_virtual-host|${fqdn}`;

/** The proxy's own certificate: each stream has its own behind this name. */
export const OWN_CERTIFICATE = "service-cert";
/** Whom a server accepts. */
export const INBOUND_VALIDATION = "root-cert-for-mtls-inbound";
/** Whom a client accepts as this Service. */
export const outboundValidationName = (service: ServiceName): string => `root-cert-for-mtls-outbound:${service}`;

/** Marks an answer of a server's Envoy that could not reach its application: nobody has processed the request. */
export const UNPROCESSED_HEADER = "x-heddle-unprocessed";
/** The protocol that sidecars agree on inside TLS: what else speaks TLS to a pod is not the mesh. */
export const MESH_ALPN = "osm";
