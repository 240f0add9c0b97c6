/**
 * Kubernetes' own kinds (Namespace, Service, Pod, EndpointSlice) → the world. Reads only what the mesh asks of them;
 * other fields are Kubernetes' business and pass unseen.
 */
import {
  ANNOTATION_INJECTION,
  ANNOTATION_INBOUND_PORTS,
  ANNOTATION_METRICS,
  LABEL_CONTROL_PLANE,
  LABEL_IGNORE,
  LABEL_MONITORED_BY,
  LABEL_PROXY_UUID,
  parseToggle,
  PROXY_UUID_OF_POD,
} from "../world/injection.ts";
import { identity, podName, serviceName } from "../world/names.ts";
import type { ContainerPort, Endpoint, EndpointSlice, Namespace, Pod, Service, ServicePort } from "../world/types.ts";
import type { Place } from "./kinds.ts";
import { LIMITS } from "./limits.ts";
import { isRaw, type Raw } from "../lib/json.ts";
import { at, isName, type Reader } from "./reader.ts";

const PROTOCOLS = ["TCP", "UDP", "SCTP"] as const;
const LABEL_SERVICE = "kubernetes.io/service-name";
/** Kubernetes' own namespaces never get sidecars. */
const SYSTEM_NAMESPACES: readonly string[] = ["kube-system", "kube-public"];

/** Kubernetes drops null fields, so null is absent in its own kinds. */
const given = (value: unknown): boolean => value !== undefined && value !== null;

function labelsOf(reader: Reader, object: Raw, key: "labels" | "annotations"): Record<string, string> {
  const metadata = isRaw(object["metadata"]) ? object["metadata"] : {};
  if (!given(metadata[key])) return {};
  return reader.strings(metadata[key], `metadata.${key}`, "it is not seen") ?? {};
}

export function namespace(reader: Reader, object: Raw, place: Place): Namespace {
  const labels = labelsOf(reader, object, "labels");
  const annotations = labelsOf(reader, object, "annotations");
  const toggle = (key: string) => {
    const value = annotations[key];
    const on = parseToggle(value);
    if (value !== undefined && on === undefined) {
      reader.wrong(value, at("metadata.annotations", key), "enabled or disabled", "it counts as disabled");
    }
    return on ?? false;
  };
  const by = labels[LABEL_MONITORED_BY];
  const wanted =
    (place.mesh === undefined ? Boolean(by) : by === place.mesh) &&
    labels[LABEL_IGNORE] === undefined &&
    !SYSTEM_NAMESPACES.includes(place.name);
  const apart = labels[LABEL_CONTROL_PLANE];
  if (wanted && apart !== undefined) {
    const path = at("metadata.labels", LABEL_CONTROL_PLANE);
    const message = `${path} is set, and no pod of such a namespace gets a sidecar, so the namespace is not in the mesh; remove the label.`;
    reader.report("bad-field", path, message);
  }
  const monitored = wanted && apart === undefined;
  const metadata = isRaw(object["metadata"]) ? object["metadata"] : {};
  return {
    name: place.name,
    monitored,
    inject: toggle(ANNOTATION_INJECTION),
    metrics: toggle(ANNOTATION_METRICS),
    ...(given(metadata["deletionTimestamp"]) ? { terminating: true } : {}),
  };
}

