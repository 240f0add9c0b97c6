/** What a command loads: `version` must not wait for Envoy's vocabulary. */
import { spawnSync } from "node:child_process";
import { resolve } from "node:path";
import { expect, test } from "vitest";

const HOOK = `
import { registerHooks } from "node:module";
registerHooks({ load(url, context, next) { if (url.startsWith("file:")) process.stderr.write(url + "\\n"); return next(url, context); } });`;

test("heddle version loads its own room and commander, nothing else", () => {
  const main = resolve(import.meta.dirname, "../../../src/cli/main.ts");
  const { PATH } = process.env;
  const args = ["--import", `data:text/javascript,${encodeURIComponent(HOOK)}`, main, "version"];
  const { stderr, status } = spawnSync(process.execPath, args, { env: { PATH }, encoding: "utf8" });
  expect(status).toBe(0);
  const loaded = stderr.trim().split("\n");
  expect(loaded.some((url) => url.endsWith("/src/cli/version.ts"))).toBe(true);
  expect(loaded.filter((url) => !/\/src\/(cli\/|config\.ts)|\/node_modules\/commander\//.test(url))).toEqual([]);
});
