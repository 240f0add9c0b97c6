/**
 * Regular languages over bytes: made from RE2 patterns or texts, combined, compared exactly. Knows no domain word.
 *
 * Texts that go in and come out have one character a byte (U+0000 to U+00FF; `asBytes` of lib/ makes them, `fromBytes` shows them).
 * Only patterns are taken as their users wrote them.
 */
import { asBytes } from "../lib/bytes.ts";
import { type Automaton, canonical, keyOf } from "./automaton.ts";
import { type Budget, determinise } from "./determinise.ts";
import {
  DIFFERENCE,
  type Ends,
  endsOf,
  INTERSECTION,
  inverse,
  meet,
  type Operation,
  product,
  UNION,
} from "./product.ts";
import { type ByteSets, programOf } from "./program.ts";
import { shortest } from "./witness.ts";

/** A regular language, as its minimal automaton. Equal languages of one table are the same object. */
export interface Language {
  /** Of this table. */
  readonly id: number;
  /** States that the smallest automaton has: what a comparison costs. */
  readonly size: number;
  /** Read in this room only. */
  readonly automaton: Automaton;
  /** Read in this room only. */
  readonly ends: Ends;
}

/** Enough for any pattern that people write; small enough to end within a second. */
const BUDGET: Budget = { states: 20_000, steps: 20_000_000 };

/** A table of languages. Its lifetime is that of a question: it keeps all that it made. */
export class Languages {
  readonly none: Language;
  readonly all: Language;
  readonly #budget: Budget;
  readonly #known = new Map<string, Language>();
  readonly #sets: ByteSets = new Map();
  readonly #patterns = new Map<string, Language>();
  readonly #products = new Map<string, Language>();
  readonly #complements = new Map<Language, Language>();
  readonly #includes = new Map<number, boolean>();
  readonly #shortest = new Map<Language, (state: number) => string | undefined>();
  #made = 0;

