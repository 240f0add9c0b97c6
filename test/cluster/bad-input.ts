/** Policies that nobody should write: refused in words, or reported where they stand; and nothing else notices. */
import { beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/live-mesh.ts";
import { SYSTEM } from "./install.ts";
import { routes, ROUTES, SHOP, SPLIT, target, TARGETS, type Market } from "./market.ts";

const GROUPS: Readonly<Record<string, string>> = {
  TrafficTarget: "access.smi-spec.io/v1alpha3/namespaces/shop/traffictargets",
  HTTPRouteGroup: "specs.smi-spec.io/v1alpha4/namespaces/shop/httproutegroups",
  TrafficSplit: "split.smi-spec.io/v1alpha4/namespaces/shop/trafficsplits",
};
const called = (object: object, name: string, spec: object = {}): object => {
  const { metadata, spec: own, ...rest } = object as { metadata: object; spec: object };
  return { ...rest, metadata: { ...metadata, name }, spec: { ...own, ...spec } };
};
const match = (more: object) => [{ name: "all", ...more }];
const nested = (depth: number): unknown => JSON.parse(`${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`);

/** What is written, and what its author reads. */
const REFUSED: readonly (readonly [what: string, object: object, said: RegExp])[] = [
  ["a target without spec", { ...called(target(), "bad"), spec: undefined }, /spec/],
  ["sources that are no list", called(target(), "bad", { sources: "buyer" }), /spec\.sources.*must be.*array/],
  [
    "a source without a name",
    called(target(), "bad", { sources: [{ kind: "ServiceAccount" }] }),
    /sources\[0\]\.name.*[Rr]equired/,
  ],
  [
    "a rule of no kind that there is",
    called(target(), "bad", { rules: [{ kind: "Pod", name: "x" }] }),
    /rules\[0\]\.kind/,
  ],
  ["a misspelt field", called(target(), "bad", { source: [] }), /spec\.source is not a field.*did you mean sources\?/],
  ["a restriction that nobody knows", called(target(), "bad", { onlyOn: "mondays" }), /spec\.onlyOn is not a field/],
  [
    "another namespace's destination",
    called(target(), "bad", { destination: { kind: "ServiceAccount", name: "x", namespace: SYSTEM } }),
    /namespace/,
  ],
  ["a regex that RE2 rejects", called(routes("bad", match({ pathRegex: "/(?=x)" })), "bad"), /pathRegex/],
  [
    "a regex that is a bomb",
    called(routes("bad", match({ pathRegex: "((a{1000}){1000}){1000}" })), "bad"),
    /pathRegex/,
  ],
  ["a regex that does not end", called(routes("bad", match({ pathRegex: "(".repeat(4000) })), "bad"), /pathRegex/],
  ["a regex that is too long", called(routes("bad", match({ pathRegex: "a".repeat(5000) })), "bad"), /pathRegex/],
  ["a header that can be none", called(routes("bad", match({ headers: { "a\r\nb": "c" } })), "bad"), /header/],
  [
    "a key of JavaScript's",
    JSON.parse(
      JSON.stringify(called(target(), "bad")).replace('"rules"', '"__proto__":{"rules":[]},"rules"'),
    ) as object,
    /__proto__/,
  ],
  ["another key of JavaScript's", called(target(), "bad", { constructor: { prototype: {} } }), /constructor/],
  ["something deep", called(target(), "bad", { deep: nested(900) }), /spec\.deep is not a field/],
  ["something deeper", called(target(), "bad", { deep: nested(3_000) }), /spec\.deep is not a field/],
  [
    "too many matches",
    routes(
      "bad",
      Array.from({ length: 1_001 }, (_, i) => ({ name: `m${i}` })),
    ),
    /matches.*at most 1000/,
  ],
  [
    "more than etcd takes",
    routes(
      "bad",
      Array.from({ length: 900 }, (_, i) => ({ name: `m${i}`, pathRegex: `/${"x".repeat(4000)}` })),
    ),
    /large|limit/,
  ],
  ["a weight below zero", called(SPLIT, "bad", { backends: [{ service: "other", weight: -1 }] }), /weight/],
  ["a weight that is a word", called(SPLIT, "bad", { backends: [{ service: "other", weight: "much" }] }), /weight/],
  ["a name with a line break", called(target(), "bad\nname"), /name/],
];

export function badInput(open: () => Market): void {
  describe("bad input", () => {
    let shop: Market;
    beforeAll(() => {
      shop = open();
    });

    const write = (object: object) => {
      const { kind } = object as { kind: string };
      return shop.ask("POST", `/apis/${GROUPS[kind]}`, object);
    };

    test.each(REFUSED)("%s is refused in words", async (_what, object, said) => {
      const { status, body } = await write(object);
      expect([400, 403, 413, 422], body).toContain(status);
      const { message } = JSON.parse(body) as { message: string };
      expect(message).toMatch(said);
      expect(message.length).toBeLessThan(6_000);
      expect(message).not.toMatch(/\bat .*\.ts:|undefined|\[object/);
    });

    test("a megabyte of policy that is right is taken, and counts", async () => {
      await shop.forbid();
      const many = Array.from({ length: 950 }, (_, i) => ({ name: `m${i}`, pathRegex: `/${i}/${"x".repeat(1000)}` }));
      const { status, body } = await write(routes("huge", [...many, { name: "all", pathRegex: "/" }]));
      expect(status, body.slice(0, 500)).toBe(201);
      expect(
        (await write(called(target("thief"), "huge", { rules: [{ kind: "HTTPRouteGroup", name: "huge" }] }))).status,
      ).toBe(201);
      await until("its last match counts", async () => (await shop.call("thief")).status === 200, 60_000);
      await shop.client.delete(TARGETS, { namespace: SHOP, name: "huge" }, shop.signal);
      await shop.client.delete(ROUTES, { namespace: SHOP, name: "huge" }, shop.signal);
      await shop.enforced();
      await shop.edit();
    });

    test("a header called __proto__ is one like others: who does not send it may not call", async () => {
      await shop.forbid();
      const headers = JSON.parse('{"__proto__":"sesame"}') as object;
      const { status, body } = await write(routes("hidden", match({ headers })));
      expect(status, body).toBe(201);
      const only = called(target("thief"), "hidden", { rules: [{ kind: "HTTPRouteGroup", name: "hidden" }] });
      expect((await write(only)).status).toBe(201);
      const call = async (sent: Record<string, string>) => (await shop.call("thief", undefined, sent)).status;
      await expect
        .poll(() => call(JSON.parse('{"__proto__":"sesame"}') as Record<string, string>), { timeout: 20_000 })
        .toBe(200);
      expect(await call({})).toBe(403);
      for (const [group, name] of [
        ["TrafficTarget", "hidden"],
        ["HTTPRouteGroup", "hidden"],
      ] as const)
        expect((await shop.ask("DELETE", `/apis/${GROUPS[group]}/${name}`)).status).toBe(200);
      await expect
        .poll(() => call(JSON.parse('{"__proto__":"sesame"}') as Record<string, string>), { timeout: 20_000 })
        .toBe(403);
    });

    test("nothing of all this has disturbed anybody: policy goes on, nothing was restarted, no line of the log is a fault", async () => {
      await shop.edit();
      await shop.edit();
      for (const app of ["osm-controller", "osm-injector"]) {
        for (const { metadata } of await shop.controlPlane(app)) {
          const restarts = "jsonpath={.status.containerStatuses[0].restartCount}";
          expect(await shop.kubectl("get", "pod", "-n", SYSTEM, metadata.name, "-o", restarts)).toBe("0");
        }
        // Every line is one line of JSON, and none says that it is our fault.
        for (const line of (await shop.logs(app)).trim().split("\n")) {
          const text = line.slice(line.indexOf("] ") + 2);
          expect(() => JSON.parse(text) as unknown, line).not.toThrow();
          expect(text).not.toMatch(/fault of Heddle/);
        }
      }
    });
  });
}
