/**
 * Removes what a run made: processes, namespaces, links, files. Works from the run's id alone, blocks, may be repeated, and goes
 * on whatever is missing: it also runs while a process ends, and after a crash. Touches nothing that does not bear the run's id.
 */
import { readlinkSync, rmdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { runSync } from "./command.ts";
import {
  belongsTo,
  hostLink,
  isAlive,
  list,
  nodeNamespace,
  readRecord,
  releaseSubnets,
  runDirectory,
  runIds,
  STATE_ROOT,
} from "./record.ts";

/** Named network namespaces, as iproute2 keeps them. */
const NETNS_ROOT = "/run/netns";
/** Files that `ip netns exec` lays over those of /etc. */
export const NETNS_ETC = "/etc/netns";

/** How often to look for processes again: one may start another one while it is being ended. */
const ROUNDS = 50;

/** Removes all that is left of a run. */
export function cleanUp(id: string): void {
  const names = list(NETNS_ROOT).filter((name) => belongsTo(id, name));
  killIn(names);
  const pods = names.filter((name) => name !== nodeNamespace(id));
  runSync("ip", ["link", "del", hostLink(id)]);
  runSync("ip", ["-force", "-batch", "-"], [...pods, nodeNamespace(id)].map((name) => `netns del ${name}\n`).join(""));
  for (const name of list(NETNS_ETC))
    if (belongsTo(id, name)) rmSync(join(NETNS_ETC, name), { recursive: true, force: true });
  rmSync(runDirectory(id), { recursive: true, force: true });
  releaseSubnets(id);
  removeIfEmpty(NETNS_ETC);
  removeIfEmpty(STATE_ROOT);
}

/** Cleans up after every run whose owner is dead; the answer is their ids. */
export function cleanUpDead(): string[] {
  const dead = runIds().filter((id) => {
    const record = readRecord(id);
    // A directory without a record belongs to a run that is just starting, unless it is old.
    return record === undefined ? ageOf(runDirectory(id)) > 10_000 : !isAlive(record.owner);
  });
  for (const id of dead) cleanUp(id);
  return dead;
}

/** Ends, at once, all processes in network namespaces of these names: whoever is there was started in a pod. */
export function killIn(names: readonly string[]): void {
  const inodes = new Set(names.map((name) => inodeOf(join(NETNS_ROOT, name))).filter((inode) => inode !== undefined));
  if (inodes.size === 0) return;
  for (let round = 0; round < ROUNDS; round++) {
    const pids = processesIn(inodes);
    if (pids.length === 0) return;
    for (const pid of pids) kill(pid);
    if (round > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
  }
}

function processesIn(inodes: ReadonlySet<string>): number[] {
  const found: number[] = [];
  for (const name of list("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const inode = /\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/ns/net`))?.[1];
      if (inode !== undefined && inodes.has(inode)) found.push(pid);
    } catch {
      // Gone meanwhile, or a zombie, which has no namespaces any more.
    }
  }
  return found;
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone meanwhile.
  }
}

function inodeOf(path: string): string | undefined {
  try {
    return String(statSync(path).ino);
  } catch {
    return undefined;
  }
}

function ageOf(path: string): number {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Others have something there.
  }
}
