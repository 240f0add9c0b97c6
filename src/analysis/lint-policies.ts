/**
 * The policies of one namespace as a linter looks at them: what each TrafficTarget gives, and who names which match. Judges nothing.
 */
import { grantOf, type Grant } from "../policy/access.ts";
import type { RouteMatch } from "../policy/ir.ts";
import { routesOf, writtenMatch } from "../policy/routes.ts";
import type { HTTPRouteGroup, Problem, TrafficSplit, TrafficTarget } from "../world/types.ts";
import type { World } from "../world/world.ts";

export interface Policies {
  readonly namespace: string;
  readonly groups: ReadonlyMap<string, HTTPRouteGroup>;
  readonly tcpRoutes: ReadonlyMap<string, { readonly namespace: string; readonly name: string }>;
  readonly targets: readonly TrafficTarget[];
  readonly splits: readonly TrafficSplit[];
  /** What each target gives; none for one that gives nothing. */
  readonly grants: ReadonlyMap<TrafficTarget, Grant>;
}

/** Of the namespaces that the mesh looks at, in order of name. */
export function policiesOf({ tables }: World): Policies[] {
  const monitored = [...(tables.Namespace.get("")?.values() ?? [])].filter((n) => n.monitored);
  return monitored
    .map((n) => n.name)
    .sort()
    .map((namespace) => {
      const groups = tables.HTTPRouteGroup.get(namespace) ?? new Map<string, HTTPRouteGroup>();
      const tcpRoutes = tables.TCPRoute.get(namespace) ?? new Map<string, never>();
      const targets = [...(tables.TrafficTarget.get(namespace)?.values() ?? [])];
      const splits = [...(tables.TrafficSplit.get(namespace)?.values() ?? [])];
      const grants = new Map<TrafficTarget, Grant>();
      for (const target of targets) {
        const { grant } = grantOf(target, { groups, tcp: tables.TCPRoute.get(namespace) });
        if (grant) grants.set(target, grant);
      }
      return { namespace, groups, tcpRoutes, targets, splits, grants };
    });
}

/** The usable matches of a group. */
export const usable = (group: HTTPRouteGroup): readonly RouteMatch[] => [...routesOf(group).matches.values()];

/** Where a match stands. */
export function placeOf(match: RouteMatch, { groups }: Policies, field = ""): Pick<Problem, "object" | "path"> {
  const name = match.group.slice(match.group.indexOf("/") + 1);
  const where = writtenMatch(groups.get(name), match.name)?.where ?? "";
  const namespace = match.group.slice(0, match.group.indexOf("/"));
  return {
    object: { kind: "HTTPRouteGroup", namespace, name },
    path: `${where}${field === "" ? "" : `.${field}`}`,
  };
}
