/** `heddle up` around a mesh that is not there: what is shown, and how it ends. */
import { EventEmitter, once } from "node:events";
import { expect, test } from "vitest";
import { readConfig } from "../../../src/config.ts";
import { up, type Outside } from "../../../src/cli/up.ts";
import type { RunningMesh } from "../../../src/cli/watch.ts";
import type { LocalMeshOptions } from "../../../src/up/mesh.ts";
import type { PodName } from "../../../src/world/names.ts";
import type { PodManifest, PodStatus } from "../../../src/world/pod.ts";
import { folder } from "./folder.ts";

const manifest = {
  metadata: { namespace: "shop", name: "buyer-0" },
  spec: { serviceAccountName: "buyer", containers: [{ name: "app" }] },
} as unknown as PodManifest;
const config = readConfig({ NO_COLOR: "1" });

class FakeMesh implements RunningMesh {
  readonly id = "fake1";
  readonly runDir = "/nonexistent";
  readonly debugPort = 4711;
  readonly lines = new Set<Parameters<RunningMesh["onLine"]>[0]>();
  readonly changes = new Set<Parameters<RunningMesh["onChange"]>[0]>();
  status: PodStatus = { phase: "Running", ready: true, terminating: false, restarts: 0 };
  stopped = 0;
  pods(): ReturnType<RunningMesh["pods"]> {
    return [{ manifest, status: this.status }];
  }
  problems(): [] {
    return [];
  }
  ready(): boolean {
    return true;
  }
  onLine(listener: Parameters<RunningMesh["onLine"]>[0]): () => void {
    this.lines.add(listener);
    return () => this.lines.delete(listener);
  }
  onChange(listener: Parameters<RunningMesh["onChange"]>[0]): () => void {
    this.changes.add(listener);
    return () => this.changes.delete(listener);
  }
  stop(): Promise<void> {
    this.stopped++;
    return Promise.resolve();
  }
}

function outside(mesh: FakeMesh, start?: Outside["start"]) {
  const signals = new EventEmitter();
  const events = new EventEmitter();
  let text = "";
  const write = (more: string): void => {
    text += more;
    events.emit("write");
  };
  const exits: number[] = [];
  const out = Object.assign(new EventEmitter(), { write, columns: 100, rows: 30, isTTY: false });
  const given: Outside = {
    start: start ?? ((options) => (options.say("Made the network"), Promise.resolve(mesh))),
    out,
    err: { write },
    signals,
    exit: (code) => void exits.push(code),
  };
  const shows = async (wanted: string): Promise<void> => {
    while (!text.includes(wanted)) await once(events, "write");
  };
  return { given, signals, out, exits, shows, text: () => text };
}

const options = { port: "0" };

test("lines without a terminal; Ctrl-C says one line, stops the mesh and ends with 0", async () => {
  const { dir, remove } = folder();
  const mesh = new FakeMesh();
  const io = outside(mesh);
  const done = up(dir, options, config, io.given);
  await io.shows("pod shop/buyer-0 is ready");
  expect(io.text()).toContain("Made the network\n");
  expect(io.text()).toContain("http://127.0.0.1:4711/debug/");
  const call = {
    reporter: "source",
    method: "GET",
    path: "/",
    authority: "store",
    response_code: 200,
    upstream_cluster: "shop/store|80",
  };
  for (const listener of mesh.lines) listener("shop/buyer-0" as PodName, "envoy", JSON.stringify(call));
  for (const listener of mesh.lines)
    listener("shop/buyer-0" as PodName, "app", JSON.stringify({ ...call, authority: "not-a-sidecar" }));
  for (const listener of mesh.changes)
    listener({ kind: "state", ready: true, revision: 2, problems: [], changes: ["access taken: a → b"] });
  await io.shows("access taken: a → b");
  await io.shows("shop/buyer → shop/store:80");
  expect(io.text()).not.toContain("not-a-sidecar");
  io.signals.emit("SIGINT");
  expect(await done).toBe(0);
  expect(io.text().endsWith("stopping…\n")).toBe(true);
  expect(mesh.stopped).toBe(1);
  expect([mesh.lines.size, mesh.changes.size, io.signals.eventNames().length, io.exits.length]).toEqual([0, 0, 0, 0]);
  remove();
});

test("a terminal gets a table in place, and is given back before the last line", async () => {
  const { dir, remove } = folder();
  const io = outside(new FakeMesh());
  io.out.isTTY = true;
  const done = up(dir, options, config, io.given);
  await io.shows("No calls seen yet.");
  const before = io.text().length;
  io.out.columns = 40;
  io.out.emit("resize");
  expect(io.text().length).toBeGreaterThan(before);
  io.signals.emit("SIGTERM");
  expect(await done).toBe(0);
  expect(io.text().endsWith("\u001B[?25h\u001B[?1049lstopping…\n")).toBe(true);
  remove();
});

test("a second Ctrl-C does not wait", async () => {
  const { dir, remove } = folder();
  const mesh = new FakeMesh();
  const stopping = Promise.withResolvers<void>();
  mesh.stop = () => stopping.promise;
  const io = outside(mesh);
  const done = up(dir, options, config, io.given);
  await io.shows("is ready");
  io.signals.emit("SIGINT");
  await io.shows("stopping…");
  io.signals.emit("SIGINT");
  expect(io.exits).toEqual([130]);
  stopping.resolve();
  await done;
  remove();
});

test("Ctrl-C while it starts gives up starting", async () => {
  const { dir, remove } = folder();
  const io = outside(
    new FakeMesh(),
    ({ signal }: LocalMeshOptions) =>
      new Promise((_, reject) => signal!.addEventListener("abort", () => reject(signal!.reason))),
  );
  const done = up(dir, options, config, io.given);
  while (io.signals.listenerCount("SIGINT") === 0) await new Promise(setImmediate);
  io.signals.emit("SIGINT");
  expect(await done).toBe(0);
  remove();
});

test("what keeps it from starting is passed on", async () => {
  const { dir, remove } = folder();
  const io = outside(new FakeMesh(), () => Promise.reject(new Error("no root")));
  await expect(up(dir, options, config, io.given)).rejects.toThrow("no root");
  expect(io.signals.eventNames()).toEqual([]);
  remove();
});

test("--once-ready ends when every pod is ready", async () => {
  const { dir, remove } = folder();
  const mesh = new FakeMesh();
  mesh.status = { ...mesh.status, ready: false, reason: "app: waiting" };
  const io = outside(mesh);
  const done = up(dir, { ...options, onceReady: true }, config, io.given);
  await io.shows("app: waiting");
  mesh.status = { ...mesh.status, ready: true };
  expect(await done).toBe(0);
  expect(io.text()).toContain("Every pod is ready (1).\n");
  expect(mesh.stopped).toBe(1);
  remove();
});
