/** What becomes of contents that a proxy rejects. */
import { describe, expect, test } from "vitest";
import { fake } from "./fixtures.ts";
import { a1, a2, at, b1, b2, ea1, ea2, eb1, eb2, names, Talk } from "./talk.ts";

describe("difference 9: a rejection (NACK)", () => {
  test.each(["delta", "sotw"] as const)("%s: the same contents are not sent again, other resources are", (protocol) => {
    const talk = new Talk("EDS", protocol);
    talk.set(ea1, eb1);
    talk.ask({ subscribe: ["a", "b"] });
    talk.ack();
    talk.set(ea2, eb1);
    expect(talk.nack("a is bad")).toBeUndefined();
    expect(talk.next()).toBeUndefined();
    expect(talk.sub.nack).toMatchObject({ message: "a is bad", withheld: true });
    expect(names(talk.set(ea2, eb2))).toEqual(at(eb2));
    expect(talk.ack()).toBeUndefined();
    expect(talk.sub.nack?.message).toBe("a is bad");
  });

  test("delta: once one of the rejected contents changes, all that was not confirmed is sent", () => {
    const talk = new Talk("CDS", "delta");
    talk.set(a1, b1);
    talk.ask({});
    talk.ack();
    talk.set(a2, b2);
    talk.nack();
    const a3 = fake("CDS", "a", 3);
    expect(names(talk.set(a3, b2))!.sort()).toEqual(at(a3, b2).sort());
    talk.ack();
    expect(talk.sub.nack).toBeUndefined();
  });

  test("delta: when the old contents come back they are sent, for nobody knows what was applied", () => {
    const talk = new Talk("CDS", "delta");
    talk.set(a1, b1);
    talk.ask({});
    talk.ack();
    talk.set(a2, b2);
    talk.nack();
    expect(names(talk.set(a1, b1))!.sort()).toEqual(at(a1, b1).sort());
    talk.ack();
    expect(talk.sub.nack).toBeUndefined();
    expect(talk.next()).toBeUndefined();
  });

  test("sotw: while a cluster is rejected, all clusters are sent with its last good content", () => {
    const talk = new Talk("CDS", "sotw");
    talk.set(a1, b1);
    talk.ask({});
    talk.ack();
    talk.set(a2, b1);
    talk.nack();
    expect(names(talk.set(a2, b2))).toEqual(at(a1, b2));
  });

  test("a proxy that asks for a rejected name gets it: it asked", () => {
    const talk = new Talk("EDS", "delta");
    talk.set(ea1);
    talk.ask({ subscribe: ["a"] });
    talk.nack();
    expect(names(talk.ask({ subscribe: ["a"] }))).toEqual(at(ea1));
  });

  test("a rejection ends with the interest in what was rejected", () => {
    const talk = new Talk("EDS", "delta");
    talk.set(ea1);
    talk.ask({ subscribe: ["a"] });
    talk.nack();
    talk.ask({ unsubscribe: ["a"] });
    expect(talk.sub.nack).toBeUndefined();
  });
});
