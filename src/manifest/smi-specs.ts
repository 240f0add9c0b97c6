/**
 * HTTPRouteGroup, TCPRoute and UDPRoute, v1alpha1 to v1alpha4, to one form. Whether a regular expression is one is judged in `policy/`.
 *
 * Where an empty list means "all", a list that lost its last entry to a mistake takes what holds it with it.
 */
import type { HTTPMatch, HTTPRouteGroup, TCPRoute, UDPRoute, WrittenMatch } from "../world/types.ts";
import type { Place } from "./kinds.ts";
import { LIMITS } from "./limits.ts";
import { isRaw, type Raw } from "../lib/json.ts";
import { at, type Reader } from "./reader.ts";

const TOP = ["apiVersion", "kind", "metadata", "status"];
/** RFC 9110's token: all that a method or a header's name can be. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

export function httpRouteGroup(reader: Reader, object: Raw, place: Place): HTTPRouteGroup | undefined {
  const wrapped = place.version === "v1alpha3" || place.version === "v1alpha4";
  const nothing = "this HTTPRouteGroup opens nothing";
  if (reader.unknown(object, "", [...TOP, wrapped ? "spec" : "matches"], nothing)) return undefined;
  if (wrapped && object["spec"] === undefined) return reader.missing("spec", nothing);
  const spec = wrapped ? reader.map(object["spec"], "spec", nothing) : object;
  if (!spec || (wrapped && reader.unknown(spec, "spec", ["matches"], nothing))) return undefined;
  const path = at(wrapped ? "spec" : "", "matches");
  if (spec["matches"] === undefined) return reader.missing(path, nothing);
  const list = reader.list(spec["matches"], path, nothing, LIMITS.matches);
  if (!list) return undefined;
  const read = list.map((entry, i) => httpMatch(reader, entry, at(path, i), place.version !== "v1alpha1"));
  const matches = read.filter((match) => match !== undefined);
  const lost = list.filter((entry, i): entry is Raw => read[i] === undefined && isRaw(entry));
  const unreadable = lost.map(({ name }) => name).filter((name) => typeof name === "string");
  return {
    namespace: place.namespace,
    name: place.name,
    matches,
    ...(unreadable.length > 0 ? { unreadable } : {}),
  };
}

function httpMatch(reader: Reader, entry: unknown, path: string, withHeaders: boolean): WrittenMatch | undefined {
  const then = "this match opens nothing";
  const raw = reader.map(entry, path, then);
  const known = ["name", "pathRegex", "methods", ...(withHeaders ? ["headers"] : [])];
  if (!raw || reader.unknown(raw, path, known, then)) return undefined;
  if (raw["name"] === undefined) return reader.missing(at(path, "name"), then);
  const name = reader.string(raw["name"], at(path, "name"), then, LIMITS.name);
  const pathRegex = raw["pathRegex"] === undefined ? "" : reader.string(raw["pathRegex"], at(path, "pathRegex"), then);
  const methods = raw["methods"] === undefined ? [] : methodsOf(reader, raw["methods"], at(path, "methods"), then);
  const headers = raw["headers"] === undefined ? [] : headersOf(reader, raw["headers"], at(path, "headers"), then);
  if (name === undefined || pathRegex === undefined || !methods || !headers) return undefined;
  // OSM and the Go types of SMI cannot tell "" from absent: both mean any path.
  return { name, where: path, ...(pathRegex === "" ? {} : { pathRegex }), methods, headers };
}

function methodsOf(reader: Reader, value: unknown, path: string, then: string): string[] | undefined {
  const list = reader.list(value, path, then, LIMITS.methods);
  if (!list) return undefined;
  const methods: string[] = [];
  for (const [i, entry] of list.entries()) {
    const follows = list.length === 1 ? then : "this entry opens nothing";
    if (typeof entry === "string" && TOKEN.test(entry) && entry.length <= LIMITS.name) methods.push(entry);
    else reader.wrong(entry, at(path, i), "a method such as GET", follows);
  }
  return methods.length === 0 && list.length > 0 ? undefined : methods;
}

const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** All headers of a match must hold, so one that cannot be read takes the match with it. */
function headersOf(reader: Reader, value: unknown, path: string, then: string): HTTPMatch["headers"] | undefined {
  const headers: { name: string; regex: string }[] = [];
  let bad = false;
  const read = (entry: unknown, where: string) => {
    const raw = reader.map(entry, where, then);
    for (const [key, regex] of Object.entries(raw ?? {})) {
      const text = reader.string(regex, at(where, key), then);
      const named = TOKEN.test(key.replace(/^:/, "")) && key.length <= LIMITS.name;
      if (!named)
        reader.report(
          "bad-field",
          at(where, key),
          `${JSON.stringify(key.slice(0, 40))} cannot be the name of a header, so ${then}; correct it.`,
        );
      if (text === undefined || !named) bad = true;
      else headers.push({ name: key.toLowerCase(), regex: text });
    }
    bad ||= !raw;
  };
  if (Array.isArray(value)) {
    const list = reader.list(value, path, then, LIMITS.headers, false);
    if (!list) return undefined;
    for (const [i, entry] of list.entries()) read(entry, at(path, i));
  } else read(value, path);
  if (headers.length > LIMITS.headers) {
    return reader.report(
      "too-large",
      path,
      `${path} has ${headers.length} headers where at most ${LIMITS.headers} are read, so ${then}; remove some.`,
    );
  }
  return bad ? undefined : headers.sort((a, b) => order(a.name, b.name) || order(a.regex, b.regex));
}

export function tcpRoute(reader: Reader, object: Raw, place: Place): TCPRoute | undefined {
  const read = portsOf(reader, object, place.version === "v1alpha4");
  return read && { namespace: place.namespace, name: place.name, ...read };
}

/** Its ports are read for their mistakes only: no access comes from a UDPRoute. */
export function udpRoute(reader: Reader, object: Raw, place: Place): UDPRoute | undefined {
  const read = portsOf(reader, object, place.version === "v1alpha4");
  return read && { namespace: place.namespace, name: place.name };
}

/** Empty: every port, so a list whose every entry is wrong is no list at all. Before v1alpha4 a route had no ports. */
function portsOf(reader: Reader, object: Raw, withPorts: boolean): Pick<TCPRoute, "ports" | "partial"> | undefined {
  const then = `this ${reader.ref.kind} opens nothing`;
  if (reader.unknown(object, "", [...TOP, "spec"], then)) return undefined;
  if (object["spec"] === undefined) return { ports: [] };
  const spec = reader.map(object["spec"], "spec", then);
  if (!spec || reader.unknown(spec, "spec", withPorts ? ["matches"] : [], then)) return undefined;
  if (spec["matches"] === undefined) return { ports: [] };
  const matches = reader.map(spec["matches"], "spec.matches", then);
  if (!matches || reader.unknown(matches, "spec.matches", ["ports"], then)) return undefined;
  if (matches["ports"] === undefined) return { ports: [] };
  const list = reader.list(matches["ports"], "spec.matches.ports", then, LIMITS.ports);
  if (!list) return undefined;
  const ports = list.flatMap((entry, i) => {
    return reader.port(entry, at("spec.matches.ports", i), list.length === 1 ? then : "this port stays closed") ?? [];
  });
  if (ports.length === 0 && list.length > 0) return undefined;
  const { length } = matches["ports"] as readonly unknown[];
  return { ports, ...(ports.length < length ? { partial: true as const } : {}) };
}
