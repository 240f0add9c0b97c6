/** What a real API server says of the CRDs. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lacking, OSM_MANIFESTS, osmManifestsMissing } from "../../support/live-mesh.ts";
import { startApiServer, withoutApiServer, type ApiServer } from "./api-server.ts";
import { at, ROOT, type Manifest } from "./helm.ts";
import { collection, create, folder, makeNamespace, messageOf, policy } from "./objects.ts";

const missing = withoutApiServer();
let api: ApiServer;
beforeAll(async () => {
  if (!missing) api = await startApiServer();
}, 1_800_000);
afterAll(async () => {
  await api?.stop();
});

describe.skipIf(missing)("the CRDs", () => {
  beforeAll(async () => {
    for (const crd of folder(join(ROOT, "crds"))) {
      const reply = await api.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd);
      expect(messageOf(reply).slice(0, 2000), crd.metadata.name).toContain(crd.metadata.name);
      expect(reply.status).toBe(201);
      await served(crd.metadata.name);
    }
  }, 60_000);

  test("are structural, with accepted names", async () => {
    const { json } = await api.call("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
    for (const crd of json["items"] as unknown[]) {
      const conditions = at(crd, "status", "conditions") as { type: string; status: string }[];
      expect(conditions.find(({ type }) => type === "NonStructuralSchema")?.status).not.toBe("True");
      expect(conditions.find(({ type }) => type === "NamesAccepted")?.status).toBe("True");
    }
  });

  const policies = (objects: readonly Manifest[]) =>
    objects.filter(({ apiVersion }) => /smi-spec\.io|openservicemesh\.io/.test(apiVersion));

  test("take our example as it is", async () => {
    const objects = policies(folder(join(ROOT, "examples/bookstore")));
    expect(objects.length).toBeGreaterThan(3);
    for (const object of objects) {
      if (object.metadata.namespace) await makeNamespace(api, object.metadata.namespace);
      expect(messageOf(await create(api, object, "&dryRun=All"))).toContain(object.metadata.name);
    }
  });

  test.skipIf(lacking(osmManifestsMissing()))("take OSM's own manifests as they are", async () => {
    const objects = policies(["access", "split", "meshconfig"].flatMap((name) => folder(join(OSM_MANIFESTS, name))));
    expect(objects.length).toBeGreaterThan(10);
    for (const object of objects) {
      if (object.metadata.namespace) await makeNamespace(api, object.metadata.namespace);
      const reply = await create(api, object, "&dryRun=All");
      expect([reply.status, messageOf(reply)]).toEqual([201, expect.anything()]);
    }
  });

  test("keep headers in both forms, and fields that they do not know", async () => {
    const headers = { "user-agent": ".*", "client-app": "x" };
    const matches = [
      { name: "map", headers },
      { name: "list", headers: [headers] },
      { name: "misspelt", pathRegx: "/x" },
    ];
    const reply = await create(api, policy("specs.smi-spec.io/v1alpha4", "HTTPRouteGroup", "headers", { matches }));
    expect(at(reply.json, "spec", "matches")).toEqual(matches);
  });

  test("keep a split's matches, although v1alpha2 is stored", async () => {
    const spec = {
      service: "web",
      matches: [{ kind: "HTTPRouteGroup", name: "mobile" }],
      backends: [{ service: "web-v1", weight: 1 }],
    };
    const object = policy("split.smi-spec.io/v1alpha4", "TrafficSplit", "matched", spec);
    expect((await create(api, object)).status).toBe(201);
    const path = `${collection(object)}/matched`;
    expect(at((await api.call("GET", path)).json, "spec")).toEqual(spec);
    expect(at((await api.call("GET", path.replace("v1alpha4", "v1alpha2"))).json, "spec")).toEqual(spec);
  });

  test("give MeshConfig OSM's defaults", async () => {
    const reply = await create(
      api,
      policy("config.openservicemesh.io/v1alpha1", "MeshConfig", "defaults", { sidecar: {} }),
    );
    expect(at(reply.json, "spec", "sidecar")).toEqual({
      localProxyMode: "Localhost",
      tlsMinProtocolVersion: "TLSv1_2",
      tlsMaxProtocolVersion: "TLSv1_3",
    });
  });

  const POLICY = "policy.openservicemesh.io/v1alpha1";
  const account = { kind: "ServiceAccount", name: "a", namespace: "b" };
  const backend = { name: "web", port: { number: 80, protocol: "http" } };
  const egress = { sources: [account], ports: [{ number: 80, protocol: "http" }] };
  const setting = { apiGroup: POLICY, kind: "UpstreamTrafficSetting", name: "x" };
  test.each<[string, Manifest, RegExp]>([
    [
      "a TrafficTarget without sources",
      policy("access.smi-spec.io/v1alpha3", "TrafficTarget", "bad", { destination: account, rules: [] }),
      /spec\.sources: Required/,
    ],
    [
      "a rule of an unknown kind",
      policy("access.smi-spec.io/v1alpha3", "TrafficTarget", "bad", {
        destination: account,
        sources: [],
        rules: [{ kind: "GRPCRoute", name: "x" }],
      }),
      /spec\.rules\[0\]\.kind: Unsupported value: "GRPCRoute"/,
    ],
    [
      "half a weight",
      policy("split.smi-spec.io/v1alpha2", "TrafficSplit", "bad", {
        service: "a",
        backends: [{ service: "b", weight: 0.5 }],
      }),
      /weight/,
    ],
    [
      "an ingress source without namespace",
      policy(POLICY, "IngressBackend", "bad", { backends: [backend], sources: [{ kind: "Service", name: "gateway" }] }),
      /a source of kind Service needs its namespace/,
    ],
    [
      "an ingress source that is no IP range",
      policy(POLICY, "IngressBackend", "bad", {
        backends: [backend],
        sources: [{ kind: "IPRange", name: "everybody" }],
      }),
      /must be an IP range such as 10\.0\.0\.0\/8/,
    ],
    [
      "an ingress protocol that OSM refused",
      policy(POLICY, "IngressBackend", "bad", {
        backends: [{ name: "web", port: { number: 80, protocol: "tcp" } }],
        sources: [],
      }),
      /spec\.backends\[0\]\.port\.protocol/,
    ],
    [
      "an egress reference of another kind",
      policy(POLICY, "Egress", "bad", { ...egress, matches: [{ apiGroup: "v1", kind: "Secret", name: "x" }] }),
      /must be kind HTTPRouteGroup with apiGroup/,
    ],
    [
      "two settings for one egress",
      policy(POLICY, "Egress", "bad", { ...egress, matches: [setting, { ...setting, name: "y" }] }),
      /at most one UpstreamTrafficSetting/,
    ],
    [
      "an egress to no IP range",
      policy(POLICY, "Egress", "bad", { ...egress, ipAddresses: ["10.0.0.0"] }),
      /spec\.ipAddresses\[0\]/,
    ],
    [
      "two roots in one",
      policy("config.openservicemesh.io/v1alpha2", "MeshRootCertificate", "bad", {
        provider: {
          tresor: { ca: { secretRef: { name: "a", namespace: "b" } } },
          certManager: { issuerName: "a", issuerKind: "Issuer", issuerGroup: "b" },
        },
      }),
      /spec\.provider/,
    ],
  ])("refuse %s", async (_name, object, sentence) => {
    const reply = await create(api, object, "&dryRun=All");
    expect(reply.status).toBe(422);
    expect(messageOf(reply)).toMatch(sentence);
  });

  test("let a root's role change step by step only, and nothing else of it", async () => {
    const spec = { provider: { tresor: { ca: { secretRef: { name: "a", namespace: "b" } } } }, role: "active" };
    const object = policy("config.openservicemesh.io/v1alpha2", "MeshRootCertificate", "root", spec);
    expect((await create(api, object)).status).toBe(201);
    const change = (patch: object) =>
      api.call("PATCH", `${collection(object)}/root`, { spec: patch }, { contentType: "application/merge-patch+json" });
    expect(messageOf(await change({ role: "inactive" }))).toMatch(/by way of passive/);
    expect(messageOf(await change({ trustDomain: "other" }))).toMatch(/trustDomain cannot be changed/);
    expect((await change({ role: "passive" })).status).toBe(200);
    expect((await change({ role: "inactive" })).status).toBe(200);
  });

  /** A CRD is served a moment after it is made. */
  async function served(name: string): Promise<void> {
    const until = performance.now() + 20_000;
    for (;;) {
      const { json } = await api.call("GET", `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`);
      const conditions = (at(json, "status", "conditions") ?? []) as { type: string; status: string }[];
      const version = at(json, "spec", "versions") as { name: string; served: boolean }[];
      const path = `/apis/${String(at(json, "spec", "group"))}/${version.find((each) => each.served)?.name}/${String(at(json, "spec", "names", "plural"))}`;
      if (conditions.some(({ type, status }) => type === "Established" && status === "True")) {
        if ((await api.call("GET", path)).status === 200) return;
      }
      if (performance.now() > until) throw new Error(`${name} is not served`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
});
