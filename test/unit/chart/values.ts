/**
 * Values that the chart's tests render: one set for each way that somebody may want it.
 */

/** A values file as users of OSM 1.2 have them. */
export const OSM_VALUES = {
  osm: {
    image: { registry: "openservicemesh", pullPolicy: "Always", tag: "v1.2.4" },
    imagePullSecrets: [{ name: "registry" }],
    sidecarImage: "envoyproxy/envoy-distroless:v1.22.2",
    osmController: {
      replicaCount: 3,
      resource: { limits: { cpu: "1.5", memory: "1G" }, requests: { cpu: "0.5", memory: "128M" } },
      podLabels: { team: "mesh" },
      enablePodDisruptionBudget: true,
      autoScale: { enable: true, minReplicas: 2, maxReplicas: 7, cpu: { targetAverageUtilization: 60 } },
    },
    injector: { replicaCount: 1, webhookTimeoutSeconds: 20, autoScale: { enable: false } },
    osmBootstrap: { replicaCount: 1 },
    prometheus: { port: 7070, retention: { time: "15d" } },
    certificateProvider: { kind: "tresor", serviceCertValidityDuration: "1h", certKeyBitSize: 2048 },
    vault: { host: "", protocol: "http" },
    caBundleSecretName: "my-ca",
    enablePermissiveTrafficPolicy: true,
    enableEgress: true,
    deployPrometheus: true,
    deployGrafana: false,
    meshName: "shop",
    envoyLogLevel: "debug",
    controllerLogLevel: "trace",
    maxDataPlaneConnections: 500,
    enforceSingleMesh: false,
    webhookConfigNamePrefix: "shop-webhook",
    tracing: { enable: true, address: "jaeger.tracing.svc", port: 9411, endpoint: "/api/v2/spans", image: "jaeger" },
    outboundIPRangeExclusionList: ["10.1.0.0/16"],
    outboundPortExclusionList: [6379],
    featureFlags: {
      enableWASMStats: true,
      enableIngressBackendPolicy: true,
      enableRetryPolicy: true,
      enableMulticlusterMode: false,
    },
    controlPlaneTolerations: [{ key: "control", operator: "Exists" }],
    validatorWebhook: { webhookConfigurationName: "shop-validator" },
  },
  contour: { enabled: false },
  smi: { validateTrafficTarget: true },
} as const;

/** By name, values in our own words and in OSM's. */
export const VARIANTS: Readonly<Record<string, object>> = {
  defaults: {},
  "OSM's values": OSM_VALUES,
  everything: {
    meshName: "all",
    image: { repository: "registry.example/heddle", digest: `sha256:${"a".repeat(64)}`, pullPolicy: "Always" },
    imagePullSecrets: [{ name: "registry" }],
    controller: {
      autoscaling: { enabled: true },
      podLabels: { app: "mine", team: "mesh" },
      nodeSelector: { pool: "a" },
    },
    injector: {
      autoscaling: { enabled: true },
      webhook: { failurePolicy: "Ignore" },
      tolerations: [{ operator: "Exists" }],
    },
    networkPolicy: { enabled: true },
    serviceMonitor: { enabled: true, labels: { release: "prometheus" } },
    prometheusRule: { enabled: true, labels: { release: "prometheus" } },
    crds: { keep: false },
  },
  small: {
    controller: { replicas: 1, priorityClassName: "", affinity: { podAntiAffinity: {} } },
    injector: { replicas: 1, podDisruptionBudget: { enabled: false } },
    validator: { enabled: false },
    crds: { install: false },
    cleanup: { enabled: false },
  },
};
