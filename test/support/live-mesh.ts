/**
 * A mesh on this machine for live tests: a temporary folder, real Envoys, and clients inside its pods. Leaves nothing behind.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { execCommand } from "../../src/local/exec.ts";
import { readRecord } from "../../src/local/record.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { startLocalMesh, type LocalMesh } from "../../src/up/mesh.ts";
import type { BytesResult, HttpCall, HttpResult, Load, LoadResult, Task } from "./pod-client.ts";
import type { ProtocolTask } from "./protocol-client.ts";

export const ROOT = resolve(import.meta.dirname, "../..");
export const BOOKSTORE = join(ROOT, "examples/bookstore");
export const IMAGES = join(BOOKSTORE, "images.yaml");
/** OSM's own manifests, unchanged: not part of this repository. */
export const OSM_MANIFESTS = resolve(process.env["HEDDLE_OSM_MANIFESTS"] ?? join(ROOT, "../shared/osm-manifests"));

/** Why live tests cannot run here; undefined when they can. In CI a missing part is a failure of its own. */
export function cannotRunLive(): string | undefined {
  if (process.platform !== "linux") return "live tests need Linux";
  if (process.getuid?.() !== 0) return "live tests need root, for network namespaces";
  return undefined;
}

/** A part that this machine lacks: said loudly, and a failure in CI. */
export function lacking(reason: string | undefined): boolean {
  if (reason === undefined) return false;
  if (process.env["CI"] === "true") throw new Error(`${reason}; with CI=true that is a failure`);
  console.error(`\n!!! SKIPPED: ${reason}\n`);
  return true;
}

export const osmManifestsMissing = (): string | undefined =>
  existsSync(join(OSM_MANIFESTS, "apps"))
    ? undefined
    : `OSM's manifests are not in ${OSM_MANIFESTS} (HEDDLE_OSM_MANIFESTS)`;

/** A client inside one pod. */
export class PodClient {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (result: never) => void; reject: (error: Error) => void }>();
  #next = 1;

  constructor(child: ChildProcess) {
    this.#child = child;
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
      const { id, result, failure } = JSON.parse(line) as { id: number; result?: never; failure?: string };
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (failure !== undefined) waiting?.reject(new Error(failure));
      else waiting?.resolve(result as never);
    });
    child.once("exit", (code) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the pod's client ended (${code})`));
    });
  }

  #do<R>(task: Task | ProtocolTask): Promise<R> {
    const id = this.#next++;
    return new Promise<R>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve, reject });
      this.#child.stdin?.write(`${JSON.stringify({ id, task })}\n`);
    });
  }

  http(url: string, more: Omit<HttpCall, "op" | "url"> = {}): Promise<HttpResult> {
    return this.#do({ op: "http", url, ...more });
  }
  count(url: string, count: number, more: Partial<Load> = {}): Promise<LoadResult> {
    return this.#do({ op: "load", url, workers: 4, ...more, count });
  }
  async load(url: string, more: Partial<Omit<Load, "count">> = {}): Promise<{ stop(): Promise<LoadResult> }> {
    const { started } = await this.#do<{ started: number }>({ op: "load", url, workers: 4, ...more });
    return { stop: () => this.#do({ op: "stop-load", load: started }) };
  }
  tcp(host: string, port: number, send: string, keep?: string): Promise<BytesResult> {
    return this.#do({ op: "tcp", host, port, send, ...(keep === undefined ? {} : { keep }) });
  }
  send(keep: string, line: string): Promise<BytesResult> {
    return this.#do({ op: "send", keep, send: line });
  }
  closed(keep: string): Promise<unknown> {
    return this.#do({ op: "closed", keep });
  }
  tls(task: Omit<Extract<Task, { op: "tls" }>, "op">): Promise<BytesResult> {
    return this.#do({ op: "tls", ...task });
  }
  /** For clients that run `protocol-client.ts`. */
  speak(task: ProtocolTask): Promise<unknown> {
    return this.#do(task);
  }
  end(): void {
    this.#child.stdin?.end();
  }
}

export class LiveMesh {
  readonly dir: string;
  readonly mesh: LocalMesh;
  readonly #clients: PodClient[] = [];

  private constructor(dir: string, mesh: LocalMesh) {
    this.dir = dir;
    this.mesh = mesh;
  }

  /** @param files - names in the folder → a path to copy, or (with a line break) the text itself; `images.yaml` is the bookstore's if it is none of them */
  static async start(files: Readonly<Record<string, string>>): Promise<LiveMesh> {
    const dir = mkdtempSync(join(tmpdir(), "heddle-live-"));
    try {
      for (const [name, from] of Object.entries(files)) place(dir, name, from);
      const say = () => {};
      const images = "images.yaml" in files ? {} : { images: IMAGES };
      const mesh = await startLocalMesh({ dir, ...images, log: createLog("warn"), say });
      return new LiveMesh(dir, mesh);
    } catch (error) {
      rmSync(dir, { recursive: true, force: true });
      throw error;
    }
  }

  /** Writes a file as an editor does: beside it, then renamed over it. */
  write(name: string, from: string): void {
    place(this.dir, name, from);
  }
  remove(name: string): void {
    rmSync(join(this.dir, name), { recursive: true });
  }

  /** The first pod of an account, `namespace/serviceaccount`, or whose name begins so. */
  pod(which: string) {
    const found = this.mesh
      .pods()
      .find(({ manifest: { metadata, spec } }) =>
        which.includes("/")
          ? which === `${metadata.namespace}/${spec.serviceAccountName}`
          : metadata.name.startsWith(which),
      );
    if (!found)
      throw new Error(
        `no pod ${which}: ${this.mesh
          .pods()
          .map((p) => p.manifest.metadata.name)
          .join(", ")}`,
      );
    return found;
  }

  async ready(): Promise<void> {
    await until(
      "every pod is ready",
      () => this.mesh.pods().length > 0 && this.mesh.pods().every((p) => p.status?.ready),
      60_000,
    );
  }

  async client(prefix: string, program = "pod-client.ts"): Promise<PodClient> {
    const { metadata } = this.pod(prefix).manifest;
    const found = await until(`the record has pod ${prefix}`, () => {
      const record = readRecord(this.mesh.id)?.pods.find(
        (p) => p.namespace === metadata.namespace && p.name === metadata.name,
      );
      const container = record?.containers.find((c) => c.name !== "envoy");
      return record && container ? { record, container } : undefined;
    });
    const script = join(import.meta.dirname, program);
    const { command, args, env } = execCommand(found.record, found.container, [process.execPath, script]);
    const child = spawn(command, [...args], { env: { ...env }, stdio: ["pipe", "pipe", "inherit"] });
    const client = new PodClient(child);
    this.#clients.push(client);
    return client;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.end();
    await this.mesh.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function place(dir: string, name: string, from: string): void {
  const path = join(dir, name);
  mkdirSync(dirname(path), { recursive: true });
  const beside = join(dir, `.${basename(name)}.new`);
  if (from.includes("\n")) writeFileSync(beside, from);
  else cpSync(from, beside);
  renameSync(beside, path);
}

/** Asks until the answer is something; fails in words. */
export async function until<T>(what: string, ask: () => T | Promise<T>, ms = 15_000): Promise<NonNullable<T>> {
  const end = Date.now() + ms;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`after ${ms} ms still not so: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export const text = (path: string): string => readFileSync(path, "utf8");
