/** Regular languages, against RE2JS itself and against the laws of sets. */
import * as fc from "fast-check";
import { RE2JS } from "re2js";
import { describe, expect, test } from "vitest";
import { LanguageTooLarge } from "../../../src/language/automaton.ts";
import { Languages, type Language } from "../../../src/language/languages.ts";
import { STANDS_FOR } from "../../../src/language/folding.ts";
import { matcher } from "../../../src/language/matcher.ts";
import { members, probes } from "../../../src/language/probes.ts";
import { asBytes } from "../../../src/lib/bytes.ts";
import { bytes, pattern } from "../../support/patterns.ts";

/** `FUZZ=20` makes twenty times as many. */
const runs = (count: number): number => count * Number(process.env["FUZZ"] ?? 1);
const seeds = fc.array(fc.integer(), { minLength: 12, maxLength: 12 });
/** Once in a while a random pattern has more states than a language may: such a one says nothing here. */
const fitting =
  <Given extends unknown[]>(check: (...given: Given) => void) =>
  (...given: Given): void => {
    try {
      check(...given);
    } catch (error) {
      if (error instanceof LanguageTooLarge) fc.pre(false);
      throw error;
    }
  };
/** RE2JS itself, where no letter beyond ASCII has another case; else `matcher`, which Envoy judges in test/live/regex.test.ts. */
function matches(text: string): (subject: string) => boolean {
  if (text.includes("i")) return matcher(text);
  const compiled = RE2JS.compile(asBytes(text));
  return (subject) => compiled.matches(subject);
}

