/**
 * The control plane of a local mesh, as a process: reads the folder, serves xDS, and tells its parent which pods there are to be.
 * Owns no pod: it may die and come back without one request noticing.
 */
import { flushCompileCache } from "node:module";
import { join, resolve } from "node:path";
import { fileStore } from "../ca/file-store.ts";
import { podRow, proxyRows } from "../cli/rows.ts";
import { summarize } from "../cli/summary.ts";
import { readableResources } from "../cli/xds-json.ts";
import { startDashboard } from "../dashboard/server.ts";
import { Settle } from "../lib/settle.ts";
import { serve, type ControlPlane } from "../serve.ts";
import { FilesSource } from "../sources/files/source.ts";
import { createLog } from "../telemetry/log.ts";
import type { Mesh } from "../policy/ir.ts";
import { podName, type PodName } from "../world/names.ts";
import type { PodStatus } from "../world/pod.ts";
import type { Type } from "../xds/resource.ts";
import { directoryOf } from "./directory.ts";
import type { FromController, Start, ToController } from "./messages.ts";
import { spoil } from "./tamper.ts";

/** Milliseconds over which streams are ended at SIGTERM. */
const DRAIN = 1000;

const tell = (message: FromController): void => {
  if (process.connected) process.send?.(message);
};

/** The parent ends us, a terminal's Ctrl-C does not; without a parent there is nothing to do. */
process.on("SIGINT", () => {});
process.on("disconnect", () => process.exit(0));
process.on("SIGTERM", () => void stop());
process.on("message", (message: ToController) => void receive(message));

interface Running {
  readonly plane: ControlPlane;
  readonly source: FilesSource;
  readonly statuses: Map<PodName, PodStatus>;
  readonly close: () => Promise<void>;
}

let running: Promise<Running> | undefined;
let broken: { type: Type; name: string } | undefined;

async function receive(message: ToController): Promise<void> {
  if (message.kind === "start") {
    running ??= start(message);
    running.catch((error: unknown) => {
      const { name, message } = error instanceof Error ? error : { name: "Error", message: String(error) };
      tell({ kind: "failed", name, message });
      process.exitCode = 1;
      process.disconnect();
    });
    return;
  }
  const now = await running;
  if (!now) return;
  if (message.kind === "status") {
    if (message.status) now.statuses.set(message.pod, message.status);
    else now.statuses.delete(message.pod);
    now.source.setStatus(message.pod, message.status);
  } else if (message.kind === "tamper") {
    broken = message.type && message.name ? { type: message.type, name: message.name } : undefined;
    now.plane.pipeline.republish();
  } else {
    await now.plane.renew();
  }
}

async function stop(): Promise<void> {
  const now = await running?.catch(() => undefined);
  await now?.close();
  await now?.plane.stop(DRAIN);
  process.exit(0);
}

async function start(options: Start): Promise<Running> {
  const log = createLog(options.logLevel);
  const source = new FilesSource({
    dir: options.dir,
    log,
    subnets: { pods: options.podSubnet, services: options.serviceSubnet },
  });
  const statuses = new Map(options.statuses);
  for (const [pod, status] of statuses) source.setStatus(pod, status);
  const plane = await serve({
    source,
    rootStore: fileStore(options.caDir),
    listen: { host: options.host, port: options.port },
    log,
    tamper: (_group, resources) => (broken ? spoil(resources, broken.type, broken.name) : resources),
  });
  await plane.started;
  const problems = () => [...options.problems, ...plane.problems()];
  const dashboard = await startDashboard({
    shown: {
      pipeline: plane.pipeline,
      metrics: plane.metrics,
      notReady: () => (plane.ready() ? undefined : "no snapshot is published yet"),
      problems,
      pods: () =>
        source
          .pods()
          .map((manifest) =>
            podRow(manifest, statuses.get(podName(manifest.metadata.namespace, manifest.metadata.name))),
          ),
      proxies: () => proxyRows(plane.proxies(), plane.store.world),
      decode: readableResources,
      folder: resolve(options.dir),
    },
    listen: { port: options.debugPort },
    socket: join(options.runDir, "api.sock"),
    log,
  });

  let before: Mesh | undefined;
  const state = () => {
    const { mesh, published } = plane.pipeline;
    const files = source.takeChangedFiles();
    const lines = mesh && before && mesh !== before ? summarize(before, mesh) : [];
    before = mesh;
    const changes = files.length === 0 ? lines : lines.map((line) => `${files.join(", ")}: ${line}`);
    tell({ kind: "state", ready: plane.ready(), revision: published, problems: problems(), changes });
  };
  const directory = new Settle({ quiet: 5, max: 20 }, () =>
    tell({ kind: "directory", ...directoryOf(plane.store.world) }),
  );
  plane.store.follow(() => directory.poke());
  directory.poke();
  plane.pipeline.onPublished((path) => {
    if (path === "policy") state();
  });
  plane.onProblems(state);
  source.onPods(() => tell({ kind: "pods", pods: source.pods() }));
  // A process that is killed writes no cache at its end.
  flushCompileCache();
  tell({ kind: "listening", debugPort: Number(new URL(dashboard.url ?? "http://127.0.0.1:0").port) });
  tell({ kind: "pods", pods: source.pods() });
  state();
  return { plane, source, statuses, close: () => dashboard.close() };
}
