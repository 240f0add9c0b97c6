/** The server at its door: what proxies get over real gRPC, and what they cannot do to it. */
import { expect, test } from "vitest";
import { status as Status } from "@grpc/grpc-js";
import { DeltaDiscoveryRequest } from "../../../gen/envoy/service/discovery/v3/discovery.ts";
import type { AdsClient, AdsClientOptions } from "../../support/ads-client.ts";
import { fake, resources } from "./fixtures.ts";
import { alice, bob, ca, has, mesh, open, whole, world } from "./world.ts";

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

test("who is drained does not come back on the connection that he has, while others still have their streams", async () => {
  const w = await world();
  const pairs = await Promise.all(["p0", "p1"].map((name) => ca.issue(name)));
  for (const i of [0, 1]) w.cache.set(`p${i}`, mesh());
  const [first, last] = pairs.map((pair) => w.client(pair)) as [AdsClient, AdsClient];
  await Promise.all([first, last].map(whole));
  const drained = w.server.drain(1_000);
  expect((await first.ended).code).toBe(Status.OK);
  expect((await first.reopen().ended).code).toBe(Status.UNAVAILABLE);
  expect(w.server.status().map(({ id }) => id)).toEqual(["p1"]);
  expect((await last.ended).code).toBe(Status.OK);
  await drained;
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

test("a failure with one proxy ends that proxy's stream and nobody else's", async () => {
  const w = await world();
  w.cache.set("bob", mesh());
  const good = w.client(bob);
  await whole(good);
  const broken = mesh();
  w.cache.set("alice", { ...broken, CDS: null as unknown as typeof broken.CDS });
  const client = w.client(alice);
  expect(await client.ended).toEqual({
    code: Status.UNAVAILABLE,
    details: "the control plane failed to serve this proxy",
  });
  w.cache.set("bob", { ...w.cache.get("bob")!, EDS: mesh(2).EDS });
  await good.until(has("EDS", 2));
  expect(w.lines.join("\n")).toContain("serving proxy alice failed");
});

test("a failure of those who are asked what a proxy may have ends its stream only", async () => {
  const w = await world({
    open: () => {
      throw new Error("a bug");
    },
  });
  expect((await w.client(alice).ended).code).toBe(Status.UNAVAILABLE);
  expect(await w.count("streams")).toBe(0);
});
