// The smoke test's application: says which part it is and whether its sidecar was there before it.
import { existsSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";

const [role, port] = process.argv.slice(2);
const first = existsSync("/shared/sidecar");
const serve = () => {
  if (role === "sidecar") writeFileSync("/shared/sidecar", "ready");
  createServer((request, response) => response.end(JSON.stringify({ role, first, host: request.headers.host }))).listen(
    Number(port),
  );
};
// The sidecar takes its time: whoever does not wait for it comes first.
if (role === "sidecar") setTimeout(serve, 1500);
else serve();
process.on("SIGTERM", () => process.exit(0));
