/**
 * Requests to an application of the cluster from inside one of its pods: load, with what became of every request, and verdicts as they change.
 * Knows no mesh.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ROOT } from "../support/live-mesh.ts";
import type { Cluster } from "./cluster.ts";
import { buildImage } from "./images.ts";
import type { LoadResult } from "./traffic/load.ts";
import type { Watched } from "./traffic/verdicts.ts";

export type { LoadResult } from "./traffic/load.ts";
export type { Watched } from "./traffic/verdicts.ts";

export const TRAFFIC_IMAGE = "docker.io/heddle/traffic:test";

export async function importTrafficImage(cluster: Cluster, say: (line: string) => void): Promise<void> {
  const folder = join(ROOT, "test/cluster/traffic");
  await cluster.importImage(await buildImage(join(folder, "Dockerfile"), folder, TRAFFIC_IMAGE, {}, say));
}

/** A container of a pod of `TRAFFIC_IMAGE`. */
export interface From {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
}

/** A program that runs in a container and is spoken to in lines. Ends with its standard input, or by `kill`. */
class Lines {
  readonly #child;
  readonly #lines;
  readonly #ended: Promise<never>;

  constructor(cluster: Cluster, { namespace, pod, container }: From, program: readonly string[]) {
    const where = ["-i", "-n", namespace, pod, "-c", container];
    const child = spawn(join(cluster.directory, "kubectl"), ["exec", ...where, "--", ...program]);
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (said = (said + text).slice(-4000)));
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.#ended = once(child, "close").then(() => {
      throw new Error(`${program.join(" ")} in pod ${pod} ended: ${said}`);
    });
    this.#ended.catch(() => {});
  }

  async next(): Promise<string> {
    const { value, done } = await Promise.race([this.#lines.next(), this.#ended]);
    return done ? this.#ended : value;
  }

  say(line: string): void {
    this.#child.stdin.write(`${line}\n`);
  }

  end(): void {
    this.#child.stdin.end();
  }
}

export interface Load {
  /** Ends it; resolves when every request has been answered or has failed. */
  stop(): Promise<LoadResult>;
}

/** Requests a second from one of the pods, until it is stopped: resolves when the first is answered. */
export async function startLoad(cluster: Cluster, from: From, url: string, rate = 200): Promise<Load> {
  const program = new Lines(cluster, from, ["node", "/traffic/load.ts", url, String(rate)]);
  await program.next();
  return {
    async stop() {
      program.end();
      return JSON.parse(await program.next()) as LoadResult;
    },
  };
}

export interface Verdicts {
  /** Resolves when it looks; `changed` resolves when the verdict has changed to this status, or this server's. */
  watch(wanted: 200 | 403 | string): Promise<{ readonly changed: Promise<Watched> }>;
  stop(): void;
}

/** Watches the verdicts on calls of a URL from one of the pods, with so many idle connections. */
export async function watchVerdicts(cluster: Cluster, from: From, url: string, idle = 8): Promise<Verdicts> {
  const program = new Lines(cluster, from, ["node", "/traffic/verdicts.ts", url, String(idle)]);
  await program.next();
  return {
    async watch(wanted) {
      program.say(String(wanted));
      await program.next();
      const changed = program.next().then((line) => JSON.parse(line) as Watched);
      changed.catch(() => {});
      return { changed };
    },
    stop: () => program.end(),
  };
}
