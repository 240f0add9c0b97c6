/**
 * Stands in for an image that has no local command: `node stand-in.ts PORT…` answers on each port in whatever protocol it is
 * spoken to, and says what arrived and which pod answered. Imports nothing but Node, so that many of them are cheap.
 */
import { createServer as createHttp, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { createServer as createHttp2, type Http2ServerRequest, type Http2ServerResponse } from "node:http2";
import { createServer, type AddressInfo, type Socket } from "node:net";

export interface StandIn {
  readonly port: number;
  close(): Promise<void>;
}

/** What an answer says of who gives it. */
export type Who = Readonly<Record<"pod" | "namespace" | "ip" | "container", string>>;

/** What HTTP requests are answered with. */
export interface Answer extends Who {
  readonly port: number;
  readonly protocol: string;
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly bodyBytes: number;
}

const HTTP2_PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const REQUEST_LINE = /^[A-Z]{1,20} \S+ HTTP\/1\.[01]\r?\n/;
/** What a request line may look like while it arrives. */
const REQUEST_LINE_BEGUN = /^[A-Z]{1,20}( \S*( [HTP/1.01\r]*)?)?$/;
const LONGEST_REQUEST_LINE = 16_384;
/** Milliseconds after which half a word that could become HTTP is taken for plain TCP. */
const PATIENCE = 200;

const HEALTH_CHECK = "/grpc.health.v1.Health/Check";
const HEALTH_WATCH = "/grpc.health.v1.Health/Watch";
/** One gRPC message (flag, length) of HealthCheckResponse {status: SERVING}. */
const SERVING = Buffer.from([0, 0, 0, 0, 2, 0x08, 0x01]);

/** Listens on the port (0: any), on all addresses. Rejects when the port is taken. */
export async function startStandIn(port: number, who: Who): Promise<StandIn> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    // Clients go as they like.
    socket.on("error", () => socket.destroy());
    sniff(socket);
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject).listen(port, resolve);
  await promise;
  const bound = (server.address() as AddressInfo).port;

  const answer = async (request: IncomingMessage | Http2ServerRequest): Promise<string> => {
    let bodyBytes = 0;
    for await (const chunk of request) bodyBytes += (chunk as Buffer).length;
    const { method = "", url = "", headers, httpVersion } = request;
    const said: Answer = {
      ...who,
      port: bound,
      protocol: `HTTP/${httpVersion}`,
      method,
      path: url,
      headers,
      bodyBytes,
    };
    return `${JSON.stringify(said, null, 2)}\n`;
  };
  const http1 = createHttp((request, response) => {
    answer(request).then(
      (body) => response.writeHead(200, { "content-type": "application/json" }).end(body),
      () => response.destroy(),
    );
  });
  const http2 = createHttp2((request, response) => {
    if (String(request.headers["content-type"]).startsWith("application/grpc"))
      return answerGrpc(request.url, response);
    answer(request).then(
      (body) => response.writeHead(200, { "content-type": "application/json" }).end(body),
      () => response.stream.destroy(),
    );
  });
  http2.on("sessionError", () => {});

  function sniff(socket: Socket): void {
    let seen = Buffer.alloc(0);
    let patience: NodeJS.Timeout | undefined;
    const decide = (protocol: "http1" | "http2" | "tcp"): void => {
      clearTimeout(patience);
      socket.off("data", look).off("end", giveUp).pause();
      if (protocol === "tcp") {
        socket.write(seen);
        socket.pipe(socket);
        return;
      }
      if (seen.length > 0) socket.unshift(seen);
      if (protocol === "http1") {
        http1.emit("connection", socket);
        socket.resume();
      } else {
        // Takes what was put back by itself; resumed, the socket would throw it away first.
        http2.emit("connection", socket);
      }
    };
    const giveUp = (): void => decide("tcp");
    const look = (chunk: Buffer): void => {
      seen = Buffer.concat([seen, chunk]);
      const text = seen.toString("latin1");
      if (text.startsWith(HTTP2_PREFACE)) return decide("http2");
      if (REQUEST_LINE.test(text)) return decide("http1");
      const mayBecomeHttp = HTTP2_PREFACE.startsWith(text) || REQUEST_LINE_BEGUN.test(text);
      if (!mayBecomeHttp || text.length > LONGEST_REQUEST_LINE) return decide("tcp");
      patience ??= setTimeout(giveUp, PATIENCE);
    };
    socket
      .on("data", look)
      .on("end", giveUp)
      .on("close", () => clearTimeout(patience));
  }

  return {
    port: bound,
    async close() {
      const closed = new Promise((done) => server.close(done));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function answerGrpc(path: string, response: Http2ServerResponse): void {
  response.stream.on("error", () => {}).resume();
  const head = { "content-type": "application/grpc" };
  if (path !== HEALTH_CHECK && path !== HEALTH_WATCH) {
    const message = `a stand-in only knows ${HEALTH_CHECK.slice(1)}`;
    response.writeHead(200, { ...head, "grpc-status": "12", "grpc-message": message }).end();
    return;
  }
  response.writeHead(200, head);
  response.addTrailers({ "grpc-status": "0" });
  // Watch goes on until the client ends it.
  if (path === HEALTH_WATCH) response.write(SERVING);
  else response.end(SERVING);
}

async function main(): Promise<void> {
  const env = process.env;
  const who: Who = {
    pod: env["POD_NAME"] ?? "",
    namespace: env["POD_NAMESPACE"] ?? "",
    ip: env["POD_IP"] ?? "",
    container: env["CONTAINER_NAME"] ?? "",
  };
  const ports = process.argv.slice(2).map(Number);
  process.on("SIGTERM", () => process.exit(0)).on("SIGINT", () => process.exit(0));
  if (ports.length === 0) {
    console.log("stand-in: no ports declared, so nothing is served");
    setInterval(() => {}, 2 ** 30);
  }
  for (const port of ports) {
    try {
      await startStandIn(port, who);
      console.log(`stand-in: listening on port ${port}`);
    } catch (error) {
      console.error(`stand-in: cannot listen on port ${port}: ${(error as Error).message}`);
      process.exit(1);
    }
  }
}

if (import.meta.main) await main();
