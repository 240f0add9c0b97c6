/**
 * A mesh before and after a change, compiled together so that what they have in common is the same object: what differs is then found by
 * looking at references. Folders are read here; of a mesh that runs, only its world is known.
 */
import { isDeepStrictEqual } from "node:util";
import { stat } from "node:fs/promises";
import { Compiler } from "../policy/compile.ts";
import { hint } from "../policy/problem.ts";
import { Readings, type Objects, type Outcome } from "../sources/files/once.ts";
import type { Change, ObjectRef, Problem } from "../world/types.ts";
import { apply, EMPTY_WORLD } from "../world/world.ts";
import { readFiles, SUBNETS, type Place, type View } from "./load.ts";
import { namespacesAfter, overlay } from "./overlay.ts";

export interface Pair {
  readonly before: View;
  readonly after: View;
}

/**
 * The manifests `against`, and what they would be. Folders are the whole wanted state; with a file among them, they are laid over what is there.
 */
export async function pairOfFolders(files: readonly string[], against: string): Promise<Pair> {
  const readings = new Readings(SUBNETS);
  const base = await readFiles(readings, against);
  const { objects, partial } = await wanted(readings, files);
  const old = readings.outcome(base);
  const now = readings.outcome(partial ? readings.over(base, objects) : objects);
  const before = apply(EMPTY_WORLD, old.changes);
  const after = apply(before, difference(old.changes, now.changes));
  return compiled({ world: before, ...placesIn(old) }, { world: after, ...placesIn(now) });
}

/** A mesh that runs, and what it would be with the objects of these files laid over it, as `kubectl apply` does. */
export async function pairOver(live: View, files: readonly string[]): Promise<Pair> {
  const readings = new Readings(SUBNETS);
  const { objects, problems } = counting(live, (await wanted(readings, files)).objects);
  const outcome = readings.outcome(objects, namespacesAfter(live.world, objects, readings.outcome(objects)));
  const after = apply(live.world, overlay(live.world, objects, outcome));
  const own = new Set(objects.entries.map(({ ref }) => `${ref.kind} ${ref.namespace}/${ref.name}`));
  const placed = placesIn(outcome);
  return compiled(
    { ...live, problems: [] },
    {
      world: after,
      problems: [...outcome.problems, ...problems],
      place: (object, path) =>
        own.has(`${object.kind} ${object.namespace}/${object.name}`)
          ? placed.place(object, path)
          : live.place(object, path),
    },
  );
}

/** Objects without MeshConfigs that the mesh does not read, and a word about these. */
function counting(
  { meshConfigNamespace: own }: View,
  objects: Objects,
): { readonly objects: Objects; readonly problems: readonly Problem[] } {
  const isForeign = ({ ref }: Objects["entries"][number]): boolean =>
    ref.kind === "MeshConfig" && own !== undefined && ref.namespace !== own;
  const problems = objects.entries.filter(isForeign).map((entry) => {
    const { ref, file } = entry;
    const message = `the mesh reads the MeshConfig of its own namespace ${own} alone: this one changes nothing.`;
    const path = "metadata.namespace";
    return { ...hint("without-effect", ref.kind, ref, path, message), file, line: entry.lineOf(path) };
  });
  return { objects: { ...objects, entries: objects.entries.filter((entry) => !isForeign(entry)) }, problems };
}

type Uncompiled = Omit<View, "mesh">;

/** One compiler for both: the second costs what differs. */
function compiled(before: Uncompiled, after: Uncompiled): Pair {
  const compiler = new Compiler();
  const view = (side: Uncompiled): View => {
    const { mesh, problems } = compiler.compile(side.world);
    const placed = problems.map((problem): Problem => {
      const place = side.place(problem.object, problem.path);
      return place?.file === undefined ? problem : { ...problem, file: place.file, line: place.line };
    });
    return { ...side, mesh, problems: [...side.problems, ...placed] };
  };
  return { before: view(before), after: view(after) };
}

async function wanted(readings: Readings, files: readonly string[]): Promise<{ objects: Objects; partial: boolean }> {
  const objects: Objects[] = [];
  let partial = false;
  for (const file of files) {
    objects.push(await readFiles(readings, file));
    partial ||= !(await stat(file)).isDirectory();
  }
  const [first, ...more] = objects;
  return { objects: more.reduce((all, one) => readings.over(all, one), first as Objects), partial };
}

const placesIn = (outcome: Outcome): Pick<View, "problems" | "place"> => ({
  problems: outcome.problems,
  place: (object: ObjectRef, path: string): Place | undefined => outcome.locate(object, path),
});

/** What differs between two lists of all that is there. An equal value stays the same object. */
function difference(before: readonly Change[], after: readonly Change[]): Change[] {
  const key = ({ kind, namespace, name }: Change) => `${kind}/${namespace}/${name}`;
  const old = new Map(before.map((change) => [key(change), change]));
  const now = new Map(after.map((change) => [key(change), change]));
  const changed = [...now].filter(([at, { value }]) => {
    const known = old.get(at)?.value;
    return known !== value && !isDeepStrictEqual(known, value);
  });
  const gone = [...old].filter(([at]) => !now.has(at));
  return [
    ...changed.map(([, change]) => change),
    ...gone.map(([, change]): Change => ({ ...change, value: undefined })),
  ];
}
