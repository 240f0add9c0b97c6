/** Broken folders through the whole sentence: each mistake has its sentence, and the good mesh beside it is compiled as ever. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compile } from "../../src/policy/compile.ts";
import type { Problem } from "../../src/world/types.ts";
import { apply, EMPTY_WORLD } from "../../src/world/world.ts";
import { Builder, missing } from "../../src/xds/build.ts";
import { BAD_INPUT, type BadInput } from "./cases.ts";
import { lay, outcomeOf } from "./lay.ts";

async function compiled(input: BadInput) {
  const dir = mkdtempSync(join(tmpdir(), "heddle-bad-"));
  try {
    lay(dir, input);
    const outcome = await outcomeOf(dir, input);
    const world = apply(EMPTY_WORLD, outcome.changes);
    const { mesh, problems } = compile(world);
    const place = ({ object, path }: Problem) => outcome.locate(object, path);
    return { mesh, world, problems: problems.map((p) => ({ ...p, ...place(p) })), dir };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

test.for(BAD_INPUT)("$name: the good mesh beside it is as ever", async (input, { skip }) => {
  const why = input.unless?.();
  if (why) skip(why);
  const { mesh, world } = await compiled(input);
  const server = [...mesh.groups.values()].find((group) => group.identity === "good/server");
  const port = server?.inbound.find((p) => p.port === 8080);
  const rule = port?.access.find((r) => r.target === "good/server");
  expect(rule?.sources).toEqual(["good/client"]);
  expect(rule?.matches?.map((m) => [m.pathRegex, m.methods])).toEqual([["/.*", ["GET"]]]);
  const { changed } = new Builder().mesh(mesh, world, { bundle: "-", trustDomain: "cluster.local" });
  for (const [group, resources] of changed) expect(missing(resources), group).toEqual([]);
});

test.for(BAD_INPUT.filter((input) => input.stage === "compile"))("$name: says so", async (input) => {
  const { problems, dir } = await compiled(input);
  // The good mesh has no second pod and no other Service: nothing but the case's own mistakes is to be said.
  expect(problems.map(({ code, path, file }) => ({ code, path, file: file?.slice(dir.length + 1) }))).toEqual(
    input.problems.map(({ code, path, file }) => ({ code, path, file })),
  );
  for (const [i, { line, message }] of input.problems.entries()) {
    if (line !== undefined) expect(problems[i]?.line).toBe(line);
    expect(problems[i]?.message).toBe(message);
  }
});
