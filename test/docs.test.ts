/** Pages keep what they promise: links lead somewhere, and commands exist. */
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { expect, test } from "vitest";

const root = resolve(import.meta.dirname, "..");
const pages = ["*.md", "docs/**/*.md", "examples/**/*.md"].flatMap((pattern) => globSync(pattern, { cwd: root }));
const scripts = (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: Record<string, string> })
  .scripts;

test.each(pages)("%s: links lead to files that are there", (page) => {
  const text = readFileSync(join(root, page), "utf8").replaceAll(/```.*?```/gs, "");
  const links = [...text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].map((m) => m[1] as string);
  for (const link of links.filter((l) => !/^[a-z]+:/.test(l)))
    expect(existsSync(join(root, dirname(page), link)), link).toBe(true);
});

test.each(pages)("%s: npm scripts that it names exist", (page) => {
  const text = readFileSync(join(root, page), "utf8");
  for (const [, script] of text.matchAll(/npm run ([a-z:-]+)/g))
    expect(scripts[script as string], script).toBeDefined();
});

test("every decision is in the list of decisions", () => {
  const list = readFileSync(join(root, "docs/adr/README.md"), "utf8");
  for (const file of globSync("docs/adr/0*.md", { cwd: root })) expect(list).toContain(file.slice("docs/adr/".length));
});
