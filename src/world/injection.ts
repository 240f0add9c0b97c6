/**
 * Which pods get a sidecar: OSM's labels and annotations, read in one place by admission and by local pods alike.
 */
import type { Namespace } from "./types.ts";

export const LABEL_MONITORED_BY = "openservicemesh.io/monitored-by";
/** Namespaces with this label are never members, as OSM had it: the webhook is not called for them, so that they can start without it. */
export const LABEL_CONTROL_PLANE = "control-plane";
export const LABEL_IGNORE = "openservicemesh.io/ignore";
/** Set on each pod that has a sidecar: the proxy's id. */
export const LABEL_PROXY_UUID = "osm-proxy-uuid";
/** Value of that label in a template, whose pods would otherwise share one id: the proxy's id is then its pod's uid. */
export const PROXY_UUID_OF_POD = "pod-uid";
export const ANNOTATION_INJECTION = "openservicemesh.io/sidecar-injection";
export const ANNOTATION_INBOUND_PORTS = "openservicemesh.io/inbound-port-exclusion-list";
export const ANNOTATION_METRICS = "openservicemesh.io/metrics";

/** `enabled|yes|true` → true, `disabled|no|false` → false, absent or anything else → undefined. */
export function parseToggle(value: string | undefined): boolean | undefined {
  switch (value?.trim().toLowerCase()) {
    case "enabled":
    case "yes":
    case "true":
      return true;
    case "disabled":
    case "no":
    case "false":
      return false;
    default:
      return undefined;
  }
}

/**
 * Whether a pod gets a sidecar: never with `hostNetwork`; its own annotation decides, else its namespace's
 * (OSM's `mustInject`: a pod's `true` wins over its namespace's `false`).
 */
export function mustInject(
  namespace: Namespace,
  pod: { readonly annotations: Readonly<Record<string, string>>; readonly hostNetwork: boolean },
): boolean {
  if (!namespace.monitored || pod.hostNetwork) return false;
  return parseToggle(pod.annotations[ANNOTATION_INJECTION]) ?? namespace.inject;
}
