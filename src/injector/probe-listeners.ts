/**
 * The listeners and clusters with which a sidecar answers the kubelet, whatever the control plane says: part of its bootstrap.
 * Envoy opens them only once it has its configuration, so an answer at all says that the sidecar is ready.
 */
import type { Json } from "./bootstrap.ts";
import { HEALTH_PORT, type ProbeRoute } from "./probes.ts";

/** Answered 200 by a sidecar that is ready. */
export const READY_PATH = "/ready";
/** Answered after the seconds of `drain`: a pause for containers without a shell, where the cluster has no `sleep` action. */
export const DRAIN_PATH = "/osm-drain";

const NAMES: Readonly<Record<number, string>> = {
  15901: "liveness_listener",
  15902: "readiness_listener",
  15903: "startup_listener",
  [HEALTH_PORT]: "health_listener",
};
const TYPE = "type.googleapis.com/";
const LUA = "envoy.filters.http.lua";
/** No header need tell of a body, and the buffer filter lets one pass that comes all at once. */
const NO_BODY = `function envoy_on_request(handle)
  if handle:body() then handle:respond({[":status"] = "413"}, "") end
end`;

export interface ProbeListeners {
  readonly listeners: readonly Json[];
  readonly clusters: readonly Json[];
}

/** @param options - `ipv6`: at both families; `drain`: seconds that `DRAIN_PATH` takes */
export function probeListeners(
  routes: readonly ProbeRoute[],
  options: { readonly ipv6: boolean; readonly drain?: number },
): ProbeListeners {
  const ports = [...new Set([HEALTH_PORT, ...routes.map((route) => route.listen)])].sort((a, b) => a - b);
  return {
    listeners: ports.map((port) => {
      const own: Json[] = port === HEALTH_PORT ? [answer(READY_PATH), ...drainRoutes(options.drain)] : [];
      const asked = routes.filter((route) => route.listen === port).map(routeTo);
      const withDelay = port === HEALTH_PORT && options.drain !== undefined;
      const grpc = routes.some((route) => route.listen === port && route.kind === "grpc");
      return listener(port, [...own, ...asked], { ipv6: options.ipv6, withDelay, grpc });
    }),
    clusters: routes.map((route) => cluster(route, options.ipv6)),
  };
}

const answer = (path: string): Json => ({
  match: { path },
  direct_response: { status: 200, body: { inline_string: "ready\n" } },
});

const drainRoutes = (seconds: number | undefined): Json[] =>
  seconds === undefined
    ? []
    : [
        {
          match: { path: DRAIN_PATH },
          direct_response: { status: 200 },
          typed_per_filter_config: {
            "envoy.filters.http.fault": {
              "@type": `${TYPE}envoy.extensions.filters.http.fault.v3.HTTPFault`,
              delay: { fixed_delay: `${seconds}s`, percentage: { numerator: 100 } },
            },
          },
        },
      ];

const exactly = (name: string, exact: string): Json => ({ name, string_match: { exact } });
const without = (name: string): Json => ({ name, present_match: true, invert_match: true });

/**
 * These ports take plain HTTP from everybody, so they take what the kubelet asks and nothing else: its method, its path to the last
 * letter of the query, and no body, which would reach the application past all policy.
 */
const kubelets = ({ path = "", query }: ProbeRoute): Json => ({
  path,
  headers: [exactly(":method", "GET"), exactly(":path", path + query), without("content-length")],
});

function routeTo(route: ProbeRoute): Json {
  const timeout = `${route.timeout}s`;
  switch (route.kind) {
    case "grpc":
      return {
        match: { path: "/grpc.health.v1.Health/Check", headers: [exactly(":method", "POST")] },
        route: { cluster: route.name, timeout },
        typed_per_filter_config: {
          [LUA]: { "@type": `${TYPE}envoy.extensions.filters.http.lua.v3.LuaPerRoute`, disabled: true },
        },
      };
    case "tcp":
      return {
        match: kubelets(route),
        route: { cluster: route.name, timeout },
        // The answer is 200 as soon as the application has taken the connection. Whatever it says then is not waited for.
        response_headers_to_add: [
          { header: { key: "content-length", value: "0" }, append_action: "OVERWRITE_IF_EXISTS_OR_ADD" },
        ],
      };
    case "http":
    case "https":
      return {
        match: kubelets(route),
        route: { cluster: route.name, timeout, prefix_rewrite: route.appPath },
        // To the kubelet a redirect is a success; followed, it would lead past the sidecar or to a path that is not here.
        response_headers_to_remove: ["location"],
      };
  }
}

