/**
 * `heddle graph DIR|live`: who may call whom, as a table, for Mermaid or Graphviz, or as JSON. Decides nothing itself.
 */
import { graphOf, type Graph } from "../analysis/graph.ts";
import { namespaceOf, type Identity } from "../world/names.ts";
import type { ClusterVerbs } from "./cluster/program.ts";
import { EXIT, UserError } from "./errors.ts";
import { EVERYBODY, graphDot, graphMermaid, graphTable } from "./graph-text.ts";
import { withView, type View } from "./load.ts";
import { formatOf, print, printData } from "./output.ts";
import { problemLine } from "./problem-line.ts";
import { nearest } from "./text.ts";

export interface GraphOptions {
  readonly output: string;
  readonly namespace?: string;
  readonly from?: string;
  readonly to?: string;
  readonly mesh?: string;
  readonly meshName?: string;
}

/** @param typed - whether `--mesh` stands on the command line */
export function graph(
  where: string,
  options: GraphOptions,
  typed: boolean,
  verbs: ClusterVerbs,
): Promise<number | undefined> {
  const format = formatOf(options.output, ["table", "mermaid", "dot", "json"]);
  const { mesh, meshName } = options;
  const live = { ...(mesh === undefined ? {} : { mesh }), ...(meshName === undefined ? {} : { meshName }) };
  const wanted = where === "live" ? live : { file: where, ...(meshName === undefined ? {} : { meshName }) };
  return withView(wanted, typed, verbs, async (view) => {
    const found = select(view, options);
    if (format === "json") await printData("json", found);
    else await print({ table: graphTable, mermaid: graphMermaid, dot: graphDot }[format](found));
    const errors = view.problems.filter((problem) => problem.severity === "error");
    process.stderr.write(errors.map((problem) => `${problemLine(problem)}\n`).join(""));
    return EXIT.ok;
  });
}

/** The edges that are wanted. Throws a sentence for a name that is nobody's. */
export function select(
  view: Pick<View, "world" | "mesh">,
  { namespace, from, to }: Omit<GraphOptions, "output">,
): Graph {
  const { mesh } = view;
  const rules = [...mesh.groups.values()].flatMap(({ inbound }) => inbound.flatMap((port) => port.access));
  const accounts = new Set<string>([...mesh.groups.values()].map((policy) => policy.identity));
  for (const { sources } of rules) for (const source of sources ?? [EVERYBODY]) accounts.add(source);
  const services = [...mesh.services.values()];
  const isFrom = pattern("--from", from, accounts);
  const isTo = pattern(
    "--to",
    to,
    services.flatMap(({ name, ports }) => [name, ...ports.map(({ port }) => `${name}:${port}`)]),
  );
  const all = graphOf(view, {
    from: (client) => isFrom(client ?? EVERYBODY),
    to: (service, port) => isTo(service) || isTo(`${service}:${port}`),
  });
  if (namespace === undefined) return all;
  const known = new Set([...accounts, ...services.map(({ name }) => name)].filter((name) => name.includes("/")));
  const namespaces = new Set([...known].map((name) => namespaceOf(name as Identity)));
  if (!namespaces.has(namespace)) throw unknown("namespace", namespace, namespaces);
  const within = (name: Graph["edges"][number]["from" | "to"]) => name !== undefined && namespaceOf(name) === namespace;
  return { ...all, edges: all.edges.filter(({ from: client, to: service }) => within(client) || within(service)) };
}

/** `*` stands for anything. */
function pattern(flag: string, given: string | undefined, names: Iterable<string>): (name: string) => boolean {
  if (given === undefined) return () => true;
  const escaped = given.replaceAll(/[^*\w]/g, "\\$&").replaceAll("*", ".*");
  const whole = new RegExp(`^${escaped}$`, "s");
  const all = [...names];
  if (!all.some((name) => whole.test(name))) throw unknown(flag, given, all);
  return (name) => whole.test(name);
}

function unknown(what: string, given: string, names: Iterable<string>): UserError {
  const near = nearest(given, names);
  const there = [...new Set(names)].sort();
  const hint = near
    ? `Did you mean ${near}?`
    : there.length > 0
      ? `There are: ${there.slice(0, 8).join(", ")}${there.length > 8 ? " …" : ""}.`
      : "There is nothing in this mesh.";
  return new UserError(`${what} ${given} is nothing in this mesh. ${hint}`);
}
