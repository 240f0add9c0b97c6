/**
 * Where the two readings of `pathRegex` differ (smi-semantics, row 10): it is compared with the whole path here, and SMI's words
 * ("anchored to the beginning") let it take whatever follows too. Only where that would allow somebody what another rule keeps from them.
 */
import type { Grant } from "../policy/access.ts";
import type { RouteMatch } from "../policy/ir.ts";
import { fromBytes } from "../lib/bytes.ts";
import type { Identity } from "../world/names.ts";
import type { Problem } from "../world/types.ts";
import type { Linting } from "./lint.ts";
import { placeOf, type Policies } from "./lint-policies.ts";
import type { RequestSet } from "./requests.ts";

export function prefixPatterns(policies: Policies, linting: Linting): Problem[] {
  const problems = new Map<RouteMatch, Problem>();
  for (const grants of byDestination(policies)) {
    for (const grant of grants) {
      for (const match of grant.http ?? []) {
        if (match.pathRegex === undefined || problems.has(match)) continue;
        const place = placeOf(match, policies, "pathRegex");
        const found = linting.ask(place, () => difference(match, grant, grants, linting));
        if (!found) continue;
        const message = `${JSON.stringify(match.pathRegex)} is compared with the whole path, so it does not take ${found.path}, which match "${found.other.name}" names for others: ${found.source} is refused there. Read as a beginning, as SMI's text has it, it would be allowed. If paths below are meant, write (/.*)? at its end; if not, $ says so.`;
        problems.set(match, { code: "prefix-pattern", severity: "hint", ...place, message });
      }
    }
  }
  return [...problems.values()];
}

interface Difference {
  readonly source: Identity;
  readonly path: string;
  readonly other: RouteMatch;
}

/** A path that the match takes as a beginning only, that another rule names, and that one of the match's sources may not ask for. */
function difference(
  match: RouteMatch,
  grant: Grant,
  grants: readonly Grant[],
  linting: Linting,
): Difference | undefined {
  const { requests, taken } = linting;
  const { languages } = requests;
  const begins = asBeginning(match);
  const own = taken(match);
  if (begins === undefined || own === undefined) return undefined;
  const more = requests.difference(requests.match(begins), own);
  if (requests.isEmpty(more)) return undefined;
  const prefix = languages.regex(begins.pathRegex);
  for (const { http = [] } of grants) {
    for (const other of http) {
      // "Names": all of its paths lie below this one. A pattern that begins with .* names no path.
      const theirs = taken(other);
      if (theirs === undefined || other.pathRegex === undefined) continue;
      if (!languages.includes(prefix, languages.regex(other.pathRegex))) continue;
      const differs = requests.intersection(more, theirs);
      if (requests.isEmpty(differs)) continue;
      for (const source of grant.sources) {
        const refused = requests.difference(differs, allowedTo(source, grants, linting));
        const path = requests.witness(refused)?.path;
        if (path !== undefined) return { source, path: fromBytes(path), other };
      }
    }
  }
  return undefined;
}

/** Everything that targets allow a source, on whatever port: less is found, and nothing wrong. One with TCPRoutes alone may allow every request. */
function allowedTo(source: Identity, grants: readonly Grant[], { requests, taken }: Linting): RequestSet {
  const own = grants.filter((g) => g.sources.includes(source));
  return requests.unionOf(
    own.flatMap(({ http }) => (http ? http.map((match) => taken(match) ?? requests.all) : [requests.all])),
  );
}

const beginnings = new WeakMap<RouteMatch, (RouteMatch & { readonly pathRegex: string }) | undefined>();

/** The match as SMI's words read it. Undefined for a pattern that cannot be continued: `\Q` without `\E`. */
function asBeginning(match: RouteMatch): (RouteMatch & { readonly pathRegex: string }) | undefined {
  if (!beginnings.has(match)) {
    const open = (match.pathRegex ?? "").lastIndexOf("\\Q") > (match.pathRegex ?? "").lastIndexOf("\\E");
    beginnings.set(match, open ? undefined : { ...match, pathRegex: `(?:${match.pathRegex})(?s:.*)` });
  }
  return beginnings.get(match);
}

/** Grants to each account that has several. */
function byDestination({ grants }: Policies): Grant[][] {
  const accounts = new Map<string, Grant[]>();
  for (const [target, grant] of grants) {
    const same = accounts.get(target.destination.name);
    if (same) same.push(grant);
    else accounts.set(target.destination.name, [grant]);
  }
  return [...accounts.values()].filter((list) => list.length > 1);
}
