/** The server at its door: real gRPC over real mTLS on a port of its own. */
import { X509Certificate } from "node:crypto";
import { connect as tlsConnect } from "node:tls";
import { afterEach, beforeAll, expect, test } from "vitest";
import { status as Status } from "@grpc/grpc-js";
import { Cache } from "../../../src/ads/cache.ts";
import type { Listener } from "../../../src/ads/listener.ts";
import { AdsServer, type AdsServerOptions, type Peer } from "../../../src/ads/server.ts";
import type { Sink } from "../../../src/ads/session.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { createMetrics } from "../../../src/telemetry/metrics.ts";
import { DeltaDiscoveryRequest } from "../../../gen/envoy/service/discovery/v3/discovery.ts";
import type { Resources } from "../../../src/xds/resource.ts";
import { AdsClient, type AdsClientOptions } from "../../support/ads-client.ts";
import { authority, type Authority, type Pair } from "./certificates.ts";
import { fake, HandClock, read, resources } from "./fixtures.ts";

const SERVER = "heddle.test";
let ca: Authority;
let other: Authority;
let serverPair: Pair;
let alice: Pair;
let bob: Pair;

beforeAll(async () => {
  ca = await authority("ours");
  other = await authority("theirs");
  serverPair = await ca.issue(SERVER);
  alice = await ca.issue("alice");
  bob = await ca.issue("bob");
});

/** A server whose proxies are named by their certificate's CN and are in a group of the same name. */
class World {
  readonly cache = new Cache();
  readonly metrics = createMetrics();
  readonly lines: string[] = [];
  readonly sinks = new Map<string, Sink>();
  readonly closed: string[] = [];
  readonly clients: AdsClient[] = [];
  readonly server: AdsServer;
  listener!: Listener;

  constructor(options: Partial<AdsServerOptions> = {}) {
    this.server = new AdsServer({
      cache: this.cache,
      metrics: this.metrics,
      log: createLog("debug", (line) => this.lines.push(line)),
      authenticate: ({ certificate }: Peer) => {
        if (!certificate) return { refused: "no certificate was shown" };
        const name = new X509Certificate(certificate).subject.slice("CN=".length);
        return { proxy: { id: name, identity: `ns/${name}` } };
      },
      open: (proxy, sink) => {
        this.sinks.set(proxy.id, sink);
        sink.secrets([fake("SDS", `key-of-${proxy.id}`)]);
        sink.group(proxy.id);
        return () => this.closed.push(proxy.id);
      },
      ...options,
    });
  }

  async listen(clientCertificates = true): Promise<this> {
    const credentials = { ...serverPair, ...(clientCertificates && { clientRoots: ca.roots }) };
    this.listener = await this.server.listen({ host: "127.0.0.1", port: 0, credentials });
    return this;
  }

  client(pair: Pair | undefined, options: Partial<AdsClientOptions> = {}): AdsClient {
    const tls = { roots: ca.roots, serverName: SERVER, ...pair };
    const address = `127.0.0.1:${this.listener.port}`;
    const client = new AdsClient({ address, tls, protocol: "delta", read, follow: true, ...options }).connect();
    this.clients.push(client);
    return client;
  }

  async count(metric: "acks" | "nacks" | "responses" | "streamsRefused" | "streams"): Promise<number> {
    const { values } = await this.metrics[metric].get();
    return values.reduce((sum, { value }) => sum + value, 0);
  }
}

const open: World[] = [];
async function world(options: Partial<AdsServerOptions> = {}, clientCertificates = true): Promise<World> {
  const made = await new World(options).listen(clientCertificates);
  open.push(made);
  return made;
}
afterEach(() => {
  for (const { server, clients } of open.splice(0)) {
    for (const client of clients) client.close();
    server.close();
  }
});

const mesh = (content: number | string = 1): Resources =>
  resources(
    fake("CDS", "c", 1, ["EDS/e"]),
    fake("EDS", "e", content),
    fake("LDS", "out", 1, ["RDS/r"]),
    fake("RDS", "r", 1, ["CDS/c"]),
  );
