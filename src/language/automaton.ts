/**
 * Deterministic automata over classes of bytes, and the one canonical form that each language has.
 * Knows no pattern.
 */

/** A complete deterministic automaton. Its start is state 0, and every state is reachable. */
export interface Automaton extends Classes {
  /** State × width + class → state. */
  readonly next: Int32Array;
  /** 1 for a state that accepts. */
  readonly accept: Uint8Array;
}

/** A question needs more states than it may have: callers say that they could not tell. */
export class LanguageTooLarge extends Error {
  override readonly name = "LanguageTooLarge";
}

/** A partition of the bytes: byte → class. Classes are numbered from 0 by their first byte. */
export interface Classes {
  readonly classes: Uint8Array;
  readonly width: number;
}

export const ONE_CLASS: Classes = Object.freeze({ classes: new Uint8Array(256), width: 1 });

/** The coarsest partition that both refine; the second one's numbers are of any kind below its width. */
export function refine(a: Classes, b: Classes): Classes {
  const classes = new Uint8Array(256);
  const seen = new Int16Array(a.width * b.width).fill(-1);
  let width = 0;
  for (let byte = 0; byte < 256; byte++) {
    const both = (a.classes[byte] as number) * b.width + (b.classes[byte] as number);
    if (seen[both] === -1) seen[both] = width++;
    classes[byte] = seen[both] as number;
  }
  return { classes, width };
}

/** One byte of each class: the first. */
export function representatives({ classes, width }: Classes): Uint8Array {
  const bytes = new Uint8Array(width);
  for (let b = 255; b >= 0; b--) bytes[classes[b] as number] = b;
  return bytes;
}

/** The smallest automaton of the same language, its classes and states numbered in the one canonical way: equal languages give equal content. */
export function canonical(given: Automaton): Automaton {
  const blocks = partition(given);
  const { width, next, accept, classes } = given;

  // One state for each block, then one class for equal columns.
  const count = blocks.count;
  const small = new Int32Array(count * width);
  const done = new Uint8Array(count);
  const accepts = new Uint8Array(count);
  for (let s = 0; s < accept.length; s++) {
    const block = blocks.of[s] as number;
    if (done[block]) continue;
    done[block] = 1;
    accepts[block] = accept[s] as number;
    for (let c = 0; c < width; c++) small[block * width + c] = blocks.of[next[s * width + c] as number] as number;
  }
  const columns = new Map<string, number>();
  const column = new Uint16Array(count);
  const merged = new Uint8Array(width);
  for (let c = 0; c < width; c++) {
    for (let s = 0; s < count; s++) column[s] = small[s * width + c] as number;
    const key = textOf(column);
    let number = columns.get(key);
    if (number === undefined) columns.set(key, (number = columns.size));
    merged[c] = number;
  }
  const by = refine(ONE_CLASS, { classes: classes.map((c) => merged[c] as number), width: columns.size });
  const bytes = representatives(by);

  // States in the order in which a walk finds them.
  const order = [blocks.of[0] as number];
  const number = new Int32Array(count).fill(-1);
  number[order[0] as number] = 0;
  const table = new Int32Array(count * by.width);
  for (let i = 0; i < order.length; i++) {
    for (let c = 0; c < by.width; c++) {
      const to = small[(order[i] as number) * width + (classes[bytes[c] as number] as number)] as number;
      if (number[to] === -1) {
        number[to] = order.length;
        order.push(to);
      }
      table[i * by.width + c] = number[to] as number;
    }
  }
  return {
    classes: by.classes,
    width: by.width,
    next: table,
    accept: Uint8Array.from(order, (block) => accepts[block] as number),
  };
}

/** The content of a canonical automaton as a key: equal for equal languages, and for these only. */
export const keyOf = ({ classes, next, accept }: Automaton): string =>
  textOf(classes) + textOf(accept) + textOf(Uint16Array.from(next));

/** Arguments that a call may have, everywhere. */
const PART = 8192;

