/** Broken folders as they are read: each says its sentences, and the good objects beside stand. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { apply, EMPTY_WORLD, type World } from "../../src/world/world.ts";
import { BAD_INPUT, GOOD_STANDS, type BadInput } from "./cases.ts";
import { lay, outcomeOf } from "./lay.ts";

async function read(dir: string, input: BadInput) {
  const outcome = await outcomeOf(dir, input);
  const world = apply(EMPTY_WORLD, outcome.changes);
  const there = (object: string) => {
    const [kind, name] = object.split(" ") as [keyof World["tables"], string];
    const [namespace, local] = name.split("/") as [string, string];
    return world.tables[kind].get(namespace)?.has(local) ?? false;
  };
  return { outcome, there };
}

test("difference 13: thirty folders at least are broken, and no two in the same way", () => {
  expect(BAD_INPUT.length).toBeGreaterThanOrEqual(30);
  expect(new Set(BAD_INPUT.map((input) => input.name)).size).toBe(BAD_INPUT.length);
});

test.for(BAD_INPUT)("$stage: $name", async (input, { skip }) => {
  const why = input.unless?.();
  if (why) skip(why);
  const dir = mkdtempSync(join(tmpdir(), "heddle-bad-"));
  try {
    lay(dir, input);
    const { outcome, there } = await read(dir, input);
    const found = outcome.problems;
    const expected = input.stage === "source" ? input.problems : [];
    expect(found.map(({ code, message }) => ({ code, message: message.replaceAll(dir, "DIR") }))).toEqual(
      expected.map(({ code, message }) => ({ code, message })),
    );
    for (const [i, { file, line, path }] of expected.entries()) {
      expect(found[i]?.file).toBe(join(dir, file));
      if (line !== undefined) expect(found[i]?.line).toBe(line);
      if (path !== undefined) expect(found[i]?.path).toBe(path);
    }
    for (const object of [...GOOD_STANDS, ...(input.stands ?? [])])
      expect(there(object), `${object} stands`).toBe(true);
    for (const object of input.falls ?? []) expect(there(object), `${object} falls`).toBe(false);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