const whole = (client: AdsClient) => client.until((model) => model.held.RDS.size === 1 && model.held.EDS.size === 1);
const has = (type: "EDS" | "LDS", content: number | string) => (model: AdsClient["model"]) =>
  [...model.held[type].values()].some(({ bytes }) =>
    Buffer.from(bytes).includes(`"content":${JSON.stringify(content)}`),
  );

for (const protocol of ["delta", "sotw"] as const) {
  test(`${protocol}: a proxy gets all that its group has, in Envoy's order, and then what changes`, async () => {
    const { cache, server, ...w } = await world();
    cache.set("alice", mesh());
    const client = open[0]!.client(alice, { protocol });
    await whole(client);
    expect(client.model.received.map(({ type }) => type)).toEqual(["CDS", "EDS", "LDS", "RDS"]);
    cache.set("alice", { ...cache.get("alice")!, EDS: mesh(2).EDS });
    await client.until(has("EDS", 2));
    expect(client.model.received.at(-1)!.names).toEqual(["e"]);
    expect(w.sinks.size).toBe(1);
    expect(server.status()[0]).toMatchObject({ id: "alice", identity: "ns/alice", group: "alice", protocol });
  });
}

test("a proxy gets its own configuration only, whatever it says it is", async () => {
  const w = await world();
  w.cache.set("alice", mesh("alice's"));
  w.cache.set("bob", mesh("bob's"));
  const [a, b] = [w.client(alice, { follow: false }), w.client(bob)];
  a.model.subscribe("SDS", "key-of-alice", "key-of-bob");
  a.model.subscribe("EDS", "e");
  await Promise.all([a.until((model) => model.held.EDS.size > 0), whole(b)]);
  await a.until((model) => model.held.SDS.size > 0);
  expect(has("EDS", "alice's")(a.model)).toBe(true);
  expect(has("EDS", "bob's")(b.model)).toBe(true);
  expect([...a.model.held.SDS.keys()]).toEqual(["key-of-alice"]);
  expect(a.model.received.find(({ type }) => type === "SDS")!.removed).toEqual(["key-of-bob"]);
});

test.each<[string, () => Promise<Pair | undefined>, RegExp]>([
  ["of another CA", () => other.issue("alice"), /UNABLE_TO_|SELF_SIGNED/],
  ["that has expired", () => ca.issue("alice", { from: -2000, to: -1000 }), /CERT_HAS_EXPIRED/],
  ["that is not valid yet", () => ca.issue("alice", { from: 3_600_000, to: 7_200_000 }), /CERT_NOT_YET_VALID/],
  ["that is missing", async () => undefined, /peer did not return a certificate/],
])("a certificate %s is refused in the handshake, and the log says why", async (_what, make, why) => {
  const w = await world();
  w.cache.set("alice", mesh());
  const client = w.client(await make());
  expect((await client.ended).code).toBe(Status.UNAVAILABLE);
  expect(client.model.received).toEqual([]);
  expect(w.lines.join("\n")).toMatch(why);
  expect(await w.count("streamsRefused")).toBeGreaterThan(0);
});

test("a proxy that is not known to `authenticate` is refused with its sentence", async () => {
  const w = await world({ authenticate: () => ({ refused: "the certificate names no pod" }) });
  expect(await w.client(alice).ended).toEqual({
    code: Status.UNAUTHENTICATED,
    details: "the certificate names no pod",
  });
});

test("when who a proxy is cannot be checked, it may try again", async () => {
  const w = await world({ authenticate: () => Promise.reject(new Error("the API server is away")) });
  expect((await w.client(alice).ended).code).toBe(Status.UNAVAILABLE);
});

