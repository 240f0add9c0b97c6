/** The cache and the envelope: who is told what and when, and which bytes are made how often. */
import { expect, test } from "vitest";
import { Cache } from "../../../src/ads/cache.ts";
import { Envelope } from "../../../src/ads/envelope.ts";
import type { Response } from "../../../src/ads/subscription.ts";
import { DeltaDiscoveryResponse, DiscoveryResponse } from "../../../gen/envoy/service/discovery/v3/discovery.ts";
import { TYPE_URLS } from "../../../src/xds/resource.ts";
import { fake, resources } from "./fixtures.ts";

/** Runs what was scheduled when told to. */
function byHand() {
  const due: (() => void)[] = [];
  return { cache: new Cache({ schedule: (run) => due.push(run) }), turn: () => due.shift()?.(), due };
}
const some = (content: number) => resources(fake("EDS", "e", content));

test("subscribers of a group are told once, of the latest, and those of other groups not at all", () => {
  const { cache, turn } = byHand();
  const told: string[] = [];
  cache.subscribe("a", (r) => told.push(`a ${r?.EDS.get("e")?.version}`));
  cache.subscribe("b", () => told.push("b"));
  const latest = some(2);
  cache.set("a", some(1));
  cache.set("a", latest);
  turn();
  expect(told).toEqual([`a ${latest.EDS.get("e")!.version}`]);
  expect(cache.counters).toEqual({ groups: 2, changes: 2, wakes: 1 });
});

test("equal references are no change, even in a new object", () => {
  const { cache, due } = byHand();
  const one = some(1);
  cache.set("a", one);
  due.length = 0;
  cache.set("a", { ...one });
  expect(due).toHaveLength(0);
  expect(cache.counters.changes).toBe(1);
});

test("many subscribers are told in turns, and changes meanwhile do not pile up", () => {
  const { cache, turn, due } = byHand();
  let told = 0;
  for (let i = 0; i < 1_000; i++) cache.subscribe("a", () => told++);
  cache.set("a", some(1));
  turn();
  expect(told).toBe(256);
  for (let i = 2; i < 50; i++) cache.set("a", some(i));
  expect(due).toHaveLength(1);
  while (due.length > 0) turn();
  expect(told).toBeLessThanOrEqual(1_256);
  expect(told).toBeGreaterThanOrEqual(1_000);
});

test("who unsubscribes is told no more, also when it was due", () => {
  const { cache, turn } = byHand();
  const told: string[] = [];
  const stop = cache.subscribe("a", () => told.push("one"));
  cache.subscribe("a", () => told.push("two"));
  cache.set("a", some(1));
  stop();
  turn();
  expect(told).toEqual(["two"]);
});

test("a group is forgotten when it has neither resources nor subscribers", () => {
  const { cache } = byHand();
  cache.set("a", some(1));
  const stop = cache.subscribe("a", () => {});
  cache.delete("a");
  expect(cache.get("a")).toBeUndefined();
  expect(cache.counters.groups).toBe(1);
  stop();
  expect(cache.counters.groups).toBe(0);
});

const response = (fields: Partial<Response> = {}): Response => ({
  type: "EDS",
  nonce: "7",
  version: "v",
  resources: [],
  removed: [],
  shared: undefined,
  ...fields,
});

test("responses read as Envoy reads them", () => {
  const envelope = new Envelope();
  const e = fake("EDS", "größe", 1);
  const delta = DeltaDiscoveryResponse.decode(
    envelope.encode("delta", response({ resources: [e], removed: ["x", "y"] })),
  );
  expect(delta).toMatchObject({ typeUrl: TYPE_URLS.EDS, nonce: "7", removedResources: ["x", "y"] });
  expect(delta.resources).toHaveLength(1);
  expect(delta.resources![0]).toMatchObject({
    name: "größe",
    version: e.version,
    resource: { typeUrl: TYPE_URLS.EDS },
  });
  expect(Buffer.from(delta.resources![0]!.resource!.value!)).toEqual(e.bytes);
  const sotw = DiscoveryResponse.decode(envelope.encode("sotw", response({ resources: [e, e] })));
  expect(sotw).toMatchObject({ typeUrl: TYPE_URLS.EDS, nonce: "7", versionInfo: "v" });
  expect(sotw.resources!.map(({ value }) => Buffer.from(value!))).toEqual([e.bytes, e.bytes]);
});

test("a resource is wrapped once a protocol, a shared response put together once", () => {
  const envelope = new Envelope();
  const e = fake("EDS", "e");
  const shared = {};
  for (let i = 0; i < 5; i++) envelope.encode("delta", response({ resources: [e], nonce: `${i}` }));
  expect([envelope.wrapped, envelope.spliced]).toEqual([1, 5]);
  const buffers = [1, 2, 3].map(() => envelope.encode("delta", response({ resources: [e], shared })));
  expect(new Set(buffers).size).toBe(1);
  envelope.encode("sotw", response({ resources: [e], shared }));
  expect([envelope.wrapped, envelope.spliced]).toEqual([2, 7]);
});
