/** Where a change of endpoints goes: an index that follows the mesh is the one that is made of it from nothing. */
import { expect, test } from "vitest";
import { compile } from "../../../src/policy/compile.ts";
import type { Mesh } from "../../../src/policy/ir.ts";
import { Reaches } from "../../../src/xds/reaches.ts";
import { app, namespace, pods, routeGroup, serviceRef, target, workload, world } from "../../support/build.ts";

const SERVICES = ["a/api", "a/db"];
const meshOf = (clients: readonly string[], ...from: readonly string[]): Mesh =>
  compile(
    world(
      namespace("a"),
      SERVICES.map((name) => app(name)),
      clients.map((name) => pods(workload(name))),
      routeGroup("a/g", [{ name: "m" }]),
      target("a/t", { to: "a/api", from: [...from], rules: ["HTTPRouteGroup g"] }),
    ),
  ).mesh;

/** All that an index says of these meshes' Services and reaches. */
const said = (reaches: Reaches, meshes: readonly Mesh[]) => ({
  of: SERVICES.map((name) => [...reaches.of(serviceRef(name))].sort()),
  groups: [...new Set(meshes.flatMap((m) => [...m.groups.values()].map((g) => g.outbound.key)))]
    .sort()
    .map((key) => [key, [...reaches.groups(key)].sort()]),
});

test("groups that come, go, or reach something else are followed, and nothing of them stays", () => {
  const meshes = [
    meshOf(["a/one", "a/two"], "a/one", "a/two"),
    meshOf(["a/one", "a/two"], "a/one"),
    meshOf(["a/one", "a/two"], "a/two", "a/db"),
    meshOf(["a/one"], "a/one"),
    meshOf([]),
  ];
  const followed = new Reaches();
  for (const [i, mesh] of meshes.entries()) {
    followed.update(meshes[i - 1], mesh);
    const fresh = new Reaches();
    fresh.update(undefined, mesh);
    expect(said(followed, meshes)).toEqual(said(fresh, meshes));
  }
  expect(said(followed, meshes).of).toEqual([[], []]);
});
