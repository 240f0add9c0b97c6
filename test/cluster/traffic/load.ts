/**
 * `node load.ts URL RATE`: so many requests a second, whatever becomes of those before (open loop), until its standard input ends. Then it
 * waits for the answers that are missing and prints a `LoadResult`. Before that it prints a line when the first answer has come.
 *
 * Every second request is a POST with a body, every twentieth one with a large body; every tenth has a connection of its own, the others share
 * kept ones. An answer counts only if it is 200 and says how many bytes were sent. A program of its own: it imports nothing but Node.
 */
import { Agent, request } from "node:http";

export interface Failure {
  /** ISO time of the request, and milliseconds until it failed. */
  readonly at: string;
  readonly ms: number;
  readonly method: string;
  readonly bytes: number;
  readonly fresh: boolean;
  /** 0: no answer. */
  readonly status: number;
  readonly why: string;
}

export interface LoadResult {
  readonly sent: number;
  readonly ok: number;
  /** Answers by status; 0 counts those without an answer. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Good answers by the pod that gave them. */
  readonly pods: Readonly<Record<string, number>>;
  /** The first hundred. */
  readonly failures: readonly Failure[];
  /** Milliseconds from the first request to the last answer, and of the slowest good answer. */
  readonly ms: number;
  readonly slowest: number;
}

/** Milliseconds after which a request without an answer has failed. */
const PATIENCE = 30_000;

const [target = "", rate = "200"] = process.argv.slice(2);
const url = new URL(target);
const agent = new Agent({ keepAlive: true, maxSockets: 64 });
const small = Buffer.alloc(1_000, "a");
const large = Buffer.alloc(100_000, "b");

let sent = 0;
let answered = 0;
let ok = 0;
let slowest = 0;
const statuses: Record<string, number> = {};
const pods: Record<string, number> = {};
const failures: Failure[] = [];
const pending = new Set<Promise<void>>();

function send(n: number): Promise<void> {
  const body = n % 2 === 0 ? undefined : n % 20 === 1 ? large : small;
  const fresh = n % 10 === 3;
  const [method, bytes] = body ? ["POST", body.length] : ["GET", 0];
  const [at, begin] = [new Date().toISOString(), performance.now()];
  return new Promise((resolve) => {
    const done = (status: number, why: string, pod = ""): void => {
      const ms = Math.round(performance.now() - begin);
      statuses[status] = (statuses[status] ?? 0) + 1;
      if (answered++ === 0) console.log("begun");
      if (why === "") {
        ok++;
        pods[pod] = (pods[pod] ?? 0) + 1;
        slowest = Math.max(slowest, ms);
      } else if (failures.length < 100) failures.push({ at, ms, method, bytes, fresh, status, why });
      resolve();
    };
    const headers = body ? { "content-length": bytes } : {};
    const outgoing = request(url, { method, headers, agent: fresh ? false : agent, timeout: PATIENCE });
    outgoing.on("timeout", () => outgoing.destroy(new Error(`no answer within ${PATIENCE / 1000} s`)));
    outgoing.on("error", (error) => done(0, String(error)));
    outgoing.on("response", (response) => {
      const status = response.statusCode ?? 0;
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("error", (error) => done(0, `the answer broke off: ${String(error)}`));
      response.on("end", () => {
        if (status !== 200) return done(status, text.slice(0, 200));
        const { pod, bytes: read } = JSON.parse(text) as { pod: string; bytes: number };
        done(status, read === bytes ? "" : `it was told of ${read} bytes of ${bytes}`, pod);
      });
    });
    outgoing.end(body);
  });
}

const start = performance.now();
const timer = setInterval(() => {
  const due = ((performance.now() - start) * Number(rate)) / 1000;
  while (sent < due) {
    const one = send(sent++);
    pending.add(one);
    void one.then(() => pending.delete(one));
  }
}, 5);

process.stdin.resume();
process.stdin.on("end", () => {
  clearInterval(timer);
  void Promise.all(pending).then(() => {
    const ms = Math.round(performance.now() - start);
    const result: LoadResult = { sent, ok, statuses, pods, failures, ms, slowest };
    console.log(JSON.stringify(result));
    process.exit(0);
  });
});
