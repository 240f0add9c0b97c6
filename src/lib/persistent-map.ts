/**
 * A map that is never changed: an edit gives another one, which shares with the first whatever it does not touch, so that an edit of one
 * entry costs the same however many there are. Keys are strings; entries come in no order that means anything. Knows no domain word.
 */

/** Entries of a chunk, on average at most: what copying one costs. */
const FULL = 32;
/** Below so many on average there are fewer chunks. */
const SPARSE = 4;

type Chunks<V> = readonly ReadonlyMap<string, V>[];

export class PersistentMap<V> implements ReadonlyMap<string, V> {
  readonly size: number;
  /** As many as a power of two; an entry's is found by its key's hash. */
  readonly #chunks: Chunks<V>;

  private constructor(chunks: Chunks<V>, size: number) {
    this.#chunks = chunks;
    this.size = size;
  }

  static of<V>(entries: Iterable<readonly [string, V]> = []): PersistentMap<V> {
    const edit = new PersistentMap<V>([new Map()], 0).edit();
    for (const [key, value] of entries) edit.set(key, value);
    return edit.done();
  }

  /** Changes that become another map together. */
  edit(): Edit<V> {
    return new Edit(this, this.#chunks, (chunks, size) => new PersistentMap(chunks, size));
  }

  get(key: string): V | undefined {
    return this.#chunks[hash(key) & (this.#chunks.length - 1)]?.get(key);
  }

  has(key: string): boolean {
    return this.#chunks[hash(key) & (this.#chunks.length - 1)]?.has(key) ?? false;
  }

  forEach(visit: (value: V, key: string, map: ReadonlyMap<string, V>) => void): void {
    for (const [key, value] of this.entries()) visit(value, key, this);
  }

  *entries(): MapIterator<[string, V]> {
    for (const chunk of this.#chunks) yield* chunk;
    return undefined;
  }

  *keys(): MapIterator<string> {
    for (const chunk of this.#chunks) yield* chunk.keys();
    return undefined;
  }

  *values(): MapIterator<V> {
    for (const chunk of this.#chunks) yield* chunk.values();
    return undefined;
  }

  [Symbol.iterator](): MapIterator<[string, V]> {
    return this.entries();
  }
}

/** Used once, by one. */
export class Edit<V> {
  readonly #before: PersistentMap<V>;
  readonly #make: (chunks: Chunks<V>, size: number) => PersistentMap<V>;
  #chunks: ReadonlyMap<string, V>[];
  /** Chunks that are this edit's own. */
  #own = new Set<number>();
  #size: number;
  #changed = false;

  constructor(
    before: PersistentMap<V>,
    chunks: Chunks<V>,
    make: (chunks: Chunks<V>, size: number) => PersistentMap<V>,
  ) {
    this.#before = before;
    this.#chunks = [...chunks];
    this.#size = before.size;
    this.#make = make;
  }

  get(key: string): V | undefined {
    return this.#chunks[this.#place(key)]?.get(key);
  }

  set(key: string, value: V): void {
    const chunk = this.#chunk(key);
    if (!chunk.has(key)) this.#size++;
    chunk.set(key, value);
    if (this.#size > FULL * this.#chunks.length) this.#spread(this.#chunks.length * 4);
  }

  delete(key: string): void {
    if (!this.#chunks[this.#place(key)]?.has(key)) return;
    this.#chunk(key).delete(key);
    this.#size--;
  }

  /** The map before when nothing was changed. */
  done(): PersistentMap<V> {
    if (!this.#changed) return this.#before;
    if (this.#chunks.length > 1 && this.#size < SPARSE * this.#chunks.length) this.#spread(this.#chunks.length / 4);
    return this.#make(this.#chunks, this.#size);
  }

  #place(key: string): number {
    return hash(key) & (this.#chunks.length - 1);
  }

  #chunk(key: string): Map<string, V> {
    this.#changed = true;
    const place = this.#place(key);
    if (!this.#own.has(place)) {
      this.#own.add(place);
      this.#chunks[place] = new Map(this.#chunks[place]);
    }
    return this.#chunks[place] as Map<string, V>;
  }

  #spread(count: number): void {
    const before = this.#chunks;
    this.#chunks = Array.from({ length: count }, () => new Map<string, V>());
    this.#own = new Set(this.#chunks.keys());
    for (const chunk of before)
      for (const [key, value] of chunk) (this.#chunks[this.#place(key)] as Map<string, V>).set(key, value);
  }
}

/** FNV-1a, its halves mixed: only its lowest bits are used. */
function hash(key: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) value = Math.imul(value ^ key.charCodeAt(i), 0x01000193);
  return (value ^ (value >>> 15)) >>> 0;
}
