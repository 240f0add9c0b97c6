/**
 * Resident memory: of an idle control plane with the bookstore, run from source, with compiled code cached, and bundled; and of each
 * mTLS stream in a mesh of a thousand Services.
 */
import { fork } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { build } from "esbuild";
import type { FromController, Start } from "../src/up/messages.ts";
import { Peer, type Handlers } from "./rpc.ts";
import type { FloorSubject, Heddle } from "./subject.ts";
import { print, rounded, type Row } from "./table.ts";

const ROOT = resolve(import.meta.dirname, "..");
const SERVICES = 1_000;
const WATCHED = 250;
const STREAMS = WATCHED * 4;
/** Milliseconds after which a process is taken as idle. */
const IDLE = 2_000;
const MB = 1e6;
/** So that the process can be made to collect garbage from outside. */
const COLLECT = "data:text/javascript,process.on('SIGUSR2', () => { gc(); gc(); })";

/** Some dependencies are CommonJS and call `require`. */
const BANNER = `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);`;

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

export async function memory(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "heddle-bench-"));
  try {
    const source = join(ROOT, "src/up/controller.ts");
    const bundled = join(dir, "controller.mjs");
    await build({
      entryPoints: [source],
      outfile: bundled,
      bundle: true,
      platform: "node",
      format: "esm",
      minifySyntax: true,
      logLevel: "warning",
      banner: { js: BANNER },
    });
    const cache = { NODE_COMPILE_CACHE: join(dir, "cache") };
    const rows = [await idle("from source", source, dir)];
    // Fills the cache, which is written when the process ends.
    await idle("", source, dir, cache);
    rows.push(await idle("from source, compiled code cached", source, dir, cache));
    rows.push(await idle("bundled, as the image runs", bundled, dir));
    print("Idle control plane with the bookstore, resident memory, MB", rows, [
      "goal: 120 or less; code: pages of files, mostly of Node itself, shared with other processes that run it",
    ]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  await streams();
}

async function idle(name: string, entry: string, dir: string, env: NodeJS.ProcessEnv = {}): Promise<Row> {
  const runDir = mkdtempSync(join(dir, "run-"));
  const begun = performance.now();
  const child = fork(entry, [], {
    execArgv: ["--expose-gc", "--import", COLLECT],
    env: { ...process.env, ...env },
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const gone = new Promise((done) => child.once("exit", done));
  const started = new Promise<void>((done, failed) => {
    child.on("message", (message: FromController) => {
      if (message.kind === "state") done();
      if (message.kind === "failed") failed(new Error(message.message));
    });
    child.once("exit", (code) => failed(new Error(`the control plane ended (${code})`)));
  });
  child.send({
    kind: "start",
    dir: join(ROOT, "examples/bookstore"),
    id: "bench",
    runDir,
    caDir: join(runDir, "ca"),
    host: "127.0.0.1",
    port: 0,
    podSubnet: "10.1.0.0/16",
    serviceSubnet: "10.2.0.0/16",
    debugPort: 0,
    logLevel: "warn",
    statuses: [],
    problems: [],
  } satisfies Start);
  try {
    await started;
    const ready = performance.now() - begun;
    await pause(IDLE);
    const asItIs = status(child.pid);
    child.kill("SIGUSR2");
    await pause(IDLE / 2);
    const collected = status(child.pid);
    return {
      "how it is run": name,
      RSS: asItIs.VmRSS,
      "RSS after gc": collected.VmRSS,
      "of it own": collected.RssAnon,
      "of it code": collected.RssFile,
      "ready after ms": Math.round(ready),
    };
  } finally {
    if (child.connected) child.disconnect();
    await gone;
  }
}

function status(pid: number | undefined): Record<"VmRSS" | "RssAnon" | "RssFile", number> {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  const of = (field: string) => rounded((Number(new RegExp(`${field}:\\s+(\\d+)`).exec(text)?.[1]) * 1024) / MB);
  return { VmRSS: of("VmRSS"), RssAnon: of("RssAnon"), RssFile: of("RssFile") };
}

async function streams(): Promise<void> {
  const args = [`${SERVICES}`, `${WATCHED}`];
  const subject = <H extends Handlers>(name: string) =>
    new Peer<H>(join(import.meta.dirname, "subject.ts"), [name, ...args], ["--expose-gc"]);
  const rows: Row[] = [];
  const heddle = subject<Heddle>("heddle");
  let bytes: number;
  try {
    await heddle.ask("prepare", undefined);
    const none = await heddle.ask("memory", undefined);
    ({ bytes } = await heddle.ask("connect", undefined));
    rows.push(perStream("heddle", none, await heddle.ask("memory", undefined)));
  } finally {
    await heddle.end();
  }
  const floor = subject<FloorSubject>("floor");
  try {
    await floor.ask("prepare", undefined);
    const none = await floor.ask("memory", undefined);
    await floor.ask("connect", undefined);
    rows.push(perStream("floor, nothing sent", none, await floor.ask("memory", undefined)));
    await floor.ask("fill", bytes);
    rows.push(perStream("floor, as many bytes sent", none, await floor.ask("memory", undefined)));
  } finally {
    await floor.end();
  }
  print(`Server of ${SERVICES} Services with ${STREAMS} mTLS delta streams against none, after gc`, rows, [
    `KB (1024) a stream; ${Math.round(bytes / 1024)} KB of configuration were sent to each; goal: 110 or less`,
    "native: what is neither JavaScript objects nor buffers, which is TLS, HTTP/2 and sockets",
  ]);
}

function perStream(server: string, none: NodeJS.MemoryUsage, all: NodeJS.MemoryUsage): Row {
  const each = (of: (usage: NodeJS.MemoryUsage) => number) => rounded((of(all) - of(none)) / STREAMS / 1024);
  return {
    server,
    "RSS MB at none": rounded(none.rss / MB),
    "RSS a stream": each(({ rss }) => rss),
    objects: each(({ heapUsed }) => heapUsed),
    "heap not used": each(({ heapTotal, heapUsed }) => heapTotal - heapUsed),
    buffers: each(({ external }) => external),
    native: each(({ rss, heapTotal, external }) => rss - heapTotal - external),
  };
}
