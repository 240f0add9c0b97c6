/**
 * What a cluster writes down in its state directory, so that others can find it, and what is left of it after a crash is removed.
 */
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isAlive, list, type Owner, startTime } from "../../src/local/record.ts";
import { ClusterError } from "./exec.ts";
import { cleanUp, nodeRuns } from "./node.ts";
import { isClusterId, makeStateRoot, STATE_ROOT, stateDirectory } from "./paths.ts";

export interface ClusterRecord {
  readonly id: string;
  /** The process whose cluster it is: when that has gone, the cluster goes. Undefined for one that stays until it is stopped. */
  readonly owner?: Owner;
  readonly startedAt: string;
  /** All parts have been started. */
  readonly ready: boolean;
}

const recordPath = (id: string): string => join(stateDirectory(id), "state.json");

/** This process. */
export const self = (): Owner => ({ pid: process.pid, startTime: startTime(process.pid)! });

export function writeRecord(record: ClusterRecord): void {
  const path = recordPath(record.id);
  writeFileSync(`${path}.new`, JSON.stringify(record, undefined, 1));
  renameSync(`${path}.new`, path);
}

/** Undefined when there is none or it cannot be read. */
export function readRecord(id: string): ClusterRecord | undefined {
  try {
    return JSON.parse(readFileSync(recordPath(id), "utf8")) as ClusterRecord;
  } catch {
    return undefined;
  }
}

/** Makes the state directory, which takes the id. Throws when there is one already. */
export function claim(id: string): void {
  if (!isClusterId(id)) throw new ClusterError(`A cluster's id is 1 to 8 of a-z and 0-9, not "${id}".`);
  makeStateRoot();
  try {
    mkdirSync(stateDirectory(id), { mode: 0o755 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    const record = readRecord(id);
    const whose = record?.owner ? `it belongs to process ${record.owner.pid}` : "it stays until it is stopped";
    throw new ClusterError(
      `There is a cluster "${id}" already (${record ? whose : "just being made"}). Use it: ` +
        `KUBECONFIG=${join(stateDirectory(id), "kubeconfig")}; stop it: npm run cluster -- --stop --id ${id}; ` +
        "or start another one beside it: npm run cluster -- --id NAME",
    );
  }
}

/** Removes what is left of clusters whose owners are gone; the answer is their ids. */
export function cleanUpDead(): string[] {
  const dead = list(STATE_ROOT)
    .filter(isClusterId)
    .filter((id) => {
      const record = readRecord(id);
      // Without a record it is just starting, unless it is old.
      if (record === undefined) return Date.now() - statSync(stateDirectory(id)).mtimeMs > 10_000;
      return record.owner ? !isAlive(record.owner) : !record.ready || !nodeRuns(id);
    });
  for (const id of dead) cleanUp(id);
  return dead;
}
