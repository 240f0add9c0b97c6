import { afterAll, beforeAll, expect, test } from "vitest";
import { container, describeAsRoot, node, pod, Watched } from "./support.ts";

const HTTP = `require("http").createServer((q, s) => { s.statusCode = q.url === "/ok?a=1" && q.headers["x-probe"] === "yes" ? 200 : 500; s.end() }).listen(8080)`;
const TCP = `require("net").createServer((s) => s.destroy()).listen(8080)`;
const GRPC = `require("http2").createServer().on("stream", (s, h) => { let b = Buffer.alloc(0); s.on("data", (d) => (b = Buffer.concat([b, d]))); s.on("end", () => {
  const ok = h[":path"] === "/grpc.health.v1.Health/Check" && b.subarray(7).toString() === "books"; s.respond({ "content-type": "application/grpc" }, { waitForTrailers: true });
  s.on("wantTrailers", () => s.sendTrailers({ "grpc-status": "0" })); s.end(Buffer.from([0, 0, 0, 0, 2, 8, ok ? 1 : 2])) }) }).listen(8080)`;
const quick = { periodSeconds: 0.1, failureThreshold: 2 };
const headers = [{ name: "X-Probe", value: "yes" }];
const ports = [{ name: "web", containerPort: 8080 }];

describeAsRoot("probes", () => {
  const mesh = new Watched();
  beforeAll(async () => void (await mesh.start()));
  afterAll(() => mesh.runtime.stop());

  test("each kind succeeds on what is well", async () => {
    mesh.runtime.apply([
      pod(
        "http",
        container(HTTP, {
          ports,
          readinessProbe: { ...quick, httpGet: { port: "web", path: "/ok?a=1", httpHeaders: headers } },
        }),
      ),
      pod("tcp", container(TCP, { readinessProbe: { ...quick, tcpSocket: { port: 8080 } } })),
      pod("grpc", container(GRPC, { readinessProbe: { ...quick, grpc: { port: 8080, service: "books" } } })),
      pod("exec", container(TCP, { readinessProbe: { ...quick, exec: { command: ["/bin/sh", "-c", "exit 0"] } } })),
    ]);
    await mesh.ready("http", "tcp", "grpc", "exec");
  });

  test("each kind says in one line what is not well", async () => {
    mesh.runtime.apply([
      pod("http", container(HTTP, { readinessProbe: { ...quick, httpGet: { port: 8080, path: "/bad" } } })),
      pod("port", container(HTTP, { readinessProbe: { ...quick, httpGet: { port: "nobody" } } })),
      pod("tcp", container(TCP, { readinessProbe: { ...quick, tcpSocket: { port: 9 } } })),
      pod("grpc", container(GRPC, { readinessProbe: { ...quick, grpc: { port: 8080, service: "films" } } })),
      pod(
        "exec",
        container(TCP, { readinessProbe: { ...quick, exec: { command: ["/bin/sh", "-c", "echo too late; exit 4"] } } }),
      ),
      pod(
        "slow",
        container(TCP, { readinessProbe: { ...quick, timeoutSeconds: 0.2, exec: { command: ["/bin/sleep", "100"] } } }),
      ),
    ]);
    const reason = (name: string): string => mesh.status(name)?.reason ?? "";
    const expected: Record<string, RegExp> = {
      http: /^app: readiness probe: HTTP status 500$/,
      port: /the container has no port named "nobody"/,
      tcp: /ECONNREFUSED/,
      grpc: /not serving/,
      exec: /exit code 4: too late/,
      slow: /no answer within 0.2 s/,
    };
    for (const [name, pattern] of Object.entries(expected)) {
      await mesh.until(
        `${name}: ${pattern}`,
        () =>
          pattern.test(reason(name)) ||
          mesh.statuses.some((s) => s.name === name && pattern.test(s.status?.reason ?? "")),
      );
      expect(mesh.status(name)!.ready).toBe(false);
    }
  });

  test("a container that is found dead is restarted", async () => {
    const until = `const http = require("http");let n = 0;http.createServer((q, s) => { s.statusCode = n++ < 3 ? 200 : 500; s.end() }).listen(8080);console.log("run")`;
    mesh.runtime.apply([
      pod("dying", container(until, { livenessProbe: { ...quick, httpGet: { port: 8080 } } }), {
        terminationGracePeriodSeconds: 1,
      }),
    ]);
    await mesh.until("three runs", () => mesh.lines.filter((line) => line === "dying/app: run").length >= 3);
    expect(mesh.status("dying")!.restarts).toBeGreaterThanOrEqual(2);
    expect(mesh.lines).toContain("dying/app: liveness probe failed (HTTP status 500): restarting");
  });

  test("liveness waits for startup", async () => {
    const slow = `setTimeout(() => require("http").createServer((q, s) => s.end()).listen(8080), 1000)`;
    const httpGet = { port: 8080 };
    mesh.runtime.apply([
      pod(
        "starting",
        container(slow, {
          startupProbe: { httpGet, periodSeconds: 0.1, failureThreshold: 100 },
          livenessProbe: { httpGet, ...quick },
        }),
      ),
    ]);
    await mesh.ready("starting");
    expect(mesh.status("starting")!.restarts).toBe(0);
  });

  test("readiness comes and goes while the container runs on", async () => {
    const program = `let ok = true;process.on("SIGUSR2", () => { ok = !ok });require("http").createServer((q, s) => { s.statusCode = ok ? 200 : 503; s.end() }).listen(8080);let n = 0;setInterval(() => { if (n++ < 2) process.kill(process.pid, "SIGUSR2") }, 800)`;
    mesh.runtime.apply([
      pod("moody", { ...container(""), command: node(program), readinessProbe: { ...quick, httpGet: { port: 8080 } } }),
    ]);
    await mesh.until("ready, not ready, ready", () => {
      const seen = mesh.statuses.filter((s) => s.name === "moody").map((s) => s.status?.ready);
      const first = seen.indexOf(true);
      const then = seen.indexOf(false, first);
      return first >= 0 && then > first && seen.indexOf(true, then) > then;
    });
    expect(mesh.status("moody")!.restarts).toBe(0);
  });
});
