/**
 * One member of a language that a person can read: a shortest one, and of these the one with the plainest characters.
 */
import type { Automaton } from "./automaton.ts";

/** Plainest first: a person reads `a` before `~` before a control character. */
const TIERS: readonly { readonly bytes: RegExp; readonly cost: number }[] = [
  { bytes: /[a-z]/, cost: 0 },
  { bytes: /[A-Z]/, cost: 1 },
  { bytes: /[0-9]/, cost: 2 },
  { bytes: /[-/._]/, cost: 4 },
  { bytes: /[~!$&'()*+,;=:@%?#]/, cost: 32 },
  { bytes: /[ -~]/, cost: 256 },
  { bytes: /[^]/, cost: 4096 },
];
const COST = Float64Array.from(
  { length: 256 },
  (_, b) => TIERS.find((tier) => tier.bytes.test(String.fromCharCode(b)))?.cost ?? 0,
);

/** The plainest byte of each class. */
export function plainest({ classes, width }: Pick<Automaton, "classes" | "width">): Uint8Array {
  const best = new Int32Array(width).fill(-1);
  for (let b = 0; b < 256; b++) {
    const c = classes[b] as number;
    const now = best[c] as number;
    if (now === -1 || (COST[b] as number) < (COST[now] as number)) best[c] = b;
  }
  return Uint8Array.from(best);
}

/** How many bytes each state is away from accepting; -1: it never accepts. */
export function distances({ width, next, accept }: Automaton): Int32Array {
  const n = accept.length;
  const from: number[][] = Array.from({ length: n }, () => []);
  for (let s = 0; s < n; s++) for (let c = 0; c < width; c++) from[next[s * width + c] as number]?.push(s);
  const distance = Int32Array.from(accept, (taken) => taken - 1);
  const queue: number[] = [];
  for (let s = 0; s < n; s++) if (accept[s]) queue.push(s);
  for (const s of queue) {
    for (const before of from[s] as number[]) {
      if (distance[before] !== -1) continue;
      distance[before] = (distance[s] as number) + 1;
      queue.push(before);
    }
  }
  return distance;
}

/** The plainest of the shortest continuations from any state; undefined where there is none. Made once for an automaton. */
export function shortest(automaton: Automaton): (state: number) => string | undefined {
  const { width, next, accept } = automaton;
  const distance = distances(automaton);
  const bytes = plainest(automaton);
  const order = Array.from(accept.keys())
    .filter((s) => distance[s] !== -1)
    .sort((a, b) => (distance[a] as number) - (distance[b] as number));
  const cost = new Float64Array(accept.length);
  const choice = new Int32Array(accept.length);
  for (const s of order) {
    if (distance[s] === 0) continue;
    let least = Infinity;
    for (let c = 0; c < width; c++) {
      const to = next[s * width + c] as number;
      if (distance[to] !== (distance[s] as number) - 1) continue;
      const byte = bytes[c] as number;
      const total = (COST[byte] as number) + (cost[to] as number);
      if (total > least || (total === least && byte > (bytes[choice[s] as number] as number))) continue;
      least = total;
      choice[s] = c;
    }
    cost[s] = least;
  }
  return (from) => {
    if (distance[from] === -1) return undefined;
    let text = "";
    for (let s = from; !accept[s]; s = next[s * width + (choice[s] as number)] as number)
      text += String.fromCharCode(bytes[choice[s] as number] as number);
    return text;
  };
}
