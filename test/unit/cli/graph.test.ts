/** `heddle graph`: the table, the pictures and what is wanted of them. */
import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { select } from "../../../src/cli/graph.ts";
import { graphDot, graphMermaid, graphTable } from "../../../src/cli/graph-text.ts";
import { loadFiles } from "../../../src/cli/load.ts";
import { compile } from "../../../src/policy/compile.ts";
import {
  app,
  meshConfig,
  namespace,
  pods,
  routeGroup,
  service,
  split,
  target,
  workload,
  world,
  type Changes,
} from "../../support/build.ts";

function view(...changes: readonly Changes[]) {
  const made = world(namespace("a"), pods(workload("a/web")), ...changes);
  return { world: made, mesh: compile(made).mesh };
}

const shop = [
  app("a/v1"),
  app("a/v2"),
  service("a/root", { selector: { app: "v1" } }),
  routeGroup("a/r", [
    { name: "get", pathRegex: '/say/".*"', methods: ["GET", "HEAD"] },
    { name: "agent", headers: [{ name: "user-agent", regex: "a|b\\]" }] },
    { name: "x", pathRegex: "/x" },
    { name: "y", pathRegex: "/y" },
  ]),
  target("a/t", { to: "a/v1", from: ["a/web"], rules: ["HTTPRouteGroup r"] }),
  split("a/beta", { service: "root", backends: { v2: 1 }, matches: ["r"] }),
  split("a/rest", { service: "root", backends: { v1: 2, v2: 1 } }),
];

test("the table has a row for each route, and for backends that differ", () => {
  const lines = graphTable(select(view(shop), {})).split("\n");
  expect(lines.map((line) => line.split(/ {3,}/))).toEqual([
    ["FROM", "TO", "VIA", "MAY"],
    [
      "a/web",
      "a/root:80",
      'v2 100% if GET|HEAD /say/".*" or * * [user-agent: a|b\\]] or * /x or … 1 more',
      "nothing (refused)",
    ],
    ["a/web", "a/root:80", "else v1 66.7%", '* * [user-agent: a|b\\]], GET|HEAD /say/".*", * /x, … 1 more'],
    ["a/web", "a/root:80", "else v2 33.3%", "nothing (refused)"],
    ["a/web", "a/v1:80", "-", '* * [user-agent: a|b\\]], GET|HEAD /say/".*", * /x, … 1 more'],
  ]);
});

test("nobody, everybody, and egress are said", () => {
  expect(graphTable(select(view(app("a/api")), {}))).toBe("Nobody may call anybody.");
  const open = graphTable(select(view(app("a/api"), meshConfig({ permissive: true, egress: true })), {}));
  expect(open).toMatch(/^everybody {3}a\/api:80 +- +everything$/m);
  expect(open).toContain("Egress is on");
});

describe("what is wanted", () => {
  const made = view(
    shop,
    namespace("b"),
    app("b/api"),
    routeGroup("b/r", [{ name: "all" }]),
    target("b/t", { to: "b/api", from: ["a/web"], rules: ["HTTPRouteGroup r"] }),
  );
  const ends = (options: Parameters<typeof select>[1]) =>
    select(made, options).edges.map(({ from, to }) => `${from} ${to}`);

  test.each([
    [{}, ["a/web a/root", "a/web a/v1", "a/web b/api"]],
    [{ namespace: "b" }, ["a/web b/api"]],
    [{ to: "a/*" }, ["a/web a/root", "a/web a/v1"]],
    [{ to: "b/api:80" }, ["a/web b/api"]],
    [{ from: "a/web", to: "a/r*" }, ["a/web a/root"]],
    [{ from: "a/v1" }, []],
  ])("%j", (options, expected) => expect(ends(options)).toEqual(expected));

  test.each([
    [{ namespace: "c" }, /^namespace c is nothing in this mesh\. Did you mean a\?$/],
    [{ from: "a/wep" }, /^--from a\/wep is nothing in this mesh\. Did you mean a\/web\?$/],
    [{ to: "a/roof" }, /^--to a\/roof is nothing in this mesh\. Did you mean a\/root\?$/],
    [{ to: "elsewhere/x.*" }, /^--to elsewhere\/x\.\* is nothing in this mesh\. There are: a\/root, a\/root:80, /],
  ])("%j is refused in words", (options, message) => expect(() => ends(options)).toThrow(message));
});

/** Names and patterns that would end a label, or begin something else. */
const hostile = view(
  app("a/api"),
  routeGroup("a/r", [
    {
      name: "m",
      pathRegex: '"] --> x\\"; %% {{|}} end <b>&amp;#quot;',
      headers: [{ name: "h", regex: "\u001b[2Jü\n" }],
    },
  ]),
  target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup r"] }),
);
const pictures = [
  ["shop", view(shop)],
  ["hostile", hostile],
  ["permissive", view(app("a/api"), meshConfig({ permissive: true }))],
  ["nobody", view(app("a/api"))],
] as const;

describe.each(pictures)("the picture of %s", (_name, made) => {
  test("is Mermaid", () => {
    const label = '"(?:[A-Za-z0-9 ./:,%_-]|#\\d+;)*"';
    const grammar = new RegExp(
      `^(?:flowchart LR| {2}subgraph s\\d+\\[${label}\\]| {2}end| {2,4}n\\d+(?:\\[${label}\\]|\\(\\[${label}\\]\\))| {2}n\\d+ (?:-->|==>|-\\.->)(?:\\|${label}\\|)? n\\d+)$`,
    );
    const lines = graphMermaid(select(made, {})).split("\n");
    for (const line of lines) expect(line).toMatch(grammar);
    const defined = new Set(lines.flatMap((line) => /^ {2,4}(n\d+)[[(]/.exec(line)?.[1] ?? []));
    for (const line of lines)
      for (const [id] of line.matchAll(/\bn\d+\b(?= [-=]|$)/g)) if (/[-=]>/.test(line)) expect(defined).toContain(id);
  });

  test("is DOT", () => {
    const text = '"(?:[^"\\\\]|\\\\["\\\\])*"';
    const grammar = new RegExp(
      `^(?:digraph heddle \\{| *\\}| {2}rankdir=LR;| {2}subgraph cluster_\\d+ \\{| {4}label=${text};| {2,4}n\\d+ \\[label=${text}, shape=(?:box|ellipse)\\];| {2}n\\d+ -> n\\d+ \\[style=(?:solid|bold|dashed)(?:, label=${text})?\\];)$`,
      "u",
    );
    const dot = graphDot(select(made, {}));
    for (const line of dot.split("\n")) expect(line).toMatch(grammar);
    // Graphviz's own word, where it is installed.
    const { status, stdout, stderr, error } = spawnSync("dot", ["-Tsvg"], { input: dot, encoding: "utf8" });
    if ((error as NodeJS.ErrnoException | undefined)?.code === "ENOENT") return;
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toContain("</svg>");
  });
});

test("the bookstore: shares of the split, accounts behind Services, TCP", async () => {
  const found = select(await loadFiles("examples/bookstore"), {});
  const mermaid = graphMermaid(found);
  expect(mermaid).toContain('==>|"50%"|');
  expect(graphTable(found)).toMatch(/^bookwarehouse\/bookwarehouse +bookwarehouse\/mysql:3306 +- +connect$/m);
  expect(graphTable(found)).not.toContain("bookthief");
});
