/**
 * Names of things in the mesh, as branded strings: made here, read here, and nowhere spelled by hand.
 * Knows Kubernetes' naming rules; knows nothing of Envoy.
 */

declare const brand: unique symbol;
type Brand<B extends string> = string & { readonly [brand]: B };

/** `namespace/serviceaccount`: who a workload is. The unit of authorization. */
export type Identity = Brand<"Identity">;
/** `namespace/service`. */
export type ServiceName = Brand<"ServiceName">;
/** `namespace/pod`. */
export type PodName = Brand<"PodName">;
/** Name of a set of proxies that get the same configuration (all but their own leaf certificate). */
export type GroupName = Brand<"GroupName">;

export const identity = (namespace: string, serviceAccount: string): Identity =>
  `${namespace}/${serviceAccount}` as Identity;
export const serviceName = (namespace: string, name: string): ServiceName => `${namespace}/${name}` as ServiceName;
export const podName = (namespace: string, name: string): PodName => `${namespace}/${name}` as PodName;

const DUAL_STACK = "+ipv6";
/** The proxies of a group whose pods have IPv6 addresses: they get the group's resources, and listen at both families. */
export const dualStackGroup = (group: GroupName): GroupName => `${group}${DUAL_STACK}` as GroupName;
/** The group of which a name of `dualStackGroup` is made; undefined for any other name. */
export const groupOfDualStack = (name: GroupName): GroupName | undefined =>
  name.endsWith(DUAL_STACK) ? (name.slice(0, -DUAL_STACK.length) as GroupName) : undefined;

/** The part before the slash. */
export const namespaceOf = (name: Identity | ServiceName | PodName): string => name.slice(0, name.indexOf("/"));
/** The part behind the slash. */
export const localName = (name: Identity | ServiceName | PodName): string => name.slice(name.indexOf("/") + 1);

/**
 * The DNS name that stands in a workload's certificate, OSM's form: `<sa>.<ns>.<trust domain>`.
 * A namespace has no dot, so the form is unambiguous although a ServiceAccount's name may have some.
 */
export const principalDnsName = (id: Identity, trustDomain: string): string =>
  `${localName(id)}.${namespaceOf(id)}.${trustDomain}`;

/** The SPIFFE ID of a workload: `spiffe://<trust domain>/ns/<ns>/sa/<sa>`. */
export const spiffeId = (id: Identity, trustDomain: string): string =>
  `spiffe://${trustDomain}/ns/${namespaceOf(id)}/sa/${localName(id)}`;

/**
 * The name under which sidecars verify the control plane. No workload's certificate can have it: theirs have two labels
 * or more before the trust domain.
 */
export const controlPlaneDnsName = (trustDomain: string): string => `ads.${trustDomain}`;

/**
 * Whether a name has the form of a Service's, `<service>.<namespace>.svc`, in whatever cluster domain: neither part before
 * `svc` can have a dot, so it is always the third label.
 */
export const isServiceDnsName = (name: string): boolean => name.split(".")[2] === "svc";

/** Cluster domain behind Services' names. */
export const CLUSTER_DOMAIN = "cluster.local";

/** `<svc>.<ns>.svc.cluster.local`. */
export const serviceFqdn = (name: ServiceName): string =>
  `${localName(name)}.${namespaceOf(name)}.svc.${CLUSTER_DOMAIN}`;

/**
 * The names under which a Service is called, shortest first. The bare name only resolves in the
 * Service's own namespace, so it is left out unless `from` is that namespace.
 */
export function serviceHosts(name: ServiceName, from: string): string[] {
  const svc = localName(name);
  const ns = namespaceOf(name);
  const hosts = [`${svc}.${ns}`, `${svc}.${ns}.svc`, `${svc}.${ns}.svc.cluster`, serviceFqdn(name)];
  return from === ns ? [svc, ...hosts] : hosts;
}

/** A Service's name as users write it in a TrafficSplit: `name`, `name.namespace`, `name.namespace.svc[.cluster[.local]]`. Undefined when it is none of these. */
export function parseServiceHost(host: string, from: string): ServiceName | undefined {
  const [name, ns, ...rest] = host.split(".");
  if (!name) return undefined;
  if (ns === undefined) return serviceName(from, name);
  if (!ns || !["", "svc", "svc.cluster", "svc.cluster.local"].includes(rest.join("."))) return undefined;
  return serviceName(ns, name);
}