test("a port without client certificates passes headers to `authenticate`, and no certificate", async () => {
  const authenticate = ({ certificate, header }: Peer) =>
    certificate === undefined && header("authorization") === "Bearer good"
      ? { proxy: { id: "alice", identity: "ns/alice" } }
      : { refused: "the token is not good" };
  const w = await world({ authenticate }, false);
  w.cache.set("alice", mesh());
  await whole(w.client(undefined, { metadata: { authorization: "Bearer good" } }));
  expect(await w.client(alice, { metadata: { authorization: "Bearer bad" } }).ended).toEqual({
    code: Status.UNAUTHENTICATED,
    details: "the token is not good",
  });
});

test("after a reconnect with known versions nothing is sent, and only what changed meanwhile", async () => {
  const w = await world();
  w.cache.set("alice", mesh());
  const client = w.client(alice);
  await whole(client);
  client.close();
  const before = client.model.received.length;
  w.cache.set("alice", { ...w.cache.get("alice")!, EDS: mesh(2).EDS });
  client.connect();
  await client.until(has("EDS", 2));
  expect(client.model.received.slice(before)).toMatchObject([{ type: "EDS", names: ["e"] }]);
});

test("a newer stream of a proxy ends the older one, and the proxy is shown once", async () => {
  const w = await world();
  w.cache.set("alice", mesh());
  const older = w.client(alice);
  await whole(older);
  const newer = w.client(alice);
  expect((await older.ended).code).toBe(Status.ABORTED);
  await whole(newer);
  expect(w.server.status()).toHaveLength(1);
  expect(w.closed).toEqual(["alice"]);
  expect(await w.count("streams")).toBe(1);
});

test("a rejection is told once, shown, not looped, and over when the content is another one", async () => {
  const w = await world();
  const bad = new Set(["bad"]);
  w.cache.set("alice", mesh());
  const reject: AdsClientOptions["reject"] = (_type, _names, held) =>
    [...held.values()].some(({ bytes }) =>
      bad.has((JSON.parse(Buffer.from(bytes).toString()) as { content: string }).content),
    )
      ? "the address is malformed"
      : undefined;
  const client = w.client(alice, { reject });
  await whole(client);
  const LDS = resources(fake("LDS", "out", "bad", ["RDS/r"])).LDS;
  w.cache.set("alice", { ...mesh(), LDS });
  await client.until((model) => model.received.filter(({ type }) => type === "LDS").length === 2);
  // Another type goes on; when that has arrived, the rejection has long been read.
  w.cache.set("alice", { ...w.cache.get("alice")!, EDS: mesh(2).EDS });
  await client.until(has("EDS", 2));
  w.cache.set("alice", { ...w.cache.get("alice")!, EDS: mesh(3).EDS });
  await client.until(has("EDS", 3));
  expect(client.model.received.filter(({ type }) => type === "LDS")).toHaveLength(2);
  expect(w.server.status()[0]!.types.LDS).toMatchObject({
    message: "the address is malformed",
    rejected: ["out"],
    resources: 1,
  });
  expect(await w.count("nacks")).toBe(1);
  expect(
    w.lines.filter((line) =>
      line.includes("proxy alice rejected LDS (out): the address is malformed; it keeps its last good"),
    ),
  ).toHaveLength(1);
  w.cache.set("alice", { ...w.cache.get("alice")!, LDS: resources(fake("LDS", "out", "better", ["RDS/r"])).LDS });
  await client.until(has("LDS", "better"));
  w.cache.set("alice", { ...w.cache.get("alice")!, EDS: mesh(4).EDS });
  await client.until(has("EDS", 4));
  expect(w.server.status()[0]!.types.LDS!.message).toBeUndefined();
});

test("what is no discovery request ends the stream and nothing else", async () => {
  const w = await world();
  w.cache.set("alice", mesh());
  w.cache.set("bob", mesh());
  const good = w.client(bob);
  const client = w.client(alice);
  client.write(Buffer.from([0xff, 0xff, 0xff, 0xff]));
  expect((await client.ended).code).toBe(Status.INVALID_ARGUMENT);
  await whole(good);
});

