/** Paths as Envoy 1.40 normalises them: the table is what it answered; `test/live/why.test.ts` asks it again at random. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { RE2JS } from "re2js";
import { hasEscapedSlash, NORMAL_PATHS, normalPath, withoutQuery } from "../../../src/analysis/normal-path.ts";

const ANSWERED: readonly (readonly [sent: string, seen: string | undefined])[] = [
  ["/", "/"],
  ["//", "//"],
  ["///", "//"],
  ["/.", "/"],
  ["/..", "/"],
  ["/a/.", "/a/"],
  ["/a/..", "/"],
  ["/a/./b", "/a/b"],
  ["/a/../b", "/b"],
  ["/a//../b", "/a/b"],
  ["/a/%2e%2E/b", "/b"],
  ["/a/.%2e/b", "/b"],
  ["/a/%2e", "/a/"],
  ["/a/...", "/a/..."],
  ["/a/..b", "/a/..b"],
  ["/a/b..", "/a/b.."],
  ["/..//..//a", "/a"],
  ["//a//b//", "/a/b/"],
  ["/a;x=1/../b", "/b"],
  ["/a\\..\\b", "/b"],
  ["/a/.\\b", "/a/b"],
  ["/a/..\\", "/"],
  ["/a%5c..%5cb", "/a%5c..%5cb"],
  ["/a/%2F%2e%2e/", "/a/%2F../"],
  ["/A/%41%7a%7e%2d%5F", "/A/Az~-_"],
  ["/a%c3%a9", "/a%c3%a9"],
  ["/a\xc3\xa9", "/a%C3%A9"],
  ['/a"`<>^{|}', "/a%22%60%3C%3E%5E%7B%7C%7D"],
  ["/!$&'()*+,-.:;=@[]_~", "/!$&'()*+,-.:;=@[]_~"],
  ["/a%", "/a%"],
  ["/a%2g%%", "/a%2g%%"],
  ["/a%252e", "/a%252e"],
  ["/a/%%2e", "/a/%."],
  ["/%%32e", "/%252e"],
  ["/a/%%32e%%32e/b", "/a/%252e%252e/b"],
  ["/a/%%%33%32e%%%33%32e/b", "/a/%%2532e%%2532e/b"],
  // A `%` that begins no escape is forgotten with its segment.
  ["/%%/../%5B%32", "/%5B2"],
  ["/x/%%/../%5C%32", "/x/%5C2"],
  ["/a/%2%65/b", "/a/%252e/b"],
  ["/a?x=/../y%2e", "/a?x=/../y%2e"],
  ["/a/..?x", "/?x"],
  ["/?", "/?"],
  ["/a%0ab", "/a%0ab"],
  ["/%00", undefined],
  ["/a#b", undefined],
  ["/a?b#c", undefined],
  ["*", undefined],
  ["\\a", undefined],
];

test.each(ANSWERED)("row 11: %j is seen as %j", (sent, seen) => {
  expect(normalPath(sent)).toBe(seen);
});

const pattern = (text: string) => RE2JS.compile(text);
const all = pattern(NORMAL_PATHS.all);
const but = NORMAL_PATHS.but.map(pattern);
const isNormal = (path: string): boolean =>
  (NORMAL_PATHS.also as readonly string[]).includes(path) ||
  (all.matches(path) && !but.some((one) => one.matches(path)));

const piece = fc.constantFrom(..."/|//|.|..|%|%2e|%2E|%25|%32|%65|%2f|%5C|\\|a|2|e|%41|;|:|{|\xe9|%e9|%%|~".split("|"));
const raw = fc.array(piece, { maxLength: 12 }).map((parts) => `/${parts.join("")}`);

test("row 11: what comes out is in normal form and stays as it is; what is in normal form comes out", () => {
  fc.assert(
    fc.property(raw, (sent) => {
      const seen = normalPath(sent) as string;
      expect([seen, isNormal(seen)]).toEqual([seen, true]);
      expect(normalPath(seen)).toBe(seen);
      if (isNormal(sent)) expect(seen).toBe(sent);
    }),
    { numRuns: 20_000 },
  );
});

test("queries are no part of what policies match", () => {
  expect(withoutQuery("/a?b")).toBe("/a");
  expect(withoutQuery("/a")).toBe("/a");
  expect(["/%2f", "/%2F", "/%5c", "/%5C"].every(hasEscapedSlash)).toBe(true);
  expect(["/a", "/%25", "/%2e", "/%20f"].some(hasEscapedSlash)).toBe(false);
});
