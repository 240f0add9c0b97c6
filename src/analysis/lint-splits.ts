/**
 * TrafficSplits that never get a request, because splits before them take every one.
 */
import type { Mesh, SplitRoute } from "../policy/ir.ts";
import type { Problem } from "../world/types.ts";
import type { Linting } from "./lint.ts";

/** One Problem for each split, whatever the number of ports on which it comes too late. */
export function shadowedSplits(mesh: Mesh, { requests, ask, taken }: Linting): Problem[] {
  /** Those of the matches that can be compared: never more than there are. */
  const requestsOf = ({ matches }: SplitRoute) =>
    matches ? requests.unionOf(matches.map((match) => taken(match) ?? requests.none)) : requests.all;
  const problems = new Map<string, Problem>();
  for (const { ports } of mesh.services.values()) {
    for (const { routes } of ports) {
      for (const [i, route] of routes.entries()) {
        const { split, matches } = route;
        if (matches?.some((match) => !taken(match))) continue;
        if (i === 0 || split === undefined || problems.has(split)) continue;
        const [namespace, name] = split.split("/") as [string, string];
        const place = {
          object: { kind: "TrafficSplit", namespace, name },
          path: matches ? "spec.matches" : "spec.service",
        };
        const before = routes.slice(0, i);
        const shadowed = ask(place, () => {
          const own = requestsOf(route);
          return !requests.isEmpty(own) && requests.includes(requests.unionOf(before.map(requestsOf)), own);
        });
        if (!shadowed) continue;
        const names = [...new Set(before.map((route) => `"${route.split?.split("/")[1]}"`))];
        const what = matches ? "every request that its matches take" : "every request to the root Service";
        const message = `${what} is taken by TrafficSplit ${names.join(", ")} before it: this one never takes effect. Narrow the matches before it, or remove one of them.`;
        problems.set(split, { code: "shadowed-split", severity: "error", ...place, message });
      }
    }
  }
  return [...problems.values()];
}
