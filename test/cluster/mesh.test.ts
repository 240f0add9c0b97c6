/**
 * The mesh in a real cluster: the unmodified Dockerfile's image, the chart with its defaults, real admission, the kubelet's tokens, and
 * OSM's own manifests, enforced.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lacking, osmManifestsMissing, until } from "../support/live-mesh.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import {
  applyBookstore,
  BOOKSTORE_NAMESPACES,
  BUY,
  callFrom,
  importImages,
  installChart,
  osm,
  podsOf,
  podsReady,
  say,
  SYSTEM,
} from "./install.ts";
import { applyServiceKinds, CASES, disagreements } from "./service-kinds.ts";

describe.skipIf(lacking(osmManifestsMissing()))("OSM's bookstore in a cluster", () => {
  let cluster: Cluster;
  const kubectl = (...args: string[]): Promise<string> => cluster.kubectl(args);
  const call = (namespace: string, url: string): Promise<string> => callFrom(cluster, namespace, url);

  beforeAll(async () => {
    cluster = await startCluster({ say });
    await importImages(cluster);
    await installChart(cluster);
    await applyBookstore(cluster);
  }, 1_800_000);
  afterAll(() => cluster?.stop());

  test("every pod is injected by the webhook, with a native sidecar, and becomes ready", async () => {
    for (const namespace of BOOKSTORE_NAMESPACES)
      for (const pod of await podsReady(cluster, namespace))
        expect(pod.spec.initContainers?.find((c) => c.name === "envoy")?.restartPolicy, pod.metadata.name).toBe(
          "Always",
        );
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
    const [controller] = await podsOf(cluster, SYSTEM);
    expect(controller).toBeDefined();
    await kubectl("delete", "pods", "-n", SYSTEM, "-l", "app=osm-controller", "--force", "--grace-period=0");
    for (let i = 0; i < 5; i++) expect(await call("bookbuyer", BUY)).toMatch(/^200 /);
    await kubectl("rollout", "status", "deployment/osm-controller", "-n", SYSTEM, "--timeout=90s");
    await kubectl("delete", "traffictarget", "bookstore", "-n", "bookstore");
    await until("bookbuyer is refused", async () => (await call("bookbuyer", BUY)).startsWith("403 "), 60_000);
  });

  test("why says of each call what its caller gets: the bookstore's, and to Services of all kinds", async () => {
    await kubectl("delete", "traffictarget", "bookstore-v2", "-n", "bookstore", "--ignore-not-found");
    await kubectl("apply", "-f", osm("access/traffic-access-v1.yaml"), "-f", osm("split/traffic-split-50-50.yaml"));
    await applyServiceKinds(cluster);
    let left: readonly string[] = CASES.map(([from, to]) => `${from} to ${to} was not looked at`);
    const agree = async () => (left = await disagreements(cluster, CASES)).length === 0;
    await until("why and the callers agree", agree, 40_000).catch(() => expect(left).toEqual([]));
  });
});
