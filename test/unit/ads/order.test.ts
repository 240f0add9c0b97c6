/** What waits for what: the cases that a random walk seldom meets, one by one; and how long it waits at most. */
import { describe, expect, test } from "vitest";
import { Envelope } from "../../../src/ads/envelope.ts";
import { clusterReady, gate, type Subscriptions } from "../../../src/ads/order.ts";
import { Stream } from "../../../src/ads/stream.ts";
import { subscription, type Subscription } from "../../../src/ads/subscription.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { createMetrics } from "../../../src/telemetry/metrics.ts";
import { DeltaDiscoveryResponse } from "../../../gen/envoy/service/discovery/v3/discovery.ts";
import { TYPES, TYPE_URLS, type Resource, type Resources, type Type } from "../../../src/xds/resource.ts";
import { fake, mapOf, request, resources } from "./fixtures.ts";
import { FakeClock } from "../../support/clock.ts";

const c = fake("CDS", "c", 1, ["EDS/e", "SDS/s"]);
const e = fake("EDS", "e");
const s = fake("SDS", "s");
const r = fake("RDS", "r", 1, ["CDS/c"]);
const out = fake("LDS", "out", 1, ["RDS/r"]);
const target = resources(c, e, s, r, out);

/** A proxy that has confirmed `held`, of which some types are as given. */
function holding(
  held: readonly Resource[],
  more: { readonly [T in Type]?: Partial<Subscription> } = {},
): Subscriptions {
  const one = (type: Type): Subscription => ({
    ...subscription(type, "delta"),
    begun: true,
    wildcard: true,
    known: mapOf(...held.filter((resource) => resource.type === type)),
    ...more[type],
  });
  return { CDS: one("CDS"), EDS: one("EDS"), SDS: one("SDS"), LDS: one("LDS"), RDS: one("RDS") };
}
const pending = (fields: Partial<NonNullable<Subscription["pending"]>>): Subscription["pending"] => ({
  nonce: "n",
  sent: new Map(),
  removed: new Set(),
  asked: new Set(),
  after: undefined,
  ...fields,
});

describe("a cluster is ready", () => {
  test.each<[string, boolean, Subscriptions]>([
    ["when it, its endpoints and its secrets are confirmed", true, holding([c, e, s])],
    ["not without its endpoints", false, holding([c, s])],
    ["not without its secrets", false, holding([c, e])],
    ["not itself", false, holding([e, s])],
    ["not in an older version", false, holding([fake("CDS", "c", 0), e, s])],
    ["with older endpoints", true, holding([c, fake("EDS", "e", 0), s])],
    [
      "not while its removal is on the way",
      false,
      holding([c, e, s], { CDS: { pending: pending({ removed: new Set(["c"]) }) } }),
    ],
    [
      "not while its endpoints' removal is on the way",
      false,
      holding([c, e, s], { EDS: { pending: pending({ removed: new Set(["e"]) }) } }),
    ],
    ["not while its endpoints must be sent again", false, holding([c, e, s], { EDS: { asked: new Set(["e"]) } })],
    [
      "nor while they are on the way again",
      false,
      holding([c, e, s], { EDS: { pending: pending({ asked: new Set(["e"]) }) } }),
    ],
    ["while its endpoints merely change", true, holding([c, e, s], { EDS: { pending: pending({ sent: mapOf(e) }) } })],
    ["if this stream never asked for clusters", true, holding([], { CDS: { begun: false } })],
    [
      "if this stream does not ask for this one",
      true,
      holding([], { CDS: { wildcard: false, names: new Set(["d"]) } }),
    ],
  ])("%s: %s", (_what, ready, subs) => {
    expect(clusterReady(subs, target, "c")).toBe(ready);
    for (const [type, name] of [
      ["RDS", "r"],
      ["LDS", "out"],
    ] as const) {
      expect(gate(subs, target, type, name, "set")).toBe(ready ? "go" : "wait");
    }
  });

  test("or it does not exist, and cannot be waited for", () => {
    expect(clusterReady(holding([]), target, "nowhere")).toBe(true);
  });
});

