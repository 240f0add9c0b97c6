/** Bytes to lines. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Lines } from "../../../src/sources/kubernetes/lines.ts";

test("the same lines come out however the bytes are cut", () => {
  const text = fc.string({ unit: "grapheme", maxLength: 30 }).map((line) => line.replaceAll("\n", " "));
  fc.assert(
    fc.property(
      fc.array(text, { maxLength: 8 }),
      text,
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
      (whole, rest, cuts) => {
        const bytes = Buffer.from(whole.map((line) => `${line}\n`).join("") + rest);
        const lines = new Lines(1_000);
        const out: string[] = [];
        let at = 0;
        for (let i = 0; at < bytes.length; i++) {
          const size = cuts[i % cuts.length] ?? 1;
          out.push(...lines.push(bytes.subarray(at, at + size)));
          at += size;
        }
        expect(out).toEqual(whole);
        expect(lines.broken).toBe(rest !== "");
      },
    ),
  );
});

test("a line may have as many bytes as the limit, and not one more, in one piece or in several", () => {
  for (const pieces of [["12345\n"], ["123", "45\n"], ["12345", "\n"]]) {
    const lines = new Lines(5);
    expect(pieces.flatMap((piece) => [...lines.push(Buffer.from(piece))])).toEqual(["12345"]);
  }
  for (const pieces of [["123456\n"], ["123", "456\n"], ["123456"], ["123", "456"]]) {
    const lines = new Lines(5);
    expect(() => pieces.forEach((piece) => void [...lines.push(Buffer.from(piece))])).toThrow(RangeError);
  }
});
