/**
 * TrafficTarget, v1alpha1 to v1alpha4, to one form. Reads what is written; what it means is judged in `policy/`.
 *
 * An unknown field may be a restriction that was misspelt, so whatever holds one opens nothing; the same goes for an empty (null) field.
 */
import type { RuleRef, SubjectRef, TrafficTarget } from "../world/types.ts";
import type { Place } from "./kinds.ts";
import { LIMITS } from "./limits.ts";
import { isRaw, type Raw } from "../lib/json.ts";
import { at, type Reader } from "./reader.ts";

const TOP = ["apiVersion", "kind", "metadata", "status"];
/** A rule that could not be read. */
const BROKEN: RuleRef = { kind: "unknown", name: "", matches: [], broken: true };
const RULE_KINDS = ["HTTPRouteGroup", "TCPRoute", "UDPRoute"] as const;

export function trafficTarget(reader: Reader, object: Raw, place: Place): TrafficTarget | undefined {
  const wrapped = place.version !== "v1alpha1";
  const rulesField = wrapped ? "rules" : "specs";
  const nothing = "this TrafficTarget opens nothing";
  const fields = ["destination", "sources", rulesField];
  if (reader.unknown(object, "", [...TOP, ...(wrapped ? ["spec"] : fields)], nothing)) return undefined;
  if (wrapped && object["spec"] === undefined) return reader.missing("spec", nothing);
  const spec = wrapped ? reader.map(object["spec"], "spec", nothing) : object;
  if (!spec) return undefined;
  const base = wrapped ? "spec" : "";
  if (wrapped && reader.unknown(spec, base, fields, nothing)) return undefined;

  // v1alpha4 adds IdentityBindings, told by a group: policy says of them that they are no ServiceAccounts.
  const more = place.version === "v1alpha4" ? ["group"] : [];
  const withPort = place.version === "v1alpha1" || place.version === "v1alpha2" ? ["port"] : [];
  const path = at(base, "destination");
  const raw = spec["destination"] === undefined ? {} : reader.map(spec["destination"], path, nothing);
  if (!raw) return undefined;
  const destination = subject(reader, raw, path, nothing, [...more, ...withPort]);
  if (!destination) return undefined;
  const port = raw["port"] === undefined ? undefined : portOf(reader, raw["port"], at(path, "port"));
  if (raw["port"] !== undefined && port === undefined) return undefined;

  const sources: SubjectRef[] = [];
  const entries =
    spec["sources"] === undefined ? [] : reader.list(spec["sources"], at(base, "sources"), nothing, LIMITS.sources);
  for (const [i, entry] of (entries ?? []).entries()) {
    const where = at(at(base, "sources"), i);
    const then = "this source opens nothing";
    const source = reader.map(entry, where, then);
    const read = source && subject(reader, source, where, then, more);
    if (read) sources.push(read);
  }

  const rules: RuleRef[] = [];
  const list =
    spec[rulesField] === undefined ? [] : reader.list(spec[rulesField], at(base, rulesField), nothing, LIMITS.rules);
  for (const [i, entry] of (list ?? []).entries()) {
    rules.push(rule(reader, entry, at(at(base, rulesField), i)));
  }
  // What the rules that were cut off would have limited is not known.
  if (Array.isArray(spec[rulesField]) && spec[rulesField].length > rules.length) rules.push(BROKEN);
  const { namespace, name } = place;
  return { namespace, name, destination, ...(port === undefined ? {} : { port }), sources, rules };
}

/** Missing fields become "": that a reference is incomplete is for `policy/` to say. */
function subject(
  reader: Reader,
  raw: Raw,
  path: string,
  then: string,
  more: readonly string[],
): SubjectRef | undefined {
  const known = ["kind", "name", "namespace"];
  if (reader.unknown(raw, path, [...known, ...more], then)) return undefined;
  const read = (key: string) =>
    raw[key] === undefined ? "" : reader.string(raw[key], at(path, key), then, LIMITS.name);
  const [kind, name, namespace] = known.map(read);
  if (kind === undefined || name === undefined || namespace === undefined) return undefined;
  return { kind, name, namespace };
}

/** A number, or a number as a string: SMI's own Go types had a string. */
function portOf(reader: Reader, value: unknown, path: string): number | undefined {
  const number = typeof value === "string" && /^\d{1,5}$/.test(value) ? Number(value) : value;
  return reader.port(number, path, "this TrafficTarget opens nothing");
}

/** A rule that cannot be read stays as one that opens nothing: without it, the rules beside it would open more. */
function rule(reader: Reader, entry: unknown, path: string): RuleRef {
  const read = readRule(reader, entry, path);
  if (read) return read;
  const kind = isRaw(entry) ? RULE_KINDS.find((known) => known === entry["kind"]) : undefined;
  return { ...BROKEN, kind: kind ?? "unknown" };
}

function readRule(reader: Reader, entry: unknown, path: string): RuleRef | undefined {
  const then = "this rule opens nothing";
  const raw = reader.map(entry, path, then);
  if (!raw || reader.unknown(raw, path, ["kind", "name", "matches"], then)) return undefined;
  for (const key of ["kind", "name"]) if (raw[key] === undefined) return reader.missing(at(path, key), then);
  const kind = reader.oneOf(raw["kind"], at(path, "kind"), RULE_KINDS, then);
  const name = reader.string(raw["name"], at(path, "name"), then, LIMITS.name);
  if (kind === undefined || name === undefined) return undefined;
  if (raw["matches"] === undefined) return { kind, name, matches: [] };
  const list = reader.list(raw["matches"], at(path, "matches"), then, LIMITS.matches);
  if (!list) return undefined;
  const matches: string[] = [];
  for (const [i, match] of list.entries()) {
    // An empty list means all matches, so a list that lost its last entry must take the rule with it.
    const follows = list.length === 1 ? then : "this name of a match opens nothing";
    const text = isRaw(match) ? undefined : reader.string(match, at(at(path, "matches"), i), follows, LIMITS.name);
    if (isRaw(match)) reader.wrong(match, at(at(path, "matches"), i), "the name of a match", follows);
    if (text !== undefined) matches.push(text);
  }
  return matches.length === 0 && list.length > 0 ? undefined : { kind, name, matches };
}
