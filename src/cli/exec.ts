/**
 * `heddle exec`: runs a command in a pod, as its application would, and ends as that command ends.
 */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { execCommand, findContainer } from "../local/exec.ts";
import type { ContainerRecord, PodRecord } from "../local/record.ts";
import { UserError } from "./errors.ts";
import { findMesh } from "./mesh-client.ts";
import { findPod } from "./pod-name.ts";
import { nearest } from "./text.ts";

export interface ExecOptions {
  readonly mesh?: string;
  readonly namespace?: string;
  readonly container?: string;
}

export function execute(wanted: string, argv: readonly string[], options: ExecOptions): Promise<number> {
  const pod = findPod(findMesh(options.mesh).pods, wanted, options.namespace);
  const { command, args, env, cwd } = execCommand(pod, containerOf(pod, options.container), argv);
  return run(command, args, { env, ...(cwd !== undefined && { cwd }) });
}

/** Throws a `UserError` that says which containers there are. */
export function containerOf(pod: PodRecord, name: string | undefined): ContainerRecord {
  const found = findContainer(pod, name);
  if (found) return found;
  if (name === undefined) throw new UserError(`Pod ${pod.namespace}/${pod.name} has no containers (yet).`);
  const names = pod.containers.map((c) => c.name);
  const near = nearest(name, names);
  throw new UserError(
    `Pod ${pod.namespace}/${pod.name} has no container "${name}".${near ? ` Did you mean ${near}?` : ` There are: ${names.join(", ")}.`}`,
  );
}

const ignore = (): void => {};

/** With our standard streams; the answer is the exit code, 128 + n when signal n ended it. */
function run(
  command: string,
  args: readonly string[],
  options: { readonly env: Readonly<Record<string, string>>; readonly cwd?: string },
): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: "inherit" });
    // A terminal's Ctrl-C reaches the command too: it decides, we wait. What is sent to us alone is passed on.
    const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
    process.on("SIGINT", ignore).on("SIGTERM", forward).on("SIGHUP", forward);
    const done = (): void => void process.off("SIGINT", ignore).off("SIGTERM", forward).off("SIGHUP", forward);
    child.on("error", (error) => {
      done();
      reject(error);
    });
    child.on("exit", (code, signal) => {
      done();
      resolve(code ?? 128 + (signal ? constants.signals[signal] : 0));
    });
  });
}
