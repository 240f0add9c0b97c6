/** What only a comparison of languages shows. Each code has an example in docs/problems.md too; here are the edges. */
import { describe, expect, test } from "vitest";
import { lint } from "../../../src/analysis/lint.ts";
import { compile } from "../../../src/policy/compile.ts";
import type { HTTPMatch } from "../../../src/world/types.ts";
import {
  app,
  meshConfig,
  namespace,
  routeGroup,
  split,
  target,
  tcpRoute,
  world,
  type Changes,
} from "../../support/build.ts";

type Match = Partial<HTTPMatch> & { name: string };

const base = [namespace("a"), ...app("a/web"), ...app("a/api"), ...app("a/job")];

function linted(...changes: readonly Changes[]) {
  const made = world(base, ...changes);
  return lint({ world: made, mesh: compile(made).mesh }).map(
    ({ code, severity, object, path, message }) =>
      `${code} ${severity} ${object.kind} ${object.namespace}/${object.name} ${path}: ${message}`,
  );
}
const short = (problems: readonly string[]) => problems.map((p) => p.slice(0, p.indexOf(":")));

/** A group that one target takes whole. */
const used = (matches: readonly Match[], rule = "HTTPRouteGroup g") => [
  routeGroup("a/g", matches),
  target("a/t", { to: "a/api", from: ["a/web"], rules: [rule] }),
];

describe("empty-match", () => {
  test.each<[Omit<Match, "name">, string, RegExp]>([
    [{ pathRegex: "items" }, "pathRegex", /begins with "\/".*Write \/items, or \.\*/],
    [{ pathRegex: "^$" }, "pathRegex", /begins with "\/"/],
    [{ pathRegex: "/a\\?x=1" }, "pathRegex", /without its query/],
    [{ pathRegex: "/a#b" }, "pathRegex", /fragments/],
    [{ pathRegex: "/a/\\.\\./b" }, "pathRegex", /one form first.*"\/a\/..\/b" arrives as "\/b"/],
    [{ pathRegex: "/a//b" }, "pathRegex", /"\/a\/\/b" arrives as "\/a\/b"/],
    [{ pathRegex: "/a b" }, "pathRegex", /"\/a b" arrives as "\/a%20b"/],
    [{ pathRegex: "/%7Ea" }, "pathRegex", /"\/%7Ea" arrives as "\/~a"/],
    [{ pathRegex: "/ü" }, "pathRegex", /"\/ü" arrives as "\/%C3%BC"/],
    [{ pathRegex: "/a$b" }, "pathRegex", /nothing at all matches/],
    [{ pathRegex: "/a%2[fF]b" }, "pathRegex", /escaped slash.*answered 400/],
    [{ methods: ["CONNECT"] }, "methods", /method CONNECT/],
    [{ headers: [{ name: "x", regex: "a\\n" }] }, "headers.x", /no header "x"/],
    [{ headers: [{ name: "x", regex: " a" }] }, "headers.x", /no header "x"/],
    [
      {
        headers: [
          { name: "x", regex: "a" },
          { name: "x", regex: "b" },
        ],
      },
      "headers",
      /together/,
    ],
  ])("%j", (match, field, sentence) => {
    const found = linted(used([{ name: "m", ...match }]));
    expect(short(found)).toEqual([`empty-match error HTTPRouteGroup a/g spec.matches[0].${field}`]);
    expect(found[0]).toMatch(sentence);
    expect(found[0]).toContain('Match "m" opens nothing.');
  });

  test.each<Omit<Match, "name">>([
    {},
    { pathRegex: "" },
    { pathRegex: "/" },
    { pathRegex: "//" },
    { pathRegex: ".*books.*" },
    { pathRegex: "/a%20b" },
    { pathRegex: "(?i)/A.*" },
    { pathRegex: "/a/\\.\\.b" },
    { methods: ["*"] },
    { methods: ["PURGE"] },
    { headers: [{ name: "x", regex: "" }] },
    { headers: [{ name: "host", regex: "api\\.a" }] },
    { pathRegex: "/x%2Fy|/y" },
  ])("not %j", (match) => {
    const { pathRegex, ...rest } = match;
    expect(linted(used([{ name: "m", ...rest, ...(pathRegex ? { pathRegex } : {}) }]))).toEqual([]);
  });

  test("in a split, a path with an escaped slash is still a path", () => {
    expect(
      linted(
        routeGroup("a/g", [{ name: "m", pathRegex: "/a%2Fb" }]),
        split("a/s", { service: "api", backends: { job: 1 }, matches: ["g"] }),
      ),
    ).toEqual([]);
  });
});

