/**
 * An application under load: answers what it has read, and ends as its environment says. A program of its own: it imports nothing but Node.
 *
 * `PORT`; `START_AFTER`: milliseconds before it listens; `WORK`: milliseconds that each answer takes; `AT_SIGTERM`: `exit` (at once, whatever
 * it is working on) or `finish` (what it is working on, and takes no more).
 */
import { createServer } from "node:http";
import { hostname } from "node:os";

const number = (name: string, otherwise: number): number => Number(process.env[name] ?? otherwise);
const work = number("WORK", 20);

const server = createServer((request, response) => {
  let bytes = 0;
  request.on("data", (chunk: Buffer) => (bytes += chunk.length));
  request.on("end", () => {
    setTimeout(() => {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify({ pod: hostname(), method: request.method, bytes }));
    }, work);
  });
});

setTimeout(() => server.listen(number("PORT", 8080)), number("START_AFTER", 0));

process.on("SIGTERM", () => {
  if (process.env["AT_SIGTERM"] !== "finish") process.exit(0);
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
