/**
 * A graph of who may call whom, as a table, and as pictures for Mermaid and Graphviz. Pure; names and patterns come from others, so
 * whatever could end a label is escaped.
 */
import type { Edge, Graph, GraphBackend, GraphRoute } from "../analysis/graph.ts";
import { percent } from "../analysis/trail.ts";
import type { HTTPMatch } from "../world/types.ts";
import { localName, namespaceOf, type ServiceName } from "../world/names.ts";
import { cut, printable, table } from "./text.ts";

/** Matches that are written out in one cell; the rest is counted. */
const MOST = 3;
/** Characters of a picture's label. */
const LABEL = 80;

export const EVERYBODY = "everybody";

/** `GET|POST /api/.* [x: y]`. */
export function matchText({ methods, pathRegex, headers }: HTTPMatch): string {
  const method = methods.length === 0 || methods.includes("*") ? "*" : methods.join("|");
  const header = headers.map(({ name, regex }) => ` [${name}: ${regex}]`).join("");
  return `${method} ${pathRegex ?? "*"}${header}`;
}

function matchesText(matches: readonly HTTPMatch[], by: string): string {
  const texts = [...new Set(matches.map(matchText))];
  const more = texts.length > MOST ? `${by}… ${texts.length - MOST} more` : "";
  return texts.slice(0, MOST).join(by) + more;
}

/** What a backend lets the client do. */
function mayText({ allows, partly }: GraphBackend, { protocol }: Edge): string {
  const text =
    allows === undefined
      ? protocol === "http"
        ? "everything"
        : "connect"
      : allows.length === 0
        ? "nothing (refused)"
        : matchesText(allows, ", ");
  return partly ? `${text} (not at every pod)` : text;
}

function shareText({ service, weight }: GraphBackend): string {
  return `${localName(service)} ${percent(weight)}`;
}

const whenText = ({ when }: GraphRoute): string => (when ? ` if ${matchesText(when, " or ")}` : "");

/** Rows of one edge: routes apart, and in a route those backends that let through different requests. */
function rowsOf(edge: Edge): string[][] {
  const rows: string[][] = [];
  for (const [i, route] of edge.routes.entries()) {
    const rest = i > 0 && !route.when ? "else " : "";
    if (route.backends.length === 0) rows.push([`${rest}nowhere${whenText(route)}`, "nothing (503)"]);
    for (const [may, backends] of Map.groupBy(route.backends, (backend) => mayText(backend, edge))) {
      const via = route.split === undefined ? (rest ? "else itself" : "-") : rest + backends.map(shareText).join(", ");
      rows.push([via + whenText(route), may]);
    }
  }
  const from = edge.from ?? EVERYBODY;
  return rows.map((row) => [from, `${edge.to}:${edge.port}`, ...row]);
}

export function graphTable({ edges, egress }: Graph): string {
  const lines =
    edges.length === 0 ? ["Nobody may call anybody."] : table(["FROM", "TO", "VIA", "MAY"], edges.flatMap(rowsOf));
  if (egress) lines.push("", "Egress is on: whatever is not in the mesh may be called by everybody in it.");
  return lines.join("\n");
}

interface Node {
  readonly id: string;
  readonly label: string;
  readonly kind: "account" | "port";
  readonly namespace: string;
}

interface Link {
  readonly from: string;
  readonly to: string;
  readonly label: string;
  /** A call, a split's share, or which accounts are behind a Service. */
  readonly kind: "call" | "share" | "behind";
}

/** Accounts and Service ports, and what leads from one to the other. */
class Picture {
  readonly nodes = new Map<string, Node>();
  readonly links = new Map<string, Link>();

