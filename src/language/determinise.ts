/**
 * Programs → automata: all threads of a program at once, one set of them a state. Assertions are decided from the bytes on both sides.
 */
import { type Automaton, LanguageTooLarge, ONE_CLASS, refine, representatives, textOf } from "./automaton.ts";
import {
  BEGIN_LINE,
  BEGIN_TEXT,
  END_LINE,
  END_TEXT,
  NO_WORD_BOUNDARY,
  type Program,
  WORD,
  WORD_BOUNDARY,
} from "./program.ts";

/** What one automaton may cost. */
export interface Budget {
  /** At most 65,535. */
  readonly states: number;
  /** Instructions that are looked at, over all states. */
  readonly steps: number;
}

/** What is known of the byte before a position; there is none at the beginning. */
type Before = "begin" | "newline" | "word" | "other";
const BEFORE: readonly Before[] = ["other", "begin", "newline", "word"];
const NEWLINE = 10;
const NEWLINES = Uint8Array.from({ length: 256 }, (_, b) => Number(b === NEWLINE));

/** The assertions that may hold after such a byte, whatever comes. */
const AHEAD = END_LINE | END_TEXT | WORD_BOUNDARY | NO_WORD_BOUNDARY;
const POSSIBLE: Readonly<Record<Before, number>> = {
  begin: AHEAD | BEGIN_TEXT | BEGIN_LINE,
  newline: AHEAD | BEGIN_LINE,
  word: AHEAD,
  other: AHEAD,
};

/** @throws LanguageTooLarge */
export function determinise(program: Program, budget: Budget): Automaton {
  const { instructions, sets, asserts } = program;
  if (instructions.length > 65_535) throw new LanguageTooLarge("the pattern is too large when compiled");
  let by = ONE_CLASS;
  for (const set of asserts ? [...sets, WORD, NEWLINES] : sets) by = refine(by, { classes: set, width: 2 });
  const bytes = representatives(by);
  const { width } = by;

  let steps = 0;
  const spend = (count: number) => {
    steps += count;
    if (steps > budget.steps) throw new LanguageTooLarge("a pattern takes too long to compare");
  };
  const seen = new Int32Array(instructions.length);
  let round = 0;
  const stack: number[] = [];
  /** The threads that these become without a byte, in order, where `flags` hold; those that wait for what is still `possible` stay. */
  const closure = (threads: Iterable<number>, flags: number, possible: number): Uint16Array => {
    round++;
    const found: number[] = [];
    for (const thread of threads) stack.push(thread);
    while (stack.length > 0) {
      const pc = stack.pop() as number;
      if (seen[pc] === round) continue;
      seen[pc] = round;
      spend(1);
      const i = instructions[pc];
      if (i === undefined || i.kind === "fail") continue;
      if (i.kind === "go") stack.push(...i.to);
      else if (i.kind === "assert" && (i.flags & ~flags) === 0) stack.push(i.to);
      else if (i.kind !== "assert" || (i.flags & ~possible) === 0) found.push(pc);
    }
    return Uint16Array.from(found).sort();
  };

  const states: { threads: Uint16Array; before: Before }[] = [];
  const numbers = new Map<string, number>();
  const numberOf = (threads: Uint16Array, before: Before): number => {
    const waits = asserts && threads.some((pc) => instructions[pc]?.kind === "assert");
    const context = waits ? before : "other";
    const key = BEFORE.indexOf(context) + textOf(threads);
    let number = numbers.get(key);
    if (number === undefined) {
      number = states.length;
      if (number >= budget.states) throw new LanguageTooLarge(`a pattern needs more than ${budget.states} states`);
      numbers.set(key, number);
      states.push({ threads, before: context });
    }
    return number;
  };

  numberOf(closure([program.start], 0, POSSIBLE.begin), "begin");
  const next: number[] = [];
  const accept: number[] = [];
  for (let s = 0; s < states.length; s++) {
    const { threads, before } = states[s] as (typeof states)[number];
    const known = new Map<number, Uint16Array>();
    const at = (byte: number | undefined): Uint16Array => {
      if (!asserts) return threads;
      const flags = flagsAt(before, byte);
      let here = known.get(flags);
      if (!here) known.set(flags, (here = closure(threads, flags, 0)));
      return here;
    };
    for (let c = 0; c < width; c++) {
      const byte = bytes[c] as number;
      const moved: number[] = [];
      spend(threads.length);
      for (const pc of at(byte)) {
        const i = instructions[pc];
        if (i?.kind === "byte" && i.bytes[byte]) moved.push(i.to);
      }
      const after = byte === NEWLINE ? "newline" : WORD[byte] ? "word" : "other";
      next.push(numberOf(closure(moved, 0, POSSIBLE[after]), after));
    }
    accept.push(Number(at(undefined).some((pc) => instructions[pc]?.kind === "match")));
  }
  return { ...by, next: Int32Array.from(next), accept: Uint8Array.from(accept) };
}

/** The assertions that hold between two bytes; undefined: the end of the text. */
function flagsAt(before: Before, byte: number | undefined): number {
  let flags = 0;
  if (before === "begin") flags |= BEGIN_TEXT | BEGIN_LINE;
  if (before === "newline") flags |= BEGIN_LINE;
  if (byte === undefined) flags |= END_TEXT | END_LINE;
  if (byte === NEWLINE) flags |= END_LINE;
  const word = byte !== undefined && WORD[byte] === 1;
  return flags | ((before === "word") === word ? NO_WORD_BOUNDARY : WORD_BOUNDARY);
}
