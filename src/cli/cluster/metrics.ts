/**
 * `heddle metrics enable | disable`: whether Prometheus scrapes the sidecars of namespaces, those of running pods included.
 */
import { ANNOTATION_METRICS, LABEL_MONITORED_BY, LABEL_PROXY_UUID } from "../../world/injection.ts";
import { PROMETHEUS_PORT } from "../../xds/names.ts";
import { EXIT, UserError } from "../errors.ts";
import type { Context } from "./connection.ts";
import { listMeshes } from "./meshes.ts";
import { needNamespace } from "./namespaces.ts";
import { labelOf, nameOf, type Raw } from "./objects.ts";
import { NAMESPACES, PODS } from "./resources.ts";

export const namespacePatch = (enable: boolean): Raw => ({
  metadata: { annotations: { [ANNOTATION_METRICS]: enable ? "enabled" : null } },
});

export const podPatch = (enable: boolean): Raw => ({
  metadata: {
    annotations: {
      "prometheus.io/scrape": enable ? "true" : null,
      "prometheus.io/port": enable ? String(PROMETHEUS_PORT) : null,
      "prometheus.io/path": enable ? "/stats/prometheus" : null,
    },
  },
});

export async function metrics(context: Context, enable: boolean, namespaces: readonly string[]): Promise<number> {
  const names = namespaces.map((one) => one.trim()).filter(Boolean);
  const word = enable ? "enabled" : "disabled";
  if (names.length === 0)
    throw new UserError(`No namespace was given. Say which: --namespace NAMESPACE[,NAMESPACE]`, EXIT.usage);
  const { api } = await context.cluster();
  const meshes = (await listMeshes(api, context.settings)).map((mesh) => mesh.name);
  for (const name of names) {
    const namespace = await needNamespace(api, name, `Failed to retrieve namespace [${name}]`);
    const mesh = labelOf(namespace, LABEL_MONITORED_BY);
    if (mesh === undefined)
      throw new UserError(
        `Namespace [${name}] does not belong to a mesh, missing annotation "${LABEL_MONITORED_BY}". Add it first: heddle namespace add ${name}`,
      );
    if (!meshes.includes(mesh))
      throw new UserError(
        `Namespace [${name}] belongs to mesh [${mesh}], which does not exist. There is: ${meshes.join(", ") || "none"}.`,
      );
    await api.patch(NAMESPACES, { name }, namespacePatch(enable));
    for (const pod of await api.list(PODS, { namespace: name, labelSelector: LABEL_PROXY_UUID }))
      await api.patch(PODS, { namespace: name, name: nameOf(pod) }, podPatch(enable));
    await context.terminal.out(`Metrics successfully ${word} in namespace [${name}]`);
  }
  return 0;
}
