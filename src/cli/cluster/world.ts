/**
 * The part of a cluster that decides about one pod, read once and compiled by the same code as in the controller.
 */
import { Decoder } from "../../manifest/decode.ts";
import { isSetting, KINDS } from "../../manifest/kinds.ts";
import { Compiler } from "../../policy/compile.ts";
import type { Mesh } from "../../policy/ir.ts";
import { isNotFound } from "../../sources/kubernetes/errors.ts";
import { Store } from "../../world/store.ts";
import type { Kind, Problem } from "../../world/types.ts";
import type { World } from "../../world/world.ts";
import type { Api } from "./api.ts";
import type { Raw } from "./objects.ts";

export interface Compilation {
  readonly world: World;
  readonly mesh: Mesh;
  readonly problems: readonly Problem[];
}

/** What of which namespace decides about a server: everything of its own namespace, and the mesh's settings. */
export async function worldOf(api: Api, namespace: string, controlPlane: string): Promise<Compilation> {
  const objects = await Promise.all(
    KINDS.map((entry) => {
      const where = isSetting(entry) ? controlPlane : entry.namespaced ? namespace : undefined;
      return listKind(api, entry.kind, where);
    }),
  );
  return compileObjects(objects.flat());
}

/** Pure. */
export function compileObjects(objects: readonly Raw[]): Compilation {
  const decoder = new Decoder();
  const store = new Store();
  const decoded = objects.map((object) => decoder.decode(object));
  store.apply(decoded.flatMap((one) => one.changes));
  const { mesh, problems } = new Compiler().compile(store.world);
  return { world: store.world, mesh, problems: [...decoded.flatMap((one) => one.problems), ...problems] };
}

/** In the newest version that is served; empty when the cluster does not have the kind. */
export async function listKind(api: Api, kind: Kind, namespace: string | undefined): Promise<Raw[]> {
  const entry = KINDS.find((one) => one.kind === kind);
  if (!entry) return [];
  const { group, plural } = entry;
  for (const version of [...entry.versions].reverse()) {
    const apiVersion = group === "" ? version : `${group}/${version}`;
    try {
      const found = await api.list({ group, version, plural }, { namespace });
      return found.map((object) => ({ ...object, apiVersion, kind }));
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
  return [];
}
