/** Health, metrics and debug pages, as a browser, a scraper and the command line see them. */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { request, type IncomingHttpHeaders } from "node:http";
import { once } from "node:events";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { plain } from "../../../src/dashboard/plain.ts";
import { startDashboard, type Dashboard, type Shown } from "../../../src/dashboard/server.ts";
import type { Inspect } from "../../../src/pipeline.ts";
import type { Log } from "../../../src/telemetry/log.ts";
import { createMetrics } from "../../../src/telemetry/metrics.ts";
import { apply, EMPTY_WORLD } from "../../../src/world/world.ts";

const KEY = "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n";
const group = { group: "shop/buyer/1", identity: "shop/buyer" };
const world = apply(EMPTY_WORLD, [
  { kind: "TCPRoute", namespace: "shop", name: "route", value: { namespace: "shop", name: "route", ports: [80] } },
]);
const pipeline = {
  world,
  mesh: { groups: new Map([[group.group, group]]), services: new Map([["shop/store", {}]]) },
  problems: [],
  published: 7,
  work: { compiled: { services: 1 }, built: {} },
  resources: (name: string) => (name === group.group ? { SDS: new Map([["service-cert", { key: KEY }]]) } : undefined),
} as unknown as Inspect;

const state: { notReady: string | undefined; fail: boolean } = { notReady: undefined, fail: false };
const logged: string[] = [];
const note = (message: string): void => void logged.push(message);
const log: Log = { debug: note, info: note, warn: note, error: note, child: () => log };
const shown: Shown = {
  pipeline,
  metrics: createMetrics(),
  notReady: () => state.notReady,
  problems: () => {
    if (state.fail) throw new Error("oh");
    return [{ code: "bad-yaml", message: "<script>alert(1)</script>" }];
  },
  pods: () => [{ name: "buyer-0" }],
  proxies: () => [{ id: "u-1", identity: "shop/buyer", group: group.group, types: { CDS: {} } }],
  decode: (resources) => resources,
};

const ends: (() => unknown)[] = [];
afterEach(async () => {
  state.notReady = undefined;
  state.fail = false;
  for (const end of ends.splice(0)) await end();
});

async function start(options: { readonly socket?: string } = {}): Promise<Dashboard & { readonly url: string }> {
  const dashboard = await startDashboard({ shown, log, listen: { port: 0 }, ...options });
  ends.unshift(() => dashboard.close());
  return dashboard as Dashboard & { url: string };
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: IncomingHttpHeaders;
}

const get = (
  to: { readonly url?: string; readonly socketPath?: string },
  path: string,
  headers: Record<string, string> = {},
  method = "GET",
): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const options = { method, headers, agent: false as const, path };
    const call = to.url === undefined ? request({ ...options, ...to }) : request(to.url, options);
    call.on("error", reject).on("response", (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => (body += text));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body, headers: response.headers }));
    });
    call.end();
  });

