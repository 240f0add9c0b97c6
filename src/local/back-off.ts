/**
 * How long a container that ends is left alone before it is started again: the kubelet's rule, fifty times faster.
 * (The kubelet: 10 s, doubled up to 300 s, forgotten after twice that.)
 */

export const BACK_OFF = { first: 200, max: 30_000, forgetAfter: 60_000 } as const;

export class BackOff {
  #delay = 0;

  /** Milliseconds to wait before the next start, after a run of `ran` milliseconds. */
  next(ran: number): number {
    if (ran >= BACK_OFF.forgetAfter) this.#delay = 0;
    this.#delay = this.#delay === 0 ? BACK_OFF.first : Math.min(this.#delay * 2, BACK_OFF.max);
    return this.#delay;
  }
}
