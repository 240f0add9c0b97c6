/**
 * Resident memory: of an idle control plane with the bookstore, run from source, with compiled code cached, and bundled; and of each
 * mTLS stream in a mesh of a thousand Services.
 */
import { fork } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { bundle } from "../scripts/bundle.ts";
import type { FromController, Start } from "../src/up/messages.ts";
import { Peer } from "./rpc.ts";
import type { Heddle } from "./subject.ts";
import { print, rounded, type Row } from "./table.ts";

const ROOT = resolve(import.meta.dirname, "..");
const SERVICES = 1_000;
const WATCHED = 250;
/** Milliseconds after which a process is taken as idle. */
const IDLE = 2_000;
const MB = 1e6;
/** So that the process can be made to collect garbage from outside. */
const COLLECT = "data:text/javascript,process.on('SIGUSR2', () => { gc(); gc(); })";

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

export async function memory(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "heddle-bench-"));
  try {
    const source = join(ROOT, "src/up/controller.ts");
    const bundled = join(dir, "controller.mjs");
    await bundle(bundled);
    const cache = { NODE_COMPILE_CACHE: join(dir, "cache") };
    const rows = [await idle("from source", source, dir)];
    // Fills the cache, which is written when the process ends.
    await idle("", source, dir, cache);
    rows.push(await idle("from source, compiled code cached", source, dir, cache));
    rows.push(await idle("bundled (scripts/bundle.ts)", bundled, dir));
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
    child.disconnect();
    await gone;
  }
}

function status(pid: number | undefined): Record<"VmRSS" | "RssAnon" | "RssFile", number> {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  const of = (field: string) => rounded((Number(new RegExp(`${field}:\\s+(\\d+)`).exec(text)?.[1]) * 1024) / MB);
  return { VmRSS: of("VmRSS"), RssAnon: of("RssAnon"), RssFile: of("RssFile") };
}

async function streams(): Promise<void> {
  const heddle = new Peer<Heddle>(
    join(import.meta.dirname, "subject.ts"),
    ["heddle", `${SERVICES}`, `${WATCHED}`],
    ["--expose-gc"],
  );
  try {
    await heddle.ask("prepare", undefined);
    const none = await heddle.ask("memory", undefined);
    await heddle.ask("connect", undefined);
    const all = await heddle.ask("memory", undefined);
    const count = WATCHED * 4;
    const row = (of: string, field: keyof NodeJS.MemoryUsage): Row => ({
      memory: of,
      "MB at 0": rounded(none[field] / MB),
      [`MB at ${count}`]: rounded(all[field] / MB),
      "KB a stream": rounded((all[field] - none[field]) / count / 1024),
    });
    print(
      `Server of ${SERVICES} Services, at 0 and ${count} mTLS delta streams, after gc`,
      [row("RSS", "rss"), row("of it JavaScript objects", "heapUsed"), row("of it buffers and the like", "external")],
      ["goal: RSS of a stream 110 KB or less; what is neither objects nor buffers is TLS and sockets"],
    );
  } finally {
    await heddle.end();
  }
}
