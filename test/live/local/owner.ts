/** A run in a process of its own, for tests that end it: `kill` waits, `throw` and `exit` end by themselves. */
import { LocalRuntime } from "../../../src/local/runtime.ts";
import { silent } from "../../../src/telemetry/log.ts";
import { container, node, pod } from "./program.ts";

const ending = process.argv[2];
const runtime = new LocalRuntime({
  images: { resolve: (c) => ({ argv: c.command ?? node(""), standIn: false }) },
  sidecar: () => undefined,
  log: silent,
  say: () => {},
  onStatus: () => {},
  onLine: (_pod, _container, line) => {
    console.log(`up ${runtime.id} ${line}`);
    if (ending === "exit") process.exit(0);
    if (ending === "throw") {
      setImmediate(() => {
        throw new Error("on purpose");
      });
    }
  },
});
await runtime.start(new AbortController().signal);
runtime.apply([
  pod("p", container(`console.log(process.pid);process.on("SIGTERM", () => {});setInterval(() => {}, 1000)`)),
]);