describe("a pattern's language is what RE2 matches as a whole", () => {
  test("random patterns, random texts, members and what is nearly one", () => {
    let inside = 0;
    let outside = 0;
    fc.assert(
      fc.property(
        pattern,
        fc.array(bytes, { maxLength: 8 }),
        seeds,
        fitting((p, texts, given) => {
          const table = new Languages();
          const language = table.regex(p);
          const oracle = matches(p);
          for (const text of [...texts, ...probes(language, given)]) {
            const taken = table.has(language, text);
            if (taken) inside++;
            else outside++;
            expect(taken, `${p} on ${JSON.stringify(text)}`).toBe(oracle(text));
          }
          for (const text of members(language, given))
            expect(oracle(text), `${p} on ${JSON.stringify(text)}`).toBe(true);
        }),
      ),
      { numRuns: runs(500) },
    );
    // The texts are of both kinds, or the property says little.
    expect(Math.min(inside, outside)).toBeGreaterThan(1_000);
  });

  test("every text of up to three bytes of a small alphabet", () => {
    const alphabet = ["a", "K", "k", "/", "\n", "_", "\xe9", "\xc9"];
    const all = ["", ...alphabet];
    for (const a of alphabet) for (const b of alphabet) all.push(a + b, ...alphabet.map((c) => a + b + c));
    fc.assert(
      fc.property(
        pattern,
        fitting((p) => {
          const table = new Languages();
          const language = table.regex(p);
          const oracle = matches(p);
          for (const text of all)
            expect(table.has(language, text), `${p} on ${JSON.stringify(text)}`).toBe(oracle(text));
        }),
      ),
      { numRuns: runs(100) },
    );
  });

  test.each([
    ["a$b", ["ab", "a\nb"], []],
    ["a(?m:$)\\nb", ["ab"], ["a\nb"]],
    ["(?m)a$\\n^b", ["ab"], ["a\nb"]],
    ["\\bfoo\\b", ["foo_"], ["foo"]],
    ["/a\\b.*", ["/ab", "/a_"], ["/a", "/a/b", "/a-b", "/a\xe9"]],
    ["/a\\B.*", ["/a", "/a/b"], ["/ab", "/a1"]],
    [".", ["\n", "", "\xc3\xa9"], ["a", "\xff"]],
    ["(?s).", [""], ["\n", "\0"]],
    ["é", ["\xe9"], ["\xc3\xa9"]],
    ["(?i)k", ["\u00e2\u0084\u00aa"], ["k", "K"]],
    ["(?i)\\xe9", ["\xc9"], ["\xe9"]],
    ["(?i)[\\xe0-\\xf6]k", ["\xc0k", "\xd7k", "\xf7k"], ["\xe0k", "\xf6K"]],
    ["(?i)[^\\xe9]", ["\xe9"], ["\xc9", "\xd7", "\xff"]],
    ["(?i)[\\xb0-\\xe9]", ["s", "k", "\xea", "\xaf"], ["\xb5", "\xb6", "\xd7", "\xe9"]],
    ["(?i)[\\xb5-\\xbf]", ["s", "K", "\xb4", "\xc0"], ["\xb5", "\xbf"]],
    ["(?i)\\p{Lu}", ["\xb5", "\xe9", "\xd7", "1"], ["a", "A", "\xc9", "\xde"]],
    ["(?i)\\P{Ll}", ["\xe9", "\xdf", "a", "A"], ["\xc9", "\xd7", "1"]],
    ["(?i)\\p{Sm}|\\351|\\Q\\xe9\\E", ["\xc9"], ["\xd7", "\xf7", "\xe9", "\\XE9"]],
    ["(?i)[\\x80-\\xff]", ["s", "k", "S", "K"], ["\x80", "\xff"]],
    ["(?i)[]t-\\xe0[:digit:]\\377-]", ["s", "k", "\xe1", "[", ":"], ["]", "T", "\xe0", "7", "\xff", "-", "\x81"]],
    ["(?i)t-\\xe0", ["u", "t-\xc0"], ["T-\xe0"]],
    ["(?i)[^t-\\xe0]", ["T", "\xe0", "\xbf"], ["s", "K", "\xe1", "\xff"]],
    ["(?i)[a-\\xff]", ["@", "\x60", "^"], ["A", "a", "Z", "~", "\x80", "\xd7", "\xff"]],
    ["[^a]", ["a"], ["\n", "\xff", "b"]],
    ["\\pL", ["1", "\xd7"], ["a", "\xe9", "\xaa"]],
  ])("%s", (p, out, within) => {
    const table = new Languages();
    for (const text of out) expect(table.has(table.regex(p), text), JSON.stringify(text)).toBe(false);
    for (const text of within) expect(table.has(table.regex(p), text), JSON.stringify(text)).toBe(true);
  });

  test("what stands for a byte has its category, its order and no other case", () => {
    const categories = "Cc Cf Ll Lm Lo Lt Lu Mn Nd Nl No Pc Pd Pe Pf Pi Po Ps Sc Sk Sm So Zs".split(" ");
    const categoryOf = (text: string) => categories.find((c) => new RegExp(`^\\p{${c}}$`, "u").test(text));
    for (const [byte, codePoint] of STANDS_FOR.entries()) {
      const standIn = String.fromCodePoint(codePoint);
      expect(categoryOf(standIn), standIn).toBe(categoryOf(String.fromCharCode(byte)));
      if (byte > 0) expect(codePoint).toBeGreaterThan(STANDS_FOR[byte - 1] as number);
      if (byte > 127) expect([standIn.toLowerCase(), standIn.toUpperCase()]).toEqual([standIn, standIn]);
    }
  });

  test("a pattern that RE2 rejects is an error, and so is a text that is no bytes", () => {
    const table = new Languages();
    expect(() => table.regex("(")).toThrow(/missing closing \)/);
    expect(() => table.has(table.all, "日")).toThrow(/asBytes/);
    expect(() => table.literal("日")).toThrow(/asBytes/);
  });
});