test("a type that is not served is not answered and does no harm", async () => {
  const w = await world();
  w.cache.set("alice", mesh());
  const client = w.client(alice);
  const typeUrl = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
  client.write(Buffer.from(DeltaDiscoveryRequest.encode({ typeUrl, resourceNamesSubscribe: ["x"] }).finish()));
  await whole(client);
});

test("a request above the limit is refused", async () => {
  const w = await world();
  const client = w.client(alice);
  client.model.subscribe("EDS", "x".repeat(5 * 1024 * 1024));
  expect((await client.ended).code).toBe(Status.RESOURCE_EXHAUSTED);
});

test("more names than the limit are refused", async () => {
  const w = await world({ limits: { names: 10 } });
  const client = w.client(alice);
  client.model.subscribe("EDS", ...Array.from({ length: 11 }, (_, i) => `e${i}`));
  expect(await client.ended).toEqual({
    code: Status.RESOURCE_EXHAUSTED,
    details: "more than 10 names of EDS were asked for on one stream",
  });
});

test("no more streams than the limit; when one goes, another may come", async () => {
  const w = await world({ limits: { streams: 1 } });
  w.cache.set("alice", mesh());
  w.cache.set("bob", mesh());
  const first = w.client(alice);
  await whole(first);
  expect((await w.client(bob).ended).code).toBe(Status.RESOURCE_EXHAUSTED);
  const gone = Promise.withResolvers<void>();
  w.closed.push = () => (gone.resolve(), 0);
  first.close();
  await gone.promise;
  await whole(w.client(bob));
});

test("a proxy whose pod is not known waits, and is refused with a sentence", async () => {
  const clock = new HandClock();
  const known = Promise.withResolvers<Sink>();
  const w = await world({
    clock,
    limits: { unknown: 1000 },
    open: (_proxy, sink) => {
      sink.secrets([]);
      known.resolve(sink);
      return () => {};
    },
  });
  w.cache.set("alice", mesh());
  const client = w.client(alice);
  const sink = await known.promise;
  clock.pass(900);
  sink.group("alice");
  await whole(client);
  clock.pass(900);
  sink.group(undefined);
  clock.pass(900);
  expect(w.server.status()).toHaveLength(1);
  clock.pass(200);
  expect(await client.ended).toEqual({
    code: Status.PERMISSION_DENIED,
    details: "no pod of this mesh is known for proxy alice of ns/alice",
  });
});

test("who says nothing, and whose proof expires, must go", async () => {
  const clock = new HandClock();
  const opened = Promise.withResolvers<void>();
  const w = await world({
    clock,
    limits: { start: 500 },
    authenticate: () => ({ proxy: { id: "alice", identity: "ns/alice" }, until: new Date(Date.now() + 60_000) }),
    open: (_proxy, sink) => {
      sink.secrets([]);
      sink.group("alice");
      opened.resolve();
      return () => {};
    },
  });
  w.cache.set("alice", mesh());
  const mute = w.client(alice, { follow: false });
  await opened.promise;
  clock.pass(600);
  expect((await mute.ended).code).toBe(Status.DEADLINE_EXCEEDED);
  const client = w.client(alice);
  await whole(client);
  clock.pass(61_000);
  expect((await client.ended).code).toBe(Status.UNAUTHENTICATED);
});

test("the server's certificate and the roots rotate while streams go on", async () => {
  const w = await world();
  w.cache.set("alice", mesh());
  const client = w.client(alice);
  await whole(client);
  const next = await authority("next");
  w.listener.rotate({ ...(await next.issue(SERVER)), clientRoots: `${ca.roots}\n${next.roots}` });
  await expect(w.client(bob).ended).resolves.toMatchObject({ code: Status.UNAVAILABLE });
  w.cache.set("bob", mesh());
  await whole(w.client(bob, { tls: { roots: next.roots, serverName: SERVER, ...bob } }));
  w.listener.rotate({ ...(await next.issue(SERVER)), clientRoots: next.roots });
  const late = w.client(bob, { tls: { roots: next.roots, serverName: SERVER, ...bob } });
  await expect(late.ended).resolves.toMatchObject({ code: Status.UNAVAILABLE });
  w.cache.set("alice", { ...w.cache.get("alice")!, EDS: mesh(2).EDS });
  await client.until(has("EDS", 2));
  expect(() =>
    w.listener.rotate({ certificate: alice.certificate, privateKey: bob.privateKey, clientRoots: ca.roots }),
  ).toThrow();
  expect(() => w.listener.rotate(serverPair)).toThrow(/demand/);
});

