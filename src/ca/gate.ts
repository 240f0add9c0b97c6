/**
 * Lets a bounded number of jobs run at a time, first come, first served. Knows no domain word.
 */

/**
 * The pool's threads are few and shared with files and name resolution: a thousand jobs at once would keep all others
 * waiting. Who stops waiting (its signal) leaves the line, so the line is never longer than those who still want something.
 */
export class Gate {
  readonly #width: number;
  /** A Set is a line from whose middle one may leave at no cost. */
  readonly #line = new Set<() => void>();
  #running = 0;
  #peak = 0;

  constructor(width: number) {
    this.#width = width;
  }

  /** Runs the job in turn. Rejects with the signal's reason when it is aborted while waiting; a job that runs is not stopped. */
  async run<T>(job: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    if (this.#running < this.#width) this.#running++;
    else await this.#turn(signal);
    this.#peak = Math.max(this.#peak, this.#running);
    try {
      return await job();
    } finally {
      const [next] = this.#line;
      // The place is handed over, not freed: nobody can slip in between.
      if (next) next();
      else this.#running--;
    }
  }

  #turn(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#line.delete(enter);
        reject(signal?.reason);
      };
      const enter = () => {
        this.#line.delete(enter);
        signal?.removeEventListener("abort", leave);
        resolve();
      };
      this.#line.add(enter);
      signal?.addEventListener("abort", leave, { once: true });
    });
  }

  /** Jobs that wait. */
  get waiting(): number {
    return this.#line.size;
  }

  /** The most jobs that ever ran at a time. */
  get peak(): number {
    return this.#peak;
  }
}
