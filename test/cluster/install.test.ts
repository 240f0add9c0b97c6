/**
 * What a user does with a cluster, from README's first line to an uninstallation that leaves nothing behind: the unmodified Dockerfiles,
 * helm 3 and 4 with the chart's defaults, and every verb of the command against what they made.
 */
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { load } from "js-yaml";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ROOT, until } from "../support/live-mesh.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import { exec } from "./exec.ts";
import { buildImage } from "./images.ts";
import { BOOKSTORE_NAMESPACES, BUY, callFrom, ENVOY_IMAGE, podsOf, podsReady, say, SYSTEM } from "./install.ts";
import { inventory } from "./inventory.ts";
import { envoyImage, helm } from "./users-tools.ts";

/** The lines of README's section, as they stand there. */
function readme(): string {
  const text = readFileSync(join(ROOT, "README.md"), "utf8");
  const block = /^## In a cluster\n\n```sh\n(.*?)```/ms.exec(text)?.[1];
  if (block === undefined) throw new Error('README.md has no block of commands under "In a cluster"');
  return block;
}

/** Image and folder of each line that builds one. */
const builds = [...readme().matchAll(/^docker buildx build -t (\S+) (\S+)/gm)].map(([, tag, folder]) => ({
  tag: tag!,
  folder: folder!,
}));

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const METRICS = "openservicemesh.io/metrics";
const CRD = "customresourcedefinitions.apiextensions.k8s.io";
let cluster: Cluster;
/** A folder with the programs that a user has in PATH. */
let tools: string;
/** What the cluster had before anything was installed. */
let bare: ReadonlySet<string>;
const builtWith = () => join(cluster.directory, "builds");

/** Runs a command as a user does who stands in the checkout. */
function shell(script: string, helmVersion: 3 | 4 = 4): Promise<Result> {
  const env = {
    ...process.env,
    PATH: [join(tools, `helm${helmVersion}`), tools, join(ROOT, "bin"), process.env["PATH"]].join(":"),
    KUBECONFIG: cluster.kubeconfig,
    HELM_CACHE_HOME: join(tools, "helm"),
    HELM_CONFIG_HOME: join(tools, "helm"),
    HELM_DATA_HOME: join(tools, "helm"),
  };
  return new Promise((resolve, reject) => {
    const child = spawn("bash", ["-euo", "pipefail", "-c", script], {
      cwd: ROOT,
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [out, err] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? 1, out, err }));
  });
}

/** As `shell`; fails with what was said when the command does. */
async function done(script: string, helmVersion: 3 | 4 = 4): Promise<string> {
  const { code, out, err } = await shell(script, helmVersion);
  expect(code, `${script}\n${out}\n${err}`).toBe(0);
  return out;
}

const lines = (text: string): string[] => text.split("\n").map((line) => line.trimEnd());
const words = (text: string): string[] => text.trim().split(/\s+/);
const podOf = async (namespace: string, selector?: string): Promise<string> =>
  (await podsOf(cluster, namespace, selector))[0]?.metadata.name ?? "";
/** What was not there before; without what the API server itself makes for a CRD. */
const added = async (): Promise<string[]> =>
  [...(await inventory(cluster))].filter((one) => !bare.has(one) && !one.startsWith("apiservices.")).sort();
const settings = async (): Promise<unknown> =>
  JSON.parse(await cluster.kubectl(["get", "meshconfig", "osm-mesh-config", "-n", SYSTEM, "-o", "jsonpath={.spec}"]));

