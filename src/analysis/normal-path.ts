/**
 * What Envoy makes of a request's path before anybody matches it: its `normalize_path` (googleurl's CanonicalizePath) and `merge_slashes`.
 * Found by asking Envoy 1.40 for every byte, raw and escaped; `test/live/why.test.ts` goes on asking. Knows no policy.
 *
 * Paths are bytes here, a Latin-1 character each (`asBytes`).
 */

/** Characters that are decoded wherever they are escaped (RFC 3986's unreserved ones). */
const UNRESERVED = /[A-Za-z0-9\-._~]/;
/** Characters that pass as they are. All others are escaped, but for `\`, which becomes `/`. */
const PASSES = /[!$&'()*+,\-./0-9:;=@A-Z[\]_a-z~]/;

/**
 * The `:path` that policies are matched against, query included.
 * @param target - as sent: a path that begins with `/`, with its query, if any
 * @returns undefined when Envoy answers 400 itself: no `/` at the beginning, a `#` (fragments are not sent), or `%00`
 */
export function normalPath(target: string): string | undefined {
  if (!target.startsWith("/") || target.includes("#")) return undefined;
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const canonical = PLAIN.test(path) && !DOTS.test(path) ? path : canonicalPath(path);
  return canonical === undefined ? undefined : mergeSlashes(canonical) + (mark < 0 ? "" : target.slice(mark));
}

/** The part of a `:path` that `pathRegex` is about. */
export function withoutQuery(path: string): string {
  const mark = path.indexOf("?");
  return mark < 0 ? path : path.slice(0, mark);
}

/** Whether a path in normal form has a slash that is escaped: a port with a rule that restricts the path answers it with 400 (smi-semantics, row 11). */
export const hasEscapedSlash = (path: string): boolean => /%(2f|5c)/i.test(path);

/**
 * The paths that sidecars see, as RE2 patterns of the whole text: `all` without `but`, and `also`. Exactly these are their own normal form, so
 * that each sidecar on the way sees the same.
 * (`also`: Envoy merges a path of slashes only to two of them, since both its ends are kept.)
 */
export const NORMAL_PATHS = {
  all: "/[!$-;=@A-Z\\[\\]_a-z~]*",
  but: [".*//.*", ".*/\\.\\.?(?:/.*)?", ".*%(?:00|2[dDeE]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe]).*"],
  also: ["//"],
} as const;

/** Nothing in it is changed, once there are no dot segments. */
const PLAIN = /^[!$&-;=@A-Z[\]_a-z~]*$/;
const DOTS = /\/\.\.?(?:\/|$)/;

/** googleurl's `DoPartialPath`: dot segments, escapes, backslashes. Undefined: it fails. */
function canonicalPath(path: string): string | undefined {
  let out = "";
  /** Where in `out` a `%` stands that begins no escape; decoding what follows must not make it begin one. */
  let loosePercent: number | undefined;
  for (let i = 0; i < path.length; i++) {
    const dot = dotAt(path, i);
    if (dot > 0) {
      i += dot - 1;
      if (!out.endsWith("/")) {
        out += ".";
        continue;
      }
      const more = dotAt(path, i + 1);
      if (endsSegment(path, i + 1)) i += 1;
      else if (more > 0 && endsSegment(path, i + 1 + more)) {
        out = out.slice(0, Math.max(1, out.lastIndexOf("/", out.length - 2) + 1));
        // It is gone with its segment.
        if (loosePercent !== undefined && loosePercent >= out.length) loosePercent = undefined;
        i += more + 1;
      } else out += ".";
      continue;
    }
    const character = path[i] as string;
    if (character === "\\") out += "/";
    else if (character === "%") {
      const value = escapedAt(path, i);
      if (value === undefined) {
        loosePercent = out.length;
        out += "%";
        continue;
      }
      if (value === 0) return undefined;
      const decoded = String.fromCharCode(value);
      if (!UNRESERVED.test(decoded)) out += path.slice(i, i + 3);
      i += 2;
      if (!UNRESERVED.test(decoded)) continue;
      out += decoded;
      if (loosePercent === undefined || loosePercent + 3 < out.length) continue;
      out = withoutNested(out, loosePercent, path[i + 1]);
    } else out += PASSES.test(character) ? character : escaped(character);
  }
  return out;
}

/** googleurl's `CheckForNestedEscapes`: `%%32e` must not become `%2e`, and becomes `%252e`. It looks at what is at the place now, a `%` or not. */
function withoutNested(out: string, percent: number, next: string | undefined): string {
  const looksAhead = percent === out.length - 2;
  if (looksAhead && (next === undefined || next >= "\x80")) return out;
  if (escapedAt(looksAhead ? out + next : out, percent) === undefined) return out;
  return `${out.slice(0, percent + 1)}25${out.slice(percent + 1)}`;
}

/** How many characters at `i` are a dot: 1, 3 when it is escaped, else 0. */
const dotAt = (path: string, i: number): number =>
  path[i] === "." ? 1 : path[i] === "%" && path[i + 1] === "2" && /[eE]/.test(path[i + 2] ?? "") ? 3 : 0;

const endsSegment = (path: string, i: number): boolean => i >= path.length || path[i] === "/" || path[i] === "\\";

function escapedAt(path: string, i: number): number | undefined {
  const digits = path.slice(i + 1, i + 3);
  return /^[0-9A-Fa-f]{2}$/.test(digits) ? Number.parseInt(digits, 16) : undefined;
}

const escaped = (character: string): string =>
  `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;

function mergeSlashes(path: string): string {
  if (!path.includes("//")) return path;
  const inner = path.split("/").filter((segment) => segment !== "");
  return `/${inner.join("/")}${path.endsWith("/") ? "/" : ""}`;
}
