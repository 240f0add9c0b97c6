/** The whole way of manifests, from a folder's documents to Envoy's messages, and what must hold on it whatever they say. */
import { explain, type Call } from "../../src/analysis/explain.ts";
import { graphOf } from "../../src/analysis/graph.ts";
import { nearestOf } from "../../src/analysis/nearest.ts";
import { trailOf } from "../../src/analysis/trail.ts";
import { Validator } from "../../src/validator/validate.ts";
import { Compiler } from "../../src/policy/compile.ts";
import type { Mesh } from "../../src/policy/ir.ts";
import { splitApiVersion } from "../../src/manifest/kinds.ts";
import { catalogOf, type Entry } from "../../src/sources/files/catalog.ts";
import { Cluster } from "../../src/sources/files/cluster.ts";
import { isPassedOver } from "../../src/sources/files/kinds.ts";
import type { Document } from "../../src/sources/files/yaml.ts";
import { PROBLEM_CODES, type Change, type Problem } from "../../src/world/types.ts";
import { apply, EMPTY_WORLD, type World } from "../../src/world/world.ts";
import { Builder, missing } from "../../src/xds/build.ts";
import { TYPES, type Resources } from "../../src/xds/resource.ts";
import type { Trust } from "../../src/xds/tls.ts";
import type { Random } from "./random.ts";

export interface Outcome {
  readonly world: World;
  readonly mesh: Mesh;
  /** Of reading, with `line` = number of the document. */
  readonly read: readonly Problem[];
  readonly problems: readonly Problem[];
  readonly groups: ReadonlyMap<string, Resources>;
}

/** A document on a line of its own, from which a Problem tells it. */
export const documentsOf = (objects: readonly unknown[]): Document[] =>
  objects.map((value, i) => ({ value, line: i + 1, lineOf: () => i + 1 }));

export const TRUST: Trust = { bundle: "the roots\n", trustDomain: "cluster.local" };

/** From documents to messages. Throws what is thrown on the way, and for what must not be. */
export function walk(documents: readonly Document[], trust = TRUST): Outcome {
  const catalog = catalogOf([{ path: "x.yaml", signature: "", documents, problems: [] }], (path) => path);
  const cluster = new Cluster({ pods: "10.2.0.0/16", services: "10.1.0.0/16" });
  const derived = cluster.derive(catalog.entries, "assume-ready");
  const world = apply(EMPTY_WORLD, derived.changes);
  const { mesh, problems } = new Compiler().compile(world);
  const { changed } = new Builder().mesh(mesh, world, trust);
  const read = [...catalog.problems, ...derived.problems];
  const outcome = { world, mesh, read, problems, groups: changed };
  everyInputIsUsedOrNamed(documents, catalog.entries, derived.changes, new Set(derived.owners.values()), read);
  for (const problem of [...read, ...problems]) isWellSaid(problem);
  for (const [group, resources] of changed) {
    const gone = missing(resources);
    if (gone.length > 0) throw new Error(`${group} refers to what is not there: ${JSON.stringify(gone)}`);
    for (const type of TYPES)
      for (const [name, { bytes }] of resources[type])
        if (!name || !(bytes instanceof Uint8Array)) throw new Error(`${group}: ${type} "${name}"`);
  }
  return outcome;
}

function everyInputIsUsedOrNamed(
  documents: readonly Document[],
  entries: readonly Entry[],
  changes: readonly Change[],
  owners: ReadonlySet<Entry>,
  problems: readonly Problem[],
): void {
  const named = new Set(problems.map((problem) => problem.line));
  const used = new Set(changes.filter((c) => c.value !== undefined).map((c) => `${c.kind}/${c.namespace}/${c.name}`));
  const byLine = Map.groupBy(entries, (entry) => entry.line);
  for (const { value, line } of documents) {
    if (named.has(line)) continue;
    const own = byLine.get(line) ?? [];
    if (own.length === 0 && isOfNoConcern(value)) continue;
    const fine =
      own.length > 0 && own.every((entry) => owners.has(entry) || makesNoPod(entry) || used.has(keyOf(entry)));
    if (!fine) throw new Error(`neither used nor named: ${show(value)}`);
  }
}

const keyOf = ({ ref }: Entry): string => `${ref.kind}/${ref.kind === "Namespace" ? "" : ref.namespace}/${ref.name}`;

/** Kinds that mean nothing to traffic, and Lists of them or of nothing. */
function isOfNoConcern(value: unknown): boolean {
  const { apiVersion, kind, items } = (value ?? {}) as { apiVersion?: unknown; kind?: unknown; items?: unknown };
  if (typeof kind === "string" && kind.endsWith("List") && Array.isArray(items)) return items.every(isOfNoConcern);
  return (
    typeof apiVersion === "string" && typeof kind === "string" && isPassedOver(splitApiVersion(apiVersion).group, kind)
  );
}

/** A controller that is scaled to nothing says so itself. */
function makesNoPod({ controller, raw }: Entry): boolean {
  const spec = raw["spec"] as { replicas?: unknown; parallelism?: unknown; completions?: unknown } | undefined;
  return controller !== undefined && [spec?.replicas, spec?.parallelism, spec?.completions].includes(0);
}

