/** The kubelet's probes of each kind, led through the sidecar: they say what the application says, in the time that the pod gives. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { Raw } from "../../src/sources/kubernetes/resource.ts";
import { until } from "../support/live-mesh.ts";
import { HEDDLE_IMAGE } from "./install.ts";
import { openssl, PODS, SHOP, type Market } from "./market.ts";

/** The tests' port: not the mesh's. */
const CONTROL = 9000;
const STATES = ["startup", "ready", "live"] as const;
type State = (typeof STATES)[number];

/**
 * An application whose probes answer by what it is told at CONTROL: /set?ready=0, /set?slow=MS. It begins with a startup probe that
 * fails. http at 8080, https at 8443, gRPC health at 8090, a TCP port for each state from 8081 on, and a file for each in /tmp.
 */
const APPLICATION = `const fs = require("fs"), http = require("http"), https = require("https"), http2 = require("http2"), net = require("net");
const state = { startup: 0, ready: 1, live: 1, slow: 0 }, asked = { startup: 0, ready: 0, live: 0 };
const wait = () => new Promise((done) => setTimeout(done, state.slow));
const answer = async (q, r) => {
  const name = new URL(q.url, "http://x").pathname.slice(1);
  asked[name]++; await wait(); r.writeHead(state[name] ? 200 : 503).end();
};
http.createServer(answer).listen(8080);
https.createServer({ key: process.env.KEY, cert: process.env.CERTIFICATE }, answer).listen(8443);
http2.createServer().on("stream", (stream) => {
  const parts = [];
  stream.on("data", (part) => parts.push(part)).on("end", async () => {
    const body = Buffer.concat(parts), name = body.subarray(7, 7 + body[6]).toString();
    asked[name]++; await wait();
    if (stream.destroyed) return;
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end(Buffer.from([0, 0, 0, 0, 2, 8, state[name] ? 1 : 2]));
  }).on("error", () => {});
}).listen(8090);
const ports = {};
["startup", "ready", "live"].forEach((name, i) => ports[name] = { port: 8081 + i, server: net.createServer((s) => { asked[name]++; s.end(); }) });
const apply = () => { for (const [name, { port, server }] of Object.entries(ports)) {
  if (state[name]) { if (!server.listening) server.listen(port); fs.writeFileSync("/tmp/" + name, ""); }
  else { if (server.listening) server.close(); fs.rmSync("/tmp/" + name, { force: true }); }
} };
apply();
http.createServer((q, r) => {
  for (const [key, value] of new URL(q.url, "http://x").searchParams) state[key] = Number(value);
  apply(); r.end(JSON.stringify({ state, asked }));
}).listen(${CONTROL})`;

const KINDS = {
  http: (state: State) => ({ httpGet: { path: `/${state}`, port: 8080 } }),
  https: (state: State) => ({ httpGet: { path: `/${state}`, port: 8443, scheme: "HTTPS" } }),
  tcp: (state: State) => ({ tcpSocket: { port: 8081 + STATES.indexOf(state) } }),
  grpc: (state: State) => ({ grpc: { port: 8090, service: state } }),
  exec: (state: State) => ({ exec: { command: ["test", "-f", `/tmp/${state}`] } }),
} as const;
type Kind = keyof typeof KINDS;

interface Status {
  readonly podIP?: string;
  readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  readonly containerStatuses?: readonly { name: string; started?: boolean; restartCount: number }[];
}