describe("operations", () => {
  test("are those of sets, text by text", () => {
    fc.assert(
      fc.property(
        pattern,
        pattern,
        fc.array(bytes, { maxLength: 6 }),
        seeds,
        fitting((p, q, texts, given) => {
          const t = new Languages();
          const [a, b] = [t.regex(p), t.regex(q)];
          const [union, both, less, not] = [t.union(a, b), t.intersection(a, b), t.difference(a, b), t.complement(a)];
          for (const text of [...texts, ...probes(a, given), ...probes(b, given), ...probes(both, given)]) {
            const [inA, inB] = [t.has(a, text), t.has(b, text)];
            expect(t.has(union, text)).toBe(inA || inB);
            expect(t.has(both, text)).toBe(inA && inB);
            expect(t.has(less, text)).toBe(inA && !inB);
            expect(t.has(not, text)).toBe(!inA);
          }
        }),
      ),
      { numRuns: runs(150) },
    );
  });

  test("keep the laws of sets; equal languages are the same object", () => {
    fc.assert(
      fc.property(
        pattern,
        pattern,
        pattern,
        fitting((p, q, r) => {
          const t = new Languages();
          const [a, b, c] = [t.regex(p), t.regex(q), t.regex(r)];
          const not = (x: Language) => t.complement(x);
          expect(not(t.union(a, b))).toBe(t.intersection(not(a), not(b)));
          expect(not(t.intersection(a, b))).toBe(t.union(not(a), not(b)));
          expect(t.difference(a, b)).toBe(t.intersection(a, not(b)));
          expect(t.union(a, b)).toBe(t.union(b, a));
          expect(t.union(a, t.union(b, c))).toBe(t.union(t.union(a, b), c));
          expect(t.intersection(a, t.union(b, c))).toBe(t.union(t.intersection(a, b), t.intersection(a, c)));
          expect(t.union(t.difference(a, b), t.intersection(a, b))).toBe(a);
          expect(not(not(a))).toBe(a);
          expect(t.union(a, not(a))).toBe(t.all);
          expect(t.intersection(a, not(a))).toBe(t.none);
          expect(t.includes(t.union(a, b), a)).toBe(true);
          expect(t.includes(a, t.intersection(a, b))).toBe(true);
          expect(t.includes(a, b)).toBe(t.difference(b, a) === t.none);
          expect(t.overlap(a, b)).toBe(t.intersection(a, b) !== t.none);
          expect(t.includes(a, b) && t.includes(b, a)).toBe(a === b);
        }),
      ),
      { numRuns: runs(150) },
    );
  });

  test("patterns that say the same give one object, whatever they look like", () => {
    const t = new Languages();
    const same = (...patterns: string[]) => expect(new Set(patterns.map((p) => t.regex(p))).size).toBe(1);
    same("a|b", "[ab]", "(?:b|a)", "[^\\x00-`c-\\xff]");
    same("(?i)ab", "[aA][bB]", "(?i:AB)", "ab|aB|Ab|AB");
    same(".*", "(?:.?)*", "(.+)?", ".*.*", "^.*$", "(|.)*");
    same("a{2,4}", "aa|aaa|aaaa", "aa(a(a)?)?", "aaa?a?");
    same("(?s).*", "[^\\x00-\\xff]*|(?s:.)*", "(?:.|\\n)*");
    expect(t.regex("(?s).*")).toBe(t.all);
    same("[^\\x00-\\xff]", "a^b", "a\\bb", "\\Ba\\b$a", "$a");
    expect(t.regex("a^b")).toBe(t.none);
    same("", "a{0}", "^$", "\\A\\z", "(?m)^\\B$");
    expect(t.regex("/a\\.b")).toBe(t.literal("/a.b"));
    expect(t.regex("GET|POST|PUT")).toBe(t.oneOf(["PUT", "GET", "POST", "GET"]));
    expect(t.oneOf([])).toBe(t.none);
    expect(t.oneOf(Array.from({ length: 256 }, (_, b) => String.fromCharCode(b)))).toBe(t.regex("(?s)."));
    expect(t.oneOf(["", "a", "aa"])).toBe(t.regex("a{0,2}"));
  });

  test("are made once: asking again makes nothing", () => {
    const t = new Languages();
    const ask = () => {
      const [a, b] = [t.regex("/api/.*"), t.regex("/api/v[12]/.*")];
      t.union(a, b);
      t.union(b, a);
      t.intersection(b, a);
      t.difference(a, b);
      t.complement(t.complement(a));
      t.includes(a, b);
      return t.made;
    };
    const made = ask();
    expect(ask()).toBe(made);
    // Two patterns, a union, an intersection, a difference, a complement.
    expect(made).toBe(6);
  });
});

