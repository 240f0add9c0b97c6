/**
 * TrafficSplit, v1alpha1 to v1alpha4, to one form. Which Services exist is judged in `policy/`.
 *
 * A split only shares out: with a weight that cannot be used, or a field that may have been a restriction, it is ignored as a whole.
 */
import type { TrafficSplit } from "../world/types.ts";
import type { Place } from "./kinds.ts";
import { LIMITS } from "./limits.ts";
import { relativeWeights } from "./quantity.ts";
import type { Raw } from "../lib/json.ts";
import { at, describe, type Reader } from "./reader.ts";

const IGNORED = "this TrafficSplit is ignored";
const MAX_SUM = 2 ** 32 - 1;

export function trafficSplit(reader: Reader, object: Raw, place: Place): TrafficSplit | undefined {
  reader.unknown(object, "", ["apiVersion", "kind", "metadata", "status", "spec"], "it is not read", "hint");
  if (object["spec"] === undefined) return reader.missing("spec", IGNORED);
  const spec = reader.map(object["spec"], "spec", IGNORED);
  const withMatches = place.version === "v1alpha3" || place.version === "v1alpha4";
  if (!spec || reader.unknown(spec, "spec", ["service", "backends", ...(withMatches ? ["matches"] : [])], IGNORED))
    return undefined;
  for (const key of ["service", "backends"])
    if (spec[key] === undefined) return reader.missing(at("spec", key), IGNORED);
  const service = reader.string(spec["service"], "spec.service", IGNORED, LIMITS.name);
  const backends = backendsOf(reader, spec["backends"], place.version === "v1alpha1");
  const matches = spec["matches"] === undefined ? undefined : matchesOf(reader, spec["matches"]);
  if (service === undefined || !backends || (spec["matches"] !== undefined && !matches)) return undefined;
  const { namespace, name, created } = place;
  return { namespace, name, service, backends, ...(matches ? { matches } : {}), created };
}

function backendsOf(reader: Reader, value: unknown, quantities: boolean): TrafficSplit["backends"] | undefined {
  const list = reader.list(value, "spec.backends", IGNORED, LIMITS.backends, false);
  if (!list) return undefined;
  const services: string[] = [];
  const weights: number[] = [];
  const amounts: (string | number)[] = [];
  for (const [i, entry] of list.entries()) {
    const path = at("spec.backends", i);
    const raw = reader.map(entry, path, IGNORED);
    if (!raw) return undefined;
    reader.unknown(raw, path, ["service", "weight"], "it is not read", "hint");
    for (const key of ["service", "weight"]) if (raw[key] === undefined) return reader.missing(at(path, key), IGNORED);
    const service = reader.string(raw["service"], at(path, "service"), IGNORED, LIMITS.name);
    if (service === undefined) return undefined;
    const weight = raw["weight"];
    const usable = quantities
      ? (typeof weight === "string" && weight.length <= 40 && relativeWeights([weight])) ||
        (typeof weight === "number" && relativeWeights([weight]))
      : typeof weight === "number" && Number.isInteger(weight) && weight >= 0 && weight <= MAX_SUM;
    if (!usable) {
      const wanted = quantities ? "a quantity such as 500m or 1, not negative" : "a whole number from 0";
      const where = at(path, "weight");
      return reader.report(
        "bad-weight",
        where,
        `${where} is ${describe(weight)} where ${wanted} is needed, so ${IGNORED}; correct it.`,
      );
    }
    services.push(service);
    if (quantities) amounts.push(weight as string | number);
    else weights.push(weight as number);
  }
  const relative = quantities ? relativeWeights(amounts) : weights;
  if (!relative || relative.reduce((sum, weight) => sum + weight, 0) > MAX_SUM) {
    return reader.report(
      "bad-weight",
      "spec.backends",
      `The weights of spec.backends are more than ${MAX_SUM} in sum, so ${IGNORED}; use smaller ones of the same ratio.`,
    );
  }
  return services.map((service, i) => ({ service, weight: relative[i] ?? 0 }));
}

/** Names of HTTPRouteGroups. As an empty list may be read as every request, a list that lost its last entry takes the split with it. */
function matchesOf(reader: Reader, value: unknown): string[] | undefined {
  const list = reader.list(value, "spec.matches", IGNORED, LIMITS.matches);
  if (!list) return undefined;
  const names: string[] = [];
  for (const [i, entry] of list.entries()) {
    const path = at("spec.matches", i);
    const then = list.length === 1 ? IGNORED : "this entry selects no request";
    const raw = reader.map(entry, path, then);
    if (!raw || reader.unknown(raw, path, ["kind", "name", "apiGroup"], then)) continue;
    const missing = ["kind", "name"].find((key) => raw[key] === undefined);
    if (missing) {
      reader.missing(at(path, missing), then);
      continue;
    }
    const kind = reader.oneOf(raw["kind"], at(path, "kind"), ["HTTPRouteGroup"], then);
    const name = reader.string(raw["name"], at(path, "name"), then, LIMITS.name);
    if (kind && name !== undefined) names.push(name);
  }
  return names.length === 0 && list.length > 0 ? undefined : names;
}
