/**
 * Memo tables whose key is the arguments themselves: a value is made again only when one of the things it is made of
 * is another one. Knows no domain word.
 */

interface Entry<V> {
  deps: readonly unknown[];
  value: V;
  round: number;
}

/** Whether two lists hold the same things in the same order, by reference. */
export function sameItems(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return false;
  return true;
}

/**
 * A table of values, each made of a list of dependencies. `get` makes a value only when its dependencies differ (by reference)
 * from those of the last time; `sweep` forgets what was not asked for since the last sweep, so the table holds
 * no more than the last round used. `made` counts what was really made: the figure that tests assert.
 */
export class Memo<V> {
  readonly #entries = new Map<string, Entry<V>>();
  #round = 0;
  #made = 0;

  get(key: string, deps: readonly unknown[], make: () => V): V {
    const entry = this.#entries.get(key);
    if (entry && sameItems(entry.deps, deps)) {
      entry.round = this.#round;
      return entry.value;
    }
    const value = make();
    this.#made++;
    if (entry) {
      entry.deps = deps;
      entry.value = value;
      entry.round = this.#round;
    } else {
      this.#entries.set(key, { deps, value, round: this.#round });
    }
    return value;
  }

  /** Starts a round: what is asked for before it does not count at the next sweep. */
  begin(): void {
    this.#round++;
  }

  sweep(): void {
    for (const [key, entry] of this.#entries) if (entry.round !== this.#round) this.#entries.delete(key);
    this.#round++;
  }

  /** Values made since the table exists. */
  get made(): number {
    return this.#made;
  }

  get size(): number {
    return this.#entries.size;
  }
}

/** Lists that hold the same things become the same list, so that they can be dependencies themselves. */
export class Lists<T> {
  readonly #memo = new Memo<readonly T[]>();

  get(key: string, items: readonly T[]): readonly T[] {
    return this.#memo.get(key, items, () => items);
  }

  begin(): void {
    this.#memo.begin();
  }

  sweep(): void {
    this.#memo.sweep();
  }

  get size(): number {
    return this.#memo.size;
  }
}
