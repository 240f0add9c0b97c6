/**
 * A database of one number, by lines of text over TCP. Like MySQL it speaks first.
 *
 *     ← BOOKS 1            greeting: version of the protocol
 *     → ADD 3              ← TOTAL 3
 *     → GET                ← TOTAL 3
 *     → anything else      ← ERROR …
 */
import { createServer, type AddressInfo } from "node:net";
import { log } from "./caller.ts";
import { portArgument } from "./serving.ts";

const LONGEST_LINE = 100;
const port = portArgument(3306);
let total = 0;

const server = createServer((socket) => {
  let text = "";
  socket.setEncoding("utf8").on("error", () => socket.destroy());
  socket.write("BOOKS 1\n");
  socket.on("data", (chunk: string) => {
    const lines = (text + chunk).split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) socket.write(`${answer(line.trim())}\n`);
    if (text.length > LONGEST_LINE) socket.end("ERROR line too long\n");
  });
});

function answer(line: string): string {
  const amount = /^ADD (\d{1,9})$/.exec(line)?.[1];
  if (amount !== undefined) total += Number(amount);
  else if (line !== "GET") return "ERROR say ADD <number> or GET";
  return `TOTAL ${total}`;
}

server.on("error", (error) => {
  console.error(`database: ${error.message}`);
  process.exit(1);
});
server.listen(port, () => log(`database listens on port ${(server.address() as AddressInfo).port}`));
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => process.exit(0));
