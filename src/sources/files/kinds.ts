/**
 * Which of Kubernetes' built-in kinds a folder may hold that mean nothing to the mesh, and which of them make pods.
 */

/** Groups of which no kind means anything to traffic here: they may stand in a folder and are passed over without a word. */
const PASSED_GROUPS: ReadonlySet<string> = new Set([
  "rbac.authorization.k8s.io",
  "networking.k8s.io",
  "policy",
  "autoscaling",
  "storage.k8s.io",
  "apiextensions.k8s.io",
  "apiregistration.k8s.io",
  "admissionregistration.k8s.io",
  "scheduling.k8s.io",
  "coordination.k8s.io",
  "node.k8s.io",
  "certificates.k8s.io",
  "flowcontrol.apiserver.k8s.io",
  "events.k8s.io",
  "kustomize.config.k8s.io",
]);

const PASSED: Readonly<Record<string, readonly string[]>> = {
  "": [
    "ConfigMap",
    "Secret",
    "ServiceAccount",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "LimitRange",
    "ResourceQuota",
    "Event",
    "Endpoints",
    "Node",
    "Binding",
    "PodTemplate",
    "ComponentStatus",
  ],
  apps: ["ControllerRevision"],
};

export const isPassedOver = (group: string, kind: string): boolean =>
  PASSED_GROUPS.has(group) || (Object.hasOwn(PASSED, group) && (PASSED[group]?.includes(kind) ?? false));

const CONTROLLERS = {
  Pod: "",
  ReplicationController: "",
  Deployment: "apps",
  ReplicaSet: "apps",
  StatefulSet: "apps",
  DaemonSet: "apps",
  Job: "batch",
  CronJob: "batch",
} as const;

export type Controller = keyof typeof CONTROLLERS;

/** The kind if objects of it make pods, a bare Pod being one of its own. */
export function controllerOf(group: string, version: string, kind: string): Controller | undefined {
  return Object.hasOwn(CONTROLLERS, kind) && CONTROLLERS[kind as Controller] === group && version === "v1"
    ? (kind as Controller)
    : undefined;
}
