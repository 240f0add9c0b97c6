/**
 * What a sidecar's Envoy is started with: enough to find the control plane, prove who it is, and ask for the rest.
 * Pure; knows no listener, cluster or route of the mesh: those come over xDS.
 */

/** Where the control plane's certificate port is, in OSM's form. */
export const CONTROL_PLANE_PORT = 15128;
/** Name of the static cluster. Users scrape it. */
export const CONTROL_PLANE_CLUSTER = "osm-controller";
export const ADMIN_PORT = 15000;
/** File names in the sidecar's configuration directory. OSM's. */
export const SIDECAR_FILES = {
  bootstrap: "bootstrap.yaml",
  certificateSds: "tls_certificate_sds_secret.yaml",
  validationSds: "validation_context_sds_secret.yaml",
  certificate: "sds_cert.pem",
  key: "sds_key.pem",
  ca: "cacert.pem",
} as const;

export interface Sidecar {
  /** Node id: the common name of the sidecar's client certificate, `<uuid>.sidecar.<sa>.<ns>.<trust domain>`. */
  readonly nodeId: string;
  readonly serviceAccount: string;
  readonly namespace: string;
  /** Directory of `SIDECAR_FILES` as the sidecar sees it. */
  readonly directory: string;
  readonly controlPlane: {
    /** IP address, or a name that is asked of DNS again and again. */
    readonly host: string;
    /** `CONTROL_PLANE_PORT` when absent. */
    readonly port?: number;
    /** The DNS name that must stand in the control plane's certificate. */
    readonly name: string;
  };
  /** Beyond this many connections of clients, new ones are refused instead of the sidecar running out of memory. 20,000 when absent. */
  readonly maxConnections?: number;
}

/** Only values that JSON has: `JSON.stringify` of it is a configuration that Envoy reads (YAML is a superset). */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** Envoy's bootstrap configuration (envoy.config.bootstrap.v3.Bootstrap) as a plain object. */
export function bootstrap(sidecar: Sidecar): { readonly [key: string]: Json } {
  return {
    node: { id: sidecar.nodeId, cluster: serviceCluster(sidecar) },
    admin: {
      address: socketAddress("127.0.0.1", ADMIN_PORT),
      // Whoever looks why a sidecar refuses connections must get in.
      ignore_global_conn_limit: true,
    },
    dynamic_resources: {
      ads_config: {
        api_type: "DELTA_GRPC",
        transport_api_version: "V3",
        set_node_on_first_message_only: true,
        grpc_services: [
          {
            envoy_grpc: {
              cluster_name: CONTROL_PLANE_CLUSTER,
              // Envoy's default goes up to 30 s; a control plane that is back should have its sidecars back.
              retry_policy: { retry_back_off: { base_interval: "0.2s", max_interval: "5s" } },
            },
          },
        ],
      },
      cds_config: { ads: {}, resource_api_version: "V3" },
      lds_config: { ads: {}, resource_api_version: "V3" },
    },
    static_resources: { clusters: [controlPlaneCluster(sidecar)] },
    // Traffic statistics of a cluster are made when it has traffic: a sidecar knows many services and calls few.
    deferred_stat_options: { enable_deferred_creation_stats: true },
    stats_config: {
      stats_matcher: {
        exclusion_list: {
          // Per worker thread and of the admin port: no one asks for them, and they multiply with cores.
          patterns: [
            { safe_regex: { regex: "listener\\..*\\.worker_\\d+\\..*" } },
            { prefix: "listener.admin." },
            { prefix: "http.admin." },
          ],
        },
      },
    },
    overload_manager: {
      resource_monitors: [
        {
          name: "envoy.resource_monitors.global_downstream_max_connections",
          typed_config: {
            "@type":
              "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
            max_active_downstream_connections: sidecar.maxConnections ?? 20_000,
          },
        },
      ],
    },
    layered_runtime: {
      layers: [
        {
          name: "heddle",
          static_layer: {
            // Envoy refuses regular expressions beyond a program size of 100, and with one of them the whole route table.
            // Users' expressions are judged before they get here.
            "re2.max_program_size.error_level": 32768,
          },
        },
      ],
    },
  };
}

