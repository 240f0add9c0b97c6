/** The random meshes of the differential tests have all that policies can have: what is never generated is never tested. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { Raw } from "../../src/lib/json.ts";
import { randomMesh } from "../support/random-mesh.ts";

const objects = fc
  .sample(randomMesh({ web: 80, db: 90, other: 91 }), { seed: 1, numRuns: 100 })
  .flatMap((mesh) => mesh.objects);

/** The specs of all objects of a kind. */
const specs = (kind: string): Raw[] => objects.filter((o) => o["kind"] === kind).map((o) => o["spec"] as Raw);
const within = (list: readonly Raw[], field: string): Raw[] => list.flatMap((o) => (o[field] ?? []) as Raw[]);

test.each<[string, string, readonly Raw[]]>([
  ["matches", "pathRegex", within(specs("HTTPRouteGroup"), "matches")],
  ["matches", "methods", within(specs("HTTPRouteGroup"), "matches")],
  ["matches", "headers", within(specs("HTTPRouteGroup"), "matches")],
  ["rules", "matches", within(specs("TrafficTarget"), "rules").filter((rule) => rule["kind"] === "HTTPRouteGroup")],
  ["targets", "port", specs("TrafficTarget").map((spec) => spec["destination"] as Raw)],
  ["TCPRoutes", "matches", specs("TCPRoute")],
  ["splits", "matches", specs("TrafficSplit")],
  ["Services", "clusterIP", specs("Service")],
])("some %s have %s, and some have not", (_what, field, list) => {
  const having = list.filter((o) => o[field] !== undefined).length;
  expect(having).toBeGreaterThan(5);
  expect(list.length - having).toBeGreaterThan(5);
});

test.each([
  ["permissive mode", "enablePermissiveTrafficPolicyMode"],
  ["egress", "enableEgress"],
])("some meshes have %s", (_what, field) => {
  const traffic = specs("MeshConfig").map((spec) => spec["traffic"] as Raw);
  expect(traffic.filter((one) => one[field] === true).length).toBeGreaterThan(1);
});
