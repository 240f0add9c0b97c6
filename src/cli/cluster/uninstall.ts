/**
 * `heddle uninstall mesh`: helm's uninstall, the namespaces' labels, and on request the namespace and what is of the whole cluster.
 */
import { KINDS } from "../../manifest/kinds.ts";
import { madeHere } from "../../roles/made-here.ts";
import { EXIT, UserError } from "../errors.ts";
import type { Api } from "./api.ts";
import { confirm, type Terminal } from "./terminal.ts";
import type { Context } from "./connection.ts";
import { findHelm, helmError, type Helm } from "./helm.ts";
import { meshTable } from "./mesh-list.ts";
import { listMeshes, monitoredNamespaces, type MeshInfo } from "./meshes.ts";
import { REMOVE_PATCH } from "./namespaces.ts";
import { nameOf } from "./objects.ts";
import {
  CONTROLLER,
  CRDS,
  INJECTOR,
  LABEL_APP,
  LABEL_INSTANCE,
  LABEL_NAME,
  MUTATING_WEBHOOKS,
  NAME_OF_OSM,
  NAMESPACES,
  SECRETS,
  VALIDATING_WEBHOOKS,
} from "./resources.ts";
import { errorOf } from "./sentences.ts";

export interface UninstallOptions {
  readonly meshName?: string;
  readonly force?: boolean;
  readonly deleteClusterWideResources?: boolean;
  readonly deleteNamespace?: boolean;
  readonly caBundleSecretName: string;
}

/** Every CRD that OSM ever installed, and what Heddle reads beside them. */
export const OSM_CRDS: readonly string[] = [
  ...new Set([
    "egresses.policy.openservicemesh.io",
    "ingressbackends.policy.openservicemesh.io",
    "meshconfigs.config.openservicemesh.io",
    "meshrootcertificates.config.openservicemesh.io",
    "upstreamtrafficsettings.policy.openservicemesh.io",
    "retries.policy.openservicemesh.io",
    "telemetries.policy.openservicemesh.io",
    "extensionservices.config.openservicemesh.io",
    "multiclusterservices.config.openservicemesh.io",
    ...KINDS.filter((one) => one.group.endsWith("smi-spec.io")).map((one) => `${one.plural}.${one.group}`),
  ]),
].sort();

export async function uninstallMesh(context: Context, options: UninstallOptions): Promise<number> {
  const { settings, terminal } = context;
  const { meshName, deleteClusterWideResources = false, deleteNamespace = false } = options;
  const { api } = await context.cluster();
  let secretNamespace = settings.namespace;
  let instance = meshName;
  let code: number = EXIT.ok;
  if (settings.install.kind === "managed") {
    await terminal.out("OSM CANNOT be uninstalled in a managed environment");
    if (deleteNamespace) await terminal.out("OSM namespace CANNOT be deleted in a managed environment");
    return 1;
  }
  const meshes = await listMeshes(api, settings);
  const chosen = await choose(context, api, meshes, options);
  if (chosen === undefined) {
    if (!deleteClusterWideResources) return meshes.length === 0 && meshName === undefined ? 0 : 1;
  } else if (chosen.length > 0) {
    const helm = await findHelm(settings);
    for (const mesh of chosen) if (!(await removeMesh(context, { api, helm, mesh, options }))) code = EXIT.failure;
    secretNamespace = chosen[0]?.namespace ?? secretNamespace;
    instance ??= chosen[0]?.name;
  } else {
    // Asked, and told no.
    return 0;
  }
  if (!deleteClusterWideResources) return code;
  const left = await listMeshes(api, settings);
  if (left.length > 0) {
    terminal.note("Deleting cluster resources will affect current mesh(es) in cluster:");
    for (const mesh of left) terminal.note(`[${mesh.name}] mesh in namespace [${mesh.namespace}]`);
    if (!options.force && !(await confirm(terminal, "Delete them all the same?"))) return 1;
  }
  await deleteClusterWide({ api, terminal, instance, secretNamespace, secret: options.caBundleSecretName });
  return code;
}

/** Meshes to remove; empty when the user said no; undefined when there is nothing to remove. */
async function choose(
  { settings, terminal }: Context,
  api: Api,
  meshes: readonly MeshInfo[],
  { meshName, force = false }: UninstallOptions,
): Promise<readonly MeshInfo[] | undefined> {
  if (meshes.length === 0) {
    await terminal.out("No OSM control planes found");
    return undefined;
  }
  const fits = meshes.filter(
    (mesh) =>
      (meshName === undefined || mesh.name === meshName) &&
      (!settings.namespaceGiven || mesh.namespace === settings.namespace),
  );
  if (fits.length === 0) {
    await terminal.out(
      `Did not find mesh [${meshName ?? "any"}]${settings.namespaceGiven ? ` in namespace [${settings.namespace}]` : ""}; heddle mesh list shows what there is`,
    );
    return undefined;
  }
  if (force) {
    if (fits.length > 1)
      throw new UserError("There are several meshes, and --force asks nothing. Choose one with --mesh-name.");
    return fits;
  }
  const rows = [];
  for (const mesh of fits) rows.push({ ...mesh, namespaces: (await monitoredNamespaces(api, mesh.name)).map(nameOf) });
  await terminal.out(["", "List of meshes present in the cluster:", ...meshTable(rows)].join("\n"));
  const chosen: MeshInfo[] = [];
  for (const mesh of fits) {
    const question = `\nUninstall OSM [mesh name: ${mesh.name}] in namespace [${mesh.namespace}] and/or OSM resources?`;
    if (await confirm(terminal, question)) chosen.push(mesh);
  }
  return chosen;
}

