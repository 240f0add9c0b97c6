/**
 * Meshes that run, as views: the control plane's own world on this machine, or the objects of a cluster.
 */
import { Decoder } from "../manifest/decode.ts";
import { isSetting, KINDS } from "../manifest/kinds.ts";
import { Compiler } from "../policy/compile.ts";
import type { Change, ObjectRef, Problem, Workload } from "../world/types.ts";
import { apply, EMPTY_WORLD, KINDS as WORLD_KINDS, type World } from "../world/world.ts";
import type { Context } from "./cluster/connection.ts";
import { findMesh as findClusterMesh } from "./cluster/meshes.ts";
import { nameOf, namespaceOf, stringAt } from "./cluster/objects.ts";
import { listKind } from "./cluster/world.ts";
import { placesOf, type View } from "./load.ts";
import { ask, findMesh } from "./mesh-client.ts";

/** The mesh that runs on this machine, as its control plane sees it now. */
export async function loadLocal(id: string | undefined): Promise<View> {
  const run = findMesh(id);
  const [{ tables }, problems, dir] = await Promise.all([
    ask<{ tables: Tables }>(run, "/debug/world"),
    ask<readonly Problem[]>(run, "/api/problems"),
    ask<string | null>(run, "/api/folder"),
  ]);
  const world = worldOf(tables);
  const { mesh } = new Compiler().compile(world);
  const place = dir === null ? () => undefined : await placesOf(dir);
  return { world, mesh, problems, place };
}

/** What the debug page shows: tables as objects of objects. */
type Tables = Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, unknown>>>>>>;

/** Pure. Equal workloads become one object again. */
export function worldOf(tables: Tables): World {
  const workloads = new Map<string, Workload>();
  const changes: Change[] = [];
  for (const kind of WORLD_KINDS)
    for (const [namespace, objects] of Object.entries(tables[kind] ?? {}))
      for (const [name, value] of Object.entries(objects)) {
        const change = { kind, namespace, name, value } as Change;
        if (change.kind !== "Pod" || !change.value) {
          changes.push(change);
          continue;
        }
        const { workload } = change.value;
        const one = workloads.get(workload.key) ?? workload;
        workloads.set(workload.key, one);
        changes.push({ ...change, value: { ...change.value, workload: one } });
      }
  return apply(EMPTY_WORLD, changes);
}

/** Everything in a cluster that the mesh looks at. */
export async function loadCluster(context: Context, meshName: string | undefined): Promise<View> {
  const cluster = await context.cluster();
  const { api } = cluster;
  const { namespace: controlPlane } = await findClusterMesh(api, context.settings, meshName);
  const lists = await Promise.all(
    KINDS.map((entry) => listKind(api, entry.kind, isSetting(entry) ? controlPlane : undefined)),
  );
  const decoder = new Decoder();
  const versions = new Map<string, string>();
  const changes: Change[] = [];
  const problems: Problem[] = [];
  for (const object of lists.flat()) {
    const decoded = decoder.decode(object);
    changes.push(...decoded.changes);
    problems.push(...decoded.problems);
    const ref = { kind: stringAt(object, "kind"), namespace: namespaceOf(object), name: nameOf(object) };
    versions.set(keyOf(ref), stringAt(object, "metadata", "resourceVersion"));
  }
  const world = apply(EMPTY_WORLD, changes);
  const compiled = new Compiler().compile(world);
  return {
    world,
    mesh: compiled.mesh,
    problems: [...problems, ...compiled.problems],
    meshConfigNamespace: controlPlane,
    place: (object) => {
      const resourceVersion = versions.get(keyOf(object));
      return resourceVersion ? { resourceVersion } : undefined;
    },
  };
}

const keyOf = ({ kind, namespace, name }: ObjectRef): string => `${kind}/${namespace}/${name}`;
