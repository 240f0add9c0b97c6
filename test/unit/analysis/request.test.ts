/** One request against one match, on bytes. */
import { expect, test } from "vitest";
import { isUnfit } from "../../../src/analysis/headers.ts";
import { passageOf, takes } from "../../../src/analysis/request.ts";

const asks = (regex: string) => ({ name: "m", methods: [], headers: [{ name: "x", regex }] });
const seen = (value: string) => ({ method: "GET", path: "/", headers: new Map([["x", value]]) });

test("row 13: a header's case is ignored as Envoy ignores it, of ASCII letters only", () => {
  expect(takes(asks("(?i)CAFé"), seen("caf\xc3\xa9"))).toBe(true);
  // The byte E3 is the other case of C3 in Latin-1.
  expect(takes(asks("(?i)CAFé"), seen("caf\xe3\xa9"))).toBe(false);
  expect(takes(asks("(?i)CAFé"), seen("caf\xc3\x89"))).toBe(false);
});

test("row 13: what its sender writes is matched as UTF-8", () => {
  const request = { method: "GET", path: "/", headers: [["X", "é"]] as const };
  const passage = passageOf(request, "api");
  const takesIt = (regex: string) => !isUnfit(passage) && takes(asks(regex), passage.server);
  expect([takesIt(".."), takesIt("é"), takesIt(".")]).toEqual([true, true, false]);
});
