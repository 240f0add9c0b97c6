/**
 * Route configurations: who may call what (inbound), and where calls go (outbound). All that changes with policies is here.
 */
import { RouteConfiguration } from "../../gen/envoy/config/route/v3/route.ts";
import type {
  HeaderMatcher,
  RetryPolicy,
  Route,
  RouteAction,
  RouteMatch,
  VirtualHost,
} from "../../gen/envoy/config/route/v3/route_components.ts";
import { RBACPerRoute } from "../../gen/envoy/extensions/filters/http/rbac/v3/rbac.ts";
import { PreviousHostsPredicate } from "../../gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.ts";
import type { Backend, InboundPort, MeshService, Outbound, SplitRoute } from "../policy/ir.ts";
import { namespaceOf, serviceFqdn, serviceHosts } from "../world/names.ts";
import type { HTTPMatch } from "../world/types.ts";
import { HTTP_RBAC } from "./http.ts";
import { any, regex, seconds } from "./message.ts";
import {
  backendClusterName,
  clusterName,
  inboundHostName,
  inboundRouteName,
  localClusterName,
  outboundHostName,
  outboundRouteName,
  PASSTHROUGH_CLUSTER,
  UNPROCESSED_HEADER,
} from "./names.ts";
import { headerMatchers, rbac } from "./rbac.ts";
import { resource, type Reference, type Resource } from "./resource.ts";

const ANY_PATH: RouteMatch = { pathSpecifier: { $case: "prefix", value: "/" } };
/** A slash that is written as `%2F` or `%5C`: normal form leaves it, and applications may take it for a slash. */
const ESCAPED_SLASH: RouteMatch = { pathSpecifier: { $case: "safeRegex", value: { regex: ".*%(2[fF]|5[cC]).*" } } };

/** No time-out unless somebody asks for one, as in OSM. */
const FOREVER = seconds(0);

const answer = (match: RouteMatch, status: number, text: string): Route => ({
  match,
  action: {
    $case: "directResponse",
    value: { status, body: { specifier: { $case: "inlineString", value: `heddle: ${text}\n` } } },
  },
});

/** What a pod accepts on one HTTP port. Access is the same whatever name it is called by, and does not depend on the order of routes. */
export function inboundRoutes(port: InboundPort, trustDomain: string): Resource {
  const routesTo = (cluster: string): Route[] => {
    const route: Route = {
      match: ANY_PATH,
      action: { $case: "route", value: { clusterSpecifier: { $case: "cluster", value: cluster }, timeout: FOREVER } },
    };
    const restricted = port.access.some((rule) => rule.matches?.some((m) => m.pathRegex !== undefined));
    if (!restricted) return [route];
    const open = { [HTTP_RBAC]: any(RBACPerRoute, {}) };
    return [
      {
        ...answer(ESCAPED_SLASH, 400, "a path with an escaped slash cannot be matched against this service's policies"),
        typedPerFilterConfig: open,
      },
      route,
    ];
  };
  const [first] = port.services;
  const hosts: VirtualHost[] = port.services.map((service) => ({
    name: inboundHostName(serviceFqdn(service)),
    domains: serviceHosts(service, namespaceOf(service)),
    routes: routesTo(localClusterName(service, port.port)),
    // An application that sends the mark of an unprocessed request must not make clients repeat it.
    responseHeadersToRemove: [UNPROCESSED_HEADER],
  }));
  if (first) {
    hosts.push({
      name: "inbound_virtual-host|*",
      domains: ["*"],
      routes: routesTo(localClusterName(first, port.port)),
      responseHeadersToRemove: [UNPROCESSED_HEADER],
    });
  }
  return routeConfiguration(
    {
      name: inboundRouteName(port.port),
      virtualHosts: hosts,
      typedPerFilterConfig: { [HTTP_RBAC]: any(RBACPerRoute, { rbac: { rules: rbac(port.access, trustDomain) } }) },
    },
    port.services.map((service) => localClusterName(service, port.port)),
  );
}