beforeAll(async () => {
  cluster = await startCluster({ say });
  tools = join(cluster.directory, "tools");
  const program = (path: string, script: string): void => {
    mkdirSync(join(tools, path, ".."), { recursive: true });
    writeFileSync(join(tools, path), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  };
  for (const version of [3, 4] as const) program(`helm${version}/helm`, `exec ${await helm(version)} "$@"`);
  program("kubectl", `exec ${join(cluster.directory, "kubectl")} "$@"`);
  // What it would build is in the node already; which builds were asked for is looked at.
  program("docker", `[ "$1 $2 $3 $#" = "buildx build -t 5" ] || exit 2\necho "$4 $5" >> ${builtWith()}`);
  for (const { tag, folder } of builds) {
    const context = join(ROOT, folder);
    const archive = await buildImage(join(context, "Dockerfile"), context, `docker.io/${tag}`, { network: true }, say);
    await cluster.importImage(archive);
  }
  await cluster.importImage(await envoyImage(ENVOY_IMAGE, say));
  bare = await inventory(cluster);
}, 1_800_000);
afterAll(() => cluster?.stop());

describe("README's lines, with helm 4", () => {
  let printed: string;
  beforeAll(async () => {
    printed = await done(readme());
    for (const namespace of BOOKSTORE_NAMESPACES) await podsReady(cluster, namespace);
  }, 300_000);

  test("make a mesh in which the bookstore lives by its policies", async () => {
    expect(lines(readFileSync(builtWith(), "utf8")).filter(Boolean)).toEqual(
      builds.map(({ tag, folder }) => `${tag} ${folder}`),
    );
    expect(builds.map(({ tag }) => tag)).toEqual(["heddle/heddle:0.1.0", "heddle/bookstore:0.1.0"]);
    expect(printed).toContain("Namespace [bookstore] successfully added to mesh [osm]");
    expect(printed).toMatch(/^osm +heddle-system +0\.1\.0 +bookbuyer,bookstore,bookthief,bookwarehouse$/m);
    for (const namespace of BOOKSTORE_NAMESPACES)
      for (const { spec, metadata } of await podsOf(cluster, namespace))
        expect(spec.initContainers?.find(({ name }) => name === "envoy")?.restartPolicy, metadata.name).toBe("Always");
    await until("bookbuyer buys", async () => (await callFrom(cluster, "bookbuyer", BUY)).startsWith("200 "), 60_000);
    expect(await callFrom(cluster, "bookthief", BUY)).toMatch(/^403 heddle: no TrafficTarget lets /);
    const says = "{range .items[*]}{.metadata.name} {range .status.conditions[*]}{.type}={.status} {end}{'\\n'}{end}";
    await until("every policy says that it is honoured", async () => {
      const rows = lines(await done(`kubectl get mesh -A -o jsonpath="${says}"`)).filter(Boolean);
      return rows.length >= 9 && rows.every((row) => row.includes("Accepted=True") && !row.includes("False"));
    });
  });

  test("mesh list, namespace list, version: OSM's tables", async () => {
    expect(lines(await done("heddle mesh list"))).toEqual([
      "",
      "MESH NAME   MESH NAMESPACE   VERSION   ADDED NAMESPACES",
      "osm         heddle-system    0.1.0     bookbuyer,bookstore,bookthief,bookwarehouse",
      "",
      "MESH NAME   MESH NAMESPACE   SMI SUPPORTED",
      "osm         heddle-system    HTTPRouteGroup:v1alpha4,TCPRoute:v1alpha4,TrafficSplit:v1alpha4,TrafficTarget:v1alpha3",
      "",
      "To list the OSM controller pods for a mesh, please run the following command passing in the mesh's namespace",
      "\tkubectl get pods -n <osm-mesh-namespace> -l app=osm-controller",
      "",
    ]);
    const namespaces = lines(await done("heddle namespace list"));
    expect(words(namespaces[0]!)).toEqual(["NAMESPACE", "MESH", "SIDECAR-INJECTION"]);
    expect(namespaces.slice(1, -1).map(words)).toEqual(
      [...BOOKSTORE_NAMESPACES].sort().map((name) => [name, "osm", "enabled"]),
    );
    const version = await done("heddle version --kubeconfig $KUBECONFIG");
    expect(version).toMatch(/^heddle 0\.1\.0 \(node /);
    expect(version).toMatch(/^MESH NAME +MESH NAMESPACE +VERSION +GIT COMMIT +BUILD DATE$/m);
    expect(version).toMatch(/^osm +heddle-system +0\.1\.0/m);
    expect(await done("heddle version --client-only")).not.toContain("MESH NAME");
  });

  test("the same command as kubectl heddle", async () => {
    expect(await done("kubectl heddle namespace list")).toBe(await done("heddle namespace list"));
  });

  test("namespace add, ignore, list, remove", async () => {
    await done("kubectl create namespace visitor");
    expect(await done("heddle namespace add visitor")).toBe("Namespace [visitor] successfully added to mesh [osm]\n");
    expect(await done("heddle namespace add visitor")).toContain("has already been added to mesh [osm]");
    await until(
      "it has the CA's certificate",
      async () => (await shell("kubectl get cm heddle-ca -n visitor")).code === 0,
    );
    expect(await done("heddle namespace remove visitor")).toContain("successfully removed from mesh [osm]");
    await until("the copy is gone", async () => (await shell("kubectl get cm heddle-ca -n visitor")).code !== 0);
    expect(await done("heddle namespace ignore visitor")).toBe(
      "Successfully configured namespace [visitor] to be ignored\n",
    );
    const refused = await shell("heddle namespace add visitor");
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining("Cannot add ignored namespace")]);
    const system = await shell(`heddle namespace add ${SYSTEM}`);
    expect(system.out).toContain(
      `Namespace [${SYSTEM}] already has [osm-controller] installed and cannot be added to mesh`,
    );
    await done("kubectl delete namespace visitor");
  });

  test("metrics enable and disable: annotations of the namespace and of its pods", async () => {
    const annotation = async () =>
      (
        await done(`kubectl get ns bookbuyer -o jsonpath='{.metadata.annotations.${METRICS.replaceAll(".", "\\.")}}'`)
      ).trim();
    const scraped = async () =>
      (
        await done(
          "kubectl get pods -n bookbuyer -o jsonpath='{.items[*].metadata.annotations.prometheus\\.io/scrape}'",
        )
      ).trim();
    expect(await done("heddle metrics enable --namespace bookbuyer,bookstore")).toBe(
      "Metrics successfully enabled in namespace [bookbuyer]\nMetrics successfully enabled in namespace [bookstore]\n",
    );
    expect([await annotation(), await scraped()]).toEqual(["enabled", "true"]);
    await done("heddle metrics disable --namespace bookbuyer,bookstore");
    expect([await annotation(), await scraped()]).toEqual(["", ""]);
    const outside = await shell("heddle metrics enable --namespace default");
    expect([outside.code, outside.err]).toEqual([1, expect.stringMatching(/default\] does not belong to a mesh/)]);
  });

  test("proxy status and proxy get: what sidecars were sent and have", async () => {
    const status = async () =>
      JSON.parse(await done("heddle proxy status --mesh-name osm -o json")) as {
        pod: string;
        types: Record<string, { sent: string; acked: string; nacked?: string }>;
      }[];
    await until("all have what they were sent", async () => {
      const rows = await status();
      return (
        rows.length === 6 && rows.every(({ types }) => Object.values(types).every((one) => one.sent === one.acked))
      );
    });
    const table = lines(await done("heddle proxy status --mesh-name osm"));
    expect(words(table[0]!)).toEqual(["PROXY", "TYPE", "SENT", "ACKED", "NACKED", "MESSAGE"]);
    const pod = await podOf("bookbuyer");
    expect(table.some((line) => line.startsWith(`bookbuyer/${pod} `))).toBe(true);
    expect(await done(`heddle proxy get clusters ${pod} -n bookbuyer`)).toContain("bookstore/bookstore-v2|14001::");
    const file = join(tools, "dump.json");
    await done(`heddle proxy get config_dump ${pod} -n bookbuyer -f ${file}`);
    expect(JSON.parse(readFileSync(file, "utf8"))).toHaveProperty("configs");
    const quit = await shell(`heddle proxy get quitquitquit ${pod} -n bookbuyer`);
    expect([quit.code, quit.err]).toEqual([2, expect.stringContaining("changes something in Envoy")]);
  });

  test("policy check-pods and check-conflicts", async () => {
    const [buyer, thief] = [`bookbuyer/${await podOf("bookbuyer")}`, `bookthief/${await podOf("bookthief")}`];
    const store = `bookstore/${await podOf("bookstore", "version=v1")}`;
    const allowed = await done(`heddle policy check-pods ${buyer} ${store}`);
    expect(allowed).toContain(
      `[+] SMI traffic policy mode enabled for mesh operated by osm-controller running in ${SYSTEM}`,
    );
    expect(allowed).toContain(
      `[+] Pod '${buyer}' is allowed to communicate to pod '${store}' via the SMI TrafficTarget policy "bookstore" in namespace bookstore`,
    );
    expect(await done(`heddle policy check-pods ${thief} ${store}`)).toContain(
      `[+] Pod '${thief}' is not allowed to communicate to pod '${store}', missing SMI TrafficTarget policy`,
    );
    expect(await done("heddle policy check-conflicts IngressBackend -n bookstore")).toBe(
      "No conflicts among IngressBackend resources in namespace bookstore\n",
    );
  });

  test("verify connectivity, ingress and control-plane-health; check", async () => {
    const [buyer, thief] = [`bookbuyer/${await podOf("bookbuyer")}`, `bookthief/${await podOf("bookthief")}`];
    const store = `bookstore/${await podOf("bookstore", "version=v1")}`;
    const connectivity = (from: string) =>
      shell(`heddle verify connectivity --from-pod ${from} --to-pod ${store} --to-service bookstore`);
    await until("its configuration is what the call needs", async () => (await connectivity(buyer)).code === 0);
    const good = await connectivity(buyer);
    expect(good.out).toContain(
      `[+] Context: Verify if pod "${buyer}" can access pod "${store}" for service "bookstore/bookstore"`,
    );
    expect(good.out).toContain("Status: Success");
    const bad = await connectivity(thief);
    expect(bad.code).toBe(1);
    expect(bad.out).toMatch(
      /Status: Failure\n +Reason: missing SMI TrafficTarget policy\n +Suggestion: Apply a TrafficTarget/,
    );
    const ingress = await shell(
      `heddle verify ingress --from-service kube-system/none --to-pod ${store} --to-service bookstore --ingress-backend none --to-port 14001`,
    );
    expect([ingress.code, ingress.out]).toEqual([
      1,
      expect.stringContaining("Error retrieving source ingress service"),
    ]);
    expect(await done("heddle verify control-plane-health")).toContain("Status: Success");
    expect(await done("heddle check")).toContain("Status: Success");
  });

  test("support bug-report and error-info, env, completion", async () => {
    const file = join(tools, "report.tar.gz");
    const report = await shell(`heddle support bug-report --all -o ${file}`);
    expect([report.code, lines(report.err).filter((line) => line.startsWith("Not collected"))]).toEqual([0, []]);
    const content = await exec(["tar", "-xzOf", file]);
    expect(content).not.toMatch(/PRIVATE KEY|private\.key: \S{20}|mypassword/);
    const names = lines(await exec(["tar", "-tzf", file]));
    const pod = await podOf("bookbuyer");
    for (const wanted of ["api/proxies.json", "api/problems.json", "logs/osm-controller.log"])
      expect(
        names.some((name) => name.endsWith(wanted)),
        wanted,
      ).toBe(true);
    expect(names).toContain(`heddle-bug-report/pods/bookbuyer/${pod}/envoy/config_dump.json`);
    expect(await done("heddle support error-info E1000")).toMatch(/^ERROR CODE +DESCRIPTION\nE1000 +\S/);
    expect(load(await done("heddle env"))).toEqual({
      install: { kind: "self-hosted", distribution: "", namespace: "osm-system" },
    });
    const completed = `source <(heddle completion bash); COMP_WORDS=(heddle namespace ""); COMP_CWORD=2; _heddle; echo "\${COMPREPLY[@]}"`;
    expect(words(await done(`bash -c '${completed}'`)).slice(0, 4)).toEqual(["add", "remove", "list", "ignore"]);
  });

  test("check --pre knows that there is a mesh; a second one is refused", async () => {
    const { out } = await shell("heddle check --pre");
    expect(out).toMatch(/mesh osm|mesh \[osm\]/i);
    const second = await shell("heddle install --mesh-name other --osm-namespace other");
    expect([second.code, second.err]).toEqual([1, expect.stringContaining("allows no second mesh in this cluster")]);
  });

  test("an upgrade keeps values and people's settings, and brings new values; traffic goes on", async () => {
    await done(
      `kubectl patch meshconfig osm-mesh-config -n ${SYSTEM} --type=merge -p '{"spec":{"sidecar":{"logLevel":"info"}}}'`,
    );
    const set = (values: string): string => `--set ${values} --reset-then-reuse-values --wait --timeout 4m`;
    await done(
      `helm upgrade heddle charts/heddle -n ${SYSTEM} ${set("injector.replicas=1,meshConfig.sidecar.logLevel=debug")}`,
    );
    expect(await done("heddle mesh upgrade --set meshConfig.traffic.enableEgress=true")).toBe(
      `OSM successfully upgraded mesh [osm] in namespace [${SYSTEM}]\n`,
    );
    expect(await settings()).toMatchObject({
      sidecar: { logLevel: "info" },
      traffic: { enableEgress: true, enablePermissiveTrafficPolicyMode: false },
    });
    const replicas = `kubectl get deployment osm-injector -n ${SYSTEM} -o jsonpath='{.spec.replicas}'`;
    expect(await done(replicas)).toBe("1");
    expect(load(await done(`helm get values heddle -n ${SYSTEM} -o yaml`))).toEqual({
      injector: { replicas: 1 },
      meshConfig: { sidecar: { logLevel: "debug" }, traffic: { enableEgress: true } },
    });
    expect(await callFrom(cluster, "bookbuyer", BUY)).toMatch(/^200 /);
  });
});

