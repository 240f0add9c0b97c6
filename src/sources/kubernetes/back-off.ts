/**
 * How long to wait before the next attempt: growing, bounded, and never the same for two who fail together. Knows no request.
 */
import type { Clock } from "../../lib/settle.ts";

export interface BackOffOptions {
  /** Milliseconds before the second attempt. */
  readonly first: number;
  /** Milliseconds at most. */
  readonly most: number;
  /** From 0 up to 1. */
  readonly random: () => number;
}

export class BackOff {
  readonly #options: BackOffOptions;
  #failures = 0;

  constructor(options: BackOffOptions) {
    this.#options = options;
  }

  /** Attempts that failed in a row. */
  get failures(): number {
    return this.#failures;
  }

  /** It worked: the next wait is a short one. */
  reset(): void {
    this.#failures = 0;
  }

  /** Milliseconds: between half of the step and all of it, but no less than what the server asked for. */
  next(atLeast = 0): number {
    const { first, most, random } = this.#options;
    const step = Math.min(most, first * 2 ** Math.min(this.#failures++, 30));
    return Math.max(step * (0.5 + random() / 2), Math.min(atLeast, MOST_ASKED) * (1 + random() / 4));
  }
}

/** Nobody may ask for more, in milliseconds: a wrong header must not make anybody blind. */
const MOST_ASKED = 60_000;

/** Resolves after so many milliseconds, or at once when the signal ends it. */
export function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = () => {
      cancel();
      signal.removeEventListener("abort", end);
      resolve();
    };
    const cancel = clock.after(ms, end);
    signal.addEventListener("abort", end, { once: true });
  });
}
