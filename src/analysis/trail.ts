/**
 * An explanation → the objects that decided, in order, each with what it said: the trail. Pure; places in files are for others to add.
 */
import type { Backend, RouteMatch, Rule, SplitRoute } from "../policy/ir.ts";
import { writtenMatch } from "../policy/routes.ts";
import { localName, namespaceOf, type Identity } from "../world/names.ts";
import type { HTTPMatch, ObjectRef, TrafficTarget } from "../world/types.ts";
import { lets, type Explanation, type Share, type Taken } from "./explain.ts";
import type { Client, Ground, Server, Way } from "./ways.ts";

/** One object's part in the decision. */
export interface Step {
  readonly object: ObjectRef;
  /** Of the field that decided, as in a Problem. */
  readonly path: string;
  /** Without a full stop. */
  readonly says: string;
}

export const refTo = (kind: string, full: string): ObjectRef => {
  const slash = full.indexOf("/");
  return { kind, namespace: full.slice(0, slash), name: full.slice(slash + 1) };
};

export const titleOf = ({ kind, namespace, name }: ObjectRef): string => `${kind} ${namespace}/${name}`;

/** `GET, POST /a.* with x-a=1`; what is not asked for is said. */
export function matchText({ methods, pathRegex, headers }: HTTPMatch): string {
  const method = methods.length === 0 || methods.includes("*") ? "any method" : methods.join(", ");
  const wanted = headers.map(({ name, regex }) => `${name}=${regex}`).join(", ");
  return `${method}, ${pathRegex === undefined ? "any path" : `path ${pathRegex}`}${wanted === "" ? "" : `, header ${wanted}`}`;
}

export function trailOf(ground: Ground, explanation: Explanation): readonly Step[] {
  const chains: Step[][] = [];
  for (const taken of explanation.taken) {
    chains.push(...routeSteps(ground, taken).map((step) => [step]));
    for (const share of taken.shares) chains.push(...shareSteps(ground, explanation.call.client, share));
  }
  const keys = chains.map((chain) => JSON.stringify(chain));
  return chains.filter((_, i) => keys.indexOf(keys[i] as string) === i).flat();
}

function routeSteps({ world }: Ground, { way, route, shares }: Taken): Step[] {
  const steps = [
    serviceStep(
      way,
      world.tables.Service.get(namespaceOf(way.service.name))
        ?.get(localName(way.service.name))
        ?.ports.findIndex((p) => p.port === way.port.port) ?? 0,
    ),
  ];
  for (const passed of way.routes) {
    const { route: one } = passed;
    if (one === route) break;
    if (one.split !== undefined)
      steps.push({
        object: refTo("TrafficSplit", one.split),
        path: "spec.matches",
        says: "does not take it: its matches do not fit",
      });
  }
  if (route?.split !== undefined) steps.push(splitStep(route.split, route, shares));
  return steps;
}

function serviceStep({ service, port, to }: Way, index: number): Step {
  const speaks = { http: "HTTP", tcp: "TCP", "tcp-server-first": "TCP, and the server talks first" }[port.protocol];
  const only = to && service.headless && to.length === 1 ? `, pod ${to[0]}` : "";
  return {
    object: refTo("Service", service.name),
    path: `spec.ports[${Math.max(0, index)}]`,
    says: `port ${port.port} speaks ${speaks}${only}`,
  };
}

function splitStep(split: string, route: SplitRoute, shares: readonly Share[]): Step {
  const list = shares.map(({ service, weight }) => `${percent(weight)} to ${localName(service)}`);
  const takes = route.matches ? "takes it by its matches" : "takes it";
  const sends = list.length > 0 ? `sends ${list.join(", ")}` : "has no backend left";
  return { object: refTo("TrafficSplit", split), path: "spec.backends", says: `${takes}, and ${sends}` };
}

/** `50%`, `33.3%`. */
export const percent = (weight: number): string => `${Math.round(weight * 10) / 10}%`;

