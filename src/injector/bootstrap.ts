/**
 * What a sidecar's Envoy is started with: enough to find the control plane, prove who it is, and ask for the rest.
 * Pure; knows no listener, cluster or route of the mesh: those come over xDS.
 */
import { ADMIN_PORT } from "./iptables.ts";

export { ADMIN_PORT };

/** Where the control plane asks for a client certificate. OSM's port. */
export const CONTROL_PLANE_PORT = 15128;
/** Where the control plane takes a pod's token instead. */
export const TOKEN_PORT = 15129;
/** Name of the static cluster. Users scrape it. */
export const CONTROL_PLANE_CLUSTER = "osm-controller";
/** File names in the sidecar's configuration directory. OSM's. */
export const SIDECAR_FILES = {
  bootstrap: "bootstrap.yaml",
  certificateSds: "tls_certificate_sds_secret.yaml",
  validationSds: "validation_context_sds_secret.yaml",
  certificate: "sds_cert.pem",
  key: "sds_key.pem",
  ca: "cacert.pem",
} as const;

/** How a sidecar proves who it is: by a client certificate in OSM's form, or by its pod's token. */
export type Proof =
  | {
      /** Directory of `SIDECAR_FILES` as the sidecar sees it. */
      readonly directory: string;
      readonly token?: never;
    }
  | {
      readonly directory?: never;
      /** Files as the sidecar sees them. The token is read again for each stream, the CA at Envoy's start only. */
      readonly token: { readonly file: string; readonly ca: string };
    };

export type Sidecar = Proof & {
  /** Node id: the common name of the sidecar's client certificate, `<uuid>.sidecar.<sa>.<ns>.<trust domain>`. */
  readonly nodeId: string;
  readonly serviceAccount: string;
  readonly namespace: string;
  readonly controlPlane: {
    /** IP address, or a name that is asked of DNS again and again. */
    readonly host: string;
    /** `CONTROL_PLANE_PORT`, or `TOKEN_PORT` with a token, when absent. */
    readonly port?: number;
    /** The DNS name that must stand in the control plane's certificate. */
    readonly name: string;
  };
  /** Beyond this many connections of clients, new ones are refused instead of the sidecar running out of memory. 20,000 when absent. */
  readonly maxConnections?: number;
  /** What the sidecar serves whatever the control plane says: the kubelet's probes. */
  readonly fixed?: { readonly listeners: readonly Json[]; readonly clusters: readonly Json[] };
  /**
   * Whether it counts as ready only once it has its configuration. Otherwise after 15 s in any case, so that who has started it
   * can look into it.
   */
  readonly waitForConfiguration?: boolean;
};

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
        grpc_services: [sidecar.token ? tokenService(sidecar, sidecar.token) : certificateService()],
      },
      cds_config: fromAds(sidecar),
      lds_config: fromAds(sidecar),
    },
    static_resources: {
      ...(sidecar.fixed ? { listeners: sidecar.fixed.listeners } : {}),
      clusters: [
        ...(sidecar.directory === undefined ? [] : [controlPlaneCluster(sidecar, sidecar.directory)]),
        ...(sidecar.fixed?.clusters ?? []),
      ],
    },
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
            // A repeated header is one value, joined with commas, in access and in splits (docs/smi.md, row 13).
            "envoy.reloadable_features.rbac_match_headers_individually": false,
            "envoy.reloadable_features.match_headers_individually": false,
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

/** Envoy's default goes up to 30 s; a control plane that is back should have its sidecars back. */
const RETRY: Json = { retry_back_off: { base_interval: "0.2s", max_interval: "5s" } };

const fromAds = ({ waitForConfiguration }: Sidecar): Json => ({
  ads: {},
  resource_api_version: "V3",
  ...(waitForConfiguration ? { initial_fetch_timeout: "0s" } : {}),
});

const certificateService = (): Json => ({
  envoy_grpc: { cluster_name: CONTROL_PLANE_CLUSTER, retry_policy: RETRY },
});

/**
 * A control plane that is told a token: by gRPC's own client, as Envoy's has no credentials that follow a file.
 * It verifies TLS against the CA's file and the name.
 */
function tokenService({ controlPlane }: Sidecar, token: { readonly file: string; readonly ca: string }): Json {
  const { host, port = TOKEN_PORT, name } = controlPlane;
  const credentials = "envoy.grpc_credentials.file_based_metadata";
  return {
    google_grpc: {
      target_uri: host.includes(":")
        ? `ipv6:[${host}]:${port}`
        : isAddress(host)
          ? `ipv4:${host}:${port}`
          : `dns:///${host}:${port}`,
      stat_prefix: CONTROL_PLANE_CLUSTER,
      channel_credentials: { ssl_credentials: { root_certs: { filename: token.ca } } },
      credentials_factory_name: credentials,
      call_credentials: [
        {
          from_plugin: {
            name: credentials,
            typed_config: {
              "@type": "type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig",
              secret_data: { filename: token.file },
              header_key: "authorization",
              header_prefix: "Bearer ",
            },
          },
        },
      ],
      channel_args: {
        args: {
          "grpc.ssl_target_name_override": { string_value: name },
          // gRPC's default of 4 MiB is less than a large mesh.
          "grpc.max_receive_message_length": { int_value: "-1" },
          // A control plane whose machine is gone says no word.
          "grpc.keepalive_time_ms": { int_value: "15000" },
          "grpc.keepalive_timeout_ms": { int_value: "5000" },
          "grpc.http2.max_pings_without_data": { int_value: "0" },
          "grpc.initial_reconnect_backoff_ms": { int_value: "200" },
          "grpc.min_reconnect_backoff_ms": { int_value: "1000" },
          "grpc.max_reconnect_backoff_ms": { int_value: "5000" },
        },
      },
    },
    retry_policy: RETRY,
  };
}

const isAddress = (host: string): boolean => host.includes(":") || /^\d+(\.\d+){3}$/.test(host);

function controlPlaneCluster({ controlPlane }: Sidecar, directory: string): Json {
  const { host, port = CONTROL_PLANE_PORT, name } = controlPlane;
  const sds = (secret: string, file: string): Json => ({
    name: secret,
    sds_config: { path_config_source: { path: `${directory}/${file}` }, resource_api_version: "V3" },
  });
  return {
    name: CONTROL_PLANE_CLUSTER,
    type: isAddress(host) ? "STATIC" : "STRICT_DNS",
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
