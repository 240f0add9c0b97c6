/**
 * The other end of `protocol-server.ts`: does in a pod what a test tells it, over lines of JSON on its standard input and output.
 * A program of its own.
 */
import { lookup } from "node:dns/promises";
import { request } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { createInterface } from "node:readline";
import { Client, credentials } from "@grpc/grpc-js";
import { ECHO } from "./grpc-echo.ts";

export type ProtocolTask =
  /** Answers with the address of a name. */
  | { readonly op: "resolve"; readonly name: string }
  /** HTTP/2 without TLS and without asking first: several requests at once on one connection. */
  | { readonly op: "h2c"; readonly origin: string; readonly paths: readonly string[] }
  | { readonly op: "grpc"; readonly host: string; readonly method: "Say" | "Secret"; readonly text: string }
  | { readonly op: "grpc-count"; readonly host: string; readonly count: number }
  /** Sends one message after the other, each when the last one has come back. */
  | { readonly op: "grpc-talk"; readonly host: string; readonly texts: readonly string[] }
  | { readonly op: "websocket"; readonly url: string; readonly texts: readonly string[] }
  /** Answers with what the server says first, and then with what it says to `send`. */
  | { readonly op: "server-first"; readonly host: string; readonly port: number; readonly send: string }
  /** Sends, says that it has no more to say, and answers with all that comes until the server has none either. */
  | { readonly op: "half-close"; readonly host: string; readonly port: number; readonly send: string }
  /** Uploads until nobody takes any more, asks for `release`, uploads the rest. */
  | { readonly op: "upload"; readonly url: string; readonly bytes: number; readonly release: string }
  | { readonly op: "download"; readonly url: string }
  /** Opens a stream of events, and has each event made by a call to `emit` once the last one has come. */
  | { readonly op: "events"; readonly url: string; readonly emit: string; readonly count: number };

/** Milliseconds without progress after which an upload is taken to be held up. */
const PATIENCE = 500;
const DEADLINE = 20_000;

async function run(task: ProtocolTask): Promise<unknown> {
  switch (task.op) {
    case "resolve":
      return (await lookup(task.name)).address;
    case "h2c":
      return h2c(task.origin, task.paths);
    case "grpc":
    case "grpc-count":
    case "grpc-talk":
      return grpc(task);
    case "websocket":
      return webSocket(task.url, task.texts);
    case "server-first":
      return serverFirst(task);
    case "half-close":
      return halfClose(task);
    case "upload":
      return upload(task);
    case "download":
      return download(task.url);
    case "events":
      return events(task);
  }
}

async function h2c(origin: string, paths: readonly string[]): Promise<unknown> {
  const session = connectHttp2(origin);
  const ask = (path: string) =>
    new Promise((resolve, reject) => {
      const stream = session.request({ ":path": path });
      let status = 0;
      let body = "";
      stream.on("response", (headers) => (status = Number(headers[":status"])));
      stream.setEncoding("utf8").on("data", (text: string) => (body += text));
      stream.on("end", () => resolve({ status, body }));
      stream.on("error", reject);
    });
  session.on("error", () => {});
  try {
    return await Promise.all(paths.map(ask));
  } finally {
    session.destroy();
  }
}

async function grpc(task: Extract<ProtocolTask, { op: `grpc${string}` }>): Promise<unknown> {
  const client = new Client(task.host, credentials.createInsecure());
  const options = { deadline: Date.now() + DEADLINE };
  const pass = (bytes: Buffer) => bytes;
  try {
    if (task.op === "grpc") {
      return await new Promise((resolve) =>
        client.makeUnaryRequest(ECHO[task.method].path, pass, pass, Buffer.from(task.text), options, (error, reply) =>
          resolve(error ? { code: error.code, details: error.details } : { code: 0, text: reply?.toString() }),
        ),
      );
    }
    const received: string[] = [];
    if (task.op === "grpc-count") {
      const of = Buffer.from(String(task.count));
      const call = client.makeServerStreamRequest(ECHO.Count.path, pass, pass, of, options);
      for await (const message of call) received.push((message as Buffer).toString());
      return received;
    }
    const call = client.makeBidiStreamRequest(ECHO.Talk.path, pass, pass, options);
    for (const text of task.texts) {
      const answered = new Promise<Buffer>((resolve, reject) => call.once("data", resolve).once("error", reject));
      call.write(Buffer.from(text));
      received.push((await answered).toString());
    }
    call.end();
    return received;
  } finally {
    client.close();
  }
}

