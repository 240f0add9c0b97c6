/**
 * What a real Envoy does with what `xds/` builds: a server's and a client's sidecar on loopback, fed from files, with certificates of the real CA.
 */
import { createServer, request, type IncomingHttpHeaders, type IncomingMessage, type Server } from "node:http";
import { connect as connectTcp, type Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { Authority } from "../../src/ca/authority.ts";
import type { Issued } from "../../src/ca/lifetime.ts";
import { compile } from "../../src/policy/compile.ts";
import { identity } from "../../src/world/names.ts";
import type { Change } from "../../src/world/types.ts";
import { apply, type World } from "../../src/world/world.ts";
import { Builder } from "../../src/xds/build.ts";
import { ownCertificate } from "../../src/xds/tls.ts";
import {
  app,
  namespace,
  pod,
  routeGroup,
  service,
  slice,
  split,
  target,
  type Changes,
  workload,
  world,
} from "../support/build.ts";
import { ConfigFiles, type Json, type ProxyConfig } from "../support/envoy-json.ts";
import { envoyPath, EnvoyProcess, live, rejections } from "../support/envoy-process.ts";
import { until } from "../support/live-mesh.ts";
import { memoryStore } from "../unit/ca/support.ts";

let envoy: string;
let authority: Authority;
const leaves = new Map<string, Issued>();
const stop = new AbortController();

beforeAll(async () => {
  envoy = await envoyPath();
  authority = await Authority.start({ trustDomain: "cluster.local" }, { store: memoryStore() }, stop.signal);
  for (const sa of ["api", "web", "thief"])
    leaves.set(sa, (await authority.leaf(identity("a", sa), stop.signal)).current);
  return () => stop.abort();
});

/** The application's address, and by the port those of the sidecars in front of it. */
const APP = "127.0.0.1";
const SERVER = "127.0.0.2";
const CLIENT = "127.0.0.3";
const BROKEN = "127.0.0.4";

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: IncomingHttpHeaders;
}

/** The application: answers 200 with its own `x-heddle-unprocessed`, and counts. */
async function application(): Promise<{ port: number; seen: string[]; server: Server }> {
  const seen: string[] = [];
  const server = createServer((incoming, response) => {
    seen.push(`${incoming.method} ${incoming.url}`);
    incoming.resume().on("end", () => response.writeHead(200, { "x-heddle-unprocessed": "true" }).end("app\n"));
  });
  const port = await new Promise<number>((resolve) =>
    server.listen(0, APP, () => resolve((server.address() as { port: number }).port)),
  );
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port, seen, server };
}

/** One Service on this port: web may GET below /public, and anything that has the right headers. */
function mesh(port: number, endpoints: readonly string[]): World {
  return world(
    namespace("a"),
    ...app("a/api", { ports: [port], clusterIP: CLIENT }),
    slice("a/api", { "": port }, endpoints),
    pod("a/web-1", workload("a/web")),
    pod("a/thief-1", workload("a/thief")),
    routeGroup("a/g", [
      { name: "public", pathRegex: "/public/.*", methods: ["GET"] },
      { name: "post", pathRegex: "/post", methods: ["POST"] },
      {
        name: "headers",
        pathRegex: "/headers",
        headers: [
          { name: "host", regex: "api\\.a" },
          { name: "x-two", regex: "a,b" },
          { name: "x-any", regex: ".*" },
        ],
      },
    ]),
    target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup g"] }),
  );
}

function configOf(sa: string, made: World): ProxyConfig {
  const compiled = compile(made);
  const { changed } = new Builder().mesh(compiled.mesh, made, {
    bundle: authority.bundle.pem,
    trustDomain: "cluster.local",
  });
  const [resources] = [...changed].filter(([group]) => group.startsWith(`a/${sa}/`)).map(([, r]) => r);
  if (!resources) throw new Error(`no group of ${sa}`);
  return {
    resources,
    secrets: [ownCertificate(leaves.get(sa)?.chainPem ?? "", leaves.get(sa)?.privateKey.revealPem() ?? "")],
  };
}

