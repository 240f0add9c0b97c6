/**
 * Random patterns of RE2: all that its grammar has, assertions, folding and byte edges included. Every one of them compiles.
 */
import * as fc from "fast-check";

const atom = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom("a", "b", "k", "s", "A", "S", "/", "-", "_", "1", "é", "ÿ", "µ", " ") },
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      ".",
      "\\n",
      "\\.",
      "\\x00",
      "\\xff",
      "\\x{b5}",
      "\\d",
      "\\W",
      "\\s",
      "\\w",
      "\\pL",
      "\\PN",
      "\\p{Lu}",
      "\\p{^Ll}",
      "\\pS",
      "[a-c]",
      "[^/]",
      "[^a\\n]",
      "[k-sK]",
      "[[:alpha:]]",
      "[[:^word:]]",
      "[\\x80-\\xff]",
      "[^\\x00-\\xff]",
      "[t-\\xe0]",
      "[^]\\-\\xe9]",
      "[\\xd8-\\xf7[:digit:]]",
      "[Ã-é\\pN]",
      "\\351",
      "\\xC9",
      "\\p{Sm}",
      "\\Qa.\\E",
    ),
  },
  { weight: 2, arbitrary: fc.constantFrom("^", "$", "\\A", "\\z", "\\b", "\\B", "") },
);

export const pattern: fc.Arbitrary<string> = fc.letrec<{ alternation: string; piece: string; group: string }>(
  (tie) => ({
    alternation: fc
      .array(
        fc.array(tie("piece"), { maxLength: 3 }).map((pieces) => pieces.join("")),
        { minLength: 1, maxLength: 3 },
      )
      .map((branches) => branches.join("|")),
    piece: fc
      .tuple(
        fc.oneof(
          { maxDepth: 2, withCrossShrink: true },
          { weight: 5, arbitrary: atom },
          { weight: 1, arbitrary: tie("group") },
        ),
        fc.constantFrom("", "", "", "", "*", "+", "?", "*?", "+?", "{2}", "{1,3}", "{2,}", "{0}"),
      )
      // `\b*` is fine, `^**` is not: what is repeated is a group.
      .map(([text, repeat]) => (repeat === "" ? text : `(?:${text})${repeat}`)),
    group: fc
      .tuple(
        fc.constantFrom("(", "(?:", "(?i:", "(?s:", "(?m:", "(?-i:", "(?is:", "(?ms:", "(?i)(?:"),
        tie("alternation"),
      )
      .map(([open, text]) => `${open}${text})`),
  }),
).alternation;

/** Bytes as people, attackers and patterns write them. */
export const bytes: fc.Arbitrary<string> = fc
  .array(
    fc.oneof(
      fc.constantFrom(...Array.from("abkKsS/-_1. \n\r\0\x7f\x80\xa9\xb5\xc3\xe9\xff")),
      fc.integer({ min: 0, max: 255 }).map((b) => String.fromCharCode(b)),
    ),
    { maxLength: 8 },
  )
  .map((chars) => chars.join(""));
