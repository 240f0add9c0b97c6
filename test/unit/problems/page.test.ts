/** docs/problems.md: it has every code, and every example of it gives the Problem that it stands for. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { lint } from "../../../src/analysis/lint.ts";
import { loadFiles } from "../../../src/cli/load.ts";
import { PROBLEM_CODES, type Problem, type ProblemCode } from "../../../src/world/types.ts";
import { BAD_INPUT } from "../../bad-input/cases.ts";

const text = readFileSync(resolve(import.meta.dirname, "../../../docs/problems.md"), "utf8");
const [head = "", ...sections] = text.split(/^### /m);
const yamlOf = (part: string): string | undefined => /^```yaml\n([^]*?)^```$/m.exec(part)?.[1];
const BASE = yamlOf(head) as string;
const codes = Object.keys(PROBLEM_CODES) as ProblemCode[];
const sectionOf = new Map(sections.map((section) => [section.slice(0, section.indexOf("\n")).trim(), section]));

/** What no YAML in a folder can show, and who shows it. */
const ELSEWHERE: readonly ProblemCode[] = ["unreadable", "too-large", "no-image-mapping"];

async function linted(files: Readonly<Record<string, string>>): Promise<readonly (Problem & { from: string })[]> {
  const dir = mkdtempSync(join(tmpdir(), "heddle-problems-"));
  try {
    for (const [name, content] of Object.entries(files)) writeFileSync(join(dir, name), content);
    const view = await loadFiles(dir);
    return [...view.problems.map((p) => ({ ...p, from: "mesh" })), ...lint(view).map((p) => ({ ...p, from: "lint" }))];
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

test("every code has its section, once, and no section is of another code", () => {
  expect(sections.map((section) => section.slice(0, section.indexOf("\n")).trim()).sort()).toEqual([...codes].sort());
});

test("the folder that examples are laid beside has no Problem", async () => {
  expect(await linted({ "base.yaml": BASE })).toEqual([]);
});

test("what has no example is shown by a broken folder, or by images", () => {
  const shown = new Set(BAD_INPUT.flatMap((input) => input.problems.map((p) => p.code)));
  for (const code of ELSEWHERE) {
    expect(yamlOf(sectionOf.get(code) ?? ""), code).toBeUndefined();
    // test/unit/images has the last one.
    if (code !== "no-image-mapping") expect(shown.has(code), code).toBe(true);
  }
});

describe("examples", () => {
  test.each(codes.filter((code) => !ELSEWHERE.includes(code)))("%s", async (code) => {
    const section = sectionOf.get(code) as string;
    const example = yamlOf(section);
    expect(example, "has an example").toBeDefined();
    const found = await linted({ "base.yaml": BASE, "example.yaml": example as string });
    const own = found.filter((p) => p.code === code);
    expect(own, JSON.stringify(found, undefined, 1)).not.toEqual([]);
    const said = /^\*(error|hint)\*(, \*lint\*)?: /m.exec(section);
    expect(new Set(own.map((p) => p.severity))).toEqual(new Set([said?.[1]]));
    if (code !== "shadowed-split") expect(own[0]?.from).toBe(said?.[2] ? "lint" : "mesh");
    expect(section).toMatch(/\*\*Do\*\*: /);
  });
});
