/**
 * Finds the mesh that runs on this machine, and asks it over its unix socket. Knows where runs keep their records; starts nothing.
 */
import { request } from "node:http";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { liveRuns, runDirectory, runIds, type RunRecord } from "../local/record.ts";
import { EXIT, UserError } from "./errors.ts";

export const socketPath = (runDir: string): string => join(runDir, "api.sock");

/** The run of this id, or the only one there is. Throws a `UserError` that says what there is. */
export function findMesh(id: string | undefined): RunRecord {
  if (process.getuid?.() !== 0 && runIds().length > 0) {
    throw new UserError("A mesh's state is readable for root only. Run this command as root (sudo).");
  }
  const runs = liveRuns();
  const ids = runs.map((run) => run.id).join(", ");
  if (id !== undefined) {
    const found = runs.find((run) => run.id === id);
    if (found) return found;
    throw new UserError(
      `No mesh "${id}" runs on this machine.${ids === "" ? " Start one: heddle up DIR" : ` There are: ${ids}.`}`,
    );
  }
  const [only, ...more] = runs;
  if (!only) throw new UserError("No mesh runs on this machine. Start one: heddle up DIR");
  if (more.length > 0)
    throw new UserError(`Several meshes run on this machine: ${ids}. Choose one with --mesh ID.`, EXIT.usage);
  return only;
}

const TIMEOUT = 10_000;
/** Of an answer. */
const MAX_BYTES = 256 << 20;

/** GET over the run's socket. */
export async function ask<T>(run: Pick<RunRecord, "id">, path: string): Promise<T> {
  const socket = socketPath(runDirectory(run.id));
  if (!existsSync(socket))
    throw new UserError(
      `Mesh ${run.id} is just starting or stopping: it takes no questions now. Try again in a moment.`,
    );
  return askSocket<T>(socket, path);
}

export function askSocket<T>(socket: string, path: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const call = request(
      { socketPath: socket, path, headers: { host: "localhost", accept: "application/json" }, timeout: TIMEOUT },
      (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > MAX_BYTES) response.destroy(new UserError("The mesh's answer is too large."));
          else chunks.push(chunk);
        });
        response.on("error", reject);
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString();
          if (response.statusCode !== 200)
            reject(new UserError(`The mesh could not answer: ${text.trim() || response.statusCode}`));
          else resolve(JSON.parse(text) as T);
        });
      },
    );
    call.on("timeout", () => call.destroy(new UserError(`The mesh did not answer within ${TIMEOUT / 1000} s.`)));
    call.on("error", (error: NodeJS.ErrnoException) => {
      const gone = error.code === "ECONNREFUSED" || error.code === "ENOENT";
      reject(gone ? new UserError("The mesh does not answer: it may have just stopped.") : error);
    });
    call.end();
  });
}