/** A sidecar whose inbound and outbound listeners are at one address of loopback, on the Service's port. */
async function sidecar(sa: string, made: World, address: string, port: number, applicationPort = port) {
  const running = new EnvoyProcess();
  const files = new ConfigFiles(running.directory);
  const inbound = sa === "api";
  const edit = (object: Json): Json => {
    if (object.filterChains && object.address) {
      const wanted = (object.name === "inbound-listener") === inbound;
      return { ...object, address: { socketAddress: { address, portValue: wanted ? port : 0 } } };
    }
    return object.address === APP && object.portValue === port ? { ...object, portValue: applicationPort } : object;
  };
  const write = (next: World) => files.write(configOf(sa, next), edit);
  write(made);
  running.start(envoy, files.bootstrap(running.adminPath));
  const stats = await running.until(sa, live);
  expect(rejections(stats), running.log).toEqual([]);
  return { running, write };
}

/** A connection as another sidecar makes it. */
function dial(sa: string | undefined, port: number, alpn = "osm", address = SERVER): Promise<TLSSocket> {
  const leaf = sa === undefined ? undefined : leaves.get(sa);
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: address,
      port,
      ca: authority.bundle.pem,
      ...(leaf ? { cert: leaf.chainPem, key: leaf.privateKey.revealPem() } : {}),
      ALPNProtocols: [alpn],
      checkServerIdentity: () => undefined,
    });
    socket.once("secureConnect", () => resolve(socket)).once("error", reject);
    onTestFinished(() => void socket.destroy());
  });
}

interface Call {
  readonly method?: string;
  readonly headers?: Record<string, string | string[]>;
  readonly body?: string;
}

function call(socket: Socket, path: string, { method = "GET", headers = {}, body }: Call = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({
      createConnection: () => socket,
      method,
      path,
      headers: { host: "api.a", connection: "keep-alive", ...headers },
    });
    sent.once("error", reject);
    sent.once("response", (response: IncomingMessage) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.once("end", () => resolve({ status: response.statusCode ?? 0, body: text, headers: response.headers }));
    });
    sent.end(body);
  });
}

const callAs = async (sa: string, port: number, path: string, more?: Call): Promise<Answer> =>
  call(await dial(sa, port), path, more);

function dialPlain(address: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp(port, address);
    socket.once("connect", () => resolve(socket)).once("error", reject);
    onTestFinished(() => void socket.destroy());
  });
}

