/**
 * The control planes in a cluster, OSM's and Heddle's alike, found by the labels that OSM's chart gave them.
 */
import { LABEL_MONITORED_BY } from "../../world/injection.ts";
import { EXIT, UserError } from "../errors.ts";
import type { Api } from "./api.ts";
import type { Cluster } from "./connection.ts";
import { annotationOf, byName, isForbidden, labelOf, nameOf, namespaceOf, notReady, type Raw } from "./objects.ts";
import {
  ANNOTATION_RELEASE,
  CONTROLLER,
  CONTROLLER_HTTP_PORT,
  DEPLOYMENTS,
  LABEL_APP,
  LABEL_ENFORCE_SINGLE,
  LABEL_INSTANCE,
  LABEL_MESH,
  LABEL_VERSION,
  NAMESPACES,
  PODS,
  USUAL_NAMESPACES,
} from "./resources.ts";
import type { Settings } from "./settings.ts";

export interface MeshInfo {
  readonly name: string;
  readonly namespace: string;
  /** "Unknown" when the Deployment does not say. */
  readonly version: string;
  /** Nobody else may install a mesh beside it. */
  readonly enforceSingle: boolean;
  /** helm's release; the mesh's name when helm did not install it. */
  readonly release: string;
}

/** Pure: a controller's Deployment → its mesh. */
export function meshOf(deployment: Raw): MeshInfo {
  const name = labelOf(deployment, LABEL_MESH) ?? labelOf(deployment, LABEL_INSTANCE) ?? "";
  return {
    name,
    namespace: namespaceOf(deployment),
    version: labelOf(deployment, LABEL_VERSION) || "Unknown",
    enforceSingle: labelOf(deployment, LABEL_ENFORCE_SINGLE) === "true",
    release: annotationOf(deployment, ANNOTATION_RELEASE) ?? name,
  };
}

/** By namespace. Somebody who may not list the whole cluster is shown what is in the usual namespaces, and in the one that was named. */
export async function listMeshes(api: Api, settings: Settings): Promise<MeshInfo[]> {
  const labelSelector = `${LABEL_APP}=${CONTROLLER}`;
  let deployments: Raw[];
  try {
    deployments = await api.list(DEPLOYMENTS, { labelSelector });
  } catch (error) {
    if (!isForbidden(error)) throw error;
    const namespaces = [...new Set([settings.namespace, ...USUAL_NAMESPACES])];
    const lists = await Promise.all(
      namespaces.map((namespace) =>
        api.list(DEPLOYMENTS, { namespace, labelSelector }).catch((one: unknown) => {
          if (isForbidden(one)) return undefined;
          throw one;
        }),
      ),
    );
    if (lists.every((list) => list === undefined)) throw error;
    deployments = lists.flatMap((list) => list ?? []);
  }
  return byName(deployments).map(meshOf);
}

/** The mesh that is meant: by name, by namespace, or the only one. Throws a `UserError` that says what there is. */
export function chooseMesh(meshes: readonly MeshInfo[], settings: Settings, name?: string): MeshInfo {
  const { namespace, namespaceGiven } = settings;
  const found = meshes.filter(
    (mesh) => (name === undefined || mesh.name === name) && (!namespaceGiven || mesh.namespace === namespace),
  );
  const [only, ...more] = found;
  const there = meshes.map((mesh) => `[${mesh.name}] in namespace [${mesh.namespace}]`).join(", ");
  if (!only) {
    const wanted = `${name === undefined ? "" : ` [${name}]`}${namespaceGiven ? ` in namespace [${namespace}]` : ""}`;
    throw new UserError(
      meshes.length === 0
        ? "No osm mesh control planes found. Install one: heddle install"
        : `There is no mesh${wanted}. There is ${there}: choose with --mesh-name and --osm-namespace.`,
    );
  }
  if (more.length > 0)
    throw new UserError(
      `There are several meshes: ${found.map((mesh) => `[${mesh.name}] in namespace [${mesh.namespace}]`).join(", ")}. Choose one with --mesh-name or --osm-namespace.`,
      EXIT.usage,
    );
  return only;
}

export const findMesh = async (api: Api, settings: Settings, name?: string): Promise<MeshInfo> =>
  chooseMesh(await listMeshes(api, settings), settings, name);

/** Throws OSM's sentence when there is no such mesh. */
export async function needMesh(api: Api, settings: Settings, name: string): Promise<MeshInfo> {
  const found = (await listMeshes(api, settings)).find((mesh) => mesh.name === name);
  if (found) return found;
  throw new UserError(
    `mesh [${name}] does not exist, please specify another mesh using --mesh-name or create a new mesh. (heddle mesh list shows what there is.)`,
  );
}

/** Namespaces of one mesh, or of any. */
export const monitoredNamespaces = async (api: Api, mesh?: string): Promise<Raw[]> =>
  byName(
    await api.list(NAMESPACES, {
      labelSelector: mesh === undefined ? LABEL_MONITORED_BY : `${LABEL_MONITORED_BY}=${mesh}`,
    }),
  );

/** The controller's pods, those that are ready first. */
export async function controllerPods(api: Api, namespace: string): Promise<Raw[]> {
  const pods = byName(await api.list(PODS, { namespace, labelSelector: `${LABEL_APP}=${CONTROLLER}` }));
  return [...pods.filter((pod) => notReady(pod) === undefined), ...pods.filter((pod) => notReady(pod) !== undefined)];
}

/** Asks the mesh's first controller that answers. Undefined when none does. */
export async function askController(cluster: Cluster, namespace: string, path: string): Promise<unknown> {
  for (const pod of await controllerPods(cluster.api, namespace)) {
    const port = { namespace, pod: nameOf(pod), port: CONTROLLER_HTTP_PORT };
    try {
      return await cluster.askPodJson(port, path);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
    }
  }
  return undefined;
}
