/** The persistent map against JavaScript's own, and what an edit shares. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { PersistentMap } from "../../../src/lib/persistent-map.ts";

const sorted = <V>(map: ReadonlyMap<string, V>): [string, V][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

test("after any edits it has what a Map has, and the maps before have what they had", () => {
  const key = fc.integer({ min: 0, max: 400 }).map((n) => `pod-${n}`);
  const change = fc.record({ key, value: fc.option(fc.integer(), { nil: undefined, freq: 3 }) });
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 120 }), { maxLength: 12 }), (batches) => {
      let subject = PersistentMap.of<number>();
      const model = new Map<string, number>();
      const earlier: [PersistentMap<number>, [string, number][]][] = [];
      for (const batch of batches) {
        const edit = subject.edit();
        for (const { key: name, value } of batch) {
          if (value === undefined) edit.delete(name);
          else edit.set(name, value);
          if (value === undefined) model.delete(name);
          else model.set(name, value);
          expect(edit.get(name)).toBe(value);
        }
        subject = edit.done();
        earlier.push([subject, sorted(model)]);
      }
      for (const [map, content] of earlier) {
        expect(sorted(map)).toEqual(content);
        expect(map.size).toBe(content.length);
        expect([...map.keys()].sort()).toEqual(content.map(([name]) => name));
        expect([...map.values()]).toHaveLength(content.length);
        for (const [name, value] of content) expect([map.get(name), map.has(name)]).toEqual([value, true]);
        expect([map.get("nobody"), map.has("nobody")]).toEqual([undefined, false]);
      }
    }),
  );
});

test("an edit that changes nothing gives the same map", () => {
  const map = PersistentMap.of([["a", 1]]);
  expect(map.edit().done()).toBe(map);
  const edit = map.edit();
  edit.delete("b");
  expect(edit.done()).toBe(map);
});

test("an edit copies what it touches: reads of one chunk of many", () => {
  const entries = Array.from({ length: 30_000 }, (_, n) => [`app-6c9f7d8b5d-${n.toString(36)}`, n] as const);
  const map = PersistentMap.of(entries);
  // A Map is copied by reading all of it: count the entries that are read.
  let read = 0;
  const native = Map.prototype[Symbol.iterator];
  Map.prototype[Symbol.iterator] = function* (this: Map<unknown, unknown>): MapIterator<[unknown, unknown]> {
    for (const entry of native.call(this)) {
      read++;
      yield entry;
    }
    return undefined;
  };
  try {
    const edit = map.edit();
    edit.set("app-6c9f7d8b5d-a1", -1);
    edit.done();
  } finally {
    Map.prototype[Symbol.iterator] = native;
  }
  expect(read).toBeLessThan(100);
  expect(map.get("app-6c9f7d8b5d-a1")).toBe(Number.parseInt("a1", 36));
});

test("it visits as a Map does", () => {
  const seen: unknown[] = [];
  const map = PersistentMap.of([["a", 1]]);
  map.forEach((value, key, whole) => seen.push([value, key, whole === map]));
  expect(seen).toEqual([[1, "a", true]]);
});