export function service(reader: Reader, object: Raw, place: Place): Service | undefined {
  const nothing = "this Service is not in the mesh";
  if (!given(object["spec"])) return reader.missing("spec", nothing);
  const spec = reader.map(object["spec"], "spec", nothing);
  if (!spec) return undefined;
  // A selector that lost a label would select more pods, so a faulty one selects none.
  const before = reader.problems.length;
  let selector = given(spec["selector"])
    ? reader.strings(spec["selector"], "spec.selector", "this Service selects no pod")
    : undefined;
  if (reader.problems.length > before || (selector && Object.keys(selector).length === 0)) selector = undefined;

  const external = spec["type"] === "ExternalName";
  const externalName = external
    ? reader.string(spec["externalName"], "spec.externalName", nothing, LIMITS.name)
    : undefined;
  if (external && externalName === undefined) return undefined;
  const addresses = given(spec["clusterIPs"])
    ? (reader.list(spec["clusterIPs"], "spec.clusterIPs", "the Service has no virtual IP", LIMITS.addresses) ?? [])
    : given(spec["clusterIP"]) && spec["clusterIP"] !== ""
      ? [spec["clusterIP"]]
      : [];
  const headless = addresses[0] === "None";
  const clusterIPs =
    headless || external
      ? []
      : addresses.flatMap((ip, i) => {
          if (typeof ip === "string" && isAddress(ip)) return [ip];
          const path = given(spec["clusterIPs"]) ? at("spec.clusterIPs", i) : "spec.clusterIP";
          return reader.wrong(ip, path, "an IP address or None", "the Service is not reached by it") ?? [];
        });

  const list = given(spec["ports"]) ? (reader.list(spec["ports"], "spec.ports", nothing, LIMITS.ports) ?? []) : [];
  const ports = list.flatMap((entry, i) => servicePort(reader, entry, at("spec.ports", i)) ?? []);
  return {
    name: serviceName(place.namespace, place.name),
    clusterIPs,
    headless,
    ...(externalName === undefined ? {} : { externalName }),
    ...(selector ? { selector } : {}),
    ports,
  };
}

function servicePort(reader: Reader, entry: unknown, path: string): ServicePort | undefined {
  const then = "this port is not in the mesh";
  const raw = reader.map(entry, path, then);
  if (!raw) return undefined;
  if (!given(raw["port"])) return reader.missing(at(path, "port"), then);
  const port = reader.port(raw["port"], at(path, "port"), then);
  const name = given(raw["name"]) ? reader.string(raw["name"], at(path, "name"), then, LIMITS.name) : "";
  const protocol = given(raw["protocol"])
    ? reader.oneOf(raw["protocol"], at(path, "protocol"), PROTOCOLS, then)
    : "TCP";
  const appProtocol = given(raw["appProtocol"])
    ? reader.string(raw["appProtocol"], at(path, "appProtocol"), then, LIMITS.name)
    : "";
  const target =
    given(raw["targetPort"]) && raw["targetPort"] !== 0 && raw["targetPort"] !== "" ? raw["targetPort"] : port;
  if (target === undefined) return undefined;
  const targetPort =
    typeof target === "string"
      ? reader.string(target, at(path, "targetPort"), then, LIMITS.name)
      : reader.port(target, at(path, "targetPort"), then);
  if (
    port === undefined ||
    name === undefined ||
    protocol === undefined ||
    appProtocol === undefined ||
    targetPort === undefined
  )
    return undefined;
  return { name, port, targetPort, protocol, ...(appProtocol ? { appProtocol } : {}) };
}

