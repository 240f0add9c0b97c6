/**
 * What is compiled and built step by step is what is compiled and built from nothing: memo tables are invisible but for speed.
 */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compile, Compiler } from "../../src/policy/compile.ts";
import type { Mesh, Outbound } from "../../src/policy/ir.ts";
import { Store } from "../../src/world/store.ts";
import type { Change } from "../../src/world/types.ts";
import { apply, EMPTY_WORLD } from "../../src/world/world.ts";
import { Builder, missing, type Built } from "../../src/xds/build.ts";
import { TYPES, type Resources } from "../../src/xds/resource.ts";
import { changedServices } from "../../src/xds/endpoints.ts";
import { change, changes, start } from "./arbitrary.ts";

const TRUST = { bundle: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", trustDomain: "cluster.local" };
const RUNS = { numRuns: 150 };

const versions = (resources: Resources) =>
  Object.fromEntries(
    TYPES.map((type) => [type, Object.fromEntries([...resources[type]].map(([name, r]) => [name, r.version]))]),
  );

/** As one object, so that order counts too. */
const plain = (mesh: Mesh) => ({
  ...mesh,
  services: [...mesh.services],
  groups: [...mesh.groups],
  groupOf: [...mesh.groupOf],
});

test("a compiler that has seen everything gives what a new one gives", () => {
  fc.assert(
    fc.property(fc.array(changes({ min: 1, max: 5 }), { minLength: 1, maxLength: 15 }), (steps) => {
      const compiler = new Compiler();
      let world = apply(EMPTY_WORLD, start);
      for (const step of steps) {
        world = apply(world, step);
        const [grown, fresh] = [compiler.compile(world), compile(world)];
        expect(plain(grown.mesh)).toEqual(plain(fresh.mesh));
        expect(grown.problems).toEqual(fresh.problems);
        expectShared(grown.mesh);
        const { made } = compiler;
        expect(plain(compiler.compile(world).mesh)).toEqual(plain(grown.mesh));
        expect(compiler.made, "compiled again though nothing changed").toEqual(made);
      }
    }),
    RUNS,
  );
});

/** Clients of one namespace with the same reach have one object, and what they reach are the mesh's Services themselves. */
function expectShared({ groups, services }: Mesh): void {
  const outbounds = new Map<string, Outbound>();
  for (const { outbound } of groups.values()) {
    const place = `${outbound.namespace}/${outbound.key}`;
    expect(outbounds.get(place) ?? outbound, place).toBe(outbound);
    outbounds.set(place, outbound);
    for (const service of [...outbound.services, ...outbound.backends])
      expect(services.get(service.name), service.name).toBe(service);
  }
}

test("the mesh and its problems are the same whatever the order of input", () => {
  const nameOf = (c: Change) => `${c.kind}/${c.namespace}/${c.name}`;
  const objects = fc
    .array(change, { maxLength: 30 })
    .map((list) => [...new Map([...start, ...list].map((c) => [nameOf(c), c])).values()]);
  const shuffled = objects.chain((list) =>
    fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length, maxLength: list.length })),
  );
  fc.assert(
    fc.property(shuffled, ([one, other]) => {
      const of = (list: Change[]) => compile(apply(EMPTY_WORLD, list));
      const [a, b] = [of(one), of(other)];
      expect(plain(b.mesh)).toEqual(plain(a.mesh));
      expect(b.problems).toEqual(a.problems);
    }),
    RUNS,
  );
});

describe("a builder on both its paths", () => {
  test("gives what a new one gives, says all that changed, and refers to nothing that is not there", () => {
    fc.assert(
      fc.property(fc.array(changes({ min: 1, max: 4 }), { minLength: 1, maxLength: 15 }), (steps) => {
        const store = new Store();
        const compiler = new Compiler();
        const builder = new Builder();
        const published = new Map<string, Resources>();
        const publish = ({ changed, removed }: Built) => {
          for (const [group, resources] of changed) {
            const before = published.get(group);
            if (before) expect(versions(resources), "a change that is none").not.toEqual(versions(before));
            published.set(group, resources);
          }
          for (const group of removed) published.delete(group);
        };
        let reach = "policy";
        store.follow((far) => (reach = far));
        for (const step of [start, ...steps]) {
          const before = store.world;
          const revision = store.revision;
          store.apply(step);
          if (store.revision === revision) continue;
          const { world } = store;
          const { mesh } = compile(world);
          if (reach === "policy") publish(builder.mesh(compiler.compile(world).mesh, world, TRUST));
          else publish(builder.endpoints(world, changedServices(before, world)));
          const fresh = new Builder().mesh(mesh, world, TRUST).changed;
          expect([...published.keys()].sort()).toEqual([...fresh.keys()].sort());
          for (const [group, resources] of fresh) {
            expect(versions(published.get(group) as Resources), `group ${group}, reach ${reach}`).toEqual(
              versions(resources),
            );
            expect(missing(resources)).toEqual([]);
            expect(builder.resources(group)).toBe(published.get(group));
          }
        }
      }),
      RUNS,
    );
  });
});
