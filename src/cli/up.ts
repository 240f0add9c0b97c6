/**
 * `heddle up`: starts a mesh on this machine, shows it until somebody ends it, and ends it. Knows how it is shown, not how it works.
 */
import { stat } from "node:fs/promises";
import type { Config } from "../config.ts";
import { startDashboard, type Dashboard, type Shown } from "../dashboard/server.ts";
import type { Log } from "../telemetry/log.ts";
import { EXIT, UserError } from "./errors.ts";
import { lineLog } from "./line-log.ts";
import type { LocalMesh, LocalMeshOptions } from "./local-mesh.ts";
import { socketPath } from "./mesh-client.ts";
import { podRow, proxyRows } from "./rows.ts";
import type { Terminal } from "./screen.ts";
import { Watch } from "./watch.ts";
import { isFine, whyNotReady } from "./view.ts";
import { resourcesJson } from "./xds-json.ts";

export interface UpOptions {
  readonly images?: string;
  readonly id?: string;
  readonly port: string;
  readonly onceReady?: boolean;
}

/** What `up` has of the world outside; tests give their own. */
export interface Outside {
  readonly start: (options: LocalMeshOptions) => Promise<LocalMesh>;
  readonly out: Terminal & { readonly isTTY?: boolean; on(event: "resize", run: () => void): unknown; off(event: "resize", run: () => void): unknown };
  readonly err: { write(text: string): unknown };
  readonly signals: { on(signal: NodeJS.Signals, run: () => void): unknown; off(signal: NodeJS.Signals, run: () => void): unknown };
  readonly exit: (code: number) => void;
}

const OUTSIDE: Outside = {
  start: async (options) => (await import("../serve.ts")).startLocalMesh(options),
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
  const watch = new Watch({ dir, out: outside.out, color: config.color, live: outside.out.isTTY === true && !options.onceReady });
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
  let mesh: LocalMesh | undefined;
  let dashboard: Dashboard | undefined;
  try {
    const { images, id } = options;
    mesh = await outside.start({
      dir,
      log,
      say: (line) => watch.say(line),
      signal: ending.signal,
      ...(images !== undefined && { images }),
      ...(id !== undefined && { id }),
    });
    dashboard = await show(mesh, port, log);
    watch.begin(mesh, dashboard.url);
    if (options.onceReady) return await onceReady(mesh, ending.signal, outside);
    await aborted(ending.signal);
    return EXIT.ok;
  } catch (error) {
    if (ending.signal.aborted && !mesh) return EXIT.ok;
    throw error;
  } finally {
    watch.end();
    await dashboard?.close();
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

const show = (mesh: LocalMesh, port: number, log: Log): Promise<Dashboard> =>
  startDashboard({ shown: shownOf(mesh), log, listen: { port }, socket: socketPath(mesh.runDir) });

export const shownOf = (mesh: LocalMesh): Shown => ({
  pipeline: mesh.pipeline,
  metrics: mesh.metrics,
  notReady: () => {
    if (mesh.ready()) return undefined;
    return mesh.pipeline.mesh === undefined ? "no snapshot is published yet" : "the sources have not been read to the end yet";
  },
  problems: () => mesh.problems(),
  pods: () => mesh.pods().map(({ manifest, status }) => podRow(manifest, status)),
  proxies: () => proxyRows(mesh.proxies(), mesh.pipeline.world),
  decode: resourcesJson,
});

const aborted = (signal: AbortSignal): Promise<void> =>
  signal.aborted ? Promise.resolve() : new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));

/** Waits for every pod, and says what came of it. */
async function onceReady(mesh: LocalMesh, signal: AbortSignal, { out, err }: Outside): Promise<number> {
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
