/**
 * The containers and the volume that a pod gets, as Kubernetes objects. Knows the settings of one pod; knows nothing of the rest of it.
 */
import { bootstrap, type Json } from "./bootstrap.ts";
import { envoyArguments } from "./envoy-arguments.ts";
import { INBOUND_PORT, iptablesScript, PROXY_UID, type Interception } from "./iptables.ts";
import { DRAIN_PATH, READY_PATH, type ProbeListeners } from "./probe-listeners.ts";
import { HEALTH_PORT, type ProbeRoute } from "./probes.ts";
import {
  CA_FILE,
  ENVOY_CONTAINER,
  HOLD_CONTAINER,
  IDENTITY_DIRECTORY,
  IDENTITY_VOLUME,
  INIT_CONTAINER,
  TOKEN_FILE,
  type InjectorSettings,
} from "./settings.ts";

/** Where Envoy's container finds the proxy's id. */
export const PROXY_UUID_VARIABLE = "PROXY_UUID";

const fieldRef = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
const ready = { path: READY_PATH, port: HEALTH_PORT, scheme: "HTTP" } as const;

/** What every container of ours may do: nothing that a restricted namespace would not allow, but for the exceptions that are passed. */
const RESTRICTED = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  privileged: false,
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  runAsUser: PROXY_UID,
  runAsGroup: PROXY_UID,
  seccompProfile: { type: "RuntimeDefault" },
} as const;

/** Sets the pod's iptables rules, as root with NET_ADMIN and nothing else. */
export function initContainer(settings: InjectorSettings, extraPorts: readonly number[]): Json {
  const interception: Interception = {
    ...(settings.localProxyMode === "PodIP" ? { podIP: "$POD_IPS" } : {}),
    inboundPortExclusions: [...settings.inboundPortExclusions, ...extraPorts],
    outboundPortExclusions: settings.outboundPortExclusions,
    outboundIPRangeExclusions: settings.outboundIPRangeExclusions,
    outboundIPRangeInclusions: settings.outboundIPRangeInclusions,
    interfaceExclusions: settings.interfaceExclusions,
  };
  return {
    name: INIT_CONTAINER,
    image: settings.initImage,
    imagePullPolicy: settings.imagePullPolicy,
    command: ["/bin/sh", "-c"],
    // In arguments the kubelet reads $(NAME) as a variable and $$ as a dollar; a shell's $NAME passes as it is.
    args: [escapeDollars(initScript(interception))],
    env: [fieldRef("POD_IPS", "status.podIPs")],
    ...(settings.initResources ? { resources: settings.initResources } : {}),
    securityContext: {
      ...RESTRICTED,
      capabilities: { drop: ["ALL"], add: ["NET_ADMIN"] },
      // iptables has a lock file, and its rules take root.
      readOnlyRootFilesystem: false,
      runAsNonRoot: false,
      runAsUser: 0,
      runAsGroup: 0,
      ...(settings.privilegedInit ? { privileged: true, allowPrivilegeEscalation: true } : {}),
    },
  };
}

/**
 * Rules for both families. A pod with an IPv6 address must have its rules or not start: its traffic would pass the sidecar.
 * A node whose kernel has no IPv6 tables has no such pod.
 */
export function initScript(interception: Interception): string {
  return [
    "set -e",
    iptablesScript(interception),
    "has_ipv6=",
    "if [ -r /proc/net/if_inet6 ]; then",
    // Address, index, prefix length, scope (00: global), flags, interface.
    '  while read -r _ _ _ scope _; do [ "$scope" != 00 ] || has_ipv6=yes; done </proc/net/if_inet6',
    "fi",
    'if [ -n "$has_ipv6" ] || ip6tables -w -t nat -S >/dev/null 2>&1; then',
    `${iptablesScript(interception, "ipv6")}fi`,
    "",
  ].join("\n");
}

export interface EnvoyContainer {
  readonly settings: InjectorSettings;
  readonly fixed: ProbeListeners;
  readonly routes: readonly ProbeRoute[];
  /** Where the proxy's id stands in the pod: `metadata.uid`, or a label. */
  readonly idFrom: string;
  /** Seconds that it outlives the beginning of its pod's end; 0: none. */
  readonly drain: number;
}

