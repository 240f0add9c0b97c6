/**
 * `heddle logs`: what a container has printed, and with `-f` what it goes on printing.
 */
import { readLog } from "../local/exec.ts";
import { liveRuns } from "../local/record.ts";
import { containerOf } from "./exec.ts";
import { UserError, EXIT } from "./errors.ts";
import { Follow } from "./follow.ts";
import { findMesh } from "./mesh-client.ts";
import { print } from "./output.ts";
import { findPod } from "./pod-name.ts";

export interface LogsOptions {
  readonly mesh?: string;
  readonly namespace?: string;
  readonly container?: string;
  readonly follow?: boolean;
  readonly tail?: string;
}

export async function logs(wanted: string, options: LogsOptions): Promise<number> {
  const lines = options.tail === undefined ? undefined : Number(options.tail);
  if (lines !== undefined && !(Number.isInteger(lines) && lines >= 0)) {
    throw new UserError(`--tail takes a number of lines, not "${options.tail}".`, EXIT.usage);
  }
  const run = findMesh(options.mesh);
  const container = containerOf(findPod(run.pods, wanted, options.namespace), options.container);
  // Where to go on is taken before reading: a line may come twice at a rotation, but none is lost.
  const follow = options.follow ? new Follow(container.log) : undefined;
  const text = follow ? follow.before() : readLog(container);
  await print(lines === undefined ? text : lastLines(text, lines));
  if (!follow) return 0;
  const ending = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => ending.abort());
  await follow.until(ending.signal, give, () => liveRuns().some((r) => r.id === run.id));
  return 0;
}

export function lastLines(text: string, n: number): string {
  const lines = text.replace(/\n$/, "").split("\n");
  return n === 0 || text === "" ? "" : `${lines.slice(-n).join("\n")}\n`;
}

const give = (chunk: Buffer): Promise<void> => new Promise((resolve) => process.stdout.write(chunk, () => resolve()));
