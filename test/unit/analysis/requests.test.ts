/** The algebra of request sets: exact, and a witness is a member. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { HeaderNotCompared, Requests, type Request, type RequestSet } from "../../../src/analysis/requests.ts";
import { REQUEST_LIMITS, RequestsTooMany } from "../../../src/analysis/boxes.ts";
import { Languages } from "../../../src/language/languages.ts";
import { probes } from "../../../src/language/probes.ts";
import type { HTTPMatch } from "../../../src/world/types.ts";

const match = (given: Partial<HTTPMatch>): HTTPMatch => ({ name: "m", methods: [], headers: [], ...given });
const request = (given: Partial<Request> = {}): Request => ({
  method: "GET",
  path: "/",
  headers: [],
  authority: "shop.shop",
  ...given,
});

describe("what a match takes", () => {
  const requests = new Requests(new Languages());
  const takes = (given: Partial<HTTPMatch>, one: Partial<Request>) =>
    requests.has(requests.match(match(given)), request(one));

  test.each<[string, Partial<HTTPMatch>, Partial<Request>, boolean]>([
    ["nothing is asked", {}, { method: "BREW", path: "/x" }, true],
    ["the whole path (row 10)", { pathRegex: "/api" }, { path: "/apixyz" }, false],
    ["the whole path, as it is", { pathRegex: "/api" }, { path: "/api" }, true],
    ["methods exactly (row 12)", { methods: ["GET"] }, { method: "get" }, false],
    ["any method, with * among others (row 12)", { methods: ["GET", "*"] }, { method: "PUT" }, true],
    ["a header's value", { headers: [{ name: "x", regex: "a+" }] }, { headers: [{ name: "x", value: "aa" }] }, true],
    ["a header that is missing, even for .* (row 13)", { headers: [{ name: "x", regex: ".*" }] }, {}, false],
    ["host is the authority (row 13)", { headers: [{ name: "host", regex: "shop.*" }] }, {}, true],
    ["another authority", { headers: [{ name: ":authority", regex: "x" }] }, {}, false],
    [
      "a name that stands there twice: both (row 13)",
      {
        headers: [
          { name: "x", regex: "a.*" },
          { name: "x", regex: ".*b" },
        ],
      },
      { headers: [{ name: "x", value: "ac" }] },
      false,
    ],
    [":method is the method", { headers: [{ name: ":method", regex: "P.*" }] }, { method: "PUT" }, true],
  ])("%s", (_says, given, one, expected) => expect(takes(given, one)).toBe(expected));

  test("a match that no request can be taken by is empty: a path out of normal form, a value with blanks at its end, an empty one of what sidecars add, CONNECT", () => {
    for (const given of [
      { pathRegex: "/a/\\.\\./b" },
      { pathRegex: "/a//b" },
      { pathRegex: "a" },
      { headers: [{ name: "x", regex: "a " }] },
      { headers: [{ name: "x-request-id", regex: "" }] },
      { headers: [{ name: "x-forwarded-proto", regex: "" }] },
      { methods: ["CONNECT"] },
    ])
      expect(requests.isEmpty(requests.match(match(given))), JSON.stringify(given)).toBe(true);
  });

  test("a header that is made of other parts is not compared", () => {
    expect(() => requests.match(match({ headers: [{ name: ":path", regex: "/a" }] }))).toThrow(HeaderNotCompared);
  });
});

describe("equal sets that are written differently", () => {
  const requests = new Requests(new Languages());
  const of = (...matches: Partial<HTTPMatch>[]) => requests.matches(matches.map(match));
  test.each<[string, RequestSet, RequestSet]>([
    ["order", of({ pathRegex: "/a" }, { pathRegex: "/b" }), of({ pathRegex: "/b" }, { pathRegex: "/a" })],
    ["one pattern or two", of({ pathRegex: "/(a|b)" }), of({ pathRegex: "/a" }, { pathRegex: "/b" })],
    ["one contains the other", of({ pathRegex: "/a.*" }, { pathRegex: "/ab" }), of({ pathRegex: "/a.*" })],
    [
      "methods in one match or in two",
      of({ methods: ["GET", "PUT"], pathRegex: "/a" }),
      of({ methods: ["GET"], pathRegex: "/a" }, { methods: ["PUT"], pathRegex: "/a" }),
    ],
    [
      "a header's values in two halves",
      of({ headers: [{ name: "x", regex: ".*" }] }),
      of({ headers: [{ name: "x", regex: "a.*" }] }, { headers: [{ name: "x", regex: "([^a].*)?" }] }),
    ],
    [
      "covered by several that overlap",
      of({ pathRegex: "/[a-c]", methods: ["GET"] }, { pathRegex: "/[b-d]" }, { pathRegex: "/a", methods: ["PUT"] }),
      of({ pathRegex: "/[b-d]" }, { pathRegex: "/a", methods: ["PUT", "GET"] }),
    ],
  ])("%s", (_says, a, b) => expect(requests.equal(a, b)).toBe(true));

  test("and those that differ", () => {
    expect(requests.equal(of({ pathRegex: "/a.*" }), of({ pathRegex: "/a.+" }))).toBe(false);
    expect(requests.equal(of({ headers: [{ name: "x", regex: ".*" }] }), requests.all)).toBe(false);
  });
});

test("a witness is the plainest request: known method, short path, no header that is not asked for", () => {
  const requests = new Requests(new Languages());
  const set = requests.matches([
    match({ pathRegex: "/books/[a-z]+", headers: [{ name: "x-key", regex: "[0-9]{3}" }] }),
    match({ pathRegex: "/buy-a-book/.*", methods: ["PUT", "POST"] }),
  ]);
  expect(requests.witness(set, ["shop.shop:80"])).toEqual({
    method: "POST",
    path: "/buy-a-book/",
    headers: [],
    authority: "shop.shop:80",
  });
  const rest = requests.difference(set, requests.match(match({ methods: ["PUT", "POST"] })));
  expect(requests.witness(rest)?.headers).toEqual([{ name: "x-key", value: "000" }]);
  expect(requests.witness(requests.none)).toBeUndefined();
});

test("rules that cut requests into too many pieces end with an error, not in endless work", () => {
  const requests = new Requests(new Languages());
  const cut = Array.from({ length: 40 }, (_, i) =>
    match({ headers: Array.from({ length: 12 }, (_, j) => ({ name: `h${(i * 7 + j * 5) % 40}`, regex: `v${i}` })) }),
  );
  expect(REQUEST_LIMITS.boxes).toBeLessThan(10_000);
  expect(() => requests.difference(requests.all, requests.matches(cut))).toThrow(RequestsTooMany);
});

const PATHS = ["/", "/a", "/a.*", "/(a|b)/?", "/[^/]*", ".*/x", "/a/b|/c", "/%2e", "(?i)/A"];
const anyMatch = fc.record({
  pathRegex: fc.constantFrom(".*", ...PATHS),
  methods: fc.constantFrom<string[]>([], ["GET"], ["GET", "POST"], ["*"], ["get"]),
  headers: fc.constantFrom(
    [],
    [],
    [{ name: "x", regex: ".*" }],
    [{ name: "x", regex: "a|b" }],
    [
      { name: "x", regex: "[^a]*" },
      { name: "y", regex: "1" },
    ],
    [{ name: "host", regex: "shop\\.shop(:80)?" }],
    [{ name: "x", regex: "" }],
  ),
});
const anySet = fc.array(anyMatch, { maxLength: 4 });

