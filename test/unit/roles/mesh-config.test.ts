/** How MeshConfig follows the chart's values and keeps what people wrote into it: against a fake API server. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { followPreset } from "../../../src/roles/mesh-config.ts";
import { KubernetesClient } from "../../../src/sources/kubernetes/client.ts";
import { silent } from "../../../src/telemetry/log.ts";
import { FakeApiServer, type Json } from "../../support/fake-api-server.ts";
import { until } from "../../support/live-mesh.ts";

let server: FakeApiServer;
let client: KubernetesClient;
let stop: AbortController;

beforeEach(async () => {
  server = await FakeApiServer.start();
  client = new KubernetesClient({ config: { server: server.url, namespace: "default" } });
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  client.close();
  await server.stop();
});

/** As the chart's upgrade and the controller's start after it. */
async function upgrade(spec: unknown): Promise<void> {
  const data = { "preset-mesh-config.json": JSON.stringify(spec) };
  server.of("configmaps").put({ metadata: { namespace: "mesh", name: "preset" }, data });
  await start();
}
const start = (): Promise<void> =>
  followPreset(
    { client, log: silent, namespace: "mesh", preset: "preset", pause: () => Promise.resolve() },
    stop.signal,
  );
const spec = (): unknown => server.of("meshconfigs").objects.get("mesh/osm-mesh-config")?.["spec"];
const person = (edit: Json): Json =>
  server
    .of("meshconfigs")
    .apply({ metadata: { namespace: "mesh", name: "osm-mesh-config" }, spec: edit }, "person", true, undefined);

test("it is made of the values, and follows them", async () => {
  await upgrade({ traffic: { enableEgress: false, ports: [1] }, sidecar: { logLevel: "error" } });
  expect(spec()).toEqual({ traffic: { enableEgress: false, ports: [1] }, sidecar: { logLevel: "error" } });
  await upgrade({ traffic: { enableEgress: true, ports: [1, 2] }, sidecar: { logLevel: "error" } });
  expect(spec()).toEqual({ traffic: { enableEgress: true, ports: [1, 2] }, sidecar: { logLevel: "error" } });
});

test("difference 18: what a person wrote stays, and the rest follows", async () => {
  await upgrade({ traffic: { enableEgress: false, mode: false }, sidecar: { logLevel: "error" } });
  person({ traffic: { enableEgress: true }, sidecar: { resources: { limits: { cpu: "1" } } } });
  await upgrade({ traffic: { enableEgress: false, mode: true }, sidecar: { logLevel: "info" } });
  expect(spec()).toEqual({
    traffic: { enableEgress: true, mode: true },
    sidecar: { logLevel: "info", resources: { limits: { cpu: "1" } } },
  });
  // Again and again, whichever replica starts.
  await start();
  expect(spec()).toMatchObject({ traffic: { enableEgress: true } });
});

test("a list is one setting", async () => {
  await upgrade({ traffic: { ports: [1] } });
  person({ traffic: { ports: [7] } });
  await upgrade({ traffic: { ports: [1, 2] } });
  expect(spec()).toEqual({ traffic: { ports: [7] } });
});

test("what was made here says so for good, and what was there never does", async () => {
  const labels = () =>
    (server.of("meshconfigs").objects.get("mesh/osm-mesh-config")?.["metadata"] as Json | undefined)?.["labels"];
  await upgrade({ traffic: { enableEgress: true } });
  await upgrade({ traffic: { enableEgress: false } });
  expect(labels()).toEqual({ "app.kubernetes.io/part-of": "heddle" });
  server.of("meshconfigs").delete("mesh/osm-mesh-config");
  person({ traffic: { mode: true } });
  await upgrade({ traffic: { enableEgress: true } });
  await upgrade({ traffic: { enableEgress: false } });
  expect(spec()).toEqual({ traffic: { mode: true, enableEgress: false } });
  expect(labels() ?? {}).toEqual({});
});

test("without values nothing is made", async () => {
  await start();
  expect(spec()).toBeUndefined();
});

test("what fails is tried again, and does not hold up the start", async () => {
  let failures = 0;
  server.fault = ({ method }) => (method === "PATCH" && failures++ < 3 ? { status: 403 } : undefined);
  await upgrade({ traffic: { enableEgress: true } });
  await until("it is made", () => spec() !== undefined);
  expect(failures).toBe(4);
});
