/**
 * How RE2 ignores case when it reads bytes: of ASCII letters only. RE2JS ignores the case of every letter there is, so for it the bytes
 * from µ on get other code points: of the same category, in the same order, and without another case (test/live/regex.test.ts).
 */

/** First byte of a stretch → the code point that stands for it. */
const STRETCHES: readonly (readonly [byte: number, codePoint: number])[] = [
  [0xb5, 0x138], // µ: Ll
  [0xb6, 0x37e], // ¶: Po
  [0xb7, 0x387], // ·: Po
  [0xb8, 0x1fbd], // ¸: Sk
  [0xb9, 0x2070], // ¹: No
  [0xba, 0x2135], // º: Lo
  [0xbb, 0x2e03], // »: Pf
  [0xbc, 0x3192], // ¼ ½ ¾: No
  [0xbf, 0xfe10], // ¿: Po
  [0xc0, 0x1d6a8], // À to Ö: Lu
  [0xd7, 0x1d6c1], // ×: Sm
  [0xd8, 0x1d6e2], // Ø to Þ: Lu
  [0xdf, 0x1d6fc], // ß to ö: Ll
  [0xf7, 0x1d715], // ÷: Sm
  [0xf8, 0x1d736], // ø to ÿ: Ll
];
/** The first byte that has a stand-in. */
const FIRST = 0xb5;
/** Above all of these: what is no byte. */
const BEYOND = 0x10ffff;

/** The code point that stands for each byte in a pattern that ignores case. */
export const STANDS_FOR: readonly number[] = Array.from({ length: 256 }, (_, byte) => {
  const stretch = STRETCHES.findLast(([first]) => first <= byte);
  return stretch ? stretch[1] + byte - stretch[0] : byte;
});

const standsFor = (value: number): string => String.fromCodePoint(STANDS_FOR[value] ?? BEYOND);

/** Whether some part of the pattern may ignore case. Says yes too often where `(?i` is no group, which is no harm. */
export const ignoresCase = (pattern: string): boolean => /\(\?[a-zA-Z]*i/.test(pattern);

/** A script, which the stand-ins do not have. */
export const namesScript = (pattern: string): boolean => /\\[pP]\{\^?Latin\}/.test(pattern);

/** The pattern, written with the stand-ins. @param pattern - with one character a byte */
export function withStandIns(pattern: string): string {
  let out = "";
  for (let at = 0; at < pattern.length;) {
    const [token, of] = tokenAt(pattern, at);
    out += token === "[" ? "" : of === undefined ? letters(token) : written(token, of);
    at += token.length;
    if (token !== "[") continue;
    const end = classEnd(pattern, at);
    out += `[${classWithStandIns(pattern.slice(at, end))}`;
    at = end;
  }
  return out;
}

/** A quotation to its end, a byte by its number (hexadecimal or octal), any other escape, or a character; and which byte it is, where that may be no ASCII. */
function tokenAt(text: string, at: number): readonly [token: string, of: number | undefined] {
  TOKEN.lastIndex = at;
  const [token = "", braced, hex = braced, octal] = TOKEN.exec(text) ?? [];
  if (hex !== undefined) return [token, Number.parseInt(hex, 16)];
  if (octal !== undefined) return [token, Number.parseInt(octal, 8)];
  return [token, token.length === 1 ? token.charCodeAt(0) : undefined];
}
const TOKEN =
  /\\x(?:\{([0-9A-Fa-f]+)\}|([0-9A-Fa-f]{2}))|\\(0[0-7]{0,2}|[1-7][0-7]{1,2})|\\Q(?:(?!\\E)[^])*(?:\\E|$)|\\[pP](?:\{[^}]*\}|[^])|\\[^]|[^]/y;

const written = (token: string, value: number): string => (value < FIRST ? token : standsFor(value));
const letters = (text: string): string => text.replace(/[\xb5-\xff]/g, (letter) => standsFor(letter.charCodeAt(0)));

/** Where the class that begins before `at` ends, its `]` included. */
function classEnd(pattern: string, at: number): number {
  const from = /\^?\]?/y;
  from.lastIndex = at;
  let end = at + (from.exec(pattern)?.[0].length ?? 0);
  while (end < pattern.length && pattern[end] !== "]")
    end += namedAt(pattern, end)?.length ?? tokenAt(pattern, end)[0].length;
  return Math.min(end + 1, pattern.length);
}

/** `[:alpha:]` */
function namedAt(text: string, at: number): string | undefined {
  NAMED.lastIndex = at;
  return NAMED.exec(text)?.[0];
}
const NAMED = /\[:\^?[a-z]+:\]/y;

/** Of a range, each stand-in is written by itself: what lies between two of them is no byte, and may have another case that is one. */
function classWithStandIns(text: string): string {
  let out = "";
  for (let at = 0; at < text.length;) {
    const named = namedAt(text, at);
    const [low, from] = named === undefined ? tokenAt(text, at) : [named, undefined];
    at += low.length;
    const [high, to] = text[at] === "-" && at + 2 < text.length ? tokenAt(text, at + 1) : ["", undefined];
    const ranges = to !== undefined && to >= FIRST && low !== "^" && named === undefined && (from ?? 0) <= to;
    if (ranges) {
      if ((from ?? 0) < FIRST) out += `${low}-\\xb4`;
      for (let value = Math.max(FIRST, from ?? 0); value <= Math.min(to, 0xff); value++) out += standsFor(value);
      at += 1 + high.length;
    } else out += from === undefined ? low : written(low, from);
  }
  return out;
}
