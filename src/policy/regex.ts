/**
 * Whether Envoy takes a user's regular expression. One that it refuses would take the whole route configuration with it, and everybody's policies there.
 *
 * Envoy 1.40 compiles RE2 on bytes (its Latin-1 mode), with an older Unicode than ours: `.` is one byte of a path, and
 * code points above FF or newer character classes are errors.
 */
import { RE2JS } from "re2js";
import { asBytes } from "../lib/bytes.ts";

/** Longest pattern that is accepted, in bytes of UTF-8. */
export const MAX_REGEX = 1024;
/** Largest compiled pattern that is accepted, in our estimate of RE2's instructions: half of what sidecars' Envoys are told to take. */
export const MAX_REGEX_PROGRAM = 16_384;

/** Unicode's general categories, and what else every version of RE2 knows. */
const CLASSES = new Set(
  "Any Latin C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs".split(
    " ",
  ),
);

/** What was found of the latest patterns: meshes say the same few again and again, and compiling one takes longer than all else in its rule. */
const faults = new Map<string, string | undefined>();
const MAX_FAULTS = 1000;

/** Why Envoy does not take this pattern; undefined when it does. */
export function regexFault(pattern: string): string | undefined {
  if (faults.has(pattern)) return faults.get(pattern);
  if (faults.size === MAX_FAULTS) faults.clear();
  const fault = faultOf(pattern);
  faults.set(pattern, fault);
  return fault;
}

function faultOf(pattern: string): string | undefined {
  if (pattern === "") return "is empty";
  if (!pattern.isWellFormed()) return "is not well-formed Unicode";
  const bytes = asBytes(pattern);
  if (bytes.length > MAX_REGEX) return `is longer than ${MAX_REGEX} bytes`;
  for (const [text, digits = ""] of bytes.matchAll(/\\x\{([0-9A-Fa-f]*)/g)) {
    if (Number.parseInt(digits, 16) > 0xff)
      return `has ${text}}, which is beyond one byte: paths and headers are compared byte by byte`;
  }
  for (const [text, braced, single] of bytes.matchAll(/\\[pP](?:\{\^?([^}]*)\}|([^{]))/g)) {
    if (!CLASSES.has(braced ?? single ?? ""))
      return `has the character class ${text}, which is not read here: general categories (as \\pL), Any and Latin are`;
  }
  try {
    return RE2JS.compile(bytes).programSize() * widestClass(bytes) > MAX_REGEX_PROGRAM
      ? "is too large when compiled"
      : undefined;
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const said = text.replace(/^error parsing regexp: /, "").replace(/\s+/g, " ");
    // It quotes the pattern.
    return `is not a regular expression of RE2 (${said.length > 150 ? `${said.slice(0, 150).toWellFormed()}…` : said})`;
  }
}

/** RE2 has an instruction for each range of a character class, RE2JS one for the whole class: how many there may be, from the length of the text. */
function widestClass(pattern: string): number {
  const classes = pattern.match(/\[\^?\]?(?:\\.|\[:\^?[a-z]+:\]|[^\]\\])*\]/g) ?? [];
  const named = /\\[pPwWsSdD]/.test(pattern) ? 8 : 1;
  return Math.max(named, ...classes.map((text) => 2 * text.length));
}
