/** The CA's certificate in the mesh's namespaces, and gone from those that left it: against a fake API server. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { PrivateKey } from "../../../src/ca/private-key.ts";
import { spreadCa } from "../../../src/roles/ca-spread.ts";
import { cleanup } from "../../../src/roles/cleanup.ts";
import { secretStore } from "../../../src/roles/secret-store.ts";
import { KubernetesClient } from "../../../src/sources/kubernetes/client.ts";
import { silent } from "../../../src/telemetry/log.ts";
import { Store } from "../../../src/world/store.ts";
import { gone, namespace, pod, workload } from "../../support/build.ts";
import { FakeApiServer } from "../../support/fake-api-server.ts";
import { until } from "../../support/live-mesh.ts";

let server: FakeApiServer;
let client: KubernetesClient;
let store: Store;
const stop = { current: new AbortController() };
let whole: boolean;

beforeEach(async () => {
  server = await FakeApiServer.start();
  client = new KubernetesClient({ config: { server: server.url, namespace: "default" } });
  store = new Store();
  stop.current = new AbortController();
  whole = true;
});
afterEach(async () => {
  stop.current.abort();
  client.close();
  await server.stop();
});

/** As the leader does. A minute of its is 60 times `every`. */
const lead = (certificate = "PEM", every = 1, log = silent): void =>
  void spreadCa(
    {
      client,
      log,
      store,
      ready: () => whole,
      name: "heddle-ca",
      meshName: "osm",
      manager: "test",
      certificate,
      every,
    },
    stop.current.signal,
  );
/** What a copy bears: of this mesh, of another one, and as before copies bore their mesh's name. */
const [OURS, ANOTHERS, UNNAMED] = [
  { "app.kubernetes.io/instance": "osm" },
  { "app.kubernetes.io/instance": "b" },
  {},
].map((mesh) => ({ "app.kubernetes.io/part-of": "heddle", ...mesh }));
const copy = (place: string, labels: object | undefined, data = {}) =>
  server.of("configmaps").create({ metadata: { name: "heddle-ca", namespace: place, labels }, data });
const copies = (): string[] => [...server.of("configmaps").objects.keys()].sort();
const until$ = (...wanted: string[]): Promise<unknown> =>
  until(`there is ${wanted.join(" and ") || "none"}`, () => JSON.stringify(copies()) === JSON.stringify(wanted));
const left = (name: string) => namespace(name, { monitored: false });

test("a namespace that joins gets it, and one that leaves loses it", async () => {
  store.apply([namespace("shop"), namespace("other"), left("outside")]);
  lead();
  await until$("other/heddle-ca", "shop/heddle-ca");
  expect(server.of("configmaps").objects.get("shop/heddle-ca")).toMatchObject({
    metadata: { labels: OURS },
    data: { "ca.crt": "PEM" },
  });
  store.apply([left("shop")]);
  await until$("other/heddle-ca");
  store.apply([namespace("shop")]);
  await until$("other/heddle-ca", "shop/heddle-ca");
});

test("it stays where pods still have sidecars, until the last one is gone", async () => {
  const [meshed, plain] = [workload("shop/a"), workload("shop/b", { meshed: false })];
  const last = pod("shop/a-1", meshed);
  store.apply([namespace("shop"), last, pod("shop/b-1", plain)]);
  lead();
  await until$("shop/heddle-ca");
  store.apply([left("shop"), namespace("next")]);
  await until$("next/heddle-ca", "shop/heddle-ca");
  store.apply([gone(last)]);
  await until$("next/heddle-ca");
});

test("nothing is removed before the cluster has been read to the end", async () => {
  whole = false;
  store.apply([namespace("shop")]);
  lead();
  await until$("shop/heddle-ca");
  store.apply([left("shop"), namespace("next")]);
  await until$("next/heddle-ca", "shop/heddle-ca");
  whole = true;
  await until$("next/heddle-ca");
});

test("a new leader removes what an earlier one left behind, and nothing of somebody else's", async () => {
  copy("left", OURS);
  copy("theirs", {});
  store.apply([left("left"), left("theirs"), namespace("shop")]);
  lead();
  await until$("shop/heddle-ca", "theirs/heddle-ca");
});

