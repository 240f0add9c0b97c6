/**
 * Which objects have a status, and what it is about: every policy object of the mesh's namespaces, also those of which nothing can be
 * used; others are outside. Pure; writes nothing.
 */
import { isPolicy, isSetting, KINDS } from "../manifest/kinds.ts";
import type { Kind, Problem } from "../world/types.ts";
import type { World } from "../world/world.ts";
import type { Revision } from "../sources/kubernetes/holding.ts";
import type { Subject } from "./status-writer.ts";

const POLICY_KINDS = KINDS.filter(isPolicy);

/**
 * @param world - what is published
 * @param latest - what is to be published: alike, but for a moment, or longer when it could not be compiled
 * @param problems - of sources and compiler
 * @param served - the version in which each kind is followed; a kind that the cluster lacks is not there
 * @param revisionOf - of an object when it was last read
 */
export function subjectsOf(
  world: World,
  latest: World,
  problems: readonly Problem[],
  served: ReadonlyMap<Kind, string>,
  revisionOf: (kind: Kind, namespace: string, name: string) => Revision | undefined,
): readonly Subject[] {
  const ofKind = Map.groupBy(problems, ({ object }) => object.kind);
  return POLICY_KINDS.flatMap((entry): Subject[] => {
    const version = served.get(entry.kind);
    if (version === undefined) return [];
    const { kind, group, plural } = entry;
    const resource = { group, version, plural };
    const wrong = Map.groupBy(ofKind.get(kind) ?? [], ({ object }) => keyOf(object.namespace, object.name));
    const subjects: Subject[] = [];
    for (const [namespace, objects] of world.tables[kind]) {
      const state = isSeen(world, entry, namespace) ? "published" : "outside";
      for (const [name, value] of objects) {
        const own = wrong.get(keyOf(namespace, name)) ?? [];
        const pending = latest.tables[kind].get(namespace)?.get(name) !== value;
        const revision = revisionOf(kind, namespace, name);
        subjects.push({ kind, resource, namespace, name, revision, problems: own, state, pending });
      }
    }
    // An object so wrong that the world does not have it is known by its problems alone.
    for (const own of wrong.values()) {
      const [first] = own;
      if (!first) continue;
      const { namespace, name } = first.object;
      if (name === "" || world.tables[kind].get(namespace)?.has(name)) continue;
      const state = isSeen(world, entry, namespace) ? "unusable" : "outside";
      const pending = latest.tables[kind].get(namespace)?.has(name) === true;
      const revision = revisionOf(kind, namespace, name);
      subjects.push({ kind, resource, namespace, name, revision, problems: own, state, pending });
    }
    return subjects;
  });
}

const keyOf = (namespace: string, name: string): string => `${namespace}/${name}`;

/** Policies count in the mesh's namespaces. Settings lie in the control plane's, and their source reads no other. */
const isSeen = (world: World, entry: (typeof KINDS)[number], namespace: string): boolean =>
  isSetting(entry) || world.tables.Namespace.get("")?.get(namespace)?.monitored === true;