describe("after it", () => {
  const crds = async (): Promise<string[]> => (await added()).filter((one) => one.startsWith(CRD));
  let root: string;

  test("helm uninstall leaves CRDs, and nothing else", async () => {
    root = await done(`kubectl get secret osm-ca-bundle -n ${SYSTEM} -o json`);
    await done(`kubectl delete namespace ${BOOKSTORE_NAMESPACES.join(" ")}`);
    await done(`helm uninstall heddle -n ${SYSTEM} --wait`);
    // The namespace is helm's to make and not to remove; what Kubernetes makes in each stays with it.
    const rest = [
      `configmaps ${SYSTEM}/kube-root-ca.crt`,
      `namespaces /${SYSTEM}`,
      `serviceaccounts ${SYSTEM}/default`,
    ];
    let left: string[] = [];
    const clean = async (): Promise<boolean> =>
      (left = (await added()).filter((one) => !one.startsWith(CRD) && !rest.includes(one))).length === 0;
    await until("nothing is left", clean, 60_000).catch(() => expect(left).toEqual([]));
    expect(await crds()).toHaveLength(10);
  }, 180_000);

  test("helm 3 installs it again: an old root of trust is adopted, a pod is injected, and policy is enforced", async () => {
    const { metadata: _, ...secret } = JSON.parse(root) as { metadata: unknown; data: Record<string, string> };
    const again = { ...secret, metadata: { name: "osm-ca-bundle", namespace: SYSTEM } };
    await cluster.kubectl(["apply", "-f", "-"], JSON.stringify(again));
    const install = `helm install heddle charts/heddle -n ${SYSTEM} --wait --timeout 4m`;
    expect(await done(install, 3)).toContain('Heddle 0.1.0 runs as mesh "osm"');
    await done("kubectl create namespace bookstore; kubectl create namespace bookthief");
    await done("heddle namespace add bookstore bookthief");
    const files = ["bookstore", "bookthief"].map((name) => `kubectl apply -f - < <(${image(name)})`).join("; ");
    await done(files);
    for (const namespace of ["bookstore", "bookthief"]) await podsReady(cluster, namespace);
    expect((await podsOf(cluster, "bookthief"))[0]?.spec.initContainers?.map(({ name }) => name)).toEqual([
      "osm-init",
      "envoy",
    ]);
    const ca = await done("kubectl get cm heddle-ca -n bookthief -o jsonpath='{.data.ca\\.crt}'");
    expect(ca.trim()).toBe(Buffer.from(secret.data["ca.crt"]!, "base64").toString("utf8").trim());
    expect(await callFrom(cluster, "bookthief", BUY)).toMatch(/^403 heddle: no TrafficTarget lets /);
    await cluster.kubectl(["apply", "-f", "-"], JSON.stringify(ALLOW_THIEF));
    await until("bookthief buys", async () => (await callFrom(cluster, "bookthief", BUY)).startsWith("200 "), 60_000);
    const values = `helm upgrade heddle charts/heddle -n ${SYSTEM} --reuse-values --set controller.replicas=1 --wait`;
    await done(values, 3);
    expect(await callFrom(cluster, "bookthief", BUY)).toMatch(/^200 /);
  }, 300_000);

  test("uninstall mesh -a --delete-namespace leaves nothing at all, and install begins anew", async () => {
    const out = await done("heddle uninstall mesh -f -a --delete-namespace", 3);
    for (const line of [
      `Namespace [bookstore] successfully removed from mesh [osm]`,
      `OSM [mesh name: osm] in namespace [${SYSTEM}] uninstalled`,
      `OSM namespace [${SYSTEM}] deleted successfully`,
      "Successfully deleted OSM CRD: traffictargets.access.smi-spec.io",
    ])
      expect(lines(out)).toContain(line);
    await done("kubectl delete namespace bookstore bookthief");
    let left: string[] = [];
    await until("nothing is left", async () => (left = await added()).length === 0, 60_000).catch(() =>
      expect(left).toEqual([]),
    );
    const begun = await shell(
      "heddle check --pre && heddle install --osm-namespace heddle-system --set controller.replicas=1",
      3,
    );
    expect(begun.out, begun.err).toContain(
      "OSM installed successfully in namespace [heddle-system] with mesh name [osm]",
    );
    expect(await done("heddle verify control-plane-health")).toContain("Status: Success");
  }, 300_000);
});

/** A file of the example with our image, as kustomize would put it. */
const image = (name: string): string =>
  `sed -E 's#openservicemesh/[a-z]+:latest-main#heddle/bookstore:0.1.0#' examples/bookstore/${name}.yaml`;

const ALLOW_THIEF = {
  apiVersion: "v1",
  kind: "List",
  items: [
    {
      apiVersion: "specs.smi-spec.io/v1alpha4",
      kind: "HTTPRouteGroup",
      metadata: { name: "buy", namespace: "bookstore" },
      spec: { matches: [{ name: "buy", pathRegex: "/buy-a-book/new", methods: ["GET"] }] },
    },
    ...["bookstore", "bookstore-v2"].map((name) => ({
      apiVersion: "access.smi-spec.io/v1alpha3",
      kind: "TrafficTarget",
      metadata: { name, namespace: "bookstore" },
      spec: {
        destination: { kind: "ServiceAccount", name, namespace: "bookstore" },
        rules: [{ kind: "HTTPRouteGroup", name: "buy", matches: ["buy"] }],
        sources: [{ kind: "ServiceAccount", name: "bookthief", namespace: "bookthief" }],
      },
    })),
  ],
};
