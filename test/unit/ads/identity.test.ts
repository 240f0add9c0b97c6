/** Who may open a stream, with which proof, and for how long: over real TLS. */
import { once } from "node:events";
import { connect as tlsConnect, type TLSSocket } from "node:tls";
import { expect, test } from "vitest";
import { status as Status } from "@grpc/grpc-js";
import type { Peer } from "../../../src/ads/server.ts";
import type { Sink } from "../../../src/ads/session.ts";
import { authority, type Pair } from "./certificates.ts";
import { alice, bob, ca, has, mesh, other, SERVER, serverPair, whole, world } from "./world.ts";
import { FakeClock } from "../../support/clock.ts";

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

test("a proxy that says it is somebody else is refused with a sentence; what no one can read is no claim", async () => {
  const contradicts = ({ identity }: { identity: string }, node: string) =>
    node === "whoever" && identity === "ns/bob" ? "it says it is whoever, and it is ns/bob" : undefined;
  const w = await world({ contradicts });
  for (const name of ["alice", "bob"]) w.cache.set(name, mesh());
  await whole(w.client(alice));
  expect(await w.client(bob).ended).toEqual({
    code: Status.UNAUTHENTICATED,
    details: "it says it is whoever, and it is ns/bob",
  });
});

test("a proxy of another account that bears the same id ends nobody's stream; one of the same account does", async () => {
  let identity = "ns/alice";
  const w = await world({ authenticate: () => ({ proxy: { id: "same", identity } }) });
  w.cache.set("same", mesh());
  const first = w.client(alice);
  await whole(first);
  identity = "evil/bob";
  const second = w.client(bob);
  await whole(second);
  expect(w.server.status().map((one) => one.identity)).toEqual(["ns/alice", "evil/bob"]);
  await whole(w.client(bob));
  expect((await second.ended).code).toBe(Status.ABORTED);
  w.cache.set("same", { ...mesh(), EDS: mesh(2).EDS });
  await first.until(has("EDS", 2));
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

test("when who a proxy is cannot be checked, it may try again; the log says so once, without a stack", async () => {
  const w = await world({ authenticate: () => Promise.reject(new Error("the API server is away")) });
  for (let i = 0; i < 3; i++) expect((await w.client(alice).ended).code).toBe(Status.UNAVAILABLE);
  const said = w.lines.filter((line) => line.includes("the API server is away"));
  expect(said.length).toBe(1);
  expect(said[0]).not.toContain("identity.test.ts");
});

/** By token alone. */
const authenticate = ({ certificate, header }: Peer) =>
  certificate === undefined && header("authorization") === "Bearer good"
    ? { proxy: { id: "alice", identity: "ns/alice" } }
    : { refused: "the token is not good" };

test("a port without client certificates passes headers to `authenticate`, and no certificate", async () => {
  const w = await world({ authenticate }, false);
  w.cache.set("alice", mesh());
  await whole(w.client(undefined, { metadata: { authorization: "Bearer good" } }));
  expect(await w.client(alice, { metadata: { authorization: "Bearer bad" } }).ended).toEqual({
    code: Status.UNAUTHENTICATED,
    details: "the token is not good",
  });
});

test("a proxy whose pod is not known waits, and is refused with a sentence", async () => {
  const clock = new FakeClock();
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
  clock.advance(900);
  sink.group("alice");
  await whole(client);
  clock.advance(900);
  sink.group(undefined);
  clock.advance(900);
  expect(w.server.status()).toHaveLength(1);
  clock.advance(200);
  expect(await client.ended).toEqual({
    code: Status.PERMISSION_DENIED,
    details: "no pod of this mesh is known for proxy alice of ns/alice",
  });
});

test("who says nothing, and whose proof expires, must go", async () => {
  const clock = new FakeClock();
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
  clock.advance(600);
  expect((await mute.ended).code).toBe(Status.DEADLINE_EXCEEDED);
  const client = w.client(alice);
  await whole(client);
  clock.advance(61_000);
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

/** A peer that shakes hands and then says nothing. */
function idle(port: number): TLSSocket {
  const { certificate: cert, privateKey: key } = alice;
  const tls = { ca: ca.roots, servername: SERVER, cert, key, ALPNProtocols: ["h2"] };
  return tlsConnect({ host: "127.0.0.1", port, ...tls }).resume();
}
const shaken = (socket: TLSSocket) =>
  new Promise<boolean>((resolve) => {
    socket.on("error", () => {}).once("secureConnect", () => resolve(true));
    socket.once("close", () => resolve(false));
  });

test("a connection on which no proxy opens a stream, or has one no more, is closed; one with a stream is not", async () => {
  const clock = new FakeClock();
  const w = await world({ clock, limits: { start: 1000 } });
  w.cache.set("alice", mesh());
  const client = w.client(alice);
  await whole(client);
  const mute = idle(w.listener.port);
  expect(await shaken(mute)).toBe(true);
  const closed = once(mute, "close");
  // The server may learn of the handshake later than its peer does.
  const told = () => (
    clock.advance(4000),
    w.lines.filter((line) => line.includes("it had no stream of a proxy")).length
  );
  await expect.poll(told).toBe(1);
  await closed;
  w.cache.set("alice", { ...mesh(), EDS: mesh(2).EDS });
  await client.until(has("EDS", 2));
  const newer = w.client(alice);
  expect((await client.ended).code).toBe(Status.ABORTED);
  await expect.poll(told).toBe(2);
  w.cache.set("alice", { ...mesh(), EDS: mesh(3).EDS });
  await newer.until(has("EDS", 3));
});

test("idle connections of one address are not more than the limit, and proxies with streams do not count", async () => {
  const w = await world({ limits: { unproven: 3 } });
  const names = ["p0", "p1", "p2", "p3"];
  for (const name of names) {
    w.cache.set(name, mesh());
    await whole(w.client(await ca.issue(name)));
  }
  const mute = [0, 1, 2].map(() => idle(w.listener.port));
  expect(await Promise.all(mute.map(shaken))).toEqual([true, true, true]);
  expect(await shaken(idle(w.listener.port))).toBe(false);
  expect(w.lines.filter((line) => line.includes("3 connections of its address have proved nothing yet"))).toHaveLength(
    1,
  );
  expect(await w.count("streamsRefused")).toBe(1);
  mute[0]!.destroy();
  w.cache.set("bob", mesh());
  await expect
    .poll(() =>
      w
        .client(bob)
        .until(has("EDS", 1))
        .then(
          () => true,
          () => false,
        ),
    )
    .toBe(true);
  for (const socket of mute) socket.destroy();
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
