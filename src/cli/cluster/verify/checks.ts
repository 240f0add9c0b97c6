/**
 * The steps of verifications: each looks at one thing in the cluster and says what it found, in OSM's words. Pure.
 */
import { LABEL_IGNORE, LABEL_MONITORED_BY } from "../../../world/injection.ts";
import {
  hasSidecar,
  labelOf,
  fullName,
  listAt,
  mapAt,
  notReady,
  stringAt,
  waitingReasons,
  type Raw,
} from "../objects.ts";
import { failure, success, unknown, type Result } from "./result.ts";

const quoted = (text: string): string => JSON.stringify(text);

/** Whether a namespace is in the mesh. */
export function namespaceMonitored(name: string, namespace: Raw | undefined, mesh: string): Result {
  const context = `Verify if namespace ${quoted(name)} is monitored`;
  if (!namespace)
    return failure(
      context,
      `Error fetching namespace ${quoted(name)}: there is none`,
      `Confirm namespace ${quoted(name)} exists`,
    );
  if (labelOf(namespace, LABEL_IGNORE) !== undefined)
    return failure(
      context,
      `Namespace ${quoted(name)} has label ${quoted(LABEL_IGNORE)}`,
      `Remove it: kubectl label namespace ${name} ${LABEL_IGNORE}-`,
    );
  const monitored = labelOf(namespace, LABEL_MONITORED_BY);
  if (monitored === undefined)
    return failure(
      context,
      `Missing label ${quoted(LABEL_MONITORED_BY)} on namespace ${quoted(name)}`,
      `Add label ${quoted(LABEL_MONITORED_BY)} on namespace ${quoted(name)} to include it in the mesh and restart the app: heddle namespace add ${name} --mesh-name ${mesh}`,
    );
  if (monitored !== mesh)
    return failure(
      context,
      `Expected label ${quoted(LABEL_MONITORED_BY)} to have value ${quoted(mesh)}, got ${quoted(monitored)}`,
      `Give the mesh that is meant: --mesh-name ${monitored}`,
    );
  return success(context);
}

/** Whether a pod has a sidecar, or has none. */
export function sidecar(name: string, pod: Raw | undefined, wanted: "present" | "absent" = "present"): Result {
  const context =
    wanted === "present"
      ? `Verify Envoy sidecar on pod ${quoted(name)}`
      : `Verify absence of Envoy sidecar on pod ${quoted(name)}`;
  if (!pod) return failure(context, `pod ${quoted(name)} not found`, `Confirm pod ${quoted(name)} exists`);
  if (wanted === "absent")
    return hasSidecar(pod)
      ? failure(
          context,
          `Found Envoy sidecar on pod ${quoted(name)}`,
          `Ensure pod ${quoted(name)} has sidecar injection disabled`,
        )
      : success(context);
  if (!hasSidecar(pod))
    return failure(
      context,
      `Did not find Envoy sidecar on pod ${quoted(name)}`,
      `Ensure pod ${quoted(name)} has sidecar injection enabled, and restart its workload`,
    );
  return success(context);
}

/** Whether a pod is ready, sidecar included. */
export function podReady(name: string, pod: Raw | undefined): Result {
  const context = `Verify status of pod ${quoted(name)}`;
  const lacks = pod && notReady(pod);
  if (!pod || lacks === undefined) return success(context);
  const [namespace, own] = name.split("/");
  return failure(
    context,
    `Pod not ready: ${[lacks, ...waitingReasons(pod)].join("; ")}`,
    `See why: kubectl describe pod ${own} -n ${namespace}`,
  );
}

