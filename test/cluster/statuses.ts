/** What policies say of themselves: every kind, by the leader alone, once, and nothing when there is nothing new. */
import { beforeAll, describe, expect, test } from "vitest";
import { KINDS } from "../../src/manifest/kinds.ts";
import type { Raw, Resource } from "../../src/sources/kubernetes/resource.ts";
import { until } from "../support/live-mesh.ts";
import { SYSTEM } from "./install.ts";
import { SHOP, target, TARGETS, type Market } from "./market.ts";

const MANAGER = "heddle-controller";
const POLICY = KINDS.filter(({ group }) => group !== "" && !group.endsWith(".k8s.io"));

interface Policy {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly generation: number;
    readonly managedFields: readonly { manager: string; operation: string; subresource?: string }[];
  };
  readonly spec?: unknown;
  readonly status?: {
    readonly conditions?: readonly {
      type: string;
      status: string;
      reason: string;
      message: string;
      observedGeneration: number;
    }[];
  };
}

const tcpRoute: Raw = {
  apiVersion: "specs.smi-spec.io/v1alpha4",
  kind: "TCPRoute",
  metadata: { name: "any", namespace: SHOP },
  spec: {},
};
const ingress: Raw = {
  apiVersion: "policy.openservicemesh.io/v1alpha1",
  kind: "IngressBackend",
  metadata: { name: "from-outside", namespace: SHOP },
  spec: {
    backends: [{ name: "web", port: { number: 8080, protocol: "http" } }],
    sources: [{ kind: "Service", name: "ingress", namespace: "ingress" }],
  },
};
const named = (name: string, route: string): Raw => ({
  ...target("thief"),
  metadata: { name, namespace: SHOP },
  spec: { ...(target("thief")["spec"] as Raw), rules: [{ kind: "HTTPRouteGroup", name: route }] },
});

