/**
 * Load on an application of the cluster from inside one of its pods, and what became of every request. Knows no mesh.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ROOT } from "../support/live-mesh.ts";
import type { Cluster } from "./cluster.ts";
import { buildImage } from "./images.ts";
import type { LoadResult } from "./traffic/load.ts";

export type { LoadResult } from "./traffic/load.ts";

export const TRAFFIC_IMAGE = "docker.io/heddle/traffic:test";

export async function importTrafficImage(cluster: Cluster, say: (line: string) => void): Promise<void> {
  const folder = join(ROOT, "test/cluster/traffic");
  await cluster.importImage(await buildImage(join(folder, "Dockerfile"), folder, TRAFFIC_IMAGE, {}, say));
}

export interface Load {
  /** Ends it; resolves when every request has been answered or has failed. */
  stop(): Promise<LoadResult>;
}

/** Requests from a pod of `TRAFFIC_IMAGE`: resolves when the first is answered. */
export async function startLoad(
  cluster: Cluster,
  from: { readonly namespace: string; readonly pod: string; readonly container: string },
  url: string,
  rate = 200,
): Promise<Load> {
  const where = ["-i", "-n", from.namespace, from.pod, "-c", from.container];
  const program = ["node", "/traffic/load.ts", url, String(rate)];
  const child = spawn(join(cluster.directory, "kubectl"), ["exec", ...where, "--", ...program], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const lines = createInterface({ input: child.stdout });
  const ended = once(child, "close").then(() => {
    throw new Error(`the load from ${from.pod} ended before its time: ${said}`);
  });
  ended.catch(() => {});
  const next = async (): Promise<string> => (await Promise.race([once(lines, "line"), ended]))[0] as string;
  await next();
  return {
    async stop() {
      const answer = next();
      child.stdin.end();
      return JSON.parse(await answer) as LoadResult;
    },
  };
}
