/** The CA's root in a Secret. */
import { inspect } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Authority } from "../../../src/ca/authority.ts";
import { PrivateKey } from "../../../src/ca/private-key.ts";
import { CaError, type SecretStore } from "../../../src/ca/store.ts";
import { KubernetesClient } from "../../../src/sources/kubernetes/client.ts";
import { secretStore } from "../../../src/roles/secret-store.ts";
import { FakeApiServer } from "../../support/fake-api-server.ts";
import { FakeClock } from "../../support/clock.ts";

const base64 = (text: string) => Buffer.from(text).toString("base64");
const root = (name: string) => ({ caCrt: `CRT ${name}`, caKey: new PrivateKey(`KEY ${name}`) });

let server: FakeApiServer;
let client: KubernetesClient;
let clock: FakeClock;
let stop: AbortController;

const store = (): SecretStore =>
  secretStore({ client, namespace: "heddle-system", signal: stop.signal, clock, random: () => 0.5 });

beforeEach(async () => {
  server = await FakeApiServer.start();
  clock = new FakeClock();
  client = new KubernetesClient({ config: { server: server.url, namespace: "d" }, clock });
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  client.close();
  await server.stop();
});

async function settled<T>(work: Promise<T>): Promise<{ value?: T; error?: unknown }> {
  let done: { value?: T; error?: unknown } | undefined;
  work.then(
    (value) => (done = { value }),
    (error: unknown) => (done = { error }),
  );
  await clock.until(() => done !== undefined);
  return done ?? {};
}

test("nothing is there; the first creates it, everybody has the winner's", async () => {
  expect(await store().load()).toBeUndefined();
  const given = await Promise.all(["a", "b", "c", "d"].map((name) => store().createIfAbsent(root(name))));
  const keys = new Set(given.map((one) => one.caKey.revealPem()));
  expect(keys.size).toBe(1);
  expect((await store().load())?.caKey.revealPem()).toBe([...keys][0]);
  expect(server.of("secrets").objects.size).toBe(1);
  expect(server.of("secrets").objects.get("heddle-system/osm-ca-bundle")).toMatchObject({ type: "Opaque" });
});

test("OSM's own Secret is adopted", async () => {
  const data = { "ca.crt": base64("OSM's"), "private.key": base64("OSM's key"), expiration: base64("x") };
  server
    .of("secrets")
    .create({ metadata: { namespace: "heddle-system", name: "osm-ca-bundle" }, type: "Opaque", data });
  const adopted = await store().createIfAbsent(root("ours"));
  expect([adopted.caCrt, adopted.caKey.revealPem()]).toEqual(["OSM's", "OSM's key"]);
});

test("the key is printed nowhere", async () => {
  const loaded = await store().createIfAbsent(root("secret"));
  expect(inspect(loaded, { depth: 9 }) + JSON.stringify(loaded)).not.toContain("KEY secret");
});

test("two control planes that start together have one root", async () => {
  const authorities = await Promise.all(
    [0, 1].map(() => Authority.start({ trustDomain: "cluster.local" }, { store: store() }, stop.signal)),
  );
  expect(authorities[0]?.bundle.pem).toBe(authorities[1]?.bundle.pem);
});

test("an answer that was lost does not make a second root", async () => {
  let lost = 1;
  server.fault = (seen) => (seen.method === "POST" && lost-- > 0 ? "cut" : undefined);
  const { value } = await settled(store().createIfAbsent(root("a")));
  expect(value?.caCrt).toBe("CRT a");
});

test("a server that is away for a while is waited for; one that stays away is a sentence", async () => {
  let times = 4;
  server.fault = () => (times-- > 0 ? { status: 503 } : undefined);
  expect((await settled(store().createIfAbsent(root("a")))).value?.caCrt).toBe("CRT a");
  server.fault = () => ({ status: 503 });
  const { error } = await settled(store().load());
  expect(error).toBeInstanceOf(CaError);
  expect((error as Error).message).toMatch(/^Secret heddle-system\/osm-ca-bundle cannot be used: GET .* answered 503/);
});

test.each([
  [{ "ca.crt": base64("c") }, "has no private.key"],
  [{ "private.key": base64("k") }, "has no ca.crt"],
  [undefined, "has no ca.crt"],
])("a Secret that holds half of it is a sentence (%o)", async (data, message) => {
  server.of("secrets").create({ metadata: { namespace: "heddle-system", name: "osm-ca-bundle" }, data });
  const { error } = await settled(store().createIfAbsent(root("a")));
  expect(error).toBeInstanceOf(CaError);
  expect((error as Error).message).toContain(message);
});

test("a refusal says which right is missing", async () => {
  server.fault = () => ({ status: 403 });
  const { error } = await settled(store().load());
  expect((error as Error).message).toContain("Allow the control plane's ServiceAccount to get this Secret");
});
