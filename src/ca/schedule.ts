/**
 * Things to do at a time of day, thousands of them behind one timer. Knows no domain word.
 */

/** The time of day, and a timer. A test gives its own. */
export interface WallClock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Runs once after so many milliseconds; the answer cancels it. Does not keep the process alive. */
  after(ms: number, run: () => void): () => void;
}

export const wallClock: WallClock = {
  now: () => Date.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/**
 * The longest nap, in milliseconds. Timers follow a clock that stands still while a machine sleeps and does not notice when
 * the time is set, but certificates expire by the time of day; so the schedule looks at it at least this often.
 */
const NAP = 60_000;

interface Entry {
  readonly at: number;
  /** Undefined: done or cancelled. */
  run: (() => void) | undefined;
}

/** A binary heap by time with one timer for its head. Cancelled entries are dropped when they come up, or when they are most of it. */
export class Schedule {
  readonly #clock: WallClock;
  #heap: Entry[] = [];
  #cancelled = 0;
  #ended = false;
  /** The latest time of day that it has seen. */
  #seen = -Infinity;
  #timer: { readonly at: number; readonly cancel: () => void } | undefined;

  constructor(clock: WallClock) {
    this.#clock = clock;
  }

  /**
   * Runs once, as soon as the time of day is `at` or later, never within this call; the answer cancels it. It runs early when
   * the time is set back by more than a minute: what was made in a future that has not come is to be looked at again.
   */
  at(at: number, run: () => void): () => void {
    if (this.#ended) return () => {};
    const entry: Entry = { at, run };
    this.#push(entry);
    this.#arm();
    return () => this.#cancel(entry);
  }

  /** Entries that wait. */
  get size(): number {
    return this.#heap.length - this.#cancelled;
  }

  /** Cancels everything, and whatever is put in later never runs. */
  end(): void {
    this.#ended = true;
    for (const entry of this.#heap) entry.run = undefined;
    this.#heap = [];
    this.#cancelled = 0;
    this.#arm();
  }

  #cancel(entry: Entry): void {
    if (!entry.run) return;
    entry.run = undefined;
    this.#cancelled++;
    if (this.#cancelled * 2 <= this.#heap.length) return;
    // A sorted list is a heap too.
    this.#heap = this.#heap.filter((kept) => kept.run).sort((a, b) => a.at - b.at);
    this.#cancelled = 0;
    this.#arm();
  }

  #arm(): void {
    const head = this.#heap[0];
    if (this.#timer && head && this.#timer.at <= head.at) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (!head) return;
    const now = this.#clock.now();
    this.#seen = Math.max(this.#seen, now);
    const ms = Math.min(Math.max(head.at - now, 0), NAP);
    this.#timer = { at: now + ms, cancel: this.#clock.after(ms, () => this.#wake()) };
  }

  #wake(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    const setBack = now < this.#seen - NAP;
    if (setBack) this.#seen = now;
    const due: (() => void)[] = [];
    while (this.#heap[0] && (setBack || !this.#heap[0].run || this.#heap[0].at <= now)) {
      const entry = this.#pop();
      if (!entry.run) this.#cancelled--;
      else due.push(entry.run);
      entry.run = undefined;
    }
    this.#arm();
    for (const run of due) run();
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]!.at <= entry.at) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = entry;
  }

  #pop(): Entry {
    const heap = this.#heap;
    const head = heap[0]!;
    const last = heap.pop()!;
    let at = 0;
    for (let child = 1; child < heap.length; child = at * 2 + 1) {
      if (child + 1 < heap.length && heap[child + 1]!.at < heap[child]!.at) child++;
      if (last.at <= heap[child]!.at) break;
      heap[at] = heap[child]!;
      at = child;
    }
    if (heap.length > 0) heap[at] = last;
    return head;
  }
}
