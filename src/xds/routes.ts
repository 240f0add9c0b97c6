/**
 * Route configurations: who may call what (inbound), and where calls go (outbound). All that changes with policies is here.
 */
import { RouteConfiguration } from "../../gen/envoy/config/route/v3/route.ts";
import {
  VirtualHost,
  type HeaderMatcher,
  type RetryPolicy,
  type Route,
  type RouteAction,
  type RouteMatch,
} from "../../gen/envoy/config/route/v3/route_components.ts";
import { RBACPerRoute } from "../../gen/envoy/extensions/filters/http/rbac/v3/rbac.ts";
import { PreviousHostsPredicate } from "../../gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.ts";
import type { Backend, InboundPort, MeshPort, MeshService, Outbound, SplitRoute } from "../policy/ir.ts";
import { inAuthority } from "../world/address.ts";
import { namespaceOf, serviceFqdn, serviceHosts } from "../world/names.ts";
import type { HTTPMatch } from "../world/types.ts";
import { HTTP_RBAC } from "./http.ts";
import { any, element, regex, seconds, spliced } from "./message.ts";
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
    inboundRouteName(port.port),
    hosts.map(virtualHost),
    port.services.map((service) => localClusterName(service, port.port)),
    { typedPerFilterConfig: { [HTTP_RBAC]: any(RBACPerRoute, { rbac: { rules: rbac(port.access, trustDomain) } }) } },
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
  const hosts: Uint8Array[] = [];
  for (const service of services) {
    const found = outboundHosts(service, port, namespace);
    hosts.push(...found.hosts);
    for (const cluster of found.clusters) clusters.add(cluster);
  }
  if (egress) clusters.add(PASSTHROUGH_CLUSTER);
  hosts.push(egress ? PASSED_ON : REFUSED);
  return routeConfiguration(outboundRouteName(port), hosts, [...clusters]);
}

/** Encoded, with the clusters that they name. */
interface Hosts {
  readonly hosts: readonly Uint8Array[];
  readonly clusters: readonly string[];
}

const NO_HOSTS: Hosts = { hosts: [], clusters: [] };
const encoded = new WeakMap<MeshService, Map<string, Hosts>>();

/** How clients of a namespace call one port of a Service. Encoded once for those of its own namespace and once for all others. */
function outboundHosts(service: MeshService, port: number, namespace: string): Hosts {
  let known = encoded.get(service);
  if (!known) encoded.set(service, (known = new Map()));
  const place = `${port} ${namespace === namespaceOf(service.name) ? "own" : "others"}`;
  let hosts = known.get(place);
  if (!hosts) {
    const found = service.ports.find((p) => p.port === port && p.protocol === "http");
    known.set(place, (hosts = found ? hostsOf(service, found, namespace) : NO_HOSTS));
  }
  return hosts;
}

function hostsOf(service: MeshService, port: MeshPort, namespace: string): Hosts {
  const clusters = port.routes.flatMap(({ backends }) => backends.map(backendClusterName));
  const fqdn = serviceFqdn(service.name);
  const names = serviceHosts(service.name, namespace);
  const host = virtualHost({
    name: outboundHostName(fqdn),
    domains: [...names, ...service.clusterIPs.map(inAuthority)],
    routes: port.routes.flatMap(splitRoutes),
    retryPolicy: RETRY,
  });
  if (!service.headless) return { hosts: [host], clusters };
  // Pods of a headless Service are called `<pod>.<service>…`, and such calls are no split's business (smi-semantics, row 33).
  // The Service's own name is exact, so it goes before such a pattern.
  const pods = virtualHost({
    name: outboundHostName(`*.${fqdn}`),
    domains: names.map((name) => `*.${name}`),
    routes: splitRoutes({ backends: [{ service: service.name, targetPort: port.targetPort, weight: 1 }] }),
    retryPolicy: RETRY,
  });
  return { hosts: [host, pods], clusters: [...clusters, clusterName(service.name, port.targetPort)] };
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
 * application took none. Safe for every method. Of pods without a readiness probe several may have just started and not listen yet, all of
 * them even: the tries reach over some 2 s, and the first is almost at once.
 */
const RETRY: RetryPolicy = {
  retryOn: "connect-failure,refused-stream,retriable-headers",
  numRetries: 7,
  retryBackOff: { baseInterval: seconds(0.05), maxInterval: seconds(1) },
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

/** `RouteConfiguration.virtual_hosts`. */
const virtualHost = (host: VirtualHost): Uint8Array => element(2, VirtualHost, host);

/** What a client calls that is no Service of the mesh. */
const otherHosts = (route: Route): Uint8Array =>
  virtualHost({ name: "outbound_virtual-host|*", domains: ["*"], routes: [route] });

const REFUSED = otherHosts(answer(ANY_PATH, 403, "refused"));
const PASSED_ON = otherHosts({
  match: ANY_PATH,
  action: {
    $case: "route",
    value: { clusterSpecifier: { $case: "cluster", value: PASSTHROUGH_CLUSTER }, timeout: FOREVER },
  },
});

const ALWAYS = RouteConfiguration.encode({ ignorePortInHostMatching: true, validateClusters: false }).finish();

/** Hosts are encoded before, as many clients have the same ones. */
function routeConfiguration(
  name: string,
  hosts: readonly Uint8Array[],
  clusters: readonly string[],
  ...more: readonly RouteConfiguration[]
): Resource {
  const refs: Reference[] = clusters.map((cluster) => ({ type: "CDS", name: cluster }));
  const [first, ...last] = [{ name }, ...more].map((message) => RouteConfiguration.encode(message).finish());
  return resource("RDS", name, spliced([first as Uint8Array, ...hosts, ALWAYS, ...last]), refs);
}
