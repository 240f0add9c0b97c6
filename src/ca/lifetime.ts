/**
 * A certificate that does not run out as long as somebody holds it: the current one now, each next one before it expires.
 * Knows when to renew; what is issued and how is a function that it is given.
 */
import type { PrivateKey } from "./private-key.ts";
import type { Schedule, WallClock } from "./schedule.ts";

/** A certificate with its key, in memory only. Times are milliseconds since the epoch. */
export interface Issued {
  /** The certificate, and behind it any that lie between it and the root, PEM. */
  readonly chainPem: string;
  readonly privateKey: PrivateKey;
  /** Hexadecimal. */
  readonly serial: string;
  /** When it was made; it is valid from a little earlier. */
  readonly issuedAt: number;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** What a lifetime works with. */
export interface LifetimeParts {
  readonly issue: (signal: AbortSignal) => Promise<Issued>;
  readonly schedule: Schedule;
  readonly clock: WallClock;
  /** From 0 up to 1. */
  readonly random: () => number;
  /** Told of each renewal that failed; it is tried again. */
  readonly failed: (error: unknown) => void;
}

/** Never renewed sooner than this after it was made, in milliseconds, however little is left: a root that runs out must not make a busy loop. */
const BREATH = 30_000;
const FIRST_RETRY = 5_000;
const LONGEST_RETRY = 5 * 60_000;

/** When to renew: a third of the validity before expiry, and up to a tenth earlier, so that what was issued together is not renewed together. */
export function renewalTime(issued: Issued, random: number): number {
  const validity = issued.notAfter - issued.issuedAt;
  return Math.max(issued.notAfter - validity / 3 - (validity / 10) * random, issued.issuedAt + BREATH);
}

/**
 * Pause before attempt number `attempt` (from 1), in milliseconds: doubled from five seconds up to a thirtieth of the
 * validity, at most five minutes; the upper half at random. So even ten-minute certificates get several attempts.
 */
export function retryPause(attempt: number, validity: number, random: number): number {
  const longest = Math.max(FIRST_RETRY, Math.min(LONGEST_RETRY, validity / 30));
  return Math.min(FIRST_RETRY * 2 ** (attempt - 1), longest) * (0.5 + random / 2);
}

/** Held by one stream; ends with its signal. Holds no queue: a listener is given the newest certificate only. */
export class Lifetime {
  readonly #parts: LifetimeParts;
  readonly #signal: AbortSignal;
  readonly #listeners = new Set<(next: Issued) => void>();
  #current: Issued;
  #cancel: () => void = () => {};

  private constructor(parts: LifetimeParts, first: Issued, signal: AbortSignal) {
    this.#parts = parts;
    this.#signal = signal;
    this.#current = first;
  }

  /** Issues the first certificate. Rejects where that fails, or with the signal's reason. */
  static async start(parts: LifetimeParts, signal: AbortSignal): Promise<Lifetime> {
    signal.throwIfAborted();
    const first = await parts.issue(signal);
    signal.throwIfAborted();
    const lifetime = new Lifetime(parts, first, signal);
    signal.addEventListener("abort", () => lifetime.#end(), { once: true });
    lifetime.#renewAt(renewalTime(first, parts.random()), 0);
    return lifetime;
  }

  /** The newest certificate. */
  get current(): Issued {
    return this.#current;
  }

  /** Calls the listener with each next certificate; the answer stops that. */
  onNext(listener: (next: Issued) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #end(): void {
    this.#cancel();
    this.#listeners.clear();
  }

  #renewAt(at: number, attempts: number): void {
    this.#cancel = this.#parts.schedule.at(at, () => void this.#renew(attempts));
  }

  async #renew(attempts: number): Promise<void> {
    const { clock, random, issue, failed } = this.#parts;
    let next: Issued;
    try {
      next = await issue(this.#signal);
    } catch (error) {
      if (this.#signal.aborted) return;
      failed(error);
      const { notAfter, issuedAt } = this.#current;
      this.#renewAt(clock.now() + retryPause(attempts + 1, notAfter - issuedAt, random()), attempts + 1);
      return;
    }
    if (this.#signal.aborted) return;
    this.#current = next;
    this.#renewAt(renewalTime(next, random()), 0);
    for (const listener of this.#listeners) listener(next);
  }
}