describe("a server's sidecar", () => {
  test("row 8, difference 14: lets through what a rule allows, and refuses all else with 403 and one line that says who and what", async () => {
    const { port, seen } = await application();
    await sidecar("api", mesh(port, [SERVER]), SERVER, port);
    const allowed = await callAs("web", port, "/public/a?q=1");
    expect(allowed).toMatchObject({ status: 200, body: "app\n" });
    expect(await callAs("thief", port, "/public/a")).toMatchObject({
      status: 403,
      body: "heddle: no TrafficTarget lets spiffe://cluster.local/ns/a/sa/thief do GET /public/a on api.a\n",
    });
    expect((await callAs("web", port, "/public/a", { method: "DELETE" })).status).toBe(403);
    expect((await callAs("web", port, "/admin")).status).toBe(403);
    expect(seen).toEqual(["GET /public/a?q=1"]);
  });

  test("row 10: a pattern is for the whole path, without query and fragment", async () => {
    const { port, seen } = await application();
    await sidecar("api", mesh(port, [SERVER]), SERVER, port);
    const status = async (path: string) => (await callAs("web", port, path, { method: "POST" })).status;
    expect(await status("/post")).toBe(200);
    expect(await status("/post?next=/admin")).toBe(200);
    for (const path of ["/postal", "/post/", "/x/post", "/Post", "/admin?next=/post", "/postal?/post"])
      expect(await status(path), path).toBe(403);
    // Fragments are for browsers to keep: Envoy takes no path with one.
    expect(await status("/post#part")).toBe(400);
    expect(await status("/admin#/post")).toBe(400);
    expect(seen).toEqual(["POST /post", "POST /post?next=/admin"]);
  });

  test("row 11: matches paths in normal form; an escaped slash is answered 400, whoever asks", async () => {
    const { port, seen } = await application();
    await sidecar("api", mesh(port, [SERVER]), SERVER, port);
    const status = async (path: string) => (await callAs("web", port, path)).status;
    expect(await status("/public/../admin")).toBe(403);
    expect(await status("/public/%2e%2e/admin")).toBe(403);
    expect(await status("/x/../public/a")).toBe(200);
    expect(await status("//public//a")).toBe(200);
    for (const path of ["/public/a%2Fb", "/public/a%2fb", "/public/..%2Fadmin", "/public/a%5Cb", "/public/a%5cb"]) {
      const { status: code, body } = await callAs("thief", port, path);
      expect([code, body], path).toEqual([
        400,
        "heddle: a path with an escaped slash cannot be matched against this service's policies\n",
      ]);
    }
    expect(await status("/public/a?next=%2Fb")).toBe(200);
    expect(await status("/public/..\\admin")).toBe(403);
    expect(seen).toEqual(["GET /public/a", "GET /public/a", "GET /public/a?next=%2Fb"]);
  });

  test("row 13: every header must match; repeated ones are joined with commas; one that is missing never matches", async () => {
    const { port } = await application();
    await sidecar("api", mesh(port, [SERVER]), SERVER, port);
    const status = async (headers: Record<string, string | string[]>) =>
      (await callAs("web", port, "/headers", { headers })).status;
    expect(await status({ "X-Two": "a,b", "x-any": "1" })).toBe(200);
    expect(await status({ "X-Two": "a,b", "x-any": "" })).toBe(200);
    expect(await status({ "x-two": "a,b" })).toBe(403);
    expect(await status({ "x-two": "a", "x-any": "1" })).toBe(403);
    expect(await status({ "x-two": "a,b", "x-any": "1", host: "other.a" })).toBe(403);
    // An Envoy that no longer knows the runtime flag of the bootstrap looks at repeated headers one by one, and fails here.
    expect(await status({ "x-two": ["z", "a,b"], "x-any": "1" })).toBe(403);
    expect(await status({ "x-two": ["a", "b"], "x-any": "1" })).toBe(200);
    expect(await status({ "x-two": "a,b", "x-any": ["1", "2"] })).toBe(200);
  });

  test("row 8a, difference 15: a change of policy holds for the next request on a connection that is open, both ways, and closes none", async () => {
    const { port } = await application();
    const before = mesh(port, [SERVER]);
    const { running, write } = await sidecar("api", before, SERVER, port);
    const socket = await dial("thief", port);
    const becomes = async (wanted: number, change: Change) => {
      write(apply(before, [change]));
      await running.until(`${wanted}`, () => true);
      for (;;) {
        const { status } = await call(socket, "/public/a");
        if (status === wanted) return;
        expect([200, 403]).toContain(status);
      }
    };
    expect((await call(socket, "/public/a")).status).toBe(403);
    await becomes(200, target("a/t", { to: "a/api", from: ["a/web", "a/thief"], rules: ["HTTPRouteGroup g"] }));
    await becomes(403, target("a/t", { to: "a/api", from: [], rules: ["HTTPRouteGroup g"] }));
    const stats = await running.stats();
    expect(
      [...stats]
        .filter(([name]) => /listener_manager.listener_(in_place_updated|modified|removed)$/.test(name))
        .map(([, n]) => n),
    ).toEqual([0, 0, 0]);
    expect(socket.destroyed).toBe(false);
  });

  test("takes the mesh's TLS only: plain HTTP is told so, a stranger's TLS is refused", async () => {
    const { port, seen } = await application();
    await sidecar("api", mesh(port, [SERVER]), SERVER, port);
    expect(await call(await dialPlain(SERVER, port), "/public/a")).toMatchObject({
      status: 403,
      body: "heddle: this pod takes calls from sidecars of the mesh only, and this one came without its TLS\n",
    });
    await expect(callAs("web", port, "/public/a").then((a) => a.status)).resolves.toBe(200);
    await expect(dial(undefined, port).then((socket) => call(socket, "/public/a"))).rejects.toThrow();
    await expect(dial("web", port, "h2")).rejects.toThrow();
    expect(seen).toHaveLength(1);
  });

  test("marks what nobody has processed, and takes that mark off an application's answers", async () => {
    const { port, server } = await application();
    await sidecar("api", mesh(port, [SERVER]), SERVER, port);
    expect((await callAs("web", port, "/public/a")).headers["x-heddle-unprocessed"]).toBeUndefined();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    const answer = await callAs("web", port, "/public/a");
    expect(answer.status).toBe(503);
    expect(answer.headers["x-heddle-unprocessed"]).toBe("true");
  });
});

