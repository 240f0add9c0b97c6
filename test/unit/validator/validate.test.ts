/** What may be written, what may not, and what its author is told: by the code that compiles the mesh. */
import { load, loadAll } from "js-yaml";
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Decoder } from "../../../src/manifest/decode.ts";
import { Validator, validate, type Candidate } from "../../../src/validator/validate.ts";
import { apply, EMPTY_WORLD, type World } from "../../../src/world/world.ts";

// oxlint-disable-next-line typescript/no-explicit-any -- Kubernetes' JSON
type Loose = any;

const decoder = new Decoder();
const worldOf = (text: string): World =>
  apply(
    EMPTY_WORLD,
    loadAll(text).flatMap((object) => decoder.decode(object).changes),
  );
const yaml = (text: string): Loose => load(text);

const NAMESPACE = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {openservicemesh.io/monitored-by: osm}, annotations: {openservicemesh.io/sidecar-injection: enabled}}
`;
const ROUTES = `
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {name: routes, namespace: shop}
spec: {matches: [{name: buy, pathRegex: /buy, methods: [GET]}]}
`;
const TARGET = `
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: {name: target, namespace: shop}
spec:
  destination: {kind: ServiceAccount, name: store, namespace: shop}
  sources: [{kind: ServiceAccount, name: buyer, namespace: shop}]
  rules: [{kind: HTTPRouteGroup, name: routes, matches: [buy]}]
