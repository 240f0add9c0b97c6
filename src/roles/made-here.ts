/**
 * Which objects are Heddle's own: those that it made, and not those that it found there and used. Only the former are ever removed.
 * Knows one label, and no kind.
 */
import { isRaw, type Raw } from "../lib/json.ts";

/** On an object that was made here, from its first moment: it is never put on one that is there. */
export const MADE_HERE = { "app.kubernetes.io/part-of": "heddle" } as const;

/** Whether Heddle made this object, and did not find it there: OSM's, or one that a user gave. */
export function madeHere(object: Raw): boolean {
  const metadata = isRaw(object["metadata"]) ? object["metadata"] : {};
  const labels = isRaw(metadata["labels"]) ? metadata["labels"] : {};
  return Object.entries(MADE_HERE).every(([key, value]) => labels[key] === value);
}
