/**
 * `heddle plan` and `heddle prove` on a folder of a thousand Services, as whole processes: what a pipeline waits for.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeFolder } from "./folder.ts";
import { print, quantile, rounded, type Row } from "./table.ts";

const SERVICES = 1_000;
const ROUNDS = 5;
const MAIN = join(import.meta.dirname, "../src/cli/main.ts");

const dir = mkdtempSync(join(tmpdir(), "heddle-bench-"));
try {
  const at = (name: string) => join(dir, name);
  writeFolder(at("old"), SERVICES);
  writeFolder(at("same"), SERVICES);
  writeFolder(at("wider"), SERVICES, { file: 7, from: "methods: [GET]", to: "methods: [GET, HEAD]" });
  writeFolder(at("open"), SERVICES);
  const open =
    "apiVersion: config.openservicemesh.io/v1alpha2\nkind: MeshConfig\nmetadata: {name: osm-mesh-config, namespace: ns-0}\nspec: {traffic: {enablePermissiveTrafficPolicyMode: true}}\n";
  writeFileSync(join(at("open"), "mesh-config.yaml"), open);
  const plan = (name: string) => ["plan", "-f", at(name), "--against", at("old"), "-o", "json"];
  const rows: Row[] = [
    run("plan: nothing changes", 0, plan("same")),
    run("plan: one pattern is wider", 2, plan("wider")),
    run("plan: permissive mode", 2, plan("open"), 1),
    run("prove: never * at one Service", 1, ["prove", "-f", at("old"), "--never", "*", "ns-7/app-7"]),
    run("prove: only * everywhere", 0, ["prove", "-f", at("old"), "--only", "*", "*"]),
    run("prove: never one at all", 0, ["prove", "-f", at("old"), "--never", "ns-7/app-7", "ns-7/app-7"]),
  ];
  print(`A folder of ${SERVICES} Services, whole processes`, rows, ["seconds; the goal of plan is 2"]);
} finally {
  rmSync(dir, { recursive: true, force: true });
}

function run(what: string, code: number, args: readonly string[], rounds = ROUNDS): Row {
  const times: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const start = performance.now();
    const result = spawnSync(process.execPath, [MAIN, ...args], { maxBuffer: 1 << 30 });
    times.push((performance.now() - start) / 1000);
    if (result.status !== code) throw new Error(`${what} ended with ${result.status}: ${result.stderr.toString()}`);
  }
  return { what, best: rounded(Math.min(...times), 2), median: rounded(quantile(times, 0.5), 2) };
}
