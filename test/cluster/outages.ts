/**
 * Bad days of the cluster, with traffic: what the control plane has must not be lost, what is edited meanwhile must hold afterwards, and
 * no request may fail because of it.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { until } from "../support/live-mesh.ts";
import { say, SYSTEM } from "./install.ts";
import { crd, OUTSIDE, PODS, SHOP, SPLIT, SPLITS, TARGETS, type Market } from "./market.ts";

/** Pods of the flood. */
const FLOOD = 5_000;
/** MB that a controller may take with all of them. */
const MEMORY = 300;

const POLICY_CRDS = "access.smi-spec.io_traffictargets";

export function outages(open: () => Market): void {
  describe("outages", () => {
    let shop: Market;
    beforeEach(async () => {
      shop = open();
      await shop.go();
    });
    afterEach(async () => {
      await shop.traffic(30);
      const { counts, failures } = await shop.counted();
      expect(failures).toEqual([]);
      expect(counts["200"]).toBeGreaterThan(20);
    });

    const parted = async () => (await shop.call("buyer", "http://parted.shop/")).body;
    const ends = (end: string) => shop.metric("heddle_watch_ends_total", `end="${end}"`);

    test("the API server is killed and etcd has forgotten its history when it comes back", async () => {
      const gone = await ends("gone");
      await shop.cluster.killApiServer();
      await shop.traffic(40);
      await shop.cluster.compactEtcd();
      await shop.cluster.startApiServer();
      await shop.edit();
      expect(await ends("gone")).toBeGreaterThan(gone);
      await shop.edit();
    });

    test("connections to the API server become half-open: it is noticed, and made good when they can be made again", async () => {
      const pods = [...(await shop.controlPlane("osm-controller")), ...(await shop.controlPlane("osm-injector"))];
      const ended = async () => (await ends("broken")) + (await ends("silence"));
      const before = await ended();
      const watches = await shop.series("heddle_watch_silence_seconds");
      expect(watches).toBeGreaterThan(10);
      const restore: (() => Promise<void>)[] = [];
      let enforced: Promise<void> | undefined;
      try {
        for (const { status } of pods) restore.push(await shop.cluster.cutApi(status.podIP ?? ""));
        // Each watch of each controller: until then some might only wait, and go on as if nothing had been.
        await until("the silence is noticed", async () => (await ended()) >= before + watches, 120_000);
        enforced = shop.edit(90_000);
        await shop.traffic(20);
      } finally {
        for (const undo of restore) await undo();
      }
      await enforced;
      await shop.edit();
    });

    test("the CRD of TrafficSplits goes and comes back: calls go to the root meanwhile, and the split holds again", async () => {
      await until("the split holds", async () => (await parted()) === "other", 30_000);
      await shop.kubectl("delete", "crd", "trafficsplits.split.smi-spec.io");
      await until("the root takes the calls", async () => (await parted()) === "store", 30_000);
      await shop.edit();
      await shop.kubectl("apply", "-f", crd("split.smi-spec.io_trafficsplits"));
      await until("the CRD is served", () => shop.apply(SPLITS, SPLIT).then(Boolean, () => false), 30_000);
      await until("the split holds again", async () => (await parted()) === "other", 30_000);
    });

    test("the CRD of TrafficTargets goes: nobody may call; it comes back and the calls with it", async () => {
      await shop.traffic(40);
      await shop.pause();
      const { counts, failures } = await shop.counted();
      expect(failures).toEqual([]);
      expect(Object.keys(counts)).toEqual(["200"]);
      await shop.kubectl("delete", "crd", "traffictargets.access.smi-spec.io");
      await until("the buyer is refused", async () => (await shop.call("buyer")).status === 403, 30_000);
      await shop.kubectl("apply", "-f", crd(POLICY_CRDS));
      await until("the CRD is served", () => shop.apply(TARGETS, shop.target).then(Boolean, () => false), 30_000);
      await until("the buyer may call", async () => (await shop.call("buyer")).status === 200, 30_000);
      await shop.go();
      await shop.edit();
      await shop.traffic(40);
    });

    test("a kind that the cluster did not have at the start is read when its CRD comes", async () => {
      const logged = await shop.logs("osm-controller");
      expect(logged).toMatch(/"kind":"UDPRoute","msg":"the cluster does not have this kind/);
      await shop.kubectlApply(UDP_ROUTES);
      const route = {
        apiVersion: "specs.smi-spec.io/v1alpha4",
        kind: "UDPRoute",
        metadata: { name: "late", namespace: SHOP },
        spec: {},
      };
      const resource = { group: "specs.smi-spec.io", version: "v1alpha4", plural: "udproutes" };
      await until("the CRD is served", () => shop.apply(resource, route).then(Boolean, () => false), 30_000);
      await until(
        "its status says that it was read",
        async () => (await shop.get(resource, "late"))?.["status"],
        60_000,
      );
    });

    test(`a flood of ${FLOOD} pods that nobody schedules: policy goes on, and memory is bounded`, async () => {
      // Every tenth one gets a sidecar, and would be a proxy.
      const pod = (n: number) => ({
        metadata: {
          name: `flood-${n}`,
          namespace: SHOP,
          labels: { app: "flood", n: String(n) },
          annotations: { "openservicemesh.io/sidecar-injection": n % 10 === 0 ? "enabled" : "disabled" },
        },
        spec: {
          schedulerName: "nobody",
          serviceAccountName: "thief",
          automountServiceAccountToken: false,
          containers: [{ name: "app", image: "nothing:1", ports: [{ containerPort: 8080 }] }],
        },
      });
      const each = async (work: (n: number) => Promise<unknown>) => {
        let next = 0;
        const worker = async () => {
          while (next < FLOOD) await work(next++);
        };
        await Promise.all(Array.from({ length: 24 }, worker));
      };
      await each((n) => shop.client.create(PODS, pod(n), shop.signal));
      await shop.edit(60_000);
      for (const role of ["controller", "injector"] as const) {
        const memory = await shop.memory(role);
        say(`with ${FLOOD} pods: ${role} ${memory.join(" and ")} MB`);
        for (const megabytes of memory) expect(megabytes).toBeLessThan(MEMORY);
      }
      await each((n) => shop.client.delete(PODS, { namespace: SHOP, name: `flood-${n}` }, shop.signal));
      await shop.edit(60_000);
      for (const { metadata } of await shop.controlPlane("osm-controller"))
        expect(await shop.kubectl("get", "pod", "-n", SYSTEM, metadata.name, "-o", RESTARTS)).toBe("0");
    }, 900_000);

    describe("while no control plane is there", () => {
      const pod = (name: string, namespace: string, annotations: Record<string, string> = {}) => ({
        metadata: { name, namespace, annotations },
        spec: {
          schedulerName: "nobody",
          automountServiceAccountToken: false,
          containers: [{ name: "app", image: "nothing:1" }],
        },
      });
      const create = (name: string, namespace: string, annotations?: Record<string, string>) =>
        shop.ask("POST", `/api/v1/namespaces/${namespace}/pods?dryRun=All`, pod(name, namespace, annotations));
      const scale = (replicas: number) =>
        shop.kubectl(
          "scale",
          "-n",
          SYSTEM,
          "deployment/osm-controller",
          "deployment/osm-injector",
          `--replicas=${replicas}`,
        );

      test("policies and pods outside of the mesh are not refused, pods of the mesh are; then all of it holds", async () => {
        await scale(0);
        await shop.kubectl("wait", "-n", SYSTEM, "pods", "--all", "--for=delete", "--timeout=60s");
        expect((await create("any", OUTSIDE)).status).toBe(201);
        expect((await create("any", SYSTEM)).status).toBe(201);
        expect((await create("any", "kube-system")).status).toBe(201);
        expect((await create("any", SHOP, { "openservicemesh.io/sidecar-injection": "disabled" })).status).toBe(201);
        const refused = await create("any", SHOP);
        expect(refused.status).toBe(500);
        expect(refused.body).toContain("osm-inject.k8s.io");
        // Good and bad policies are taken, for nobody is there to judge them.
        const edited = shop.edit(120_000);
        await shop.apply(TARGETS, { ...WRONG, metadata: { name: "unjudged", namespace: SHOP } });
        await shop.traffic(40);
        await scale(2);
        await edited;
        await shop.kubectl("rollout", "status", "-n", SYSTEM, "deployment/osm-injector", "--timeout=90s");
        await until("a pod of the mesh may be made", async () => (await create("any", SHOP)).status === 201, 30_000);

        // What is wrong with a policy that nobody judged stands in its status, and in one Event.
        await until(
          "it says that it is not accepted",
          async () => (await conditions(shop, "unjudged"))["Accepted"] === "False UnknownField",
          60_000,
        );
        expect((await conditions(shop, "unjudged"))["Programmed"]).toBe("False Unusable");
        const events = async () =>
          JSON.parse(
            await shop.kubectl(
              "get",
              "events",
              "-n",
              SHOP,
              "-o",
              "json",
              `--field-selector=involvedObject.name=unjudged`,
            ),
          ) as { items: { message: string; count: number }[] };
        await until("it is told", async () => (await events()).items.length > 0, 30_000);
        const { items } = await events();
        expect(items.map(({ count }) => count)).toEqual([1]);
        expect(items[0]?.message).toContain("spec.onlyOn is not a field");
      });

      test("a webhook that does not answer holds up a policy for its time-out and no longer, and pods outside not at all", async () => {
        const rule = ["OUTPUT", "-p", "tcp", "-m", "multiport", "--dports", "9090,9093", "-j", "DROP"];
        await shop.cluster.nodeExec(["iptables", "-w", "-I", ...rule]);
        try {
          expect((await create("any", OUTSIDE)).status).toBe(201);
          await shop.edit();
        } finally {
          await shop.cluster.nodeExec(["iptables", "-w", "-D", ...rule]);
        }
      });
    });
  });
}

/** SMI's fifth kind, which the chart does not install. */
const UDP_ROUTES = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "udproutes.specs.smi-spec.io" },
  spec: {
    group: "specs.smi-spec.io",
    scope: "Namespaced",
    names: { plural: "udproutes", singular: "udproute", kind: "UDPRoute" },
    versions: [
      {
        name: "v1alpha4",
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
      },
    ],
  },
};

const RESTARTS = "jsonpath={.status.containerStatuses[0].restartCount}";

/** A TrafficTarget with a restriction that nobody knows. */
export const WRONG = {
  apiVersion: "access.smi-spec.io/v1alpha3",
  kind: "TrafficTarget",
  spec: {
    onlyOn: "mondays",
    destination: { kind: "ServiceAccount", name: "store", namespace: SHOP },
    sources: [{ kind: "ServiceAccount", name: "thief", namespace: SHOP }],
    rules: [{ kind: "HTTPRouteGroup", name: "all" }],
  },
};

/** Conditions of a TrafficTarget: type → status and reason. */
async function conditions(shop: Market, name: string): Promise<Record<string, string>> {
  const object = await shop.get(TARGETS, name);
  const status = (object?.["status"] ?? {}) as { conditions?: { type: string; status: string; reason: string }[] };
  return Object.fromEntries((status.conditions ?? []).map((c) => [c.type, `${c.status} ${c.reason}`]));
}