interface Removal {
  readonly api: Api;
  readonly helm: Helm;
  readonly mesh: MeshInfo;
  readonly options: UninstallOptions;
}

/** Whether helm could; if not, what else was asked for is done all the same. */
async function removeMesh(context: Context, { api, helm, mesh, options }: Removal): Promise<boolean> {
  const { terminal } = context;
  const { deleteNamespace = false, deleteClusterWideResources = false } = options;
  terminal.note(`Removing helm release ${mesh.release} from namespace [${mesh.namespace}] …`);
  const args = ["uninstall", mesh.release, "--namespace", mesh.namespace, "--wait"];
  const result = await helm.run(args, context.signal);
  if (result.code === 0) {
    for (const namespace of await monitoredNamespaces(api, mesh.name)) {
      const name = nameOf(namespace);
      await api.patch(NAMESPACES, { name }, REMOVE_PATCH);
      await terminal.out(`Namespace [${name}] successfully removed from mesh [${mesh.name}]`);
    }
    await terminal.out(`OSM [mesh name: ${mesh.name}] in namespace [${mesh.namespace}] uninstalled`);
  } else {
    const why = helmError(result);
    if (/not found/i.test(why))
      await terminal.out(`No OSM control plane with mesh name [${mesh.name}] found in namespace [${mesh.namespace}]`);
    if (!deleteNamespace && !deleteClusterWideResources)
      throw new UserError(
        `helm could not uninstall mesh [${mesh.name}]: ${why}. See what helm knows: helm list -n ${mesh.namespace} --all`,
      );
    terminal.note(
      `Could not uninstall mesh name [${mesh.name}] in namespace [${mesh.namespace}]: ${why} - continuing to deleteClusterWideResources and/or deleteNamespace`,
    );
  }
  const removed = result.code === 0;
  if (!deleteNamespace) return removed;
  const deleted = await api.delete(NAMESPACES, { name: mesh.namespace });
  await terminal.out(
    deleted ? `OSM namespace [${mesh.namespace}] deleted successfully` : `OSM namespace [${mesh.namespace}] not found`,
  );
  return removed;
}

interface ClusterWide {
  readonly api: Api;
  readonly terminal: Terminal;
  readonly instance: string | undefined;
  readonly secretNamespace: string;
  readonly secret: string;
}

async function deleteClusterWide({ api, terminal, instance, secretNamespace, secret }: ClusterWide): Promise<void> {
  const failed: string[] = [];
  const attempt = async (what: string, work: () => Promise<string>): Promise<void> => {
    try {
      await terminal.out(await work());
    } catch (error) {
      failed.push(what);
      terminal.note(`Failed to delete OSM ${what}: ${errorOf(error)}`);
    }
  };
  for (const name of OSM_CRDS)
    await attempt(`CRD ${name}`, async () =>
      (await api.delete(CRDS, { name }))
        ? `Successfully deleted OSM CRD: ${name}`
        : `Ignoring - did not find OSM CRD: ${name}`,
    );
  for (const [kind, resource, app] of [
    ["MutatingWebhookConfiguration", MUTATING_WEBHOOKS, INJECTOR],
    ["ValidatingWebhookConfiguration", VALIDATING_WEBHOOKS, CONTROLLER],
  ] as const) {
    const labels = [`${LABEL_NAME}=${NAME_OF_OSM}`, `${LABEL_APP}=${app}`];
    const labelSelector = [...labels, ...(instance === undefined ? [] : [`${LABEL_INSTANCE}=${instance}`])].join(",");
    let found: string[] = [];
    await attempt(`${kind}s`, async () => {
      found = (await api.list(resource, { labelSelector })).map(nameOf);
      return found.length === 0
        ? `Ignoring - did not find any OSM ${kind}s in the cluster. Use --mesh-name to delete ${kind}s belonging to a specific mesh if desired`
        : "";
    });
    for (const name of found)
      await attempt(`${kind} ${name}`, async () => {
        await api.delete(resource, { name });
        return `Successfully deleted OSM ${kind}: ${name}`;
      });
  }
  await attempt(`secret ${secret}`, async () => {
    const name = { namespace: secretNamespace, name: secret };
    const found = await api.get(SECRETS, name);
    // There is no other copy of the key of somebody else's root.
    if (found && !madeHere(found))
      return `Ignoring - Heddle did not make secret ${secret} in namespace ${secretNamespace}. If nothing trusts it any more: kubectl delete secret ${secret} -n ${secretNamespace}`;
    return found && (await api.delete(SECRETS, name))
      ? `Successfully deleted OSM secret ${secret} in namespace ${secretNamespace}`
      : `Ignoring - did not find OSM CA bundle secret ${secret} in namespace ${secretNamespace}. Use --ca-bundle-secret-name and --osm-namespace to delete a specific mesh namespace's CA bundle secret if desired`;
  });
  if (failed.length > 0)
    throw new UserError(
      `Failed to completely delete: ${failed.join(", ")}. The lines above say why; run it again when that is put right.`,
    );
}
