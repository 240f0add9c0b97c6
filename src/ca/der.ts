/**
 * The part of ASN.1's Distinguished Encoding Rules (X.690) that certificates need: a writer of values and a strict reader.
 * Knows encodings only, nothing of certificates.
 */

/** Tags in use. `context(n)` gives the context-specific ones. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Context-specific tag: `[n]`, of a constructed value (EXPLICIT) or of a primitive one (IMPLICIT). */
export const context = (n: number, form: "constructed" | "primitive"): number =>
  (form === "constructed" ? 0xa0 : 0x80) | n;

/** One value: tag, minimal definite length, contents one behind the other. */
export function tlv(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const size = contents.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Buffer.from([tag, ...lengthBytes(size)]), ...contents]);
}

function lengthBytes(size: number): number[] {
  if (size < 0x80) return [size];
  const bytes: number[] = [];
  for (let rest = size; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [0x80 | bytes.length, ...bytes];
}

export const sequence = (...contents: readonly Uint8Array[]): Buffer => tlv(TAG.sequence, ...contents);
export const setOf = (element: Uint8Array): Buffer => tlv(TAG.set, element);
export const boolean = (value: boolean): Buffer => tlv(TAG.boolean, Buffer.from([value ? 0xff : 0x00]));
export const nothing = (): Buffer => tlv(TAG.null);
export const octetString = (bytes: Uint8Array): Buffer => tlv(TAG.octetString, bytes);
export const utf8String = (text: string): Buffer => tlv(TAG.utf8String, Buffer.from(text, "utf8"));

/** A non-negative INTEGER of big-endian bytes: leading zeros dropped, one put in front where the sign bit would be set. */
export function unsigned(bytes: Uint8Array): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const digits = bytes.subarray(start);
  if (digits.length === 0) return tlv(TAG.integer, Buffer.from([0]));
  return tlv(TAG.integer, ...(digits[0]! & 0x80 ? [Buffer.from([0])] : []), digits);
}

/** A small non-negative INTEGER. */
export function integer(value: number | bigint): Buffer {
  if (value < 0) throw new RangeError(`negative INTEGER ${value}`);
  const hex = BigInt(value).toString(16);
  return unsigned(Buffer.from(hex.length % 2 ? `0${hex}` : hex, "hex"));
}

/** A BIT STRING of whole bytes. */
export const bitString = (bytes: Uint8Array): Buffer => tlv(TAG.bitString, Buffer.from([0]), bytes);

/** A BIT STRING of named bits (KeyUsage): trailing zero bits are not written (X.690 11.2.2). */
export function namedBits(...bits: readonly number[]): Buffer {
  if (bits.length === 0) return tlv(TAG.bitString, Buffer.from([0]));
  const last = Math.max(...bits);
  const bytes = Buffer.alloc(Math.floor(last / 8) + 1);
  for (const bit of bits) bytes[bit >> 3]! |= 0x80 >> (bit & 7);
  return tlv(TAG.bitString, Buffer.from([7 - (last & 7)]), bytes);
}

/** An OBJECT IDENTIFIER of its dotted form. Throws on anything that is none. */
export function oid(dotted: string): Buffer {
  if (!/^[0-2](\.(0|[1-9]\d*))+$/.test(dotted)) throw new RangeError(`not an object identifier: ${dotted}`);
  const [first, second, ...rest] = dotted.split(".").map(BigInt) as [bigint, bigint, ...bigint[]];
  if (first < 2n && second > 39n) throw new RangeError(`not an object identifier: ${dotted}`);
  return tlv(TAG.oid, ...[first * 40n + second, ...rest].map(base128));
}

function base128(value: bigint): Buffer {
  const bytes = [Number(value & 0x7fn)];
  for (let rest = value >> 7n; rest > 0n; rest >>= 7n) bytes.unshift(Number(rest & 0x7fn) | 0x80);
  return Buffer.from(bytes);
}

/** A Time, whole seconds: UTCTime from 1950 to 2049, GeneralizedTime otherwise (RFC 5280 4.1.2.5). */
export function time(at: number): Buffer {
  const digits = new Date(at).toISOString().replace(/[-:T]|\.\d+/g, "");
  const year = new Date(at).getUTCFullYear();
  return year >= 1950 && year < 2050
    ? tlv(TAG.utcTime, Buffer.from(digits.slice(2), "latin1"))
    : tlv(TAG.generalizedTime, Buffer.from(digits, "latin1"));
}

/** A value that was read. Both views share the bytes that were given. */
export interface Element {
  readonly tag: number;
  /** Without tag and length. */
  readonly content: Buffer;
  /** Tag, length and content. */
  readonly raw: Buffer;
}

/** Reads the one value that starts at `at`. Throws RangeError on what is cut, indefinite or not minimal. */
export function read(bytes: Uint8Array, at = 0): Element {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const tag = buffer[at];
  const first = buffer[at + 1];
  if (tag === undefined || first === undefined) throw new RangeError("DER value is cut short");
  if ((tag & 0x1f) === 0x1f) throw new RangeError("DER tag of more than one byte");
  let start = at + 2;
  let size = first;
  if (first & 0x80) {
    const count = first & 0x7f;
    if (count === 0 || count > 4) throw new RangeError("DER length is indefinite or too long");
    if (start + count > buffer.length) throw new RangeError("DER value is cut short");
    size = buffer.readUIntBE(start, count);
    if (size < 0x80 || lengthBytes(size).length !== count + 1) throw new RangeError("DER length is not minimal");
    start += count;
  }
  if (start + size > buffer.length) throw new RangeError("DER value is cut short");
  return {
    tag,
    content: buffer.subarray(start, start + size),
    raw: buffer.subarray(at, start + size),
  };
}

/** Reads the values that stand one behind the other in a constructed value. */
export function children(element: Element): Element[] {
  const found: Element[] = [];
  for (let at = 0; at < element.content.length; at += found.at(-1)!.raw.length) found.push(read(element.content, at));
  return found;
}

/** Dotted form of an OBJECT IDENTIFIER's content. */
export function oidText(content: Uint8Array): string {
  const arcs: bigint[] = [];
  let value = 0n;
  for (const byte of content) {
    value = (value << 7n) | BigInt(byte & 0x7f);
    if (byte & 0x80) continue;
    arcs.push(value);
    value = 0n;
  }
  const [head = 0n, ...rest] = arcs;
  const first = head < 80n ? head / 40n : 2n;
  return [first, head - first * 40n, ...rest].join(".");
}
