/**
 * One pattern and one text: RE2's answer, as Envoy gives it, without an automaton. Agrees with `Languages.has` (test/unit/language).
 */
import { RE2JS } from "re2js";
import { asBytes } from "../lib/bytes.ts";
import { ignoresCase, namesScript, STANDS_FOR, withStandIns } from "./folding.ts";

/**
 * Whether a text matches the pattern as a whole. The text has one character a byte (`asBytes`). Inexact in one case, which `Languages`
 * refuses: letters beyond ASCII, in a pattern that ignores case and names the script `Latin`.
 * @param pattern - as its user wrote it
 * @throws RE2JSSyntaxException for a pattern that RE2 rejects
 */
export function matcher(pattern: string): (text: string) => boolean {
  const written = asBytes(pattern);
  if (!ignoresCase(written) || namesScript(written)) {
    const compiled = RE2JS.compile(written);
    return (text) => compiled.matches(text);
  }
  const compiled = RE2JS.compile(withStandIns(written));
  return (text) => compiled.matches(/[\xb5-\xff]/.test(text) ? standIns(text) : text);
}

const standIns = (text: string): string =>
  Array.from(text, (char) => String.fromCodePoint(STANDS_FOR[char.charCodeAt(0)] as number)).join("");
