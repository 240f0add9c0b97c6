/**
 * Whatever regular expression `policy/` accepts, Envoy accepts too: one that it refused would take everybody's routes with it.
 * And a pattern's language (`language/`) is what Envoy matches.
 */
import { Agent, request } from "node:http";
import { join } from "node:path";
import * as fc from "fast-check";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { regexFault } from "../../src/policy/regex.ts";
import { app, namespace, routeGroup, target, world } from "../support/build.ts";
import { compile } from "../../src/policy/compile.ts";
import { Builder } from "../../src/xds/build.ts";
import { jsonOf, staticBootstrap, type Json } from "../support/envoy-json.ts";
import { EnvoyProcess, envoyPath, live, validate } from "../support/envoy-process.ts";
import { Languages } from "../../src/language/languages.ts";
import { probes } from "../../src/language/probes.ts";
import { bytes, pattern } from "../support/patterns.ts";

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

/** An Envoy on a socket of its own that answers 200 where header `x` matches the pattern whose number is the path, else 404. */
async function matcher(patterns: readonly string[]): Promise<(pattern: number, value: string) => Promise<boolean>> {
  const server = new EnvoyProcess();
  const socketPath = join(server.directory, "http");
  const answer = (status: number) => ({ direct_response: { status } });
  const routes = patterns.flatMap((regex, i) => [
    { match: { path: `/${i}`, headers: [{ name: "x", string_match: { safe_regex: { regex } } }] }, ...answer(200) },
    { match: { path: `/${i}` }, ...answer(404) },
  ]);
  const { layered_runtime } = withPatterns(["/"]);
  const manager = {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    stat_prefix: "x",
    http_filters: [
      {
        name: "router",
        typed_config: { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
      },
    ],
    route_config: { virtual_hosts: [{ name: "x", domains: ["*"], routes }] },
  };
  server.start(envoy, {
    node: { id: "test", cluster: "test" },
    admin: { address: { pipe: { path: server.adminPath } } },
    layered_runtime,
    static_resources: {
      listeners: [
        {
          name: "l",
          address: { pipe: { path: socketPath } },
          filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }],
        },
      ],
    },
  });
  await server.until("listener", live);
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  onTestFinished(() => agent.destroy());
  return (number, value) =>
    new Promise((resolve, reject) => {
      const call = request({ socketPath, agent, path: `/${number}`, headers: { host: "x", x: value } }, (response) => {
        response.resume().on("end", () => {
          const { statusCode } = response;
          if (statusCode === 200 || statusCode === 404) resolve(statusCode === 200);
          else reject(new Error(`${statusCode} for ${patterns[number]} on ${JSON.stringify(value)}`));
        });
      });
      call.on("error", reject).end();
    });
}

/** What a header's value can be: codecs take blanks off its ends. */
const isValue = (text: string): boolean => /^(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?$/.test(text);

test("a pattern's language is what Envoy matches: assertions, case folding, classes, bytes", async () => {
  const fixed = [
    "a$b",
    "\\bfoo\\b",
    "a\\b.*",
    "a\\B.*",
    "(?m)^a$",
    "(?i)k",
    "(?i)\\xe9",
    "(?i)[^k]",
    "é",
    "[é]",
    ".",
    "\\pL",
    "\\PL",
    "[[:^word:]]",
    "(?i)[t-\\xe0]",
    "(?i)[\\x80-\\xff]",
    "(?i)[^t-\\xe0]",
    "(?i)\\p{Lu}",
    "(?i)\\P{Ll}",
    "(?i)\\p{Sm}|\\351|\\Q\\xe9\\E",
    "(?i)[\\xb0-\\xe9]",
    "(?i)[\\xb5-\\xbf]",
    "(?i)[]t-\\xe0[:digit:]\\377-]",
  ];
  const random = fc.sample(pattern, { numRuns: 700, seed: 11 }).filter((p) => regexFault(p) === undefined);
  const patterns = [...fixed, ...random];
  const tricky = [
    "",
    "k",
    "K",
    "foo",
    "foo_",
    "a/b",
    "ab",
    "a\xe9",
    "\xe9",
    "\xc9",
    "\xc3\xa9",
    "\xe2\x84\xaa",
    "\xc5\xbf",
    "\xb5",
    "_",
    "-",
  ];
  const ask = await matcher(patterns);
  const seen = { in: 0, out: 0 };
  const wrong: string[] = [];
  for (const [i, p] of patterns.entries()) {
    const languages = new Languages();
    const language = languages.regex(p);
    const seeds = [1, 2, 3, 4, 5, 6, 7, 8];
    const texts = new Set([...tricky, ...probes(language, seeds), ...fc.sample(bytes, { numRuns: 4, seed: i })]);
    const verdicts = await Promise.all(
      [...texts]
        .filter(isValue)
        .map(async (text) => ({ text, envoy: await ask(i, text), ours: languages.has(language, text) })),
    );
    for (const { text, envoy: theirs, ours } of verdicts) {
      seen[ours ? "in" : "out"]++;
      if (theirs !== ours) wrong.push(`${p} on ${JSON.stringify(text)}: Envoy ${theirs}, here ${ours}`);
    }
  }
  expect(wrong).toEqual([]);
  expect(seen.in).toBeGreaterThan(1_000);
  expect(seen.out).toBeGreaterThan(1_000);
});
