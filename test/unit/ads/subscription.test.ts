/** The reducer, rule by rule. Quotations are from Envoy's "xDS REST and gRPC protocol" and the comments of discovery.proto. */
import { describe, expect, test } from "vitest";
import { changesBetween, setVersion } from "../../../src/ads/changes.ts";
import { sendAgain } from "../../../src/ads/subscription.ts";
import { fake, mapOf } from "./fixtures.ts";
import { a1, a2, at, b1, b2, ea1, ea2, eb1, eb2, names, Talk } from "./talk.ts";

describe("wildcard", () => {
  test.each(["delta", "sotw"] as const)("%s: a first request without names is one, of CDS and LDS only", (protocol) => {
    // "If the client sends a request for a given resource type but has never explicitly subscribed to any resource names, the server
    // should treat that identically to how it would treat the client having explicitly subscribed to `*`." Only Listener and Cluster.
    const cds = new Talk("CDS", protocol);
    cds.set(a1);
    expect(names(cds.ask({}))).toEqual(at(a1));
    const eds = new Talk("EDS", protocol);
    eds.set(ea1);
    expect(eds.ask({})).toBeUndefined();
  });

  test.each(["delta", "sotw"] as const)(
    "%s: its first answer comes even if there is nothing, and only once",
    (protocol) => {
      const talk = new Talk("CDS", protocol);
      expect(talk.ask({})).toMatchObject({ resources: [], removed: [] });
      expect(talk.ack()).toBeUndefined();
      expect(talk.next()).toBeUndefined();
    },
  );

  test("sotw: naming a resource ends the legacy wildcard, and an empty list then means nothing", () => {
    // "Once the client does explicitly subscribe to a resource name, then this legacy semantic is no longer available; at that point,
    // clearing the list of subscribed resources is interpreted as an unsubscription rather than as a subscription to `*`."
    const talk = new Talk("CDS", "sotw");
    talk.set(a1, b1);
    expect(names(talk.ask({}))).toEqual(at(a1, b1));
    talk.ack();
    talk.ask({ nonce: talk.sub.nonce, subscribe: ["*", "a"] });
    talk.ack();
    expect(talk.sub.wildcard).toBe(true);
    talk.ask({ nonce: talk.sub.nonce, subscribe: ["a"] });
    expect(talk.sub.wildcard).toBe(false);
    expect([...talk.sub.known.keys()]).toEqual(["a"]);
    talk.ask({ nonce: talk.sub.nonce, subscribe: [] });
    expect(talk.sub.wildcard).toBe(false);
    expect(talk.set(a2, b2)).toBeUndefined();
  });

  test("delta: naming a resource continues it, and `*` is unsubscribed by name", () => {
    const talk = new Talk("CDS", "delta");
    talk.set(a1, b1);
    talk.ask({});
    talk.ack();
    expect(names(talk.ask({ subscribe: ["a"] }))).toEqual(at(a1));
    talk.ack();
    expect(names(talk.set(a2, b2))).toEqual(at(a2, b2));
    talk.ack();
    talk.ask({ unsubscribe: ["*"] });
    expect([...talk.sub.known.keys()]).toEqual(["a"]);
    expect(names(talk.set(a1, b1))).toEqual(at(a1));
  });

  test("delta: a name that is dropped while the wildcard goes on is answered, with the resource or its removal", () => {
    const talk = new Talk("CDS", "delta");
    talk.set(a1);
    talk.ask({ subscribe: ["*", "a", "x"] });
    talk.ack();
    const answer = talk.ask({ unsubscribe: ["a", "x"] });
    expect(names(answer)).toEqual(at(a1));
    expect(answer!.removed).toEqual(["x"]);
  });
});

