/** Whatever lint calls without effect can be taken away without one: the relation of all calls says so, not lint. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { lint } from "../../src/analysis/lint.ts";
import { changedCalls } from "../../src/analysis/plan.ts";
import { compile } from "../../src/policy/compile.ts";
import type { HTTPRouteGroup } from "../../src/world/types.ts";
import { app, gone, namespace, routeGroup, split, target, world, type Changes } from "../support/build.ts";
import { grounds, newRequests } from "../support/ground.ts";

const match = fc.record({
  pathRegex: fc.constantFrom(
    ..."/|/a|/a/.*|/.*|.*|/a/b|/(?i:A)/b|/[ab]/.+|/a%2Fb|a|/a//b|/b$|/b(/.*)?|/a{1,2}".split("|"),
    "/a|/b",
  ),
  methods: fc.constantFrom<string[]>([], ["*"], ["GET"], ["GET", "POST"], ["PUT"]),
  headers: fc.constantFrom(
    [],
    [],
    [{ name: "x", regex: ".*" }],
    [{ name: "x", regex: "1" }],
    [
      { name: "x", regex: "1" },
      { name: "x", regex: "[12]" },
    ],
  ),
});
const group = fc.array(match, { minLength: 1, maxLength: 4 });
const named = (name: string, matches: readonly object[]) =>
  routeGroup(
    `a/${name}`,
    matches.map((m, i) => ({ name: `m${i}`, ...m })),
  );

test("taking away what has no effect changes no call", () => {
  let taken = 0;
  fc.assert(
    fc.property(group, group, group, fc.constantFrom("g", "h", "none"), (g, h, s, second) => {
      const to = { to: "a/api", from: ["a/web"] };
      const objects: Changes[] = [
        namespace("a"),
        ...["a/web", "a/api", "a/v1", "a/v2"].map((name) => app(name)),
        named("g", g),
        named("h", h),
        named("s", s),
        target("a/t", { ...to, rules: ["HTTPRouteGroup g", ...(second === "h" ? ["HTTPRouteGroup h"] : [])] }),
        target("a/v1", { to: "a/v1", from: ["a/web"], rules: ["HTTPRouteGroup g"] }),
        split("a/s1", { service: "api", backends: { v1: 1 }, matches: ["s"] }),
        ...(second === "none" ? [] : [split("a/s2", { service: "api", backends: { v2: 1 }, matches: [second] })]),
      ];
      const made = world(...objects);
      for (const { code, object, path } of lint({ world: made, mesh: compile(made).mesh })) {
        const value = made.tables[object.kind as "HTTPRouteGroup"].get("a")?.get(object.name) as HTTPRouteGroup;
        const at = Number(/\[(\d+)\]/.exec(path)?.[1]);
        let without: Changes;
        if (code === "shadowed-split" || code === "unused-route")
          without = gone({ kind: object.kind, namespace: "a", name: object.name, value: undefined } as never);
        else if (code === "empty-match" || code === "contained-match") {
          const left = value.matches.filter((_, i) => i !== at);
          // A group without matches is another mistake, with a meaning of its own in splits.
          if (left.length === 0) continue;
          without = routeGroup(`a/${object.name}`, left);
        } else continue;
        taken++;
        const [before, after] = grounds(objects, [without]);
        const { calls, unknown } = changedCalls(newRequests(), before, after);
        expect(unknown).toEqual([]);
        expect(
          calls.map((c) => [c.change, c.to.service, c.witness]),
          `${code} ${object.name} ${path}`,
        ).toEqual([]);
      }
    }),
    { numRuns: 100 },
  );
  expect(taken).toBeGreaterThan(100);
});
