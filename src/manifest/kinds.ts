/**
 * The table of Kubernetes kinds that are read: one line per kind, from which decoding, the watches and the chart's RBAC follow.
 */
import type { Kind, ObjectOf, Workload } from "../world/types.ts";
import { endpointSlice, namespace, pod, service } from "./core.ts";
import { meshConfig } from "./mesh-config.ts";
import type { Raw } from "../lib/json.ts";
import type { Reader } from "./reader.ts";
import { trafficTarget } from "./smi-access.ts";
import { trafficSplit } from "./smi-split.ts";
import { httpRouteGroup, tcpRoute, udpRoute } from "./smi-specs.ts";

/** What a decoder knows of an object beside its fields. */
export interface Place {
  readonly namespace: string;
  readonly name: string;
  /** As `v1alpha3`, without the group. */
  readonly version: string;
  readonly uid: string;
  /** RFC 3339, or "". */
  readonly created: string;
  /** The one object for this content. */
  readonly intern: (workload: Omit<Workload, "key">) => Workload;
  /** The mesh that is looked at; undefined for any. */
  readonly mesh?: string | undefined;
}

export interface KindEntry<K extends Kind = Kind> {
  readonly kind: K;
  /** "" for Kubernetes' core group. */
  readonly group: string;
  /** Newest last. A source watches the newest that the cluster serves. */
  readonly versions: readonly string[];
  readonly plural: string;
  readonly namespaced: boolean;
  /** Undefined when nothing of it can be used; what is wrong is reported to the reader. Never throws. */
  readonly decode: (reader: Reader, object: Raw, place: Place) => ObjectOf[K] | undefined;
}

const entry = <K extends Kind>(
  kind: K,
  group: string,
  versions: readonly string[],
  plural: string,
  decode: KindEntry<K>["decode"],
  namespaced = true,
): KindEntry<K> => ({ kind, group, versions, plural, namespaced, decode });

function notServed(reader: Reader): undefined {
  const { kind } = reader.ref;
  reader.report(
    "without-effect",
    "kind",
    `${kind} is a kind of OSM's that this version does not serve, so this object has no effect; it may stay, or be removed.`,
  );
}

const ALPHA = ["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"] as const;

/** Every kind that is read. */
export const KINDS = [
  entry("Namespace", "", ["v1"], "namespaces", namespace, false),
  entry("Service", "", ["v1"], "services", service),
  entry("Pod", "", ["v1"], "pods", pod),
  entry("EndpointSlice", "discovery.k8s.io", ["v1"], "endpointslices", endpointSlice),
  entry("TrafficTarget", "access.smi-spec.io", ALPHA, "traffictargets", trafficTarget),
  entry("HTTPRouteGroup", "specs.smi-spec.io", ALPHA, "httproutegroups", httpRouteGroup),
  entry("TCPRoute", "specs.smi-spec.io", ALPHA, "tcproutes", tcpRoute),
  entry("UDPRoute", "specs.smi-spec.io", ALPHA, "udproutes", udpRoute),
  entry("TrafficSplit", "split.smi-spec.io", ALPHA, "trafficsplits", trafficSplit),
  entry("MeshConfig", "config.openservicemesh.io", ALPHA.slice(0, 3), "meshconfigs", meshConfig),
  entry("MeshRootCertificate", "config.openservicemesh.io", ["v1alpha2"], "meshrootcertificates", notServed),
  entry("Egress", "policy.openservicemesh.io", ["v1alpha1"], "egresses", notServed),
  entry("IngressBackend", "policy.openservicemesh.io", ["v1alpha1"], "ingressbackends", notServed),
  entry("Retry", "policy.openservicemesh.io", ["v1alpha1"], "retries", notServed),
  entry("UpstreamTrafficSetting", "policy.openservicemesh.io", ["v1alpha1"], "upstreamtrafficsettings", notServed),
] as const;

/** Settings of a mesh: they count in its control plane's namespace alone. */
export const isSetting = ({ group }: Pick<KindEntry, "group">): boolean => group === "config.openservicemesh.io";

/** Kubernetes' own kinds have a status of their own, or none. */
export const isPolicy = ({ group }: Pick<KindEntry, "group">): boolean => group !== "" && !group.endsWith(".k8s.io");

/** The entry of a kind in a group, whatever its version. */
export function kindOf(group: string, kind: string): (typeof KINDS)[number] | undefined {
  return KINDS.find((one) => one.kind === kind && one.group === group);
}

/** `access.smi-spec.io/v1alpha3` → group and version; `v1` → "" and `v1`. */
export function splitApiVersion(apiVersion: string): { readonly group: string; readonly version: string } {
  const slash = apiVersion.indexOf("/");
  return slash < 0
    ? { group: "", version: apiVersion }
    : { group: apiVersion.slice(0, slash), version: apiVersion.slice(slash + 1) };
}