describe("names", () => {
  test("delta: a name asked for again is sent again, though the proxy has it", () => {
    // "The server must respond with all resources listed in resource_names_subscribe, even if it believes the client has the most
    // recent version of them. The reason: the client may have dropped them."
    const talk = new Talk("EDS", "delta");
    talk.set(ea1, eb1);
    expect(names(talk.ask({ subscribe: ["a"] }))).toEqual(at(ea1));
    talk.ack();
    expect(names(talk.ask({ subscribe: ["a"] }))).toEqual(at(ea1));
    expect(names(talk.ack({ subscribe: ["a"] }))).toEqual(at(ea1));
  });

  test("delta: a name that does not exist is answered as removed, once, and sent when it appears", () => {
    const talk = new Talk("EDS", "delta");
    expect(talk.ask({ subscribe: ["a"] })).toMatchObject({ resources: [], removed: ["a"] });
    expect(talk.ack()).toBeUndefined();
    expect(names(talk.set(ea1))).toEqual(at(ea1));
    talk.ack();
    expect(talk.set()).toMatchObject({ resources: [], removed: ["a"] });
  });

  test("sotw: a name that does not exist is left out, and sent when it appears", () => {
    const talk = new Talk("EDS", "sotw");
    talk.set(eb1);
    expect(names(talk.ask({ subscribe: ["a", "b"] }))).toEqual(at(eb1));
    expect(talk.ack()).toBeUndefined();
    expect(names(talk.set(ea1, eb1))).toEqual(at(ea1));
  });

  test("sotw: newly requested names are sent, those that it has are not", () => {
    // "When a client sends a new request that changes the set of resources being requested, the server must resend any newly
    // requested resources, even if it previously sent those resources without having been asked for them."
    const talk = new Talk("EDS", "sotw");
    talk.set(ea1, eb1);
    talk.ask({ subscribe: ["a"] });
    talk.ack();
    expect(names(talk.ask({ nonce: talk.sub.nonce, subscribe: ["a", "b"] }))).toEqual(at(eb1));
    talk.ack();
    talk.ask({ nonce: talk.sub.nonce, subscribe: ["b"] });
    expect(names(talk.ask({ nonce: talk.sub.nonce, subscribe: ["a", "b"] }))).toEqual(at(ea1));
  });

  test.each(["delta", "sotw"] as const)("%s: what is no longer asked for is not sent", (protocol) => {
    const talk = new Talk("EDS", protocol);
    talk.set(ea1, eb1);
    talk.ask({ subscribe: ["a", "b"] });
    const drop = protocol === "delta" ? { unsubscribe: ["b"] } : { subscribe: ["a"] };
    expect(talk.ack(drop)).toBeUndefined();
    expect(names(talk.set(ea2, eb2))).toEqual(at(ea2));
  });

  test("delta: a name dropped while its resource is on the way is not known afterwards", () => {
    const talk = new Talk("EDS", "delta");
    talk.set(ea1, eb1);
    talk.ask({ subscribe: ["a", "b"] });
    talk.ask({ unsubscribe: ["b"] });
    talk.ack();
    expect([...talk.sub.known.keys()]).toEqual(["a"]);
    expect(names(talk.ask({ subscribe: ["b"] }))).toEqual(at(eb1));
  });
});

describe("one response at a time", () => {
  test.each(["delta", "sotw"] as const)(
    "%s: while one is pending nothing is sent, then only the latest",
    (protocol) => {
      const talk = new Talk("CDS", protocol);
      talk.set(a1);
      talk.ask({});
      expect(talk.set(a2)).toBeUndefined();
      expect(talk.set(a2, b1)).toBeUndefined();
      expect(talk.set(b2)).toBeUndefined();
      const answer = talk.ack();
      expect(names(answer)).toEqual(at(b2));
      expect(answer!.removed).toEqual(protocol === "delta" ? ["a"] : []);
    },
  );

  test.each(["delta", "sotw"] as const)("%s: a stale nonce is ignored", (protocol) => {
    const talk = new Talk("CDS", protocol);
    talk.set(a1);
    const { nonce } = talk.ask({})!;
    talk.ack();
    talk.set(a2);
    expect(talk.ask({ nonce })).toBeUndefined();
    expect(talk.ask({ nonce, error: "late" })).toBeUndefined();
    expect(talk.sub.pending).toBeDefined();
    expect(talk.sub.nack).toBeUndefined();
  });

  test("sotw: names of a stale request are ignored too; they come again with the ACK", () => {
    const talk = new Talk("EDS", "sotw");
    talk.set(ea1, eb1);
    const { nonce } = talk.ask({ subscribe: ["a"] })!;
    talk.ack();
    talk.set(ea2, eb1);
    talk.ask({ nonce, subscribe: [] });
    expect([...talk.sub.names]).toEqual(["a"]);
  });

  test("delta: names of a request with a stale nonce count, because they are said once", () => {
    const talk = new Talk("EDS", "delta");
    talk.set(ea1, eb1);
    talk.ask({ subscribe: ["a"] });
    talk.ask({ nonce: "stale", subscribe: ["b"] });
    expect(names(talk.ack())).toEqual(at(eb1));
  });

  test.each(["delta", "sotw"] as const)(
    "%s: what goes and comes back while a response is pending is not sent",
    (protocol) => {
      const talk = new Talk("CDS", protocol);
      talk.set(a1);
      talk.ask({});
      talk.set(a2);
      talk.set(a1);
      expect(talk.ack()).toBeUndefined();
    },
  );

  test("too large a response goes in parts, each after the ACK of the one before", () => {
    const talk = new Talk("EDS", "delta");
    talk.limit = ea1.bytes.length;
    talk.set(ea1, eb1);
    expect(names(talk.ask({ subscribe: ["a", "b"] }))).toEqual(at(ea1));
    expect(names(talk.ack())).toEqual(at(eb1));
    expect(talk.ack()).toBeUndefined();
  });

  test("sotw: clusters and listeners always come all together, other types as far as they changed", () => {
    // "For Listener and Cluster, the server must include the complete state of the world."
    const cds = new Talk("CDS", "sotw");
    cds.limit = 1;
    cds.set(a1, b1);
    cds.ask({});
    cds.ack();
    expect(names(cds.set(a1, b2))).toEqual(at(a1, b2));
    const eds = new Talk("EDS", "sotw");
    eds.set(ea1, eb1);
    eds.ask({ subscribe: ["a", "b"] });
    eds.ack();
    expect(names(eds.set(ea1, eb2))).toEqual(at(eb2));
  });
});

