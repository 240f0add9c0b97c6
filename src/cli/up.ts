/**
 * `heddle up`: starts a mesh on this machine, shows it until somebody ends it, and ends it. Knows how it is shown, not how it works.
 */
import { stat } from "node:fs/promises";
import type { Config } from "../config.ts";
import type { LocalMeshOptions } from "../up/mesh.ts";
import { EXIT, UserError } from "./errors.ts";
import { lineLog } from "./line-log.ts";
import { askSocket, socketPath } from "./mesh-client.ts";
import { podRow } from "./rows.ts";
import type { Terminal } from "./screen.ts";
import { isFine, whyNotReady } from "./view.ts";
import { Watch, type RunningMesh } from "./watch.ts";

export interface UpOptions {
  readonly images?: string;
  readonly id?: string;
  readonly port: string;
  readonly onceReady?: boolean;
}

/** What `up` has of the world outside; tests give their own. */
export interface Outside {
  readonly start: (options: LocalMeshOptions) => Promise<RunningMesh>;
  readonly out: Terminal & {
    readonly isTTY?: boolean;
    on(event: "resize", run: () => void): unknown;
    off(event: "resize", run: () => void): unknown;
  };
  readonly err: { write(text: string): unknown };
  readonly signals: {
    on(signal: NodeJS.Signals, run: () => void): unknown;
    off(signal: NodeJS.Signals, run: () => void): unknown;
  };
  readonly exit: (code: number) => void;
}

const OUTSIDE: Outside = {
  start: async (options) => (await import("../up/mesh.ts")).startLocalMesh(options),
  out: process.stdout,
  err: process.stderr,
  signals: process,
  exit: (code) => process.exit(code),
};

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** Milliseconds in which every pod is to be ready with `--once-ready`. */
const READY_WITHIN = 120_000;

export async function up(dir: string, options: UpOptions, config: Config, outside: Outside = OUTSIDE): Promise<number> {
  const port = portOf(options.port);
  await mustBeFolder(dir);
  const watch = new Watch({
    dir,
    out: outside.out,
    color: config.color,
    live: outside.out.isTTY === true && !options.onceReady,
  });
  const log = lineLog(config.logLevel, (level, line) => watch.logged(level, line, outside.err));
  const ending = new AbortController();
  const stop = (): void => {
    if (ending.signal.aborted) {
      // What a run made is also removed while the process ends.
      watch.end();
      outside.exit(EXIT.interrupted);
      return;
    }
    watch.end();
    outside.out.write("stopping…\n");
    ending.abort();
  };
  for (const signal of SIGNALS) outside.signals.on(signal, stop);
  let mesh: RunningMesh | undefined;
  try {
    const { images, id } = options;
    mesh = await outside.start({
      dir,
      log,
      say: (line) => watch.say(line),
      debugPort: port,
      signal: ending.signal,
      ...(images !== undefined && { images }),
      ...(id !== undefined && { id }),
    });
    const socket = socketPath(mesh.runDir);
    watch.begin(mesh, () => askSocket<readonly string[]>(socket, "/api/services"));
    if (options.onceReady) return await onceReady(mesh, ending.signal, outside);
    await aborted(ending.signal);
    return EXIT.ok;
  } catch (error) {
    if (ending.signal.aborted && !mesh) return EXIT.ok;
    throw error;
  } finally {
    watch.end();
    await mesh?.stop();
    for (const signal of SIGNALS) outside.signals.off(signal, stop);
  }
}

function portOf(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port < 65_536) return port;
  throw new UserError(`--port takes a port number (0 for any), not "${text}".`, EXIT.usage);
}

async function mustBeFolder(dir: string): Promise<void> {
  const stats = await stat(dir).catch(() => undefined);
  if (!stats) throw new UserError(`There is no folder ${dir}.`);
  if (!stats.isDirectory()) throw new UserError(`${dir} is not a folder: give the folder that the manifests are in.`);
}

const aborted = (signal: AbortSignal): Promise<void> =>
  signal.aborted
    ? Promise.resolve()
    : new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));

/** Waits for every pod, and says what came of it. */
async function onceReady(mesh: RunningMesh, signal: AbortSignal, { out, err }: Outside): Promise<number> {
  const until = performance.now() + READY_WITHIN;
  for (;;) {
    const rows = mesh.pods().map(({ manifest, status }) => podRow(manifest, status));
    const waiting = rows.filter((row) => !isFine(row));
    if (mesh.ready() && waiting.length === 0) {
      out.write(`Every pod is ready (${rows.length}).\n`);
      return EXIT.ok;
    }
    if (signal.aborted || performance.now() > until) {
      for (const row of waiting) err.write(`${row.namespace}/${row.name}: ${whyNotReady(row)}\n`);
      if (!signal.aborted) err.write(`heddle: not every pod was ready within ${READY_WITHIN / 1000} s.\n`);
      return EXIT.failure;
    }
    await Promise.race([aborted(signal), new Promise((resolve) => setTimeout(resolve, 100))]);
  }
}
