/** The stand-in, spoken to in every protocol that it should know. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import { connect as connectHttp2, type ClientHttp2Session, type IncomingHttpHeaders } from "node:http2";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startStandIn, type Answer, type StandIn } from "../../../src/local/stand-in.ts";

const who = { pod: "web-0", namespace: "shop", ip: "10.0.0.7", container: "web" };
let standIn: StandIn;
beforeAll(async () => {
  standIn = await startStandIn(0, who);
});
afterAll(() => standIn.close());

test("HTTP/1.1 is answered with what arrived and who answers, on one kept-open connection", async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const post = async (path: string, body: string) => {
    const call = request({ port: standIn.port, path, method: "POST", agent, headers: { "x-who": "me" } });
    call.end(body);
    const [response] = (await once(call, "response")) as [import("node:http").IncomingMessage];
    return {
      reused: call.reusedSocket,
      answer: JSON.parse(await text(response)) as Answer,
      status: response.statusCode,
    };
  };
  const first = await post("/books?id=1", "hello");
  const second = await post("/more", "x".repeat(200_000));
  agent.destroy();
  expect(first.status).toBe(200);
  expect(first.answer).toMatchObject({
    ...who,
    protocol: "HTTP/1.1",
    method: "POST",
    path: "/books?id=1",
    bodyBytes: 5,
  });
  expect(first.answer.headers["x-who"]).toBe("me");
  expect(second.answer.bodyBytes).toBe(200_000);
  expect(second.reused).toBe(true);
});

test("a request line that arrives in pieces is HTTP", async () => {
  const socket = await open();
  socket.write("GE");
  await new Promise(setImmediate);
  socket.write("T /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
  expect(await text(socket)).toContain('"path": "/slow"');
});

test("HTTP/2 with prior knowledge is answered the same", async () => {
  await withHttp2(async (session) => {
    const answers = ["/a", "/b"].map(async (path) => {
      const stream = session.request({ ":path": path, ":method": "PUT" });
      stream.end("body");
      return JSON.parse(await text(stream)) as Answer;
    });
    expect(await Promise.all(answers)).toMatchObject([
      { ...who, protocol: "HTTP/2.0", method: "PUT", path: "/a", bodyBytes: 4 },
      { ...who, protocol: "HTTP/2.0", method: "PUT", path: "/b", bodyBytes: 4 },
    ]);
  });
});

test("the gRPC health check says SERVING, other methods say UNIMPLEMENTED", async () => {
  await withHttp2(async (session) => {
    const call = async (path: string) => {
      const stream = session.request({
        ":path": path,
        ":method": "POST",
        "content-type": "application/grpc",
        te: "trailers",
      });
      stream.end(Buffer.from([0, 0, 0, 0, 0]));
      let trailers: IncomingHttpHeaders = {};
      stream.on("trailers", (headers: IncomingHttpHeaders) => (trailers = headers));
      const [headers] = (await once(stream, "response")) as [IncomingHttpHeaders];
      const chunks = await stream.toArray();
      return { body: Buffer.concat(chunks), status: trailers["grpc-status"] ?? headers["grpc-status"] };
    };
    expect(await call("/grpc.health.v1.Health/Check")).toEqual({
      body: Buffer.from([0, 0, 0, 0, 2, 8, 1]),
      status: "0",
    });
    expect(await call("/shop.Books/List")).toEqual({ body: Buffer.alloc(0), status: "12" });
  });
});

test.each(["hello\n", "GET lost in thought", "\x00\x01\xff binary", "QUIT\r\n"])(
  "%j is plain TCP and comes back",
  async (said) => {
    const socket = await open();
    socket.end(said, "latin1");
    expect((await socket.toArray()).map((chunk: Buffer) => chunk.toString("latin1")).join("")).toBe(said);
  },
);

test("half a word that could become HTTP is echoed after a while, and the connection goes on", async () => {
  const socket = await open();
  socket.write("PING");
  expect(String((await once(socket, "data"))[0])).toBe("PING");
  socket.write("GET / HTTP/1.1\r\n\r\n");
  expect(String((await once(socket, "data"))[0])).toBe("GET / HTTP/1.1\r\n\r\n");
  socket.destroy();
});

test("a client that resets harms no one", async () => {
  const socket = await open();
  socket.write("hello");
  await once(socket, "data");
  socket.resetAndDestroy();
  await once(socket, "close");
  const again = await open();
  again.end("still there?");
  expect(await text(again)).toBe("still there?");
});

test("as a program: it listens, keeps within 64 MB of its own, and ends at once on SIGTERM", async () => {
  const port = await freePort();
  const child = run(String(port));
  try {
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    expect(String(line)).toBe(`stand-in: listening on port ${port}\n`);
    const socket = connect(port, "127.0.0.1");
    socket.end("hi");
    expect(await text(socket)).toBe("hi");
    const status = await readFile(`/proc/${child.pid}/status`, "utf8").catch(() => "RssAnon: 0 kB");
    expect(Number(/RssAnon:\s+(\d+)/.exec(status)?.[1]) / 1024).toBeLessThan(64);
    child.kill("SIGTERM");
    expect((await once(child, "exit"))[0]).toBe(0);
  } finally {
    child.kill("SIGKILL");
  }
});

test("as a program without ports it stays; on a taken port it says so", async () => {
  const idle = run();
  const refused = run(String(standIn.port));
  const [said, complained, exit] = [once(idle.stdout, "data"), once(refused.stderr, "data"), once(refused, "exit")];
  try {
    expect(String((await said)[0])).toContain("no ports declared");
    expect(String((await complained)[0])).toMatch(/^stand-in: cannot listen on port \d+: .*EADDRINUSE/);
    expect((await exit)[0]).toBe(1);
    expect(idle.exitCode).toBeNull();
  } finally {
    idle.kill("SIGKILL");
    refused.kill("SIGKILL");
  }
});

const run = (...args: string[]) =>
  spawn(process.execPath, [join(import.meta.dirname, "../../../src/local/stand-in.ts"), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: {},
  });

async function open(): Promise<Socket> {
  const socket = connect({ port: standIn.port, host: "127.0.0.1", allowHalfOpen: true });
  await once(socket, "connect");
  return socket;
}

async function freePort(): Promise<number> {
  const other = await startStandIn(0, who);
  await other.close();
  return other.port;
}

async function withHttp2(use: (session: ClientHttp2Session) => Promise<void>): Promise<void> {
  const session = connectHttp2(`http://127.0.0.1:${standIn.port}`);
  try {
    await use(session);
  } finally {
    session.destroy();
  }
}