/** Whether pods of an app of the control plane are there and ready. */
export function appReady(namespace: string, app: string, pods: readonly Raw[]): Result {
  const context = `Verify status of pod for app ${namespace}/${app}`;
  if (pods.length === 0)
    return failure(
      context,
      `No pods found for app ${namespace}/${app}`,
      `See what there is: kubectl get deployments,pods -n ${namespace}`,
    );
  const reasons = pods.flatMap((pod) => {
    const lacks = notReady(pod);
    return lacks === undefined ? [] : [[`${fullName(pod)} ${lacks}`, ...waitingReasons(pod)].join("; ")];
  });
  return reasons.length === 0
    ? success(context)
    : failure(
        context,
        `Pod not ready: ${reasons.join(", ")}`,
        `See why: kubectl describe pods -n ${namespace} -l app=${app}`,
      );
}

/** Whether a Service selects a pod. */
export function serviceSelects(name: string, service: Raw | undefined, pod: Raw | undefined): Result {
  const context = `Verify if service ${quoted(name)} selects the destination pod`;
  if (!service) return failure(context, `service ${quoted(name)} not found`, `Confirm service ${quoted(name)} exists`);
  const selector = Object.entries(mapAt(service, "spec", "selector"));
  if (selector.length === 0)
    return failure(
      context,
      `service ${quoted(name)} has no selector`,
      `Give service ${quoted(name)} a selector that matches the pod`,
    );
  const missing = selector.filter(([key, value]) => pod !== undefined && labelOf(pod, key) !== value);
  return missing.length === 0
    ? success(context)
    : failure(
        context,
        `The pod lacks ${missing.map(([key, value]) => `${key}=${String(value)}`).join(", ")}`,
        `Make the labels of the pod and the selector of service ${quoted(name)} agree`,
      );
}

export interface IngressExpectation {
  readonly name: string;
  readonly ingressService: { readonly namespace: string; readonly name: string };
  readonly backendService: string;
  readonly port: number;
  readonly protocol: string;
}

/** Whether an IngressBackend lets the ingress in, by what it says and by what the control plane says of it. */
export function ingressBackend(backend: Raw | undefined, expected: IngressExpectation): Result {
  const { name, ingressService, backendService, port, protocol } = expected;
  const context = `Verify IngressBackend ${quoted(name)} for backend ${quoted(backendService)}`;
  if (!backend)
    return failure(
      context,
      `IngressBackend ${quoted(name)} not found`,
      `Create IngressBackend ${quoted(name)} in the backend's namespace`,
    );
  const entry = listAt(backend, "spec", "backends").find((one) => stringAt(one, "name") === backendService);
  if (!entry)
    return failure(
      context,
      `IngressBackend ${quoted(name)} does not name backend ${quoted(backendService)}`,
      `Add ${quoted(backendService)} to its spec.backends`,
    );
  const found = mapAt(entry, "port");
  if (found["number"] !== port || stringAt(found, "protocol") !== protocol)
    return failure(
      context,
      `Backend ${quoted(backendService)} has port ${String(found["number"])} and protocol ${quoted(stringAt(found, "protocol"))}, not ${port} and ${quoted(protocol)}`,
      "Correct --to-port and --app-protocol, or the backend's port: its number is the pod's port, not the Service's",
    );
  const { namespace, name: service } = ingressService;
  const source = listAt(backend, "spec", "sources").some(
    (one) =>
      stringAt(one, "kind") === "Service" &&
      stringAt(one, "name") === service &&
      stringAt(one, "namespace") === namespace,
  );
  if (!source)
    return failure(
      context,
      `IngressBackend ${quoted(name)} does not have ${quoted(`${namespace}/${service}`)} among its sources`,
      `Add to its spec.sources: kind Service, name ${service}, namespace ${namespace}`,
    );
  const accepted = listAt(backend, "status", "conditions").find((one) => stringAt(one, "type") === "Accepted");
  if (!accepted)
    return unknown(
      context,
      `The control plane has not said yet whether it honours IngressBackend ${quoted(name)}`,
      "Run heddle verify control-plane-health, then this again",
    );
  return stringAt(accepted, "status") === "True"
    ? success(context)
    : failure(
        context,
        `IngressBackend ${quoted(name)} is not honoured: ${stringAt(accepted, "message")}`,
        "Until it is, calls from outside of the mesh are refused: see docs/differences-from-osm.md, number 6",
      );
}
