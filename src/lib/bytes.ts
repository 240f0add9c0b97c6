/**
 * Text as the bytes that travel: a character for each byte of its UTF-8. Knows no domain word.
 */

/** The text's UTF-8, one Latin-1 character (U+0000 to U+00FF) a byte: how Envoy's RE2 reads patterns, paths and headers. */
export function asBytes(text: string): string {
  // oxlint-disable-next-line no-control-regex -- plain ASCII is its own UTF-8, and nearly all that is asked
  if (/^[\x00-\x7f]*$/.test(text)) return text;
  return Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
}

/** The text whose UTF-8 these bytes are; bytes that are no UTF-8 are written `\xE9`, so that it can be shown. */
export function fromBytes(bytes: string): string {
  const values = Uint8Array.from(bytes, (c) => c.charCodeAt(0));
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(values);
  } catch {
    return Array.from(bytes, (c) => (c < "\x80" ? c : `\\x${c.charCodeAt(0).toString(16).toUpperCase()}`)).join("");
  }
}