test("another mesh's copies stay, and of those without a mesh's name ours are named and the others stay", async () => {
  copy("another", ANOTHERS, { "ca.crt": "THEIR PEM" });
  copy("earlier", UNNAMED, { "ca.crt": "PEM" });
  copy("left", OURS);
  copy("unknown", UNNAMED);
  // The world of a mesh has no namespace of another one's.
  store.apply([namespace("earlier"), left("left")]);
  lead();
  await until$("another/heddle-ca", "earlier/heddle-ca", "unknown/heddle-ca");
  const map = server.of("configmaps").objects;
  await until("ours is named", () => JSON.stringify(map.get("earlier/heddle-ca")).includes('"osm"'));
  expect(map.get("another/heddle-ca")).toMatchObject({
    metadata: { labels: ANOTHERS },
    data: { "ca.crt": "THEIR PEM" },
  });
  expect(map.get("unknown/heddle-ca")).toMatchObject({ metadata: { labels: UNNAMED } });
});

test("a namespace that goes over to another mesh keeps the copy which that one has written already", async () => {
  store.apply([namespace("shop"), namespace("next")]);
  lead("PEM", 60_000);
  await until$("next/heddle-ca", "shop/heddle-ca");
  const map = server.of("configmaps");
  const theirs = { metadata: { name: "heddle-ca", namespace: "shop", labels: ANOTHERS }, data: { "ca.crt": "THEIRS" } };
  map.apply(theirs, "test", true, undefined);
  store.apply([left("shop"), left("next")]);
  await until$("shop/heddle-ca");
  expect(map.objects.get("shop/heddle-ca")).toMatchObject(theirs);
});

test("a copy that somebody changes or deletes is right again within a minute", async () => {
  store.apply([namespace("a"), namespace("b")]);
  lead();
  await until$("a/heddle-ca", "b/heddle-ca");
  const map = server.of("configmaps");
  map.delete("a/heddle-ca");
  map.put({ ...map.objects.get("b/heddle-ca"), data: { "ca.crt": "forged" } });
  await until$("a/heddle-ca", "b/heddle-ca");
  await until(
    "it is right",
    () => JSON.stringify(map.objects.get("b/heddle-ca")?.["data"]) === JSON.stringify({ "ca.crt": "PEM" }),
  );
});

test("when nothing changes nothing is written, however long", async () => {
  store.apply([namespace("shop")]);
  lead();
  await until$("shop/heddle-ca");
  const asked = (method: string) => server.requests.filter((one) => one.method === method).length;
  await until("it has looked again and again", () => asked("GET") > 3);
  expect(asked("PATCH")).toBe(1);
});

test("who is told of a change looks at once, and asks the API server nothing but what it needs", async () => {
  store.apply([namespace("shop")]);
  lead("PEM", 60_000);
  await until$("shop/heddle-ca");
  store.apply([namespace("next")]);
  await until$("next/heddle-ca", "shop/heddle-ca");
  expect(server.requests.map(({ method }) => method)).toEqual(["GET", "PATCH", "PATCH"]);
});

test("a namespace that is being deleted gets none, and loses none: the API server does that", async () => {
  copy("had", OURS, { "ca.crt": "OLD PEM" });
  store.apply([namespace("had", { terminating: true }), namespace("never", { terminating: true }), namespace("shop")]);
  lead();
  await until$("had/heddle-ca", "shop/heddle-ca");
  await until("it has looked again and again", () => server.requests.filter((one) => one.method === "GET").length > 3);
  expect(server.requests.filter(({ method }) => method !== "GET")).toHaveLength(1);
  expect(server.of("configmaps").objects.get("had/heddle-ca")).toMatchObject({ data: { "ca.crt": "OLD PEM" } });
});

