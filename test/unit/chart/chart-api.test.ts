/** What a real API server says of what the chart makes, and of the rights that it gives. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { KINDS } from "../../../src/manifest/kinds.ts";
import { startApiServer, withoutApiServer, type ApiServer } from "./api-server.ts";
import { at, CHART, MAJORS, one, render, runHelm, type Major, type Manifest } from "./helm.ts";
import { collection, create, makeNamespace, messageOf, policy } from "./objects.ts";
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

  const CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
  const deployment = `/apis/apps/v1/namespaces/${PLACE}/deployments/osm-controller`;

  /** Until it is so: an API server makes and removes CRDs in its own time. */
  async function until(what: string, so: () => Promise<boolean>): Promise<void> {
    const end = performance.now() + 60_000;
    while (!(await so())) {
      if (performance.now() > end) throw new Error(`not within 60 s: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  const release = (): Promise<unknown> => helm(4, "uninstall", "heddle", "--no-hooks", "--ignore-not-found");

  /** Makes the TrafficTarget CRD one that nobody's helm knows. */
  async function foreign(): Promise<Manifest> {
    const ours = one(await render(), "CustomResourceDefinition", "traffictargets.access.smi-spec.io");
    const metadata = { name: ours.metadata.name, labels: { from: "osm" } };
    const made = await api.call("POST", CRDS, { ...ours, metadata });
    if (made.status === 409) {
      const { json } = await api.call("GET", crd(ours.metadata.name));
      const resourceVersion = at(json, "metadata", "resourceVersion");
      const reply = await api.call("PUT", crd(ours.metadata.name), {
        ...ours,
        metadata: { ...metadata, resourceVersion },
      });
      expect(reply.status, messageOf(reply)).toBe(200);
    } else expect(made.status, messageOf(made)).toBe(201);
    return ours;
  }

  describe("in a cluster", { timeout: 120_000 }, () => {
    afterEach(release);

    test.each(MAJORS)("is installed, upgraded and uninstalled by helm %i", async (major) => {
      const installed = await install(major);
      expect([installed.code, installed.err]).toEqual([0, ""]);
      expect(installed.out).toContain("kubectl label namespace");
      // As its owner writes it: helm must leave that alone.
      const caBundle = Buffer.from(api.ca).toString("base64");
      const patch = [{ op: "add", path: "/webhooks/0/clientConfig/caBundle", value: caBundle }];
      const patched = await api.call("PATCH", webhook, patch, { contentType: "application/json-patch+json" });
      expect(patched.status).toBe(200);
      const upgraded = await helm(major, "upgrade", "heddle", CHART, "--set", "controller.replicas=3");
      expect([upgraded.code, upgraded.err]).toEqual([0, ""]);
      expect(at((await api.call("GET", deployment)).json, "spec", "replicas")).toBe(3);
      expect(at((await api.call("GET", webhook)).json, "webhooks", 0, "clientConfig", "caBundle")).toBe(caBundle);
      expect((await helm(major, "upgrade", "heddle", CHART, "--reuse-values")).code).toBe(0);
      expect(at((await api.call("GET", deployment)).json, "spec", "replicas")).toBe(3);
      expect((await uninstall(major)).code).toBe(0);
      for (const path of [webhook, deployment, `/api/v1/namespaces/${PLACE}/services/osm-controller`])
        expect((await api.call("GET", path)).status, path).toBe(404);
      expect((await api.call("GET", crd("traffictargets.access.smi-spec.io"))).status).toBe(200);
      // What was left is taken up again.
      expect((await install(major)).code).toBe(0);
    });

    test.each(MAJORS)("passes --dry-run=server with helm %i, and leaves nothing", async (major) => {
      const { code, out, err } = await install(major, "--dry-run=server");
      expect([code, err]).toEqual([0, ""]);
      expect(out).toContain("kind: MutatingWebhookConfiguration");
      expect((await api.call("GET", deployment)).status).toBe(404);
    });

    test.each(MAJORS)("leaves somebody else's CRDs alone and says so with helm %i", async (major) => {
      const { name } = (await foreign()).metadata;
      const { code, out, err } = await install(major);
      expect([code, err]).toEqual([0, ""]);
      expect(out).toMatch(/belong to somebody else and were left alone:\n {2}traffictargets\.access\.smi-spec\.io\n\w/);
      expect(at((await api.call("GET", crd(name))).json, "metadata", "labels")).toEqual({ from: "osm" });
    });

    test.each(MAJORS)("takes them over when told so with helm %i", async (major) => {
      const { metadata } = await foreign();
      // helm 4 applies on the server, where other writers' fields are theirs until they are taken.
      const force = major === 4 ? ["--force-conflicts"] : [];
      const { code, err } = await install(major, "--set", "adopt=true", "--take-ownership", ...force);
      expect([code, err]).toEqual([0, ""]);
      expect((await api.call("GET", crd(metadata.name))).json).toMatchObject({
        metadata: { labels: metadata.labels, annotations: { "meta.helm.sh/release-name": "heddle" } },
      });
    });

    test("takes its CRDs away with it when told so", async () => {
      // What an earlier release left is taken up, and goes with this one.
      expect((await install(4, "--set", "crds.keep=false")).code).toBe(0);
      expect((await uninstall(4)).code).toBe(0);
      await until("CRDs are removed", async () => at((await api.call("GET", CRDS)).json, "items", 0) === undefined);
    });

    test("is not installed beside another mesh", async () => {
      const theirs = one(await render(), "MutatingWebhookConfiguration", "osm-webhook-osm");
      const labels = { ...theirs.metadata.labels, "app.kubernetes.io/instance": "other" };
      const path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
      const made = await api.call("POST", path, { ...theirs, metadata: { name: "osm-webhook-other", labels } });
      expect(made.status).toBe(201);
      try {
        const { code, err } = await install(4);
        expect(code).not.toBe(0);
        expect(err).toContain(
          "There is a mesh in this cluster already: other (webhook configuration osm-webhook-other)",
        );
      } finally {
        await api.call("DELETE", `${path}/osm-webhook-other`);
      }
    });
  });

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

  test("makes pods that a namespace with Pod Security restricted admits", async () => {
    await api.call("POST", "/api/v1/namespaces", {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "restricted", labels: { "pod-security.kubernetes.io/enforce": "restricted" } },
    });
    const place = "/api/v1/namespaces/restricted";
    for (const name of ["osm-controller", "osm-injector", "heddle-cleanup", "default"])
      await api.call("POST", `${place}/serviceaccounts`, {
        apiVersion: "v1",
        kind: "ServiceAccount",
        metadata: { name },
      });
    const pods = `${place}/pods?dryRun=All`;
    const pod = (spec: unknown) => ({ apiVersion: "v1", kind: "Pod", metadata: { name: "pod" }, spec });
    const specs = (await render()).map((object) => at(object, "spec", "template", "spec")).filter(Boolean);
    expect(specs).toHaveLength(3);
    for (const spec of specs) expect(messageOf(await api.call("POST", pods, pod(spec)))).toContain('"kind":"Pod"');
    const { status } = await api.call("POST", pods, pod({ containers: [{ name: "any", image: "any" }] }));
    expect(status).toBe(403);
  });

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
      // CRDs that an earlier test made somebody else's, or that are still going.
      await until(
        "it is installed",
        async () => (await install(4, "--set", "adopt=true", "--take-ownership", "--force-conflicts")).code === 0,
      );
      for (const { plural, group } of KINDS.filter(({ group, kind }) => group.includes("-spec") && kind !== "UDPRoute"))
        await until(`${plural} are served`, async () => {
          const { json } = await api.call("GET", `/apis/${group}`);
          const version = at(json, "preferredVersion", "groupVersion");
          return (await api.call("GET", `/apis/${String(version)}/${plural}`)).status === 200;
        });
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
    afterAll(release);

    const as = (account: string, method: string, path: string, body?: unknown, contentType?: string) =>
      api.call(method, path, body, { token: tokens.get(account)!, ...(contentType ? { contentType } : {}) });
    const apply = (name: string, data: object) => ({ apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data });
    const APPLY = "application/apply-patch+yaml";
    const maps = "/api/v1/namespaces/shop/configmaps";
    const secrets = `/api/v1/namespaces/${PLACE}/secrets`;
    const secret = (name: string) => ({ apiVersion: "v1", kind: "Secret", metadata: { name } });
    const configs = `/apis/config.openservicemesh.io/v1alpha2/namespaces/${PLACE}/meshconfigs`;
    const config = {
      apiVersion: "config.openservicemesh.io/v1alpha2",
      kind: "MeshConfig",
      metadata: { name: "osm-mesh-config" },
    };

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
          .filter((version) => versions.includes(version))
          .toSorted()
          .at(-1);
        await allowed("GET", group === "" ? `/api/v1/${plural}` : `/apis/${group}/${newest}/${plural}`);
      }
      await allowed("POST", secrets, secret("osm-ca-bundle"));
      await allowed("GET", `${secrets}/osm-ca-bundle`);
      await allowed("PATCH", `${maps}/heddle-ca?fieldManager=heddle`, apply("heddle-ca", { "ca.crt": "x" }), APPLY);
      await allowed("GET", `/api/v1/namespaces/${PLACE}/configmaps/preset-mesh-config`);
      await allowed("GET", "/api/v1/configmaps?fieldSelector=metadata.name%3Dheddle-ca");
      await allowed("DELETE", `${maps}/heddle-ca`);
      for (const spec of [{}, { traffic: { enableEgress: true } }])
        await allowed("PATCH", `${configs}/osm-mesh-config?fieldManager=heddle`, { ...config, spec }, APPLY);
      const leases = `/apis/coordination.k8s.io/v1/namespaces/${PLACE}/leases`;
      await allowed("POST", leases, {
        apiVersion: "coordination.k8s.io/v1",
        kind: "Lease",
        metadata: { name: "heddle-controller" },
      });
      const lease = await as("osm-controller", "GET", `${leases}/heddle-controller`);
      await allowed("PUT", `${leases}/heddle-controller`, lease.json);
      await allowed("POST", "/api/v1/namespaces/shop/events", {
        apiVersion: "v1",
        kind: "Event",
        metadata: { name: "problem" },
        involvedObject: { kind: "TrafficTarget", namespace: "shop", name: "x" },
      });
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
        // It watches this one object (src/roles/ca-bundle.ts).
        webhook.replace(/\/([^/]+)$/, "?fieldSelector=metadata.name%3D$1"),
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
        ["PATCH", `${secrets}/osm-ca-bundle`, { data: {} }, "application/merge-patch+json"],
        ["DELETE", `${secrets}/osm-ca-bundle`],
        ["POST", `/api/v1/namespaces/shop/serviceaccounts/default/token`, {}],
        ["PATCH", `${maps}/other?fieldManager=heddle`, apply("other", {}), APPLY],
        ["POST", maps, apply("other", {})],
        ["POST", maps, apply("heddle-ca", {})],
        ["GET", `${maps}/heddle-ca`],
        ["DELETE", `${maps}/other`],
        ["GET", maps],
        ["GET", "/api/v1/configmaps"],
        ["PATCH", `${configs}/other?fieldManager=heddle`, { ...config, metadata: { name: "other" } }, APPLY],
        ["DELETE", `${configs}/osm-mesh-config`],
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