export function pod(reader: Reader, object: Raw, place: Place): Pod | undefined {
  const nothing = "this pod is not in the mesh";
  if (!given(object["spec"])) return reader.missing("spec", nothing);
  const spec = reader.map(object["spec"], "spec", nothing);
  if (!spec) return undefined;
  // A pod must never get an identity that it does not have: what is not a name is not "default".
  const account =
    given(spec["serviceAccountName"]) && spec["serviceAccountName"] !== "" ? spec["serviceAccountName"] : "default";
  if (typeof account !== "string" || !isName(account))
    return reader.wrong(account, "spec.serviceAccountName", "the name of a ServiceAccount", nothing);
  const labels = labelsOf(reader, object, "labels");
  const annotations = labelsOf(reader, object, "annotations");
  const subdomain = given(spec["subdomain"])
    ? reader.string(spec["subdomain"], "spec.subdomain", "the pod has no name of its own", LIMITS.name)
    : "";
  const hostname = given(spec["hostname"])
    ? reader.string(spec["hostname"], "spec.hostname", "the pod has no name of its own", LIMITS.name)
    : "";
  const { [LABEL_PROXY_UUID]: uuid, ...shared } = labels;
  // No pod with a list that cannot be read has got a sidecar; what counts is what a port may be.
  const excluded = (annotations[ANNOTATION_INBOUND_PORTS] ?? "").split(",").map(Number);
  const past = [...new Set(excluded)].filter((p) => Number.isInteger(p) && p > 0 && p < 65_536).sort((a, b) => a - b);
  // Labels that Kubernetes gives to each pod of a StatefulSet or indexed Job alone would make every pod a workload of its own;
  // they are kept all the same: a Service may select by them.
  const workload = place.intern({
    identity: identity(place.namespace, account),
    labels: shared,
    ports: containerPorts(reader, spec),
    meshed: uuid !== undefined && uuid !== "",
    metrics: parseToggle(annotations["prometheus.io/scrape"]) ?? false,
    ...(past.length > 0 ? { past } : {}),
    ...(subdomain ? { subdomain } : {}),
  });
  const metadata = isRaw(object["metadata"]) ? object["metadata"] : {};
  const status = given(object["status"])
    ? (reader.map(object["status"], "status", "the pod counts as not ready") ?? {})
    : {};
  // A pod that has ended keeps its IP in its status while another pod may have it already.
  const ended = status["phase"] === "Succeeded" || status["phase"] === "Failed";
  return {
    name: podName(place.namespace, place.name),
    proxyId: uuid && uuid !== PROXY_UUID_OF_POD ? uuid : place.uid,
    ips: ended ? [] : podIps(reader, status),
    workload,
    ...(hostname ? { hostname } : {}),
    ready: !ended && isReady(reader, status),
    terminating: given(metadata["deletionTimestamp"]),
  };
}

function containerPorts(reader: Reader, spec: Raw): ContainerPort[] {
  const ports: ContainerPort[] = [];
  for (const field of ["initContainers", "containers"]) {
    if (!given(spec[field])) continue;
    const then = "its ports are not seen";
    for (const [i, entry] of (reader.list(spec[field], at("spec", field), then, LIMITS.containers) ?? []).entries()) {
      const where = at(at("spec", field), i);
      const container = reader.map(entry, where, then);
      // Of init containers only the native sidecars are there when the pod serves.
      if (
        !container ||
        !given(container["ports"]) ||
        (field === "initContainers" && container["restartPolicy"] !== "Always")
      )
        continue;
      for (const [j, port] of (
        reader.list(container["ports"], at(where, "ports"), then, LIMITS.ports) ?? []
      ).entries()) {
        const read = containerPort(reader, port, at(at(where, "ports"), j));
        if (read) ports.push(read);
      }
    }
  }
  return ports;
}

/** One entry of a container's `ports`, also where a folder's pods are made from. */
export function containerPort(reader: Reader, entry: unknown, path: string): ContainerPort | undefined {
  const then = "this port is not seen";
  const raw = reader.map(entry, path, then);
  if (!raw) return undefined;
  if (!given(raw["containerPort"])) return reader.missing(at(path, "containerPort"), then);
  const port = reader.port(raw["containerPort"], at(path, "containerPort"), then);
  const name = given(raw["name"]) ? reader.string(raw["name"], at(path, "name"), then, LIMITS.name) : "";
  const protocol = given(raw["protocol"])
    ? reader.oneOf(raw["protocol"], at(path, "protocol"), PROTOCOLS, then)
    : "TCP";
  return port === undefined || name === undefined || protocol === undefined ? undefined : { name, port, protocol };
}

function podIps(reader: Reader, status: Raw): string[] {
  const then = "the pod is not reached by it";
  if (!given(status["podIPs"])) {
    const ip = status["podIP"];
    if (!given(ip) || ip === "") return [];
    if (typeof ip === "string" && isAddress(ip)) return [ip];
    return reader.wrong(ip, "status.podIP", "an IP address", then) ?? [];
  }
  return (reader.list(status["podIPs"], "status.podIPs", then, LIMITS.addresses) ?? []).flatMap((entry, i) => {
    const ip = isRaw(entry) ? entry["ip"] : entry;
    if (isRaw(entry) && typeof ip === "string" && isAddress(ip)) return [ip];
    return reader.wrong(ip, at("status.podIPs", i), "an IP address", then) ?? [];
  });
}

