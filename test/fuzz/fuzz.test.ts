/**
 * Random and mutated manifests on the whole way: nothing is thrown, nothing is passed over in silence, and no mistake opens anything.
 * `npm run fuzz` walks a million; FUZZ_MANIFESTS and FUZZ_SEED say how many and from where.
 */
import { dump } from "js-yaml";
import { expect, test } from "vitest";
import { parseYaml } from "../../src/sources/files/yaml.ts";
import { objectsOf, scramble, typeJunk } from "./mutate.ts";
import { Random } from "./random.ts";
import { scene, sound, TEXTS } from "./scenes.ts";
import { answerTo, ask, covers, documentsOf, opened, show, walk } from "./way.ts";

const MANIFESTS = Number(process.env["FUZZ_MANIFESTS"] ?? 12_000);
const SEED = Number(process.env["FUZZ_SEED"] ?? 1);
const HOURS = 6 * 3_600_000;

/** The fewest of these objects that still fail, with what is said then. */
function shrunk(objects: readonly unknown[], run: (objects: readonly unknown[]) => unknown): Error {
  const fails = (list: readonly unknown[]): unknown => {
    try {
      run(list);
      return undefined;
    } catch (error) {
      return error;
    }
  };
  let left = [...objects];
  for (let i = left.length - 1; i >= 0; i--) {
    const without = left.filter((_, j) => j !== i);
    if (fails(without)) left = without;
  }
  const error = fails(left);
  let text: string;
  try {
    text = left.map((object) => dump(object)).join("---\n");
  } catch {
    text = left.map(show).join("\n---\n");
  }
  return new Error(`${error instanceof Error ? error.stack : String(error)}\n--- of\n${text.slice(0, 20_000)}`);
}

/** Tries seed after seed until so many manifests have been walked. */
function tries(manifests: number, from: number, one: (seed: number) => number): { tried: number; walked: number } {
  let walked = 0;
  let seed = from;
  for (; walked < manifests; seed++) {
    try {
      walked += one(seed);
    } catch (error) {
      throw new Error(`FUZZ_SEED=${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
  return { tried: seed - from, walked };
}

test("no crash, and every object is used or named", { timeout: HOURS }, () => {
  const { walked } = tries(MANIFESTS * 0.6, SEED, (seed) => {
    const objects = objectsOf(seed);
    try {
      const outcome = walk(documentsOf(objects));
      ask(outcome, new Random(seed));
      if (seed % 10 === 0) for (const object of objects) answerTo(outcome.world, object);
    } catch {
      throw shrunk(objects, (list) => {
        const outcome = walk(documentsOf(list));
        ask(outcome, new Random(seed));
        for (const object of list) answerTo(outcome.world, object);
      });
    }
    return objects.length;
  });
  expect(walked).toBeGreaterThanOrEqual(MANIFESTS * 0.6);
  expect(Object.keys(Object.prototype)).toEqual([]);
});

test("no text is too strange", { timeout: HOURS }, () => {
  tries(MANIFESTS * 0.1, SEED, (seed) => {
    const random = new Random(seed);
    const text = scramble(random, random.of(TEXTS));
    const { documents, errors } = parseYaml(text);
    for (const { reason } of errors) expect(reason).toMatch(/./);
    walk(documents.map((document, i) => ({ ...document, line: i + 1, lineOf: () => i + 1 })));
    return documents.length + 1;
  });
});

test("a mistake opens nothing that was not open", { timeout: HOURS }, () => {
  let mistakes = 0;
  tries(MANIFESTS * 0.3, SEED, (seed) => {
    const random = new Random(seed);
    const objects = random.oneIn(4) ? scene(random) : sound(random);
    const before = walk(documentsOf(objects));
    if ([...before.read, ...before.problems].some((p) => p.severity === "error")) return 1;
    const wrong = structuredClone(objects);
    // Policies come first in what is sound.
    const at = Math.min(random.below(wrong.length), random.below(wrong.length));
    breakOne(random, wrong, at);
    const after = walk(documentsOf(wrong));
    if (!after.read.some((p) => p.severity === "error")) return objects.length;
    mistakes++;
    const known = opened(before.mesh);
    const added = opened(after.mesh).filter((one) => !known.some((other) => covers(other, one)));
    if (added.length > 0)
      throw new Error(
        `opened by mistake: ${JSON.stringify(added)}\n${show(objects[at])}\nbecame\n${show(wrong[at])}\nbeside\n${objects.map(show).join("\n")}`,
      );
    return objects.length;
  });
  expect(mistakes).toBeGreaterThan(MANIFESTS / 300);
});

/** One value of one object is of a wrong type, or its key is misspelt. */
function breakOne(random: Random, objects: unknown[], at: number): void {
  const holders: [Record<string, unknown>, string][] = [];
  const collect = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    for (const key of Object.keys(value)) {
      holders.push([value as Record<string, unknown>, key]);
      collect((value as Record<string, unknown>)[key]);
    }
  };
  collect(objects[at]);
  const [holder, key] = random.of(holders);
  if (!Array.isArray(holder) && random.oneIn(3)) {
    holder[`${key}x`] = holder[key];
    delete holder[key];
  } else holder[key] = typeJunk(random);
}
