/**
 * Runs the system's own tools (ip, iptables-restore, …) to their end. Knows nothing of pods.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { LocalError } from "./errors.ts";
import { run as runProgram } from "./run.ts";

/** Where administrators' tools lie, although a user's PATH (after `su`, say) may lack them. */
const ADMIN_DIRECTORIES = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"];
const located = new Map<string, string>();

/** The absolute path of a tool, or undefined when the machine lacks it. */
export function locate(tool: string): string | undefined {
  const known = located.get(tool);
  if (known !== undefined) return known;
  const directories = [
    ...(process.env["PATH"] ?? "").split(":").filter((d) => d.startsWith("/")),
    ...ADMIN_DIRECTORIES,
  ];
  const path = directories.map((d) => join(d, tool)).find((p) => existsSync(p));
  if (path !== undefined) located.set(tool, path);
  return path;
}

/** As `locate`. Throws a `LocalError` when the machine lacks the tool. */
export function tool(name: string): string {
  const path = locate(name);
  if (path === undefined) throw new LocalError("missing-tools", `The command "${name}" is missing on this machine.`);
  return path;
}

/** Long for any of these tools, even on a busy machine. */
const TIMEOUT = 60_000;

/** Runs a tool to its end; the answer is its standard output. Throws a `LocalError` with what it said when it fails. */
export async function run(name: string, args: readonly string[], input = ""): Promise<string> {
  const { code, stdout, stderr, failure } = await runProgram(tool(name), args, { timeout: TIMEOUT, input });
  if (code === 0) return stdout;
  const said = (failure ?? stderr.trim()) || `exit code ${code}`;
  throw new LocalError("command-failed", `"${[name, ...args].join(" ")}" failed: ${said}`);
}

/** As `run`, but blocking, and the answer is undefined when the tool fails: for clean-up, which goes on whatever is missing. */
export function runSync(name: string, args: readonly string[], input = ""): string | undefined {
  const path = locate(name);
  if (path === undefined) return undefined;
  const { status, stdout } = spawnSync(path, args, { input, encoding: "utf8", stdio: ["pipe", "pipe", "ignore"] });
  return status === 0 ? stdout : undefined;
}

/** Runs a tool inside a network namespace. */
export const runIn = (namespace: string, name: string, args: readonly string[], input = ""): Promise<string> =>
  run("nsenter", [`--net=/run/netns/${namespace}`, tool(name), ...args], input);
