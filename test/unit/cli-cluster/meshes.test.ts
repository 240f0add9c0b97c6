/** Which meshes there are, what they are, and how helm is run for them. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { progressLine } from "../../../src/cli/cluster/rollout.ts";
import { Bench, BUILT_IN, controller, member, namespace, pod } from "./heddle.ts";

let bench: Bench;
let chart: string;
beforeEach(async () => {
  bench = await Bench.start();
  bench.api.serve(...BUILT_IN);
  chart = join(bench.home, "chart");
  mkdirSync(chart);
});
afterEach(() => bench.stop());

const SMI = { TrafficTarget: "access.smi-spec.io/v1alpha3", HTTPRouteGroup: "specs.smi-spec.io/v1alpha4" };
const answers = (pages: Record<string, unknown>) => (path: string) =>
  path in pages ? { body: pages[path] } : { status: 404, body: "no such page" };
const controllerPod = (name = "c-1", namespace = "osm-system") =>
  pod(namespace, name, { meshed: false, labels: { app: "osm-controller" } });

describe("mesh list", () => {
  test("OSM's two tables, with versions of SMI from a controller through a port-forward", async () => {
    bench.api.put(controller(), member("shop"), member("bank"), controllerPod(), controllerPod("c-0"));
    // The first of them does not answer.
    bench.api.ports.set("osm-system/c-1:9091", answers({ "/smi/version": SMI }));
    const { out, code } = await bench.heddle(["mesh", "list"]);
    expect(code).toBe(0);
    expect(out.split("\n")).toEqual([
      "",
      "MESH NAME   MESH NAMESPACE   VERSION   ADDED NAMESPACES",
      "osm         osm-system       v0.1.0    bank,shop",
      "",
      "MESH NAME   MESH NAMESPACE   SMI SUPPORTED",
      "osm         osm-system       HTTPRouteGroup:v1alpha4,TrafficTarget:v1alpha3",
      "",
      "To list the OSM controller pods for a mesh, please run the following command passing in the mesh's namespace",
      "\tkubectl get pods -n <osm-mesh-namespace> -l app=osm-controller",
      "",
    ]);
    expect(bench.api.seen.filter((one) => one.method === "FORWARD").map((one) => one.token)).toEqual([
      "Bearer secret-token",
      "Bearer secret-token",
    ]);
  });

  test("a controller that says nothing is Unknown, no mesh is said", async () => {
    expect((await bench.heddle(["mesh", "list"])).out).toBe("No osm mesh control planes found\n");
    bench.api.put(controller("mesh-a", "a"));
    expect((await bench.heddle(["mesh", "list", "-p", "9999"])).out).toContain("a           mesh-a           Unknown");
  });

  test("who may not list the cluster sees the usual namespaces", async () => {
    bench.api.put(controller("heddle-system"), controller("elsewhere", "b"));
    bench.api.refuses = ({ path }) => (path === "/apis/apps/v1/deployments" ? 403 : undefined);
    const { out } = await bench.heddle(["mesh", "list"]);
    expect(out).toContain("osm         heddle-system");
    expect(out).not.toContain("elsewhere");
  });
});

describe("version", () => {
  const table = (version: string, commit: string, date: string) => [
    expect.stringMatching(/^heddle \d/),
    "",
    "MESH NAME   MESH NAMESPACE   VERSION   GIT COMMIT   BUILD DATE",
    `osm         osm-system       ${version}    ${commit}      ${date}`,
    "",
  ];

  test("of meshes, as their controllers tell it; OSM's fields begin with capitals", async () => {
    bench.api.put(controller(), controllerPod());
    bench.api.ports.set(
      "osm-system/c-1:9091",
      answers({ "/version": { Version: "v1.2.4", GitCommit: "7bec5b6", BuildDate: "2023-04-20" } }),
    );
    const { out, code } = await bench.heddle(["version"]);
    expect(code).toBe(0);
    expect(out.split("\n")).toEqual(table("v1.2.4", "7bec5b6", "2023-04-20"));
  });

  test("a controller that does not answer is told from its label", async () => {
    bench.api.put(controller());
    expect((await bench.heddle(["version"])).out).toContain("osm         osm-system       v0.1.0    -            -");
  });

  test("--client-only asks nobody", async () => {
    expect((await bench.heddle(["version", "--client-only"])).code).toBe(0);
    expect(bench.api.seen).toEqual([]);
  });

  test("a cluster that is gone is a remark, and a failure only for whoever named it", async () => {
    await bench.api.stop();
    const { code, notes } = await bench.heddle(["version"]);
    expect(code).toBe(0);
    expect(notes.join()).toMatch(/^The cluster's version is not known: .*cannot be reached/);
    const named = await bench.heddle(["version", "--context", "test"]);
    expect(named.code).toBe(1);
    expect(named.error).toMatch(/cannot be reached/);
  });
});

describe("install", () => {
  test("helm 3 gets mesh name, namespace and values, and what was done is said as OSM says it", async () => {
    const runs = bench.installHelm("v3.17.2+g1");
    const { code, out, notes } = await bench.heddle([
      "install",
      "--chart-path",
      chart,
      "--set",
      "a=1",
      "--set",
      "b={x,y}",
      "--atomic",
      "--timeout",
      "90s",
      "--context",
      "test",
    ]);
    expect(out).toBe("OSM installed successfully in namespace [osm-system] with mesh name [osm]\n");
    expect(code).toBe(0);
    expect(runs()).toEqual([
      `install osm ${chart} --namespace osm-system --create-namespace --wait --timeout 90s --atomic --set-string osm.meshName=osm --set osm.enforceSingleMesh=true --set a=1 --set b={x,y} --kube-context test`,
    ]);
    expect(notes).toEqual([
      "Installing into namespace [osm-system] of context test …",
      "Next: heddle namespace add NAMESPACE",
    ]);
  });

  test("helm 4, OSM's spelling, another mesh and namespace", async () => {
    const runs = bench.installHelm("v4.1.4");
    const args = ["--osm-chart-path", chart, "--mesh-name", "m2", "--atomic=true", "--enforce-single-mesh=false"];
    const { out } = await bench.heddle(["--osm-namespace", "mesh-2", "install", ...args]);
    expect(out).toBe("OSM installed successfully in namespace [mesh-2] with mesh name [m2]\n");
    expect(runs()[0]).toBe(
      `install m2 ${chart} --namespace mesh-2 --create-namespace --wait --timeout 5m --rollback-on-failure --set-string osm.meshName=m2 --set osm.enforceSingleMesh=false`,
    );
  });

  test("the namespace of OSM's configuration file", async () => {
    const runs = bench.installHelm("v4.1.4");
    mkdirSync(join(bench.home, ".osm"));
    writeFileSync(join(bench.home, ".osm", "config.yaml"), "install:\n  kind: self-hosted\n  namespace: from-file\n");
    await bench.heddle(["install", "--chart-path", chart]);
    expect(runs()[0]).toContain("--namespace from-file ");
    bench.environment["OSM_CONFIG"] = join(bench.home, "managed.yaml");
    writeFileSync(bench.environment["OSM_CONFIG"], "install: {kind: managed}\n");
    expect((await bench.heddle(["install", "--chart-path", chart])).error).toMatch(/CANNOT be installed in a managed/);
  });

  test("helm's failure is its sentence, with what the pods wait for and how to undo it", async () => {
    bench.installHelm("v3.17.2", 1, "Error: INSTALLATION FAILED: context deadline exceeded");
    const waiting = pod("osm-system", "osm-injector-1", { ready: false, meshed: false });
    waiting["status"] = {
      ...(waiting["status"] as object),
      containerStatuses: [
        { name: "osm-injector", state: { waiting: { reason: "ImagePullBackOff", message: "no such image" } } },
      ],
    };
    bench.api.put(waiting);
    const { code, error, notes } = await bench.heddle(["install", "--chart-path", chart]);
    expect(code).toBe(1);
    expect(error).toBe(
      "helm could not install the mesh: INSTALLATION FAILED: context deadline exceeded. Remove what is there before the next try: helm uninstall osm -n osm-system",
    );
    expect(progressLine([waiting, pod("osm-system", "c-1")])).toBe(
      "1 of 2 pods are ready; waiting for osm-injector-1 (ImagePullBackOff)",
    );
    expect(notes).toContain(
      "Status for pod osm-injector-1 in namespace osm-system: containers not ready; container osm-injector: ImagePullBackOff: no such image",
    );
  });

  test.each<[string, string[], RegExp]>([
    ["the same mesh", [], /^Mesh osm already exists in namespace \[osm-system\]/],
    ["its namespace", ["--mesh-name", "b"], /^Namespace osm-system has an osm-controller already/],
    [
      "a second mesh",
      ["--mesh-name", "b", "--osm-namespace", "b"],
      /^Mesh osm is in namespace \[osm-system\] already, and this one is to be the only one/,
    ],
  ])("not beside %s", async (_, args, sentence) => {
    const runs = bench.installHelm("v4.1.4");
    bench.api.put(controller());
    const { code, error } = await bench.heddle(["install", "--chart-path", chart, ...args]);
    expect(code).toBe(1);
    expect(error).toMatch(sentence);
    expect(runs()).toEqual([]);
  });

  test("not beside a mesh that allows no second one", async () => {
    bench.installHelm("v4.1.4");
    bench.api.put(controller("osm-system", "osm", { enforceSingleMesh: "true" }));
    const args = ["--mesh-name", "b", "--osm-namespace", "b", "--enforce-single-mesh=false"];
    expect((await bench.heddle(["install", "--chart-path", chart, ...args])).error).toMatch(/allows no second mesh/);
  });

  test.each<[string | undefined, string[], number, RegExp]>([
    [undefined, [], 1, /^helm is not installed: .*not in PATH\. Install helm/],
    ["v2.17.0", [], 1, /^helm is v2\.17\.0: helm 3\.14 or newer is needed/],
    ["v3.12.0", [], 1, /helm 3\.14 or newer is needed/],
    ["v4.1.4", ["--mesh-name", "-x"], 2, /cannot be a mesh's name/],
    ["v4.1.4", ["--timeout", "soon"], 2, /Write it as 90s, 5m or 1h30m/],
    ["v4.1.4", ["--chart-path", "./nowhere"], 1, /^There is no chart \.\/nowhere/],
  ])("helm %s, %j", async (version, args, wanted, sentence) => {
    if (version !== undefined) bench.installHelm(version);
    const { code, error } = await bench.heddle(["install", "--chart-path", chart, ...args]);
    expect(error).toMatch(sentence);
    expect(code).toBe(wanted);
  });
});

test("mesh upgrade keeps values, and takes helm's release from the control plane", async () => {
  const runs = bench.installHelm("v3.17.2");
  bench.api.put(controller("heddle-system", "osm", {}, { "meta.helm.sh/release-name": "heddle" }));
  const { out } = await bench.heddle(["mesh", "upgrade", "--chart-path", chart, "--set", "x=1"]);
  expect(out).toBe("OSM successfully upgraded mesh [osm] in namespace [heddle-system]\n");
  expect(runs()).toEqual([
    `upgrade heddle ${chart} --namespace heddle-system --wait --timeout 5m --reset-then-reuse-values --set x=1`,
  ]);
  bench.api.put(controller("other", "b"));
  const { code, error } = await bench.heddle(["mesh", "upgrade", "--chart-path", chart]);
  expect(code).toBe(2);
  expect(error).toMatch(/^There are several meshes: .*Choose one with --mesh-name or --osm-namespace/);
});

describe("uninstall mesh", () => {
  const caBundle = (labels: Record<string, string>) => ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "osm-ca-bundle", namespace: "osm-system", labels },
  });
  beforeEach(() => bench.api.put(controller(), member("shop"), member("bank", "other"), namespace("osm-system")));

  test("asks, uninstalls, and takes the namespaces out", async () => {
    const runs = bench.installHelm("v4.1.4");
    const { code, out, questions } = await bench.heddle(["uninstall", "mesh"], ["what?", "y"]);
    expect(code).toBe(0);
    expect(questions).toEqual(
      Array(2).fill("\nUninstall OSM [mesh name: osm] in namespace [osm-system] and/or OSM resources? [y/n]: "),
    );
    expect(out.split("\n")).toEqual([
      "",
      "List of meshes present in the cluster:",
      "MESH NAME   MESH NAMESPACE   VERSION   ADDED NAMESPACES",
      "osm         osm-system       v0.1.0    shop",
      "Namespace [shop] successfully removed from mesh [osm]",
      "OSM [mesh name: osm] in namespace [osm-system] uninstalled",
      "",
    ]);
    expect(runs()).toEqual(["uninstall osm --namespace osm-system --wait"]);
    expect(bench.api.find("/api/v1/namespaces", "shop")).toMatchObject({ metadata: { labels: {} } });
    expect(bench.api.find("/api/v1/namespaces", "bank")).toMatchObject({
      metadata: { labels: { "openservicemesh.io/monitored-by": "other" } },
    });
  });

  test("no is no, and nobody there is no", async () => {
    const runs = bench.installHelm("v4.1.4");
    expect((await bench.heddle(["uninstall", "mesh"], ["n"])).code).toBe(0);
    expect((await bench.heddle(["delete", "mesh"])).code).toBe(0);
    expect(runs()).toEqual([]);
  });

  test("with everything, unasked", async () => {
    bench.installHelm("v4.1.4");
    const labels = { "app.kubernetes.io/name": "openservicemesh.io", "app.kubernetes.io/instance": "osm" };
    const webhook = (kind: string, name: string, app: string) => ({
      apiVersion: "admissionregistration.k8s.io/v1",
      kind,
      metadata: { name, labels: { ...labels, app } },
    });
    bench.api.put(
      webhook("MutatingWebhookConfiguration", "osm-webhook-osm", "osm-injector"),
      webhook("ValidatingWebhookConfiguration", "somebody-elses", "else"),
      {
        apiVersion: "apiextensions.k8s.io/v1",
        kind: "CustomResourceDefinition",
        metadata: { name: "traffictargets.access.smi-spec.io" },
      },
      caBundle({ "app.kubernetes.io/part-of": "heddle" }),
    );
    // What helm removes.
    bench.api.refuses = ({ path, method }) => {
      if (method === "DELETE" && path.endsWith("/namespaces/osm-system"))
        bench.api.collections.set("/apis/apps/v1/deployments", []);
      return undefined;
    };
    const { code, out, questions } = await bench.heddle(["uninstall", "mesh", "-f", "-a", "--delete-namespace"]);
    expect(code).toBe(0);
    expect(questions).toEqual([]);
    const lines = out.split("\n");
    expect(lines).toContain("OSM namespace [osm-system] deleted successfully");
    expect(lines).toContain("Successfully deleted OSM CRD: traffictargets.access.smi-spec.io");
    expect(lines).toContain("Ignoring - did not find OSM CRD: meshconfigs.config.openservicemesh.io");
    expect(lines).toContain("Successfully deleted OSM MutatingWebhookConfiguration: osm-webhook-osm");
    expect(out).toContain("Ignoring - did not find any OSM ValidatingWebhookConfigurations in the cluster.");
    expect(lines).toContain("Successfully deleted OSM secret osm-ca-bundle in namespace osm-system");
    expect(
      bench.api.find("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", "somebody-elses"),
    ).toBeDefined();
  });

  test("a root of trust that Heddle did not make stays", async () => {
    bench.installHelm("v4.1.4");
    bench.api.put(caBundle({}));
    bench.api.refuses = ({ path, method }) => {
      if (method === "GET" && path.includes("/secrets/")) bench.api.collections.set("/apis/apps/v1/deployments", []);
      return undefined;
    };
    const { out } = await bench.heddle(["uninstall", "mesh", "-f", "-a"]);
    expect(out).toMatch(
      /^Ignoring - Heddle did not make secret osm-ca-bundle in namespace osm-system\. .*: kubectl delete secret osm-ca-bundle -n osm-system$/m,
    );
    expect(bench.api.find("/api/v1/secrets", "osm-ca-bundle")).toBeDefined();
  });

  test("what cannot be deleted is listed at the end", async () => {
    bench.installHelm("v4.1.4");
    bench.api.refuses = ({ path, method }) =>
      method === "DELETE" && path.includes("traffictargets") ? 403 : undefined;
    bench.api.collections.set("/apis/apps/v1/deployments", []);
    const { code, error } = await bench.heddle(["uninstall", "mesh", "-f", "-a"]);
    expect(code).toBe(1);
    expect(error).toMatch(/^Failed to completely delete: CRD traffictargets\.access\.smi-spec\.io\./);
  });

  test("a mesh that is not there", async () => {
    const { code, out } = await bench.heddle(["uninstall", "mesh", "--mesh-name", "nosuch"]);
    expect(code).toBe(1);
    expect(out).toBe("Did not find mesh [nosuch]; heddle mesh list shows what there is\n");
  });

  test("helm's failure does not keep the namespace from being deleted, and is told", async () => {
    bench.installHelm("v3.17.2", 1, "Error: uninstallation completed with 1 error(s):\n\t* timed out waiting");
    const { code, out, notes } = await bench.heddle(["uninstall", "mesh", "-f", "--delete-namespace"]);
    expect(out).toBe("OSM namespace [osm-system] deleted successfully\n");
    expect(notes.at(-1)).toMatch(
      /^Could not uninstall .*: uninstallation completed with 1 error\(s\): \* timed out waiting - continuing/,
    );
    expect(code).toBe(1);
  });

  test("helm's failure", async () => {
    bench.installHelm("v4.1.4", 1, "Error: uninstall: Release not loaded: osm: release: not found");
    const { code, error, out } = await bench.heddle(["uninstall", "mesh", "-f"]);
    expect(code).toBe(1);
    expect(out).toBe("No OSM control plane with mesh name [osm] found in namespace [osm-system]\n");
    expect(error).toMatch(
      /^helm could not uninstall mesh \[osm\]: .*release: not found\. See what helm knows: helm list/,
    );
  });
});
