/**
 * What the mesh's operator decides about sidecars, and the names by which a sidecar's parts are known in a pod.
 * Knows no pod.
 */

/** Container names, OSM's: scripts and dashboards in the field select by them. */
export const INIT_CONTAINER = "osm-init";
export const ENVOY_CONTAINER = "envoy";
/** Only where the cluster has no native sidecars: holds the application back until Envoy is configured. */
export const HOLD_CONTAINER = "osm-healthcheck";
/** The volume with the pod's token and the mesh's CA. */
export const IDENTITY_VOLUME = "heddle-identity";
/** OSM's volume: a pod that has it has a sidecar of OSM's. */
export const OSM_BOOTSTRAP_VOLUME = "envoy-bootstrap-config-volume";
/** Where a sidecar sees its token and the CA. */
export const IDENTITY_DIRECTORY = "/var/run/secrets/heddle";
export const TOKEN_FILE = "token";
export const CA_FILE = "ca.crt";

/** Resources of a container, in Kubernetes' form. */
export type Resources = {
  readonly requests?: Readonly<Record<string, string>>;
  readonly limits?: Readonly<Record<string, string>>;
};

export interface InjectorSettings {
  readonly envoyImage: string;
  /** Has `sh`, `bash`, `iptables` and `ip6tables`. */
  readonly initImage: string;
  readonly imagePullPolicy: "IfNotPresent" | "Always" | "Never";
  /** Whether the cluster has native sidecars (from 1.29 on): `initContainers` with `restartPolicy: Always`. */
  readonly nativeSidecars: boolean;
  /** Whether the cluster has the `sleep` action of container hooks (from 1.30 on). */
  readonly sleepAction: boolean;
  readonly trustDomain: string;
  readonly controlPlane: {
    readonly host: string;
    /** `TOKEN_PORT` when absent. */
    readonly port?: number;
    /** The DNS name that must stand in the control plane's certificate. */
    readonly name: string;
  };
  /** Audience of the pods' tokens. */
  readonly audience: string;
  /** Seconds that a token is good for; the kubelet renews it after four fifths of them. Kubernetes' least is 600. */
  readonly tokenSeconds: number;
  /** The ConfigMap, in each namespace of the mesh, whose key `ca.crt` is the CA that signs the control plane's certificate. */
  readonly caConfigMap: string;
  /** Envoy's: trace, debug, info, warning, error, critical, off. */
  readonly logLevel: string;
  readonly resources?: Resources;
  readonly initResources?: Resources;
  /** OSM's `enablePrivilegedInitContainer`. */
  readonly privilegedInit: boolean;
  /** OSM's `localProxyMode`: at which address applications listen. */
  readonly localProxyMode: "Localhost" | "PodIP";
  /** Whether pods' first addresses are IPv6, where the kubelet probes: it is then answered at both families. */
  readonly ipv6: boolean;
  readonly inboundPortExclusions: readonly number[];
  readonly outboundPortExclusions: readonly number[];
  readonly outboundIPRangeExclusions: readonly string[];
  readonly outboundIPRangeInclusions: readonly string[];
  readonly interfaceExclusions: readonly string[];
  /**
   * Seconds that a pod goes on serving after it began to terminate: until every client has learnt that the endpoint is gone, and has its
   * answers. Envoy, and the SIGTERM of containers without a `preStop` of their own, wait so long: an application that exits at once would
   * break the requests that it is working on. Longer than the application itself Envoy always lives, where sidecars are native.
   */
  readonly drainSeconds: number;
}

/** All that has a sensible default. */
export const INJECTOR_DEFAULTS = Object.freeze({
  imagePullPolicy: "IfNotPresent",
  nativeSidecars: true,
  sleepAction: true,
  trustDomain: "cluster.local",
  audience: "heddle",
  tokenSeconds: 3600,
  caConfigMap: "heddle-ca",
  logLevel: "error",
  privilegedInit: false,
  localProxyMode: "Localhost",
  ipv6: false,
  inboundPortExclusions: [],
  outboundPortExclusions: [],
  outboundIPRangeExclusions: [],
  outboundIPRangeInclusions: [],
  interfaceExclusions: [],
  drainSeconds: 5,
} as const satisfies Partial<InjectorSettings>);
