/** What changed between two meshes, in words. */
import { expect, test } from "vitest";
import { summarize } from "../../../src/cli/summary.ts";
import { loadFiles } from "../../../src/cli/load.ts";
import type { Mesh } from "../../../src/policy/ir.ts";
import { folder, type Input } from "./folder.ts";

async function meshOf(input: Input): Promise<Mesh> {
  const { dir, remove } = folder(input);
  try {
    return (await loadFiles(dir)).mesh;
  } finally {
    remove();
  }
}

const change = async (before: Input, after: Input): Promise<string[]> =>
  summarize(await meshOf(before), await meshOf(after));

test("nothing is said when nothing means anything else, or when there was nothing before", async () => {
  expect(await change({}, {})).toEqual([]);
  expect(summarize(undefined, await meshOf({}))).toEqual([]);
});

test("weights, as shares", async () => {
  expect(await change({ weights: [50, 50] }, { weights: [100, 0] })).toEqual([
    "shop/store split: store-v1 50% → 100%, store-v2 50% → 0%",
  ]);
  expect(await change({ weights: [1, 1] }, { weights: [50, 50] })).toEqual([]);
});

test("access given and taken, and what it is", async () => {
  const given = await change({ sources: [] }, { sources: ["buyer"] });
  expect(given).toEqual(["access given: shop/buyer → shop/store, shop/store-v1 port 80 (GET /buy)"]);
  expect(await change({ sources: ["buyer"] }, { sources: [] })).toEqual(
    given.map((line) => line.replace("given", "taken")),
  );
  expect(await change({ methods: ["GET"] }, { methods: ["POST"] })).toEqual([
    "access changed: shop/buyer → shop/store, shop/store-v1 port 80: given POST /buy; taken GET /buy",
  ]);
});

test("services and identities that come and go", async () => {
  const more = {
    "more.yaml": `
apiVersion: v1
kind: Pod
metadata: {name: x-0, namespace: shop, labels: {app: x}}
spec: {serviceAccountName: x, containers: [{name: app, image: x, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: x, namespace: shop}
spec: {selector: {app: x}, ports: [{port: 80, appProtocol: http}]}
`,
  };
  expect(await change({}, { more })).toEqual(["Service shop/x is new (80 http)", "shop/x is in the mesh now"]);
  expect(await change({ more }, {})).toEqual(["Service shop/x is gone", "shop/x is no longer in the mesh"]);
});

test("settings", async () => {
  const more = {
    "config.yaml": `
apiVersion: config.openservicemesh.io/v1alpha2
kind: MeshConfig
metadata: {name: osm-mesh-config, namespace: osm-system}
spec: {traffic: {enableEgress: true}}
`,
  };
  expect(await change({}, { more })).toContain("egress: off → on");
});

test("a big change is told by its first lines", async () => {
  const many = Array.from({ length: 40 }, (_, i) => `s${i}`);
  const lines = await change({ sources: [] }, { sources: many });
  expect(lines).toHaveLength(21);
  expect(lines.at(-1)).toBe("and 20 more changes");
});
