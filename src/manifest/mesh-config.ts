/**
 * OSM's MeshConfig (v1alpha1 to v1alpha3) → Settings. One table says of every field what becomes of it.
 */
import { isInterface, isIPRange } from "../world/interception.ts";
import { DEFAULT_SETTINGS, type Settings, type SidecarSettings } from "../world/types.ts";
import { LIMITS } from "./limits.ts";
import { goDuration } from "./quantity.ts";
import { isRaw, type Raw } from "../lib/json.ts";
import { at, type Reader } from "./reader.ts";

type Type =
  | "boolean"
  | "integer"
  | "port"
  | "string"
  | "duration"
  | "strings"
  | "ranges"
  | "interfaces"
  | "ports"
  | "level"
  | "mode"
  | "map";

/** What becomes of a field: it is used, it waits for the part that will use it, or it has no meaning here. */
export interface MeshConfigField {
  readonly type: Type;
  readonly becomes: "used" | "later" | "none";
  /** One clause: where it is used, or why not. */
  readonly why: string;
  /** Of a field that is not used: values that ask for nothing. Any other one is a Problem. */
  readonly harmless?: (value: unknown) => boolean;
  /** Of that Problem; an error when absent. */
  readonly severity?: "hint";
}

const field = (type: Type, becomes: MeshConfigField["becomes"], why: string): MeshConfigField => ({
  type,
  becomes,
  why,
});
const later = (type: Type, harmless?: MeshConfigField["harmless"]): MeshConfigField => ({
  ...field(type, "later", "OSM's policies and injection options come after SMI"),
  ...(harmless ? { harmless } : {}),
});
const off = (value: unknown): boolean => value === false || value === 0;
const none = (value: unknown): boolean => Array.isArray(value) && value.length === 0;
const empty = (value: unknown): boolean => isRaw(value) && Object.keys(value).length === 0;
/** Objects of a kind that is not served yet say so themselves, and OSM had this on by default: no mistake, but told. */
const unserved = (kind: string): MeshConfigField => ({
  ...field("boolean", "later", `${kind} objects are not served yet, and open nothing`),
  harmless: off,
  severity: "hint",
});
const injected = (type: Type) => field(type, "used", "what the injector gives to new pods");
const image = field("string", "none", "the sidecar's image is the chart's business, and must match this version");