describe("a removal", () => {
  const gone = resources();
  const remove = (subs: Subscriptions, type: Type, name: string) => gate(subs, gone, type, name, "remove");
  test.each<[string, string, Subscriptions]>([
    ["waits for the routes that lead there", "keep", holding([c, r])],
    ["waits for routes that are on the way", "keep", holding([c], { RDS: { pending: pending({ sent: mapOf(r) }) } })],
    [
      "waits for routes of which nobody knows where they lead",
      "keep",
      holding([c], { RDS: { known: new Map([["r", { version: "9" }]]) } }),
    ],
    [
      "waits for types of an earlier stream that have not spoken yet",
      "wait",
      holding([c], { RDS: { begun: false }, CDS: { resumed: true } }),
    ],
    [
      "waits for routes that the proxy rejects, parts of which it may have applied",
      "keep",
      holding([c, r], { RDS: { nack: { message: "", sent: mapOf(r), removed: new Set(), withheld: true } } }),
    ],
    ["goes when nothing leads there", "go", holding([c, fake("RDS", "r", 2)])],
  ])("of a cluster %s", (_what, verdict, subs) => {
    expect(remove(subs, "CDS", "c")).toBe(verdict);
  });

  test("of endpoints, secrets and routes waits for the clusters and listeners that use them", () => {
    const all = holding([c, e, s, r, out]);
    expect([remove(all, "EDS", "e"), remove(all, "SDS", "s"), remove(all, "RDS", "r")]).toEqual([
      "keep",
      "keep",
      "keep",
    ]);
    const none = holding([e, s, r]);
    expect([
      remove(none, "EDS", "e"),
      remove(none, "SDS", "s"),
      remove(none, "RDS", "r"),
      remove(none, "LDS", "out"),
    ]).toEqual(["go", "go", "go", "go"]);
  });
});

/** A stream whose proxy says only what the test says. */
function talk(first: Resources) {
  const clock = new FakeClock();
  const lines: string[] = [];
  const sent: { type: Type; nonce: string; names: string[]; removed: string[] }[] = [];
  const stream = new Stream({
    protocol: "delta",
    proxy: "p",
    envelope: new Envelope(),
    metrics: createMetrics(),
    log: createLog("debug", (line) => lines.push(line)),
    clock,
    write(bytes) {
      const {
        typeUrl,
        nonce = "",
        resources: all = [],
        removedResources: removed = [],
      } = DeltaDiscoveryResponse.decode(bytes);
      sent.push({
        type: TYPES.find((type) => TYPE_URLS[type] === typeUrl)!,
        nonce,
        names: all.map(({ name }) => name!),
        removed,
      });
      return true;
    },
  });
  stream.secrets([]);
  stream.resources(first);
  const ask = (type: Type, ...subscribe: string[]) =>
    stream.receive({ node: "", typeUrl: TYPE_URLS[type], request: request({ subscribe }) });
  const answer = (type: Type, error?: string) => {
    const { nonce } = sent.findLast((response) => response.type === type)!;
    stream.receive({ node: "", typeUrl: TYPE_URLS[type], request: request({ nonce, error }) });
  };
  const connect = () => {
    for (const type of TYPES) ask(type, ...(type === "CDS" || type === "LDS" ? [] : first[type].keys()));
    for (let i = 0; i < sent.length; i++) answer(sent[i]!.type);
  };
  return { stream, clock, lines, sent, ask, answer, connect };
}
const order = (sent: readonly { type: Type }[]) => sent.map(({ type }) => type);

