/**
 * HTTPRouteGroups → matches that are known to be good: every regular expression is one that RE2 accepts.
 */
import type { HTTPMatch, HTTPRouteGroup, Problem, WrittenMatch } from "../world/types.ts";
import type { RouteMatch } from "./ir.ts";
import { fault, hint } from "./problem.ts";
import { regexFault } from "./regex.ts";

export interface Routes {
  /** The usable matches by name. */
  readonly matches: ReadonlyMap<string, RouteMatch>;
  /** Names of matches that are there but open nothing. */
  readonly broken: ReadonlySet<string>;
  readonly problems: readonly Problem[];
}

/** The header that a name in a match means: `host` is the request's authority, in HTTP/1.1 and HTTP/2 (smi-semantics, row 13). */
export const headerMeant = (name: string): string => (name === "host" ? ":authority" : name);

const decoded = new WeakMap<HTTPRouteGroup, Routes>();

/** The matches of one route group. Made once for each object. */
export function routesOf(group: HTTPRouteGroup): Routes {
  let routes = decoded.get(group);
  if (!routes) decoded.set(group, (routes = readGroup(group)));
  return routes;
}

/** The match of this name as it was written. OSM's reading: of several matches of one name, the last one counts. */
export const writtenMatch = (group: HTTPRouteGroup | undefined, name: string): WrittenMatch | undefined =>
  group?.matches.findLast((match) => match.name === name);

/** Enough of a pattern to know it again. */
const shown = (pattern: string): string =>
  JSON.stringify(pattern.length > 100 ? `${pattern.slice(0, 100).toWellFormed()}…` : pattern);

function readGroup(group: HTTPRouteGroup): Routes {
  const matches = new Map<string, RouteMatch>();
  const broken = new Set(group.unreadable);
  const problems: Problem[] = [];
  const name = `${group.namespace}/${group.name}`;
  for (const written of group.matches) {
    // The Mesh does not know where its matches stood.
    const { where, ...match } = written;
    const before = problems.length;
    if (group.unreadable?.includes(match.name)) {
      const message = `another match has the name "${match.name}" too and cannot be read: which one counts is not known, so neither opens anything. Give it a name of its own.`;
      problems.push(fault("duplicate", "HTTPRouteGroup", group, `${where}.name`, message));
      continue;
    }
    const last = writtenMatch(group, match.name);
    if (last && last !== written) {
      const message = `${last.where} has the name "${match.name}" too, and counts instead of this one, which opens nothing. Give it a name of its own.`;
      problems.push(fault("duplicate", "HTTPRouteGroup", group, `${where}.name`, message));
      continue;
    }
    checkRegexes(match, (path, pattern, why) => {
      const message = `${shown(pattern)} ${why}; match "${match.name}" opens nothing. Write it in RE2's syntax.`;
      problems.push(fault("bad-regex", "HTTPRouteGroup", group, `${where}.${path}`, message));
    });
    for (const [j, method] of match.methods.entries()) {
      if (method === method.toUpperCase()) continue;
      const message = `methods are compared exactly and requests have them in upper case: write ${method.toUpperCase()} instead of ${method}.`;
      problems.push(hint("lowercase-method", "HTTPRouteGroup", group, `${where}.methods[${j}]`, message));
    }
    if (problems.slice(before).some((p) => p.severity === "error")) broken.add(match.name);
    else matches.set(match.name, Object.freeze({ ...match, group: name }));
  }
  return { matches, broken, problems };
}

function checkRegexes(match: HTTPMatch, report: (path: string, pattern: string, why: string) => void): void {
  const check = (path: string, pattern: string) => {
    const why = regexFault(pattern);
    if (why !== undefined) report(path, pattern, why);
  };
  if (match.pathRegex !== undefined) check("pathRegex", match.pathRegex);
  for (const header of match.headers) check(`headers.${header.name}`, header.regex);
}
