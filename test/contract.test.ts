/** The numbered promises of the documentation are kept by tests: every number stands in a test's name, and no test names another. */
import { globSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";

const root = resolve(import.meta.dirname, "..");
const page = (name: string) => readFileSync(resolve(root, "docs", name), "utf8");
const titles = globSync("test/**/*.test.ts", { cwd: root }).flatMap((file) =>
  titlesIn(readFileSync(resolve(root, file), "utf8")),
);

/** First arguments of `test(`, `describe(`, and of what follows a table: `test.each(…)(`. */
function titlesIn(source: string): string[] {
  const calls =
    /(?:\b(?:test|describe)(?:\.(?:skipIf|runIf)\([^()]*\)|\.\w+)*|[)\]])\(\s*(["'`])((?:\\.|(?!\1)[^\\])*)\1/g;
  return [...source.matchAll(calls)].map((m) => m[2] as string);
}

/** Numbers behind a word in the titles: `row 8a`, `rows 26 and 27`, `differences 1, 3`. */
function named(word: string): Set<string> {
  const lists = titles.flatMap((title) =>
    [...title.matchAll(new RegExp(`\\b${word}s? (\\d+[a-z]?(?:(?:, | and )\\d+[a-z]?)*)(?![\\w.])`, "g"))].map(
      (m) => m[1] ?? "",
    ),
  );
  return new Set(lists.flatMap((list) => list.split(/, | and /)));
}

const byNumber = (a: string, b: string) => Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1);
const sorted = (numbers: Iterable<string>) => [...numbers].sort(byNumber);

test("every row of docs/smi.md is in the name of a test", () => {
  const rows = [...page("smi.md").matchAll(/^(\d+[a-z]?)\. /gm)].map((m) => m[1] as string);
  expect(rows.length).toBeGreaterThan(30);
  expect(sorted(named("row"))).toEqual(sorted(rows));
});

test("every difference of docs/differences-from-osm.md is in the name of a test", () => {
  const numbers = [...page("differences-from-osm.md").matchAll(/^\| (\d+) \|/gm)].map((m) => m[1] as string);
  expect(numbers.length).toBeGreaterThan(10);
  expect(sorted(named("difference"))).toEqual(sorted(numbers));
});