function isWellSaid({ code, severity, object, path, message }: Problem): void {
  const strings = [object.kind, object.namespace, object.name, path, message];
  const fine =
    Object.hasOwn(PROBLEM_CODES, code) &&
    (severity === "error" || severity === "hint") &&
    strings.every((text) => typeof text === "string") &&
    /[.?]$/.test(message) &&
    message.length < 2_000 &&
    !/undefined|NaN,|\[object/.test(message.replaceAll(/"(?:[^"\\]|\\.)*"/g, ""));
  if (!fine)
    throw new Error(`a Problem that says nothing: ${JSON.stringify({ code, severity, object, path, message })}`);
}

const validator = new Validator();

/** The webhook's way: an answer to every object, in whatever world. */
export function answerTo(world: World, object: unknown): void {
  for (const operation of ["CREATE", "UPDATE", "DELETE"] as const) {
    const { allowed, problems } = validator.validate(world, { operation, object, oldObject: object });
    if (allowed !== (problems.length === 0)) throw new Error(`refused without a word, or not: ${show(object)}`);
  }
}

/** One thing that one client may do at one port. */
export interface Opening {
  readonly place: string;
  /** Of one method, `*` being any. Undefined: everything. */
  readonly request?: {
    readonly path: string | undefined;
    readonly method: string;
    readonly headers: readonly string[];
  };
}

export function opened(mesh: Mesh): Opening[] {
  const found: Opening[] = [];
  for (const { identity, inbound } of mesh.groups.values())
    for (const { port, access } of inbound)
      for (const { sources, matches } of access)
        for (const source of sources ?? ["everybody"]) {
          const place = `${source}>${identity}:${port}`;
          if (!matches) found.push({ place });
          for (const { pathRegex: path, methods, headers } of matches ?? [])
            for (const method of methods.length === 0 || methods.includes("*") ? ["*"] : methods)
              found.push({ place, request: { path, method, headers: headers.map((h) => `${h.name}: ${h.regex}`) } });
        }
  return found;
}

/** Whether one opening lets through all that another does, as far as it can be seen without looking into patterns. */
export const covers = (larger: Opening, smaller: Opening): boolean =>
  larger.place === smaller.place &&
  (!larger.request ||
    (smaller.request !== undefined &&
      (larger.request.path === undefined || larger.request.path === smaller.request.path) &&
      (larger.request.method === "*" || larger.request.method === smaller.request.method) &&
      larger.request.headers.every((header) => smaller.request?.headers.includes(header))));

/** Some calls of this world: whoever is asked for a reason has one, and says the same as the graph. */
export function ask({ world, mesh }: Outcome, random: Random): void {
  const ground = { world, mesh };
  const { edges } = graphOf(ground);
  const clients = [...new Set([...mesh.groups.values()].map((policy) => policy.identity))];
  const services = [...mesh.services.values()].filter((service) => service.ports.length > 0);
  for (let i = 0; i < 3 && clients.length > 0 && services.length > 0; i++) {
    const [identity, service] = [random.of(clients), random.of(services)];
    const { port, protocol } = random.of(service.ports);
    const path = random.of(["/", "/api", "/a%2fb", "/../b/1?x=/api", "/a/./b//c", "/#", "/%00"]);
    const request = {
      method: random.of(["GET", "POST", "get"]),
      path,
      headers: random.oneIn(2) ? [] : [["X-Two", "a"] as const],
    };
    const call: Call = {
      client: random.oneIn(9) ? { kind: "outside" } : { kind: "account", identity },
      destination: { kind: "service", service: service.name, port },
      ...(protocol === "http" || random.oneIn(5) ? { request } : {}),
    };
    const explanation = explain(ground, call);
    const said = [
      ...trailOf(ground, explanation).map(({ says }) => says),
      ...nearestOf(ground, explanation).map(({ says }) => says),
    ];
    const { verdict } = explanation;
    const edge = edges.find((e) => (e.from ?? identity) === identity && e.to === service.name && e.port === port);
    const whole =
      edge?.routes.length === 1 && edge.routes.every(({ backends }) => backends.every(({ allows }) => !allows));
    const wrong =
      !["allowed", "denied", "not-routed", "not-in-mesh"].includes(verdict) ||
      said.some((text) => text === "" || /undefined|\[object/.test(text)) ||
      (verdict === "allowed" && (call.client.kind === "outside" || !edge)) ||
      (verdict !== "allowed" && whole && call.client.kind === "account" && protocol !== "http" && !call.request);
    if (wrong) throw new Error(`an answer that cannot be: ${show({ call, verdict, said, edge })}`);
  }
}

export const show = (value: unknown): string => {
  try {
    return (
      JSON.stringify(
        value,
        (_, v: unknown) =>
          typeof v === "bigint"
            ? `${v}n`
            : typeof v === "string" && v.length > 200
              ? `${v.slice(0, 200)}…(${v.length})`
              : v,
        1,
      ) ?? String(value)
    );
  } catch (error) {
    return `(not to be shown: ${String(error)})`;
  }
};
