/**
 * The mesh in a real cluster: the unmodified Dockerfile's image, the chart with its defaults, real admission, the kubelet's tokens, and
 * OSM's own manifests, enforced.
 */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lacking, OSM_MANIFESTS, osmManifestsMissing, ROOT, until } from "../support/live-mesh.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import { exec } from "./exec.ts";
import { buildImage } from "./images.ts";
import { envoyImage, helm } from "./users-tools.ts";

const SYSTEM = "heddle-system";
const NAMESPACES = ["bookbuyer", "bookthief", "bookstore", "bookwarehouse"] as const;
const APPS = ["bookbuyer", "bookthief", "bookstore", "bookstore-v2", "bookwarehouse", "mysql"] as const;
const BUY = "http://bookstore.bookstore:14001/buy-a-book/new";
const say = (line: string): void => void process.stderr.write(`${line}\n`);
const osm = (path: string): string => join(OSM_MANIFESTS, path);

const VOLUME = {
  apiVersion: "v1",
  kind: "PersistentVolume",
  metadata: { name: "data" },
  spec: {
    capacity: { storage: "1Gi" },
    accessModes: ["ReadWriteOnce"],
    hostPath: { path: "/tmp/data", type: "DirectoryOrCreate" },
  },
};

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string; readonly namespace: string };
    readonly spec: { readonly initContainers?: readonly { readonly name: string; readonly restartPolicy?: string }[] };
    readonly status: {
      readonly phase: string;
      readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    };
  }[];
}

