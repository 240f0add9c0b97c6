/**
 * Matches that no request has, and matches that take nothing which another one beside them does not take already.
 */
import { asBytes, fromBytes } from "../lib/bytes.ts";
import type { Language } from "../language/languages.ts";
import type { RouteMatch } from "../policy/ir.ts";
import type { HTTPMatch, Problem } from "../world/types.ts";
import type { Linting } from "./lint.ts";
import { placeOf, usable, type Policies } from "./lint-policies.ts";
import { normalPath } from "./normal-path.ts";
import type { Requests, RequestSet } from "./requests.ts";

/** Matches that open nothing: a pattern of theirs is outside of all that a request can have. */
export function emptyMatches(policies: Policies, { requests, ask, taken }: Linting): Problem[] {
  const problems: Problem[] = [];
  const inSplit = new Set(policies.splits.flatMap((split) => split.matches ?? []));
  for (const group of policies.groups.values()) {
    for (const match of usable(group)) {
      const own = taken(match);
      const found =
        own && ask(placeOf(match, policies), () => emptiness(match, own, requests, !inSplit.has(group.name)));
      if (!found) continue;
      const message = `${found.why} Match "${match.name}" opens nothing. ${found.advice}`;
      problems.push({ code: "empty-match", severity: "error", ...placeOf(match, policies, found.field), message });
    }
  }
  return problems;
}

interface Emptiness {
  readonly field: string;
  readonly why: string;
  readonly advice: string;
}

function emptiness(
  match: HTTPMatch,
  taken: RequestSet,
  requests: Requests,
  accessOnly: boolean,
): Emptiness | undefined {
  if (!requests.isEmpty(taken)) {
    // Smi-semantics, row 11: where a rule restricts the path, a request with an escaped slash is answered 400.
    if (!accessOnly || match.pathRegex === undefined) return undefined;
    if (!requests.isEmpty(requests.difference(taken, requests.escapedSlash))) return undefined;
    const why = `${JSON.stringify(match.pathRegex)} takes only paths with an escaped slash (%2F, %5C), and such requests are answered 400 where paths are restricted.`;
    return { field: "pathRegex", why, advice: "Write a path with slashes that are not escaped." };
  }
  const { languages } = requests;
  if (match.pathRegex !== undefined) {
    const path = languages.regex(match.pathRegex);
    if (requests.isEmpty(requests.with({ path })))
      return { field: "pathRegex", ...whyNoPath(match.pathRegex, path, requests) };
  }
  if (match.methods.length > 0 && !match.methods.includes("*")) {
    const method = languages.oneOf(match.methods.map(asBytes));
    if (requests.isEmpty(requests.with({ method }))) {
      const why = `no request that is matched has the method ${match.methods.join(" or ")}.`;
      return { field: "methods", why, advice: "Write methods as GET and POST." };
    }
  }
  const alone = match.headers.find((header) => requests.isEmpty(requests.match({ ...EVERY, headers: [header] })));
  if (alone) {
    const why = `no header "${alone.name}" has a value that ${JSON.stringify(alone.regex)} takes as a whole.`;
    return { field: `headers.${alone.name}`, why, advice: "Correct the pattern." };
  }
  return {
    field: "headers",
    why: "no request has what the headers ask for together.",
    advice: "Correct the patterns, or make two matches of them: matches are ORed.",
  };
}

const EVERY: HTTPMatch = { name: "", methods: [], headers: [] };