`;
const UDP = `
apiVersion: specs.smi-spec.io/v1alpha4
kind: UDPRoute
metadata: {name: dns, namespace: shop}
spec: {matches: {ports: [53]}}
`;
const SPLIT = `
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {name: split, namespace: shop}
spec: {service: store, backends: [{service: store-v1, weight: 50}, {service: store-v2, weight: 50}]}
`;
const POD = `
apiVersion: v1
kind: Pod
metadata: {name: store-1, namespace: shop, uid: u, labels: {app: store, osm-proxy-uuid: u}}
spec: {serviceAccountName: store, containers: [{name: a, ports: [{containerPort: 80}]}]}
`;

const create = (text: string, change: (object: Loose) => void = () => {}): Candidate => {
  const object = yaml(text);
  change(object);
  return { operation: "CREATE", object };
};
const codes = (problems: readonly { code: string }[]): string[] => problems.map((p) => p.code);

test("what is right passes without a word", () => {
  expect(validate(worldOf([NAMESPACE, ROUTES, POD].join("---")), create(TARGET))).toEqual({
    allowed: true,
    problems: [],
    warnings: [],
  });
  expect(validate(worldOf(NAMESPACE), create(ROUTES))).toEqual({ allowed: true, problems: [], warnings: [] });
});

describe("an object's own mistakes refuse it", () => {
  test.each<[string, string, (object: Loose) => void, string, string]>([
    [
      "another namespace (OSM's rule)",
      TARGET,
      (o) => (o.spec.destination.namespace = "other"),
      "wrong-namespace",
      "spec.destination.namespace",
    ],
    [
      "a source that is no ServiceAccount",
      TARGET,
      (o) => (o.spec.sources[0].kind = "Group"),
      "bad-source",
      "spec.sources[0]",
    ],
    [
      "a source without a namespace",
      TARGET,
      (o) => delete o.spec.sources[0].namespace,
      "bad-source",
      "spec.sources[0]",
    ],
    [
      "a destination that is none",
      TARGET,
      (o) => (o.spec.destination.kind = "Service"),
      "bad-destination",
      "spec.destination",
    ],
    [
      "a kind of rule that there is not",
      TARGET,
      (o) => (o.spec.rules[0].kind = "GRPCRoute"),
      "bad-field",
      "spec.rules[0].kind",
    ],
    ["no spec", TARGET, (o) => delete o.spec, "missing-field", "spec"],
    [
      "a misspelt field",
      ROUTES,
      (o) => (o.spec.matches[0].pathRegexp = "/"),
      "unknown-field",
      "spec.matches[0].pathRegexp",
    ],
    [
      "a bad regular expression",
      ROUTES,
      (o) => (o.spec.matches[0].pathRegex = "(?=x)"),
      "bad-regex",
      "spec.matches[0].pathRegex",
    ],
    [
      "a huge expression",
      ROUTES,
      (o) => (o.spec.matches[0].pathRegex = "a".repeat(5000)),
      "too-large",
      "spec.matches[0].pathRegex",
    ],
    ["a negative weight", SPLIT, (o) => (o.spec.backends[0].weight = -1), "bad-weight", "spec.backends[0].weight"],
    [
      "a weight that is none",
      SPLIT,
      (o) => (o.spec.backends[0].weight = "50"),
      "bad-weight",
      "spec.backends[0].weight",
    ],
    [
      "weights that are too much",
      SPLIT,
      (o) => o.spec.backends.forEach((b: Loose) => (b.weight = 2 ** 32 - 1)),
      "bad-weight",
      "spec.backends",
    ],
  ])("%s", (_name, text, change, code, path) => {
    const { allowed, problems } = validate(worldOf([NAMESPACE, ROUTES].join("---")), create(text, change));
    expect(allowed).toBe(false);
    expect(problems).toContainEqual(expect.objectContaining({ code, path, severity: "error" }));
    expect(problems[0]?.message.length).toBeGreaterThan(20);
  });

  test("a UDPRoute, whose ports are read though nothing is opened by it", () => {
    expect(validate(EMPTY_WORLD, create(UDP))).toMatchObject({ allowed: true, problems: [] });
    const wrong = create(UDP, (o) => (o.spec.matches.ports = [70000]));
    const { allowed, problems } = validate(EMPTY_WORLD, wrong);
    expect(allowed).toBe(false);
    expect(problems[0]).toMatchObject({ object: { kind: "UDPRoute" }, path: "spec.matches.ports[0]" });
  });

  test("also in a namespace that is not known here yet", () => {
    const wrong = create(TARGET, (o) => (o.spec.destination.namespace = "other"));
    expect(codes(validate(EMPTY_WORLD, wrong).problems)).toContain("wrong-namespace");
  });

  test("MeshConfig", () => {
    const config = (traffic: Loose): Candidate => ({
      operation: "UPDATE",
      oldObject: undefined,
      object: {
        apiVersion: "config.openservicemesh.io/v1alpha2",
        kind: "MeshConfig",
        metadata: { name: "osm-mesh-config", namespace: "osm-system" },
        spec: { traffic },
      },
    });
    expect(validate(EMPTY_WORLD, config({ enableEgress: "yes" }))).toMatchObject({
      allowed: false,
      problems: [{ code: "bad-field", path: "spec.traffic.enableEgress" }],
    });
    expect(validate(EMPTY_WORLD, config({ enableEgress: true }))).toMatchObject({ allowed: true, warnings: [] });
    expect(validate(EMPTY_WORLD, config({ enabelEgress: true }))).toMatchObject({
      allowed: true,
      warnings: [{ code: "unknown-field" }],
    });
  });
});

describe("what is not there yet, or is legal and probably not meant, is told", () => {
  test.each<[string, string, (object: Loose) => void, string]>([
    ["a route that is missing", TARGET, (o) => (o.spec.rules[0].name = "later"), "unknown-route"],
    ["a match that is missing", TARGET, (o) => (o.spec.rules[0].matches = ["later"]), "unknown-match"],
    ["an account that no pod has", TARGET, () => {}, "unknown-account"],
    ["nobody", TARGET, (o) => (o.spec.sources = []), "nobody-allowed"],
    ["UDP", TARGET, (o) => o.spec.rules.push({ kind: "UDPRoute", name: "x" }), "udp-route"],
    ["methods in lower case", ROUTES, (o) => (o.spec.matches[0].methods = ["get"]), "lowercase-method"],
    ["a root that is missing", SPLIT, () => {}, "bad-root"],
  ])("%s", (_name, text, change, code) => {
    const { allowed, problems, warnings } = validate(worldOf([NAMESPACE, ROUTES].join("---")), create(text, change));
    expect({ allowed, problems }).toEqual({ allowed: true, problems: [] });
    expect(codes(warnings)).toContain(code);
  });

  test("what a write does to others is told, and only that", () => {
    const world = worldOf([NAMESPACE, TARGET, ROUTES, POD].join("---"));
    const renamed = create(ROUTES, (o) => (o.spec.matches[0].name = "sell"));
    const edit = { ...renamed, operation: "UPDATE", oldObject: yaml(ROUTES) } as const;
    expect(validate(world, edit)).toMatchObject({
      allowed: true,
      warnings: [{ code: "unknown-match", object: { kind: "TrafficTarget", name: "target" } }],
    });
    const gone = { operation: "DELETE", object: yaml(ROUTES) } as const;
    expect(validate(world, gone)).toMatchObject({ allowed: true, warnings: [{ code: "unknown-route" }] });
    // What was wrong with others before says nothing.
    expect(
      validate(worldOf([NAMESPACE, TARGET].join("---")), create(SPLIT)).warnings.map((w) => w.object.kind),
    ).toEqual(["TrafficSplit"]);
  });
});

describe("an update of what was wrong already", () => {
  const world = worldOf(NAMESPACE);
  const wrong = yaml(ROUTES);
  wrong.spec.matches.push(
    { name: "b", pathRegex: "(", methods: ["GET"] },
    { name: "c", pathRegex: ")", methods: ["GET"] },
  );
  const edit = (change: (o: Loose) => void): Candidate => {
    const object = structuredClone(wrong);
    change(object);
    return { operation: "UPDATE", oldObject: wrong, object };
  };
  test.each<[string, boolean, (o: Loose) => void]>([
    ["labels", true, (o) => (o.metadata.labels = { a: "b" })],
    ["one mistake mended", true, (o) => (o.spec.matches[1].pathRegex = "/b")],
    ["an entry in front of it removed", true, (o) => o.spec.matches.shift()],
    ["the same", true, () => {}],
    ["one more mistake", false, (o) => (o.spec.matches[0].pathRegex = "[")],
    ["another mistake instead", false, (o) => (o.spec.matches[1].pathRegex = "[")],
    [
      "finalizers of what is going",
      true,
      (o) => {
        o.metadata.deletionTimestamp = "2026-01-01T00:00:00Z";
        o.spec.matches[0].pathRegex = "[";
      },
    ],
  ])("%s: %s", (_name, allowed, change) => {
    expect(validate(world, edit(change)).allowed).toBe(allowed);
  });
  test("what stays wrong is still told", () => {
    expect(
      codes(
        validate(
          world,
          edit(() => {}),
        ).warnings,
      ),
    ).toEqual(["bad-regex", "bad-regex"]);
  });
  test("a deletion is never refused", () => {
    expect(validate(world, { operation: "DELETE", object: wrong })).toMatchObject({ allowed: true });
  });
});

test("others' objects are not ours to refuse", () => {
  const foreign = (apiVersion: string, kind: string): Candidate => ({
    operation: "CREATE",
    object: { apiVersion, kind, metadata: { name: "x", namespace: "shop" }, spec: 5 },
  });
  for (const [apiVersion, kind] of [
    ["v1", "Service"],
    ["v1", "Pod"],
    ["apps/v1", "Deployment"],
    ["example.com/v1", "TrafficTarget"],
  ] as const)
    expect(validate(EMPTY_WORLD, foreign(apiVersion, kind))).toEqual({ allowed: true, problems: [], warnings: [] });
  // OSM's kinds that are not served here have no effect, and that is said.
  expect(validate(EMPTY_WORLD, foreign("policy.openservicemesh.io/v1alpha1", "Egress"))).toMatchObject({
    allowed: true,
    warnings: [{ code: "without-effect" }],
  });
  expect(validate(EMPTY_WORLD, foreign("access.smi-spec.io/v9", "TrafficTarget"))).toMatchObject({
    allowed: true,
    warnings: [{ code: "unknown-version" }],
  });
  for (const object of [null, undefined, 1, "x", [], {}])
    expect(validate(EMPTY_WORLD, { operation: "CREATE", object })).toMatchObject({ allowed: true });
});

test("an object that the API server will name has a name here", () => {
  const candidate = create(TARGET, (o) => {
    delete o.metadata.name;
    o.metadata.generateName = "target-";
  });
  expect(validate(worldOf([NAMESPACE, ROUTES, POD].join("---")), candidate)).toEqual({
    allowed: true,
    problems: [],
    warnings: [],
  });
});

test("one validator answers as a fresh one does, whatever came before", () => {
  const world = worldOf([NAMESPACE, ROUTES, TARGET, SPLIT, POD].join("---"));
  const validator = new Validator();
  const candidates = [
    create(TARGET, (o) => (o.spec.sources = [])),
    create(ROUTES, (o) => (o.spec.matches = [])),
    create(SPLIT, (o) => (o.spec.backends[0].weight = -1)),
    create(TARGET),
  ];
  for (const candidate of [...candidates, ...candidates.toReversed()])
    expect(validator.validate(world, candidate)).toEqual(validate(world, candidate));
});

test("OSM's own manifests pass", () => {
  const folder = new URL("../../../examples/bookstore/", import.meta.url);
  const objects = readdirSync(folder)
    .filter((name) => name.endsWith(".yaml"))
    .flatMap((name) => loadAll(readFileSync(new URL(name, folder), "utf8")));
  expect(objects.length).toBeGreaterThan(5);
  const world = apply(
    EMPTY_WORLD,
    objects.flatMap((object) => decoder.decode(object).changes),
  );
  for (const object of objects)
    expect(validate(world, { operation: "CREATE", object })).toMatchObject({ allowed: true });
});
