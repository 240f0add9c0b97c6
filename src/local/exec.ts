/**
 * How another process runs a program in a pod of a run that is alive, or reads its logs: from the run's record alone.
 */
import { readFileSync } from "node:fs";
import { launchCommand } from "./launch.ts";
import { SIDECAR_NAME } from "./pod.ts";
import type { ContainerRecord, PodRecord, RunRecord } from "./record.ts";

/** What to give to `spawn`. */
export interface ExecCommand {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Pods of this name, in one namespace or in all. */
export const findPods = (run: RunRecord, name: string, namespace?: string): PodRecord[] =>
  run.pods.filter((pod) => pod.name === name && (namespace === undefined || pod.namespace === namespace));

/** A container by name, or the pod's first; undefined when it has none of this name. */
export const findContainer = (pod: PodRecord, name?: string): ContainerRecord | undefined =>
  name === undefined ? pod.containers[0] : pod.containers.find((c) => c.name === name);

/** The command that runs `argv` in a container: its network, environment, directory, user and rights. Needs root. */
export function execCommand(pod: PodRecord, container: ContainerRecord, argv: readonly string[]): ExecCommand {
  const { uid, gid, env, cwd } = container;
  const role = container.name === SIDECAR_NAME ? "sidecar" : "application";
  const { netns, hostname } = pod;
  const [command, ...args] = launchCommand({ netns, hostname, argv, env, uid, gid, role });
  const term = process.env["TERM"];
  return {
    command,
    args,
    env: { ...env, ...(term !== undefined && { TERM: term }) },
    ...(cwd !== undefined && { cwd }),
  };
}

/** What is kept of a container's log, oldest first. */
export function readLog(container: ContainerRecord): string {
  return [`${container.log}.1`, container.log].map(readOrNothing).join("");
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
