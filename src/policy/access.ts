/**
 * TrafficTargets → grants: who may do what to one ServiceAccount. Deny by default; whatever is missing, empty or wrong opens nothing.
 */
import { identity, type Identity } from "../world/names.ts";
import type { HTTPRouteGroup, Problem, RuleRef, TCPRoute, TrafficTarget } from "../world/types.ts";
import type { InboundPort, RouteMatch, Rule } from "./ir.ts";
import type { DeclaredPort } from "./ports.ts";
import { fault, hint } from "./problem.ts";
import { routesOf } from "./routes.ts";

/** What one TrafficTarget gives to its sources. */
export interface Grant {
  /** `namespace/name` of the TrafficTarget. */
  readonly target: string;
  readonly namespace: string;
  readonly name: string;
  readonly sources: readonly Identity[];
  /** Limits all rules to one pod port (SMI v1alpha1 and v1alpha2, `destination.port`). */
  readonly port?: number;
  /** Present when the target has HTTP rules, even if they open nothing. */
  readonly http?: readonly RouteMatch[];
  /** Present when the target has TCP rules: the ports that they name, or all. */
  readonly tcp?: "all" | readonly number[];
  /** A TCPRoute that the target names is not there, or not all of it could be read: which ports it would have named is unknown. */
  readonly tcpUnknown: boolean;
}

/** Where a target's rules are looked up: in its own namespace. */
export interface RouteTables {
  readonly groups: ReadonlyMap<string, HTTPRouteGroup> | undefined;
  readonly tcp: ReadonlyMap<string, TCPRoute> | undefined;
}

/** The account that a target is about; undefined when it is about none that exists here. */
export function destinationOf(target: TrafficTarget): Identity | undefined {
  const { kind, name, namespace } = target.destination;
  return kind === "ServiceAccount" && name && namespace === target.namespace ? identity(namespace, name) : undefined;
}

/** What a target gives, and what is wrong with it. The grant is undefined when it gives nothing at all. */
export function grantOf(target: TrafficTarget, routes: RouteTables): { grant?: Grant; problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const report = (code: Problem["code"], path: string, message: string) =>
    problems.push(fault(code, "TrafficTarget", target, path, message));

  const { kind, name, namespace } = target.destination;
  if (kind !== "ServiceAccount" || !name || !namespace) {
    const message = `the destination must be a ServiceAccount with name and namespace, and is ${kind || "nothing"} "${namespace}/${name}": the target opens nothing.`;
    report("bad-destination", "spec.destination", message);
    return { problems };
  }
  if (namespace !== target.namespace) {
    const message = `the target is in namespace ${target.namespace} and its destination in ${namespace}: only who owns the destination may open it. Move the target to namespace ${namespace}.`;
    report("wrong-namespace", "spec.destination.namespace", message);
    return { problems };
  }

  const sources = new Set<Identity>();
  for (const [i, source] of target.sources.entries()) {
    if (source.kind !== "ServiceAccount" || !source.name || !source.namespace) {
      const message = `a source must be a ServiceAccount with name and namespace, and is ${source.kind || "nothing"} "${source.namespace}/${source.name}": this source is allowed nothing.`;
      report("bad-source", `spec.sources[${i}]`, message);
    } else {
      sources.add(identity(source.namespace, source.name));
    }
  }
  if (target.sources.length === 0) {
    report(
      "nobody-allowed",
      "spec.sources",
      "the target has no sources: it allows nobody. Name at least one ServiceAccount.",
    );
  }
  if (target.rules.length === 0) {
    report(
      "nobody-allowed",
      "spec.rules",
      "the target has no rules: it allows nothing. Name at least one HTTPRouteGroup or TCPRoute.",
    );
  }

  let http: RouteMatch[] | undefined;
  let tcp: "all" | number[] | undefined;
  let tcpUnknown = false;
  for (const [i, rule] of target.rules.entries()) {
    const path = `spec.rules[${i}]`;
    if (rule.broken) {
      // What was written is not known, so nothing opens wider for its absence: HTTP stays ruled, ports stay limited.
      if (rule.kind === "HTTPRouteGroup" || rule.kind === "unknown") http ??= [];
      if (rule.kind === "TCPRoute" || rule.kind === "unknown") tcpUnknown = true;
      continue;
    }
    switch (rule.kind) {
      case "HTTPRouteGroup":
        http ??= [];
        http.push(...matchesOf(rule, target, routes, path, report));
        break;
      case "TCPRoute": {
        const route = routes.tcp?.get(rule.name);
        if (!route) {
          tcpUnknown = true;
          report(
            "unknown-route",
            `${path}.name`,
            `there is no TCPRoute "${rule.name}" in namespace ${target.namespace}: the rule opens nothing, and HTTP rules of this target count on no port that it might have named.`,
          );
          break;
        }
        if (route.partial) tcpUnknown = true;
        if (route.ports.length === 0) tcp = "all";
        else if (tcp !== "all") tcp = [...(tcp ?? []), ...route.ports];
        break;
      }
      case "UDPRoute":
        report("udp-route", path, "the mesh carries no UDP: this rule opens nothing, the target's other rules stand.");
        break;
    }
  }
  if (sources.size === 0 || (http === undefined && tcp === undefined)) return { problems };
  return {
    problems,
    grant: Object.freeze({
      target: `${target.namespace}/${target.name}`,
      namespace: target.namespace,
      name: target.name,
      sources: [...sources].sort(),
      tcpUnknown,
      ...(target.port === undefined ? {} : { port: target.port }),
      ...(http ? { http: sortMatches(http) } : {}),
      ...(tcp ? { tcp: tcp === "all" ? tcp : [...new Set(tcp)].sort((a, b) => a - b) } : {}),
    }),
  };
}

