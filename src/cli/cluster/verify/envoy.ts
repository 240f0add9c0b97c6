/**
 * What an Envoy's config dump must have for a call to go through. Pure.
 */
import {
  clusterName,
  INBOUND_LISTENER,
  OUTBOUND_LISTENER,
  outboundHostName,
  OWN_CERTIFICATE,
  PASSTHROUGH_CLUSTER,
} from "../../../xds/names.ts";
import { serviceFqdn, serviceName } from "../../../world/names.ts";
import { listAt, mapAt, stringAt, type Raw } from "../objects.ts";
import { failure, success, type Result } from "./result.ts";

/** What a dump holds, by name. */
export interface EnvoyConfig {
  readonly listeners: ReadonlyMap<string, Raw>;
  readonly clusters: ReadonlySet<string>;
  readonly virtualHosts: ReadonlySet<string>;
  readonly secrets: ReadonlySet<string>;
  /** What Envoy rejects now, with its own words. */
  readonly rejected: readonly string[];
}

/** Reads the answer of `/config_dump`. */
export function envoyConfig(dump: unknown): EnvoyConfig {
  const listeners = new Map<string, Raw>();
  const clusters = new Set<string>();
  const virtualHosts = new Set<string>();
  const secrets = new Set<string>();
  const rejected: string[] = [];
  const note = (entry: Raw, name: string) => {
    const details = stringAt(entry, "error_state", "details");
    if (details !== "") rejected.push(`${name}: ${details}`);
  };
  for (const part of listAt(dump, "configs")) {
    for (const entry of listAt(part, "dynamic_listeners")) {
      const active = mapAt(entry, "active_state", "listener");
      const name = stringAt(entry, "name") || stringAt(active, "name");
      if (Object.keys(active).length > 0) listeners.set(name, active);
      note(entry, name);
    }
    for (const key of ["dynamic_active_clusters", "static_clusters"])
      for (const entry of listAt(part, key)) clusters.add(stringAt(entry, "cluster", "name"));
    for (const entry of listAt(part, "dynamic_warming_clusters")) note(entry, stringAt(entry, "cluster", "name"));
    for (const entry of listAt(part, "dynamic_route_configs")) {
      for (const host of listAt(entry, "route_config", "virtual_hosts")) virtualHosts.add(stringAt(host, "name"));
      note(entry, stringAt(entry, "route_config", "name"));
    }
    for (const entry of listAt(part, "dynamic_active_secrets")) secrets.add(stringAt(entry, "name"));
  }
  return { listeners, clusters, virtualHosts, secrets, rejected };
}

const filterChains = (listener: Raw | undefined): string[] =>
  listAt(listener, "filter_chains").map((chain) => stringAt(chain, "name"));

function common(context: string, pod: string, config: EnvoyConfig): Result | undefined {
  if (config.rejected.length > 0)
    return failure(
      context,
      `Envoy rejects configuration: ${config.rejected.join("; ")}`,
      "This is a fault of the mesh's, please report it: heddle support bug-report",
    );
  if (
    !config.secrets.has(OWN_CERTIFICATE) &&
    ![...config.secrets].some((name) => name.startsWith(`${OWN_CERTIFICATE}:`))
  )
    return failure(
      context,
      `Envoy of pod "${pod}" has no certificate`,
      "It may not be connected to the controller: heddle proxy status",
    );
  return undefined;
}

export interface Destination {
  readonly namespace: string;
  readonly service: string;
  /** The Service's ports and those of the pods behind. */
  readonly ports: readonly { readonly port: number; readonly targetPort: number; readonly http: boolean }[];
}

/** Whether the client's Envoy knows the way. */
export function clientConfig(pod: string, config: EnvoyConfig, { namespace, service, ports }: Destination): Result {
  const context = `Verify Envoy configuration of source pod "${pod}"`;
  const faulty = common(context, pod, config);
  if (faulty) return faulty;
  const name = serviceName(namespace, service);
  const suggestion = "Check that a TrafficTarget allows the call (heddle policy check-pods), and: heddle proxy status";
  if (!config.listeners.has(OUTBOUND_LISTENER))
    return failure(
      context,
      `Listener "${OUTBOUND_LISTENER}" not found`,
      "See whether it is connected: heddle proxy status",
    );
  const missing = ports.filter(({ targetPort }) => !config.clusters.has(clusterName(name, targetPort)));
  if (missing.length === ports.length && ports.length > 0)
    return failure(
      context,
      `Clusters ${missing.map((one) => `"${clusterName(name, one.targetPort)}"`).join(", ")} not found`,
      suggestion,
    );
  const host = outboundHostName(serviceFqdn(name));
  if (ports.some(({ http }) => http) && !config.virtualHosts.has(host))
    return failure(context, `Virtual host "${host}" not found`, suggestion);
  return success(context);
}

/** Whether the server's Envoy takes calls for the Service. */
export function serverConfig(pod: string, config: EnvoyConfig, { namespace, service }: Destination): Result {
  const context = `Verify Envoy configuration of destination pod "${pod}"`;
  const faulty = common(context, pod, config);
  if (faulty) return faulty;
  const listener = config.listeners.get(INBOUND_LISTENER);
  if (!listener)
    return failure(
      context,
      `Listener "${INBOUND_LISTENER}" not found`,
      "See whether it is connected: heddle proxy status",
    );
  const prefix = `inbound_${serviceName(namespace, service)}_`;
  return filterChains(listener).some((name) => name.startsWith(prefix))
    ? success(context)
    : failure(
        context,
        `No filter chain "${prefix}…" in listener "${INBOUND_LISTENER}"`,
        `Check that service "${namespace}/${service}" selects the pod and has a port that the pod listens on`,
      );
}

/** Whether a client's Envoy lets calls out of the mesh. */
export function egressConfig(pod: string, config: EnvoyConfig, egress: boolean): Result {
  const context = `Verify Envoy configuration of source pod "${pod}"`;
  const faulty = common(context, pod, config);
  if (faulty) return faulty;
  if (!egress)
    return failure(
      context,
      "Egress is disabled in MeshConfig, so nothing outside of the mesh can be reached",
      `Set spec.traffic.enableEgress to true, or exclude the address from the sidecar (annotation openservicemesh.io/outbound-ip-range-exclusion-list)`,
    );
  return config.clusters.has(PASSTHROUGH_CLUSTER)
    ? success(context)
    : failure(
        context,
        `Cluster "${PASSTHROUGH_CLUSTER}" not found`,
        "See whether it is connected: heddle proxy status",
      );
}