test("TLS below 1.2 is refused", async () => {
  const w = await world();
  const socket = tlsConnect({
    host: "127.0.0.1",
    port: w.listener.port,
    ca: ca.roots,
    servername: SERVER,
    cert: alice.certificate,
    key: alice.privateKey,
    minVersion: "TLSv1.1",
    maxVersion: "TLSv1.1",
    ciphers: "ALL:@SECLEVEL=0",
    ALPNProtocols: ["h2"],
  });
  const outcome = await new Promise((resolve) => {
    socket.once("secureConnect", () => resolve("connected"));
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code));
  });
  socket.destroy();
  expect(outcome).toMatch(/PROTOCOL_VERSION/);
});

test("drain ends every stream in peace, one after the other, and accepts no more", async () => {
  const w = await world();
  const pairs = await Promise.all(["p0", "p1", "p2"].map((name) => ca.issue(name)));
  for (const i of [0, 1, 2]) w.cache.set(`p${i}`, mesh());
  const clients = pairs.map((pair) => w.client(pair));
  await Promise.all(clients.map(whole));
  const drained = w.server.drain(60);
  const ends = await Promise.all(clients.map((client) => client.ended));
  expect(ends.map(({ code }) => code)).toEqual([Status.OK, Status.OK, Status.OK]);
  await drained;
  expect(w.server.status()).toEqual([]);
  expect((await w.client(alice).ended).code).toBe(Status.UNAVAILABLE);
});

test("a reader that does not read holds no more than one response a type, and gets the latest in the end", async () => {
  const w = await world();
  w.cache.set("alice", mesh());
  const client = w.client(alice);
  await whole(client);
  const quick = w.client(bob);
  w.cache.set("bob", mesh());
  await whole(quick);
  const before = await w.count("responses");
  client.pause();
  for (let i = 1; i <= 50; i++) {
    const EDS = resources(fake("EDS", "e", `${i} ${"x".repeat(100_000)}`)).EDS;
    for (const group of ["alice", "bob"]) w.cache.set(group, { ...w.cache.get(group)!, EDS });
    await quick.until((model) => Buffer.from(model.held.EDS.get("e")!.bytes).includes(`"${i} x`));
  }
  // The quick one got 50; the other one has one response on its way.
  expect((await w.count("responses")) - before).toBeLessThanOrEqual(50 + 5);
  client.resume();
  await client.until((model) => Buffer.from(model.held.EDS.get("e")!.bytes).includes('"50 x'));
});

test("one change for many proxies of a group is wrapped once and put together once", async () => {
  const w = await world();
  const pairs = await Promise.all(Array.from({ length: 10 }, (_, i) => ca.issue(`p${i}`)));
  const clients = pairs.map((pair) => w.client(pair));
  w.cache.set("all", mesh());
  await Promise.all(
    clients.map(async (client, i) => {
      w.cache.set(`p${i}`, w.cache.get("all")!);
      await whole(client);
    }),
  );
  const { wrapped, spliced } = w.server.envelope;
  expect(wrapped).toBe(4);
  const changed = { ...w.cache.get("all")!, EDS: mesh(2).EDS };
  for (const i of clients.keys()) w.cache.set(`p${i}`, changed);
  await Promise.all(clients.map((client) => client.until(has("EDS", 2))));
  expect(w.server.envelope.wrapped - wrapped).toBe(1);
  expect(w.server.envelope.spliced - spliced).toBe(1);
});