describe("contained-match", () => {
  const narrow: Match = { name: "narrow", pathRegex: "/items/[0-9]+", methods: ["GET"] };
  const wide: Match = { name: "wide", pathRegex: "/items/.*", methods: ["GET", "PUT"] };
  const found = (...matches: Match[]) => short(linted(used(matches)));

  test("in whatever order, the narrow one is named", () => {
    expect(found(narrow, wide)).toEqual(["contained-match hint HTTPRouteGroup a/g spec.matches[0]"]);
    expect(found(wide, narrow)).toEqual(["contained-match hint HTTPRouteGroup a/g spec.matches[1]"]);
    expect(linted(used([wide, narrow]))[0]).toContain(
      'every request that match "narrow" takes is taken by match "wide" too, so TrafficTarget "t" is the same without it.',
    );
  });

  test("of two that say the same in other words, the second", () => {
    expect(found({ name: "a", pathRegex: "/(?i:a)b?" }, { name: "b", pathRegex: "/[aA]|/[Aa]b" })).toEqual([
      "contained-match hint HTTPRouteGroup a/g spec.matches[1]",
    ]);
  });

  test("every part counts", () => {
    expect(found(wide, { ...narrow, methods: ["DELETE"] })).toEqual([]);
    expect(found(wide, { ...narrow, pathRegex: "/item/.*" })).toEqual([]);
    expect(found({ ...wide, headers: [{ name: "x", regex: ".*" }] }, narrow)).toEqual([]);
    expect(found(wide, { ...narrow, headers: [{ name: "x", regex: "1" }] })).toHaveLength(1);
  });

  test("the patterns are compared on paths that there are: `..` and queries make no difference", () => {
    expect(found({ name: "a", pathRegex: "/[^/]*" }, { name: "b", pathRegex: "/[^/?# ]*" })).toHaveLength(1);
  });

  test("nothing is said of a match that a rule names, or of groups of different targets", () => {
    expect(linted(used([wide, narrow], "HTTPRouteGroup g wide narrow"))).toEqual([]);
    expect(
      linted(
        used([wide]),
        routeGroup("a/h", [narrow]),
        target("a/u", { to: "a/api", from: ["a/job"], rules: ["HTTPRouteGroup h"] }),
      ),
    ).toEqual([]);
  });

  test("nothing is said of one that is needed in another use of its group", () => {
    const groups = [routeGroup("a/g", [wide]), routeGroup("a/h", [narrow])];
    const both = target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup g", "HTTPRouteGroup h"] });
    expect(linted(groups, both)).toHaveLength(1);
    expect(linted(groups, both, split("a/s", { service: "api", backends: { job: 1 }, matches: ["h"] }))).toEqual([]);
    const again = linted(groups, both, split("a/s", { service: "api", backends: { job: 1 }, matches: ["h", "g"] }));
    expect(again).toHaveLength(1);
    expect(again[0]).toContain('TrafficTarget "t" and TrafficSplit "s" are the same without it.');
  });

  test("across two groups of one target, and of one split", () => {
    const both = [routeGroup("a/g", [wide]), routeGroup("a/h", [narrow])];
    const rules = ["HTTPRouteGroup g", "HTTPRouteGroup h"];
    const inTarget = linted(both, target("a/t", { to: "a/api", from: ["a/web"], rules }));
    expect(short(inTarget)).toEqual(["contained-match hint HTTPRouteGroup a/h spec.matches[0]"]);
    expect(inTarget[0]).toContain('match "wide" of HTTPRouteGroup "a/g"');
    const inSplit = linted(both, split("a/s", { service: "api", backends: { job: 1 }, matches: ["g", "h"] }));
    expect(short(inSplit)).toEqual(["contained-match hint HTTPRouteGroup a/h spec.matches[0]"]);
    expect(inSplit[0]).toContain('TrafficSplit "s"');
  });
});

