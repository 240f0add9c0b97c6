import type { WallClock } from "../../src/ca/schedule.ts";
import type { Clock } from "../../src/lib/settle.ts";

/** Turns of the event loop after which nothing more is on its way over loopback within this process. */
const QUIET_TURNS = 40;

/** Time that passes only when told to. Timers run when they fall due, in their order. */
export class FakeClock implements Clock, WallClock {
  #now: number;
  #timers: { at: number; run: () => void }[] = [];
  /** Timers ever set. */
  set = 0;

  constructor(now = 0) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + ms, run };
    this.#timers.push(timer);
    this.set++;
    return () => {
      this.#timers = this.#timers.filter((one) => one !== timer);
    };
  }

  /** Milliseconds until each timer. */
  get waiting(): readonly number[] {
    return this.#timers.map((timer) => timer.at - this.#now).sort((a, b) => a - b);
  }

  /** At once: what waits for promises between the timers does not get its turn. */
  advance(ms: number): void {
    const end = this.#now + ms;
    while (this.#fire(end));
    this.#now = end;
  }

  /** Each timer only when sockets and promises have nothing more to say. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    do for (let turn = 0; turn < QUIET_TURNS; turn++) await new Promise((done) => setImmediate(done));
    while (this.#fire(end));
    this.#now = end;
  }

  /** Lets time pass from timer to timer until this holds. Answers how many milliseconds that took. */
  async until(holds: () => boolean): Promise<number> {
    const begun = this.#now;
    for (;;) {
      for (let turn = 0; turn < QUIET_TURNS; turn++) {
        if (holds()) return this.#now - begun;
        await new Promise((done) => setImmediate(done));
      }
      this.#fire(Infinity);
    }
  }

  /** The time is set, or the machine has slept: timers do not notice. */
  jump(ms: number): void {
    this.#now += ms;
    for (const timer of this.#timers) timer.at += ms;
  }

  #fire(end: number): boolean {
    const next = this.#timers.toSorted((a, b) => a.at - b.at)[0];
    if (!next || next.at > end) return false;
    this.#timers = this.#timers.filter((timer) => timer !== next);
    this.#now = Math.max(this.#now, next.at);
    next.run();
    return true;
  }
}
