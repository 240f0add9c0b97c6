/** Properties: whatever is decoded, nothing is thrown, every object is used or named, and a broken one never opens more. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Decoder } from "../../../src/manifest/decode.ts";
import { KINDS } from "../../../src/manifest/kinds.ts";
import type { HTTPRouteGroup, TCPRoute, TrafficTarget } from "../../../src/world/types.ts";

const VALID: readonly Record<string, unknown>[] = [
  {
    apiVersion: "access.smi-spec.io/v1alpha3",
    kind: "TrafficTarget",
    spec: {
      destination: { kind: "ServiceAccount", name: "a", namespace: "ns" },
      sources: [{ kind: "ServiceAccount", name: "b", namespace: "ns" }],
      rules: [
        { kind: "HTTPRouteGroup", name: "r", matches: ["m", "n"] },
        { kind: "TCPRoute", name: "t", matches: ["o"] },
      ],
    },
  },
  {
    apiVersion: "specs.smi-spec.io/v1alpha4",
    kind: "HTTPRouteGroup",
    spec: {
      matches: [
        { name: "m", pathRegex: "/a", methods: ["GET"], headers: [{ a: "b" }] },
        { name: "n", pathRegex: "/b", methods: ["PUT"], headers: { c: "d" } },
      ],
    },
  },
  { apiVersion: "specs.smi-spec.io/v1alpha4", kind: "TCPRoute", spec: { matches: { ports: [80, 81] } } },
  {
    apiVersion: "split.smi-spec.io/v1alpha4",
    kind: "TrafficSplit",
    spec: { service: "s", backends: [{ service: "a", weight: 1 }], matches: [{ kind: "HTTPRouteGroup", name: "r" }] },
  },
  {
    apiVersion: "config.openservicemesh.io/v1alpha2",
    kind: "MeshConfig",
    spec: { traffic: { enableEgress: false }, sidecar: { logLevel: "error" } },
  },
  { apiVersion: "v1", kind: "Namespace" },
  {
    apiVersion: "v1",
    kind: "Service",
    spec: { selector: { a: "b" }, clusterIP: "10.0.0.1", ports: [{ name: "x", port: 80, targetPort: "y" }] },
  },
  {
    apiVersion: "v1",
    kind: "Pod",
    spec: { serviceAccountName: "a", containers: [{ name: "c", ports: [{ containerPort: 80 }] }] },
    status: { conditions: [{ type: "Ready", status: "True" }], podIPs: [{ ip: "10.0.0.1" }] },
  },
  {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    ports: [{ port: 80 }],
    endpoints: [{ addresses: ["10.0.0.1"], conditions: { ready: true } }],
  },
].map((object) => ({
  ...object,
  metadata: { name: "x", namespace: "ns", labels: { "kubernetes.io/service-name": "s" }, annotations: { a: "b" } },
}));

type Path = readonly (string | number)[];

/** Where something stands in an object, at every depth. */
function places(value: unknown, path: Path = []): Path[] {
  if (typeof value !== "object" || value === null) return [path];
  const keys: (string | number)[] = Array.isArray(value) ? [...value.keys()] : Object.keys(value);
  return [path, ...keys.flatMap((key) => places((value as Record<string | number, unknown>)[key], [...path, key]))];
}

function replaced(value: unknown, path: Path, by: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return by;
  const copy = Array.isArray(value) ? [...(value as unknown[])] : { ...(value as object) };
  const inner = copy as Record<string | number, unknown>;
  inner[key] = replaced(inner[key], rest, by);
  return copy;
}

const junk = fc.oneof(
  fc.jsonValue(),
  fc.anything(),
  fc.constantFrom(null, undefined, "", 0, -1, 1e300, Number.NaN, [], {}, [null], "a/b", "__proto__"),
);