describe("a client's sidecar", () => {
  test("calls Services by their names, and refuses what it may not call in words", async () => {
    const { port } = await application();
    const made = mesh(port, [SERVER]);
    await sidecar("api", made, SERVER, port);
    await sidecar("web", made, CLIENT, port);
    const ask = async (host: string) => call(await dialPlain(CLIENT, port), "/public/a", { headers: { host } });
    for (const host of ["api", "api.a", `api.a.svc:${port}`, `api.a.svc.cluster.local:${port}`, `${CLIENT}:${port}`]) {
      expect((await ask(host)).status, host).toBe(200);
    }
    const refused =
      "heddle: no TrafficTarget lets this pod's ServiceAccount call other.a, or there is no such Service in the mesh\n";
    expect(await ask("other.a")).toMatchObject({ status: 403, body: refused });
  });

  test("row 13: splits read repeated headers as access does, joined with commas", async () => {
    const { port } = await application();
    const made = apply(mesh(port, [SERVER]), [
      routeGroup("a/joined", [{ name: "all", headers: [{ name: "x-two", regex: "a,b" }] }]),
      split("a/s", { service: "api", backends: { api: 0 }, matches: ["joined"] }),
    ]);
    await sidecar("api", made, SERVER, port);
    await sidecar("web", made, CLIENT, port);
    const status = async (value: string | string[]) =>
      (await call(await dialPlain(CLIENT, port), "/public/a", { headers: { "x-two": value } })).status;
    // 503: the split takes the request, and has no backend.
    expect(await status("a,b")).toBe(503);
    expect(await status(["a", "b"])).toBe(503);
    expect(await status(["z", "a,b"])).toBe(200);
    expect(await status("a")).toBe(200);
  });

  test("difference 14: who may call nothing is told so", async () => {
    const { port } = await application();
    const made = mesh(port, [SERVER]);
    await sidecar("thief", made, CLIENT, port);
    const { status, body } = await call(await dialPlain(CLIENT, port), "/public/a");
    expect([status, body]).toEqual([
      403,
      "heddle: no TrafficTarget lets this pod's ServiceAccount call api.a, or there is no such Service in the mesh\n",
    ]);
  });

  test("accepts only the accounts of the Service's pods as its server", async () => {
    const { port, seen } = await application();
    const made = mesh(port, [BROKEN]);
    // The endpoint answers with a certificate of the mesh, of another account.
    const { write } = await sidecar("api", made, BROKEN, port);
    const impostor = leaves.get("api") as Issued;
    leaves.set("api", leaves.get("thief") as Issued);
    onTestFinished(() => void leaves.set("api", impostor));
    write(made);
    await sidecar("web", made, CLIENT, port);
    for (;;) {
      const { status } = await call(await dialPlain(CLIENT, port), "/public/a");
      if (status === 503) break;
      expect(status, "before Envoy has read the file").toBe(200);
    }
    const before = seen.length;
    expect((await call(await dialPlain(CLIENT, port), "/public/a")).status).toBe(503);
    expect(seen).toHaveLength(before);
  });

  test("repeats a request elsewhere that no application has taken, whatever its method, and only once", async () => {
    const { port, seen } = await application();
    const made = mesh(port, [SERVER, BROKEN]);
    await sidecar("api", made, SERVER, port);
    // In front of no application.
    await sidecar("api", made, BROKEN, port, 1);
    const client = await sidecar("web", made, CLIENT, port);
    const socket = await dialPlain(CLIENT, port);
    const answers: number[] = [];
    for (let i = 0; i < 20; i++)
      answers.push((await call(socket, "/post", { method: "POST", body: "x".repeat(1000) })).status);
    expect(answers).toEqual(Array.from({ length: 20 }, () => 200));
    expect(seen).toHaveLength(20);
    expect((await client.running.stats()).get(`cluster.a/api|${port}.upstream_rq_retry`)).toBeGreaterThan(0);
  });

  test("has a request wait a little for the only application, which does not listen yet, and be processed once", async () => {
    const { port, seen, server } = await application();
    const made = mesh(port, [SERVER]);
    await sidecar("api", made, SERVER, port);
    const client = await sidecar("web", made, CLIENT, port);
    await new Promise((resolve) => server.close(resolve));
    const answer = call(await dialPlain(CLIENT, port), "/post", { method: "POST", body: "x".repeat(1000) });
    const retried = async () => (await client.running.stats()).get(`cluster.a/api|${port}.upstream_rq_retry`) ?? 0;
    await until("it has been tried four times", async () => (await retried()) >= 3);
    await new Promise<void>((resolve) => server.listen(port, APP, resolve));
    expect((await answer).status).toBe(200);
    expect(seen).toHaveLength(1);
  });
});

