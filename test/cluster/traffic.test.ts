/**
 * Traffic goes on whatever comes and goes: applications' pods, the control plane's, and policies. Under load from inside the mesh (200 requests/s;
 * `HEDDLE_LOAD_RATE` for machines that do other things too), and not one request may fail.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/live-mesh.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import {
  addNamespaces,
  HEDDLE_IMAGE,
  importImages,
  installChart,
  podsOf,
  podsReady,
  say,
  SYSTEM,
  upgradeChart,
} from "./install.ts";
import { importTrafficImage, type LoadResult, startLoad, watchVerdicts } from "./load.ts";
import { apply, changed, clientPod, server, SHOP, shop, split, target, urlOf } from "./shop.ts";

const RATE = Number(process.env["HEDDLE_LOAD_RATE"] ?? 200);
const NEXT_TAG = "next";
const TARGETS = `/apis/access.smi-spec.io/v1alpha3/namespaces/${SHOP}/traffictargets`;
const SPLITS = `/apis/split.smi-spec.io/v1alpha2/namespaces/${SHOP}/trafficsplits`;
const LEASE = `/apis/coordination.k8s.io/v1/namespaces/${SYSTEM}/leases/heddle-controller`;

let cluster: Cluster;
const kubectl = (...args: string[]): Promise<string> => cluster.kubectl(args);

beforeAll(async () => {
  cluster = await startCluster({ say });
  await importImages(cluster, [HEDDLE_IMAGE.replace(/[^:]*$/, NEXT_TAG)]);
  await importTrafficImage(cluster, say);
  await installChart(cluster);
  await addNamespaces(cluster, [SHOP]);
  await apply(cluster, [...shop(), ...server({ name: "web" })]);
  await podsReady(cluster, SHOP);
  await served("web");
}, 1_800_000);
afterAll(() => cluster?.stop());

async function underLoad(name: string, during: () => Promise<void>, rate = RATE): Promise<LoadResult> {
  const load = await startLoad(cluster, await clientPod(cluster), urlOf(name), rate);
  // Whatever becomes of it, the load ends.
  const outcome = await during().then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  const result = await load.stop();
  if (outcome) throw outcome.error;
  return result;
}

/** Resolves when the client's sidecar has learnt of the server. */
const served = (name: string): Promise<unknown> =>
  until(`${name} serves`, async () => (await underLoad(name, async () => {}, 10)).failures.length === 0, 60_000);

async function expectNoneLost(result: LoadResult): Promise<void> {
  // Who reads of a lost request wants to know what the client's sidecar says of it: with what flags, or nothing at all.
  const lost = result.failures.length > 0 ? await refusals() : "";
  expect(result.failures, lost).toEqual([]);
  expect(result.ok).toBe(result.sent);
  expect(result.ok).toBeGreaterThan(0);
}

/** The last lines of the client's sidecar's log that are not of a good answer. */
async function refusals(): Promise<string> {
  const { namespace, pod } = await clientPod(cluster);
  const lines = (await kubectl("logs", "-n", namespace, pod, "-c", "envoy")).trim().split("\n");
  return lines
    .filter((line) => !line.includes('"response_code":200'))
    .slice(-20)
    .join("\n");
}

describe("pods of an application", () => {
  test.each([
    { readiness: true, atSigterm: "exit" },
    { readiness: true, atSigterm: "finish" },
    { readiness: false, atSigterm: "exit" },
    { readiness: false, atSigterm: "finish" },
  ] as const)(
    "readiness probe $readiness, at SIGTERM: $atSigterm: it rolls and scales without a lost request",
    async (how) => {
      const name = `${how.readiness ? "probed" : "plain"}-${how.atSigterm}`;
      await apply(cluster, server({ name, ...how, startAfter: 500 }));
      const rolled = () => kubectl("rollout", "status", `deployment/${name}`, "-n", SHOP, "--timeout=170s");
      const scale = async (replicas: number): Promise<void> => {
        await kubectl("scale", `deployment/${name}`, "-n", SHOP, `--replicas=${replicas}`);
        await rolled();
        await until(
          `${name} has ${replicas} pods`,
          async () => (await podsOf(cluster, SHOP, `app=${name}`)).length === replicas,
          120_000,
        );
      };
      await scale(2);
      const before = (await podsOf(cluster, SHOP, `app=${name}`)).map((pod) => pod.metadata.name);
      await served(name);
      const result = await underLoad(name, async () => {
        await kubectl("rollout", "restart", `deployment/${name}`, "-n", SHOP);
        await scale(2);
        await scale(4);
        await scale(2);
      });
      await kubectl("delete", "deployment,service", name, "-n", SHOP, "--wait=false");
      await expectNoneLost(result);
      // Two that went, two that came, and two that came and went.
      expect(Object.keys(result.pods)).toEqual(expect.arrayContaining(before));
      expect(Object.keys(result.pods).length).toBeGreaterThanOrEqual(4);
    },
  );
});

