/**
 * What every source feeds: changes, the word that the first reading is done, and what is wrong with users' objects. Knows no source.
 */
import type { Change, Problem } from "../world/types.ts";

export interface Sink {
  /** Real changes only, in one batch per settled event; a batch is consistent in itself. */
  apply(changes: readonly Change[]): void;
  /** Called once, after the first `apply`, when all that is there has been read. */
  synced(): void;
  /** The whole list, each time that it differs from the last one. */
  problems(list: readonly Problem[]): void;
}
