/**
 * What is honoured and cannot be meant, found by comparing patterns as languages: too dear for a controller that compiles on every edit,
 * right for a folder that is checked. The Problems of reading and compiling are not repeated here.
 */
import { Languages } from "../language/languages.ts";
import type { Mesh } from "../policy/ir.ts";
import type { HTTPMatch, Problem } from "../world/types.ts";
import type { World } from "../world/world.ts";
import { cannotTell } from "./limits.ts";
import { containedMatches, emptyMatches } from "./lint-matches.ts";
import { prefixPatterns } from "./lint-prefixes.ts";
import { placeOf, policiesOf, usable, type Policies } from "./lint-policies.ts";
import { shadowedSplits } from "./lint-splits.ts";
import { unusedRoutes } from "./lint-unused.ts";
import { Requests, type RequestSet } from "./requests.ts";

/** Asks one question; where it has no answer, that is a Problem at the place that is asked about. */
export type Ask = <T>(about: Pick<Problem, "object" | "path">, question: () => T) => T | undefined;

/** What each check looks at. */
export interface Linting {
  readonly requests: Requests;
  readonly ask: Ask;
  /** The requests of a match; undefined for one that cannot be compared, which is said once. */
  readonly taken: (match: HTTPMatch) => RequestSet | undefined;
}

/** Pure. In no order. */
export function lint({ world, mesh }: { readonly world: World; readonly mesh: Mesh }): readonly Problem[] {
  const unanswered = new Map<string, Problem>();
  const ask: Ask = ({ object, path }, question) => {
    try {
      return question();
    } catch (error) {
      const why = cannotTell(error);
      if (why === undefined) throw error;
      const message = `${why}: whether another rule says the same is not checked here. What it allows is not touched by that.`;
      const problem: Problem = { code: "not-compared", severity: "hint", object, path, message };
      unanswered.set(JSON.stringify([object, path]), problem);
      return undefined;
    }
  };
  const requests = new Requests(new Languages());
  const all = policiesOf(world);
  const sets = new Map<HTTPMatch, RequestSet | undefined>();
  for (const policies of all)
    for (const group of policies.groups.values())
      for (const match of usable(group))
        sets.set(
          match,
          ask(placeOf(match, policies), () => requests.match(match)),
        );
  const linting: Linting = { requests, ask, taken: (match) => sets.get(match) };
  const each = (check: (policies: Policies, linting: Linting) => readonly Problem[]) =>
    all.flatMap((policies) => check(policies, linting));
  const found = [
    ...each(emptyMatches),
    ...each(containedMatches),
    // In permissive mode nobody is refused, however a pattern is read.
    ...(mesh.settings.permissive ? [] : each(prefixPatterns)),
    ...each(unusedRoutes),
    ...shadowedSplits(mesh, linting),
  ];
  return [...found, ...unanswered.values()];
}
