/** A real Envoy for tests of what it is started with. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer, type AddressInfo, type Server } from "node:net";
import { EnvoyMissing, findEnvoy } from "../../../src/local/envoy.ts";
import type { Loose } from "./pods.ts";

/** Undefined where the machine has none; in CI that is a failure. */
export async function envoyPath(what: string): Promise<string | undefined> {
  try {
    return (await findEnvoy({ env: process.env, say: console.warn })).path;
  } catch (error) {
    if (process.env["CI"] === "true" || !(error instanceof EnvoyMissing)) throw error;
    console.warn(`SKIPPED: ${what}. ${error.message}`);
    return undefined;
  }
}

/** What Envoy says of a configuration. */
export function validate(envoy: string, args: readonly string[]): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync(envoy, [...args, "--mode", "validate"], { encoding: "utf8" });
  return { status, said: stdout + stderr };
}

/** Ports that nobody has now: Envoy cannot tell which ones it was given. */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = [];
  for (let i = 0; i < count; i++) servers.push(createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

/** Runs Envoy with this configuration; `serving` resolves when its listeners are open. */
export function run(envoy: string, config: Loose): { readonly child: ChildProcess; readonly serving: Promise<void> } {
  const line = [
    "--log-level",
    "off",
    "--component-log-level",
    "main:info",
    "--concurrency",
    "1",
    "--disable-hot-restart",
  ];
  const child = spawn(envoy, ["--config-yaml", JSON.stringify(config), ...line], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const serving = new Promise<void>((resolve, reject) => {
    let said = "";
    child.stderr.on("data", (chunk) => {
      said += String(chunk);
      if (said.includes("starting main dispatch loop")) resolve();
    });
    child.once("exit", () => reject(new Error(said)));
  });
  serving.catch(() => {});
  return { child, serving };
}

export async function end(child: ChildProcess | undefined): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}
