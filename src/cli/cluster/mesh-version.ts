/**
 * The versions of the meshes in a cluster: from their controllers, else from their Deployments' labels.
 */
import type { Cluster } from "./connection.ts";
import { askController, listMeshes } from "./meshes.ts";
import { stringAt } from "./objects.ts";
import type { Settings } from "./settings.ts";
import type { MeshVersion } from "./version.ts";

export async function versionsOf(cluster: Cluster, settings: Settings): Promise<MeshVersion[]> {
  const meshes = await listMeshes(cluster.api, settings);
  return Promise.all(
    meshes.map(async ({ name, namespace, version }) => {
      const told = await askController(cluster, namespace, "/version");
      // OSM's Go struct has fields in capitals.
      const field = (key: string) => stringAt(told, key) || stringAt(told, key[0]?.toUpperCase() + key.slice(1));
      return {
        mesh: name,
        namespace,
        version: field("version") || version,
        gitCommit: field("gitCommit") || "-",
        buildDate: field("buildDate") || "-",
      };
    }),
  );
}
