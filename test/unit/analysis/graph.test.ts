/** Who may call whom, from the Mesh: edges, routes with their shares, and what each backend lets through. */
import { describe, expect, test } from "vitest";
import { graphOf, type Edge, type Graph } from "../../../src/analysis/graph.ts";
import { compile } from "../../../src/policy/compile.ts";
import {
  app,
  meshConfig,
  namespace,
  pod,
  pods,
  routeGroup,
  service,
  split,
  target,
  tcpRoute,
  workload,
  world,
  type Changes,
} from "../../support/build.ts";

function graph(...changes: readonly Changes[]): Graph {
  const made = world(namespace("a"), namespace("b"), pods(workload("b/web")), ...changes);
  return graphOf({ world: made, mesh: compile(made).mesh });
}

/** `from > to:port: when → backend*weight (what) …`, one text an edge. */
const text = ({ from, to, port, routes }: Edge): string =>
  `${from ?? "everybody"} > ${to}:${port}: ${routes
    .map(({ when, backends }) => {
      const list = backends.map(
        ({ service: name, weight, allows, partly }) =>
          `${name}*${Math.round(weight)} (${allows?.map((m) => m.name).join(" ") ?? "all"}${partly ? ", partly" : ""})`,
      );
      return `${when ? `${when.map((m) => m.name).join(" ")} → ` : ""}${list.join(", ") || "nowhere"}`;
    })
    .join("; ")}`;

const all = routeGroup("a/all", [{ name: "one" }, { name: "two", methods: ["GET"] }]);
const opens = (to: string, rules = ["HTTPRouteGroup all"], from = ["b/web"]) =>
  target(`a/${to}`, { to: `a/${to}`, from, rules });

describe("an edge", () => {
  test("is where something lets a client through, and says what", () => {
    const found = graph(
      app("a/api", { ports: [{ port: 80 }, { port: 5432, name: "tcp-db" }] }),
      app("a/other"),
      all,
      tcpRoute("a/db", [5432]),
      opens("api", ["HTTPRouteGroup all two", "TCPRoute db"]),
    );
    expect(found.edges.map(text)).toEqual(["b/web > a/api:80: a/api*100 (two)", "b/web > a/api:5432: a/api*100 (all)"]);
    expect(found.edges.map(({ protocol, routes }) => [protocol, routes[0]?.backends[0]?.accounts])).toEqual([
      ["http", ["a/api"]],
      ["tcp", ["a/api"]],
    ]);
  });

  test("of several targets has all that they allow, each match once", () => {
    const found = graph(
      app("a/api"),
      all,
      opens("api", ["HTTPRouteGroup all two"]),
      target("a/more", { to: "a/api", from: ["b/web"], rules: ["HTTPRouteGroup all"] }),
    );
    expect(found.edges.map(text)).toEqual(["b/web > a/api:80: a/api*100 (two one)"]);
  });

  test("has the split's shares, and backends that refuse", () => {
    const versions = [app("a/v1"), app("a/v2"), service("a/root", { selector: { app: "v1" } })];
    const made = [versions, all, opens("v1"), routeGroup("a/beta", [{ name: "beta" }])];
    const half = split("a/half", { service: "root", backends: { v1: 30, v2: 10 } });
    expect(graph(made, half).edges.map(text)).toEqual([
      "b/web > a/root:80: a/v1*75 (one two), a/v2*25 ()",
      "b/web > a/v1:80: a/v1*100 (one two)",
    ]);
    const beta = split("a/beta", { service: "root", backends: { v2: 1 }, matches: ["beta"] });
    expect(graph(made, beta, opens("v2")).edges.map(text)[0]).toBe(
      "b/web > a/root:80: beta → a/v2*100 (one two); a/root*100 (one two)",
    );
    const none = split("a/none", { service: "root", backends: { v1: 0 } });
    expect(graph(made, none).edges.map(text)).toEqual(["b/web > a/v1:80: a/v1*100 (one two)"]);
  });

  test("says that some pods behind a Service refuse", () => {
    const second = pod("a/second-1", workload("a/second", { labels: { app: "api" } }));
    const found = graph(app("a/api"), second, all, opens("api"));
    expect(found.edges.map(text)).toEqual(["b/web > a/api:80: a/api*100 (one two, partly)"]);
    expect(found.edges[0]?.routes[0]?.backends[0]?.accounts).toEqual(["a/api", "a/second"]);
  });

  test("of a client that has no pod yet is there: the policy is", () => {
    const found = graph(app("a/api"), all, opens("api", ["HTTPRouteGroup all"], ["b/later"]));
    expect(found.edges.map(text)).toEqual(["b/later > a/api:80: a/api*100 (one two)"]);
  });
});

test("in permissive mode everybody may call everything", () => {
  const found = graph(app("a/api"), meshConfig({ permissive: true, egress: true }));
  expect(found.edges.map(text)).toEqual(["everybody > a/api:80: a/api*100 (all)"]);
  expect([found.permissive, found.egress]).toEqual([true, true]);
});

test("of 1,000 services, only what is wanted is looked at", () => {
  const name = (i: number) => `a/s${i % 1_000}`;
  const made = world(
    namespace("a"),
    all,
    ...Array.from({ length: 1_000 }, (_, i) => [
      ...app(name(i)),
      target(`a/t${i}`, { to: name(i), from: [name(i + 1), name(i + 2)], rules: ["HTTPRouteGroup all"] }),
    ]).flat(),
  );
  const { mesh } = compile(made);
  expect(graphOf({ world: made, mesh }).edges).toHaveLength(2_000);
  const asked: string[] = [];
  const wanted = graphOf(
    { world: made, mesh },
    { to: (to) => to === name(5), from: (from) => asked.push(String(from)) > 0 },
  );
  expect(wanted.edges.map(text)).toEqual(["a/s6 > a/s5:80: a/s5*100 (one two)", "a/s7 > a/s5:80: a/s5*100 (one two)"]);
  expect(asked.sort()).toEqual(["a/s6", "a/s7"]);
});