test("what fails again and again is told once, and again after it went well", async () => {
  const warned: unknown[] = [];
  const log = { ...silent, warn: (_message: string, data?: object) => void warned.push(data) };
  let tries = 0;
  const refuse: typeof server.fault = ({ method }) => (method === "PATCH" && ++tries > 0 ? { status: 403 } : undefined);
  server.fault = refuse;
  store.apply([namespace("shop")]);
  lead("PEM", 1, log);
  await until("it was tried again and again", () => tries > 5);
  expect(warned).toMatchObject([{ namespace: "shop" }]);
  server.fault = () => undefined;
  await until$("shop/heddle-ca");
  server.of("configmaps").delete("shop/heddle-ca");
  tries = 0;
  server.fault = refuse;
  await until("it was tried again", () => tries > 1);
  expect(warned).toMatchObject([{ namespace: "shop" }, { namespace: "shop" }]);
});

test("the clean-up removes copies, settings, Lease and root of trust, and nothing else", async () => {
  const at = (place: string, name: string, labels = OURS) => ({ metadata: { namespace: place, name, labels } });
  for (const place of ["a", "b"]) server.of("configmaps").create(at(place, "heddle-ca"));
  copy("another", ANOTHERS);
  copy("theirs", {});
  copy("unnamed", UNNAMED);
  server.of("configmaps").create(at("a", "else"));
  for (const place of ["heddle-system", "a"]) server.of("secrets").create(at(place, "osm-ca-bundle"));
  server.of("leases").create(at("heddle-system", "heddle-controller"));
  server.of("meshconfigs").create(at("heddle-system", "osm-mesh-config"));
  const options = {
    client,
    log: silent,
    namespace: "heddle-system",
    meshName: "osm",
    caSecret: "osm-ca-bundle",
    caConfigMap: "heddle-ca",
  };
  await cleanup(options, stop.current.signal);
  expect(copies()).toEqual(["a/else", "another/heddle-ca", "theirs/heddle-ca", "unnamed/heddle-ca"]);
  expect([...server.of("secrets").objects.keys()]).toEqual(["a/osm-ca-bundle"]);
  for (const plural of ["leases", "meshconfigs"]) expect(server.of(plural).objects.size, plural).toBe(0);
});

test("the clean-up tries everything, and then says what it could not remove", async () => {
  server.of("secrets").create({ metadata: { namespace: "heddle-system", name: "osm-ca-bundle", labels: OURS } });
  server.fault = ({ path }) => (path.includes("configmaps") ? { status: 403 } : undefined);
  const options = {
    client,
    log: silent,
    namespace: "heddle-system",
    meshName: "osm",
    caSecret: "osm-ca-bundle",
    caConfigMap: "heddle-ca",
  };
  await expect(cleanup(options, stop.current.signal)).rejects.toThrow(/could not be removed: copies of the CA's/);
  expect(server.of("secrets").objects.size).toBe(0);
});

test("the clean-up leaves a root of trust and settings that Heddle did not make, and says so", async () => {
  const said: unknown[] = [];
  const log = { ...silent, info: (...line: unknown[]) => void said.push(line) };
  const common = { client, namespace: "heddle-system", meshName: "osm", caConfigMap: "heddle-ca" };
  const given = {
    metadata: { namespace: "heddle-system", name: "given", labels: { "app.kubernetes.io/part-of": "pki" } },
  };
  server.of("secrets").create(given);
  const config = { namespace: "heddle-system", name: "osm-mesh-config" };
  server.of("meshconfigs").create({ metadata: config });
  await cleanup({ ...common, log, caSecret: "given" }, stop.current.signal);
  expect([...server.of("secrets").objects.keys()]).toEqual(["heddle-system/given"]);
  expect([...server.of("meshconfigs").objects.keys()]).toEqual(["heddle-system/osm-mesh-config"]);
  expect(said).toEqual([
    ["left: Heddle did not make it", { resource: "meshconfigs", ...config }],
    ["left: Heddle did not make it", { resource: "secrets", namespace: "heddle-system", name: "given" }],
  ]);
});

test("the clean-up removes the root of trust that the control plane made", async () => {
  const { signal } = stop.current;
  const root = { caCrt: "CERTIFICATE", caKey: new PrivateKey("KEY") };
  await secretStore({ client, namespace: "heddle-system", signal }).createIfAbsent(root);
  const options = { namespace: "heddle-system", meshName: "osm", caSecret: "osm-ca-bundle", caConfigMap: "heddle-ca" };
  await cleanup({ ...options, client, log: silent }, signal);
  expect(server.of("secrets").objects.size).toBe(0);
});
