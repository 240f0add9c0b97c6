/**
 * Content hashes: equal content has an equal hash, whatever the order of its keys.
 * SHA-256, because users write what is hashed: nobody may craft two contents of one version. Knows no domain word.
 */
import { hash as digest } from "node:crypto";

/** JSON with sorted keys and without undefined fields. Maps and Sets are not expected here. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, v: unknown) => {
    if (v === null || typeof v !== "object" || Array.isArray(v)) return v;
    const sorted: Record<string, unknown> = {};
    for (const key of Object.keys(v).sort()) sorted[key] = (v as Record<string, unknown>)[key];
    return sorted;
  });
}

/** 128 bits of SHA-256 as 32 hex digits. */
export const hash = (content: string | Uint8Array): string => digest("sha256", content, "hex").slice(0, 32);

/** Hash of a plain value's canonical form. */
export const contentHash = (value: unknown): string => hash(canonical(value));
