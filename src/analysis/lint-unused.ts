/**
 * Route objects that nothing names: harmless, and often the half of a mistake.
 */
import type { Problem } from "../world/types.ts";
import type { Policies } from "./lint-policies.ts";

export function unusedRoutes({ targets, splits, groups, tcpRoutes }: Policies): Problem[] {
  const named = new Set(targets.flatMap(({ rules }) => rules.map((rule) => `${rule.kind}/${rule.name}`)));
  for (const split of splits) for (const name of split.matches ?? []) named.add(`HTTPRouteGroup/${name}`);
  const unused = (kind: string, routes: Policies["tcpRoutes"], by: string): Problem[] =>
    [...routes.values()]
      .filter(({ name }) => !named.has(`${kind}/${name}`))
      .map(({ namespace, name }) => ({
        code: "unused-route",
        severity: "hint",
        object: { kind, namespace, name },
        path: "",
        message: `no ${by} of namespace ${namespace} names it, and by itself it allows nothing. Name it, or remove it.`,
      }));
  return [
    ...unused("HTTPRouteGroup", groups, "TrafficTarget or TrafficSplit"),
    ...unused("TCPRoute", tcpRoutes, "TrafficTarget"),
  ];
}
