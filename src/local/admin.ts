/**
 * Talks to a sidecar's admin interface, which listens on its pod's loopback and is open to the prober's address only.
 */
import { request } from "node:http";

export interface AdminTarget {
  /** The pod's address. */
  readonly ip: string;
  /** The prober's address. */
  readonly from: string;
  readonly port: number;
}

export interface AdminReply {
  readonly status: number;
  readonly body: string;
}

const TIMEOUT = 5000;
/** Milliseconds between two looks at open connections. */
const LOOK_EVERY = 100;

export function admin(target: AdminTarget, path: string, method: "GET" | "POST" = "GET"): Promise<AdminReply> {
  return new Promise((resolve, reject) => {
    const outgoing = request({
      host: target.ip,
      port: target.port,
      localAddress: target.from,
      path,
      method,
      agent: false,
      timeout: TIMEOUT,
      headers: { "content-length": 0 },
    });
    outgoing.on("timeout", () => outgoing.destroy(new Error(`no answer within ${TIMEOUT / 1000} s`)));
    outgoing.on("error", reject);
    outgoing.on("response", (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => (body += text));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    outgoing.end();
  });
}

/** Resolves when nobody is connected to the sidecar's listeners any more, at the latest after `most` milliseconds. */
export async function drained(target: AdminTarget, most: number): Promise<void> {
  const end = performance.now() + most;
  while (performance.now() < end) {
    const reply = await admin(target, "/stats?filter=^listener\\.[^a].*\\.downstream_cx_active$").catch(
      () => undefined,
    );
    if (reply === undefined) return;
    const open = [...reply.body.matchAll(/: (\d+)$/gm)].reduce((sum, match) => sum + Number(match[1]), 0);
    if (open === 0) return;
    await new Promise((done) => setTimeout(done, LOOK_EVERY));
  }
}