function shareSteps(ground: Ground, client: Client, { servers }: Share): Step[][] {
  return servers.flatMap(({ server, judgement }) =>
    judgement.allowed ? [ruleSteps(ground, client, server, judgement.rule, judgement.match)] : [],
  );
}

/** The rule that lets a call through: its target, and the match or TCPRoute in it. */
function ruleSteps(
  { world }: Ground,
  client: Client,
  server: Server,
  rule: Rule,
  match: RouteMatch | undefined,
): Step[] {
  if (rule.target === undefined) return [settingsStep(world)];
  const who = client.kind === "account" ? client.identity : "";
  const ref = refTo("TrafficTarget", rule.target);
  const target = world.tables.TrafficTarget.get(ref.namespace)?.get(ref.name);
  const index = target ? ruleIndex(target, server, match, world.tables.TCPRoute.get(ref.namespace)) : -1;
  const step: Step = {
    object: ref,
    path: index < 0 ? "spec.rules" : `spec.rules[${index}]`,
    says: `lets ${who} call ${server.identity}`,
  };
  if (match) {
    const group = refTo("HTTPRouteGroup", match.group);
    const written = writtenMatch(world.tables.HTTPRouteGroup.get(group.namespace)?.get(group.name), match.name);
    return [
      step,
      {
        object: group,
        path: written?.where ?? "",
        says: `match ${match.name} fits: ${matchText(match)}`,
      },
    ];
  }
  const route = target?.rules[index];
  if (route?.kind !== "TCPRoute") return [step];
  const ports = world.tables.TCPRoute.get(ref.namespace)?.get(route.name)?.ports ?? [];
  const open = ports.length === 0 ? "names no port, so it opens every one" : `names port ${server.port}`;
  const path = ports.length === 0 ? "spec" : `spec.matches.ports[${ports.indexOf(server.port)}]`;
  return [step, { object: refTo("TCPRoute", `${ref.namespace}/${route.name}`), path, says: open }];
}

function ruleIndex(
  { rules, namespace }: TrafficTarget,
  server: Server,
  match: RouteMatch | undefined,
  tcp: ReadonlyMap<string, { readonly ports: readonly number[] }> | undefined,
): number {
  return rules.findIndex((rule) => {
    if (match)
      return (
        rule.kind === "HTTPRouteGroup" &&
        `${namespace}/${rule.name}` === match.group &&
        (rule.matches.length === 0 || rule.matches.includes(match.name))
      );
    const ports = rule.kind === "TCPRoute" ? tcp?.get(rule.name)?.ports : undefined;
    return ports !== undefined && (ports.length === 0 || ports.includes(server.port));
  });
}

function settingsStep(world: Ground["world"]): Step {
  const [namespace = ""] = [...world.tables.MeshConfig.keys()].sort();
  const [name = ""] = [...(world.tables.MeshConfig.get(namespace)?.keys() ?? [])].sort();
  return {
    object: { kind: "MeshConfig", namespace, name },
    path: "spec.traffic.enablePermissiveTrafficPolicyMode",
    says: "permissive mode: everybody in the mesh may call everything",
  };
}

/** The accounts whose rules decide about a call. */
export const serversOf = ({ taken }: Explanation): readonly { server: Server; through: boolean; backend: Backend }[] =>
  taken.flatMap(({ shares }) =>
    shares.flatMap((share) =>
      share.servers.map(({ server, judgement }) => ({ server, through: judgement.allowed, backend: share.backend })),
    ),
  );

/** Shares that let the call through, and what is left of all. */
export function through({ taken }: Explanation): {
  readonly allowed: readonly Share[];
  readonly refused: readonly Share[];
} {
  const all = taken.flatMap(({ way, shares }) => shares.map((share) => ({ share, good: way.known && lets(share) })));
  return {
    allowed: all.filter((s) => s.good).map((s) => s.share),
    refused: all.filter((s) => !s.good).map((s) => s.share),
  };
}

export type { Identity };
