import { afterEach, beforeEach, expect, test } from "vitest";
import { MUTATING } from "../../../src/roles/cluster.ts";
import { keepCaBundle } from "../../../src/roles/ca-bundle.ts";
import { KubernetesClient } from "../../../src/sources/kubernetes/client.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { FakeApiServer, type Json } from "../../support/fake-api-server.ts";
import { FakeClock } from "../../support/clock.ts";

const GOOD = Buffer.from("root").toString("base64");
const OTHER = "b3RoZXI=";
let server: FakeApiServer;
let client: KubernetesClient;
let clock: FakeClock;
let stop: AbortController;
let lines: string[];

beforeEach(async () => {
  server = await FakeApiServer.start();
  server.install({ ...MUTATING, versions: ["v1"], kind: "MutatingWebhookConfiguration", namespaced: false });
  client = new KubernetesClient({ config: { server: server.url, namespace: "default" } });
  clock = new FakeClock();
  stop = new AbortController();
  lines = [];
});
afterEach(async () => {
  stop.abort();
  client.close();
  await server.stop();
});

const hooks = () => server.of(MUTATING.plural);
const configuration = (...bundles: (string | undefined)[]): Json => ({
  metadata: { name: "ours" },
  webhooks: bundles.map((caBundle, i) => ({
    name: `hook-${i}`,
    clientConfig: { service: { name: "s" }, ...(caBundle === undefined ? {} : { caBundle }) },
  })),
});
const bundles = (): unknown[] =>
  ((hooks().objects.get("/ours")?.["webhooks"] ?? []) as { clientConfig: Json }[]).map(
    ({ clientConfig }) => clientConfig["caBundle"],
  );
const right = () => bundles().length > 0 && bundles().every((one) => one === GOOD);
const keep = () =>
  keepCaBundle(
    {
      client,
      resource: MUTATING,
      kind: "MutatingWebhookConfiguration",
      name: "ours",
      bundle: "root",
      log: createLog("warn", (line) => lines.push(line)),
      clock,
      random: () => 0.5,
    },
    stop.signal,
  );
const writes = () => server.requests.filter(({ method }) => method === "PATCH").length;

test("every hook gets the bundle and keeps what else it has, also when the configuration comes later", async () => {
  void keep();
  await server.until(() => server.watching(MUTATING.plural) === 1);
  hooks().create(configuration(undefined, OTHER));
  await clock.until(right);
  expect(hooks().objects.get("/ours")?.["webhooks"]).toMatchObject([
    { name: "hook-0", clientConfig: { service: { name: "s" } } },
    { name: "hook-1", clientConfig: { service: { name: "s" } } },
  ]);
  expect(writes()).toBe(1);
});

test("somebody's edit is put right at once; nobody else's configuration is touched", async () => {
  hooks().create({ ...configuration(OTHER), metadata: { name: "theirs" } });
  hooks().create(configuration(GOOD));
  void keep();
  await server.until(() => server.watching(MUTATING.plural) === 1);
  hooks().put(configuration(OTHER));
  expect(await clock.until(right)).toBe(0);
  expect(writes()).toBe(1);
  expect(hooks().objects.get("/theirs")).toMatchObject({ webhooks: [{ clientConfig: { caBundle: OTHER } }] });
});

test("against somebody who undoes it again and again it is written ever less often", async () => {
  hooks().create(configuration(OTHER));
  hooks().listen(({ object }) => {
    const [hook] = object["webhooks"] as { clientConfig: Json }[];
    if (hook?.clientConfig["caBundle"] === GOOD) setImmediate(() => hooks().put(configuration(OTHER)));
  });
  void keep();
  await clock.until(() => writes() >= 5);
  const before = writes();
  await clock.pass(60_000);
  expect(writes() - before).toBeGreaterThan(2);
  expect(writes() - before).toBeLessThan(20);
});

test("two replicas: one of them writes, the other one sees it", async () => {
  hooks().create(configuration(OTHER));
  void keep();
  void keep();
  await clock.until(right);
  await clock.pass(1_000);
  expect(writes()).toBeLessThanOrEqual(2);
  expect(lines).toEqual([]);
});

test("a server that refuses is asked again, and that is said once", async () => {
  hooks().create(configuration(OTHER));
  let refuse = true;
  server.fault = ({ method }) => (refuse && method === "PATCH" ? { status: 403 } : undefined);
  void keep();
  await clock.until(() => writes() >= 4);
  expect(lines.length).toBe(1);
  refuse = false;
  await clock.until(right);
});