describe.skipIf(lacking(osmManifestsMissing()))("OSM's bookstore in a cluster", () => {
  let cluster: Cluster;
  const kubectl = (...args: string[]): Promise<string> => cluster.kubectl(args);
  const pods = async (namespace: string): Promise<PodList["items"]> =>
    (JSON.parse(await kubectl("get", "pods", "-n", namespace, "-o", "json")) as PodList).items;
  /** What a call from the first pod of a namespace gives: status, a space, the body. */
  const call = async (namespace: string, url: string): Promise<string> => {
    const [pod] = await pods(namespace);
    const script = `fetch(${JSON.stringify(url)}).then(async (r) => console.log(r.status, await r.text()), (e) => console.log(0, String(e)))`;
    return (
      await kubectl("exec", "-n", namespace, pod?.metadata.name ?? "", "-c", namespace, "--", "node", "-e", script)
    ).trim();
  };

  beforeAll(async () => {
    cluster = await startCluster({ say });
    const heddle = await buildImage(
      join(ROOT, "Dockerfile"),
      ROOT,
      "docker.io/heddle/heddle:0.1.0",
      { network: true },
      say,
    );
    await cluster.importImage(heddle);
    await cluster.importImage(await envoyImage("docker.io/envoyproxy/envoy:distroless-v1.40.0", say));
    const apps = await buildImage(
      join(ROOT, "test/cluster/apps/Dockerfile"),
      join(ROOT, "examples/bookstore"),
      "bookstore-apps:test",
      {},
      say,
    );
    for (const name of ["bookbuyer", "bookthief", "bookstore", "bookwarehouse"])
      await cluster.pushImage(apps, `openservicemesh/${name}:latest-main`);
    await cluster.pushImage(apps, "mysql:5.6");
    const program = await helm(4);
    const kubeconfig = ["--kubeconfig", cluster.kubeconfig];
    await exec(
      [
        program,
        "install",
        "heddle",
        join(ROOT, "charts/heddle"),
        "-n",
        SYSTEM,
        "--create-namespace",
        "--wait",
        "--timeout",
        "4m",
        ...kubeconfig,
      ],
      { timeout: 300_000 },
    );
    for (const name of NAMESPACES) await kubectl("create", "namespace", name);
    await exec(
      [join(ROOT, "bin/heddle"), "namespace", "add", ...NAMESPACES, "--osm-namespace", SYSTEM, ...kubeconfig],
      { timeout: 60_000 },
    );
    // The cluster has no storage class; mysql's claim takes this volume.
    await cluster.kubectl(["apply", "-f", "-"], JSON.stringify(VOLUME));
    for (const app of APPS) await kubectl("apply", "-f", osm(`apps/${app}.yaml`));
    await kubectl("apply", "-f", osm("access/traffic-access-v1.yaml"), "-f", osm("split/traffic-split-50-50.yaml"));
  }, 1_800_000);
  afterAll(() => cluster?.stop());

  test("every pod is injected by the webhook, with a native sidecar, and becomes ready", async () => {
    for (const namespace of NAMESPACES) {
      await until(
        `the pods of ${namespace} are ready`,
        async () => {
          const all = await pods(namespace);
          return (
            all.length > 0 &&
            all.every((pod) => pod.status.conditions?.some((c) => c.type === "Ready" && c.status === "True"))
          );
        },
        120_000,
      );
      for (const pod of await pods(namespace)) {
        expect(pod.spec.initContainers?.find((c) => c.name === "envoy")?.restartPolicy, pod.metadata.name).toBe(
          "Always",
        );
      }
    }
  });

  test("bookbuyer buys; bookthief is refused in words, until the policy allows it", async () => {
    await until("bookbuyer buys", async () => (await call("bookbuyer", BUY)).startsWith("200 "), 60_000);
    expect(await call("bookthief", BUY)).toMatch(/^403 heddle: no TrafficTarget lets /);
    await kubectl(
      "apply",
      "-f",
      osm("access/traffic-access-v1-allow-bookthief.yaml"),
      "-f",
      osm("split/traffic-split-v1.yaml"),
    );
    await until("bookthief buys", async () => (await call("bookthief", BUY)).startsWith("200 "), 30_000);
    await kubectl("apply", "-f", osm("access/traffic-access-v1.yaml"));
    await until("bookthief is refused again", async () => (await call("bookthief", BUY)).startsWith("403 "), 30_000);
  });

  test("policies say in their status that they are honoured, and a wrong one that it is not", async () => {
    const accepted = async (name: string) =>
      kubectl(
        "get",
        "traffictarget",
        name,
        "-n",
        "bookstore",
        "-o",
        'jsonpath={.status.conditions[?(@.type=="Accepted")].status}',
      );
    await until("the target is accepted", async () => (await accepted("bookstore")) === "True", 30_000);
    await kubectl(
      "patch",
      "traffictarget",
      "bookstore-v2",
      "-n",
      "bookstore",
      "--type=json",
      "-p",
      '[{"op":"replace","path":"/spec/rules/0/name","value":"nowhere"}]',
    );
    await until("the other one is not", async () => (await accepted("bookstore-v2")) === "False", 30_000);
  });

  test("a Job with a sidecar finishes", async () => {
    const job = {
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: "once", namespace: "bookbuyer" },
      spec: {
        template: {
          spec: {
            serviceAccountName: "bookbuyer",
            restartPolicy: "Never",
            containers: [
              {
                name: "once",
                image: "openservicemesh/bookbuyer:latest-main",
                command: [
                  "node",
                  "-e",
                  `fetch(${JSON.stringify(BUY)}).then((r) => process.exit(r.status === 200 ? 0 : 1))`,
                ],
              },
            ],
          },
        },
      },
    };
    await cluster.kubectl(["apply", "-f", "-"], JSON.stringify(job));
    await until(
      "the Job is complete",
      async () =>
        (await kubectl("get", "job", "once", "-n", "bookbuyer", "-o", "jsonpath={.status.succeeded}")) === "1",
      60_000,
    );
  });

  test("kill -9 of both controllers: traffic goes on, and they govern again when they are back", async () => {
    const [controller] = await pods(SYSTEM);
    expect(controller).toBeDefined();
    await kubectl("delete", "pods", "-n", SYSTEM, "-l", "app=osm-controller", "--force", "--grace-period=0");
    for (let i = 0; i < 5; i++) expect(await call("bookbuyer", BUY)).toMatch(/^200 /);
    await kubectl("rollout", "status", "deployment/osm-controller", "-n", SYSTEM, "--timeout=90s");
    await kubectl("delete", "traffictarget", "bookstore", "-n", "bookstore");
    await until("bookbuyer is refused", async () => (await call("bookbuyer", BUY)).startsWith("403 "), 60_000);
  });
});