test("alive, and ready as soon as it is", async () => {
  const to = await start();
  expect(to.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect(await get(to, "/healthz")).toMatchObject({ status: 200, body: "ok\n" });
  expect(await get(to, "/readyz")).toMatchObject({ status: 200, body: "ready\n" });
  state.notReady = "no snapshot is published yet";
  expect(await get(to, "/readyz")).toMatchObject({ status: 503, body: "no snapshot is published yet\n" });
});

test("metrics in Prometheus' form", async () => {
  const { body, headers } = await get(await start(), "/metrics");
  expect(headers["content-type"]).toContain("text/plain");
  expect(body).toContain("# TYPE heddle_xds_streams gauge");
});

test.each([
  ["/debug/world", /"TCPRoute": \{\s+"shop": \{\s+"route": \{/],
  ["/debug/ir", /"shop\/buyer\/1": \{/],
  ["/debug/xds", /"page": "\/debug\/xds\?group=shop%2Fbuyer%2F1"/],
  ["/debug/xds?group=shop%2Fbuyer%2F1", /"service-cert"/],
  ["/debug/streams", /"CDS"/],
  ["/debug/problems", /bad-yaml/],
  ["/debug/list", /"identity": "shop\/buyer"/],
  ["/debug/work", /"published": 7/],
  ["/debug/", /"path": "\/debug\/world"/],
  ["/api/pods", /^\[\{"name":"buyer-0"\}\]\n$/],
  ["/api/proxies", /"types":\{"CDS":\{\}\}/],
  ["/api/services", /^\["shop\/store"\]\n$/],
])("%s as JSON, and the pages as HTML for a browser", async (path, says) => {
  const to = await start();
  const json = await get(to, path);
  expect(json.status).toBe(200);
  expect(json.body).toMatch(says);
  expect(JSON.parse(json.body)).toBeDefined();
  if (!path.startsWith("/debug")) return;
  const page = await get(to, path, { accept: "text/html,*/*" });
  expect(page.headers["content-type"]).toBe("text/html; charset=utf-8");
  expect(page.headers["content-security-policy"]).toContain("default-src 'none'");
  expect(page.body).toMatch(/^<!doctype html>/);
  expect(page.body).not.toContain("<script");
});

test("private keys are on no page", async () => {
  const { body } = await get(await start(), "/debug/xds?group=shop%2Fbuyer%2F1");
  expect(body).toContain("[redacted]");
  expect(body).not.toContain("BEGIN");
  expect(JSON.stringify(plain({ a: Buffer.from(KEY), privateKey: { inlineBytes: "xx" }, b: [KEY] }))).toBe(
    '{"a":"[redacted]","privateKey":{"inlineString":"[redacted]"},"b":["[redacted]"]}',
  );
});

test("names that are no names of this server, other methods and unknown pages are refused", async () => {
  const to = await start();
  expect(await get(to, "/debug/world", { host: "evil.example" })).toMatchObject({ status: 403 });
  expect(await get(to, "/debug/world", { host: "evil.example:80" })).toMatchObject({ status: 403 });
  for (const host of ["localhost", "localhost:9091", "127.0.0.1:1", "[::1]:80"])
    expect((await get(to, "/healthz", { host })).status).toBe(200);
  const post = await get(to, "/debug/world", {}, "POST");
  expect(post).toMatchObject({ status: 405, headers: { allow: "GET, HEAD" } });
  expect(await get(to, "/debug/nothing")).toMatchObject({ status: 404 });
  expect(await get(to, "/debug/xds?group=nobody")).toMatchObject({ status: 404 });
  expect(await get(to, "//")).toMatchObject({ status: 400 });
});

test("a page that fails is logged and answered; the server goes on", async () => {
  const to = await start();
  state.fail = true;
  expect(await get(to, "/debug/problems")).toMatchObject({ status: 500 });
  expect(logged.at(-1)).toContain("please report it");
  state.fail = false;
  expect(await get(to, "/debug/problems")).toMatchObject({ status: 200 });
});

test("the unix socket is for its user only", async () => {
  const directory = mkdtempSync(join(tmpdir(), "heddle-api-"));
  ends.push(() => rmSync(directory, { recursive: true }));
  const socket = join(directory, "api.sock");
  await start({ socket });
  expect(statSync(socket).mode & 0o777).toBe(0o600);
  expect(await get({ socketPath: socket }, "/api/pods", { host: "localhost" })).toMatchObject({ status: 200 });
});

test("a port that is taken is an error, and nothing stays open", async () => {
  const { url } = await start();
  await expect(startDashboard({ shown, log, listen: { port: Number(new URL(url).port) } })).rejects.toMatchObject({
    code: "EADDRINUSE",
  });
});

test("what holds itself, and names that mean something to JavaScript, print", () => {
  const loop: Record<string, unknown> = { a: 1n };
  loop["self"] = loop;
  expect(() => JSON.stringify(plain(loop))).not.toThrow();
  expect(JSON.stringify(plain(new Map([["__proto__", new Set([1])]])))).toBe('{"__proto__":[1]}');
});

test("hole: idle connections of one address keep no probe from its answer, and are ended", async () => {
  const { port } = new URL((await start()).url);
  const idle = Array.from({ length: 200 }, () => {
    const socket = connect({ host: "127.0.0.1", port: Number(port) });
    socket.on("error", () => {});
    return socket;
  });
  const ended = Promise.all(idle.map((socket) => once(socket.resume(), "close")));
  await Promise.all(idle.slice(0, 32).map((socket) => once(socket, "connect")));
  const status = await new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port, path: "/healthz", localAddress: "127.0.0.2" };
    request(options, (response) => resolve(response.resume().statusCode))
      .on("error", reject)
      .end();
  });
  expect(status).toBe(200);
  await ended;
});
