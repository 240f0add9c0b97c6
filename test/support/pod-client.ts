/**
 * A client that runs inside a pod and does what a test tells it, over lines of JSON on its standard input and output.
 * A program of its own: it imports nothing but Node.
 */
import { Agent, request } from "node:http";
import { connect as connectTcp, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { connect as connectTls } from "node:tls";

export interface HttpCall {
  readonly op: "http";
  readonly url: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Calls with the same name share one kept-open connection. */
  readonly connection?: string;
}
/** Calls again and again until told to stop; `count`: so many calls and no more. */
export interface Load {
  readonly op: "load";
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly workers: number;
  readonly count?: number;
  /** Milliseconds between the calls of one worker. */
  readonly pause?: number;
}
export type Task =
  | HttpCall
  | Load
  | { readonly op: "stop-load"; readonly load: number }
  /** Opens a TCP connection, sends a line and answers with the first bytes that come back. */
  | { readonly op: "tcp"; readonly host: string; readonly port: number; readonly send: string; readonly keep?: string }
  /** Sends on a kept connection and answers with the next bytes. */
  | { readonly op: "send"; readonly keep: string; readonly send: string }
  /** Resolves when a kept connection is closed by the other side. */
  | { readonly op: "closed"; readonly keep: string }
  | {
      readonly op: "tls";
      readonly host: string;
      readonly port: number;
      readonly cert: string;
      readonly key: string;
      readonly servername: string;
      readonly send: string;
    };

export interface HttpResult {
  /** 0: no answer. */
  readonly status: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly error?: string;
  /** Which connection of the client: equal numbers are one connection. */
  readonly socket: number;
}
export interface LoadResult {
  /** Answers by status; `0` counts errors. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Answers by the server's `identity` header. */
  readonly identities: Readonly<Record<string, number>>;
  readonly errors: readonly string[];
}
export interface BytesResult {
  readonly received: string;
  readonly error?: string;
}

const agents = new Map<string, Agent>();
const kept = new Map<string, Socket>();
const sockets = new WeakMap<object, number>();
const loads = new Map<number, { stop: boolean; done: Promise<LoadResult> }>();
let socketCount = 0;

function agentOf(name: string): Agent {
  let agent = agents.get(name);
  if (!agent) agents.set(name, (agent = new Agent({ keepAlive: true, maxSockets: 1 })));
  return agent;
}

function http(call: HttpCall): Promise<HttpResult> {
  return new Promise((resolve) => {
    const agent = call.connection === undefined ? new Agent({ keepAlive: false }) : agentOf(call.connection);
    let socket = 0;
    const fail = (error: Error) => resolve({ status: 0, body: "", headers: {}, error: error.message, socket });
    const req = request(call.url, {
      method: call.method ?? "GET",
      headers: { ...call.headers },
      agent,
      timeout: 10_000,
    });
    req.on("socket", (s) => {
      if (!sockets.has(s)) sockets.set(s, ++socketCount);
      socket = sockets.get(s) ?? 0;
    });
    req.on("timeout", () => req.destroy(new Error("timed out")));
    req.on("error", fail);
    req.on("response", (res) => {
      let body = "";
      res.setEncoding("utf8");
      res.on("data", (text: string) => (body += text));
      res.on("error", fail);
      res.on("end", () => {
        const headers = Object.fromEntries(Object.entries(res.headers).map(([k, v]) => [k, String(v)]));
        resolve({ status: res.statusCode ?? 0, body, headers, socket });
      });
    });
    req.end(call.body);
  });
}

function load(id: number, task: Load): { stop: boolean; done: Promise<LoadResult> } {
  const statuses: Record<string, number> = {};
  const identities: Record<string, number> = {};
  const errors: string[] = [];
  let left = task.count ?? Number.POSITIVE_INFINITY;
  const state = { stop: false, done: Promise.resolve<LoadResult>({ statuses, identities, errors }) };
  const worker = async (n: number) => {
    while (!state.stop && left-- > 0) {
      const result = await http({
        op: "http",
        url: task.url,
        headers: task.headers ?? {},
        connection: `load-${id}-${n}`,
      });
      statuses[result.status] = (statuses[result.status] ?? 0) + 1;
      const identity = result.headers["identity"] ?? "";
      identities[identity] = (identities[identity] ?? 0) + 1;
      if (result.status !== 200 && errors.length < 20)
        errors.push(`${result.status} ${result.error ?? result.body.slice(0, 200)}`);
      if (task.pause) await new Promise((resolve) => setTimeout(resolve, task.pause));
    }
  };
  state.done = Promise.all(Array.from({ length: task.workers }, (_, n) => worker(n))).then(() => ({
    statuses,
    identities,
    errors,
  }));
  return state;
}

function tcp(task: { host: string; port: number; send: string; keep?: string }): Promise<BytesResult> {
  return new Promise((resolve) => {
    const socket = connectTcp(task.port, task.host);
    socket.setTimeout(task.keep === undefined ? 5_000 : 0);
    if (task.keep !== undefined) kept.set(task.keep, socket);
    firstBytes(socket, resolve, task.keep === undefined);
    socket.on("connect", () => socket.write(task.send));
  });
}

function tls(task: {
  host: string;
  port: number;
  cert: string;
  key: string;
  servername: string;
  send: string;
}): Promise<BytesResult> {
  return new Promise((resolve) => {
    const { host, port, cert, key, servername } = task;
    const socket = connectTls({ host, port, cert, key, servername, ALPNProtocols: ["osm"], rejectUnauthorized: false });
    socket.setTimeout(5_000);
    firstBytes(socket, resolve, true);
    socket.on("secureConnect", () => socket.write(task.send));
  });
}

function firstBytes(socket: Socket, resolve: (result: BytesResult) => void, end: boolean): void {
  socket.on("data", (bytes) => {
    resolve({ received: bytes.toString("latin1") });
    if (end) socket.destroy();
  });
  socket.on("timeout", () => {
    resolve({ received: "", error: "timed out" });
    socket.destroy();
  });
  socket.on("error", (error) => resolve({ received: "", error: error.message }));
  socket.on("close", () => resolve({ received: "", error: "closed" }));
}

const send = (keep: string, line: string): Promise<BytesResult> =>
  new Promise((resolve, reject) => {
    const socket = kept.get(keep);
    if (!socket) return reject(new Error(`no connection ${keep}`));
    if (socket.destroyed || socket.readableEnded) return resolve({ received: "", error: "closed" });
    socket.once("data", (bytes) => resolve({ received: bytes.toString("latin1") }));
    socket.once("close", () => resolve({ received: "", error: "closed" }));
    socket.write(line);
  });

const closed = (keep: string): Promise<{ closed: true }> =>
  new Promise((resolve, reject) => {
    const socket = kept.get(keep);
    if (!socket) return reject(new Error(`no connection ${keep}`));
    if (socket.destroyed || socket.readableEnded) return resolve({ closed: true });
    socket.on("end", () => resolve({ closed: true }));
    socket.on("close", () => resolve({ closed: true }));
    socket.resume();
  });

async function run(id: number, task: Task): Promise<unknown> {
  switch (task.op) {
    case "http":
      return http(task);
    case "load": {
      const started = load(id, task);
      loads.set(id, started);
      return task.count === undefined ? { started: id } : started.done;
    }
    case "stop-load": {
      const started = loads.get(task.load);
      if (!started) throw new Error("no such load");
      started.stop = true;
      return started.done;
    }
    case "tcp":
      return tcp(task);
    case "send":
      return send(task.keep, task.send);
    case "closed":
      return closed(task.keep);
    case "tls":
      return tls(task);
  }
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const { id, task } = JSON.parse(line) as { id: number; task: Task };
    const answer = (result: object) => process.stdout.write(`${JSON.stringify({ id, ...result })}\n`);
    run(id, task).then(
      (result) => answer({ result }),
      (error: unknown) => answer({ failure: String(error) }),
    );
  })
  .on("close", () => process.exit(0));
