/**
 * `heddle install` and `heddle mesh upgrade`: checks, helm with our chart, and what its pods are doing meanwhile.
 */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { EXIT, UserError } from "../errors.ts";
import type { Api } from "./api.ts";
import type { Context } from "./connection.ts";
import { findHelm, helmError } from "./helm.ts";
import { findMesh, listMeshes, type MeshInfo } from "./meshes.ts";
import { CONTROLLER, PODS } from "./resources.ts";
import { statusLines, whileShowing } from "./rollout.ts";

export interface InstallOptions {
  readonly meshName: string;
  readonly chartPath?: string;
  readonly set: readonly string[];
  readonly atomic?: boolean;
  /** Go's form, as `5m0s`. */
  readonly timeout: string;
  readonly enforceSingleMesh: boolean;
}

/** The chart of this checkout. */
const CHART = fileURLToPath(new URL("../../../charts/heddle", import.meta.url));

/** Throws a `UserError` when there is no chart. */
export function chartAt(path: string | undefined, own: string = CHART): string {
  const chart = path ?? own;
  // A name that helm knows (`repo/chart`, oci://…) is helm's business.
  if (path !== undefined && (path.includes("://") || !/^[./]/.test(path))) return path;
  if (existsSync(chart)) return chart;
  throw new UserError(
    path === undefined
      ? `The chart is not here (${own}). Give the path to one: --chart-path DIR`
      : `There is no chart ${path}. Give --chart-path the folder or archive of a chart.`,
  );
}

/** A label value of Kubernetes that is not empty. */
export function checkMeshName(name: string): void {
  if (/^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/.test(name)) return;
  throw new UserError(
    `"${name}" cannot be a mesh's name: it takes 1 to 63 letters, digits, "-", "_" and ".", and begins and ends with a letter or digit.`,
    EXIT.usage,
  );
}

/** helm's release of a mesh: its name in helm's alphabet. */
export const releaseName = (mesh: string): string =>
  mesh
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-")
    .slice(0, 53);

/** Pure: what helm is run with. helm 4 calls `--atomic` by what it does. */
export function installArgs(options: InstallOptions, chart: string, namespace: string, major: number): string[] {
  const { meshName, atomic = false, timeout, enforceSingleMesh, set } = options;
  return [
    "install",
    releaseName(meshName),
    chart,
    "--namespace",
    namespace,
    "--create-namespace",
    "--wait",
    "--timeout",
    timeout,
    ...(atomic ? [major >= 4 ? "--rollback-on-failure" : "--atomic"] : []),
    "--set-string",
    `osm.meshName=${meshName}`,
    "--set",
    `osm.enforceSingleMesh=${enforceSingleMesh}`,
    ...set.flatMap((one) => ["--set", one]),
  ];
}

/** Pure: why a mesh cannot be installed beside these; undefined when it can. */
export function conflictWith(
  meshes: readonly MeshInfo[],
  name: string,
  namespace: string,
  single: boolean,
): string | undefined {
  const same = meshes.find((mesh) => mesh.name === name);
  if (same)
    return `Mesh ${name} already exists in namespace [${same.namespace}]. Specify a new mesh name with --mesh-name, or upgrade it: heddle mesh upgrade --mesh-name ${name}`;
  if (meshes.some((mesh) => mesh.namespace === namespace))
    return `Namespace ${namespace} has an ${CONTROLLER} already. Specify a new namespace with --osm-namespace.`;
  const [alone] = meshes.filter((mesh) => mesh.enforceSingle);
  if (alone)
    return `Mesh ${alone.name} in namespace [${alone.namespace}] allows no second mesh in this cluster. Remove it first: heddle uninstall mesh --mesh-name ${alone.name}`;
  const [other] = meshes;
  if (single && other)
    return `Mesh ${other.name} is in namespace [${other.namespace}] already, and this one is to be the only one. Say --enforce-single-mesh=false to have both.`;
  return undefined;
}

export async function install(context: Context, options: InstallOptions): Promise<number> {
  const { settings, terminal } = context;
  refuseManaged(context, "installed");
  checkMeshName(options.meshName);
  const chart = chartAt(options.chartPath);
  const helm = await findHelm(settings);
  const { namespace } = settings;
  const { api, context: name } = await context.cluster();
  const conflict = conflictWith(
    await listMeshes(api, settings),
    options.meshName,
    namespace,
    options.enforceSingleMesh,
  );
  if (conflict !== undefined) throw new UserError(conflict);
  terminal.note(`Installing into namespace [${namespace}] of context ${name} …`);
  const result = await whileShowing(
    { api, terminal, namespace },
    helm.run(installArgs(options, chart, namespace, helm.major), context.signal),
  );
  if (result.code !== 0) {
    for (const line of await statuses(api, namespace)) terminal.note(line);
    const undo = options.atomic
      ? ""
      : ` Remove what is there before the next try: helm uninstall ${releaseName(options.meshName)} -n ${namespace}`;
    throw new UserError(`helm could not install the mesh: ${helmError(result)}.${undo}`);
  }
  await terminal.out(`OSM installed successfully in namespace [${namespace}] with mesh name [${options.meshName}]`);
  terminal.note(
    `Next: heddle namespace add NAMESPACE${options.meshName === "osm" ? "" : ` --mesh-name ${options.meshName}`}`,
  );
  return 0;
}

export interface UpgradeOptions {
  readonly meshName?: string;
  readonly chartPath?: string;
  readonly set: readonly string[];
  readonly resetValues?: boolean;
  readonly timeout: string;
}

/** Pure. Values that the user gave stay, and new ones of the chart come in: both helms do that with `--reset-then-reuse-values`. */
export const upgradeArgs = (
  mesh: MeshInfo,
  chart: string,
  { set, resetValues = false, timeout }: UpgradeOptions,
): string[] => [
  "upgrade",
  mesh.release,
  chart,
  "--namespace",
  mesh.namespace,
  "--wait",
  "--timeout",
  timeout,
  resetValues ? "--reset-values" : "--reset-then-reuse-values",
  ...set.flatMap((one) => ["--set", one]),
];

export async function meshUpgrade(context: Context, options: UpgradeOptions): Promise<number> {
  const { settings, terminal } = context;
  refuseManaged(context, "upgraded");
  const chart = chartAt(options.chartPath);
  const helm = await findHelm(settings);
  const { api } = await context.cluster();
  const mesh = await findMesh(api, settings, options.meshName);
  const { namespace } = mesh;
  terminal.note(`Upgrading mesh [${mesh.name}] in namespace [${namespace}] from ${mesh.version} …`);
  const result = await whileShowing(
    { api, terminal, namespace },
    helm.run(upgradeArgs(mesh, chart, options), context.signal),
  );
  if (result.code !== 0) {
    for (const line of await statuses(api, namespace)) terminal.note(line);
    throw new UserError(
      `helm could not upgrade mesh [${mesh.name}]: ${helmError(result)}. Go back with: helm rollback ${mesh.release} -n ${namespace}`,
    );
  }
  await terminal.out(`OSM successfully upgraded mesh [${mesh.name}] in namespace [${namespace}]`);
  return 0;
}

const statuses = async (api: Api, namespace: string): Promise<string[]> =>
  statusLines(await api.list(PODS, { namespace }).catch(() => []));

function refuseManaged({ settings }: Context, verb: string): void {
  if (settings.install.kind === "managed")
    throw new UserError(
      `OSM CANNOT be ${verb} in a managed environment: OSM's configuration file says "kind: managed". Set it to "self-hosted" if it is wrong.`,
    );
}
