/**
 * `heddle mesh list`: the control planes of a cluster, their namespaces, and the versions of SMI that they read.
 */
import { table } from "../text.ts";
import type { Context } from "./connection.ts";
import { askController, listMeshes, monitoredNamespaces, type MeshInfo } from "./meshes.ts";
import { isRaw } from "../../lib/json.ts";
import { nameOf } from "./objects.ts";

export interface MeshRow extends MeshInfo {
  readonly namespaces: readonly string[];
}

export async function meshList(context: Context): Promise<number> {
  const { settings, terminal } = context;
  const cluster = await context.cluster();
  const meshes = await listMeshes(cluster.api, settings);
  if (meshes.length === 0) {
    await terminal.out("No osm mesh control planes found");
    return 0;
  }
  const rows: MeshRow[] = [];
  for (const mesh of meshes)
    rows.push({ ...mesh, namespaces: (await monitoredNamespaces(cluster.api, mesh.name)).map(nameOf) });
  await terminal.out(["", ...meshTable(rows)].join("\n"));
  const supported: string[] = [];
  for (const { namespace } of meshes)
    supported.push(smiVersions(await askController(cluster, namespace, "/smi/version")));
  await terminal.out(["", ...smiTable(meshes, supported), "", ...HINT].join("\n"));
  return 0;
}

const HINT = [
  "To list the OSM controller pods for a mesh, please run the following command passing in the mesh's namespace",
  "\tkubectl get pods -n <osm-mesh-namespace> -l app=osm-controller",
];

export const meshTable = (rows: readonly MeshRow[]): string[] =>
  table(
    ["MESH NAME", "MESH NAMESPACE", "VERSION", "ADDED NAMESPACES"],
    rows.map((row) => [row.name, row.namespace, row.version, row.namespaces.join(",")]),
  );

export const smiTable = (meshes: readonly MeshInfo[], supported: readonly string[]): string[] =>
  table(
    ["MESH NAME", "MESH NAMESPACE", "SMI SUPPORTED"],
    meshes.map((mesh, i) => [mesh.name, mesh.namespace, supported[i] ?? "Unknown"]),
  );

/** `{"TrafficSplit": "split.smi-spec.io/v1alpha2"}` → `TrafficSplit:v1alpha2`. */
export function smiVersions(answer: unknown): string {
  if (!isRaw(answer)) return "Unknown";
  const kinds = Object.entries(answer).flatMap(([kind, version]) =>
    typeof version === "string" ? [`${kind}:${version.slice(version.indexOf("/") + 1)}`] : [],
  );
  return kinds.sort().join(",") || "Unknown";
}
