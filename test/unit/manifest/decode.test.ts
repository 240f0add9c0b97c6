/** The room's door: one raw object in, a change or Problems out. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { Decoder, type Decoded } from "../../../src/manifest/decode.ts";
import { KINDS } from "../../../src/manifest/kinds.ts";
import { parseYaml } from "../../../src/sources/files/yaml.ts";

const decode = (yaml: string): Decoded => new Decoder().decode(parseYaml(yaml).documents[0]?.value);
const said = (decoded: Decoded): string[] => decoded.problems.map((problem) => `${problem.code} ${problem.path}`);

const routes = (rest: string): Decoded =>
  decode(`apiVersion: specs.smi-spec.io/v1alpha4\nkind: HTTPRouteGroup\nmetadata: {name: x, namespace: ns}\n${rest}`);

describe("any object", () => {
  test.for([
    ["5", "not-an-object "],
    ["{kind: Pod}", "not-an-object "],
    ["{apiVersion: v1, kind: Sevice, metadata: {name: x}}", "unknown-kind kind"],
    ["{apiVersion: v2, kind: Service, metadata: {name: x}}", "unknown-version apiVersion"],
    ["{apiVersion: v1, kind: Service}", "bad-field metadata"],
    ["{apiVersion: v1, kind: Service, metadata: {}}", "missing-field metadata.name"],
    ["{apiVersion: v1, kind: Service, metadata: {name: a/b}}", "bad-field metadata.name"],
    ["{apiVersion: v1, kind: Service, metadata: {name: a, namespace: 5}}", "bad-field metadata.namespace"],
  ])("%s", ([yaml, problem]) => {
    const decoded = decode(yaml ?? "");
    expect(said(decoded)).toEqual([problem]);
    expect(decoded.changes).toEqual([]);
  });

  test("difference 6: an IngressBackend opens nothing while ingress is not served, and says so", () => {
    const spec =
      "{backends: [{name: web, port: {number: 80, protocol: http}}], sources: [{kind: Service, name: in, namespace: in}]}";
    const decoded = decode(
      `apiVersion: policy.openservicemesh.io/v1alpha1\nkind: IngressBackend\nmetadata: {name: x, namespace: ns}\nspec: ${spec}`,
    );
    expect(said(decoded)).toEqual(["without-effect kind"]);
    expect(decoded.problems[0]).toMatchObject({
      severity: "error",
      message:
        "IngressBackend is a kind of OSM's that this version does not serve, so this object has no effect; it may stay, or be removed.",
    });
    expect(decoded.changes).toEqual([{ kind: "IngressBackend", namespace: "ns", name: "x", value: undefined }]);
  });

  test("a sentence says what is wrong, what follows and what to do", () => {
    expect(routes("spec: {matches: [{name: m, method: [GET]}]}").problems[0]?.message).toBe(
      "spec.matches[0].method is not a field of this version of HTTPRouteGroup, so this match opens nothing; did you mean methods?",
    );
  });

  test("the table names each kind once", () => {
    expect(new Set(KINDS.map((entry) => entry.kind)).size).toBe(KINDS.length);
    expect(new Set(KINDS.map((entry) => `${entry.group}/${entry.plural}`)).size).toBe(KINDS.length);
  });
});

const OSM = resolve(
  process.env["HEDDLE_OSM_MANIFESTS"] ?? join(import.meta.dirname, "../../../../shared/osm-manifests"),
);

test("OSM's own manifests decode without a Problem", ({ skip }) => {
  if (!existsSync(OSM)) {
    console.warn(`SKIPPED: there is no folder ${OSM}; set HEDDLE_OSM_MANIFESTS to OSM's demo manifests`);
    skip();
  }
  const decoder = new Decoder();
  let read = 0;
  for (const file of readdirSync(OSM, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".yaml"))) {
    for (const { value } of parseYaml(readFileSync(join(OSM, file), "utf8")).documents) {
      const { kind } = value as { kind: string };
      if (!KINDS.some((entry) => entry.kind === kind)) continue;
      expect(decoder.decode(value).problems, `${file} ${kind}`).toEqual([]);
      read++;
    }
  }
  expect(read).toBeGreaterThan(15);
});