/** Requests at and near what the matches ask for. */
const drawn = (requests: Requests, matches: readonly HTTPMatch[], seed: number): Request[] => {
  const { languages } = requests;
  const seeds = Array.from({ length: 12 }, (_, i) => seed + i);
  const near = (patterns: readonly string[]) =>
    patterns.length === 0 ? [] : patterns.flatMap((p) => [...probes(languages.regex(p), seeds)]);
  const paths = [...near(matches.flatMap((m) => m.pathRegex ?? [])), "/", "/a", "/zz"];
  const values = near(matches.flatMap((m) => m.headers.map((h) => h.regex)));
  return paths.map((path, i) =>
    request({
      path,
      method: ["GET", "POST", "get", "PUT"][(seed + i) % 4] as string,
      authority: ["shop.shop", "shop.shop:80", "x"][i % 3] as string,
      headers: (["x", "y"] as const).flatMap((name, j) => {
        const value = [undefined, "a", "1", ...values][(i * 3 + j + seed) % (values.length + 3)];
        return value === undefined ? [] : [{ name, value }];
      }),
    }),
  );
};

test("membership agrees with union, intersection and difference, and witnesses are members", () => {
  let members = 0;
  fc.assert(
    fc.property(anySet, anySet, fc.nat(1_000_000), (left, right, seed) => {
      const requests = new Requests(new Languages());
      const [a, b] = [left, right].map((matches) => requests.matches(matches.map(match))) as [RequestSet, RequestSet];
      const sets = {
        union: requests.union(a, b),
        both: requests.intersection(a, b),
        rest: requests.difference(a, b),
      };
      const inside = requests.all;
      for (const one of drawn(requests, [...left, ...right].map(match), seed)) {
        const known = requests.has(inside, one);
        const [inA, inB] = [a, b].map((set) => requests.has(set, one)) as [boolean, boolean];
        if (!known) expect(inA || inB, JSON.stringify(one)).toBe(false);
        if (known && inA) members++;
        expect(requests.has(sets.union, one)).toBe(inA || inB);
        expect(requests.has(sets.both, one)).toBe(inA && inB);
        expect(requests.has(sets.rest, one)).toBe(inA && !inB);
      }
      for (const set of Object.values(sets)) {
        const witness = requests.witness(set, ["shop.shop"]);
        expect(witness === undefined).toBe(requests.isEmpty(set));
        if (witness) expect(requests.has(set, witness), JSON.stringify(witness)).toBe(true);
      }
      // Nothing is lost or counted twice.
      expect(requests.equal(requests.union(sets.rest, sets.both), a)).toBe(true);
      expect(requests.isEmpty(requests.intersection(sets.rest, b))).toBe(true);
    }),
    { numRuns: 60 },
  );
  expect(members).toBeGreaterThan(60);
});
