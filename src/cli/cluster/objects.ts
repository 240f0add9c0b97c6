/**
 * Reads fields of objects as the API server sends them: what is missing or of another type is "" or empty. Pure.
 */
import { isRaw, type Raw } from "../../lib/json.ts";
import { cut } from "../text.ts";
import { ENVOY_CONTAINER } from "../../injector/settings.ts";
import { ApiError } from "../../sources/kubernetes/errors.ts";
import { LABEL_PROXY_UUID } from "../../world/injection.ts";

export type { Raw };

export const mapAt = (object: unknown, ...path: readonly string[]): Raw => {
  let value: unknown = object;
  for (const key of path) value = isRaw(value) ? value[key] : undefined;
  return isRaw(value) ? value : {};
};
export const listAt = (object: unknown, ...path: readonly string[]): readonly Raw[] => {
  const value = mapAt(object, ...path.slice(0, -1))[path.at(-1) ?? ""];
  return Array.isArray(value) ? value.filter(isRaw) : [];
};
export const stringAt = (object: unknown, ...path: readonly string[]): string => {
  const value = mapAt(object, ...path.slice(0, -1))[path.at(-1) ?? ""];
  return typeof value === "string" ? value : "";
};
export const stringsAt = (object: unknown, ...path: readonly string[]): readonly string[] => {
  const value = mapAt(object, ...path.slice(0, -1))[path.at(-1) ?? ""];
  return Array.isArray(value) ? value.filter((one): one is string => typeof one === "string") : [];
};

export const nameOf = (object: unknown): string => stringAt(object, "metadata", "name");
export const namespaceOf = (object: unknown): string => stringAt(object, "metadata", "namespace");
/** `namespace/name`. */
export const fullName = (object: unknown): string => `${namespaceOf(object)}/${nameOf(object)}`;
export const labelOf = (object: unknown, label: string): string | undefined => textIn(object, "labels", label);
export const annotationOf = (object: unknown, key: string): string | undefined => textIn(object, "annotations", key);

function textIn(object: unknown, where: "labels" | "annotations", key: string): string | undefined {
  const value = mapAt(object, "metadata", where)[key];
  return typeof value === "string" ? value : undefined;
}

/** By name, as kubectl lists. */
export const byName = (objects: readonly Raw[]): Raw[] =>
  [...objects].sort((a, b) => (fullName(a) < fullName(b) ? -1 : 1));

/** Whether a pod is part of a mesh: the injector has labelled it. */
export const isMeshed = (pod: Raw): boolean => labelOf(pod, LABEL_PROXY_UUID) !== undefined;

/** Whether a pod has a sidecar, native or not. */
export const hasSidecar = (pod: Raw): boolean =>
  [...listAt(pod, "spec", "containers"), ...listAt(pod, "spec", "initContainers")].some(
    (container) => container["name"] === ENVOY_CONTAINER,
  );

/** Undefined when the pod is ready, else what it lacks, in OSM's words. */
export function notReady(pod: Raw): string | undefined {
  const conditions = listAt(pod, "status", "conditions");
  const lacks = (type: string) => conditions.some((one) => one["type"] === type && one["status"] !== "True");
  if (lacks("PodScheduled")) return "not scheduled";
  if (lacks("Initialized")) return "init-containers pending completion";
  if (lacks("ContainersReady")) return "containers not ready";
  if (lacks("Ready") || !conditions.some((one) => one["type"] === "Ready")) return "not ready";
  return undefined;
}

/** What a pod's containers wait for; empty when none waits for anything but its turn. */
const waiting = (pod: Raw): { readonly container: string; readonly reason: string; readonly message: string }[] =>
  [...listAt(pod, "status", "initContainerStatuses"), ...listAt(pod, "status", "containerStatuses")].flatMap((one) => {
    const state = mapAt(one, "state", "waiting");
    const reason = stringAt(state, "reason");
    const message = stringAt(state, "message");
    if (reason === "" || reason === "PodInitializing" || reason === "ContainerCreating") return [];
    return [{ container: stringAt(one, "name"), reason, message }];
  });

/** `container app: ImagePullBackOff: …`, a line each. */
export const waitingReasons = (pod: Raw): string[] =>
  waiting(pod).map(
    ({ container, reason, message }) =>
      `container ${container}: ${reason}${message === "" ? "" : `: ${cut(message, 300)}`}`,
  );
/** `ImagePullBackOff`, for a line of progress. */
export const waitingReason = (pod: Raw): string | undefined => waiting(pod)[0]?.reason;

/** `ns/name`; undefined when it is not of that form. */
export function namespacedName(text: string): { readonly namespace: string; readonly name: string } | undefined {
  const [namespace, name, ...rest] = text.split("/");
  return namespace && name && rest.length === 0 ? { namespace, name } : undefined;
}

/** Whether the API server says that whoever asks may not. */
export const isForbidden = (error: unknown): boolean => error instanceof ApiError && error.status === 403;

/** Names of a pod's containers, for whoever asks for their logs. */
export const containersOf = (pod: Raw): string[] =>
  [...listAt(pod, "spec", "initContainers"), ...listAt(pod, "spec", "containers")].map((one) => stringAt(one, "name"));