describe("row 10: prefix-pattern", () => {
  const group = (list: string, admin = "/orders/admin/.*") =>
    routeGroup("a/g", [
      { name: "list", pathRegex: list },
      { name: "admin", pathRegex: admin },
    ]);
  const grant = (name: string, from: string, match: string) =>
    target(`a/${name}`, { to: "a/api", from: [from], rules: [`HTTPRouteGroup g ${match}`] });
  const two = [grant("list", "a/web", "list"), grant("admin", "a/job", "admin")];

  test("is said where SMI's reading would allow a source what another rule keeps for others", () => {
    const found = linted(group("/orders"), two);
    expect(short(found)).toEqual(["prefix-pattern hint HTTPRouteGroup a/g spec.matches[0].pathRegex"]);
    expect(found[0]).toContain(
      '"/orders" is compared with the whole path, so it does not take /orders/admin/, which match "admin" names for others: a/web is refused there.',
    );
  });

  test.each(["/orders$", "/orders\\z", "/orders(/.*)?", "/orders.*", "/other", "\\Q/orders"])(
    "not of %s",
    (pattern) => {
      expect(linted(group(pattern), two)).toEqual([]);
    },
  );

  test("not where both readings allow the source the same", () => {
    expect(linted(group("/orders"), two, grant("more", "a/web", "admin"))).toEqual([]);
    expect(
      linted(
        group("/orders"),
        two,
        tcpRoute("a/all"),
        target("a/tcp", { to: "a/api", from: ["a/web"], rules: ["TCPRoute all"] }),
      ),
    ).toEqual([]);
    expect(linted(group("/orders"), two, meshConfig({ permissive: true }))).toEqual([]);
  });

  test("not of a pattern that names no path below it", () => {
    expect(linted(group("/orders", ".*admin.*"), two)).toEqual([]);
  });
});

describe("shadowed-split", () => {
  const groups = [
    routeGroup("a/reads", [{ name: "m", methods: ["GET", "HEAD"] }]),
    routeGroup("a/writes", [{ name: "m", methods: ["POST", "PUT"] }]),
    routeGroup("a/some", [
      { name: "get", pathRegex: "/x", methods: ["GET"] },
      { name: "put", pathRegex: "/x", methods: ["PUT"] },
    ]),
    routeGroup("a/any", [{ name: "m", pathRegex: "/.*" }]),
  ];
  const one = (name: string, matches?: string) =>
    split(`a/${name}`, { service: "api", backends: { job: 1 }, ...(matches ? { matches: [matches] } : {}) });
  const found = (...splits: Changes[]) => linted(groups, splits).filter((p) => p.startsWith("shadowed-split"));

  test("several splits before it may take its requests together", () => {
    const problems = found(one("a", "reads"), one("b", "writes"), one("c", "some"));
    expect(short(problems)).toEqual(["shadowed-split error TrafficSplit a/c spec.matches"]);
    expect(problems[0]).toContain('TrafficSplit "a", "b" before it');
  });

  test("not while one request is left", () => {
    expect(found(one("a", "reads"), one("c", "some"))).toEqual([]);
    expect(found(one("a", "some"), one("b", "reads"), one("c", "writes"))).toEqual([]);
  });

  test("one without matches, behind one whose matches take every path", () => {
    expect(short(found(one("a", "any"), one("b")))).toEqual(["shadowed-split error TrafficSplit a/b spec.service"]);
    expect(found(one("a", "reads"), one("b"))).toEqual([]);
  });
});

test("unused-route: a group and a TCPRoute that nothing names; a rule or a split is a use, in its own namespace", () => {
  const routes = [routeGroup("a/g", [{ name: "m" }]), tcpRoute("a/t")];
  expect(short(linted(routes))).toEqual(["unused-route hint HTTPRouteGroup a/g ", "unused-route hint TCPRoute a/t "]);
  const rules = ["HTTPRouteGroup g", "TCPRoute t"];
  expect(linted(routes, target("a/x", { to: "a/api", from: ["a/web"], rules }))).toEqual([]);
  const elsewhere = [namespace("b"), ...app("b/api"), target("b/x", { to: "b/api", from: ["a/web"], rules })];
  expect(linted(routes, elsewhere)).toHaveLength(2);
});

test("namespaces that the mesh does not look at are not looked at", () => {
  expect(linted(namespace("off", { monitored: false }), routeGroup("off/g", [{ name: "m", pathRegex: "x" }]))).toEqual(
    [],
  );
});

test("not-compared: a pattern beyond the budget is named, and the others are compared", () => {
  const found = linted(
    used([
      { name: "huge", pathRegex: "/.*a.{40}" },
      { name: "wide", pathRegex: "/.*" },
      { name: "narrow", pathRegex: "/x" },
    ]),
  );
  expect(short(found).sort()).toEqual([
    "contained-match hint HTTPRouteGroup a/g spec.matches[2]",
    "not-compared hint HTTPRouteGroup a/g spec.matches[0]",
  ]);
});