  constructor({ edges }: Graph) {
    for (const edge of edges) {
      const to = this.#port(edge.to, edge.port);
      const backends = edge.routes.flatMap((route) => route.backends);
      const may = [...new Set(backends.map((backend) => mayText(backend, edge)))].join("; ");
      this.#link(this.#account(edge.from), to, "call", may);
      for (const route of edge.routes) {
        for (const backend of route.backends) {
          const node = this.#port(backend.service, edge.port);
          if (node !== to || route.split !== undefined)
            this.#link(to, node, "share", percent(backend.weight) + whenText(route));
          for (const account of backend.accounts) this.#link(node, this.#account(account), "behind", "");
        }
      }
    }
  }

  /** By namespace; those of none first. */
  get byNamespace(): readonly (readonly [string, readonly Node[]])[] {
    return [...Map.groupBy(this.nodes.values(), (node) => node.namespace)].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  #account(account: Edge["from"]): string {
    const label = account ?? EVERYBODY;
    return this.#node("account", label, account === undefined ? "" : namespaceOf(account));
  }

  #port(service: ServiceName, port: number): string {
    return this.#node("port", `${service}:${port}`, namespaceOf(service));
  }

  #node(kind: Node["kind"], label: string, namespace: string): string {
    const key = `${kind} ${label}`;
    const known = this.nodes.get(key);
    if (known) return known.id;
    const id = `n${this.nodes.size}`;
    this.nodes.set(key, { id, label, kind, namespace });
    return id;
  }

  #link(from: string, to: string, kind: Link["kind"], label: string): void {
    this.links.set(`${from} ${to} ${kind} ${label}`, { from, to, kind, label: cut(printable(label), LABEL) });
  }
}

/** Mermaid's entity codes for all that may mean something to it. */
const mermaidText = (text: string): string =>
  `"${Array.from(text, (c) => (/[A-Za-z0-9 ./:,%_-]/.test(c) ? c : `#${c.codePointAt(0)};`)).join("")}"`;

const ARROWS = { call: "-->", share: "==>", behind: "-.->" } as const;

export function graphMermaid(graph: Graph): string {
  const picture = new Picture(graph);
  const lines = ["flowchart LR"];
  const node = ({ id, label, kind }: Node) =>
    `${id}${kind === "account" ? `([${mermaidText(label)}])` : `[${mermaidText(label)}]`}`;
  for (const [i, [namespace, nodes]] of picture.byNamespace.entries()) {
    const inner = nodes.map(node);
    if (namespace === "") lines.push(...inner.map((line) => `  ${line}`));
    else lines.push(`  subgraph s${i}[${mermaidText(namespace)}]`, ...inner.map((line) => `    ${line}`), "  end");
  }
  for (const { from, to, kind, label } of picture.links.values())
    lines.push(`  ${from} ${ARROWS[kind]}${label === "" ? "" : `|${mermaidText(label)}|`} ${to}`);
  return lines.join("\n");
}

const dotText = (text: string): string => `"${printable(text).replaceAll(/[\\"]/g, "\\$&")}"`;

const STYLES = { call: "solid", share: "bold", behind: "dashed" } as const;

export function graphDot(graph: Graph): string {
  const picture = new Picture(graph);
  const lines = ["digraph heddle {", "  rankdir=LR;"];
  const node = ({ id, label, kind }: Node) =>
    `${id} [label=${dotText(label)}, shape=${kind === "account" ? "ellipse" : "box"}];`;
  for (const [i, [namespace, nodes]] of picture.byNamespace.entries()) {
    const inner = nodes.map(node);
    if (namespace === "") lines.push(...inner.map((line) => `  ${line}`));
    else
      lines.push(
        `  subgraph cluster_${i} {`,
        `    label=${dotText(namespace)};`,
        ...inner.map((line) => `    ${line}`),
        "  }",
      );
  }
  for (const { from, to, kind, label } of picture.links.values())
    lines.push(`  ${from} -> ${to} [style=${STYLES[kind]}${label === "" ? "" : `, label=${dotText(label)}`}];`);
  return [...lines, "}"].join("\n");
}