function listener(
  port: number,
  routes: readonly Json[],
  { ipv6, withDelay, grpc }: { readonly ipv6: boolean; readonly withDelay: boolean; readonly grpc: boolean },
): Json {
  const name = NAMES[port] ?? `probe_${port}_listener`;
  const fault: Json = {
    name: "envoy.filters.http.fault",
    typed_config: { "@type": `${TYPE}envoy.extensions.filters.http.fault.v3.HTTPFault` },
  };
  const noBody: Json = {
    name: LUA,
    typed_config: {
      "@type": `${TYPE}envoy.extensions.filters.http.lua.v3.Lua`,
      default_source_code: { inline_string: NO_BODY },
    },
  };
  const router: Json = {
    name: "envoy.filters.http.router",
    typed_config: {
      "@type": `${TYPE}envoy.extensions.filters.http.router.v3.Router`,
      suppress_envoy_headers: true,
    },
  };
  return {
    name,
    address: {
      socket_address: ipv6
        ? { address: "::", port_value: port, ipv4_compat: true }
        : { address: "0.0.0.0", port_value: port },
    },
    // A sidecar with all the connections that it may have is busy, not dead.
    ignore_global_conn_limit: true,
    filter_chains: [
      {
        filters: [
          {
            name: "envoy.filters.network.http_connection_manager",
            typed_config: {
              "@type": `${TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
              stat_prefix: name,
              codec_type: grpc ? "AUTO" : "HTTP1",
              // Nobody holds a connection here, or takes his time to ask.
              common_http_protocol_options: { idle_timeout: "10s" },
              request_headers_timeout: "5s",
              request_timeout: "5s",
              generate_request_id: false,
              skip_xff_append: true,
              server_header_transformation: "PASS_THROUGH",
              http_filters: [...(withDelay ? [fault] : []), noBody, router],
              route_config: { name, virtual_hosts: [{ name, domains: ["*"], routes }] },
            },
          },
        ],
      },
    ],
  };
}

function cluster(route: ProbeRoute, ipv6: boolean): Json {
  const at = (address: string) => ({ address: { socket_address: { address, port_value: route.port } } });
  return {
    name: route.name,
    type: "STATIC",
    connect_timeout: `${route.timeout || 10}s`,
    load_assignment: {
      cluster_name: route.name,
      endpoints: [
        {
          lb_endpoints: [{ endpoint: { ...at("127.0.0.1"), ...(ipv6 ? { additional_addresses: [at("::1")] } : {}) } }],
        },
      ],
    },
    ...(route.kind === "tcp" ? CONNECT_ONLY : { typed_extension_protocol_options: protocol(route.kind) }),
    ...(route.kind === "https" ? TLS : {}),
  };
}

/** The request is a connection and nothing else; without CONNECT's method, as the kubelet has only GET. */
const CONNECT_ONLY = {
  upstream_config: {
    name: "envoy.upstreams.http.tcp",
    typed_config: { "@type": `${TYPE}envoy.extensions.upstreams.http.tcp.v3.TcpConnectionPoolProto` },
  },
} as const;

/** Verifies nothing, as the kubelet. */
const TLS = {
  transport_socket: {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": `${TYPE}envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext`,
      common_tls_context: {},
    },
  },
} as const;

/** One connection for each probe, as the kubelet: a kept one may just be closing, and the probe would fail. */
function protocol(kind: "http" | "https" | "grpc"): Json {
  const versions = {
    http: { explicit_http_config: { http_protocol_options: {} } },
    https: { auto_config: { http_protocol_options: {}, http2_protocol_options: {} } },
    grpc: { explicit_http_config: { http2_protocol_options: {} } },
  } as const;
  return {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
      "@type": `${TYPE}envoy.extensions.upstreams.http.v3.HttpProtocolOptions`,
      common_http_protocol_options: { max_requests_per_connection: 1 },
      ...versions[kind],
    },
  };
}