describe("a split", () => {
  /** Three Services of one account: the root is called, v1 and v2 have a sidecar each, v3 has nobody. */
  const versions = (port: number, ...more: readonly Changes[]) =>
    world(
      namespace("a"),
      service("a/root", { ports: [port], selector: { app: "api" }, clusterIP: CLIENT }),
      ...["v1", "v2", "v3"].map((name) => service(`a/${name}`, { ports: [port], selector: { app: "api" } })),
      ...["root", "v1"].map((name) => slice(`a/${name}`, { "": port }, [SERVER])),
      slice("a/v2", { "": port }, [BROKEN]),
      pod("a/api-1", workload("a/api")),
      pod("a/web-1", workload("a/web")),
      routeGroup("a/g", [{ name: "all" }]),
      routeGroup("a/beta", [
        { name: "header", headers: [{ name: "x-beta", regex: "yes|please" }] },
        { name: "path", pathRegex: "/new/.*", methods: ["POST"] },
      ]),
      target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup g"] }),
      ...more,
    );
  const beta = split("a/beta", { service: "root", backends: { v2: 1, v1: 0 }, matches: ["beta"] });
  const rest = (backends: Record<string, number>) => split("a/rest", { service: "root", backends });

  async function running(of: (port: number) => World) {
    const [one, two] = [await application(), await application()];
    const { port } = one;
    await sidecar("api", of(port), SERVER, port);
    await sidecar("api", of(port), BROKEN, port, two.port);
    await sidecar("web", of(port), CLIENT, port);
    const ask = async (path: string, more: Call = {}) => {
      const before = two.seen.length;
      const { status, body } = await call(await dialPlain(CLIENT, port), path, {
        ...more,
        headers: { host: "root.a", ...more.headers },
      });
      return status === 200 ? (two.seen.length > before ? "v2" : "v1") : `${status} ${body}`;
    };
    return { ask };
  }
  const times = async <T>(n: number, ask: () => Promise<T>): Promise<T[]> => {
    const all: T[] = [];
    for (let i = 0; i < n; i++) all.push(await ask());
    return all;
  };

  test("rows 27, 30 and 31: requests that match go to the split's backends, all others on; weight 0 gets none", async () => {
    const { ask } = await running((port) => versions(port, beta, rest({ v1: 3, v2: 0 })));
    const is = async (wanted: string, path: string, more?: Call) =>
      expect(new Set(await times(10, () => ask(path, more))), `${path} ${JSON.stringify(more)}`).toEqual(
        new Set([wanted]),
      );
    await is("v1", "/");
    await is("v1", "/new/a");
    await is("v1", "/", { headers: { "x-beta": "no" } });
    await is("v2", "/", { headers: { "X-Beta": "please" } });
    await is("v2", "/new/a?b", { method: "POST" });
    await is("v1", "/x/new/a", { method: "POST" });
    // Row 33: the backend's own name is no split's business.
    await is("v2", "/", { headers: { host: "v2.a" } });
  });

  test("row 27: where nothing is left, the request is answered 503 in words", async () => {
    const { ask } = await running((port) => versions(port, rest({ v1: 0, v2: 0 })));
    expect(await ask("/")).toBe("503 heddle: the TrafficSplit of this service has no backend left\n");
    expect(await ask("/", { headers: { host: "v1.a" } })).toBe("v1");
  });

  test("row 28: a backend without endpoints keeps its share, which is answered 503", async () => {
    const { ask } = await running((port) => versions(port, rest({ v1: 1, v3: 1 })));
    const answers = await times(60, () => ask("/"));
    const refused = answers.filter((answer) => answer.startsWith("503"));
    expect(refused.length + answers.filter((answer) => answer === "v1").length).toBe(60);
    // Half of sixty; chance alone gets here less than once in ten million times.
    expect(refused.length).toBeGreaterThan(9);
    expect(refused.length).toBeLessThan(51);
  });
});
