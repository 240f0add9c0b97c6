/**
 * What is other in a new Mesh than in the one before, in lines for people: weights, access, Services, identities, settings. Pure.
 */
import type { Mesh, MeshService, RouteMatch, SplitRoute } from "../policy/ir.ts";
import { localName, namespaceOf, type ServiceName } from "../world/names.ts";

/** A big change is told by its first lines. */
const MAX_LINES = 20;

/** One line for each thing that means something else now; none when there was no Mesh before. */
export function summarize(before: Mesh | undefined, after: Mesh): string[] {
  if (!before || before === after) return [];
  const lines = [
    ...settings(before, after),
    ...services(before, after),
    ...identities(before, after),
    ...access(before, after),
  ];
  const unique = [...new Set(lines)];
  return unique.length > MAX_LINES
    ? [...unique.slice(0, MAX_LINES), `and ${unique.length - MAX_LINES} more changes`]
    : unique;
}

const onOff = (on: boolean): string => (on ? "on" : "off");

function* settings({ settings: a }: Mesh, { settings: b }: Mesh): Generator<string> {
  if (a.permissive !== b.permissive) yield `permissive mode: ${onOff(a.permissive)} → ${onOff(b.permissive)}`;
  if (a.egress !== b.egress) yield `egress: ${onOff(a.egress)} → ${onOff(b.egress)}`;
  if (a.certificateValidity !== b.certificateValidity)
    yield `certificates' validity: ${a.certificateValidity} s → ${b.certificateValidity} s`;
}

function* services(before: Mesh, after: Mesh): Generator<string> {
  if (before.services === after.services) return;
  for (const [name, service] of after.services) {
    const old = before.services.get(name);
    if (old === service) continue;
    if (old) yield* changed(old, service);
    else
      yield `Service ${name} is new (${service.ports.map((p) => `${p.port} ${p.protocol}`).join(", ") || "no port"})`;
  }
  for (const name of before.services.keys()) if (!after.services.has(name)) yield `Service ${name} is gone`;
}

function* changed(before: MeshService, after: MeshService): Generator<string> {
  const { name } = after;
  for (const port of after.ports) {
    const old = before.ports.find((p) => p.port === port.port);
    if (!old) yield `Service ${name}: port ${port.port} (${port.protocol}) is new`;
    else {
      if (old.protocol !== port.protocol)
        yield `Service ${name}: port ${port.port} speaks ${old.protocol} → ${port.protocol}`;
      if (old.targetPort !== port.targetPort)
        yield `Service ${name}: port ${port.port} leads to ${old.targetPort} → ${port.targetPort}`;
      yield* weights(name, old.routes, port.routes);
    }
  }
  for (const old of before.ports)
    if (!after.ports.some((p) => p.port === old.port)) yield `Service ${name}: port ${old.port} is gone`;
}

/** Where calls go, for each set of matches: `bookstore/bookstore split: bookstore-v1 100% → 50%, bookstore-v2 0% → 50%`. */
function* weights(
  service: ServiceName,
  before: readonly SplitRoute[],
  after: readonly SplitRoute[],
): Generator<string> {
  const [old, now] = [shares(service, before), shares(service, after)];
  for (const label of new Set([...old.keys(), ...now.keys()])) {
    const [a, b] = [old.get(label), now.get(label)];
    const backends = [...new Set([...(a?.keys() ?? []), ...(b?.keys() ?? [])])].sort();
    const parts = backends
      .filter((backend) => a?.get(backend) !== b?.get(backend))
      .map((backend) => `${shortName(backend, service)} ${percent(a?.get(backend))} → ${percent(b?.get(backend))}`);
    if (parts.length > 0) yield `${service} split${label}: ${parts.join(", ")}`;
  }
}

/** Parts of 1 by backend, for each set of matches. */
function shares(service: ServiceName, routes: readonly SplitRoute[]): Map<string, Map<ServiceName, number>> {
  const found = new Map<string, Map<ServiceName, number>>();
  for (const { matches, backends } of routes) {
    const label = matches ? ` for ${matches.map((m) => m.name).join(", ")}` : "";
    if (found.has(label)) continue;
    const sum = backends.reduce((n, b) => n + b.weight, 0);
    found.set(label, new Map(backends.map((b) => [b.service, b.weight / sum])));
  }
  if (routes.length === 0) found.set("", new Map([[service, 1]]));
  return found;
}

const percent = (share = 0): string => `${Math.round(share * 1000) / 10}%`;
const shortName = (backend: ServiceName, root: ServiceName): string =>
  namespaceOf(backend) === namespaceOf(root) ? localName(backend) : backend;

function* identities(before: Mesh, after: Mesh): Generator<string> {
  const [old, now] = [before, after].map((mesh) => new Set([...mesh.groups.values()].map((p) => p.identity)));
  for (const identity of now!) if (!old!.has(identity)) yield `${identity} is in the mesh now`;
  for (const identity of old!) if (!now!.has(identity)) yield `${identity} is no longer in the mesh`;
}

/** What each identity may do, by the Services and the port that it is about. */
function* access(before: Mesh, after: Mesh): Generator<string> {
  const [old, now] = [grants(before), grants(after)];
  for (const [key, what] of now) {
    const had = old.get(key);
    if (!had) yield `access given: ${key} (${listed(what)})`;
    else if (!sameSet(had, what)) {
      const given = [...what].filter((m) => !had.has(m));
      const taken = [...had].filter((m) => !what.has(m));
      const parts = [given.length > 0 && `given ${listed(given)}`, taken.length > 0 && `taken ${listed(taken)}`].filter(
        (p) => p !== false,
      );
      yield `access changed: ${key}: ${parts.join("; ")}`;
    }
  }
  for (const [key, what] of old) if (!now.has(key)) yield `access taken: ${key} (${listed(what)})`;
}

function grants(mesh: Mesh): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const { inbound } of mesh.groups.values()) {
    for (const { port, services, access: rules } of inbound) {
      for (const { sources, matches } of rules) {
        for (const source of sources ?? ["everybody in the mesh"]) {
          const key = `${source} → ${services.join(", ")} port ${port}`;
          const what = found.get(key) ?? new Set<string>();
          found.set(key, what);
          for (const match of matches?.map(described) ?? ["everything"]) what.add(match);
        }
      }
    }
  }
  return found;
}

function described({ methods, pathRegex, headers }: RouteMatch): string {
  const verbs = methods.length === 0 || methods.includes("*") ? "any method" : methods.join("|");
  const with_ = headers.map(({ name, regex }) => ` with ${name}: ${regex}`).join("");
  return `${verbs} ${pathRegex ?? "any path"}${with_}`;
}

const listed = (what: Iterable<string>): string => {
  const all = [...what];
  return all.length > 4 ? `${all.slice(0, 4).join(", ")} and ${all.length - 4} more` : all.join(", ");
};
const sameSet = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean =>
  a.size === b.size && [...a].every((x) => b.has(x));