function matchesOf(
  rule: RuleRef,
  target: TrafficTarget,
  routes: RouteTables,
  path: string,
  report: (code: Problem["code"], path: string, message: string) => void,
): RouteMatch[] {
  const group = routes.groups?.get(rule.name);
  if (!group) {
    report(
      "unknown-route",
      `${path}.name`,
      `there is no HTTPRouteGroup "${rule.name}" in namespace ${target.namespace}: the rule opens nothing.`,
    );
    return [];
  }
  const { matches, broken } = routesOf(group);
  // SMI traffic-access: "matches … if omitted, all matches of the route group are used".
  if (rule.matches.length === 0) {
    if (group.matches.length === 0) {
      const message = `HTTPRouteGroup "${rule.name}" has no matches: the rule opens nothing.`;
      report("nobody-allowed", `${path}.name`, message);
    }
    return [...matches.values()];
  }
  const found: RouteMatch[] = [];
  for (const [i, name] of rule.matches.entries()) {
    const match = matches.get(name);
    if (match) found.push(match);
    else if (!broken.has(name)) {
      report(
        "unknown-match",
        `${path}.matches[${i}]`,
        `HTTPRouteGroup "${rule.name}" has no match "${name}": this name opens nothing.`,
      );
    }
  }
  return found;
}

const sortMatches = (matches: readonly RouteMatch[]): readonly RouteMatch[] =>
  [...new Set(matches)].sort((a, b) => compare(a.group, b.group) || compare(a.name, b.name));

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * The rules that hold on one port of the destination (docs/smi.md, rows 19 to 22).
 * @param tcpPorts - the destination's pod ports that speak TCP for sure: they decide whether a TCPRoute limits the HTTP rules beside it
 */
export function rulesFor(
  grants: readonly Grant[],
  { port, protocol, unclear }: Omit<DeclaredPort, "services">,
  tcpPorts: ReadonlySet<number>,
): readonly Rule[] {
  const rules: Rule[] = [];
  for (const grant of grants) {
    if (grant.port !== undefined && grant.port !== port) continue;
    const { target, sources } = grant;
    const named = names(grant, port);
    if (grant.http === undefined) {
      // Row 20: HTTP is TCP, so a target with TCPRoutes alone allows every request on the ports that they name.
      if (named) rules.push({ target, sources });
    } else if (protocol !== "http") {
      // What may be HTTP after all, HTTP rules cannot be held against: they are not passed by.
      if (named && !unclear) rules.push({ target, sources });
    } else if (grant.http.length > 0 && (named || !limitsHttp(grant, tcpPorts))) {
      rules.push({ target, sources, matches: grant.http });
    }
  }
  return rules;
}

const names = (grant: Grant, port: number): boolean =>
  grant.tcp === "all" || (grant.tcp !== undefined && grant.tcp.includes(port));

/**
 * Row 21: TCPRoutes beside HTTP rules limit these to the ports named, unless all of them speak TCP. One that is missing, and a port
 * that the destination does not have (any more), might speak HTTP: nothing opens wider for its absence.
 */
const limitsHttp = (grant: Grant, tcpPorts: ReadonlySet<number>): boolean =>
  grant.tcpUnknown || (Array.isArray(grant.tcp) && grant.tcp.some((port) => !tcpPorts.has(port)));

/** Hints on grants that are honoured and probably not meant, once the destination's ports are known. */
export function portHints(
  grants: readonly Grant[],
  ports: readonly Pick<InboundPort, "port" | "protocol">[],
  servicePorts: ReadonlySet<number>,
): readonly Problem[] {
  const problems: Problem[] = [];
  for (const grant of grants) {
    const named = new Map<number, string>();
    if (grant.port !== undefined) named.set(grant.port, "spec.destination.port");
    for (const port of grant.tcp === "all" ? [] : (grant.tcp ?? [])) named.set(port, "spec.rules");
    for (const [number, path] of named) {
      if (ports.some((p) => p.port === number)) continue;
      const limited =
        grant.http && grant.port === undefined ? " HTTP rules of this target count on its named ports only." : "";
      const [code, message] = servicePorts.has(number)
        ? ([
            "service-port",
            `port ${number} is a Service's port; rules count on the pods' ports, and no pod of the destination has it.${limited} Name the Service's targetPort.`,
          ] as const)
        : ([
            "unknown-port",
            `no Service stands before port ${number} of the destination's pods: nothing is open there.${limited} Correct the number, or add the Service.`,
          ] as const);
      problems.push(hint(code, "TrafficTarget", grant, path, message));
    }
    if (grant.http !== undefined || grant.tcp === undefined) continue;
    const open = new Set(ports.filter((p) => p.protocol === "http" && names(grant, p.port)).map((p) => p.port));
    if (open.size > 0) {
      const message = `the target has TCPRoutes only, and port ${[...open].sort((a, b) => a - b).join(", ")} speaks HTTP: every request on it is allowed. Add an HTTPRouteGroup to allow less.`;
      problems.push(hint("tcp-on-http", "TrafficTarget", grant, "spec.rules", message));
    }
  }
  return problems;
}