describe("reconnect", () => {
  test("delta: with initial_resource_versions only the difference is sent", () => {
    const talk = new Talk("EDS", "delta");
    talk.set(ea1, eb2);
    const initial = new Map([
      ["a", ea1.version],
      ["b", eb1.version],
      ["c", "9"],
    ]);
    const answer = talk.ask({ subscribe: ["a", "b", "c"], initial });
    expect(names(answer)).toEqual(at(eb2));
    expect(answer!.removed).toEqual(["c"]);
    const again = new Talk("EDS", "delta");
    again.set(ea1);
    expect(again.ask({ subscribe: ["a"], initial: new Map([["a", ea1.version]]) })).toBeUndefined();
    expect(again.sub.known).toBe(again.target);
  });

  test("delta: a wildcard is told what it has too many", () => {
    const talk = new Talk("CDS", "delta");
    talk.set(a1);
    const answer = talk.ask({
      initial: new Map([
        ["a", a1.version],
        ["b", "9"],
      ]),
    });
    expect(answer).toMatchObject({ resources: [], removed: ["b"] });
  });

  test("sotw: the version says whether it has all that it asks for", () => {
    const same = new Talk("EDS", "sotw");
    same.set(ea1, eb1);
    const version = setVersion(mapOf(eb1, ea1));
    expect(same.ask({ subscribe: ["a", "b"], version, nonce: "of an earlier stream" })).toBeUndefined();
    expect(names(same.set(ea2, eb1))).toEqual(at(ea2));
    const other = new Talk("EDS", "sotw");
    other.set(ea2, eb1);
    expect(names(other.ask({ subscribe: ["a", "b"], version }))).toEqual(at(ea2, eb1));
  });

  test("sotw: while anything is held back, a proxy that holds the unknown is not told a part of everything", () => {
    const talk = new Talk("LDS", "sotw");
    const [x, y] = [fake("LDS", "x"), fake("LDS", "y")];
    talk.set(x, y);
    talk.held.add("y");
    expect(talk.ask({ version: "another" })).toBeUndefined();
    talk.held.clear();
    expect(names(talk.next())).toEqual(at(x, y));
  });
});

test("names that are to be sent again are, if the proxy has them", () => {
  const talk = new Talk("EDS", "delta");
  talk.set(ea1, eb1);
  talk.ask({ subscribe: ["a"] });
  talk.ack();
  talk.sub = sendAgain(talk.sub, ["a", "b"]);
  expect(names(talk.next())).toEqual(at(ea1));
});

test("streams that hold the same maps share one difference, and its nonce", () => {
  const [one, two] = [new Talk("CDS", "delta"), new Talk("CDS", "delta")];
  const [before, after] = [mapOf(a1, b1), mapOf(a1, b2)];
  const answers = [one, two].map((talk) => {
    talk.target = before;
    talk.ask({});
    talk.ack();
    expect(talk.sub.known).toBe(before);
    talk.target = after;
    return talk.next()!;
  });
  expect(answers[0]!.shared).toBeDefined();
  expect(answers[0]!.shared).toBe(answers[1]!.shared);
  expect(answers[0]!.nonce).toBe(answers[1]!.nonce);
});

test("a difference is kept for one turn of the event loop: what was sent once does not stay as long as the snapshot", async () => {
  const [before, after] = [mapOf(a1, b1), mapOf(a1, b2)];
  const first = changesBetween(before, after);
  expect(changesBetween(before, after)).toBe(first);
  await new Promise((turn) => setImmediate(turn));
  const second = changesBetween(before, after);
  expect(second).not.toBe(first);
  expect(second).toEqual(first);
});
