/**
 * What real applications speak, through the Envoys of both sides: and by which names and addresses they call each other.
 */
import { join } from "node:path";
import { status as Grpc } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { podName } from "../../src/world/names.ts";
import { cannotRunLive, lacking, LiveMesh, until, type PodClient } from "../support/live-mesh.ts";

const SERVER = join(import.meta.dirname, "../support/protocol-server.ts");
const MB = 1024 * 1024;

const IMAGES = `
images:
  - image: server
    command: [node, ${SERVER}]
`;

const pods = (name: string, image: string, ports: string) => `
apiVersion: apps/v1
kind: Deployment
metadata: { name: ${name}, namespace: shop }
spec:
  selector: { matchLabels: { app: ${name} } }
  template:
    metadata: { labels: { app: ${name} } }
    spec:
      serviceAccountName: ${name}
      containers: [{ name: app, image: ${image}, ports: [${ports}] }]
---
`;

const MESH = `
${pods("server", "server", "{ containerPort: 8080 }, { containerPort: 8082 }, { containerPort: 50051 }, { containerPort: 3306 }")}
${pods("client", "nothing", "")}
${pods("stranger", "nothing", "")}
apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop }
spec:
  selector: { app: server }
  ports:
    - { name: web, port: 80, targetPort: 8080 }
    - { name: h2, port: 82, targetPort: 8082, appProtocol: kubernetes.io/h2c }
    - { name: grpc-echo, port: 50051 }
    - { name: tcp-server-first-db, port: 3306 }
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: { name: routes, namespace: shop }
spec:
  matches:
    - { name: web, pathRegex: "/(web|events|emit|upload|release|download|chat)", methods: [GET, POST] }
    - { name: echo, pathRegex: "/test\\\\.Echo/(Say|Count|Talk)", methods: [POST] }
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: TCPRoute
metadata: { name: db, namespace: shop }
spec: { matches: { ports: [3306] } }
`;

/** A pod outside of the mesh. */
const OUTSIDE = `
apiVersion: v1
kind: Namespace
metadata: { name: plain }
---
apiVersion: v1
kind: Pod
metadata: { name: outside, namespace: plain }
spec: { serviceAccountName: outside, containers: [{ name: app, image: nothing }] }
`;

const permissive = (on: boolean) => `
apiVersion: config.openservicemesh.io/v1alpha2
kind: MeshConfig
metadata: { name: osm-mesh-config, namespace: osm-system }
spec: { traffic: { enablePermissiveTrafficPolicyMode: ${on} } }
`;

const access = (...sources: string[]) => `
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: { name: server, namespace: shop }
spec:
  destination: { kind: ServiceAccount, name: server, namespace: shop }
  rules: [{ kind: HTTPRouteGroup, name: routes }]
  sources: [${sources.map((name) => `{ kind: ServiceAccount, name: ${name}, namespace: shop }`).join(", ")}]
---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: { name: db, namespace: shop }
spec:
  destination: { kind: ServiceAccount, name: server, namespace: shop }
  rules: [{ kind: TCPRoute, name: db }]
  sources: [${sources.map((name) => `{ kind: ServiceAccount, name: ${name}, namespace: shop }`).join(", ")}]
`;