function isReady(reader: Reader, status: Raw): boolean {
  if (!given(status["conditions"])) return false;
  const list =
    reader.list(status["conditions"], "status.conditions", "the pod counts as not ready", LIMITS.entries) ?? [];
  return list.some((condition) => isRaw(condition) && condition["type"] === "Ready" && condition["status"] === "True");
}

export function endpointSlice(reader: Reader, object: Raw, place: Place): EndpointSlice | undefined {
  const nothing = "its endpoints are not used";
  const of = labelsOf(reader, object, "labels")[LABEL_SERVICE];
  if (of === undefined) {
    const path = at("metadata.labels", LABEL_SERVICE);
    return reader.report(
      "missing-field",
      path,
      `${path} is missing, so ${nothing}; name the Service there that they belong to.`,
      "hint",
    );
  }
  if (!isName(of)) return reader.wrong(of, at("metadata.labels", LABEL_SERVICE), "the name of a Service", nothing);
  if (object["addressType"] === "FQDN") return reader.wrong("FQDN", "addressType", "IPv4 or IPv6", nothing);
  const ports = (
    given(object["ports"]) ? (reader.list(object["ports"], "ports", nothing, LIMITS.ports) ?? []) : []
  ).flatMap((entry, i) => {
    const path = at("ports", i);
    const raw = reader.map(entry, path, "this port is not used");
    if (!raw) return [];
    const port = reader.port(raw["port"], at(path, "port"), "this port is not used");
    const name = given(raw["name"])
      ? reader.string(raw["name"], at(path, "name"), "this port is not used", LIMITS.name)
      : "";
    return port === undefined || name === undefined ? [] : [{ name, port }];
  });
  const endpoints = (
    given(object["endpoints"]) ? (reader.list(object["endpoints"], "endpoints", nothing, LIMITS.endpoints) ?? []) : []
  ).flatMap((entry, i) => endpoint(reader, entry, at("endpoints", i), place.namespace) ?? []);
  return { namespace: place.namespace, name: place.name, service: serviceName(place.namespace, of), ports, endpoints };
}

/** Kubernetes: consumers use the first of an endpoint's addresses; ready unless said otherwise. */
function endpoint(reader: Reader, entry: unknown, path: string, namespace: string): Endpoint | undefined {
  const then = "this endpoint is not used";
  const raw = reader.map(entry, path, then);
  const addresses = raw && reader.list(raw["addresses"], at(path, "addresses"), then, LIMITS.addresses);
  if (!raw || !addresses) return undefined;
  const [ip] = addresses;
  if (typeof ip !== "string" || !isAddress(ip))
    return reader.wrong(ip, at(at(path, "addresses"), 0), "an IP address", then);
  const conditions = given(raw["conditions"]) ? reader.map(raw["conditions"], at(path, "conditions"), then) : {};
  if (!conditions) return undefined;
  const target = isRaw(raw["targetRef"]) ? raw["targetRef"] : {};
  const hostname = given(raw["hostname"])
    ? reader.string(raw["hostname"], at(path, "hostname"), "the endpoint has no name of its own", LIMITS.name)
    : "";
  const name =
    target["kind"] === "Pod" && typeof target["name"] === "string" && isName(target["name"])
      ? target["name"]
      : undefined;
  const ready = (conditions["ready"] ?? true) === true && conditions["terminating"] !== true;
  return { ip, ...(name ? { pod: podName(namespace, name) } : {}), ...(hostname ? { hostname } : {}), ready };
}

/** IPv4, or what can only be IPv6; without a zone. */
export function isAddress(text: string): boolean {
  if (/^(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/.test(text)) return true;
  return text.length <= 45 && text.includes(":") && URL.canParse(`http://[${text}]/`);
}