/** Every field of OSM's MeshConfig, by its path below `spec`. A field that is not here is a Problem. */
export const MESH_CONFIG_FIELDS: Readonly<Record<string, MeshConfigField>> = {
  "sidecar.logLevel": field("level", "used", "log level of the sidecars"),
  "sidecar.enablePrivilegedInitContainer": injected("boolean"),
  "sidecar.envoyImage": image,
  "sidecar.envoyWindowsImage": image,
  "sidecar.initContainerImage": image,
  "sidecar.maxDataPlaneConnections": later("integer", off),
  "sidecar.configResyncInterval": field(
    "duration",
    "none",
    "configuration is pushed when it changes, so nothing is there to be resynchronised",
  ),
  "sidecar.resources": injected("map"),
  // Sidecars speak 1.2 and 1.3.
  "sidecar.tlsMinProtocolVersion": later("string", (value) => value !== "TLSv1_3"),
  "sidecar.tlsMaxProtocolVersion": later("string", (value) => value === "TLSv1_3" || value === "TLS_AUTO"),
  "sidecar.cipherSuites": later("strings", none),
  "sidecar.ecdhCurves": later("strings", none),
  "sidecar.localProxyMode": injected("mode"),
  "traffic.enablePermissiveTrafficPolicyMode": field("boolean", "used", "everything in the mesh may call everything"),
  "traffic.enableEgress": field("boolean", "used", "traffic to what the mesh does not know leaves in plain text"),
  "traffic.outboundIPRangeExclusionList": injected("ranges"),
  "traffic.outboundIPRangeInclusionList": injected("ranges"),
  "traffic.outboundPortExclusionList": injected("ports"),
  "traffic.inboundPortExclusionList": injected("ports"),
  "traffic.networkInterfaceExclusionList": injected("interfaces"),
  "traffic.inboundExternalAuthorization.enable": later("boolean", off),
  "traffic.inboundExternalAuthorization.address": later("string"),
  "traffic.inboundExternalAuthorization.port": later("port"),
  "traffic.inboundExternalAuthorization.statPrefix": later("string"),
  "traffic.inboundExternalAuthorization.timeout": later("duration"),
  "traffic.inboundExternalAuthorization.failureModeAllow": later("boolean"),
  "observability.osmLogLevel": later("string"),
  "observability.enableDebugServer": field("boolean", "none", "the debug pages are always there, on loopback"),
  "observability.tracing.enable": later("boolean", off),
  "observability.tracing.port": later("port"),
  "observability.tracing.address": later("string"),
  "observability.tracing.endpoint": later("string"),
  "observability.remoteLogging.enable": later("boolean", off),
  // OSM's own file has these lists under `observability`, where no version of OSM read them.
  "observability.outboundPortExclusionList": field("ports", "none", "OSM never read it here: it belongs under traffic"),
  "observability.inboundPortExclusionList": field("ports", "none", "OSM never read it here: it belongs under traffic"),
  "observability.outboundIPRangeExclusionList": field(
    "strings",
    "none",
    "OSM never read it here: it belongs under traffic",
  ),
  "certificate.serviceCertValidityDuration": field("duration", "used", "validity of sidecars' certificates"),
  "certificate.certKeyBitSize": field("integer", "none", "keys are P-256"),
  "certificate.ingressGateway": later("map", empty),
  "featureFlags.enableWASMStats": field("boolean", "none", "there is no WASM filter"),
  "featureFlags.enableEgressPolicy": unserved("Egress"),
  "featureFlags.enableMulticlusterMode": later("boolean", off),
  "featureFlags.enableSnapshotCacheMode": field("boolean", "none", "there is one mode"),
  "featureFlags.enableAsyncProxyServiceMapping": field("boolean", "none", "there is one mode"),
  "featureFlags.enableIngressBackendPolicy": unserved("IngressBackend"),
  "featureFlags.enableEnvoyActiveHealthChecks": later("boolean", off),
  "featureFlags.enableRetryPolicy": later("boolean", off),
  "featureFlags.enableMeshRootCertificate": later("boolean", off),
};

const LEVELS = ["trace", "debug", "info", "warning", "warn", "error", "critical", "off"] as const;
const PATHS = Object.keys(MESH_CONFIG_FIELDS);

/** A field that cannot be read keeps its default, and the defaults open nothing. */
export function meshConfig(reader: Reader, object: Raw): Settings {
  reader.unknown(object, "", ["apiVersion", "kind", "metadata", "status", "spec"], "it is not read", "hint");
  const values = new Map<string, unknown>();
  const spec =
    object["spec"] === undefined ? undefined : reader.map(object["spec"], "spec", "every setting has its default");
  if (spec) walk(reader, spec, "", values);
  const get = <T>(path: string, fallback: T): T => (values.has(path) ? (values.get(path) as T) : fallback);
  return {
    permissive: get("traffic.enablePermissiveTrafficPolicyMode", DEFAULT_SETTINGS.permissive),
    egress: get("traffic.enableEgress", DEFAULT_SETTINGS.egress),
    trustDomain: DEFAULT_SETTINGS.trustDomain,
    certificateValidity: get("certificate.serviceCertValidityDuration", DEFAULT_SETTINGS.certificateValidity),
    envoyLogLevel: get("sidecar.logLevel", DEFAULT_SETTINGS.envoyLogLevel),
    sidecar: sidecarSettings(get),
  };
}

function sidecarSettings(get: <T>(path: string, fallback: T) => T): SidecarSettings {
  const fallback = DEFAULT_SETTINGS.sidecar;
  const resources = get<SidecarSettings["resources"]>("sidecar.resources", undefined);
  return {
    ...(resources === undefined ? {} : { resources }),
    privilegedInit: get("sidecar.enablePrivilegedInitContainer", fallback.privilegedInit),
    localProxyMode: get("sidecar.localProxyMode", fallback.localProxyMode),
    inboundPortExclusions: get("traffic.inboundPortExclusionList", fallback.inboundPortExclusions),
    outboundPortExclusions: get("traffic.outboundPortExclusionList", fallback.outboundPortExclusions),
    outboundIPRangeExclusions: get("traffic.outboundIPRangeExclusionList", fallback.outboundIPRangeExclusions),
    outboundIPRangeInclusions: get("traffic.outboundIPRangeInclusionList", fallback.outboundIPRangeInclusions),
    interfaceExclusions: get("traffic.networkInterfaceExclusionList", fallback.interfaceExclusions),
  };
}

