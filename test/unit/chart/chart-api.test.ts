/** What a real API server says of what the chart makes, and of the rights that it gives. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KINDS } from "../../../src/manifest/kinds.ts";
import { startApiServer, type ApiServer, type Reply } from "./api-server.ts";
import { at, CHART, MAJORS, one, render, runHelm, type Major, type Manifest } from "./helm.ts";
import { collection, create, makeNamespace, messageOf, policy, withoutApiServer } from "./objects.ts";
import { VARIANTS } from "./values.ts";

const missing = withoutApiServer();
let api: ApiServer;
beforeAll(async () => {
  if (!missing) api = await startApiServer();
}, 1_800_000);
afterAll(async () => {
  await api?.stop();
});

describe.skipIf(missing)("the chart", () => {
  const PLACE = "heddle-system";
  const helm = (major: Major, ...args: string[]) =>
    runHelm(major, [...args, "--namespace", PLACE, "--kubeconfig", api.kubeconfig]);
  const install = (major: Major, ...args: string[]) =>
    helm(major, "install", "heddle", CHART, "--create-namespace", ...args);
  const uninstall = (major: Major) => helm(major, "uninstall", "heddle", "--no-hooks");
  const webhook = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/osm-webhook-osm";
  const crd = (name: string) => `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`;

  beforeAll(async () => {
    // helm is to find a cluster without them, whatever ran before.
    const { json } = await api.call("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
    for (const each of json["items"] as Manifest[]) await api.call("DELETE", crd(each.metadata.name));
    await gone(() => api.call("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"));
  }, 60_000);

  /** Until a list is empty. */
  async function gone(list: () => Promise<Reply>): Promise<void> {
    const until = performance.now() + 30_000;
    while (((await list()).json["items"] as unknown[]).length > 0) {
      if (performance.now() > until) throw new Error("objects are still there");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  test.each(MAJORS)(
    "helm %i installs, upgrades and uninstalls",
    async (major) => {
      const installed = await install(major);
      expect([installed.code, installed.err]).toEqual([0, ""]);
      expect(installed.out).toContain("kubectl label namespace");
      // As its owner keeps it: helm must leave that alone.
      const caBundle = Buffer.from("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n").toString("base64");
      const patch = [{ op: "add", path: "/webhooks/0/clientConfig/caBundle", value: caBundle }];
      const patched = await api.call("PATCH", webhook, patch, { contentType: "application/json-patch+json" });
      expect(patched.status).toBe(200);
      const upgraded = await helm(major, "upgrade", "heddle", CHART, "--set", "controller.replicas=3");
      expect([upgraded.code, upgraded.err]).toEqual([0, ""]);
      const { json } = await api.call("GET", `/apis/apps/v1/namespaces/${PLACE}/deployments/osm-controller`);
      expect(at(json, "spec", "replicas")).toBe(3);
      if (bundled)
        expect(at((await api.call("GET", webhook)).json, "webhooks", 0, "clientConfig", "caBundle")).toBe(caBundle);
      const again = await helm(major, "upgrade", "heddle", CHART, "--reuse-values");
      expect(again.code).toBe(0);
      const kept = await api.call("GET", `/apis/apps/v1/namespaces/${PLACE}/deployments/osm-controller`);
      expect(at(kept.json, "spec", "replicas")).toBe(3);
      expect((await uninstall(major)).code).toBe(0);
      expect((await api.call("GET", webhook)).status).toBe(404);
      expect((await api.call("GET", crd("traffictargets.access.smi-spec.io"))).status).toBe(200);
    },
    120_000,
  );

  test("removes the CRDs when told so", async () => {
    expect((await install(4, "--set", "crds.keep=false")).code).toBe(0);
    expect((await uninstall(4)).code).toBe(0);
    await gone(() => api.call("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"));
  }, 60_000);

  test.each(MAJORS)(
    "helm %i leaves somebody else's CRDs alone and says so",
    async (major) => {
      const theirs = one(await render(), "CustomResourceDefinition", "traffictargets.access.smi-spec.io");
      await api.call("DELETE", crd(theirs.metadata.name));
      await gone(() =>
        api.call(
          "GET",
          `/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldSelector=metadata.name=${theirs.metadata.name}`,
        ),
      );
      const labels = { from: "osm" };
      const made = await api.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
        ...theirs,
        metadata: { name: theirs.metadata.name, labels },
      });
      expect(made.status).toBe(201);
      const { code, out, err } = await install(major);
      expect([code, err]).toEqual([0, ""]);
      expect(out).toMatch(/belong to somebody else and were left alone:\n {2}traffictargets\.access\.smi-spec\.io\n/);
      expect((await uninstall(major)).code).toBe(0);
      expect(at((await api.call("GET", crd(theirs.metadata.name))).json, "metadata", "labels")).toEqual(labels);
    },
    60_000,
  );

  test("refuses to install beside another mesh", async () => {
    const theirs = one(await render(), "MutatingWebhookConfiguration", "osm-webhook-osm");
    const other = {
      ...theirs,
      metadata: {
        name: "osm-webhook-other",
        labels: { ...theirs.metadata.labels, "app.kubernetes.io/instance": "other" },
      },
    };
    const path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    expect((await api.call("POST", path, other)).status).toBe(201);
    try {
      const { code, err } = await install(4);
      expect(code).not.toBe(0);
      expect(err).toMatch(/There is a mesh in this cluster already: other \(webhook configuration osm-webhook-other\)/);
    } finally {
      await api.call("DELETE", `${path}/osm-webhook-other`);
    }
  }, 60_000);

  test.each(Object.entries(VARIANTS))(
    "is accepted with %s, object by object",
    async (_name, values) => {
      await makeNamespace(api, PLACE);
      for (const object of await render({ values })) {
        // Kinds of the Prometheus operator are not there.
        if (object.apiVersion.startsWith("monitoring.coreos.com")) continue;
        const reply = await api.call("POST", `${await resource(object)}?dryRun=All&fieldValidation=Strict`, object);
        expect([201, 409], `${object.kind} ${object.metadata.name}: ${messageOf(reply)}`).toContain(reply.status);
      }
    },
    60_000,
  );

  /** The collection of any kind, from the API server's own list. */
  async function resource({ apiVersion, kind, metadata }: Manifest): Promise<string> {
    const base = apiVersion === "v1" ? "/api/v1" : `/apis/${apiVersion}`;
    const { json } = await api.call("GET", base);
    const found = (json["resources"] as { name: string; kind: string; namespaced: boolean }[]).find(
      (each) => each.kind === kind && !each.name.includes("/"),
    );
    expect(found, `${apiVersion} ${kind}`).toBeDefined();
    return `${base}/${found!.namespaced ? `namespaces/${metadata.namespace}/` : ""}${found!.name}`;
  }

  describe("gives rights that", () => {
    const tokens = new Map<string, string>();
    beforeAll(async () => {
      expect((await install(4)).code).toBe(0);
      await makeNamespace(api, "shop");
      for (const account of ["osm-controller", "osm-injector"]) {
        const { json } = await api.call("POST", `/api/v1/namespaces/${PLACE}/serviceaccounts/${account}/token`, {
          apiVersion: "authentication.k8s.io/v1",
          kind: "TokenRequest",
          spec: {},
        });
        tokens.set(account, at(json, "status", "token") as string);
      }
    }, 60_000);
    afterAll(async () => {
      await uninstall(4);
    });

    const as = (account: string, method: string, path: string, body?: unknown, contentType?: string) =>
      api.call(method, path, body, { token: tokens.get(account)!, ...(contentType ? { contentType } : {}) });
    const apply = (name: string, data: object) => ({ apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data });
    const APPLY = "application/apply-patch+yaml";
    const maps = "/api/v1/namespaces/shop/configmaps";
    const secrets = `/api/v1/namespaces/${PLACE}/secrets`;
    const secret = (name: string) => ({ apiVersion: "v1", kind: "Secret", metadata: { name } });

    test("suffice the controller", async () => {
      const allowed = async (method: string, path: string, body?: unknown, contentType?: string) => {
        const reply = await as("osm-controller", method, path, body, contentType);
        expect(reply.status, `${method} ${path}: ${messageOf(reply)}`).toBeLessThan(300);
      };
      for (const { group, versions, plural, kind } of KINDS) {
        if (kind === "UDPRoute") continue;
        const { json } = group === "" ? { json: {} } : await api.call("GET", `/apis/${group}`);
        const newest = ((at(json, "versions") ?? []) as { version: string }[])
          .map(({ version }) => version)
          .filter((version) => (versions as readonly string[]).includes(version))
          .toSorted()
          .at(-1);
        await allowed("GET", group === "" ? `/api/v1/${plural}` : `/apis/${group}/${newest}/${plural}`);
      }
      await allowed("POST", secrets, secret("osm-ca-bundle"));
      await allowed("GET", `${secrets}/osm-ca-bundle`);
      await allowed("GET", `${secrets}?fieldSelector=metadata.name=osm-ca-bundle`);
      await allowed("PATCH", `${maps}/heddle-ca?fieldManager=heddle`, apply("heddle-ca", { "ca.crt": "x" }), APPLY);
      await allowed("DELETE", `${maps}/heddle-ca`);
      await allowed("GET", `/api/v1/namespaces/${PLACE}/configmaps/preset-mesh-config`);
      await allowed("POST", `/apis/config.openservicemesh.io/v1alpha2/namespaces/${PLACE}/meshconfigs`, {
        apiVersion: "config.openservicemesh.io/v1alpha2",
        kind: "MeshConfig",
        metadata: { name: "osm-mesh-config" },
      });
      const leases = `/apis/coordination.k8s.io/v1/namespaces/${PLACE}/leases`;
      await allowed("POST", leases, {
        apiVersion: "coordination.k8s.io/v1",
        kind: "Lease",
        metadata: { name: "heddle-controller" },
      });
      await allowed("GET", `${leases}/heddle-controller`);
      await allowed("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenReview",
        spec: { token: "x" },
      });
      const hook = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/osm-validator-mesh-osm";
      await allowed("PATCH", hook, { metadata: { annotations: { a: "b" } } }, "application/merge-patch+json");
      const split = policy("split.smi-spec.io/v1alpha2", "TrafficSplit", "split", {
        service: "a",
        backends: [{ service: "b", weight: 1 }],
      });
      expect((await create(api, split)).status).toBe(201);
      const status = {
        apiVersion: split.apiVersion,
        kind: split.kind,
        metadata: { name: "split" },
        status: { conditions: [] },
      };
      await allowed("PATCH", `${collection(split)}/split/status?fieldManager=heddle`, status, APPLY);
    });

    test("suffice the injector", async () => {
      for (const path of [
        "/api/v1/namespaces",
        `/apis/config.openservicemesh.io/v1alpha2/namespaces/${PLACE}/meshconfigs`,
        webhook,
        `/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations?fieldSelector=metadata.name=osm-webhook-osm`,
      ])
        expect((await as("osm-injector", "GET", path)).status, path).toBe(200);
      const note = { metadata: { annotations: { a: "b" } } };
      expect((await as("osm-injector", "PATCH", webhook, note, "application/merge-patch+json")).status).toBe(200);
    });

    test.each(["osm-controller", "osm-injector"])("are no more than %s needs", async (account) => {
      const policies = "/apis/access.smi-spec.io/v1alpha3/namespaces/default/traffictargets";
      const attempts: readonly (readonly [string, string, unknown?, string?])[] = [
        ["GET", secrets],
        ["GET", "/api/v1/secrets"],
        ["GET", `${secrets}/other`],
        ["GET", "/api/v1/namespaces/shop/secrets/osm-ca-bundle"],
        ["POST", "/api/v1/namespaces/shop/secrets", secret("x")],
        ["DELETE", `${secrets}/osm-ca-bundle`],
        ["POST", `/api/v1/namespaces/shop/serviceaccounts/default/token`, {}],
        ["PATCH", `${maps}/other?fieldManager=heddle`, apply("other", {}), APPLY],
        ["POST", maps, apply("other", {})],
        ["POST", maps, apply("heddle-ca", {})],
        ["GET", maps],
        ["DELETE", "/api/v1/namespaces/shop"],
        ["POST", policies, policy("access.smi-spec.io/v1alpha3", "TrafficTarget", "x", {})],
        ["DELETE", `${policies}/x`],
        ["DELETE", webhook],
        ["GET", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"],
        ["POST", "/api/v1/namespaces/shop/pods/x/exec"],
        ["DELETE", "/api/v1/namespaces/shop/pods/x"],
        ["GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"],
        ["POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", {}],
      ];
      for (const [method, path, body, contentType] of attempts)
        expect((await as(account, method, path, body, contentType)).status, `${method} ${path}`).toBe(403);
    });
  });
});
