/** gen/ is what its inputs say: the stamp fits, and two runs of the generator write the same bytes. */
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { inputHash, stampOf } from "../../../scripts/gen.ts";

const project = resolve(import.meta.dirname, "../../..");
const folder = mkdtempSync(join(tmpdir(), "heddle-gen-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const run = (...args: string[]) => promisify(execFile)(process.execPath, [join(project, "scripts/gen.ts"), ...args]);

/** Path below `root` → content, of every file. */
function contents(root: string): Map<string, string> {
  const paths = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((path) =>
    statSync(join(root, path)).isFile(),
  );
  return new Map(paths.toSorted().map((path) => [path, readFileSync(join(root, path), "utf8")]));
}

test("the stamp of gen/ is the hash of the generator's inputs", () => {
  expect(stampOf(join(project, "gen"))).toBe(inputHash());
});

test(
  "two runs write the same bytes as gen/ has; a third has nothing to do, and --force does it anyway",
  { timeout: 120_000 },
  async () => {
    const [first, second] = [join(folder, "first"), join(folder, "second")];
    await Promise.all([run("--out", first), run("--out", second)]);
    const made = contents(first);
    expect(made.size).toBeGreaterThan(50);
    expect(contents(second)).toEqual(made);
    expect(contents(join(project, "gen"))).toEqual(made);

    writeFileSync(join(first, "left-over.ts"), "");
    expect((await run("--out", first)).stderr).toBe("");
    expect(contents(first).has("left-over.ts")).toBe(true);
    await run("--out", first, "--force");
    expect(contents(first)).toEqual(made);
  },
);