/** Where a client's calls on one port go: each Service by its names, all else out of the mesh or refused. */
export function outboundRoutes(
  port: number,
  services: readonly MeshService[],
  { namespace }: Pick<Outbound, "namespace">,
  egress: boolean,
): Resource {
  const clusters = new Set<string>();
  const hosts: VirtualHost[] = [];
  for (const service of services) {
    const found = service.ports.find((p) => p.port === port && p.protocol === "http");
    if (!found) continue;
    for (const route of found.routes) for (const backend of route.backends) clusters.add(backendClusterName(backend));
    const fqdn = serviceFqdn(service.name);
    const names = serviceHosts(service.name, namespace);
    hosts.push({
      name: outboundHostName(fqdn),
      domains: [...names, ...service.clusterIPs.map((ip) => (ip.includes(":") ? `[${ip}]` : ip))],
      routes: found.routes.flatMap(splitRoutes),
      retryPolicy: RETRY,
    });
    if (!service.headless) continue;
    // Pods of a headless Service are called `<pod>.<service>…`, and such calls are no split's business (smi-semantics, row 33).
    // The Service's own name is exact, so it goes before such a pattern.
    clusters.add(clusterName(service.name, found.targetPort));
    hosts.push({
      name: outboundHostName(`*.${fqdn}`),
      domains: names.map((name) => `*.${name}`),
      routes: splitRoutes({ backends: [{ service: service.name, targetPort: found.targetPort, weight: 1 }] }),
      retryPolicy: RETRY,
    });
  }
  const rest: Route = egress
    ? {
        match: ANY_PATH,
        action: {
          $case: "route",
          value: { clusterSpecifier: { $case: "cluster", value: PASSTHROUGH_CLUSTER }, timeout: FOREVER },
        },
      }
    : answer(ANY_PATH, 403, "refused");
  if (egress) clusters.add(PASSTHROUGH_CLUSTER);
  hosts.push({ name: "outbound_virtual-host|*", domains: ["*"], routes: [rest] });
  return routeConfiguration({ name: outboundRouteName(port), virtualHosts: hosts }, [...clusters]);
}

/** A split's routes: one for each of its matches, as they are ORed. */
function splitRoutes({ matches, backends }: SplitRoute): Route[] {
  const match = matches?.map(routeMatch) ?? [ANY_PATH];
  return match.map((m) =>
    backends.length === 0
      ? answer(m, 503, "the TrafficSplit of this service has no backend left")
      : { match: m, action: { $case: "route", value: { ...target(backends), timeout: FOREVER } } },
  );
}

function target(backends: readonly Backend[]): Pick<RouteAction, "clusterSpecifier"> {
  const [only, ...more] = backends;
  if (only && more.length === 0) return { clusterSpecifier: { $case: "cluster", value: backendClusterName(only) } };
  const clusters = backends.map((b) => ({ name: backendClusterName(b), weight: b.weight }));
  return { clusterSpecifier: { $case: "weightedClusters", value: { clusters } } };
}

function routeMatch(match: HTTPMatch): RouteMatch {
  const headers: HeaderMatcher[] = headerMatchers(match);
  const path: RouteMatch =
    match.pathRegex === undefined
      ? ANY_PATH
      : { pathSpecifier: { $case: "safeRegex", value: { regex: match.pathRegex } } };
  return headers.length > 0 ? { ...path, headers } : path;
}

/**
 * Requests that nobody has processed go elsewhere: no connection to the pod, a stream that it refused, or its Envoy's word that the
 * application took none. Safe for every method.
 */
const RETRY: RetryPolicy = {
  retryOn: "connect-failure,refused-stream,retriable-headers",
  numRetries: 2,
  retriableHeaders: [
    { name: UNPROCESSED_HEADER, headerMatchSpecifier: { $case: "stringMatch", value: regex("true") } },
  ],
  retryHostPredicate: [
    {
      name: "envoy.retry_host_predicates.previous_hosts",
      configType: { $case: "typedConfig", value: any(PreviousHostsPredicate, {}) },
    },
  ],
  hostSelectionRetryMaxAttempts: 3,
};

function routeConfiguration(message: RouteConfiguration & { name: string }, clusters: readonly string[]): Resource {
  const refs: Reference[] = clusters.map((name) => ({ type: "CDS", name }));
  return resource(
    "RDS",
    message.name,
    RouteConfiguration.encode({ ...message, ignorePortInHostMatching: true, validateClusters: false }).finish(),
    refs,
  );
}