/** `bootstrap` as text for the file `SIDECAR_FILES.bootstrap`. */
export const bootstrapText = (sidecar: Sidecar): string => `${JSON.stringify(bootstrap(sidecar), null, 2)}\n`;

/** `<sa>.<ns>`: value of Envoy's `--service-cluster`. OSM's form. */
export const serviceCluster = (of: { readonly serviceAccount: string; readonly namespace: string }): string =>
  `${of.serviceAccount}.${of.namespace}`;

/**
 * The two SDS files that the bootstrap names. Envoy reads one again when a file is *renamed* over it. To rotate, write the new
 * certificate and key under new names, pass these, and rename a new `certificateSds` over the old: both change at once.
 * Secrets mounted by the kubelet keep their names; `watched_directory` lets Envoy see their exchange.
 */
export function sdsFiles(
  directory: string,
  names: { readonly certificate?: string; readonly key?: string; readonly ca?: string } = {},
): { readonly certificateSds: string; readonly validationSds: string } {
  const path = (name: string) => `${directory}/${name}`;
  return {
    certificateSds: sdsText("tls_sds", "tls_certificate", {
      certificate_chain: { filename: path(names.certificate ?? SIDECAR_FILES.certificate) },
      private_key: { filename: path(names.key ?? SIDECAR_FILES.key) },
      watched_directory: { path: directory },
    }),
    validationSds: sdsText("validation_context_sds", "validation_context", {
      trusted_ca: { filename: path(names.ca ?? SIDECAR_FILES.ca) },
      watched_directory: { path: directory },
    }),
  };
}

function sdsText(name: string, kind: "tls_certificate" | "validation_context", value: Json): string {
  const secret = {
    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
    name,
    [kind]: value,
  };
  return `${JSON.stringify({ resources: [secret] }, null, 2)}\n`;
}

function controlPlaneCluster({ controlPlane, directory }: Sidecar): Json {
  const { host, port = CONTROL_PLANE_PORT, name } = controlPlane;
  const isAddress = host.includes(":") || /^\d+(\.\d+){3}$/.test(host);
  const sds = (secret: string, file: string): Json => ({
    name: secret,
    sds_config: { path_config_source: { path: `${directory}/${file}` }, resource_api_version: "V3" },
  });
  return {
    name: CONTROL_PLANE_CLUSTER,
    type: isAddress ? "STATIC" : "STRICT_DNS",
    connect_timeout: "2s",
    load_assignment: {
      cluster_name: CONTROL_PLANE_CLUSTER,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(host, port) } }] }],
    },
    // A control plane whose machine is gone says no word: two ways to notice within some twenty seconds.
    upstream_connection_options: { tcp_keepalive: { keepalive_probes: 3, keepalive_time: 10, keepalive_interval: 3 } },
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config: {
          http2_protocol_options: { connection_keepalive: { interval: "15s", timeout: "5s" } },
        },
      },
    },
    transport_socket: {
      name: "envoy.transport_sockets.tls",
      typed_config: {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        sni: name,
        common_tls_context: {
          tls_params: { tls_minimum_protocol_version: "TLSv1_2", tls_maximum_protocol_version: "TLSv1_3" },
          alpn_protocols: ["h2"],
          tls_certificate_sds_secret_configs: [sds("tls_sds", SIDECAR_FILES.certificateSds)],
          combined_validation_context: {
            // Any certificate of the mesh's CA would do otherwise, and every workload has one.
            default_validation_context: {
              match_typed_subject_alt_names: [{ san_type: "DNS", matcher: { exact: name } }],
            },
            validation_context_sds_secret_config: sds("validation_context_sds", SIDECAR_FILES.validationSds),
          },
        },
      },
    },
  };
}

const socketAddress = (address: string, port: number): Json => ({
  socket_address: { address, port_value: port },
});
