/**
 * Runs a short-lived program to its end and tells how it went. Not for programs that stay: those are supervised.
 */
import { spawn } from "node:child_process";

export interface Outcome {
  /** Undefined when it did not start or was ended by a signal. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** Why there is no code. */
  readonly failure?: string;
}

export interface RunOptions {
  /** Milliseconds. */
  readonly timeout: number;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly input?: string;
  readonly signal?: AbortSignal;
}

/** Never rejects. Output beyond 1 MB is dropped. */
export function run(program: string, args: readonly string[], options: RunOptions): Promise<Outcome> {
  const { input, ...rest } = options;
  return new Promise((resolve) => {
    let child;
    try {
      child = spawn(program, args, { ...rest, stdio: ["pipe", "pipe", "pipe"], killSignal: "SIGKILL" });
    } catch (error) {
      // A bad cwd or an uid that we may not take: reported like a program that does not start.
      return resolve({ code: undefined, stdout: "", stderr: "", failure: (error as Error).message });
    }
    const output = { stdout: "", stderr: "" };
    const collect = (name: "stdout" | "stderr") => (chunk: string) => {
      if (output[name].length < 1 << 20) output[name] += chunk;
    };
    child.stdout.setEncoding("utf8").on("data", collect("stdout"));
    child.stderr.setEncoding("utf8").on("data", collect("stderr"));
    let failure: string | undefined;
    child.on("error", (error) => (failure ??= error.message));
    child.on("close", (code, signal) => {
      failure ??= signal ? `it was ended by ${signal}` : undefined;
      resolve({
        code: code !== null && code >= 0 ? code : undefined,
        ...output,
        ...(failure !== undefined && { failure }),
      });
    });
    // A program that does not read its input is no failure of ours.
    child.stdin.on("error", () => {});
    child.stdin.end(input ?? "");
    return undefined;
  });
}