function walk(reader: Reader, raw: Raw, base: string, values: Map<string, unknown>): void {
  const below = PATHS.filter((path) => base === "" || path.startsWith(`${base}.`));
  const known = [...new Set(below.map((path) => path.slice(base === "" ? 0 : base.length + 1).split(".")[0] ?? ""))];
  reader.unknown(raw, base === "" ? "spec" : `spec.${base}`, known, "it is not read", "hint");
  for (const key of known) {
    const value = raw[key];
    if (value === undefined || value === null) continue;
    const path = base === "" ? key : `${base}.${key}`;
    const entry = MESH_CONFIG_FIELDS[path];
    if (entry) {
      const read = readField(reader, value, entry.type, `spec.${path}`);
      if (read !== undefined) values.set(path, read);
      if (read !== undefined && entry.harmless?.(read) === false)
        reader.report(
          "without-effect",
          `spec.${path}`,
          `spec.${path} has no effect in this version: ${entry.why}. Nothing enforces what it asks for; remove it, or see to it otherwise.`,
          entry.severity,
        );
    } else {
      const group = reader.map(value, `spec.${path}`, "its settings have their defaults");
      if (group) walk(reader, group, path, values);
    }
  }
}

function readField(reader: Reader, value: unknown, type: Type, path: string): unknown {
  const then = "the default holds";
  switch (type) {
    case "boolean":
      return reader.boolean(value, path, then);
    case "integer":
      return reader.integer(value, path, then);
    case "port":
      return reader.port(value, path, then);
    case "string":
      return reader.string(value, path, then);
    case "map":
      return isRaw(value) ? value : reader.map(value, path, then);
    case "level": {
      const level = reader.oneOf(value, path, LEVELS, then);
      return level === "warn" ? "warning" : level;
    }
    case "mode":
      return reader.oneOf(value, path, ["Localhost", "PodIP"], then);
    case "duration": {
      const seconds = typeof value === "string" ? goDuration(value) : undefined;
      if (path === VALIDITY && !(seconds !== undefined && seconds >= SHORTEST))
        return reader.wrong(value, path, "a duration of 10m or more, such as 24h", `${then} (24h)`);
      return seconds ?? reader.wrong(value, path, "a duration such as 24h", then);
    }
    case "strings":
    case "ranges":
    case "interfaces":
    case "ports": {
      const whole = path === INCLUSION;
      const list = reader.list(value, path, whole ? CAPTURED : then, LIMITS.entries, !whole);
      const read = list?.flatMap((entry, i) => readEntry(reader, entry, type, at(path, i), whole) ?? []);
      return whole && read?.length !== list?.length ? undefined : read;
    }
  }
}

const VALIDITY = "spec.certificate.serviceCertValidityDuration";
/** Seconds. OSM's limit too: what is shorter would be renewed all the time. */
const SHORTEST = 600;
/** What is not in this list goes around the sidecar, so one that lost an entry would open a way: it holds whole or not at all. */
const INCLUSION = "spec.traffic.outboundIPRangeInclusionList";
const CAPTURED = "the whole list is not used and sidecars take all traffic that leaves";

/** The injector refuses every pod over an entry that no rule can hold, so none such gets through here. */
function readEntry(
  reader: Reader,
  entry: unknown,
  type: Type,
  path: string,
  whole: boolean,
): string | number | undefined {
  const then = whole ? CAPTURED : "it is not used";
  if (type === "ports") return reader.port(entry, path, then);
  const text = reader.string(entry, path, then);
  if (text === undefined) return undefined;
  if (type === "ranges" && !isIPRange(text)) return reader.wrong(text, path, "an IP range such as 10.0.0.0/8", then);
  if (type === "interfaces" && !isInterface(text))
    return reader.wrong(text, path, "the name of a network interface (at most 15 characters)", then);
  return text;
}