export function statuses(open: () => Market): void {
  describe("status", () => {
    let shop: Market;
    beforeAll(async () => {
      shop = open();
      await shop.kubectlApply(tcpRoute);
      await shop.kubectlApply(ingress);
    });

    /** All policy objects of the mesh, of the kinds that the cluster has. */
    const policies = async (): Promise<Policy[]> => {
      const found: Policy[] = [];
      for (const { group, versions, plural, kind } of POLICY) {
        for (const version of versions.toReversed()) {
          const { status, body } = await shop.ask("GET", `/apis/${group}/${version}/${plural}`);
          if (status !== 200) continue;
          for (const item of (JSON.parse(body) as { items: Policy[] }).items) found.push({ ...item, kind });
          break;
        }
      }
      return found;
    };
    const events = async (name: string) => {
      const { body } = await shop.ask(
        "GET",
        `/api/v1/namespaces/${SHOP}/events?fieldSelector=${encodeURIComponent(`involvedObject.name=${name}`)}`,
      );
      return (JSON.parse(body) as { items: { reason: string; count: number; message: string }[] }).items;
    };
    const holder = async () => {
      const leases: Resource = { group: "coordination.k8s.io", version: "v1", plural: "leases" };
      const lease = await shop.get(leases, MANAGER, SYSTEM);
      return (lease?.["spec"] as { holderIdentity?: string } | undefined)?.holderIdentity ?? "";
    };

    test("every policy of every kind says whether it is accepted and programmed, by server-side apply", async () => {
      const all = await policies();
      const kinds = new Set(all.map(({ kind }) => kind));
      for (const kind of ["TrafficTarget", "HTTPRouteGroup", "TCPRoute", "TrafficSplit", "MeshConfig"])
        expect(kinds).toContain(kind);
      const said = ({ status }: Policy) => (status?.conditions ?? []).map(({ type }) => type).sort();
      await until(
        "each has its conditions",
        async () => (await policies()).every((one) => said(one).join() === "Accepted,Programmed"),
        60_000,
      );
      for (const { kind, metadata, status } of await policies()) {
        const what = `${kind} ${metadata.name}`;
        expect(
          metadata.managedFields.filter(({ subresource }) => subresource === "status"),
          what,
        ).toEqual([expect.objectContaining({ manager: MANAGER, operation: "Apply" })]);
        for (const { reason, observedGeneration } of status?.conditions ?? []) {
          expect(reason, what).toMatch(/^[A-Z]\w+$/);
          expect(observedGeneration, what).toBe(metadata.generation);
        }
      }
    });

    test("difference 13: an object of a kind of OSM's that is not served says that it has no effect", async () => {
      const found = (await policies()).find(({ kind }) => kind === "IngressBackend");
      expect(
        (found?.status?.conditions ?? []).map(({ type, status, reason }) => `${type} ${status} ${reason}`),
      ).toEqual(["Accepted False WithoutEffect", "Programmed False Unusable"]);
      expect((await events("from-outside")).map(({ reason }) => reason)).toEqual(["WithoutEffect"]);
    });

    test("a namespace that leaves the mesh: what was said of its policies is taken back", async () => {
      const label = "openservicemesh.io/monitored-by";
      await shop.kubectl("create", "namespace", "leaving");
      await shop.kubectl("label", "namespace", "leaving", `${label}=osm`);
      await shop.kubectlApply({ ...tcpRoute, metadata: { name: "left", namespace: "leaving" } });
      const conditions = async () =>
        (await policies()).find(({ metadata }) => metadata.name === "left")?.status?.conditions?.length ?? 0;
      await until("it has its conditions", async () => (await conditions()) === 2, 30_000);
      await shop.kubectl("label", "namespace", "leaving", `${label}-`);
      await until("it has none", async () => (await conditions()) === 0, 30_000);
      await shop.kubectl("delete", "namespace", "leaving");
    });

    test("a MeshConfig that somebody deletes comes back as the chart's values say", async () => {
      const config = async () => (await policies()).find(({ kind }) => kind === "MeshConfig");
      const before = await config();
      await shop.kubectl("delete", "meshconfig", before?.metadata.name ?? "", "-n", SYSTEM);
      const again = async () => {
        const now = await config();
        return now?.metadata.uid !== before?.metadata.uid && now?.status?.conditions?.length === 2;
      };
      await until("it is there again", again, 30_000);
      expect((await config())?.spec).toEqual(before?.spec);
    });

    test("a Problem is told by one Event; edits that change nothing of it, and a new leader, write and tell nothing again", async () => {
      await shop.apply(TARGETS, named("told", "nowhere"));
      await until("it is told", async () => (await events("told")).length > 0, 30_000);
      const [event] = await events("told");
      expect(event).toMatchObject({ reason: "UnknownRoute", count: 1 });
      expect(event?.message).toContain("nowhere");
      await shop.kubectl("annotate", "traffictarget", "told", "-n", SHOP, "some=thing");

      const versions = async () =>
        (await policies())
          .filter(({ metadata }) => !metadata.name.startsWith("marker"))
          .map(({ kind, metadata }) => `${kind} ${metadata.name} ${metadata.resourceVersion}`);
      /** A new policy gets its status only after everything else was looked at. */
      const looked = async (marker: string) => {
        await shop.apply(TARGETS, named(marker, "all"));
        const accepted = async () =>
          (await policies()).find(({ metadata }) => metadata.name === marker)?.status?.conditions?.length === 2;
        await until(`${marker} has its status`, accepted, 60_000);
      };
      await looked("marker-1");
      const before = await versions();
      await looked("marker-2");
      expect(await versions()).toEqual(before);

      const led = await holder();
      await shop.kubectl("delete", "pod", "-n", SYSTEM, led.split("_")[0] ?? "", "--force", "--grace-period=0");
      await until("another replica leads", async () => ![led, ""].includes(await holder()), 90_000);
      await looked("marker-3");
      expect(await versions()).toEqual(before);
      expect((await events("told")).map(({ count }) => count)).toEqual([1]);
      await shop.kubectl("delete", "traffictarget", "-n", SHOP, "told", "marker-1", "marker-2", "marker-3");
      await shop.kubectl("rollout", "status", "-n", SYSTEM, "deployment/osm-controller", "--timeout=120s");
    });
  });
}
