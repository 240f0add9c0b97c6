/**
 * `heddle proxy get`: what a sidecar's Envoy says; and `heddle proxy status` of a cluster: what each sidecar was sent and has accepted.
 */
import { writeFile } from "node:fs/promises";
import { ADMIN_PORT } from "../../xds/names.ts";
import { isRaw } from "../../lib/json.ts";
import { EXIT, UserError } from "../errors.ts";
import { formatOf } from "../output.ts";
import { proxyTable } from "../proxy-status.ts";
import type { ProxyRow } from "../rows.ts";
import type { Context } from "./connection.ts";
import { controllerPods, findMesh } from "./meshes.ts";
import { nameOf, stringAt } from "./objects.ts";
import { meshedPod } from "./policy.ts";
import { CONTROLLER_DEBUG_PORT } from "./resources.ts";
import { errorOf } from "./sentences.ts";
import { outData } from "./terminal.ts";

export interface ProxyGetOptions {
  readonly namespace: string;
  readonly file?: string;
}

/** Queries that only read. Envoy's others want POST, and are changed by `kubectl exec`, not by a verb called get. */
const CHANGES =
  /^\/?(quitquitquit|healthcheck\/|logging|drain_listeners|reset_counters|cpuprofiler|heapprofiler|runtime_modify|reopen_logs)/;

export async function proxyGet(
  context: Context,
  query: string,
  pod: string,
  options: ProxyGetOptions,
): Promise<number> {
  const { namespace, file } = options;
  if (CHANGES.test(query))
    throw new UserError(
      `"${query}" changes something in Envoy, and get only reads. See what there is: heddle proxy get help ${pod} -n ${namespace}`,
      EXIT.usage,
    );
  const cluster = await context.cluster();
  const found = await meshedPod(cluster.api, { namespace, name: pod });
  if (stringAt(found, "status", "phase") !== "Running")
    throw new UserError(
      `Pod ${pod} in namespace ${namespace} is not running. See why: kubectl describe pod ${pod} -n ${namespace}`,
    );
  const { status, body } = await cluster.askPod({ namespace, pod, port: ADMIN_PORT }, `/${query.replace(/^\/+/, "")}`);
  if (status !== 200)
    throw new UserError(
      `Envoy of pod ${namespace}/${pod} answered "${query}" with ${status}: ${body.toString("utf8", 0, 300).trim()}`,
    );
  if (file === undefined) await context.terminal.out(body.toString("utf8"));
  else await writeFile(file, body);
  return 0;
}

/** Every replica of the controller knows the proxies that are connected to it. */
export async function clusterProxyStatus(
  context: Context,
  options: { readonly output: string; readonly meshName?: string },
): Promise<number> {
  const format = formatOf(options.output, ["table", "json", "yaml"]);
  const { terminal, settings } = context;
  const cluster = await context.cluster();
  const { namespace, name } = await findMesh(cluster.api, settings, options.meshName);
  const pods = await controllerPods(cluster.api, namespace);
  if (pods.length === 0)
    throw new UserError(
      `Mesh [${name}] has no controller pod in namespace [${namespace}]. See why: heddle verify control-plane-health`,
    );
  const rows: ProxyRow[] = [];
  const silent: string[] = [];
  for (const pod of pods) {
    try {
      const port = { namespace, pod: nameOf(pod), port: CONTROLLER_DEBUG_PORT };
      const answer = await cluster.askPodJson(port, "/api/proxies");
      if (Array.isArray(answer)) rows.push(...(answer.filter(isRaw) as unknown as ProxyRow[]));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      silent.push(`${nameOf(pod)}: ${errorOf(error)}`);
    }
  }
  if (silent.length === pods.length)
    throw new UserError(`No controller of mesh [${name}] could be asked. ${silent.join(" ")}`);
  for (const line of silent) terminal.note(`Not asked: ${line}`);
  if (format !== "table") await outData(terminal, format, rows);
  else if (rows.length > 0) await terminal.out(proxyTable(rows).join("\n"));
  else terminal.note("No proxy is connected.");
  return 0;
}
