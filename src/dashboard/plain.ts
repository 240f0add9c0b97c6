/**
 * Whatever the pipeline holds, as plain data that prints: Maps become objects, and private keys never appear. Pure.
 */

import { PersistentMap } from "../lib/persistent-map.ts";

export const REDACTED = "[redacted]";

/** Names of fields whose content is secret, in any spelling. */
const SECRET = /^(private_?key|password|secret_?key)$/i;
const PEM_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----/;
const DEPTH = 100;

/** A copy that JSON can hold. Maps with names as keys become objects in their order, Sets lists, bytes base64. */
export function plain(value: unknown, depth = 0): unknown {
  if (depth > DEPTH) return "…";
  if (typeof value === "string") return PEM_KEY.test(value) ? REDACTED : value;
  if (typeof value === "bigint") return String(value);
  if (typeof value === "function" || typeof value === "symbol") return undefined;
  if (value === null || typeof value !== "object") return value;
  if (value instanceof Uint8Array) return base64(value);
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value) || value instanceof Set) return [...value].map((item) => plain(item, depth + 1));
  const entries: Iterable<[unknown, unknown]> =
    value instanceof Map ? value : value instanceof PersistentMap ? byKey(value) : ownEntries(value);
  const copy: Record<string, unknown> = {};
  for (const [key, item] of entries) {
    const field = String(key);
    const made = SECRET.test(field) ? secret(item) : plain(item, depth + 1);
    // An own property even when the name is `__proto__`.
    if (made !== undefined)
      Object.defineProperty(copy, field, { value: made, enumerable: true, configurable: true, writable: true });
  }
  return copy;
}

function ownEntries(value: object): [string, unknown][] {
  const { toJSON } = value as { toJSON?: unknown };
  if (typeof toJSON !== "function") return Object.entries(value);
  const json: unknown = toJSON.call(value);
  return json !== null && typeof json === "object" ? Object.entries(json) : [["value", json]];
}

/** Keeps the form of Envoy's DataSource, so that what is printed is still a message. */
const secret = (item: unknown): unknown =>
  item !== null && typeof item === "object" ? { inlineString: REDACTED } : item === undefined ? undefined : REDACTED;

function base64(value: Uint8Array): string {
  const buffer = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return PEM_KEY.test(buffer.toString("latin1")) ? REDACTED : buffer.toString("base64");
}

/** Its own order means nothing. */
const byKey = (map: PersistentMap<unknown>): [string, unknown][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
