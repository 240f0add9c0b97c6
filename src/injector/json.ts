/**
 * Looks into JSON of which nothing is known, without ever throwing. Knows no Kubernetes.
 */

import { isRaw, type Raw } from "../lib/json.ts";

/** The map at this key, or an empty one. Only own keys count: `__proto__` and `constructor` are keys like others. */
export const mapAt = (value: unknown, key: string): Raw => {
  const found = at(value, key);
  return isRaw(found) ? found : {};
};

/** The list at this key, or an empty one. */
export const listAt = (value: unknown, key: string): readonly unknown[] => {
  const found = at(value, key);
  return Array.isArray(found) ? found : [];
};

/** The text at this key, or "". */
export const textAt = (value: unknown, key: string): string => {
  const found = at(value, key);
  return typeof found === "string" ? found : "";
};

export const at = (value: unknown, key: string): unknown =>
  isRaw(value) && Object.hasOwn(value, key) ? value[key] : undefined;

/** Whether there is something: Kubernetes drops null fields, so null is absent. */
export const given = (value: unknown): boolean => value !== undefined && value !== null;

/** What a user wrote, short enough for a sentence, on one line. */
export const quote = (text: string): string => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
