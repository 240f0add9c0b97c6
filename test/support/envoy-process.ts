/** A real Envoy for tests, without a control plane. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { findEnvoy } from "../../src/local/envoy.ts";
import type { Json } from "./envoy-json.ts";

/** Where Envoy is; it is fetched when there is none. */
export const envoyPath = async (): Promise<string> =>
  (await findEnvoy({ env: process.env, say: () => {}, root: false })).path;

/** When something made for a test is to go. */
export type Scope = (goes: () => void | Promise<void>) => void;

/** A directory that goes with the test. */
export function temporary(scope: Scope = onTestFinished): string {
  const directory = mkdtempSync(join(tmpdir(), "heddle-envoy-test-"));
  scope(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export interface Verdict {
  readonly accepted: boolean;
  readonly output: string;
  /** Log lines that say that a field or a default is on its way out. */
  readonly deprecated: readonly string[];
}

const deprecatedIn = (output: string): string[] =>
  output.split("\n").filter((line) => /deprecat|removed from Envoy/i.test(line));

/** What Envoy's own validator says of a bootstrap. */
export function validate(envoy: string, bootstrap: Json): Verdict {
  const path = join(temporary(), "bootstrap.json");
  writeFileSync(path, JSON.stringify(bootstrap));
  const { status, stdout, stderr } = spawnSync(envoy, ["--mode", "validate", "-l", "warning", "-c", path], {
    encoding: "utf8",
    timeout: 30_000,
  });
  const output = `${stdout}${stderr}`;
  return { accepted: status === 0, output, deprecated: deprecatedIn(output) };
}

/** An Envoy that runs until the test ends, or as long as the scope that is given. */
export class EnvoyProcess {
  readonly directory: string;
  readonly adminPath: string;
  readonly #logPath: string;
  readonly #scope: Scope;
  #child: ChildProcess | undefined;

  constructor(scope: Scope = onTestFinished) {
    this.#scope = scope;
    this.directory = temporary(scope);
    this.adminPath = join(this.directory, "admin");
    this.#logPath = join(this.directory, "log");
  }

  /** @param before - what goes before the program's name, as `nsenter …`; `more` flags of Envoy */
  start(envoy: string, bootstrap: Json, before: readonly string[] = [], more: readonly string[] = []): void {
    const path = join(this.directory, "bootstrap.json");
    writeFileSync(path, JSON.stringify(bootstrap));
    const flags = [
      "-c",
      path,
      "--use-dynamic-base-id",
      "--concurrency",
      "1",
      "-l",
      "warning",
      "--log-path",
      this.#logPath,
      ...more,
    ];
    const [program = envoy, ...args] = [...before, envoy, ...flags];
    const child = spawn(program, args, { stdio: "ignore" });
    this.#child = child;
    this.#scope(async () => {
      if (child.exitCode !== null) return;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
    });
  }

  get log(): string {
    try {
      return readFileSync(this.#logPath, "utf8");
    } catch {
      return "";
    }
  }

  get deprecated(): readonly string[] {
    return deprecatedIn(this.log);
  }

  /** Asks the admin interface; undefined while it does not answer. */
  admin(path: string): Promise<string | undefined> {
    return new Promise((resolve) => {
      const call = request({ socketPath: this.adminPath, path }, (response) => {
        let body = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
        response.on("end", () => resolve(body));
        response.on("error", () => resolve(undefined));
      });
      call.on("error", () => resolve(undefined)).end();
    });
  }

  /** Asks again and again until the statistics fit. Envoy tells nobody when it is done. */
  async until(
    what: string,
    fits: (stats: ReadonlyMap<string, number>) => boolean,
    ms = 20_000,
  ): Promise<ReadonlyMap<string, number>> {
    const end = Date.now() + ms;
    for (;;) {
      const stats = await this.stats();
      if (fits(stats)) return stats;
      if (this.#child?.exitCode !== null) throw new Error(`Envoy ended while we waited for ${what}:\n${this.log}`);
      if (Date.now() > end)
        throw new Error(
          `Envoy: no ${what} within ${ms} ms:\n${this.log}\n${[...stats].map((s) => s.join(": ")).join("\n")}`,
        );
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async stats(): Promise<ReadonlyMap<string, number>> {
    const text = (await this.admin("/stats")) ?? "";
    return new Map(
      text.split("\n").flatMap((line) => {
        const colon = line.lastIndexOf(": ");
        return colon < 0 ? [] : [[line.slice(0, colon), Number(line.slice(colon + 2))] as const];
      }),
    );
  }
}

export const live = (stats: ReadonlyMap<string, number>): boolean =>
  stats.get("server.state") === 0 && stats.get("listener_manager.workers_started") === 1;

/** Statistics of configuration that Envoy refused. */
export const rejections = (stats: ReadonlyMap<string, number>): string[] =>
  [...stats]
    .filter(
      ([name, value]) =>
        /update_rejected|update_failure|init_fetch_timeout|key_rotation_failed/.test(name) && value > 0,
    )
    .map(([name, value]) => `${name}: ${value}`);