describe("waiting has an end", () => {
  const d = fake("CDS", "d", 1, ["EDS/f"]);
  const f = fake("EDS", "f");
  const r2 = fake("RDS", "r", 2, ["CDS/d"]);
  const next = resources(d, f, s, r2, out);

  test("make before break: the new cluster, its endpoints, the route, and last the old cluster's removal", () => {
    const { stream, sent, ask, answer, connect } = talk(target);
    connect();
    sent.length = 0;
    stream.resources(next);
    expect(sent).toMatchObject([{ type: "CDS", names: ["d"], removed: [] }]);
    ask("EDS", "f");
    answer("CDS");
    expect(order(sent)).toEqual(["CDS", "EDS"]);
    answer("EDS");
    expect(sent.at(-1)).toMatchObject({ type: "RDS", names: ["r"] });
    expect(sent).toHaveLength(3);
    answer("RDS");
    expect(sent.at(-1)).toMatchObject({ type: "CDS", names: [], removed: ["c"] });
    answer("CDS");
    expect(sent.at(-1)).toMatchObject({ type: "EDS", removed: ["e"] });
    answer("EDS");
    expect(stream.settled).toBe(true);
  });

  test("a proxy that never answers for its clusters gets its routes after the patience, with one line in the log", () => {
    const { stream, clock, lines, sent, connect } = talk(target);
    connect();
    sent.length = 0;
    stream.resources(next);
    clock.advance(4_900);
    expect(order(sent)).toEqual(["CDS"]);
    clock.advance(200);
    expect(order(sent)).toEqual(["CDS", "RDS"]);
    expect(lines.filter((line) => line.includes("proxy p has not confirmed what RDS r"))).toHaveLength(1);
    clock.advance(60_000);
    expect(order(sent)).toEqual(["CDS", "RDS"]);
  });

  test("a change meanwhile does not begin the wait anew", () => {
    const { stream, clock, sent, connect } = talk(target);
    connect();
    sent.length = 0;
    stream.resources(next);
    clock.advance(4_000);
    stream.resources({ ...next, RDS: mapOf(fake("RDS", "r", 3, ["CDS/d"])) });
    clock.advance(1_100);
    expect(order(sent)).toEqual(["CDS", "RDS"]);
  });

  test("a rejected cluster holds up its routes no longer than the patience, and other types not at all", () => {
    const { stream, clock, sent, answer, connect } = talk(target);
    connect();
    sent.length = 0;
    stream.resources(next);
    answer("CDS", "bad cluster");
    stream.resources({ ...next, EDS: mapOf(fake("EDS", "e", 2), f) });
    expect(sent.at(-1)).toMatchObject({ type: "EDS", names: ["e"] });
    clock.advance(5_100);
    expect(sent.at(-1)).toMatchObject({ type: "RDS", names: ["r"] });
  });

  test("rejected routes keep the clusters of the last good ones, for as long as it takes", () => {
    const { stream, clock, sent, ask, answer, connect } = talk(target);
    connect();
    sent.length = 0;
    stream.resources(next);
    ask("EDS", "f");
    answer("CDS");
    answer("EDS");
    answer("RDS", "bad route");
    clock.advance(3_600_000);
    expect(sent.filter(({ removed }) => removed.length > 0)).toEqual([]);
    stream.resources({ ...next, RDS: mapOf(fake("RDS", "r", 3, ["CDS/d"])) });
    answer("RDS");
    expect(sent.at(-1)).toMatchObject({ type: "CDS", removed: ["c"] });
  });

  test("nothing is sent before the group's resources and the stream's own secrets are there", () => {
    const sent: Buffer[] = [];
    const stream = new Stream({
      protocol: "delta",
      proxy: "p",
      envelope: new Envelope(),
      metrics: createMetrics(),
      log: createLog("silent"),
      write: (bytes) => sent.push(bytes) > 0,
    });
    stream.receive({ node: "", typeUrl: TYPE_URLS.CDS, request: request() });
    stream.resources(target);
    expect(sent).toHaveLength(0);
    stream.secrets([]);
    expect(sent).toHaveLength(1);
    stream.close();
  });

  test("a closed stream leaves no timer", () => {
    const { stream, clock, connect } = talk(target);
    connect();
    stream.resources(next);
    expect(clock.waiting.length).toBe(1);
    stream.close();
    expect(clock.waiting.length).toBe(0);
  });
});
