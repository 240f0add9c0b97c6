/** What a real API server makes of it: who owns which field of MeshConfig, defaults of the CRD, OSM's own object. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { load } from "js-yaml";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { followPreset } from "../../../src/roles/mesh-config.ts";
import { KubernetesClient } from "../../../src/sources/kubernetes/client.ts";
import { kubeconfig } from "../../../src/sources/kubernetes/kubeconfig.ts";
import { silent } from "../../../src/telemetry/log.ts";
import { until } from "../../support/live-mesh.ts";
import { startApiServer, withoutApiServer, type ApiServer } from "../chart/api-server.ts";
import { at, ROOT } from "../chart/helm.ts";
import { makeNamespace, messageOf } from "../chart/objects.ts";

const missing = withoutApiServer();
const GROUP = "/apis/config.openservicemesh.io/v1alpha2";
let api: ApiServer;
let client: KubernetesClient;

beforeAll(async () => {
  if (missing) return;
  api = await startApiServer();
  client = new KubernetesClient({ config: await kubeconfig(api.kubeconfig) });
  const crd: unknown = load(readFileSync(join(ROOT, "crds/config.openservicemesh.io_meshconfigs.yaml"), "utf8"));
  const made = await api.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd);
  expect(made.status, messageOf(made)).toBe(201);
  await until("it is served", async () => (await api.call("GET", `${GROUP}/meshconfigs`)).status === 200);
}, 1_800_000);
afterAll(async () => {
  client?.close();
  await api?.stop();
});

describe.skipIf(missing)("MeshConfig and the chart's values", () => {
  const signal = new AbortController().signal;

  /** A mesh in a namespace of its own. */
  async function mesh(namespace: string) {
    await makeNamespace(api, namespace);
    const maps = `/api/v1/namespaces/${namespace}/configmaps`;
    const path = `${GROUP}/namespaces/${namespace}/meshconfigs`;
    return {
      path,
      upgrade: async (spec: unknown) => {
        const data = { "preset-mesh-config.json": JSON.stringify(spec) };
        const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "preset" }, data };
        const options = { contentType: "application/apply-patch+yaml" };
        const put = await api.call("PATCH", `${maps}/preset?fieldManager=helm&force=true`, object, options);
        expect(put.status, messageOf(put)).toBeLessThan(300);
        await followPreset({ client, log: silent, namespace, preset: "preset" }, signal);
      },
      /** As `kubectl edit` and `kubectl patch`. */
      edit: async (patch: unknown) => {
        const options = { contentType: "application/merge-patch+json" };
        const reply = await api.call("PATCH", `${path}/osm-mesh-config?fieldManager=kubectl-edit`, patch, options);
        expect(reply.status, messageOf(reply)).toBe(200);
      },
      spec: async () => at((await api.call("GET", `${path}/osm-mesh-config`)).json, "spec"),
    };
  }

  test("edits survive upgrades, and what nobody edited follows", async () => {
    const { upgrade, edit, spec } = await mesh("edited");
    await upgrade({
      traffic: { enableEgress: false, outboundPortExclusionList: [1], inboundPortExclusionList: [1] },
      sidecar: { logLevel: "error", resources: {} },
      featureFlags: { enableRetryPolicy: false },
    });
    await edit({
      spec: {
        traffic: { enableEgress: true, inboundPortExclusionList: [7, 8] },
        sidecar: { resources: { limits: { cpu: "1", "example.com/gpu": "1" } } },
      },
    });
    await upgrade({
      traffic: { enableEgress: false, outboundPortExclusionList: [1, 2], inboundPortExclusionList: [1, 2] },
      sidecar: { logLevel: "info", resources: { limits: { cpu: "2", memory: "1Gi", "example.com/gpu": "2" } } },
      featureFlags: { enableRetryPolicy: true },
    });
    expect(await spec()).toMatchObject({
      traffic: { enableEgress: true, outboundPortExclusionList: [1, 2], inboundPortExclusionList: [7, 8] },
      sidecar: { logLevel: "info", resources: { limits: { cpu: "1", memory: "1Gi", "example.com/gpu": "1" } } },
      featureFlags: { enableRetryPolicy: true },
    });
    // What the values no longer say goes, but for what somebody wrote.
    await upgrade({ traffic: { enableEgress: false } });
    expect(await spec()).toMatchObject({
      traffic: { enableEgress: true, inboundPortExclusionList: [7, 8] },
      sidecar: { resources: { limits: { cpu: "1", "example.com/gpu": "1" } } },
    });
    expect(at(await spec(), "traffic", "outboundPortExclusionList")).toBeUndefined();
    expect(at(await spec(), "featureFlags", "enableRetryPolicy")).toBeUndefined();
  });

  test("a default of the CRD is nobody's edit", async () => {
    const { upgrade, spec } = await mesh("defaults");
    await upgrade({ sidecar: { logLevel: "error" } });
    expect(at(await spec(), "sidecar", "tlsMinProtocolVersion")).toBe("TLSv1_2");
    await upgrade({ sidecar: { logLevel: "error", tlsMinProtocolVersion: "TLSv1_3" } });
    expect(at(await spec(), "sidecar", "tlsMinProtocolVersion")).toBe("TLSv1_3");
  });

  test("OSM's own object keeps all that it says", async () => {
    const { path, upgrade, spec } = await mesh("of-osm");
    const theirs = { traffic: { enableEgress: true, enablePermissiveTrafficPolicyMode: true } };
    const object = {
      apiVersion: "config.openservicemesh.io/v1alpha2",
      kind: "MeshConfig",
      metadata: { name: "osm-mesh-config" },
      spec: theirs,
    };
    expect((await api.call("POST", `${path}?fieldManager=osm-bootstrap`, object)).status).toBe(201);
    await upgrade({
      traffic: { enableEgress: false, enablePermissiveTrafficPolicyMode: false, outboundPortExclusionList: [6379] },
    });
    expect(await spec()).toMatchObject({ traffic: { ...theirs.traffic, outboundPortExclusionList: [6379] } });
  });

  test("replicas that start together agree", async () => {
    const { upgrade, spec } = await mesh("together");
    await Promise.all([1, 2, 3].map(() => upgrade({ traffic: { enableEgress: true } })));
    expect(await spec()).toMatchObject({ traffic: { enableEgress: true } });
  });
});
