/**
 * Every golden snapshot is accepted by the real Envoy, without a word about deprecated fields: by its validator, and by one that runs.
 */
import * as fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { Authority } from "../../src/ca/authority.ts";
import { contentHash } from "../../src/lib/hash.ts";
import { compile } from "../../src/policy/compile.ts";
import { identity } from "../../src/world/names.ts";
import { apply, EMPTY_WORLD } from "../../src/world/world.ts";
import { Builder } from "../../src/xds/build.ts";
import { TYPES, type Resource } from "../../src/xds/resource.ts";
import { dualStack, singleStack } from "../../src/xds/dual-stack.ts";
import { ownCertificate, type Trust } from "../../src/xds/tls.ts";
import { objectsOf } from "../fuzz/mutate.ts";
import { documentsOf, walk } from "../fuzz/way.ts";
import { changes, start } from "../property/arbitrary.ts";
import { ConfigFiles, staticBootstrap, type Json } from "../support/envoy-json.ts";
import { envoyPath, EnvoyProcess, live, rejections, validate } from "../support/envoy-process.ts";
import { CASES, readCase } from "../support/golden.ts";
import { memoryStore } from "../unit/ca/support.ts";

/** Configurations of mutated manifests that are shown to Envoy. */
const FUZZ_ENVOYS = Number(process.env["FUZZ_ENVOYS"] ?? 25);

let envoy: string;
let trust: Trust;
let secrets: readonly Resource[];

beforeAll(async () => {
  envoy = await envoyPath();
  const stop = new AbortController();
  const authority = await Authority.start({ trustDomain: "cluster.local" }, { store: memoryStore() }, stop.signal);
  const leaf = await authority.leaf(identity("test", "test"), stop.signal);
  secrets = [ownCertificate(leaf.current.chainPem, leaf.current.privateKey.revealPem())];
  trust = { bundle: authority.bundle.pem, trustDomain: "cluster.local" };
  stop.abort();
});

describe.each(CASES)("golden %s", (name) => {
  test("is accepted by Envoy's validator", () => {
    for (const [group, resources] of readCase(name, trust).groups) {
      const { accepted, output, deprecated } = validate(envoy, staticBootstrap({ resources, secrets }));
      expect(accepted, `${group}: ${output}`).toBe(true);
      expect(deprecated, group).toEqual([]);
    }
  });

  test("is accepted by an Envoy that runs", async () => {
    for (const [group, resources] of readCase(name, trust).groups) {
      const running = new EnvoyProcess();
      const files = new ConfigFiles(running.directory);
      files.write({ resources, secrets }, anyPort);
      running.start(envoy, files.bootstrap(running.adminPath));
      const stats = await running.until(`group ${group}`, live);
      expect(rejections(stats), `${group}: ${running.log}`).toEqual([]);
      expect(stats.get("listener_manager.total_listeners_active"), running.log).toBe(resources.LDS.size);
      expect(running.deprecated, group).toEqual([]);
      expect(stats.get("runtime.deprecated_feature_use"), group).toBe(0);
    }
  });
});

test("random meshes are accepted by Envoy's validator", () => {
  const worlds = fc.sample(changes({ min: 10, max: 40 }), { numRuns: 25, seed: 11 });
  const tried = new Set<string>();
  for (const list of worlds) {
    const world = apply(EMPTY_WORLD, [...start, ...list]);
    const { changed } = new Builder().mesh(compile(world).mesh, world, trust);
    for (const [group, resources] of changed) {
      const content = contentHash(TYPES.map((type) => [...resources[type].values()].map((r) => r.version)));
      if (tried.has(content)) continue;
      tried.add(content);
      const made = tried.size % 2 === 0 ? singleStack(resources) : dualStack(resources);
      const { accepted, output, deprecated } = validate(envoy, staticBootstrap({ resources: made, secrets }));
      expect(accepted, `${group}: ${output}`).toBe(true);
      expect(deprecated, group).toEqual([]);
    }
  }
  expect(tried.size).toBeGreaterThan(50);
});

test(
  "what mutated manifests come to is accepted by Envoy's validator",
  { timeout: 120_000 + FUZZ_ENVOYS * 3_000 },
  () => {
    const tried = new Set<string>();
    for (let seed = 1_000_000; tried.size < FUZZ_ENVOYS; seed++) {
      for (const [group, resources] of walk(documentsOf(objectsOf(seed)), trust).groups) {
        const content = contentHash(TYPES.map((type) => [...resources[type].values()].map((r) => r.version)));
        if (tried.has(content)) continue;
        tried.add(content);
        const { accepted, output, deprecated } = validate(envoy, staticBootstrap({ resources, secrets }));
        expect(accepted, `seed ${seed}, ${group}: ${output}`).toBe(true);
        expect(deprecated, `seed ${seed}, ${group}`).toEqual([]);
      }
    }
  },
);

/** Listeners take a free port of loopback instead of the sidecar's. */
const anyPort = (object: Json): Json =>
  object.filterChains && object.address
    ? { ...object, address: { socketAddress: { address: "127.0.0.1", portValue: 0 } } }
    : object;
