/**
 * Texts that put a language to the test: members, texts that nearly are, and those at its edges. Deterministic: a text for each number that is given.
 */
import type { Language } from "./languages.ts";
import { distances, shortest } from "./witness.ts";

/** Walks go on for about so many bytes before they head for an end. */
const WANDER = 24;

/** Members of the language: random walks, some long, some short. One for each seed; none for the empty language. */
export function* members(language: Language, seeds: Iterable<number>): Generator<string> {
  const walk = walks(language);
  for (const seed of seeds) {
    const text = walk(numbers(seed));
    if (text === undefined) return;
    yield text;
  }
}

/**
 * Texts of which about half are members: members; members with a byte changed, lost, doubled or added; and for a transition of the automaton the
 * shortest text that takes it with a byte at the edge of its class, continued to a member. `has` says which is which. One for each seed.
 */
export function* probes(language: Language, seeds: Iterable<number>): Generator<string> {
  const walk = walks(language);
  const edge = edges(language);
  for (const seed of seeds) {
    const random = numbers(seed);
    const kind = random(4);
    const member = walk(random) ?? "";
    yield kind === 0 ? member : kind === 1 ? edge(random) : change(member, random);
  }
}

type Random = (below: number) => number;

/** A small generator (mulberry32): the same numbers for the same seed, everywhere. */
function numbers(seed: number): Random {
  let a = seed | 0;
  return (below) => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** The bytes of each class. */
function bytesOf({ automaton }: Language): readonly (readonly number[])[] {
  const bytes: number[][] = Array.from({ length: automaton.width }, () => []);
  for (let b = 0; b < 256; b++) bytes[automaton.classes[b] as number]?.push(b);
  return bytes;
}

function walks(language: Language): (random: Random) => string | undefined {
  const { width, next, accept } = language.automaton;
  const distance = distances(language.automaton);
  const bytes = bytesOf(language);
  const classes = Array.from({ length: width }, (_, c) => c);
  return (random) => {
    if (distance[0] === -1) return undefined;
    let text = "";
    let wander = random(WANDER);
    for (let state = 0; ; wander--) {
      const here = distance[state] as number;
      if (accept[state] && (wander <= 0 || random(8) === 0)) return text;
      const ways = classes.filter((c) => {
        const there = distance[next[state * width + c] as number] as number;
        return there !== -1 && (wander > 0 || here === 0 || there < here);
      });
      // No way on from a state that accepts: the text ends here.
      if (ways.length === 0) return text;
      const c = ways[random(ways.length)] as number;
      text += String.fromCharCode(pick(bytes[c] as readonly number[], random));
      state = next[state * width + c] as number;
    }
  };
}

/** For a transition that a seed selects: the shortest way to it, a byte from the edge of its class, and the shortest way on to a member. */
function edges(language: Language): (random: Random) => string {
  const { width, next } = language.automaton;
  const bytes = bytesOf(language);
  const onward = shortest(language.automaton);
  const ways = new Map<number, string>([[0, ""]]);
  for (const [state, text] of ways) {
    for (let c = 0; c < width; c++) {
      const to = next[state * width + c] as number;
      if (!ways.has(to)) ways.set(to, text + String.fromCharCode(bytes[c]?.[0] as number));
    }
  }
  const states = [...ways];
  return (random) => {
    const [state, text] = states[random(states.length)] as [number, string];
    const c = random(width);
    const of = bytes[c] as readonly number[];
    const byte = of[random(2) * (of.length - 1)] as number;
    return text + String.fromCharCode(byte) + (onward(next[state * width + c] as number) ?? "");
  };
}

function change(text: string, random: Random): string {
  const at = random(text.length + 1);
  const before = text.slice(0, at);
  const after = text.slice(at + 1);
  const byte = String.fromCharCode(pick(BYTES, random));
  switch (random(4)) {
    case 0:
      return before + after;
    case 1:
      return before + text.slice(at, at + 1) + text.slice(at);
    case 2:
      return before + byte + text.slice(at);
    default:
      return before + byte + after;
  }
}

const BYTES: readonly number[] = Array.from({ length: 256 }, (_, b) => b);
const PLAIN = /[A-Za-z0-9/._~-]/;

/** A byte of these; more often than not one that people write, and sometimes the first or the last. */
function pick(bytes: readonly number[], random: Random): number {
  const kind = random(8);
  if (kind === 0) return bytes[0] as number;
  if (kind === 1) return bytes.at(-1) as number;
  const plain = kind < 6 ? bytes.filter((b) => PLAIN.test(String.fromCharCode(b))) : [];
  const from = plain.length > 0 ? plain : bytes;
  return from[random(from.length)] as number;
}
