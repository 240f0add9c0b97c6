/**
 * An application for live tests that speaks what real ones speak: HTTP/1.1 with WebSockets, uploads and event streams, HTTP/2 without
 * TLS, gRPC, and TCP whose server talks first. A program of its own, run in a pod.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttp2 } from "node:http2";
import { createServer as createTcp } from "node:net";
import type { Duplex } from "node:stream";
import { Server, ServerCredentials, type ServerDuplexStream, type ServerWritableStream } from "@grpc/grpc-js";
import { ECHO } from "./grpc-echo.ts";

const PORTS = { http: 8080, h2c: 8082, grpc: 50051, serverFirst: 3306 };

/** Streams of `/events`, and uploads that wait. */
const listeners = new Set<ServerResponse>();
const held = new Set<() => void>();

const said = (version: string, request: { method?: string | undefined; url?: string | undefined }) =>
  JSON.stringify({ version, method: request.method, path: request.url });

createServer((request, response) => void answer(request, response))
  .on("upgrade", webSocket)
  .listen(PORTS.http);

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://server");
  switch (pathname) {
    case "/events":
      response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
      listeners.add(response);
      response.on("close", () => listeners.delete(response));
      return;
    case "/emit":
      for (const listener of listeners) listener.write(`data: ${searchParams.get("n")}\n\n`);
      response.end(String(listeners.size));
      return;
    case "/upload":
      // Nothing is read before somebody asks for `/release`.
      await new Promise<void>((resolve) => held.add(resolve));
      response.end(String(await count(request)));
      return;
    case "/release":
      for (const release of held) release();
      held.clear();
      response.end();
      return;
    case "/download":
      await send(response, Number(searchParams.get("bytes")));
      return;
    default:
      request.resume().on("end", () => response.end(said(request.httpVersion, request)));
  }
}

async function count(request: IncomingMessage): Promise<number> {
  let bytes = 0;
  for await (const chunk of request) bytes += (chunk as Buffer).length;
  return bytes;
}

async function send(response: ServerResponse, bytes: number): Promise<void> {
  const chunk = Buffer.alloc(64 * 1024);
  for (let left = bytes; left > 0; left -= chunk.length)
    if (!response.write(chunk.subarray(0, left))) await new Promise((resolve) => response.once("drain", resolve));
  response.end();
}

/** RFC 6455 for short messages, which it sends back. */
function webSocket(request: IncomingMessage, socket: Duplex): void {
  const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash("sha1").update(key).digest("base64");
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
  );
  socket.on("error", () => {});
  socket.on("data", (frame: Buffer) => {
    const [first = 0, second = 0] = frame;
    if ((first & 0x0f) === 8) return void socket.end(Buffer.from([0x88, 0]));
    const length = second & 0x7f;
    const mask = frame.subarray(2, 6);
    const text = frame.subarray(6, 6 + length).map((byte, i) => byte ^ (mask[i % 4] ?? 0));
    socket.write(Buffer.concat([Buffer.from([0x81, length]), text]));
  });
}

createHttp2((request, response) => {
  request.resume().on("end", () => response.end(said(request.httpVersion, request)));
}).listen(PORTS.h2c);

createTcp((socket) => {
  socket.on("error", () => {});
  socket.write("welcome\n");
  socket.pipe(socket);
}).listen(PORTS.serverFirst);

const grpc = new Server();
grpc.addService(ECHO, {
  Say: (call: { request: Buffer }, done: (error: null, reply: Buffer) => void) => done(null, call.request),
  Secret: (call: { request: Buffer }, done: (error: null, reply: Buffer) => void) => done(null, call.request),
  Count: (call: ServerWritableStream<Buffer, Buffer>) => {
    for (let i = 1; i <= Number(call.request.toString()); i++) call.write(Buffer.from(String(i)));
    call.end();
  },
  Talk: (call: ServerDuplexStream<Buffer, Buffer>) => {
    call.on("data", (message: Buffer) => call.write(message)).on("end", () => call.end());
  },
});
grpc.bindAsync(`0.0.0.0:${PORTS.grpc}`, ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});
process.on("SIGTERM", () => process.exit(0));
