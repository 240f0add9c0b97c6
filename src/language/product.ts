/**
 * Two automata at once: unions, intersections and differences, and questions that need no automaton of their own.
 */
import { type Automaton, LanguageTooLarge, refine, representatives } from "./automaton.ts";

/** Whether a text is in the result, from whether it is in the one and the other: bit `2 * inA + inB`. */
export const UNION = 0b1110;
export const INTERSECTION = 0b1000;
export const DIFFERENCE = 0b0100;
export type Operation = typeof UNION | typeof INTERSECTION | typeof DIFFERENCE;

/** A state that is never left, and what it says: such a state decides for all longer texts. -1: there is none. */
export interface Ends {
  readonly never: number;
  readonly always: number;
}

/** The states of a canonical automaton that are never left. */
export function endsOf({ width, next, accept }: Automaton): Ends {
  let never = -1;
  let always = -1;
  for (let s = 0; s < accept.length; s++) {
    let c = 0;
    while (c < width && next[s * width + c] === s) c++;
    if (c < width) continue;
    if (accept[s]) always = s;
    else never = s;
  }
  return { never, always };
}

interface Operand {
  readonly automaton: Automaton;
  readonly ends: Ends;
}

/** Both classes of one byte of each common class. */
function common(a: Automaton, b: Automaton) {
  const both = refine(a, b);
  const bytes = representatives(both);
  return {
    ...both,
    inA: Uint8Array.from(bytes, (byte) => a.classes[byte] as number),
    inB: Uint8Array.from(bytes, (byte) => b.classes[byte] as number),
  };
}

/** @throws LanguageTooLarge */
export function product(a: Operand, b: Operand, operation: Operation, maxStates: number): Automaton {
  const { classes, width, inA, inB } = common(a.automaton, b.automaton);
  const size = b.automaton.accept.length;
  const numbers = new Map<number, number>();
  const pairs: number[] = [];
  const result = (inA: 0 | 1, inB: 0 | 1) => (operation >> (2 * inA + inB)) & 1;
  /** One pair stands for all that go the same way from here. */
  const settled = (s: number, t: number): number => {
    const { never, always } = a.ends;
    // Where one side is decided and the other does not matter any more, the other is set to one fixed state.
    if (s === never && result(0, 0) === result(0, 1)) return s * size;
    if (s === always && result(1, 0) === result(1, 1)) return s * size;
    if (t === b.ends.never && result(0, 0) === result(1, 0)) return t;
    if (t === b.ends.always && result(0, 1) === result(1, 1)) return t;
    return s * size + t;
  };
  const numberOf = (s: number, t: number): number => {
    const pair = settled(s, t);
    let number = numbers.get(pair);
    if (number === undefined) {
      number = pairs.length;
      if (number >= maxStates) throw new LanguageTooLarge(`a comparison needs more than ${maxStates} states`);
      numbers.set(pair, number);
      pairs.push(pair);
    }
    return number;
  };
  numberOf(0, 0);
  const next: number[] = [];
  const accept: number[] = [];
  for (const pair of pairs) {
    const t = pair % size;
    const s = (pair - t) / size;
    accept.push(result(a.automaton.accept[s] as 0 | 1, b.automaton.accept[t] as 0 | 1));
    for (let c = 0; c < width; c++) {
      const toA = a.automaton.next[s * a.automaton.width + (inA[c] as number)] as number;
      const toB = b.automaton.next[t * b.automaton.width + (inB[c] as number)] as number;
      next.push(numberOf(toA, toB));
    }
  }
  return { classes, width, next: Int32Array.from(next), accept: Uint8Array.from(accept) };
}

/** Whether `a` and `b` have a member in common; ends at the first. @throws LanguageTooLarge */
export function meet(a: Operand, b: Operand, maxPairs: number): boolean {
  const { width, inA, inB } = common(a.automaton, b.automaton);
  const size = b.automaton.accept.length;
  const seen = new Set<number>([0]);
  for (const pair of seen) {
    const t = pair % size;
    const s = (pair - t) / size;
    if (a.automaton.accept[s] && b.automaton.accept[t]) return true;
    for (let c = 0; c < width; c++) {
      const toA = a.automaton.next[s * a.automaton.width + (inA[c] as number)] as number;
      const toB = b.automaton.next[t * b.automaton.width + (inB[c] as number)] as number;
      // A state that is not "never" has a member ahead of it; beside "always" that decides.
      if (toA === a.ends.never || toB === b.ends.never) continue;
      if (toA === a.ends.always || toB === b.ends.always) return true;
      seen.add(toA * size + toB);
      if (seen.size > maxPairs) throw new LanguageTooLarge(`a comparison needs more than ${maxPairs} states`);
    }
  }
  return false;
}

/** The automaton of all texts that the given one does not take. */
export const inverse = (a: Automaton): Automaton => ({ ...a, accept: a.accept.map((taken) => 1 - taken) });
