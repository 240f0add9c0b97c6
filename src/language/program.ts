/**
 * A pattern of RE2 as the program that RE2's own compiler makes of it: the one file that knows RE2JS's inside (docs/adr: why that, and not a second parser).
 * Knows no automaton.
 */
import { RE2JS } from "re2js";
import { LanguageTooLarge } from "./automaton.ts";
import { ignoresCase, namesScript, STANDS_FOR, withStandIns } from "./folding.ts";

/** What an instruction waits for at a position without consuming a byte: bits, as RE2 numbers them. */
export const BEGIN_LINE = 1;
export const END_LINE = 2;
export const BEGIN_TEXT = 4;
export const END_TEXT = 8;
export const WORD_BOUNDARY = 16;
export const NO_WORD_BOUNDARY = 32;

/** One step of a nondeterministic machine. */
export type Instruction =
  /** Goes on at each of these. */
  | { readonly kind: "go"; readonly to: readonly number[] }
  /** Goes on when all these assertions hold here. */
  | { readonly kind: "assert"; readonly flags: number; readonly to: number }
  /** Goes on after one of these bytes: `bytes[b]` is 1. Equal sets are one object. */
  | { readonly kind: "byte"; readonly bytes: Uint8Array; readonly to: number }
  | { readonly kind: "match" }
  | { readonly kind: "fail" };

export interface Program {
  readonly start: number;
  readonly instructions: readonly Instruction[];
  /** The different sets of bytes that instructions ask for. */
  readonly sets: readonly Uint8Array[];
  readonly asserts: boolean;
}

/** RE2JS's instruction, as far as it is read here. It is public in fact, not by type. */
interface Inst {
  readonly op: number;
  readonly out: number;
  readonly arg: number;
  readonly runes: Int32Array;
  matchRune(rune: number): boolean;
}

/** Sets of bytes that were made already, by how RE2JS writes them. */
export type ByteSets = Map<string, Uint8Array>;

/**
 * @param pattern - with one character a byte (`asBytes`)
 * @param known - sets that are used again, and are added to
 * @throws RE2JSSyntaxException for a pattern that RE2 rejects
 */
export function programOf(pattern: string, known: ByteSets): Program {
  const folds = ignoresCase(pattern);
  if (folds && namesScript(pattern))
    throw new LanguageTooLarge("a pattern that ignores case and names a script is not compared");
  const compiled = RE2JS.compile(folds ? withStandIns(pattern) : pattern);
  const { start, inst } = compiled.re2Input.prog as { start: number; inst: readonly Inst[] };
  const codePoint = (byte: number): number => (folds ? (STANDS_FOR[byte] as number) : byte);
  const sets = new Set<Uint8Array>();
  let asserts = false;
  const instructions = inst.map((i): Instruction => {
    switch (i.op) {
      case 1: // ALT
      case 2: // ALT_MATCH
        return { kind: "go", to: [i.out, i.arg] };
      case 3: // CAPTURE
      case 7: // NOP
        return { kind: "go", to: [i.out] };
      case 4: // EMPTY_WIDTH
        asserts = true;
        return { kind: "assert", flags: i.arg, to: i.out };
      case 5: // FAIL
        return { kind: "fail" };
      case 6: // MATCH
        return { kind: "match" };
      case 8: // RUNE
      case 9: // RUNE1
      case 10: // RUNE_ANY
      case 11: {
        // RUNE_ANY_NOT_NL. Code points that stand for no byte match nothing.
        const key = `${folds}/${i.arg}/${i.runes.join()}`;
        let bytes = known.get(key);
        if (!bytes)
          known.set(key, (bytes = Uint8Array.from({ length: 256 }, (_, b) => Number(i.matchRune(codePoint(b))))));
        sets.add(bytes);
        return { kind: "byte", bytes, to: i.out };
      }
      default:
        throw new Error(`RE2JS has an instruction that is not known here: ${i.op}`);
    }
  });
  return { start, instructions, sets: [...sets], asserts };
}

/** Bytes that are part of a word for `\b`: RE2 asks ASCII only. */
export const WORD: Uint8Array = Uint8Array.from({ length: 256 }, (_, b) =>
  Number(/\w/.test(String.fromCharCode(b)) && b < 128),
);