export function envoyContainer({ settings, fixed, routes, idFrom, drain }: EnvoyContainer): Json {
  const health = { httpGet: ready, periodSeconds: 1, timeoutSeconds: 3 };
  return {
    name: ENVOY_CONTAINER,
    image: settings.envoyImage,
    imagePullPolicy: settings.imagePullPolicy,
    command: ["envoy"],
    args: envoyArguments({
      configYaml: bootstrapArgument(settings, fixed),
      serviceAccount: "$(SERVICE_ACCOUNT)",
      namespace: "$(POD_NAMESPACE)",
      logLevel: settings.logLevel,
    }),
    env: [
      fieldRef("POD_UID", "metadata.uid"),
      fieldRef("POD_NAME", "metadata.name"),
      fieldRef("POD_NAMESPACE", "metadata.namespace"),
      fieldRef("POD_IP", "status.podIP"),
      fieldRef("SERVICE_ACCOUNT", "spec.serviceAccountName"),
      fieldRef(PROXY_UUID_VARIABLE, idFrom),
    ],
    ports: [
      { name: "proxy-admin", containerPort: 15000 },
      { name: "proxy-inbound", containerPort: INBOUND_PORT },
      { name: "proxy-metrics", containerPort: 15010 },
      ...[...new Set([...routes.map((route) => route.listen), HEALTH_PORT])]
        .sort((a, b) => a - b)
        .map((port) => ({ name: PORT_NAMES[port] ?? `probe-${port}`, containerPort: port })),
    ],
    ...(settings.resources ? { resources: settings.resources } : {}),
    securityContext: RESTRICTED,
    volumeMounts: [{ name: IDENTITY_VOLUME, mountPath: IDENTITY_DIRECTORY, readOnly: true }],
    ...(drain > 0 ? { lifecycle: { preStop: pauseHook(settings, drain) } } : {}),
    // Ten minutes for a control plane that is away; then it is said in the pod's events and tried again.
    ...(settings.nativeSidecars
      ? { restartPolicy: "Always", startupProbe: { ...health, failureThreshold: 600 } }
      : { readinessProbe: health }),
  };
}

/** A `preStop` that lasts so long: the kubelet's own, or else the sidecar answers after `ProbeListeners`' seconds. */
export const pauseHook = ({ sleepAction }: InjectorSettings, seconds: number): Json =>
  sleepAction ? { sleep: { seconds } } : { httpGet: { path: DRAIN_PATH, port: HEALTH_PORT, scheme: "HTTP" } };

const PORT_NAMES: Readonly<Record<number, string>> = {
  15901: "liveness-port",
  15902: "readiness-port",
  15903: "startup-port",
  [HEALTH_PORT]: "health-port",
};

/**
 * For clusters without native sidecars: the kubelet starts containers in order and waits for each one's `postStart`. Envoy's image
 * has no program that could wait, so the container behind it does, and then sleeps.
 */
export function holdContainer(settings: InjectorSettings): Json {
  const wait = `for _ in $(seq 600); do (exec 3<>/dev/tcp/127.0.0.1/${HEALTH_PORT}) 2>/dev/null && exit 0; sleep 0.1; done; echo "no configuration from the control plane after 60 s"; exit 1`;
  return {
    name: HOLD_CONTAINER,
    image: settings.initImage,
    imagePullPolicy: settings.imagePullPolicy,
    command: ["/bin/bash", "-c", "trap 'exit 0' TERM; sleep infinity & wait"],
    lifecycle: { postStart: { exec: { command: ["/bin/bash", "-c", wait] } } },
    ...(settings.initResources ? { resources: settings.initResources } : {}),
    securityContext: RESTRICTED,
  };
}

/** The pod's token for the control plane, renewed by the kubelet, and the CA. */
export const identityVolume = (settings: InjectorSettings): Json => ({
  name: IDENTITY_VOLUME,
  projected: {
    sources: [
      {
        serviceAccountToken: {
          audience: settings.audience,
          expirationSeconds: settings.tokenSeconds,
          path: TOKEN_FILE,
        },
      },
      { configMap: { name: settings.caConfigMap, items: [{ key: CA_FILE, path: CA_FILE }] } },
    ],
  },
});

/**
 * The bootstrap travels in Envoy's arguments: no Secret or ConfigMap of each pod that somebody would have to remove, no further
 * container that writes a file, and whoever reads the pod sees it. The kubelet fills in the node's variables, and nothing else:
 * what users wrote may have a dollar.
 */
function bootstrapArgument(settings: InjectorSettings, fixed: ProbeListeners): string {
  const { node, ...rest } = bootstrap({
    nodeId: `$(${PROXY_UUID_VARIABLE}).sidecar.$(SERVICE_ACCOUNT).$(POD_NAMESPACE).${settings.trustDomain}`,
    serviceAccount: "$(SERVICE_ACCOUNT)",
    namespace: "$(POD_NAMESPACE)",
    token: { file: `${IDENTITY_DIRECTORY}/${TOKEN_FILE}`, ca: `${IDENTITY_DIRECTORY}/${CA_FILE}` },
    controlPlane: settings.controlPlane,
    fixed,
    waitForConfiguration: true,
  });
  return `{"node":${JSON.stringify(node)},${escapeDollars(JSON.stringify(rest)).slice(1)}`;
}

/** For texts in which the kubelet would look for variables. */
const escapeDollars = (text: string): string => text.replaceAll("$", "$$$$");
