/**
 * Runs the `helm` that is in PATH, version 3 or 4. Knows no chart.
 */
import { execFile, spawn } from "node:child_process";
import { UserError } from "../errors.ts";
import { cut } from "../text.ts";
import type { Environment, Settings } from "./settings.ts";

export interface Helm {
  readonly major: number;
  /** Runs it with the flags that say which cluster. */
  run(args: readonly string[], signal: AbortSignal): Promise<HelmResult>;
}

export interface HelmResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Throws a `UserError` when there is none, or one that is too old. */
export async function findHelm(settings: Settings): Promise<Helm> {
  const { environment } = settings;
  const version = await versionOf(environment);
  const [, major, minor] = (/v?(\d+)\.(\d+)/.exec(version) ?? []).map(Number);
  // The first one that can keep a user's values and take a chart's new ones.
  if (major === undefined || minor === undefined || major < 3 || (major === 3 && minor < 14))
    throw new UserError(
      `helm is ${version.trim() || "of a version that it does not tell"}: helm 3.14 or newer is needed. See https://helm.sh/docs/intro/install`,
    );
  return {
    major,
    run: (args, signal) => run([...args, ...clusterFlags(settings)], environment, signal),
  };
}

const versionOf = (environment: Environment): Promise<string> =>
  new Promise((resolve, reject) => {
    execFile("helm", ["version", "--short"], { env: { ...environment }, timeout: 30_000 }, (error, out, err) => {
      if (!error) return resolve(out);
      const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
      reject(
        new UserError(
          missing
            ? "helm is not installed: this verb runs it, and it is not in PATH. Install helm 3 or 4: https://helm.sh/docs/intro/install"
            : `helm does not run: ${err.trim() || error.message}. Try: helm version`,
        ),
      );
    });
  });

/** Pure: the same cluster for helm as for us. Several files are what $KUBECONFIG says already. */
export const clusterFlags = ({ kubeconfigFlag, context }: Settings): string[] => [
  ...(kubeconfigFlag === undefined ? [] : ["--kubeconfig", kubeconfigFlag]),
  ...(context === undefined ? [] : ["--kube-context", context]),
];

function run(args: readonly string[], environment: Environment, signal: AbortSignal): Promise<HelmResult> {
  return new Promise((resolve, reject) => {
    // SIGTERM lets helm undo or record what it was doing.
    const child = spawn("helm", [...args], { env: { ...environment }, stdio: ["ignore", "pipe", "pipe"], signal });
    let out = "";
    let err = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
    child.on("error", (error) => {
      // What helm was told to stop by is told by its exit.
      if (error.name !== "AbortError") reject(error);
    });
    child.on("close", (code) => resolve({ code: code ?? 1, out, err }));
  });
}

/** What helm says went wrong: all from its last `Error:` on, in one line. */
export function helmError({ err, out }: HelmResult): string {
  const lines = `${err}\n${out}`.split("\n").map((line) => line.trim());
  const from = lines.findLastIndex((line) => line.startsWith("Error:"));
  const said = from < 0 ? lines.filter(Boolean).slice(-1) : lines.slice(from).filter(Boolean);
  const text = said
    .join(" ")
    .replace(/^Error:/, "")
    .trim();
  return cut(text === "" ? "it said nothing" : text.replace(/\.$/, ""), 1_000);
}
