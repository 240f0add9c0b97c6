/**
 * JSON and YAML of which nothing is known yet. Knows no domain word.
 */

/** A map as it came from JSON or YAML. */
export type Raw = Readonly<Record<string, unknown>>;

export const isRaw = (value: unknown): value is Raw =>
  typeof value === "object" && value !== null && !Array.isArray(value);