describe.skipIf(lacking(cannotRunLive()))("protocols", () => {
  let live: LiveMesh;
  let client: PodClient;
  let stranger: PodClient;
  let speaker: PodClient;

  beforeAll(async () => {
    live = await LiveMesh.start({
      "images.yaml": IMAGES,
      "mesh.yaml": MESH,
      "outside.yaml": OUTSIDE,
      "access.yaml": access("client"),
    });
    await live.ready();
    [client, stranger] = [await live.client("shop/client"), await live.client("shop/stranger")];
    speaker = await live.client("shop/client", "protocol-client.ts");
    await until("the client is served", async () => (await client.http("http://server/web")).status === 200);
  });
  afterAll(() => live?.stop());

  /** Statistics of a pod's Envoy. */
  async function stats(account: string, filter: string): Promise<Record<string, number>> {
    const { metadata } = live.pod(account).manifest;
    const { body } = await live.mesh.runtime.admin(
      podName(metadata.namespace, metadata.name),
      `/stats?usedonly&filter=${encodeURIComponent(filter)}`,
    );
    return Object.fromEntries(
      body.split("\n").flatMap((line) => {
        const [name, value] = line.split(": ");
        return name && value !== undefined ? [[name, Number(value)]] : [];
      }),
    );
  }
  const json = (body: string) => JSON.parse(body) as { version: string; method: string; path: string };

  test("HTTP/1.1 stays HTTP/1.1, between the sidecars and to the application", async () => {
    const { status, body } = await client.http("http://server/web?q=1", { method: "POST", body: "x" });
    expect([status, json(body)]).toEqual([200, { version: "1.1", method: "POST", path: "/web?q=1" }]);
    expect((await client.http("http://server/other")).status).toBe(403);
  });

  test("difference 20: HTTP/1.0 is taken from clients, and judged like any other", async () => {
    const first = async (path: string) =>
      (await client.tcp("server", 80, `GET ${path} HTTP/1.0\r\nhost: server\r\n\r\n`)).received.split("\r\n")[0];
    expect([await first("/web"), await first("/other")]).toEqual(["HTTP/1.0 200 OK", "HTTP/1.0 403 Forbidden"]);
  });

  test("HTTP/2 without TLS stays HTTP/2, with many requests on one connection, each judged by itself", async () => {
    const paths = ["/web", "/other", "/web?2", "/web?3"];
    const answers = (await speaker.speak({ op: "h2c", origin: "http://server:82", paths })) as {
      status: number;
      body: string;
    }[];
    expect(answers.map(({ status }) => status)).toEqual([200, 403, 200, 200]);
    for (const { status, body } of answers) if (status === 200) expect(json(body).version).toBe("2.0");
    for (const [account, cluster] of [
      ["shop/client", "shop/server\\|8082"],
      ["shop/server", "shop/server\\|8082\\|local"],
    ] as const) {
      const counted = await stats(account, `^cluster\\.${cluster}\\.upstream_cx_http`);
      expect(
        Object.keys(counted).map((name) => name.split(".").at(-1)),
        account,
      ).toEqual(["upstream_cx_http2_total"]);
    }
  });

  test("row 15: gRPC is called by method: unary, streaming from the server, streaming both ways", async () => {
    const host = "server.shop:50051";
    expect(await speaker.speak({ op: "grpc", host, method: "Say", text: "hello" })).toEqual({ code: 0, text: "hello" });
    expect(await speaker.speak({ op: "grpc-count", host, count: 5 })).toEqual(["1", "2", "3", "4", "5"]);
    expect(await speaker.speak({ op: "grpc-talk", host, texts: ["a", "b", "c"] })).toEqual(["a", "b", "c"]);
    expect(await speaker.speak({ op: "grpc", host, method: "Secret", text: "x" })).toEqual({
      code: Grpc.PERMISSION_DENIED,
      details: expect.stringContaining(
        "heddle: no TrafficTarget lets spiffe://cluster.local/ns/shop/sa/client do POST /test.Echo/Secret",
      ),
    });
    const other = await live.client("shop/stranger", "protocol-client.ts");
    expect(await other.speak({ op: "grpc", host, method: "Say", text: "x" })).toEqual({
      code: Grpc.PERMISSION_DENIED,
      details: expect.stringContaining(
        "heddle: no TrafficTarget lets this pod's ServiceAccount call server.shop:50051",
      ),
    });
  });

  test("WebSockets are upgraded through both sidecars, and refused like any other request", async () => {
    const ask = (url: string) => speaker.speak({ op: "websocket", url, texts: ["one", "two", "three"] });
    expect(await ask("ws://server/chat")).toEqual({ received: ["one", "two", "three"] });
    expect(await ask("ws://server/other")).toEqual({ received: [], failed: true });
  });

  test("a TCP server may talk first", async () => {
    const listened = { op: "server-first", host: "server", port: 3306, send: "query\n" } as const;
    expect(await speaker.speak(listened)).toEqual(["welcome\n", "query\n"]);
    const other = await live.client("shop/stranger", "protocol-client.ts");
    expect(await other.speak(listened)).toEqual([]);
  });

  test("a TCP client that has said all it has to say still gets the whole answer", async () => {
    const answer = await speaker.speak({ op: "half-close", host: "server", port: 3306, send: "x".repeat(1 * MB) });
    expect(answer).toEqual({ received: `welcome\n${"x".repeat(1 * MB)}` });
  });

  test("100 MB go up and down without being kept: where nobody reads, nobody can send", async () => {
    const sidecars = ["shop/client", "shop/server"];
    const memory = async () =>
      Promise.all(
        sidecars.map(
          async (account) => (await stats(account, "^server.memory_heap_size$"))["server.memory_heap_size"] ?? 0,
        ),
      );
    const before = await memory();
    const up = (await speaker.speak({
      op: "upload",
      url: "http://server/upload",
      bytes: 100 * MB,
      release: "http://server/release",
    })) as { status: number; body: string; heldAt: number };
    expect([up.status, up.body]).toEqual([200, String(100 * MB)]);
    expect(up.heldAt).toBeLessThan(40 * MB);
    const down = await speaker.speak({ op: "download", url: `http://server/download?bytes=${100 * MB}` });
    expect(down).toEqual({ status: 200, bytes: 100 * MB });
    const after = await memory();
    for (const [i, bytes] of after.entries()) expect(bytes - (before[i] ?? 0), sidecars[i]).toBeLessThan(32 * MB);
  });

  test("events of a stream arrive one by one, while it is open", async () => {
    const [url, emit] = ["http://server/events", "http://server/emit"];
    const events = await speaker.speak({ op: "events", url, emit, count: 20 });
    expect(events).toEqual(Array.from({ length: 20 }, (_, i) => `data: ${i + 1}\n\n`));
  });

  test("a Service is called by names of each length, with and without its port, and by its ClusterIP", async () => {
    for (const name of ["server", "server.shop", "server.shop.svc", "server.shop.svc.cluster.local"])
      for (const host of [name, `${name}:80`]) expect((await client.http(`http://${host}/web`)).status, host).toBe(200);
    const ip = await virtualIP("server");
    for (const host of [ip, `${ip}:80`]) expect((await client.http(`http://${host}/web`)).status, host).toBe(200);
    for (const host of ["server.shop.svc.cluster.local.", "server.shop.svc.cluster.local.:80"])
      expect((await client.http(`http://${host}/web`)).status, host).toBe(200);
    // No resolver makes an address of it; a client that has one may still call the Service so.
    for (const host of ["server.shop.svc.cluster", "server.shop.svc.cluster:80", "SERVER.shop"])
      expect((await client.http(`http://${ip}/web`, { headers: { host } })).status, host).toBe(200);
    const { status, body } = await client.http(`http://${ip}/web`, { headers: { host: "server.elsewhere" } });
    expect([status, body]).toEqual([
      403,
      "heddle: no TrafficTarget lets this pod's ServiceAccount call server.elsewhere, or there is no such Service in the mesh\n",
    ]);
  });

  test("a pod's IP is no name of a Service: calls to it are refused by the client's side, whoever makes them", async () => {
    const ip = live.pod("shop/server").status?.ip ?? "";
    for (const each of [client, stranger]) {
      const { status, body } = await each.http(`http://${ip}:8080/web`);
      expect([status, body]).toEqual([
        403,
        `heddle: no TrafficTarget lets this pod's ServiceAccount call ${ip}:8080, or there is no such Service in the mesh\n`,
      ]);
      expect((await each.tcp(ip, 3306, "PING\n")).received).toBe("");
    }
  });

  test("row 1: a pod calls its own Service only as a TrafficTarget lets it", async () => {
    const own = await live.client("shop/server");
    for (const host of ["server", "server.shop.svc.cluster.local", await virtualIP("server")])
      expect((await own.http(`http://${host}/web`)).status, host).toBe(403);
    expect((await own.tcp("server", 3306, "PING\n")).received).toBe("");
    live.write("access.yaml", access("client", "server"));
    await until("it may call itself", async () => (await own.http("http://server/web")).status === 200);
    await until("TCP too", async () => (await own.tcp("server", 3306, "PING\n")).received === "welcome\n");
    expect((await own.http("http://server/other")).status).toBe(403);
    live.write("access.yaml", access("client"));
    await until("it may not any more", async () => (await own.http("http://server/web")).status === 403);
  });

  test("row 1: permissive mode opens everything inside of the mesh and nothing to those outside", async () => {
    const other = await live.client("shop/stranger", "protocol-client.ts");
    const outside = await live.client("plain/outside");
    const say = () => other.speak({ op: "grpc", host: "server:50051", method: "Secret", text: "x" });
    const listen = () => other.speak({ op: "server-first", host: "server", port: 3306, send: "query\n" });
    live.write("config.yaml", permissive(true));
    await until("the stranger is served", async () => (await stranger.http("http://server/other")).status === 200);
    await until("TCP too", async () => ((await listen()) as string[]).length === 2);
    expect(await say()).toEqual({ code: 0, text: "x" });
    expect((await outside.http("http://server.shop/web")).status).toBe(403);
    expect((await outside.tcp("server.shop", 3306, "PING\n")).received).toBe("");
    live.write("config.yaml", permissive(false));
    await until("it is not any more", async () => (await stranger.http("http://server/other")).status === 403);
    await until("TCP neither", async () => ((await listen()) as string[]).length === 0);
    expect(((await say()) as { code: number }).code).toBe(Grpc.PERMISSION_DENIED);
  });

  const virtualIP = async (name: string) => (await speaker.speak({ op: "resolve", name })) as string;
});