const condition = async (name: string): Promise<string | undefined> => {
  const object = JSON.parse((await cluster.call("GET", `${TARGETS}/${name}`)).body) as {
    status?: { conditions?: { type: string; status: string }[] };
  };
  return object.status?.conditions?.find((c) => c.type === "Accepted")?.status;
};

describe("pods of the control plane", () => {
  const leader = async (): Promise<string> => {
    const { spec } = JSON.parse((await cluster.call("GET", LEASE)).body) as { spec: { holderIdentity?: string } };
    return (spec.holderIdentity ?? "").split("_")[0] ?? "";
  };

  test("the leader is killed -9: no request is lost, another leads, and status goes on", async () => {
    await until("somebody leads", async () => (await leader()) !== "", 30_000);
    const first = await leader();
    const result = await underLoad("web", async () => {
      const pod = JSON.parse(await kubectl("get", "pod", first, "-n", SYSTEM, "-o", "json")) as {
        status: { containerStatuses: { containerID: string }[] };
      };
      const id = pod.status.containerStatuses[0]?.containerID.replace("containerd://", "") ?? "";
      await cluster.ctr(["tasks", "kill", "--signal", "SIGKILL", id]);
      // Or the kubelet would start it again under its old name.
      await kubectl("delete", "pod", first, "-n", SYSTEM, "--force", "--grace-period=0");
      await until("another leads", async () => ![first, ""].includes(await leader()), 90_000);
      await apply(cluster, [target("late", "client"), target("wrong", "nobody")]);
      await kubectl(
        "patch",
        "traffictarget",
        "wrong",
        "-n",
        SHOP,
        "--type=json",
        "-p",
        '[{"op":"replace","path":"/spec/rules/0/name","value":"nowhere"}]',
      );
      await until("the new leader accepts", async () => (await condition("late")) === "True", 60_000);
      await until("and refuses", async () => (await condition("wrong")) === "False", 60_000);
    });
    await kubectl("delete", "traffictarget", "late", "wrong", "-n", SHOP);
    await expectNoneLost(result);
    await kubectl("rollout", "status", "deployment/osm-controller", "-n", SYSTEM, "--timeout=120s");
  });

  test("helm upgrade: no request is lost, no storm of sidecars, and the new control plane governs", async () => {
    const upgraded = await underLoad("web", async () => {
      await upgradeChart(cluster, { set: { "image.tag": NEXT_TAG } });
      await until("the old control plane is gone", async () => (await podsOf(cluster, SYSTEM)).length === 4, 120_000);
    });
    await expectNoneLost(upgraded);
    const pods = await podsOf(cluster, SYSTEM, "app=osm-controller");
    const sidecars = (await podsOf(cluster, SHOP)).length;
    let [streams, connects] = [0, 0];
    const count = async (): Promise<number> => {
      [streams, connects] = [0, 0];
      for (const { metadata } of pods) {
        const path = `/api/v1/namespaces/${SYSTEM}/pods/${metadata.name}:9091/proxy/metrics`;
        const { body } = await cluster.call("GET", path);
        const value = (name: string): number =>
          Number(new RegExp(`^${name} (\\d+)$`, "m").exec(body)?.[1] ?? Number.NaN);
        streams += value("heddle_xds_streams");
        connects += value("osm_proxy_connect_count");
      }
      return streams;
    };
    await until("every sidecar has a stream", async () => (await count()) === sidecars, 60_000);
    // Who has come to a new replica stays; once more where a busy machine has broken a connection.
    expect(connects).toBeLessThanOrEqual(2 * sidecars);
  });
});

describe("verdicts on connections that are open and idle", () => {
  test("once one request follows an edit all do: denied, allowed, another weight", async () => {
    const one = (name: string) => server({ name, replicas: 1, work: 0 });
    const weights = (v1: number, v2: number) => split("store", { v1, v2 });
    await apply(cluster, [...one("v1"), ...one("v2"), ...weights(100, 0)]);
    await podsReady(cluster, SHOP);
    await served("store");
    const verdicts = await watchVerdicts(cluster, await clientPod(cluster), urlOf("store"), 12);
    const follow = async (wanted: 403 | "v1" | "v2", edit: () => Promise<number>): Promise<void> => {
      const { changed: seen } = await verdicts.watch(wanted);
      await edit();
      const { old, errors, after } = await seen;
      expect({ old, errors }, `after the edit to ${wanted}`).toEqual({ old: [], errors: [] });
      expect(after).toBeGreaterThan(12);
    };
    const put = (v1: number, v2: number) =>
      changed(cluster, "PATCH", `${SPLITS}/store`, { spec: (weights(v1, v2)[1] as { spec: object }).spec });
    try {
      for (let round = 0; round < 3; round++) {
        await follow(403, () => changed(cluster, "DELETE", `${TARGETS}/clients`));
        await follow("v1", () => changed(cluster, "POST", TARGETS, target("clients", "client")));
        await follow("v2", () => put(0, 100));
        await follow("v1", () => put(100, 0));
      }
    } finally {
      verdicts.stop();
    }
  });
});
