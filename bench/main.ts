/**
 * `node bench/main.ts [PART…]`: the figures of design budgets, printed as tables. Asserts nothing; what each figure means stands in
 * `docs/benchmarks.md`.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { compile } from "./compile.ts";
import { live } from "./live.ts";
import { memory } from "./memory.ts";
import { simulated } from "./simulated.ts";
import { why } from "./why.ts";
import { webhook } from "./webhook.ts";

/** Another benchmark, in a process of its own. */
const script = (name: string) => (): Promise<void> =>
  new Promise((resolve, reject) => {
    console.log(`\n${name}`);
    const child = spawn(process.execPath, [join(import.meta.dirname, name)], { stdio: "inherit" });
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`bench/${name} ended (${signal ?? code})`));
    });
  });

const PARTS: Readonly<Record<string, () => Promise<void>>> = {
  live: () => live(50),
  simulated: () => simulated(300),
  compile: () => compile(100),
  memory,
  ads: script("ads.ts"),
  ca: script("ca.ts"),
  reflector: script("reflector.ts"),
  plan: script("plan.ts"),
  webhook,
  cluster: script("cluster.ts"),
  why,
};
/** Several parts under one name. */
const NAMES: Readonly<Record<string, readonly string[]>> = { change: ["live", "simulated"] };

const asked = process.argv.slice(2).flatMap((name) => NAMES[name] ?? [name]);
const unknown = asked.filter((name) => !(name in PARTS));
if (unknown.length > 0) {
  console.error(
    `There is no part "${unknown[0]}". Parts: change (${NAMES["change"]?.join(", ")}), ${Object.keys(PARTS).join(", ")}.`,
  );
  process.exitCode = 2;
} else {
  console.log(`node ${process.version}, ${process.platform} ${process.arch}`);
  for (const part of asked.length > 0 ? asked : Object.keys(PARTS)) await PARTS[part]?.();
}