describe("a witness", () => {
  test("is a member, and no member is shorter", () => {
    fc.assert(
      fc.property(
        pattern,
        pattern,
        seeds,
        fitting((p, q, given) => {
          const t = new Languages();
          for (const language of [t.regex(p), t.difference(t.regex(p), t.regex(q))]) {
            const witness = t.witness(language);
            if (witness === undefined) {
              expect(language).toBe(t.none);
              continue;
            }
            expect(t.has(language, witness)).toBe(true);
            const shorter = t.regex(`(?s).{0,${witness.length - 1}}`);
            if (witness.length > 0) expect(t.intersection(language, shorter)).toBe(t.none);
            for (const member of members(language, given)) expect(member.length).toBeGreaterThanOrEqual(witness.length);
          }
        }),
      ),
      { numRuns: runs(150) },
    );
  });

  test.each([
    [".", "a"],
    [".*", ""],
    ["/api/[^/]+/items", "/api/a/items"],
    ["/[0-9]{3}", "/000"],
    ["[\\x00-\\xff]b", "ab"],
    ["[\\x00-@]", "0"],
    ["[~\\n\\xff]", "~"],
    ["(?i)get", "get"],
    ["\\W", "-"],
    ["[^a-zA-Z0-9]x|yy", "yy"],
  ])("of %s is %s", (p, witness) => {
    const t = new Languages();
    expect(t.witness(t.regex(p))).toBe(witness);
  });
});

describe("probes", () => {
  test("are the same for the same seeds, and reach every transition of a language", () => {
    const t = new Languages();
    const language = t.regex("/items/[0-9]+(/(new|old))?");
    const given = Array.from({ length: 12_000 }, (_, i) => i);
    const texts = [...probes(language, given)];
    expect(texts).toEqual([...probes(language, given)]);
    const { classes, width, next } = language.automaton;
    const taken = new Set<number>();
    for (const text of texts) {
      let state = 0;
      for (const char of text) {
        const edge = state * width + (classes[char.charCodeAt(0)] as number);
        taken.add(edge);
        state = next[edge] as number;
      }
    }
    expect(taken.size).toBe(next.length);
    const share = texts.filter((text) => t.has(language, text)).length / texts.length;
    expect(share).toBeGreaterThan(0.25);
    expect(share).toBeLessThan(0.75);
  });

  test("the empty language has no members, and still has probes", () => {
    const t = new Languages();
    expect([...members(t.none, [1, 2])]).toEqual([]);
    expect([...probes(t.none, [1, 2, 3])]).toHaveLength(3);
  });
});

describe("the budget", () => {
  test.each(["(?s).*a.{16}", "(a{30}){30}.*(b|c.{20})*x.{15}"])("%s is too large, and says so", (p) => {
    expect(() => new Languages({ states: 2_000 }).regex(p)).toThrow(LanguageTooLarge);
  });

  test("holds for the work as well as for the states", () => {
    expect(() => new Languages({ steps: 1_000 }).regex("(?:\\pL?){500}")).toThrow(/too long/);
  });

  test("holds for products", () => {
    const t = new Languages({ states: 100 });
    const [a, b] = [t.regex("(?:a{13})*"), t.regex("(?:a{17})*")];
    expect(() => t.intersection(a, b)).toThrow(/more than 100 states/);
    expect(() => t.includes(t.complement(a), b)).not.toThrow();
    // 13k = 17j + 16 first for 169.
    const [c, d] = [t.regex("b(?:a{13})+"), t.regex("ba{16}(?:a{17})+")];
    expect(() => t.overlap(c, d)).toThrow(LanguageTooLarge);
  });

  test("large repeats that people write are within it", () => {
    const t = new Languages();
    expect(t.regex("a{1000}").size).toBe(1002);
    expect(t.regex("(?:\\pL?){500}").size).toBe(502);
    expect(t.regex("[^/]+/".repeat(150)).size).toBe(302);
    expect(t.regex("((a{30}){30})")).toBe(t.regex("a{900}"));
    expect(t.regex("(?i)" + "k".repeat(1000)).size).toBe(1002);
    expect(t.regex("(a|b|c|d|e|f|g)".repeat(64))).toBe(t.regex("[a-g]{64}"));
  });
});