/** The numbers as characters. */
export function textOf(numbers: Uint8Array | Uint16Array): string {
  // Applied, not spread: several times as fast.
  const apply = (part: ArrayLike<number>): string => String.fromCharCode.apply(null, part as number[]);
  if (numbers.length <= PART) return apply(numbers);
  let text = "";
  for (let i = 0; i < numbers.length; i += PART) text += apply(numbers.subarray(i, i + PART));
  return text;
}

/** States that accept the same continuations are one block: Hopcroft's algorithm, n log n. */
function partition({ width, next, accept }: Automaton): { of: Int32Array; count: number } {
  const n = accept.length;
  // Who comes to a state by a class: sources[heads[class * n + state] …].
  const heads = new Int32Array(n * width + 1);
  for (let s = 0; s < n; s++)
    for (let c = 0; c < width; c++) bump(heads, c * n + (next[s * width + c] as number) + 1, 1);
  for (let i = 0; i < n * width; i++) bump(heads, i + 1, heads[i] as number);
  const fill = heads.slice();
  const sources = new Int32Array(n * width);
  for (let s = 0; s < n; s++)
    for (let c = 0; c < width; c++) sources[bump(fill, c * n + (next[s * width + c] as number), 1)] = s;

  // Blocks are stretches of `states`; those of a block that are marked stand at its beginning.
  const states = new Int32Array(n);
  const place = new Int32Array(n);
  const of = new Int32Array(n);
  const first = new Int32Array(n);
  const end = new Int32Array(n);
  const marked = new Int32Array(n);
  let count = 0;
  let at = 0;
  for (const kind of [0, 1]) {
    const from = at;
    for (let s = 0; s < n; s++) {
      if (accept[s] !== kind) continue;
      states[at] = s;
      place[s] = at++;
      of[s] = count;
    }
    if (at === from) continue;
    first[count] = from;
    end[count++] = at;
  }
  if (count === 1) return { of, count };

  const waiting = [(end[0] as number) - (first[0] as number) <= n / 2 ? 0 : 1];
  const isWaiting = new Uint8Array(n);
  isWaiting[waiting[0] as number] = 1;
  const touched: number[] = [];
  while (waiting.length > 0) {
    const splitter = waiting.pop() as number;
    isWaiting[splitter] = 0;
    // The block may itself be split on the way: what it was is what splits.
    const members = states.slice(first[splitter], end[splitter]);
    for (let c = 0; c < width; c++) {
      for (const to of members) {
        const stop = heads[c * n + to + 1] as number;
        for (let i = heads[c * n + to] as number; i < stop; i++) {
          const s = sources[i] as number;
          const block = of[s] as number;
          const slot = (first[block] as number) + (marked[block] as number);
          if ((place[s] as number) < slot) continue;
          if (marked[block] === 0) touched.push(block);
          const other = states[slot] as number;
          states[place[s] as number] = other;
          place[other] = place[s] as number;
          states[slot] = s;
          place[s] = slot;
          bump(marked, block, 1);
        }
      }
      for (const block of touched) {
        const cut = (first[block] as number) + (marked[block] as number);
        marked[block] = 0;
        if (cut === end[block]) continue;
        // The marked ones become a block of their own.
        const fresh = count++;
        first[fresh] = first[block] as number;
        end[fresh] = cut;
        first[block] = cut;
        for (let i = first[fresh]; i < cut; i++) of[states[i] as number] = fresh;
        const smaller = cut - first[fresh] <= (end[block] as number) - cut ? fresh : block;
        const add = isWaiting[block] ? fresh : smaller;
        isWaiting[add] = 1;
        waiting.push(add);
      }
      touched.length = 0;
    }
  }
  return { of, count };
}

/** Adds, and answers what was there before. */
function bump(numbers: Int32Array, i: number, by: number): number {
  const before = numbers[i] as number;
  numbers[i] = before + by;
  return before;
}
