/**
 * The rooms of ARCHITECTURE.md: who may import whom, which rooms are pure, and how long a file may be.
 */
import { globSync, readFileSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { expect, test } from "vitest";

const root = resolve(import.meta.dirname, "..");
const src = resolve(root, "src");

/** Room → rooms that it may import; "*" is any but the composition root. The table of ARCHITECTURE.md. */
const ALLOW: Record<string, readonly string[]> = {
  lib: [],
  world: ["lib"],
  manifest: ["world", "lib"],
  policy: ["world", "lib"],
  language: ["lib"],
  analysis: ["policy", "language", "world", "lib"],
  xds: ["policy", "world", "lib", "gen"],
  ads: ["xds", "telemetry", "lib", "gen"],
  sources: ["manifest", "world", "telemetry", "lib"],
  ca: ["world", "telemetry", "lib"],
  injector: ["world", "lib"],
  validator: ["manifest", "world", "policy", "lib"],
  local: ["injector", "ca", "world", "telemetry", "lib"],
  telemetry: ["lib"],
  roles: ["*", "serve"],
  dashboard: ["pipeline", "telemetry", "lib"],
  admission: ["telemetry", "lib"],
  pipeline: ["xds", "policy", "world", "telemetry", "lib"],
  config: ["lib"],
  serve: ["*"],
  up: ["*", "serve"],
  cli: ["*", "serve", "up", "gen"],
};
const PURE = ["world", "manifest", "policy", "language", "analysis", "xds", "injector", "validator"];
const MAX_LINES = 400;

const files = globSync("**/*.ts", { cwd: src }).map((file) => resolve(src, file));
const roomOf = (file: string): string => {
  if (!file.startsWith(src)) return relative(root, file).split("/")[0] as string;
  return (relative(src, file).split("/")[0] as string).replace(/\.ts$/, "");
};
const importsOf = (text: string): string[] =>
  [
    ...text.matchAll(
      /^\s*(?:import|export)\b[^"';]*?from\s+["']([^"']+)["']|^import\s+["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)/gm,
    ),
  ].map((m) => (m[1] ?? m[2] ?? m[3]) as string);

test("there are files to look at", () => {
  expect(files.length).toBeGreaterThan(40);
});

test.each(files.map((file) => [relative(root, file), file]))("%s keeps to its room", (_name, file) => {
  const here = roomOf(file);
  const allowed = ALLOW[here];
  expect(allowed, `${here} is not a known room: add it to the table or move the file`).toBeDefined();
  const text = readFileSync(file, "utf8");
  expect(text.split("\n").length, `longer than ${MAX_LINES} lines: split it by concept`).toBeLessThanOrEqual(
    MAX_LINES + 1,
  );
  expect(text.startsWith("/**") || text.startsWith("#!"), "opens with a sentence that says what the file is for").toBe(
    true,
  );
  for (const specifier of importsOf(text)) {
    if (!specifier.startsWith(".")) {
      if (PURE.includes(here))
        expect(specifier.startsWith("node:"), `${here} is pure; it may not import ${specifier}`).toBe(false);
      continue;
    }
    const there = roomOf(resolve(dirname(file), specifier));
    const fine = here === there || allowed?.includes(there) || (allowed?.includes("*") && there !== "serve");
    expect(fine, `${here} may not import ${there} (${specifier})`).toBe(true);
  }
});
