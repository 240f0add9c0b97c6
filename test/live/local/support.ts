import { existsSync, readdirSync, readFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { describe } from "vitest";
import { LocalRuntime, type LocalRuntimeOptions } from "../../../src/local/runtime.ts";
import { silent } from "../../../src/telemetry/log.ts";
import { podName, type PodName } from "../../../src/world/names.ts";
import type { PodStatus } from "../../../src/world/pod.ts";

export { container, node, pod, SERVER } from "./program.ts";

const able = process.platform === "linux" && process.getuid?.() === 0;
if (!able) {
  const message = "LOCAL PODS ARE NOT TESTED: this needs Linux and root (run the tests with sudo)";
  if (process.env["CI"] === "true") throw new Error(message);
  console.warn(`\n*** ${message} ***\n`);
}

/** Tests that make network namespaces: skipped loudly without root, a failure in CI. */
export const describeAsRoot = describe.skipIf(!able);

export const named = (name: string): PodName => podName("ns", name);

/** A runtime whose events can be waited for. */
export class Watched {
  readonly lines: string[] = [];
  readonly said: string[] = [];
  readonly statuses: { name: string; status: PodStatus | undefined }[] = [];
  readonly runtime: LocalRuntime;
  readonly abort = new AbortController();
  #waiters: (() => void)[] = [];

  constructor(options: Partial<LocalRuntimeOptions> = {}) {
    this.runtime = new LocalRuntime({
      images: { resolve: (c) => ({ argv: [...(c.command ?? []), ...(c.args ?? [])], standIn: false }) },
      sidecar: () => undefined,
      log: silent,
      say: (line) => this.said.push(line),
      onStatus: (name, status) => {
        this.statuses.push({ name: name.slice(3), status });
        this.#wake();
      },
      onLine: (name, c, text) => {
        this.lines.push(`${name.slice(3)}/${c}: ${text}`);
        this.#wake();
      },
      ...options,
    });
  }

  async start(): Promise<this> {
    await this.runtime.start(this.abort.signal);
    return this;
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  /** Resolves when the test holds; it is tried at each event. */
  async until(what: string, test: () => unknown, ms = 20_000): Promise<void> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, ms);
    while (!test()) {
      if (late)
        throw new Error(
          `not within ${ms} ms: ${what}\n${JSON.stringify(this.statuses.slice(-5), undefined, 1)}\n${this.lines.slice(-10).join("\n")}`,
        );
      await new Promise<void>((wake) => this.#waiters.push(wake));
    }
    clearTimeout(timer);
  }

  status(name: string): PodStatus | undefined {
    return this.runtime.status(named(name));
  }
  ready(...names: string[]): Promise<void> {
    return this.until(`ready: ${names.join(", ")}`, () => names.every((name) => this.status(name)?.ready));
  }
  gone(name: string): Promise<void> {
    return this.until(`gone: ${name}`, () => this.statuses.findLast((s) => s.name === name)?.status === undefined);
  }
  line(text: string): Promise<void> {
    return this.until(`line: ${text}`, () => this.lines.includes(text));
  }
}

/** Everything on the machine that bears a run's id. */
export function traces(id: string): string[] {
  const list = (directory: string): string[] => (existsSync(directory) ? readdirSync(directory) : []);
  const own = (name: string): boolean => name === `heddle-${id}` || name.startsWith(`heddle-${id}-`);
  const links = execFileSync("ip", ["-o", "link"], { encoding: "utf8" });
  const routes = execFileSync("ip", ["route", "show", "table", "all"], { encoding: "utf8" });
  const claims = list("/run/heddle").filter(
    (n) => n.startsWith(".subnet-") && readFileSync(`/run/heddle/${n}`, "utf8") === id,
  );
  return [
    ...list("/run/netns")
      .filter(own)
      .map((n) => `namespace ${n}`),
    ...list("/etc/netns")
      .filter(own)
      .map((n) => `/etc/netns/${n}`),
    ...list("/run/heddle")
      .filter((n) => n === id)
      .map((n) => `/run/heddle/${n}`),
    ...claims.map((n) => `claim ${n}`),
    ...(links.includes(`hdl-${id}`) ? ["link"] : []),
    ...(routes.includes(`hdl-${id}`) ? ["route"] : []),
  ];
}

export function isRunning(pid: number): boolean {
  try {
    // A zombie is gone for us; whoever adopted it has yet to notice.
    return !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");
  } catch {
    return false;
  }
}
