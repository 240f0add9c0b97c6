/**
 * `heddle namespace add | remove | list | ignore`: which namespaces are in a mesh, by OSM's label and annotation.
 */
import { ANNOTATION_INJECTION, LABEL_CONTROL_PLANE, LABEL_IGNORE, LABEL_MONITORED_BY } from "../../world/injection.ts";
import { UserError } from "../errors.ts";
import { table } from "../text.ts";
import type { Api } from "./api.ts";
import type { Context } from "./connection.ts";
import { monitoredNamespaces, needMesh } from "./meshes.ts";
import { annotationOf, labelOf, nameOf, type Raw } from "./objects.ts";
import { CONTROLLER, DEPLOYMENTS, LABEL_APP, NAMESPACES, PODS } from "./resources.ts";

/** What makes a namespace a member. */
export const addPatch = (mesh: string, inject: boolean): Raw => ({
  metadata: {
    labels: { [LABEL_MONITORED_BY]: mesh },
    annotations: { [ANNOTATION_INJECTION]: inject ? "enabled" : "disabled" },
  },
});

/** null removes the key, and does no harm where there is none. */
export const REMOVE_PATCH: Raw = {
  metadata: { labels: { [LABEL_MONITORED_BY]: null }, annotations: { [ANNOTATION_INJECTION]: null } },
};

export const IGNORE_PATCH: Raw = { metadata: { labels: { [LABEL_IGNORE]: "true" } } };

export async function namespaceAdd(
  context: Context,
  names: readonly string[],
  {
    meshName,
    disableSidecarInjection = false,
  }: { readonly meshName: string; readonly disableSidecarInjection?: boolean },
): Promise<number> {
  const { settings, terminal } = context;
  const { api } = await context.cluster();
  await needMesh(api, settings, meshName);
  const added: string[] = [];
  for (const name of names) {
    const controllers = await api.list(DEPLOYMENTS, { namespace: name, labelSelector: `${LABEL_APP}=${CONTROLLER}` });
    if (controllers.length > 0) {
      await terminal.out(
        `Namespace [${name}] already has [${CONTROLLER}] installed and cannot be added to mesh [${meshName}]`,
      );
      continue;
    }
    const namespace = await needNamespace(api, name, `Could not add namespace [${name}] to mesh [${meshName}]`);
    const before = labelOf(namespace, LABEL_MONITORED_BY);
    if (before === meshName) {
      await terminal.out(`Namespace [${name}] has already been added to mesh [${meshName}]`);
      continue;
    }
    if (labelOf(namespace, LABEL_IGNORE) !== undefined)
      throw new UserError(
        `Cannot add ignored namespace [${name}]. Remove the label first: kubectl label namespace ${name} ${LABEL_IGNORE}-`,
      );
    if (labelOf(namespace, LABEL_CONTROL_PLANE) !== undefined)
      throw new UserError(
        `Cannot add namespace [${name}]: it has the label ${LABEL_CONTROL_PLANE}, and no pod of such a namespace gets a sidecar. Remove the label first: kubectl label namespace ${name} ${LABEL_CONTROL_PLANE}-`,
      );
    await api.patch(NAMESPACES, { name }, addPatch(meshName, !disableSidecarInjection));
    await terminal.out(`Namespace [${name}] successfully added to mesh [${meshName}]`);
    if (before !== undefined) terminal.note(`It was in mesh [${before}] before.`);
    added.push(name);
  }
  if (!disableSidecarInjection) await hintAtRestart(context, api, added);
  return 0;
}

/** Pods that run already have no sidecar. */
async function hintAtRestart({ terminal }: Context, api: Api, names: readonly string[]): Promise<void> {
  for (const namespace of names) {
    const pods = await api.list(PODS, { namespace }).catch(() => []);
    if (pods.length > 0)
      terminal.note(`Its pods get a sidecar when they are new: kubectl rollout restart deployment -n ${namespace}`);
  }
}

export async function namespaceRemove(
  context: Context,
  name: string,
  { meshName }: { readonly meshName: string },
): Promise<number> {
  const { terminal } = context;
  const { api } = await context.cluster();
  const namespace = await needNamespace(api, name, `Could not get namespace [${name}]`);
  const mesh = labelOf(namespace, LABEL_MONITORED_BY);
  if (mesh === undefined) {
    await terminal.out(`Namespace [${name}] already does not belong to any mesh`);
    return 0;
  }
  if (mesh !== meshName)
    throw new UserError(
      `Namespace belongs to mesh [${mesh}], not mesh [${meshName}]. Please specify the correct mesh: --mesh-name ${mesh}`,
    );
  await api.patch(NAMESPACES, { name }, REMOVE_PATCH);
  await terminal.out(`Namespace [${name}] successfully removed from mesh [${meshName}]`);
  return 0;
}

export async function namespaceIgnore(context: Context, names: readonly string[]): Promise<number> {
  const { api } = await context.cluster();
  for (const name of names.map((one) => one.trim())) {
    await needNamespace(api, name, `Failed to retrieve namespace [${name}]`);
    await api.patch(NAMESPACES, { name }, IGNORE_PATCH);
    await context.terminal.out(`Successfully configured namespace [${name}] to be ignored`);
  }
  return 0;
}

export async function namespaceList(context: Context, { meshName }: { readonly meshName?: string }): Promise<number> {
  const { api } = await context.cluster();
  const namespaces = await monitoredNamespaces(api, meshName);
  if (namespaces.length > 0) await context.terminal.out(namespaceTable(namespaces).join("\n"));
  else
    await context.terminal.out(
      meshName === undefined ? "No namespaces in any mesh" : `No namespaces in mesh [${meshName}]`,
    );
  return 0;
}

export const namespaceTable = (namespaces: readonly Raw[]): string[] =>
  table(
    ["NAMESPACE", "MESH", "SIDECAR-INJECTION"],
    namespaces.map((namespace) => [
      nameOf(namespace),
      labelOf(namespace, LABEL_MONITORED_BY) ?? "",
      injection(namespace),
    ]),
  );

function injection(namespace: Raw): string {
  if (labelOf(namespace, LABEL_IGNORE) !== undefined) return "disabled (ignored)";
  return annotationOf(namespace, ANNOTATION_INJECTION) ?? "-";
}

/** Throws a `UserError` that begins with `sentence` when there is none. */
export async function needNamespace(api: Api, name: string, sentence: string): Promise<Raw> {
  const namespace = await api.get(NAMESPACES, { name });
  if (namespace) return namespace;
  throw new UserError(`${sentence}: there is no namespace "${name}". Create it: kubectl create namespace ${name}`);
}
