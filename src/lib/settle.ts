/**
 * A debounce with two numbers: it runs when pokes have been quiet for a while, at the latest after a while of pokes.
 * Holds no values: whoever runs reads the latest. Knows no domain word.
 */

export interface Clock {
  /** Milliseconds, monotonic. */
  now(): number;
  /** Runs once after so many milliseconds; the answer cancels it. */
  after(ms: number, run: () => void): () => void;
}

export const realClock: Clock = {
  now: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

export interface SettleOptions {
  /** Milliseconds without a poke before it runs. */
  readonly quiet: number;
  /** Milliseconds after the first poke when it runs in any case. */
  readonly max: number;
  readonly clock?: Clock;
}

export class Settle {
  readonly #options: Required<SettleOptions>;
  readonly #run: () => void;
  #first = 0;
  #cancel: (() => void) | undefined;

  constructor(options: SettleOptions, run: () => void) {
    this.#options = { clock: realClock, ...options };
    this.#run = run;
  }

  /** Something changed. */
  poke(): void {
    const { clock, quiet, max } = this.#options;
    const now = clock.now();
    if (this.#cancel) this.#cancel();
    else this.#first = now;
    this.#cancel = clock.after(Math.max(0, Math.min(quiet, this.#first + max - now)), () => {
      this.#cancel = undefined;
      this.#run();
    });
  }

  /** Forget a poke that has not run yet. */
  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}
