/** The one file that the image runs. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bundle, type Bundle } from "../../../scripts/bundle.ts";
import { ROOT } from "./helm.ts";

const directory = mkdtempSync(join(tmpdir(), "heddle-bundle-"));
const file = join(directory, "dist/heddle.js");
let made: Bundle;

beforeAll(async () => {
  made = await bundle(file);
}, 60_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const run = (...args: string[]): { code: number; out: string; err: string } => {
  try {
    // Nothing of the checkout is near: no packages, no sources.
    const out = execFileSync(process.execPath, [file, ...args], { cwd: directory, env: {}, stdio: "pipe" });
    return { code: 0, out: out.toString(), err: "" };
  } catch (error) {
    const { status, stdout, stderr } = error as { status: number; stdout: Buffer; stderr: Buffer };
    return { code: status, out: stdout.toString(), err: stderr.toString() };
  }
};

test("runs without the checkout, and knows its version", () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
  expect(run("version", "-o", "json")).toMatchObject({
    code: 0,
    out: expect.stringContaining(`"heddle": "${version}"`),
  });
});

test("compiles policies", () => {
  const { code, out } = run("translate", join(ROOT, "examples/bookstore"), "--stage", "ir");
  expect(code).toBe(0);
  expect(out).toContain("bookbuyer");
});

test("says that local pods are not in it", () => {
  const { code, err } = run("up", directory);
  expect(code).toBe(1);
  expect(err.trim()).toBe("heddle: heddle up is not in this image: it runs from a checkout, on Linux, as root.");
});

test("holds no program that only a checkout can start, and not the client that only people's verbs need", () => {
  for (const path of ["src/local/stand-in.ts", "src/up/controller.ts"]) expect(made.inputs).not.toContain(path);
  expect(made.inputs.filter((path) => path.includes("@kubernetes/client-node"))).toEqual([]);
  expect(made.inputs).toContain("src/cli/main.ts");
});

test("is the same each time", async () => {
  const first = readFileSync(file);
  const again = join(directory, "again/heddle.js");
  await bundle(again);
  expect(readFileSync(again).equals(first)).toBe(true);
});

test("keeps lines short enough to be shown with a fault", () => {
  const longest = Math.max(
    ...readFileSync(file, "utf8")
      .split("\n")
      .map((line) => line.length),
  );
  expect(longest).toBeLessThan(20_000);
});
