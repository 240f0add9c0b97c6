import { describe, expect, test } from "vitest";
import { canonical, contentHash, hash } from "../../../src/lib/hash.ts";
import { Lists, Memo, sameItems } from "../../../src/lib/memo.ts";
import { Settle } from "../../../src/lib/settle.ts";
import { FakeClock } from "../../support/clock.ts";

describe("hash", () => {
  test("equal content has one hash, whatever the order of its keys", () => {
    expect(contentHash({ a: 1, b: { c: 2, d: [1, 2] } })).toBe(contentHash({ b: { d: [1, 2], c: 2 }, a: 1 }));
    expect(contentHash([1, 2])).not.toBe(contentHash([2, 1]));
  });

  test("undefined fields do not count", () => {
    expect(canonical({ a: 1, b: undefined })).toBe('{"a":1}');
  });

  test("is 128 bits of SHA-256", () => {
    expect(hash("")).toBe("e3b0c44298fc1c149afbf4c8996fb924");
    expect(hash(Buffer.from("abc"))).toBe(hash("abc"));
  });
});

describe("memo", () => {
  test("makes a value again only when a dependency is another one", () => {
    const memo = new Memo<object>();
    const a = {};
    const first = memo.get("k", [a, 1], () => ({}));
    expect(memo.get("k", [a, 1], () => ({}))).toBe(first);
    expect(memo.get("k", [{}, 1], () => ({}))).not.toBe(first);
    expect(memo.made).toBe(2);
  });

  test("forgets what a round did not ask for", () => {
    const memo = new Memo<number>();
    memo.get("a", [], () => 1);
    memo.get("b", [], () => 2);
    memo.sweep();
    memo.get("a", [], () => 3);
    memo.sweep();
    expect(memo.size).toBe(1);
    expect(memo.get("a", [], () => 4)).toBe(1);
  });

  test("keeps undefined as a value", () => {
    const memo = new Memo<number | undefined>();
    memo.get("a", [], () => undefined);
    memo.get("a", [], () => undefined);
    expect(memo.made).toBe(1);
  });

  test("lists of the same things become one list", () => {
    const lists = new Lists<object>();
    const [a, b] = [{}, {}];
    const first = lists.get("k", [a, b]);
    expect(lists.get("k", [a, b])).toBe(first);
    expect(lists.get("k", [b, a])).not.toBe(first);
    expect(sameItems([], [])).toBe(true);
    expect(sameItems([Number.NaN], [Number.NaN])).toBe(true);
  });
});

describe("settle", () => {
  function setUp() {
    const clock = new FakeClock();
    const advance = (ms: number) => clock.advance(ms);
    const ran: number[] = [];
    const settle = new Settle({ quiet: 20, max: 50, clock }, () => ran.push(clock.now()));
    return { settle, advance, ran };
  }

  test("runs once, when it has been quiet", () => {
    const { settle, advance, ran } = setUp();
    settle.poke();
    advance(10);
    settle.poke();
    advance(19);
    expect(ran).toEqual([]);
    advance(1);
    expect(ran).toEqual([30]);
    advance(100);
    expect(ran).toEqual([30]);
  });

  test("runs at the latest after its most, and starts anew", () => {
    const { settle, advance, ran } = setUp();
    for (let i = 0; i < 10; i++) {
      settle.poke();
      advance(10);
    }
    expect(ran).toEqual([50, 100]);
  });

  test("a stop forgets the poke", () => {
    const { settle, advance, ran } = setUp();
    settle.poke();
    settle.stop();
    advance(1000);
    expect(ran).toEqual([]);
    settle.poke();
    advance(20);
    expect(ran).toHaveLength(1);
  });
});
