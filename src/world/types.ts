/**
 * What is true in the cluster, in our words: plain, frozen, readonly data.
 * Knows neither Kubernetes' shapes (that is `manifest/`) nor Envoy's.
 */
import type { Identity, PodName, ServiceName } from "./names.ts";

/** Kinds of objects that the world is made of. */
export type Kind =
  | "Namespace"
  | "Service"
  | "Pod"
  | "EndpointSlice"
  | "TrafficTarget"
  | "HTTPRouteGroup"
  | "TCPRoute"
  | "UDPRoute"
  | "TrafficSplit"
  | "MeshConfig"
  | NotServed;

/** OSM's kinds that have no effect yet. They are read so that each of their objects says so. */
export type NotServed = "MeshRootCertificate" | "Egress" | "IngressBackend" | "Retry" | "UpstreamTrafficSetting";

/** Which object: enough to find it again, in a folder or in a cluster. Cluster-wide objects have namespace "". */
export interface ObjectRef {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/**
 * A user's mistake, as data. The same list stands in the webhook's answer, in status conditions, in the CLI and on the page.
 * `hint` problems change nothing in what is enforced; an `error` says that something of the user's is not honoured.
 */
export interface Problem {
  readonly code: ProblemCode;
  readonly severity: "error" | "hint";
  readonly object: ObjectRef;
  /** Where in the object, as `spec.rules[0].matches[1]`; "" for the whole object. */
  readonly path: string;
  /** One sentence: what is wrong, what follows from it, what to do. */
  readonly message: string;
  /** Where it was read, when it came from a file. */
  readonly file?: string;
  /** 1-based. */
  readonly line?: number;
}

/** The closed table of problem codes. Codes are never reused for another meaning. */
export const PROBLEM_CODES = {
  // reading
  unreadable: "a file or folder could not be read",
  "bad-yaml": "the text is not YAML",
  "too-large": "a file or object is larger than is read",
  "not-an-object": "a document is not a Kubernetes object",
  "unknown-kind": "an object of a kind that is not read here",
  "unknown-version": "a kind in a version that is not read here",
  duplicate: "the same object is there twice",
  "bad-field": "a field has a wrong type or value",
  "unknown-field": "a field that the kind does not have",
  "missing-field": "a required field is missing",
  "without-effect": "an object or setting of OSM's that has no effect",
  // workloads
  "no-endpoints": "a Service that selects no pod",
  "no-image-mapping": "an image that has no local command",
  // access
  "wrong-namespace": "a TrafficTarget outside of its destination's namespace",
  "nobody-allowed": "a TrafficTarget that allows nothing",
  "bad-source": "a source that is not a ServiceAccount with name and namespace",
  "bad-destination": "a destination that is not a ServiceAccount with name and namespace",
  "unknown-route": "a rule that names a route which does not exist",
  "unknown-match": "a rule that names a match which the route group does not have",
  "unknown-account": "a TrafficTarget whose destination no pod has",
  "bad-regex": "a regular expression that RE2 rejects",
  "lowercase-method": "a method in lower case, which no request has",
  "service-port": "a port number that only a Service has, not its pods",
  "unknown-port": "a port number that neither the destination's pods nor their Services have",
  "tcp-on-http": "a TCPRoute that opens every request on an HTTP port",
  "udp-route": "a UDPRoute in a TrafficTarget",
  "empty-match": "a match that no request has",
  "contained-match": "a match that takes nothing which another one beside it does not take",
  "prefix-pattern": "a path pattern that SMI's words and the whole path read differently",
  "unused-route": "a route group or TCPRoute that nothing names",
  "not-compared": "patterns that are too large to be compared",
  // services
  "unsupported-protocol": "a Service port that is not TCP",
  "unknown-protocol": "an appProtocol that is not known",
  "protocol-conflict": "one pod port that two Services declare with different protocols",
  "not-in-mesh": "a Service without a selector, or an ExternalName",
  "bad-target-port": "a Service port whose targetPort no pod has",
  // splits
  "bad-root": "a TrafficSplit whose root Service does not exist or is of another namespace",
  "bad-backend": "a backend that takes no part in a split",
  "bad-weight": "weights that cannot be used",
  "no-backends": "a TrafficSplit with nothing left to send to",
  "shadowed-split": "a TrafficSplit that never takes effect",
  "self-backend": "a TrafficSplit whose root is one of its backends",
  "split-match": "matches of a TrafficSplit that select no request",
} as const satisfies Record<string, string>;

export type ProblemCode = keyof typeof PROBLEM_CODES;

export interface Namespace {
  readonly name: string;
  /** Whether the mesh looks at what is in it. */
  readonly monitored: boolean;
  /** Whether pods get a sidecar unless they say otherwise. */
  readonly inject: boolean;
  /** Whether sidecars are scraped. */
  readonly metrics: boolean;
  /** It is being deleted: nothing new can be made in it. Absent: it is not. */
  readonly terminating?: true;
}

export interface ServicePort {
  /** "" when unnamed. */
  readonly name: string;
  readonly port: number;
  /** Number, or name of a container port. */
  readonly targetPort: number | string;
  readonly protocol: "TCP" | "UDP" | "SCTP";
  readonly appProtocol?: string;
}

export interface Service {
  readonly name: ServiceName;
  /** Virtual IPs, one per family; empty for a headless Service. */
  readonly clusterIPs: readonly string[];
  readonly headless: boolean;
  /** Set for `type: ExternalName`. */
  readonly externalName?: string;
  /** Labels that pods must have; undefined for a Service without selector, which selects nothing. */
  readonly selector?: Readonly<Record<string, string>>;
  readonly ports: readonly ServicePort[];
}

export interface ContainerPort {
  /** "" when unnamed. */
  readonly name: string;
  readonly port: number;
  readonly protocol: "TCP" | "UDP" | "SCTP";
}

/**
 * What pods of one template have in common: all that policy asks of a pod. Equal workloads are one object,
 * so a pod that comes or goes changes no policy.
 */
export interface Workload {
  /** Hash of the content. */
  readonly key: string;
  readonly identity: Identity;
  readonly labels: Readonly<Record<string, string>>;
  readonly ports: readonly ContainerPort[];
  /** Whether its pods have a sidecar. */
  readonly meshed: boolean;
  /** Whether its sidecars are scraped on port 15010. */
  readonly metrics: boolean;
  /** The pods' ports that an annotation leads past their sidecars. Sorted. */
  readonly past?: readonly number[];
  /** `subdomain` of a pod template: the headless Service under which its pods have names. */
  readonly subdomain?: string;
}

export interface Pod {
  readonly name: PodName;
  /** Identifies the proxy: the value of label `osm-proxy-uuid`, else the pod's uid. */
  readonly proxyId: string;
  readonly ips: readonly string[];
  readonly workload: Workload;
  readonly hostname?: string;
  readonly ready: boolean;
  readonly terminating: boolean;
}

export interface Endpoint {
  readonly ip: string;
  readonly pod?: PodName;
  readonly hostname?: string;
  /** Takes new requests: ready and not terminating. */
  readonly ready: boolean;
}

export interface EndpointSlice {
  readonly namespace: string;
  readonly name: string;
  readonly service: ServiceName;
  /** Port numbers of the endpoints by the Service port's name. */
  readonly ports: readonly { readonly name: string; readonly port: number }[];
  readonly endpoints: readonly Endpoint[];
}

export interface TrafficTarget {
  readonly namespace: string;
  readonly name: string;
  readonly destination: SubjectRef;
  /** Port that limits all rules (`destination.port` of v1alpha1 and v1alpha2). */
  readonly port?: number;
  readonly sources: readonly SubjectRef[];
  readonly rules: readonly RuleRef[];
}

/** As written: `policy/` judges it. Missing fields are "". */
export interface SubjectRef {
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
}

export interface RuleRef {
  readonly kind: "HTTPRouteGroup" | "TCPRoute" | "UDPRoute" | "unknown";
  readonly name: string;
  /** It could not be read: it opens nothing, and still limits what a rule of its kind might limit. */
  readonly broken?: true;
  /** Names of matches of the route group; empty means all (SMI: "If matches is omitted, all matches are used"). */
  readonly matches: readonly string[];
}

export interface HTTPRouteGroup {
  readonly namespace: string;
  readonly name: string;
  /** Those that could be read. */
  readonly matches: readonly WrittenMatch[];
  /** Names of those that could not: what they say is not known. */
  readonly unreadable?: readonly string[];
}

/** One match: all that is given must hold (AND). */
export interface HTTPMatch {
  readonly name: string;
  /** RE2, against the whole path without query; undefined: any path. */
  readonly pathRegex?: string;
  /** Empty, or with `*`: any method. */
  readonly methods: readonly string[];
  /** In order of name; names in lower case; value RE2 against the whole value. A name may stand there twice: both must match. */
  readonly headers: readonly { readonly name: string; readonly regex: string }[];
}

export interface WrittenMatch extends HTTPMatch {
  /** Where it stands in its group, as `Problem.path`: a match before it may not have been readable, and before v1alpha3 there was no `spec`. */
  readonly where: string;
}

export interface TCPRoute {
  readonly namespace: string;
  readonly name: string;
  /** Empty: every port. */
  readonly ports: readonly number[];
  /** It names more ports, which could not be read. */
  readonly partial?: true;
}

export interface UDPRoute {
  readonly namespace: string;
  readonly name: string;
}

export interface TrafficSplit {
  readonly namespace: string;
  readonly name: string;
  /** As written: name, name.namespace or full DNS name. */
  readonly service: string;
  /** As written. Order as written. */
  readonly backends: readonly { readonly service: string; readonly weight: number }[];
  /** Names of HTTPRouteGroups of the split's namespace; undefined: every request. */
  readonly matches?: readonly string[];
  /** RFC 3339, or "": ties among splits of one root go to the oldest. */
  readonly created: string;
}

/** What MeshConfig sets. `DEFAULT_SETTINGS` when there is none. */
export interface Settings {
  /** Everything inside the mesh may call everything; identity is still verified. */
  readonly permissive: boolean;
  /** Whether traffic to what the mesh does not know leaves in plain text. */
  readonly egress: boolean;
  readonly trustDomain: string;
  /** Seconds. */
  readonly certificateValidity: number;
  readonly envoyLogLevel: string;
  readonly sidecar: SidecarSettings;
}

/** What MeshConfig says of sidecars that are injected: empty where it says nothing. */
export interface SidecarSettings {
  readonly resources?: {
    readonly requests?: Readonly<Record<string, string>>;
    readonly limits?: Readonly<Record<string, string>>;
  };
  readonly privilegedInit: boolean;
  readonly localProxyMode: "Localhost" | "PodIP";
  readonly inboundPortExclusions: readonly number[];
  readonly outboundPortExclusions: readonly number[];
  readonly outboundIPRangeExclusions: readonly string[];
  readonly outboundIPRangeInclusions: readonly string[];
  readonly interfaceExclusions: readonly string[];
}

/** Deny by default: no MeshConfig opens nothing. */
export const DEFAULT_SETTINGS: Settings = Object.freeze({
  permissive: false,
  egress: false,
  trustDomain: "cluster.local",
  certificateValidity: 24 * 3600,
  envoyLogLevel: "error",
  sidecar: Object.freeze({
    privilegedInit: false,
    localProxyMode: "Localhost",
    inboundPortExclusions: [],
    outboundPortExclusions: [],
    outboundIPRangeExclusions: [],
    outboundIPRangeInclusions: [],
    interfaceExclusions: [],
  }),
});

/** Objects of one kind: by namespace, then by name. Both levels are replaced, never mutated; an untouched namespace keeps its map. */
export type Table<T> = ReadonlyMap<string, ReadonlyMap<string, T>>;

/** The decoded object of each kind. */
export interface ObjectOf extends Readonly<Record<NotServed, never>> {
  readonly Namespace: Namespace;
  readonly Service: Service;
  readonly Pod: Pod;
  readonly EndpointSlice: EndpointSlice;
  readonly TrafficTarget: TrafficTarget;
  readonly HTTPRouteGroup: HTTPRouteGroup;
  readonly TCPRoute: TCPRoute;
  readonly UDPRoute: UDPRoute;
  readonly TrafficSplit: TrafficSplit;
  readonly MeshConfig: Settings;
}

/** One object that is now so, or (`value` undefined) is gone. Namespaces have namespace "". */
export type Change = {
  [K in Kind]: {
    readonly kind: K;
    readonly namespace: string;
    readonly name: string;
    readonly value: ObjectOf[K] | undefined;
  };
}[Kind];