/** What is wrong with a pattern that no path is in; the first reason that explains all of it. */
function whyNoPath(pattern: string, path: Language, { languages }: Requests): Omit<Emptiness, "field"> {
  const said = JSON.stringify(pattern);
  const witness = languages.witness(path);
  if (witness === undefined)
    return { why: `nothing at all matches ${said}: its parts contradict each other.`, advice: "Correct the pattern." };
  const without = (part: string) => !languages.overlap(path, languages.regex(part));
  if (without("(?s:/.*)"))
    return {
      why: `${said} takes no path: every path begins with "/", and the pattern is compared with the whole path.`,
      advice: `Write /${/^[\w.\-/]*$/.test(pattern) ? pattern : "…"}, or .* where anything may stand before it.`,
    };
  if (without("[^?]*"))
    return {
      why: `${said} takes no path: the pattern is compared with the path without its query ("?…").`,
      advice: "Leave the query out.",
    };
  if (without("[^#]*"))
    return { why: `${said} takes no path: fragments ("#…") are never sent.`, advice: "Leave the fragment out." };
  const arrives = normalPath(witness);
  const how =
    arrives === undefined || arrives === witness
      ? ""
      : ` ${JSON.stringify(fromBytes(witness))} arrives as ${JSON.stringify(fromBytes(arrives))}.`;
  return {
    why: `${said} takes no path as it is compared: paths are brought into one form first (dot segments and repeated slashes removed, escapes as RFC 3986 has them).${how}`,
    advice: "Write the pattern for that form.",
  };
}

/** Several matches that are used together, and by whom. */
interface Use {
  /** `TrafficTarget "x"`. */
  readonly by: string;
  readonly matches: readonly RouteMatch[];
}

/** Matches that, wherever they are used, another match beside them contains. */
export function containedMatches(policies: Policies, { requests, ask, taken }: Linting): Problem[] {
  const larger = new Map<RouteMatch, { match: RouteMatch; users: string[] }>();
  // Whoever names a match by its name has a use for it that is not seen here.
  const needed = new Set(namedAlone(policies));
  for (const { by, matches } of uses(policies)) {
    for (const [i, match] of matches.entries()) {
      if (needed.has(match)) continue;
      const own = taken(match);
      if (!own || requests.isEmpty(own)) continue;
      const found = ask(placeOf(match, policies), () =>
        matches.find((other, j) => {
          const theirs = other === match ? undefined : taken(other);
          return theirs && requests.includes(theirs, own) && (j < i || !requests.includes(own, theirs));
        }),
      );
      const known = larger.get(match);
      if (!found) needed.add(match);
      else if (known) known.users.push(by);
      else larger.set(match, { match: found, users: [by] });
    }
  }
  return [...larger]
    .filter(([match]) => !needed.has(match))
    .map(([match, { match: other, users }]) => {
      const where = other.group === match.group ? "" : ` of HTTPRouteGroup "${other.group}"`;
      const message = `every request that match "${match.name}" takes is taken by match "${other.name}"${where} too, so ${listed(users)} without it. Remove it, or narrow "${other.name}".`;
      return { code: "contained-match", severity: "hint", ...placeOf(match, policies), message };
    });
}

const listed = (users: readonly string[]): string =>
  users.length === 1 ? `${users[0]} is the same` : `${users.slice(0, -1).join(", ")} and ${users.at(-1)} are the same`;

function uses(policies: Policies): Use[] {
  const targets = [...policies.grants].map(([target, { http = [] }]) => ({
    by: `TrafficTarget "${target.name}"`,
    matches: inOrder(http, policies),
  }));
  const splits = policies.splits.map((split) => ({
    by: `TrafficSplit "${split.name}"`,
    matches: (split.matches ?? []).flatMap((name) => {
      const group = policies.groups.get(name);
      return group ? usable(group) : [];
    }),
  }));
  return [...targets, ...splits];
}

/** As written: of two that say the same, the second one is the one too many. */
const inOrder = (matches: readonly RouteMatch[], { groups }: Policies): RouteMatch[] =>
  [...groups.values()].flatMap((group) => usable(group).filter((match) => matches.includes(match)));

/** Matches that a rule names by their name. */
function namedAlone({ targets, groups }: Policies): ReadonlySet<RouteMatch> {
  const named = new Set<RouteMatch>();
  for (const { rules } of targets) {
    for (const rule of rules) {
      const group = rule.kind === "HTTPRouteGroup" ? groups.get(rule.name) : undefined;
      for (const match of group ? usable(group) : []) if (rule.matches.includes(match.name)) named.add(match);
    }
  }
  return named;
}