export function probes(open: () => Market): void {
  describe("probes through the sidecar", () => {
    let shop: Market;
    beforeAll(async () => {
      shop = open();
      const directory = mkdtempSync(join(tmpdir(), "heddle-probes-"));
      const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "k"];
      openssl(directory, "req", "-x509", ...key, "-out", "c", "-subj", "/CN=nobody", "-days", "1");
      const [CERTIFICATE, KEY] = ["c", "k"].map((name) => readFileSync(join(directory, name), "utf8"));
      rmSync(directory, { recursive: true });
      const env = Object.entries({ CERTIFICATE, KEY }).map(([name, value]) => ({ name, value }));
      const pod = (name: string, kind: Kind, readiness: object): Raw => ({
        apiVersion: "v1",
        kind: "Pod",
        metadata: {
          name: `probed-${name}`,
          namespace: SHOP,
          annotations: { "openservicemesh.io/inbound-port-exclusion-list": String(CONTROL) },
        },
        spec: {
          serviceAccountName: "store",
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              name: "app",
              image: HEDDLE_IMAGE,
              command: ["node", "-e", APPLICATION],
              env,
              startupProbe: { ...KINDS[kind]("startup"), periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 600 },
              readinessProbe: { ...KINDS[kind]("ready"), periodSeconds: 1, failureThreshold: 1, ...readiness },
              livenessProbe: { ...KINDS[kind]("live"), periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 2 },
            },
          ],
        },
      });
      const all = (Object.keys(KINDS) as Kind[]).map((kind) => pod(kind, kind, { timeoutSeconds: 20 }));
      const quick = (["http", "grpc"] as const).map((kind) => pod(`quick-${kind}`, kind, { timeoutSeconds: 2 }));
      await shop.kubectlApply(...all, ...quick);
    }, 60_000);

    const status = async (name: string): Promise<Status> => (await shop.get(PODS, `probed-${name}`))?.["status"] ?? {};
    const app = async (name: string) => (await status(name)).containerStatuses?.find((one) => one.name === "app");
    const isReady = async (name: string) =>
      (await status(name)).conditions?.some((c) => c.type === "Ready" && c.status === "True") ?? false;
    const ready = (name: string) => until(`${name} is ready`, () => isReady(name), 90_000);
    const unready = (name: string) => until(`${name} is not ready`, async () => !(await isReady(name)), 60_000);
    /** Tells the application; the answer is how often it was asked. */
    const set = async (name: string, query: string): Promise<Readonly<Record<State, number>>> => {
      const url = async () => `http://${(await status(name)).podIP}:${CONTROL}/set?${query}`;
      const body = await until(`${name} listens`, async () => shop.fetch(await url()).catch(() => ""), 90_000);
      return (JSON.parse(body) as { asked: Record<State, number> }).asked;
    };

    test.concurrent.each(Object.keys(KINDS) as Kind[])(
      "%s: the startup probe holds the pod back, readiness comes and goes, and liveness restarts it",
      async (kind) => {
        await set(kind, "");
        if (kind !== "tcp" && kind !== "exec")
          await until("it was asked whether it has started", async () => (await set(kind, "")).startup > 1, 60_000);
        expect(await app(kind)).toMatchObject({ started: false, restartCount: 0 });
        await set(kind, "startup=1");
        await ready(kind);
        await set(kind, "ready=0");
        await unready(kind);
        await set(kind, "ready=1");
        await ready(kind);
        expect(await app(kind)).toMatchObject({ started: true, restartCount: 0 });
        await set(kind, "live=0");
        await until("it is restarted", async () => ((await app(kind))?.restartCount ?? 0) > 0, 60_000);
        await until("it begins anew", async () => (await set(kind, "startup=1")).live === 0, 60_000);
        await ready(kind);
      },
    );

    test.concurrent.each(["http", "grpc"] as const)(
      "%s: the probe's own time-out is kept, long or short",
      async (kind) => {
        const quick = `quick-${kind}`;
        await set(quick, "startup=1");
        await ready(quick);
        await set(quick, "slow=5000");
        await unready(quick);
        await set(quick, "slow=0");
        await ready(quick);
      },
    );

    test("an answer within a long time-out is waited for", async () => {
      await set("https", "startup=1");
      await ready("https");
      const before = (await set("https", "slow=3000")).ready;
      await until("two slow answers", async () => (await set("https", "")).ready > before + 2, 60_000);
      expect(await isReady("https")).toBe(true);
      await shop.kubectl("delete", "pods", "-n", SHOP, "--force", ...PROBED);
    });
  });
}

const PROBED = [...Object.keys(KINDS), "quick-http", "quick-grpc"].map((name) => `probed-${name}`);
