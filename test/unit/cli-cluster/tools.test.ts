/** Verbs around a mesh: check --pre, inject, bug-report, error-info, env, completion; and which cluster is meant. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { kubelets, kubernetesVersion, priority } from "../../../src/cli/cluster/check.ts";
import { tar } from "../../../src/cli/cluster/archive.ts";
import { ApiError } from "../../../src/sources/kubernetes/errors.ts";
import { Bench, BUILT_IN, controller, member, namespace, pod } from "./heddle.ts";
import type { Json } from "./fake-api.ts";

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.start();
  bench.api.serve(...BUILT_IN);
});
afterEach(() => bench.stop());

const group = (name: string) => ({ name, versions: [{ groupVersion: `${name}/v1`, version: "v1" }] });
const GROUPS = [
  "admissionregistration.k8s.io",
  "apiextensions.k8s.io",
  "authentication.k8s.io",
  "authorization.k8s.io",
  "coordination.k8s.io",
  "discovery.k8s.io",
].map(group);
const node = (name: string, architecture = "amd64"): Json => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name },
  status: { nodeInfo: { operatingSystem: "linux", architecture } },
});

describe("check --pre", () => {
  beforeEach(() => {
    bench.api.pages.set("/version", { gitVersion: "v1.36.3" });
    bench.api.pages.set("/apis", { kind: "APIGroupList", groups: GROUPS });
    bench.api.put(node("n1"));
  });

  test("a cluster that can take the mesh", async () => {
    const { code, out } = await bench.heddle(["check", "--pre"]);
    expect(out.split("\n")).toEqual([
      expect.stringMatching(/^√ The API server of context test answers \(127\.0\.0\.1:\d+\)$/),
      "√ Kubernetes v1.36.3 is supported (1.28 to 1.37)",
      "√ The cluster has native sidecars: Jobs end, and applications start behind their Envoy",
      "√ The API server serves webhooks, leases and endpoint slices",
      "√ You may create what the mesh consists of",
      "√ Pods of the priority class system-cluster-critical are taken",
      "√ 1 node runs Linux on amd64 or arm64",
      "√ No CRD of OSM or SMI is there yet: the chart brings them",
      "√ No other mesh is in this cluster",
      "",
      "The cluster can take the mesh: heddle install",
      "",
    ]);
    expect(code).toBe(0);
  });

  test("one that cannot, and why", async () => {
    bench.api.may = (attributes) => attributes["resource"] !== "clusterroles" && attributes["resource"] !== "secrets";
    bench.api.pages.set("/apis", { groups: GROUPS.slice(1) });
    bench.api.put(controller(), node("n2", "s390x"), {
      apiVersion: "admissionregistration.k8s.io/v1",
      kind: "MutatingWebhookConfiguration",
      metadata: { name: "istio-sidecar-injector" },
    });
    const both = { "istio-injection": "enabled", "openservicemesh.io/monitored-by": "osm" };
    bench.api.put(namespace("both", { labels: both }), {
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: "traffictargets.access.smi-spec.io" },
      spec: { conversion: { strategy: "Webhook" } },
    });
    const { code, out } = await bench.heddle(["check", "--pre", "--osm-namespace", "mesh"]);
    expect(code).toBe(1);
    expect(out).toContain("× The API server does not serve admissionregistration.k8s.io/v1\n    Enable these APIs");
    expect(out).toContain(
      "× You may not create clusterroles.rbac.authorization.k8s.io, nor create secrets in namespace mesh",
    );
    expect(out).toContain("‼ 1 of 2 nodes run something else than Linux on amd64 or arm64");
    expect(out).toContain("× These CRDs convert by a webhook of an old OSM: traffictargets.access.smi-spec.io");
    expect(out).toContain("‼ Mesh [osm] (v0.1.0) is in namespace [osm-system] already");
    expect(out).toContain("‼ Istio is in this cluster");
    expect(out).toContain("× Two meshes inject into both");
    expect(out).toMatch(/\n4 of \d+ checks failed\.\n$/);
  });

  test("the priority class is tried on a pod that is not made, in the namespace or, while there is none, in default", async () => {
    bench.api.refuses = ({ method, path }) => (method === "POST" && path.includes("/mesh/") ? 404 : undefined);
    await bench.heddle(["check", "--pre", "--osm-namespace", "mesh"]);
    const tried = bench.api.seen.filter(({ method, path }) => method === "POST" && path.endsWith("/pods"));
    expect(tried.map(({ path, query }) => `${path}?${query.toString()}`)).toEqual([
      "/api/v1/namespaces/mesh/pods?dryRun=All",
      "/api/v1/namespaces/default/pods?dryRun=All",
    ]);
    expect(tried[0]?.body).toMatchObject({ spec: { priorityClassName: "system-cluster-critical" } });
  });

  test("a class that is kept for kube-system is told; another refusal says nothing about it", async () => {
    const refusal = (text: string, status = 403) => new ApiError(status, "Forbidden", text);
    const quota = "insufficient quota to match these scopes: [{PriorityClass In [system-cluster-critical]}]";
    expect(priority(refusal(quota, 500))).toMatchObject({
      outcome: "warn",
      says: expect.stringContaining(quota),
      todo: expect.stringContaining("--set controller.priorityClassName= "),
    });
    expect(() => priority(refusal('User "me" cannot create resource "pods"'))).toThrow("cannot create");
    bench.api.refuses = ({ method, path }) => (method === "POST" && path.endsWith("/pods") ? 403 : undefined);
    const { code, out } = await bench.heddle(["check", "--pre"]);
    expect(out).toMatch(/‼ Not checked: priority class: .*403 Forbidden/);
    expect(code).toBe(0);
  });

  test("what may not be looked at is no failure", async () => {
    bench.api.refuses = ({ path }) => (path === "/api/v1/nodes" ? 403 : undefined);
    const { code, out } = await bench.heddle(["check", "--pre"]);
    expect(out).toMatch(/‼ Not checked: nodes: .*403 Forbidden/);
    expect(code).toBe(0);
  });

  test.each([
    ["v1.36.3", ["v1.36.3", "v1.30.0"], undefined],
    ["v1.36.3", ["v1.29.9", "v1.28.1", "v1.30.1"], "2 of 3 nodes are older than 1.30"],
    ["v1.29.2", ["v1.29.0", "v1.28.1-eks"], "1 of 2 nodes are older than 1.29"],
    ["v1.28.9", ["v1.27.0"], undefined],
    ["v1.36.3", ["", "soup"], undefined],
    ["soup", ["v1.20.0"], undefined],
  ])("API server %s, kubelets %j", (gitVersion, versions, says) => {
    const list = versions.map((kubeletVersion) => ({ status: { nodeInfo: { kubeletVersion } } }));
    const [finding] = kubelets(list, { gitVersion });
    if (says === undefined) expect(finding).toBeUndefined();
    else expect(finding).toMatchObject({ outcome: "warn", says: expect.stringContaining(says) });
  });

  test.each([
    ["v1.27.9", ["fail"]],
    ["v1.28.0", ["ok", "warn"]],
    ["v1.29.1-gke.3", ["ok", "ok"]],
    ["v1.40.0", ["warn", "ok"]],
    ["soup", ["warn"]],
  ])("Kubernetes %s", (gitVersion, outcomes) =>
    expect(kubernetesVersion({ gitVersion }).map((one) => one.outcome)).toEqual(outcomes),
  );
});

describe("inject", () => {
  const manifest = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {answer: "yes"}
`;

  test("sidecars on standard output, what was done beside it, no request", async () => {
    const file = join(bench.home, "web.yaml");
    writeFileSync(file, manifest);
    const args = ["inject", "-f", file, "--envoy-image", "my/envoy:1", "--osm-namespace", "mesh"];
    const { code, out, notes } = await bench.heddle(args);
    expect(code).toBe(0);
    expect(notes[0]).toBe("Deployment shop/web: injected");
    const [deployment = "", configMap = "", ...more] = out.split("---\n");
    expect(more).toEqual([]);
    expect(deployment).toContain("image: my/envoy:1");
    expect(deployment).toContain("osm-controller.mesh.svc.cluster.local");
    // The name that is verified is one that no workload can have.
    expect(deployment).toContain("ads.cluster.local");
    expect(deployment).toContain("restartPolicy: Always");
    expect(configMap).toContain("answer: 'yes'");
    expect(bench.api.seen).toEqual([]);
    const old = await bench.heddle([...args, "--no-native-sidecars"]);
    expect(old.out).not.toContain("restartPolicy: Always");
  });

  test("what is no YAML", async () => {
    const file = join(bench.home, "bad.yaml");
    writeFileSync(file, "a: [");
    const { code, error } = await bench.heddle(["inject", "-f", file]);
    expect(error).toMatch(/bad\.yaml is not YAML: /);
    expect(code).toBe(1);
  });
});

describe("support bug-report", () => {
  const files = (path: string): Record<string, string> => {
    const list = execFileSync("tar", ["-tzf", path], { encoding: "utf8" }).trim().split("\n");
    return Object.fromEntries(
      list.map((name) => [
        name.replace(/^heddle-bug-report\//, ""),
        execFileSync("tar", ["-xzOf", path, name], { encoding: "utf8" }),
      ]),
    );
  };

  test("objects, logs and Envoys' configuration, without values", async () => {
    const secretive = pod("shop", "web-1", {
      containers: [
        {
          name: "web",
          env: [
            { name: "PASSWORD", value: "hunter2" },
            { name: "REF", valueFrom: { secretKeyRef: { name: "s" } } },
          ],
          command: ["serve"],
          args: ["--password=hunter2"],
          livenessProbe: { httpGet: { port: 80, httpHeaders: [{ name: "Authorization", value: "hunter2" }] } },
          lifecycle: { preStop: { exec: { command: ["stop", "hunter2"] } } },
        },
      ],
    });
    (secretive["metadata"] as Json)["annotations"] = {
      "kubectl.kubernetes.io/last-applied-configuration": "hunter2",
      "vault.example.com/token": "hunter2",
      "openservicemesh.io/sidecar-injection": "enabled",
    };
    bench.api.put(
      controller(),
      member("shop"),
      secretive,
      pod("osm-system", "c-1", {
        meshed: false,
        labels: { app: "osm-controller" },
        containers: [{ name: "osm-controller", args: ["controller", "--mesh-name=osm"] }],
      }),
      node("n1"),
    );
    bench.api.pages.set("/version", { gitVersion: "v1.36.3" });
    bench.api.pages.set("/api/v1/namespaces/osm-system/pods/c-1/log", "controller log\n");
    bench.api.pages.set("/api/v1/namespaces/shop/pods/web-1/log", "web log\n");
    bench.api.ports.set("shop/web-1:15000", (path) => ({ body: `envoy says ${path}` }));
    const out = join(bench.home, "report.tgz");
    const { code, out: said, notes } = await bench.heddle(["support", "bug-report", "--all", "-o", out]);
    expect(code).toBe(0);
    expect(said).toMatch(new RegExp(`^Bug report written to ${out} \\(\\d+ files\\)\n$`));
    const found = files(out);
    expect(Object.keys(found)).toEqual(
      expect.arrayContaining([
        "cluster/version.yaml",
        "control-plane/osm-system/deployments.yaml",
        "control-plane/osm-system/c-1/logs/osm-controller.log",
        "namespaces/shop/namespace.yaml",
        "pods/shop/web-1/pod.yaml",
        "pods/shop/web-1/logs/web.log",
        "pods/shop/web-1/envoy/config_dump.json",
        "errors.txt",
      ]),
    );
    expect(found["pods/shop/web-1/logs/web.log"]).toBe("web log\n");
    expect(found["pods/shop/web-1/envoy/clusters.txt"]).toBe("envoy says /clusters");
    expect(JSON.stringify(found)).not.toContain("hunter2");
    expect(found["pods/shop/web-1/pod.yaml"]).toContain("name: PASSWORD");
    expect(found["pods/shop/web-1/pod.yaml"]).toContain("name: Authorization");
    expect(found["pods/shop/web-1/pod.yaml"]).toContain("openservicemesh.io/sidecar-injection: enabled");
    expect(found["pods/shop/web-1/pod.yaml"]).not.toContain("serve");
    expect(found["pods/shop/web-1/pod.yaml"]).toContain("secretKeyRef");
    // The controller's pages were not there to be had, and that is told.
    expect(found["errors.txt"]).toMatch(/c-1\/api\/proxies\.json: .*does not answer/);
    expect(notes.join("\n")).toContain("Not collected: control-plane/osm-system/c-1/api/proxies.json");
    const secrets = bench.api.seen.filter((one) => one.path.includes("/secrets"));
    expect(secrets).toEqual([]);
  });

  test("what was named, and is not there", async () => {
    bench.api.pages.set("/version", {});
    const out = join(bench.home, "report.tar.gz");
    const args = [
      "--app-pods",
      "shop/none,odd",
      "--app-deployments",
      "shop/none",
      "--app-namespaces",
      "nowhere",
      "-o",
      out,
    ];
    const { notes, code } = await bench.heddle(["support", "bug-report", ...args]);
    expect(code).toBe(0);
    for (const what of ["pod shop/none", "pod odd", "deployment shop/none", "namespaces/nowhere", "control plane"])
      expect(notes.join("\n")).toContain(`Not collected: ${what}`);
  });

  test("an archive of another kind", async () => {
    const { code, error } = await bench.heddle(["support", "bug-report", "-o", "report.rar"]);
    expect(error).toBe("report.rar is of no kind that can be written. Name it *.tar.gz, *.tgz, *.tar.");
    expect(code).toBe(2);
  });

  test("long paths and odd sizes survive tar", () => {
    const long = `${"d".repeat(90)}/${"e".repeat(60)}/${"f".repeat(80)}.log`;
    const path = join(bench.home, "a.tar");
    writeFileSync(
      path,
      tar(
        [
          { path: long, content: "x".repeat(513) },
          { path: "empty", content: "" },
        ],
        1_700_000_000,
      ),
    );
    expect(execFileSync("tar", ["-tf", path], { encoding: "utf8" })).toBe(`${long}\nempty\n`);
    expect(execFileSync("tar", ["-xOf", path, long], { encoding: "utf8" })).toBe("x".repeat(513));
    expect(() => gunzipSync(readFileSync(path))).toThrow();
  });
});

describe("support error-info", () => {
  test("OSM's and ours", async () => {
    expect((await bench.heddle(["support", "error-info", "E2007"])).out).toBe(
      "ERROR CODE   DESCRIPTION\nE2007        Several TrafficSplits have the same root Service; only the first one was used.\n",
    );
    expect((await bench.heddle(["support", "error-info", "unknown-route"])).out).toContain(
      "a rule that names a route which does not exist",
    );
    const all = (await bench.heddle(["support", "error-info"])).out;
    expect(all).toContain("\nE1000 ");
    expect(all).toContain("\nE7005 ");
    expect(all).toContain("\nbad-yaml ");
  });

  test("none", async () => {
    const { code, error } = await bench.heddle(["support", "error-info", "unknown-rout"]);
    expect(error).toMatch(/^error code 'unknown-rout' is not a valid error code.*Did you mean unknown-route\?/);
    expect(code).toBe(2);
  });
});

test("env prints OSM's settings", async () => {
  expect((await bench.heddle(["env", "--osm-namespace", "mesh"])).out).toBe(
    "---\ninstall:\n  kind: self-hosted\n  distribution: ''\n  namespace: mesh\n",
  );
  bench.environment["OSM_CONFIG"] = join(bench.home, "nowhere.yaml");
  expect((await bench.heddle(["env"])).error).toMatch(/^There is no file .*nowhere\.yaml, which \$OSM_CONFIG names/);
  writeFileSync(bench.environment["OSM_CONFIG"], "install: {kind: elsewhere}");
  expect((await bench.heddle(["env"])).error).toMatch(/install\.kind is neither "managed" nor "self-hosted"/);
});

describe("completion", () => {
  const complete = (script: string, ...words: string[]): string[] => {
    const line = words.map((word) => `'${word}'`).join(" ");
    const probe = `${script}\nCOMP_WORDS=(${line}); COMP_CWORD=${words.length - 1}; _heddle; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return execFileSync("bash", ["-c", probe], { encoding: "utf8", cwd: bench.home })
      .trim()
      .split("\n")
      .filter(Boolean);
  };

  test("bash completes commands, nested ones, options, and passes over options' values", async () => {
    const { out } = await bench.heddle(["completion", "bash"]);
    expect(complete(out, "heddle", "na")).toEqual(["namespace"]);
    expect(complete(out, "heddle", "namespace", "")).toEqual(
      expect.arrayContaining(["add", "remove", "list", "ignore"]),
    );
    expect(complete(out, "heddle", "--context", "prod", "namespace", "add", "--mesh")).toEqual(["--mesh-name"]);
    expect(complete(out, "heddle", "verify", "connectivity", "--to-")).toEqual([
      "--to-pod",
      "--to-service",
      "--to-ext-port",
      "--to-ext-host",
    ]);
    writeFileSync(join(bench.home, "some-file"), "");
    expect(complete(out, "heddle", "inject", "-f", "some")).toEqual(["some-file"]);
  });

  test.each(["zsh", "fish"])("%s names every command", async (shell) => {
    const { out } = await bench.heddle(["completion", shell]);
    for (const command of ["install", "check-pods", "control-plane-health", "bug-report", "--mesh-name"])
      expect(out).toContain(shell === "fish" ? command.replace("--", "-l ") : command);
    const checked = spawnSync(shell, ["-n", "-c", out], { encoding: "utf8" });
    if (!checked.error) expect(checked.stderr).toBe("");
  });

  test("another shell", async () => {
    expect((await bench.heddle(["completion", "tcsh"])).error).toBe(
      'There is no completion for "tcsh". There is one for: bash, zsh, fish.',
    );
  });
});

describe("which cluster", () => {
  const list = (...args: string[]) => bench.heddle(["namespace", "list", ...args]);

  test("--kubeconfig wins over $KUBECONFIG, which wins over ~/.kube/config", async () => {
    const file = join(bench.home, "other");
    bench.writeKubeconfig({ token: "other-token" }, file);
    bench.environment["KUBECONFIG"] = "/nowhere";
    expect((await list("--kubeconfig", file)).code).toBe(0);
    delete bench.environment["KUBECONFIG"];
    expect((await list()).error).toMatch(/^No cluster is known: there is no kubeconfig\. Give --kubeconfig FILE/);
    mkdirSync(join(bench.home, ".kube"));
    bench.writeKubeconfig({ token: "home-token" }, join(bench.home, ".kube", "config"));
    expect((await list()).code).toBe(0);
    expect(bench.api.seen.map((one) => one.token)).toEqual(["Bearer other-token", "Bearer home-token"]);
  });

  test("a credential plugin is run", async () => {
    const plugin = join(bench.home, "plugin");
    const credential = {
      apiVersion: "client.authentication.k8s.io/v1",
      kind: "ExecCredential",
      status: { token: "from-plugin" },
    };
    writeFileSync(plugin, `#!/bin/sh\necho '${JSON.stringify(credential)}'\n`);
    chmodSync(plugin, 0o755);
    const exec = { apiVersion: "client.authentication.k8s.io/v1", command: plugin, interactiveMode: "Never" };
    const config = JSON.parse(readFileSync(bench.kubeconfig, "utf8")) as {
      clusters: { cluster: Json }[];
      users: { user: Json }[];
    };
    config.users[0]!.user = { exec };
    config.clusters[0]!.cluster["insecure-skip-tls-verify"] = true;
    writeFileSync(bench.kubeconfig, JSON.stringify(config));
    expect(await list()).toMatchObject({ code: 0, error: "" });
    expect(bench.api.seen.at(-1)?.token).toBe("Bearer from-plugin");
    writeFileSync(plugin, "#!/bin/sh\necho no >&2\nexit 3\n");
    expect((await list()).error).toContain(`The credential plugin ${plugin} of the kubeconfig failed: `);
    writeFileSync(plugin, "#!/bin/sh\nexit 1\n");
    expect((await list()).error).toMatch(/failed: \S.*\. Run: kubectl version/);
  });

  test("credentials that cannot be used are the kubeconfig's fault", async () => {
    const before = readFileSync(bench.kubeconfig, "utf8");
    const edited = async (edit: (user: Json, cluster: Json) => void) => {
      const config = JSON.parse(before) as { clusters: { cluster: Json }[]; users: { user: Json }[] };
      edit(config.users[0]!.user, config.clusters[0]!.cluster);
      writeFileSync(bench.kubeconfig, JSON.stringify(config));
      return (await list()).error;
    };
    const noPem = Buffer.from("no certificate").toString("base64");
    expect(await edited((user) => (user["token"] = "two\nlines"))).toMatch(
      /^The credentials .* cannot be used: .*token/,
    );
    expect(await edited((_, cluster) => (cluster["server"] = "ftp://here"))).toMatch(
      /ftp:\/\/here is no https:\/\/ addr/,
    );
    const certificate = await edited((user, cluster) => {
      Object.assign(user, { "client-certificate-data": noPem, "client-key-data": noPem });
      cluster["server"] = "https://127.0.0.1:1";
    });
    expect(certificate).toMatch(/^The credentials for the API server at 127\.0\.0\.1:1 cannot be used: /);
  });

  test("several files are merged, the first that says something wins", async () => {
    const second = join(bench.home, "second");
    const config = (name: string, token: string, current?: string) =>
      JSON.stringify({
        clusters: [{ name, cluster: { server: bench.api.url, "insecure-skip-tls-verify": true } }],
        users: [{ name: "u", user: { token } }],
        contexts: [{ name, context: { cluster: name, user: "u" } }],
        ...(current === undefined ? {} : { "current-context": current }),
      });
    writeFileSync(bench.kubeconfig, config("a", "token-a"));
    writeFileSync(second, config("b", "token-b", "b"));
    bench.environment["KUBECONFIG"] = `${bench.kubeconfig}:/nowhere:${second}`;
    expect(await list()).toMatchObject({ code: 0, error: "" });
    // User "u" is the first file's.
    expect(bench.api.seen.at(-1)?.token).toBe("Bearer token-a");
    expect((await list("--context", "nosuch")).error).toMatch(/has no context "nosuch"\. There are the contexts a, b/);
  });

  test.each<[string, Json, RegExp]>([
    ["impersonation", { as: "somebody", token: "t" }, /has "as", which is not supported/],
    ["basic authentication", { username: "a", password: "b" }, /has "username", which is not supported/],
  ])("%s is refused, not left out", async (_, user, sentence) => {
    bench.writeKubeconfig(user);
    expect((await list()).error).toMatch(sentence);
  });

  test.each([
    [["--kubeconfig", "/nowhere/at-all"], /^There is no kubeconfig \/nowhere\/at-all/],
    [["--context", "nosuch"], /has no context "nosuch"/],
  ])("%j", async (args, sentence) => {
    const { code, error } = await list(...args);
    expect(error).toMatch(sentence);
    expect(code).toBe(1);
  });

  test("flags stand before a verb too, and are refused where they mean nothing", async () => {
    expect((await bench.heddle(["--context", "test", "namespace", "list"])).code).toBe(0);
    const { code, error } = await bench.heddle(["translate", ".", "--context", "test"]);
    expect(error).toBe("This verb is about this machine: it takes no --context.");
    expect(code).toBe(2);
  });

  test("a refused token", async () => {
    bench.api.refuses = () => 401;
    expect((await list()).error).toMatch(/401.*check the token or client certificate/);
  });
});

test.each(["heddle", "kubectl-heddle"])("%s as a command: sentences, exit codes, no stack", (name) => {
  const bin = resolve(import.meta.dirname, `../../../bin/${name}`);
  const run = (...args: string[]) =>
    spawnSync(bin, args, { encoding: "utf8", env: { PATH: process.env["PATH"], HOME: bench.home } });
  const nowhere = run("namespace", "list");
  expect(nowhere.status).toBe(1);
  expect(nowhere.stderr).toMatch(/^heddle: No cluster is known: /);
  expect(nowhere.stderr).not.toMatch(/^\s+at /m);
  const version = run("version");
  expect({ status: version.status, stderr: version.stderr }).toEqual({ status: 0, stderr: "" });
});

const VERBS = [
  "install",
  "uninstall mesh",
  "mesh list",
  "mesh upgrade",
  "namespace add",
  "namespace remove",
  "namespace list",
  "namespace ignore",
  "metrics enable",
  "metrics disable",
  "proxy get",
  "policy check-pods",
  "policy check-conflicts",
  "verify connectivity",
  "verify ingress",
  "verify control-plane-health",
  "support bug-report",
  "support error-info",
  "check",
  "inject",
  "env",
  "completion",
];
test.each(VERBS)("help of %s has examples, and the flags that say which cluster", async (verb) => {
  const { out, code } = await bench.heddle([...verb.split(" "), "--help"]);
  expect(code).toBe(0);
  expect(out).toMatch(/Usage: heddle /);
  expect(out).toMatch(/\nExamples:\n {2}\S/);
  expect(out.includes("--context")).toBe(verb !== "completion");
});