/** A valid object with some pieces replaced by anything. */
const mutated = fc.constantFrom(...VALID).chain((object) =>
  fc.array(fc.tuple(fc.constantFrom(...places(object)), junk), { minLength: 1, maxLength: 3 }).map((edits) => {
    let out: unknown = object;
    for (const [path, by] of edits) {
      try {
        out = replaced(out, path, by);
      } catch {
        // An earlier edit took the place away.
      }
    }
    return { object, out };
  }),
);

/** One edit only, to a value that is not text: what it widens would be by mistake. */
const brokenOnce = fc
  .constantFrom(...VALID.slice(0, 3))
  .chain((object) =>
    fc
      .tuple(
        fc.constantFrom(...places(object).filter((path) => path[0] === "spec")),
        fc.constantFrom<unknown>(null, -5, 3.5, true, { odd: 1 }, [{}], [5], [null]),
      )
      .map(([path, by]) => ({ object, out: replaced(object, path, by) })),
  );

test("nothing is thrown, and every input is used or named", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        mutated.map(({ out }) => out),
        junk,
        fc.object(),
      ),
      (object) => {
        const { changes, problems } = new Decoder().decode(object);
        const used = changes.some((change) => change.value !== undefined);
        expect(used || problems.length > 0).toBe(true);
        for (const problem of problems) {
          expect(problem.message).toMatch(/[.?]$/);
          expect(problem.message.length).toBeLessThan(1_500);
        }
      },
    ),
    { numRuns: 3_000 },
  );
});

test("the same object decodes to the same value", () => {
  fc.assert(
    fc.property(mutated, ({ out }) => {
      const decoder = new Decoder();
      expect(decoder.decode(out)).toEqual(decoder.decode(out));
    }),
    { numRuns: 500 },
  );
});

/** Everything that an access object opens, as strings: a set that no mistake may add to. "*" stands for all. */
function opened(value: unknown, kind: unknown): Set<string> {
  if (value === undefined) return new Set();
  if (kind === "TrafficTarget") {
    const { sources, rules, destination } = value as TrafficTarget;
    const rule = rules.flatMap((one) =>
      one.broken
        ? []
        : one.matches.length === 0
          ? [`${one.name}:*`]
          : one.matches.map((match) => `${one.name}:${match}`),
    );
    return new Set(
      sources.flatMap((source) => rule.map((one) => `${source.namespace}/${source.name}>${destination.name}>${one}`)),
    );
  }
  if (kind === "TCPRoute") {
    const { ports } = value as TCPRoute;
    return new Set(ports.length === 0 ? ["*"] : ports.map(String));
  }
  const { matches } = value as HTTPRouteGroup;
  return new Set(
    matches.flatMap((match) =>
      (match.methods.length === 0 ? ["*"] : match.methods).map(
        (method) => `${match.name} ${method} ${match.pathRegex ?? "*"} ${JSON.stringify(match.headers)}`,
      ),
    ),
  );
}

test("a piece of a wrong type opens nothing that was not open", () => {
  fc.assert(
    fc.property(brokenOnce, ({ object, out }) => {
      const before = opened(new Decoder().decode(object).changes[0]?.value, object["kind"]);
      const { changes, problems } = new Decoder().decode(out);
      const now = opened(changes[0]?.value, object["kind"]);
      const added = [...now].filter((one) => !before.has(one));
      // A valid edit may mean something else, but then nothing may have been wrong with it.
      if (problems.length > 0) expect(added).toEqual([]);
    }),
    { numRuns: 3_000 },
  );
});

test("every kind of the table is among the valid objects, or has the same decoder", () => {
  const here = new Set(VALID.map((object) => object["kind"]));
  expect(KINDS.map((entry) => entry.kind).filter((kind) => !here.has(kind))).toEqual([
    "UDPRoute",
    // Nothing of these is read.
    "MeshRootCertificate",
    "Egress",
    "IngressBackend",
    "Retry",
    "UpstreamTrafficSetting",
  ]);
});
