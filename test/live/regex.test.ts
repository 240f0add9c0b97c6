/**
 * Whatever regular expression `policy/` accepts, Envoy accepts too: one that it refused would take everybody's routes with it.
 */
import * as fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { regexFault } from "../../src/policy/regex.ts";
import { app, namespace, routeGroup, target, world } from "../support/build.ts";
import { compile } from "../../src/policy/compile.ts";
import { Builder } from "../../src/xds/build.ts";
import { jsonOf, staticBootstrap, type Json } from "../support/envoy-json.ts";
import { envoyPath, validate } from "../support/envoy-process.ts";

let envoy: string;
beforeAll(async () => {
  envoy = await envoyPath();
});

/** A bootstrap whose one listener has the inbound routes of a mesh with these patterns. */
function withPatterns(patterns: readonly string[]): Json {
  const matches = patterns.map((pathRegex, i) => ({
    name: `m${i}`,
    pathRegex,
    headers: [{ name: "x", regex: pathRegex }],
  }));
  const made = world(
    namespace("a"),
    ...app("a/x"),
    ...app("a/y"),
    routeGroup("a/g", matches),
    target("a/t", { to: "a/x", from: ["a/y"], rules: ["HTTPRouteGroup g"] }),
  );
  const { mesh } = compile(made);
  const groups = new Builder().mesh(mesh, made, { bundle: "", trustDomain: "cluster.local" }).changed;
  const [resources] = [...groups].filter(([name]) => name.startsWith("a/x/")).map(([, r]) => r);
  if (!resources) throw new Error("no server");
  const routes = [...resources.RDS.values()].map(jsonOf).find((r) => r.name.startsWith("rds-inbound"));
  const { layered_runtime } = staticBootstrap({ resources, secrets: [] });
  const manager = {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    stat_prefix: "x",
    http_filters: [
      {
        name: "router",
        typed_config: { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
      },
    ],
    route_config: routes,
  };
  const clusters = [...resources.CDS.values()].map(jsonOf).filter((c) => c.type === "STATIC");
  return {
    node: { id: "test", cluster: "test" },
    layered_runtime,
    static_resources: {
      clusters,
      listeners: [
        {
          name: "l",
          address: { socket_address: { address: "127.0.0.1", port_value: 0 } },
          filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }],
        },
      ],
    },
  };
}

const LARGE = [
  "a".repeat(1024),
  "\\pL{1000}",
  "[\\pL]{100}",
  "\\pS{1000}",
  "\\pS{1000}\\pS{1000}",
  "(?i)[acegikmo]{700}",
  "[^/]+/".repeat(150),
  "(?i)" + "k".repeat(1000),
  "é".repeat(500),
  "(a|b|c|d|e|f|g)".repeat(64),
  "((a{30}){30})",
  "(?:\\pL?){500}",
  "[acegikmo]{800}",
];

test("long and large patterns that are accepted here are accepted by Envoy", () => {
  for (const pattern of LARGE) expect(regexFault(pattern), pattern).toBeUndefined();
  const { accepted, output } = validate(envoy, withPatterns(LARGE));
  expect(accepted, output).toBe(true);
});

/** What either RE2 may see otherwise: classes, escapes, groups, repeats, Unicode. */
const piece = fc.constantFrom(
  ..."a|b|/|.|é|ſ|日|\\d|\\W|\\pL|\\PN|\\p{Lu}|\\p{^Lu}|\\p{Greek}|\\p{LC}|\\p{Cn}|\\p{Alphabetic}|\\p{Latin}|\\x41|\\x{e9}|\\x{100}|\\x{10FFFF}|\\C|\\Q.|\\E|\\b|\\B|\\A|\\z|\\Z|\\1|\\k<n>|\\u0041|\\0|\\07|\\012|\\cA|\\_|[a-z]|[^/]|[é-ü]|[à-é]|[¿-À]|[z-a]|[[:alpha:]]|[[:^word:]]|[[:x:]]|[]a]|[^]a]|[a&&b]|[\\d-z]|[\\Q]\\E]|(?i)|(?s)|(?U)|(?x)|(?-i:|(?:|(?P<n>|(?<m>|(?'q'|(?P<é>|(?=|(?>|(?#|(|)|)|)|*|+|?|??|{2}|{2,}|{,2}|{3,2}|{1000}|{1001}|^|$|\\".split(
    "|",
  ),
  "|",
  "\u0001",
  "\u0000",
);

test("random patterns that are accepted here are accepted by Envoy", () => {
  const patterns = fc.sample(
    fc.array(piece, { minLength: 1, maxLength: 8 }).map((parts) => parts.join("")),
    { numRuns: 6_000, seed: 7 },
  );
  const good = [...new Set(patterns)].filter((p) => regexFault(p) === undefined);
  expect(good.length).toBeGreaterThan(500);
  const { accepted, output } = validate(envoy, withPatterns(good));
  const named = good.filter((p) => output.includes(`: ${p}`));
  expect(accepted, `${output.slice(0, 500)} ${JSON.stringify(named)}`).toBe(true);
});
