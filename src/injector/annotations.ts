/**
 * What a pod's annotations say about its own sidecar: OSM's keys, and a few of ours beside them. Decides nothing about other pods.
 */
import { ANNOTATION_INBOUND_PORTS, ANNOTATION_INJECTION, parseToggle } from "../world/injection.ts";
import { isIPRange } from "../world/interception.ts";
import { mapAt, quote } from "./json.ts";
import type { InjectorSettings, Resources } from "./settings.ts";

export const ANNOTATION_OUTBOUND_PORTS = "openservicemesh.io/outbound-port-exclusion-list";
export const ANNOTATION_OUTBOUND_RANGES = "openservicemesh.io/outbound-ip-range-exclusion-list";
export const ANNOTATION_OUTBOUND_ONLY = "openservicemesh.io/outbound-ip-range-inclusion-list";
// OSM had none of the following; the mesh's operator set them for all pods.
export const ANNOTATION_IMAGE = "openservicemesh.io/sidecar-image";
export const ANNOTATION_LOG_LEVEL = "openservicemesh.io/sidecar-log-level";
export const ANNOTATION_DRAIN = "openservicemesh.io/sidecar-drain-seconds";
/** Followed by `cpu-request`, `cpu-limit`, `memory-request` or `memory-limit`. */
export const ANNOTATION_RESOURCE = "openservicemesh.io/sidecar-";

const LOG_LEVELS: readonly string[] = ["trace", "debug", "info", "warning", "warn", "error", "critical", "off"];
const QUANTITY = /^\d+(\.\d+)?(e\d+|[munkMGTPE]|[KMGTPE]i)?$/;
// No white space and nothing that a registry would not take; the kubelet says the rest.
const IMAGE = /^[\w][\w./:@-]{0,500}$/;

/** Annotations that are texts; others are no annotations. */
export function annotationsOf(pod: unknown): Readonly<Record<string, string>> {
  const texts = Object.entries(mapAt(mapAt(pod, "metadata"), "annotations")).filter(
    (entry): entry is [string, string] => typeof entry[1] === "string",
  );
  return Object.fromEntries(texts);
}

/**
 * The settings for one pod: the mesh's, changed by the pod's annotations. What cannot be read is refused in a sentence:
 * a port list with a typing error must not become no list.
 */
export function settingsForPod(
  settings: InjectorSettings,
  annotations: Readonly<Record<string, string>>,
): { readonly settings: InjectorSettings } | { readonly refused: string } {
  const faults: string[] = [];
  const value = (key: string): string | undefined =>
    Object.hasOwn(annotations, key) ? annotations[key]?.trim() : undefined;
  const fault = (key: string, wanted: string): undefined => {
    faults.push(`annotation ${key} is ${quote(annotations[key] ?? "")}; it must be ${wanted}`);
    return undefined;
  };
  const read = <T>(key: string, wanted: string, parse: (text: string) => T | undefined): T | undefined => {
    const text = value(key);
    return text === undefined ? undefined : (parse(text) ?? fault(key, wanted));
  };
  const list = <T>(key: string, wanted: string, parse: (item: string) => T | undefined): readonly T[] =>
    read(key, wanted, (text) => {
      const items = text
        .split(",")
        .map((item) => item.trim())
        .filter(Boolean);
      const parsed = items.map(parse).filter((one): one is NonNullable<typeof one> => one !== undefined);
      return parsed.length === items.length ? parsed : undefined;
    }) ?? [];

  if (value(ANNOTATION_INJECTION) !== undefined && parseToggle(value(ANNOTATION_INJECTION)) === undefined)
    fault(ANNOTATION_INJECTION, "enabled or disabled (or yes, no, true, false)");
  const ports = (key: string) => list(key, "a list of ports such as 6379,7070", port);
  const ranges = (key: string) =>
    list(key, "a list of IP ranges such as 10.0.0.0/8", (item) => (isIPRange(item) ? item : undefined));
  const image = read(ANNOTATION_IMAGE, "the name of an image", (text) => (IMAGE.test(text) ? text : undefined));
  const logLevel = read(ANNOTATION_LOG_LEVEL, `one of ${LOG_LEVELS.join(", ")}`, (text) =>
    LOG_LEVELS.includes(text) ? text : undefined,
  );
  const drain = read(ANNOTATION_DRAIN, "a whole number of seconds from 0 to 3600", (text) =>
    /^\d{1,4}$/.test(text) && Number(text) <= 3600 ? Number(text) : undefined,
  );
  const resources = { requests: { ...settings.resources?.requests }, limits: { ...settings.resources?.limits } };
  for (const resource of ["cpu", "memory"]) {
    for (const [kind, of] of [
      ["request", resources.requests],
      ["limit", resources.limits],
    ] as const) {
      const amount = read(`${ANNOTATION_RESOURCE}${resource}-${kind}`, "a quantity such as 100m or 64Mi", (text) =>
        QUANTITY.test(text) ? text : undefined,
      );
      if (amount !== undefined) of[resource] = amount;
    }
  }
  const merged: InjectorSettings = {
    ...settings,
    inboundPortExclusions: [...settings.inboundPortExclusions, ...ports(ANNOTATION_INBOUND_PORTS)],
    outboundPortExclusions: [...settings.outboundPortExclusions, ...ports(ANNOTATION_OUTBOUND_PORTS)],
    outboundIPRangeExclusions: [...settings.outboundIPRangeExclusions, ...ranges(ANNOTATION_OUTBOUND_RANGES)],
    outboundIPRangeInclusions: [...settings.outboundIPRangeInclusions, ...ranges(ANNOTATION_OUTBOUND_ONLY)],
    ...(image === undefined ? {} : { envoyImage: image }),
    ...(logLevel === undefined ? {} : { logLevel: logLevel === "warn" ? "warning" : logLevel }),
    ...(drain === undefined ? {} : { drainSeconds: drain }),
    resources: withoutEmpty(resources),
  };
  return faults.length > 0 ? { refused: `${faults.join("; ")}.` } : { settings: merged };
}

function port(item: string): number | undefined {
  const number = /^\d{1,5}$/.test(item) ? Number(item) : 0;
  return number >= 1 && number <= 65_535 ? number : undefined;
}

function withoutEmpty({ requests, limits }: Required<Resources>): Resources {
  return {
    ...(Object.keys(requests).length > 0 ? { requests } : {}),
    ...(Object.keys(limits).length > 0 ? { limits } : {}),
  };
}
