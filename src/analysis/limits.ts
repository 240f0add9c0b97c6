/**
 * Questions that have no answer here, told apart from faults.
 */
import { LanguageTooLarge } from "../language/automaton.ts";
import { RequestsTooMany } from "./boxes.ts";
import { HeaderNotCompared } from "./requests.ts";

/** Why it could not be told, as the second half of a sentence; undefined for an error that is a fault. */
export function cannotTell(error: unknown): string | undefined {
  if (error instanceof LanguageTooLarge) return "a pattern, or several together, are too large to be compared";
  if (error instanceof RequestsTooMany || error instanceof HeaderNotCompared) return error.message;
  return undefined;
}
