/** What the bookstore's servers share: routes by method and path, and answers that say who gives them. */
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { log } from "./caller.ts";

export interface Reply {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
}

export type Routes = Readonly<Record<string, (body: string) => Reply>>;

/** A body of a few digits is all that these servers need. */
const MAX_BODY = 1_000;

/** Serves `routes` (`GET /path` → reply) on the port of `--port`, else 14001. Every reply has the header `Identity`. */
export function serve(identity: string, routes: Routes): void {
  const port = portArgument(14001);
  const probes = ["/liveness", "/readiness", "/startup"];
  const server = createServer((request, response) => {
    const path = (request.url ?? "/").split("?", 1)[0] ?? "/";
    const route = routes[`${request.method} ${path}`];
    readBody(request).then(
      (body) => {
        const reply = probes.includes(path)
          ? { body: { ok: true } }
          : (route?.(body) ?? { status: 404, body: { error: `there is nothing at ${request.method} ${path}` } });
        response
          .writeHead(reply.status ?? 200, { "content-type": "application/json", Identity: identity, ...reply.headers })
          .end(`${JSON.stringify(reply.body)}\n`);
      },
      // The client is gone, or sent more than it should.
      () => response.destroy(),
    );
  });
  // Longer than any client keeps a connection, so that no request meets one that is being closed.
  server.keepAliveTimeout = 3_600_000;
  server.on("error", (error) => {
    console.error(`${identity}: ${error.message}`);
    process.exit(1);
  });
  server.listen(port, () => log(`${identity} listens on port ${(server.address() as AddressInfo).port}`));
  // What is being answered is answered; whoever does not leave is left after a while.
  process.on("SIGTERM", () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
    setTimeout(() => process.exit(0), 5_000).unref();
  });
  process.on("SIGINT", () => process.exit(0));
}

async function readBody(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of request) {
    body += String(chunk);
    if (body.length > MAX_BODY) throw new Error("too much");
  }
  return body;
}

/** The value of `--port N` or `--port=N`. */
export function portArgument(otherwise: number): number {
  const words = process.argv.slice(2).flatMap((word) => word.split("="));
  const port = Number(words[words.indexOf("--port") + 1]);
  return words.includes("--port") && Number.isInteger(port) && port >= 0 && port <= 65535 ? port : otherwise;
}
