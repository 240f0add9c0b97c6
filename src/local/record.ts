/**
 * What a run writes down under /run/heddle, so that others can find its pods, and what it made can be removed after a crash.
 * Every name on the machine that belongs to a run is made here.
 */
import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PodStatus } from "../world/pod.ts";
import { hash } from "../lib/hash.ts";

/** Where all runs keep their records. */
export const STATE_ROOT = "/run/heddle";

/** A process, in a way that survives the reuse of its number. */
export interface Owner {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks since boot. */
  readonly startTime: string;
}

export interface ContainerRecord {
  readonly name: string;
  readonly init: boolean;
  readonly uid: number;
  readonly gid: number;
  readonly cwd?: string;
  readonly env: Readonly<Record<string, string>>;
  /** Of the log; older lines are in the same path with `.1` behind. */
  readonly log: string;
}

export interface PodRecord {
  readonly namespace: string;
  readonly name: string;
  /** Of the network namespace, as `ip netns` knows it. */
  readonly netns: string;
  readonly hostname: string;
  readonly status: PodStatus;
  /** The first one is the default of `exec` and `logs`; the sidecar, called `envoy`, is last. */
  readonly containers: readonly ContainerRecord[];
}

export interface RunRecord {
  readonly id: string;
  readonly owner: Owner;
  readonly startedAt: number;
  /** The host's address inside the run. */
  readonly address: string;
  readonly podSubnet: string;
  readonly serviceSubnet: string;
  readonly pods: readonly PodRecord[];
}

/** An id is part of interface names (15 characters at most), and `-` separates it from a pod's part. */
export const isRunId = (id: string): boolean => /^[a-z0-9]{1,8}$/.test(id);

export const runDirectory = (id: string): string => join(STATE_ROOT, id);
export const nodeNamespace = (id: string): string => `heddle-${id}`;
export const hostLink = (id: string): string => `hdl-${id}`;
/** A pod's part of names: the same name gives the same part. */
export const podKey = (podName: string): string => hash(podName).slice(0, 8);
export const podNamespace = (id: string, podName: string): string => `heddle-${id}-${podKey(podName)}`;
export const podDirectory = (id: string, namespace: string, name: string): string =>
  join(runDirectory(id), "pods", `${namespace}_${name}`);

/** Whether a network namespace belongs to a run. */
export const belongsTo = (id: string, netns: string): boolean =>
  netns === nodeNamespace(id) || netns.startsWith(`${nodeNamespace(id)}-`);

/** When a process began, or undefined when there is none of this number. */
export function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the command in parentheses, which may hold spaces and parentheses itself.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

export const isAlive = (owner: Owner): boolean => startTime(owner.pid) === owner.startTime;

/** Makes a run's directory, which takes its id; undefined when there is one already. */
export function createRun(id: string): string | undefined {
  // A run that ends removes the root when it is empty, perhaps just now.
  for (let tries = 0; tries < 5; tries++) {
    try {
      mkdirSync(STATE_ROOT, { recursive: true });
      mkdirSync(runDirectory(id));
      // Set expressly: the caller's umask may take more away, and sidecars must get through.
      for (const directory of [STATE_ROOT, runDirectory(id)]) chmodSync(directory, 0o755);
      return id;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") return undefined;
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return undefined;
}

/** Writes a record whole or not at all. Only root may read it: it holds the applications' environment. */
export function writeRecord(record: RunRecord): void {
  const path = join(runDirectory(record.id), "state.json");
  writeFileSync(`${path}.new`, JSON.stringify(record, undefined, 1), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** A run's record; undefined when there is none or it cannot be read. */
export function readRecord(id: string): RunRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(runDirectory(id), "state.json"), "utf8")) as RunRecord;
  } catch {
    return undefined;
  }
}

/** Ids of all runs that left something under /run/heddle, alive or not. */
export function runIds(): string[] {
  return list(STATE_ROOT).filter((name) => isRunId(name));
}

/** The runs that are alive now, oldest first. */
export function liveRuns(): RunRecord[] {
  const records = runIds().map(readRecord);
  return records
    .filter((record) => record !== undefined && isAlive(record.owner))
    .sort((a, b) => a!.startedAt - b!.startedAt) as RunRecord[];
}

const claim = (index: number): string => join(STATE_ROOT, `.subnet-${index}`);

/** Takes a subnet for a run whose record is already written; false when another run has it. */
export function claimSubnet(index: number, id: string): boolean {
  try {
    writeFileSync(claim(index), id, { flag: "wx", mode: 0o600 });
    return true;
  } catch {
    const holder = readText(claim(index));
    if (holder !== undefined && holder !== "" && readRecord(holder) === undefined) {
      // Its run is gone and was cleaned up half: take it over.
      rmSync(claim(index), { force: true });
      return claimSubnet(index, id);
    }
    return false;
  }
}

/** Gives back all subnets of a run. */
export function releaseSubnets(id: string): void {
  for (const name of list(STATE_ROOT)) {
    const path = join(STATE_ROOT, name);
    if (name.startsWith(".subnet-") && readText(path) === id) rmSync(path, { force: true });
  }
}

/** Names in a directory; none when it does not exist. */
export function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
