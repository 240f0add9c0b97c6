/** A cluster as a source: what is told, when, and of which kinds. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { KINDS } from "../../../src/manifest/kinds.ts";
import type { KubernetesSourceOptions } from "../../../src/sources/kubernetes/source.ts";
import { FakeApiServer, type FakeOptions } from "../../support/fake-api-server.ts";
import { FakeClock } from "../../support/clock.ts";
import { inStep, Mirror, namespaceObject, plain, pod, routes, sourceOf, split, truth } from "./support.ts";

let server: FakeApiServer;
let clock: FakeClock;
let mirror: Mirror;
let stop: AbortController;
const endings: (() => void)[] = [];

beforeEach(() => {
  clock = new FakeClock();
  mirror = new Mirror();
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  for (const end of endings.splice(0)) end();
  await server.stop();
});

async function begin(options: FakeOptions = {}): Promise<void> {
  server = await FakeApiServer.start(options);
}

async function started(more: Partial<KubernetesSourceOptions> = {}) {
  const { source, client } = sourceOf(server, clock, more);
  endings.push(() => client.close());
  let done = false;
  void source.start(mirror, stop.signal).then(() => {
    done = true;
  });
  await clock.until(() => done);
  return source;
}

const follows = () => clock.until(() => inStep(mirror, server));

test.each([{ watchList: true }, { watchList: false }])(
  "tells all that is there, then says so once (%o)",
  async (options) => {
    await begin(options);
    server.of("namespaces").create(namespaceObject("ns"));
    for (let i = 0; i < 25; i++) server.of("pods").create(pod("ns", `p${i}`, { ip: `10.0.0.${i}` }));
    server.of("httproutegroups").create(routes("ns", "r"));
    const source = await started({ page: 10 });
    expect(mirror.syncs).toBe(1);
    expect(plain(mirror.atSync!)).toEqual(plain(truth(server)));
    expect(mirror.names("Pod")).toHaveLength(25);
    const version = options.watchList ? 1 : 3;
    expect(
      server.requests.filter((r) => r.path === "/api/v1/pods" && (r.watch ? options.watchList : true)).length,
    ).toBeGreaterThanOrEqual(version);
    expect(source.states().find((s) => s.kind === "Pod")).toMatchObject({
      phase: "watching",
      version: "v1",
      objects: 25,
      lists: 1,
    });
    expect([...source.silence().keys()]).toHaveLength(KINDS.length);
  },
);

test("follows what changes, and tells nothing of what does not", async () => {
  await begin();
  server.of("pods").create(pod("ns", "a"));
  await started();
  const before = mirror.changes.length;
  server.of("pods").put(pod("ns", "a", { ready: false }));
  await follows();
  expect(mirror.changes.length).toBe(before + 1);
  // A field that nobody reads: the kubelet's heartbeat of a condition.
  const same = pod("ns", "a", { ready: false });
  server.of("pods").put({ ...same, status: { ...(same["status"] as object), hostIP: "192.168.0.9" } });
  server.of("pods").create(pod("ns", "b"));
  await follows();
  expect(mirror.changes.length).toBe(before + 2);
  server.of("pods").delete("ns/a");
  server.of("pods").delete("ns/b");
  await follows();
  expect(mirror.names("Pod")).toEqual([]);
});

test("another revision of a policy object is told with its problems, also where it means the same", async () => {
  await begin();
  const of = (generation: number, more = {}) => {
    const object = routes("ns", "r");
    return { ...object, metadata: { ...(object["metadata"] as object), generation }, ...more };
  };
  server.of("httproutegroups").create(of(1));
  const source = await started();
  const revision = () => source.revisionOf("HTTPRouteGroup", "ns", "r");
  const first = revision();
  expect(first?.generation).toBe(1);
  const [changes, told] = [mirror.changes.length, mirror.problemLists];
  server.of("httproutegroups").put(of(2));
  await clock.until(() => revision()?.generation === 2);
  await clock.until(() => mirror.problemLists === told + 1);
  expect(mirror.changes.length).toBe(changes);
  // A status that was written is no other revision.
  server.of("httproutegroups").put(of(2, { status: { conditions: [] } }));
  server.of("pods").create(pod("ns", "a"));
  await follows();
  expect(mirror.problemLists).toBe(told + 1);
  server.of("httproutegroups").delete("ns/r");
  await clock.until(() => revision() === undefined);
  // Made anew it has the same generation, and no status.
  server.of("httproutegroups").create(of(1));
  await clock.until(() => revision()?.generation === 1);
  expect(revision()?.uid).not.toBe(first?.uid);
});

test("what happens in one turn is one batch, whatever its kinds", async () => {
  await begin();
  await started();
  const batches = mirror.batches.length;
  for (let i = 0; i < 50; i++) server.of("pods").create(pod("ns", `p${i}`));
  await follows();
  expect(mirror.batches.length - batches).toBeLessThan(10);
});

test("reads the newest version that is served, and changes to a newer one when it appears", async () => {
  await begin();
  const { spec } = server.of("trafficsplits");
  server.install({ ...spec, versions: ["v1alpha2"] });
  server.of("trafficsplits").create(split("ns", "s"));
  const source = await started();
  const version = () => source.states().find((s) => s.kind === "TrafficSplit");
  expect(version()).toMatchObject({ version: "v1alpha2", objects: 1 });
  const before = mirror.changes.length;
  const old = server.of("trafficsplits");
  server.install({ ...spec, versions: ["v1alpha2", "v1alpha4"] });
  for (const object of old.objects.values()) server.of("trafficsplits").put(object);
  await clock.until(() => version()?.phase === "watching" && JSON.stringify(version()).includes("v1alpha4"));
  expect(mirror.changes.length).toBe(before);
});

test.each([{ aggregated: true }, { aggregated: false }])(
  "a kind without CRD keeps nobody waiting, and is read when it appears (%o)",
  async (options) => {
    await begin(options);
    const { spec } = server.of("trafficsplits");
    server.uninstall("trafficsplits");
    const source = await started();
    expect(mirror.syncs).toBe(1);
    expect(source.states().find((s) => s.kind === "TrafficSplit")?.phase).toBe("absent");
    expect(source.silence().has("TrafficSplit")).toBe(false);
    server.install(spec);
    server.of("trafficsplits").create(split("ns", "s"));
    expect(await follows()).toBeLessThan(10_000);
    expect(mirror.names("TrafficSplit")).toEqual(["ns/s"]);
  },
);

test.each([true, false])(
  "a CRD that is deleted takes its objects with it; restored, they come back (told of each: %s)",
  async (told) => {
    await begin();
    const { spec } = server.of("trafficsplits");
    server.of("trafficsplits").create(split("ns", "s"));
    await started();
    server.uninstall("trafficsplits", told);
    await clock.until(() => mirror.names("TrafficSplit").length === 0);
    server.install(spec);
    server.of("trafficsplits").create(split("ns", "t"));
    await follows();
    expect(mirror.names("TrafficSplit")).toEqual(["ns/t"]);
  },
);

test("a server that forgets its CRDs for a moment withdraws nothing", async () => {
  await begin();
  server.of("trafficsplits").create(split("ns", "s"));
  await started();
  const before = mirror.changes.length;
  const kept = server.of("trafficsplits");
  server.collections.delete("split.smi-spec.io/trafficsplits");
  const asked = server.requests.length;
  server.disturb("close", "trafficsplits");
  // Every version was asked for, and said not to be there.
  await clock.until(() => server.requests.slice(asked).some((r) => r.path.includes("/v1alpha1/trafficsplits")));
  await clock.pass(100);
  server.collections.set("split.smi-spec.io/trafficsplits", kept);
  kept.compact();
  kept.create(split("ns", "t"));
  await follows();
  expect(mirror.changes.slice(before).map((c) => [c.name, c.value !== undefined])).toEqual([["t", true]]);
});

test("while the server starts, which it says with 503, nothing counts as absent", async () => {
  await begin();
  server.of("trafficsplits").create(split("ns", "s"));
  let starting = true;
  server.fault = () => (starting ? { status: 503 } : undefined);
  const { source, client } = sourceOf(server, clock);
  endings.push(() => client.close());
  const running = source.start(mirror, stop.signal);
  await clock.until(() => server.requests.length > 30);
  expect(mirror.syncs).toBe(0);
  starting = false;
  await clock.until(() => mirror.syncs === 1);
  await running;
  expect(mirror.names("TrafficSplit")).toEqual(["ns/s"]);
});

test("problems are told by object, when they are others, and go with their object", async () => {
  await begin();
  server.of("httproutegroups").create(routes("ns", "good"));
  server.of("httproutegroups").create({ metadata: { namespace: "ns", name: "bad" }, spec: { matches: 5 } });
  await started();
  expect(mirror.list.map((p) => `${p.object.kind} ${p.object.namespace}/${p.object.name} ${p.path}`)).toEqual([
    "HTTPRouteGroup ns/bad spec.matches",
  ]);
  const told = mirror.problemLists;
  server
    .of("httproutegroups")
    .put({ metadata: { namespace: "ns", name: "bad", labels: { a: "b" } }, spec: { matches: 5 } });
  server.of("httproutegroups").create(routes("ns", "more"));
  await follows();
  expect(mirror.problemLists).toBe(told);
  server.of("httproutegroups").delete("ns/bad");
  await clock.until(() => mirror.list.length === 0);
});

test("an edit that breaks an object withdraws its former meaning", async () => {
  await begin();
  server.of("traffictargets").create({
    metadata: { namespace: "ns", name: "t" },
    spec: { destination: { kind: "ServiceAccount", name: "d", namespace: "ns" }, sources: [], rules: [] },
  });
  await started();
  expect(mirror.names("TrafficTarget")).toEqual(["ns/t"]);
  server.of("traffictargets").put({ metadata: { namespace: "ns", name: "t" }, spec: { destination: "d" } });
  await clock.until(() => mirror.names("TrafficTarget").length === 0);
  expect(mirror.list).toHaveLength(1);
});

test("a scope of namespaces reads these and nothing of the others", async () => {
  await begin();
  for (const name of ["a", "b", "c"]) {
    server.of("namespaces").create(namespaceObject(name));
    server.of("pods").create(pod(name, "p"));
    server.of("meshconfigs").create({ metadata: { namespace: name, name: "m" }, spec: {} });
  }
  await started({ scope: { namespaces: ["a", "b"], meshConfigNamespace: "c" } });
  expect(mirror.names("Namespace")).toEqual(["/a", "/b"]);
  expect(mirror.names("Pod")).toEqual(["a/p", "b/p"]);
  expect(mirror.names("MeshConfig")).toEqual(["c/m"]);
  server.of("pods").create(pod("c", "q"));
  server.of("pods").create(pod("b", "q"));
  await clock.until(() => mirror.names("Pod").length === 3);
  expect(mirror.names("Pod")).toEqual(["a/p", "b/p", "b/q"]);
  expect(server.requests.some((r) => r.path === "/api/v1/pods")).toBe(false);
});

test("a label selector is the server's business: what it no longer selects is gone", async () => {
  await begin();
  server.of("pods").create(pod("ns", "in", { labels: { "osm-proxy-uuid": "1" } }));
  server.of("pods").create(pod("ns", "out"));
  await started({ scope: { selectors: { Pod: "osm-proxy-uuid" } } });
  expect(mirror.names("Pod")).toEqual(["ns/in"]);
  server.of("pods").put(pod("ns", "in"));
  await clock.until(() => mirror.names("Pod").length === 0);
});

test("after the signal nothing is told and nothing is left open", async () => {
  await begin();
  await started();
  const told = mirror.batches.length;
  server.of("pods").create(pod("ns", "late"));
  stop.abort();
  await clock.until(() => server.watches.size === 0);
  await clock.pass(60_000);
  expect(mirror.batches.length).toBe(told);
  expect(clock.waiting).toEqual([]);
});

test("a start that is stopped before all was read says nothing of being whole", async () => {
  await begin();
  server.fault = (seen) => (seen.path.includes("pods") ? "hang" : undefined);
  const { source, client } = sourceOf(server, clock);
  endings.push(() => client.close());
  const running = source.start(mirror, stop.signal);
  await clock.until(() => server.watching("services") === 1);
  stop.abort();
  await running;
  expect(mirror.syncs).toBe(0);
});
