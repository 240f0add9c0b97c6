/** Whatever pod comes: an answer, and a patch that applies, adds nothing twice, and touches only what it says. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { applyPatch } from "../../../src/injector/json-patch.ts";
import { PROXY_UUID_OF_POD } from "../../../src/world/injection.ts";
import { anyPod } from "./arbitrary.ts";
import { apply, bootstrapOf, injected, named, type Loose } from "./pods.ts";

const RUNS = 2_000;
const everySetting = fc.record({
  settings: fc.record({
    nativeSidecars: fc.boolean(),
    sleepAction: fc.boolean(),
    ipv6: fc.boolean(),
    drainSeconds: fc.constantFrom(0, 5),
    localProxyMode: fc.constantFrom("Localhost", "PodIP"),
  }),
  namespace: fc.record({ inject: fc.constantFrom(true, true, false), metrics: fc.boolean() }),
  uuid: fc.constantFrom("0a5e1c3a-0000-4000-8000-00000000abcd", PROXY_UUID_OF_POD),
});

const unique = (list: readonly unknown[]): boolean => new Set(list).size === list.length;
const containersOf = (of: Loose): Loose[] => [...(of.spec.initContainers ?? []), ...of.spec.containers];

describe("any pod", () => {
  let patchedPods = 0;
  test("an answer; the patch applies; names, ports, volumes and Envoy's own names are unique; twice is once", () => {
    fc.assert(
      fc.property(anyPod, everySetting, (made, over) => {
        // As it comes from JSON: no two places are one object.
        const of = JSON.parse(JSON.stringify(made));
        const before = JSON.stringify(of);
        const result = injected(of, over);
        expect(JSON.stringify(of)).toBe(before);
        if ("refused" in result) {
          expect(result.refused).toMatch(/^No sidecar can be added to the pod: \S.*\.$/s);
          return;
        }
        if (!result.injected) {
          expect(result.patch.length).toBeLessThanOrEqual(1);
          return;
        }
        patchedPods++;
        const done = apply(of, result.patch);
        expect(applyPatch(of, result.patch)).toEqual(done);
        expect(unique(containersOf(done).map((c) => c.name))).toBe(true);
        const volumes = (one: Loose) => (one.spec.volumes ?? []).map((v: Loose) => v?.name);
        expect(unique(volumes(done))).toBe(unique(volumes(of)));
        const ours = named(done, "envoy").ports.map((p: Loose) => p.containerPort);
        expect(unique(ours)).toBe(true);
        expect(unique(named(done, "envoy").ports.map((p: Loose) => p.name))).toBe(true);
        const theirs = containersOf(of).flatMap((c) => (Array.isArray(c.ports) ? c.ports : []));
        for (const p of theirs) if (p && (p.protocol ?? "TCP") === "TCP") expect(ours).not.toContain(p.containerPort);
        const { listeners, clusters } = bootstrapOf(done).static_resources;
        expect(unique(listeners.map((l: Loose) => l.address.socket_address.port_value))).toBe(true);
        expect(unique(clusters.map((c: Loose) => c.name))).toBe(true);
        const known = new Set(clusters.map((c: Loose) => c.name));
        for (const [, name] of JSON.stringify(listeners).matchAll(/"cluster":"([^"]*)"/g))
          expect(known).toContain(name);
        expect(injected(done, { ...(over as Loose), uuid: "another" })).toMatchObject({ patch: [], injected: false });
      }),
      { numRuns: RUNS },
    );
    // Enough pods get that far, or this says little.
    expect(patchedPods).toBeGreaterThan(RUNS / 10);
  });

  test("nothing is touched but labels, annotations, probes, hooks, and the lists that get entries", () => {
    fc.assert(
      fc.property(anyPod, everySetting, (of, over) => {
        const result = injected(of, over);
        if ("refused" in result || result.patch.length === 0) return;
        expect(strip(apply(of, result.patch), of)).toEqual(strip(of, of));
        for (const { path } of result.patch)
          expect(path).toMatch(
            /^\/(metadata(\/(labels|annotations)(\/[^/]*)?)?|spec\/(volumes|(init)?[cC]ontainers)(\/(\d+|-)(\/((liveness|readiness|startup)Probe|lifecycle(\/(preStop|postStart)(\/httpGet)?)?))?)?)$/,
          );
      }),
      { numRuns: RUNS },
    );
  });
});

const OURS = ["envoy", "osm-init", "osm-healthcheck", "heddle-identity"];
/** The pod without what injection says it touches. */
function strip(of: Loose, original: Loose): Loose {
  const copy = JSON.parse(JSON.stringify(of));
  const meta = copy.metadata;
  if (meta && typeof meta === "object" && !Array.isArray(meta)) {
    delete meta.labels?.["osm-proxy-uuid"];
    for (const key of Object.keys(meta.annotations ?? {}))
      if (/^prometheus\.io\/|default-container$/.test(key)) delete meta.annotations[key];
    for (const key of ["labels", "annotations"])
      if (!isMap(original.metadata?.[key]) || Object.keys(meta[key] ?? {}).length === 0) delete meta[key];
  }
  if (!isMap(original.metadata) || Object.keys(copy.metadata ?? {}).length === 0) delete copy.metadata;
  for (const key of ["initContainers", "containers", "volumes"]) {
    if (!Array.isArray(copy.spec[key])) continue;
    copy.spec[key] = copy.spec[key].filter((one: Loose) => !OURS.includes(one?.name));
    for (const one of copy.spec[key]) {
      if (!isMap(one)) continue;
      for (const field of ["livenessProbe", "readinessProbe", "startupProbe"]) {
        if (!isMap(one[field])) continue;
        for (const handler of ["httpGet", "tcpSocket", "grpc"]) delete one[field][handler];
      }
      for (const hook of ["preStop", "postStart"]) {
        if (one.lifecycle?.[hook] === null) delete one.lifecycle[hook];
        if (isMap(one.lifecycle?.[hook])) delete one.lifecycle[hook].httpGet;
        if (isMap(one.lifecycle?.[hook])) delete one.lifecycle[hook].sleep;
        if (isMap(one.lifecycle?.[hook]) && Object.keys(one.lifecycle[hook]).length === 0) delete one.lifecycle[hook];
      }
      if (isMap(one.lifecycle) && Object.keys(one.lifecycle).length === 0) delete one.lifecycle;
      if (!isMap(one.lifecycle)) delete one.lifecycle;
    }
    if (copy.spec[key].length === 0) delete copy.spec[key];
  }
  for (const key of ["initContainers", "volumes"]) if (!Array.isArray(copy.spec[key])) delete copy.spec[key];
  return copy;
}
const isMap = (value: unknown): value is Loose => typeof value === "object" && value !== null && !Array.isArray(value);