function webSocket(url: string, texts: readonly string[]): Promise<unknown> {
  const left = [...texts];
  const received: string[] = [];
  return new Promise((resolve) => {
    const socket = new WebSocket(url);
    const next = () => {
      const text = left.shift();
      if (text === undefined) socket.close();
      else socket.send(text);
    };
    socket.addEventListener("open", next);
    socket.addEventListener("message", ({ data }) => {
      received.push(String(data));
      next();
    });
    socket.addEventListener("error", () => resolve({ received, failed: true }));
    socket.addEventListener("close", () => resolve({ received }));
  });
}

function serverFirst({ host, port, send }: { host: string; port: number; send: string }): Promise<unknown> {
  const received: string[] = [];
  return new Promise((resolve) => {
    const socket = connectTcp(port, host);
    socket.setTimeout(DEADLINE, () => socket.destroy());
    socket.setEncoding("utf8").on("data", (text: string) => {
      if (received.push(text) === 1) socket.write(send);
      else socket.end();
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(received));
  });
}

function halfClose({ host, port, send }: { host: string; port: number; send: string }): Promise<unknown> {
  let received = "";
  return new Promise((resolve) => {
    const socket = connectTcp({ port, host, allowHalfOpen: true });
    socket.setTimeout(DEADLINE, () => socket.destroy(new Error("timed out")));
    socket.setEncoding("utf8").on("data", (text: string) => (received += text));
    socket.on("error", (error) => resolve({ received, error: error.message }));
    socket.on("end", () => resolve({ received }));
    socket.end(send);
  });
}

async function upload({ url, bytes, release }: Extract<ProtocolTask, { op: "upload" }>): Promise<unknown> {
  const sent = request(url, { method: "POST", headers: { "content-length": bytes } });
  const answered = new Promise<{ status: number; body: string }>((resolve, reject) => {
    sent.on("error", reject).on("response", (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => (body += text));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
  });
  const chunk = Buffer.alloc(64 * 1024);
  let written = 0;
  let heldAt: number | undefined;
  while (written < bytes) {
    const part = chunk.subarray(0, Math.min(chunk.length, bytes - written));
    written += part.length;
    if (sent.write(part)) continue;
    const drained = new Promise((resolve) => sent.once("drain", resolve));
    if (heldAt === undefined) {
      const patience = new Promise((resolve) => setTimeout(() => resolve("held"), PATIENCE));
      if ((await Promise.race([drained, patience])) === "held") {
        heldAt = written;
        await get(release);
      }
    }
    await drained;
  }
  sent.end();
  return { ...(await answered), heldAt };
}

async function download(url: string): Promise<unknown> {
  const response = await fetch(url);
  let bytes = 0;
  for await (const chunk of response.body ?? []) bytes += (chunk as Uint8Array).length;
  return { status: response.status, bytes };
}

async function events({ url, emit, count }: Extract<ProtocolTask, { op: "events" }>): Promise<unknown> {
  const received: string[] = [];
  const stop = new AbortController();
  const response = await fetch(url, { signal: stop.signal });
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  for (let n = 1; n <= count; n++) {
    await get(`${emit}?n=${n}`);
    const { value } = await reader.read();
    received.push(Buffer.from(value ?? []).toString());
  }
  stop.abort();
  return received;
}

const get = async (url: string): Promise<string> => (await fetch(url)).text();

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const { id, task } = JSON.parse(line) as { id: number; task: ProtocolTask };
    const answer = (result: object) => process.stdout.write(`${JSON.stringify({ id, ...result })}\n`);
    run(task).then(
      (result) => answer({ result }),
      (error: unknown) => answer({ failure: String(error) }),
    );
  })
  .on("close", () => process.exit(0));