  /** @param budget - what one language may cost; `states` at most 65,535 */
  constructor(budget: Partial<Budget> = {}) {
    this.#budget = { ...BUDGET, ...budget };
    const one = (accept: number) =>
      this.#intern({
        classes: new Uint8Array(256),
        width: 1,
        next: new Int32Array(1),
        accept: Uint8Array.of(accept),
      });
    this.none = one(0);
    this.all = one(1);
  }

  /** Automata that were really made: the figure that tests assert. */
  get made(): number {
    return this.#made;
  }

  /**
   * The texts that a pattern of RE2 matches as a whole, as Envoy matches it.
   * @param pattern - as its user wrote it
   * @throws RE2JSSyntaxException for a pattern that RE2 rejects; LanguageTooLarge
   */
  regex(pattern: string): Language {
    let language = this.#patterns.get(pattern);
    if (!language) {
      language = this.#make(determinise(programOf(asBytes(pattern), this.#sets), this.#budget));
      this.#patterns.set(pattern, language);
    }
    return language;
  }

  /** This text alone. */
  literal(text: string): Language {
    return this.oneOf([text]);
  }

  /** These texts; none of them: the empty language. */
  oneOf(texts: readonly string[]): Language {
    return this.#make(tree(texts));
  }

  union(a: Language, b: Language): Language {
    if (a === b || b === this.none || a === this.all) return a;
    if (a === this.none || b === this.all) return b;
    return a.id < b.id ? this.#product(a, b, UNION) : this.#product(b, a, UNION);
  }

  intersection(a: Language, b: Language): Language {
    if (a === b || b === this.all || a === this.none) return a;
    if (a === this.all || b === this.none) return b;
    return a.id < b.id ? this.#product(a, b, INTERSECTION) : this.#product(b, a, INTERSECTION);
  }

  /** What is in `a` and not in `b`. */
  difference(a: Language, b: Language): Language {
    if (a === b || a === this.none || b === this.all) return this.none;
    if (b === this.none) return a;
    if (a === this.all) return this.complement(b);
    return this.#product(a, b, DIFFERENCE);
  }

  complement(a: Language): Language {
    let other = this.#complements.get(a);
    if (!other) {
      other = this.#make(inverse(a.automaton));
      this.#complements.set(a, other).set(other, a);
    }
    return other;
  }

  /** Whether every member of `smaller` is one of `larger`. Equality is `===`. */
  includes(larger: Language, smaller: Language): boolean {
    if (smaller === larger || smaller === this.none || larger === this.all) return true;
    // Most languages that are asked about have little in common, and one member shows it.
    if (larger === this.none || !this.has(larger, this.#witness(smaller))) return false;
    const key = larger.id * 2 ** 26 + smaller.id;
    let answer = this.#includes.get(key);
    if (answer === undefined) this.#includes.set(key, (answer = !meet(smaller, opposite(larger), this.#budget.states)));
    return answer;
  }

  /** Whether the two have a member in common. */
  overlap(a: Language, b: Language): boolean {
    if (a === this.none || b === this.none) return false;
    if (a === b || this.has(b, this.#witness(a)) || this.has(a, this.#witness(b))) return true;
    return meet(a, b, this.#budget.states);
  }

  has(language: Language, text: string): boolean {
    const { classes, width, next, accept } = language.automaton;
    let state = 0;
    for (let i = 0; i < text.length; i++) {
      const byte = text.charCodeAt(i);
      if (byte > 255) throw new RangeError(`U+${byte.toString(16)} is not a byte: give asBytes(text)`);
      state = next[state * width + (classes[byte] as number)] as number;
    }
    return accept[state] === 1;
  }

  /** A shortest member, the most readable of these; undefined for the empty language. */
  witness(language: Language): string | undefined {
    return this.#continuation(language)(0);
  }

  #witness(language: Language): string {
    return this.#continuation(language)(0) as string;
  }

  #continuation(language: Language): (state: number) => string | undefined {
    let found = this.#shortest.get(language);
    if (!found) this.#shortest.set(language, (found = shortest(language.automaton)));
    return found;
  }

  #product(a: Language, b: Language, operation: Operation): Language {
    const key = `${operation}/${a.id}/${b.id}`;
    let language = this.#products.get(key);
    if (!language) {
      language = this.#make(product(a, b, operation, this.#budget.states));
      this.#products.set(key, language);
    }
    return language;
  }

  #make(automaton: Automaton): Language {
    this.#made++;
    return this.#intern(canonical(automaton));
  }

  #intern(automaton: Automaton): Language {
    const key = keyOf(automaton);
    let language = this.#known.get(key);
    if (!language) {
      language = { id: this.#known.size, size: automaton.accept.length, automaton, ends: endsOf(automaton) };
      this.#known.set(key, language);
    }
    return language;
  }
}

/** All other texts, on the same states. */
const opposite = ({ automaton, ends }: Language) => ({
  automaton: inverse(automaton),
  ends: { never: ends.always, always: ends.never },
});

/** The texts as a tree of their beginnings. */
function tree(texts: readonly string[]): Automaton {
  const used = new Set<number>();
  for (const text of texts) {
    for (let i = 0; i < text.length; i++) {
      const byte = text.charCodeAt(i);
      if (byte > 255) throw new RangeError(`U+${byte.toString(16)} is not a byte: give asBytes(text)`);
      used.add(byte);
    }
  }
  // Class 0 is every byte that no text has, unless they have them all.
  const classes = new Uint8Array(256);
  let width = used.size === 256 ? 0 : 1;
  for (const byte of used) classes[byte] = width++;
  const NOWHERE = 1;
  const next = Array.from({ length: 2 * width }, () => NOWHERE);
  const accept = [0, 0];
  for (const text of texts) {
    let state = 0;
    for (let i = 0; i < text.length; i++) {
      const edge = state * width + (classes[text.charCodeAt(i)] as number);
      if (next[edge] === NOWHERE) {
        next[edge] = accept.length;
        accept.push(0);
        for (let c = 0; c < width; c++) next.push(NOWHERE);
      }
      state = next[edge] as number;
    }
    accept[state] = 1;
  }
  return { classes, width, next: Int32Array.from(next), accept: Uint8Array.from(accept) };
}
