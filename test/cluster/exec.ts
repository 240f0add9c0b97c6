/**
 * Runs programs to their end, and says in one sentence why one failed. Knows nothing of clusters.
 */
import { spawn } from "node:child_process";
import { locate } from "../../src/local/command.ts";

/** What stops a cluster, as a sentence for whoever started it. */
export class ClusterError extends Error {
  override readonly name = "ClusterError";
}

export interface ExecOptions {
  readonly input?: string;
  readonly cwd?: string;
  /** On top of this process's own. */
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds; 5 minutes when not given. */
  readonly timeout?: number;
  /** What failed, for the error, where the command line says little. */
  readonly what?: string;
  /** Each line of the standard error, while it runs. */
  readonly onLine?: (line: string) => void;
}

/** At most so much of the standard error is kept, from its end. */
const LAST_WORDS = 4000;

/** A command line without quotes, as its words. */
export const words = (line: string): string[] => line.trim().split(/\s+/);

/** `--name=value` for each. */
export const flags = (values: Readonly<Record<string, string | number | boolean>>): string[] =>
  Object.entries(values).map(([name, value]) => `--${name}=${value}`);

/** Before a command: it is killed when this process dies. */
export const TIED = words("setpriv --pdeathsig KILL --");
/** Before a command: what it mounts and starts ends with it, and it with this process. */
export const ALONE = [
  ...TIED,
  ...words("unshare --mount --propagation private --pid --fork --kill-child=KILL --mount-proc --"),
];

/** The standard output. Throws a `ClusterError` with the program's last words when it fails. */
export function exec(argv: readonly string[], options: ExecOptions = {}): Promise<string> {
  const [name = "", ...args] = argv;
  const path = name.startsWith("/") ? name : locate(name);
  if (path === undefined) throw new ClusterError(`The command "${name}" is missing on this machine.`);
  const { input, cwd, env, timeout = 300_000, onLine, what = `"${argv.join(" ").slice(0, 300)}"` } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(path, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...env },
      ...(cwd !== undefined && { cwd }),
    });
    const out: Buffer[] = [];
    let said = "";
    let rest = "";
    let failure: string | undefined;
    const timer = setTimeout(() => {
      failure = `it did not end within ${timeout / 1000} s`;
      child.kill("SIGKILL");
    }, timeout);
    child.stdout.on("data", (data: Buffer) => out.push(data));
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-LAST_WORDS);
      if (!onLine) return;
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) onLine(line);
    });
    child.on("error", (error) => (failure ??= error.message));
    // A program that does not read its input is no failure of ours.
    child.stdin.on("error", () => {});
    child.stdin.end(input ?? "");
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const stdout = Buffer.concat(out).toString();
      if (code === 0) return resolve(stdout);
      const how = failure ?? (signal ? `it was ended by ${signal}` : `exit code ${code}`);
      // Some programs (the steps of an image's build, say) complain on their standard output.
      const last = [stdout.slice(-LAST_WORDS), said].map((text) => text.trim()).filter((text) => text !== "");
      return reject(new ClusterError(`${what} failed: ${[how, ...last].join("\n")}`));
    });
  });
}

/** Looks until it is so: the answer is the first that is neither undefined nor false. Throws what `why` says after `timeout` ms. */
export async function until<T>(
  look: () => Promise<T | undefined | false> | T | undefined | false,
  why: () => string,
  timeout: number,
  every = 50,
): Promise<T> {
  const end = performance.now() + timeout;
  for (;;) {
    const answer = await look();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > end) throw new ClusterError(why());
    await new Promise((done) => setTimeout(done, every));
  }
}
