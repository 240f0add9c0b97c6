/**
 * `heddle support bug-report`: what somebody else needs to see to understand a mesh, in one archive, without secrets.
 */
import { writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { KINDS } from "../../manifest/kinds.ts";
import { ADMIN_PORT } from "../../xds/names.ts";
import { EXIT, UserError } from "../errors.ts";
import { yaml } from "../output.ts";
import { VERSION } from "../version.ts";
import { tar, type ArchiveFile } from "./archive.ts";
import type { Cluster, Context } from "./connection.ts";
import { listMeshes, monitoredNamespaces } from "./meshes.ts";
import {
  containersOf,
  fullName,
  hasSidecar,
  isForbidden,
  mapAt,
  namespacedName,
  nameOf,
  namespaceOf,
  type Raw,
} from "./objects.ts";
import { withoutSecrets } from "./redact.ts";
import {
  CONTROLLER_DEBUG_PORT,
  DEPLOYMENTS,
  EVENTS,
  INGRESS_BACKENDS,
  INGRESSES,
  LABEL_APP,
  CONTROLLER,
  NAMESPACES,
  NODES,
  PODS,
  SERVICES,
} from "./resources.ts";
import { errorOf } from "./sentences.ts";
import { listKind } from "./world.ts";

export interface BugReportOptions {
  readonly all?: boolean;
  readonly appNamespaces: readonly string[];
  readonly appDeployments: readonly string[];
  readonly appPods: readonly string[];
  readonly ingress?: boolean;
  readonly outFile?: string;
}

/** Of a log, from its end: what happened last. */
const LOG_LINES = 5_000;
const LOG_BYTES = 8 << 20;
const SUFFIXES = [".tar.gz", ".tgz", ".tar"] as const;

/** Collects files; what could not be had is a line of `errors.txt`. */
class Collection {
  readonly files: ArchiveFile[] = [];
  readonly errors: string[] = [];

  async add(path: string, work: () => Promise<string | Uint8Array | undefined>): Promise<void> {
    try {
      const content = await work();
      if (content !== undefined) this.files.push({ path: `heddle-bug-report/${path}`, content });
    } catch (error) {
      this.errors.push(`${path}: ${errorOf(error)}`);
    }
  }

  objects(path: string, list: () => Promise<readonly Raw[]>): Promise<void> {
    return this.add(path, async () => {
      const found = await list();
      return found.length === 0 ? undefined : yaml(found.map(withoutSecrets));
    });
  }
}

export async function bugReport(context: Context, options: BugReportOptions): Promise<number> {
  const { terminal, settings } = context;
  const file =
    options.outFile ?? `heddle-bug-report-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.tar.gz`;
  if (!SUFFIXES.some((suffix) => file.endsWith(suffix)))
    throw new UserError(
      `${file} is of no kind that can be written. Name it ${SUFFIXES.map((one) => `*${one}`).join(", ")}.`,
      EXIT.usage,
    );
  const cluster = await context.cluster();
  const collection = new Collection();
  const meshes = await listMeshes(cluster.api, settings);
  terminal.progress("Collecting the control plane …");
  await collectCluster(cluster, collection);
  for (const { namespace } of meshes) await collectControlPlane(cluster, collection, namespace);
  if (meshes.length === 0) collection.errors.push("control plane: none was found");
  const { namespaces, pods } = await applications(cluster, options, collection);
  for (const namespace of namespaces) {
    terminal.progress(`Collecting namespace ${namespace} …`);
    await collectNamespace(cluster, collection, namespace, options.ingress === true || options.all === true);
  }
  for (const pod of pods) {
    terminal.progress(`Collecting pod ${fullName(pod)} …`);
    await collectPod(cluster, collection, pod);
  }
  terminal.progress("");
  if (collection.errors.length > 0)
    collection.files.push({ path: "heddle-bug-report/errors.txt", content: `${collection.errors.join("\n")}\n` });
  const archive = tar(collection.files, Math.floor(Date.now() / 1000));
  await writeFile(file, file.endsWith(".tar") ? archive : gzipSync(archive), { mode: 0o600 });
  for (const line of collection.errors) terminal.note(`Not collected: ${line}`);
  await terminal.out(`Bug report written to ${file} (${collection.files.length} files)`);
  terminal.note(
    "Values of variables and Secrets, and the commands of your containers, are not in it. Logs are as they were printed: look at them before you share it.",
  );
  return 0;
}

async function collectCluster({ api, context }: Cluster, collection: Collection): Promise<void> {
  await collection.add("cluster/version.yaml", async () =>
    yaml({ heddle: VERSION, node: process.versions.node, context, kubernetes: await api.json("/version") }),
  );
  await collection.add("cluster/nodes.yaml", async () => {
    const nodes = await api.list(NODES);
    return yaml(nodes.map((node) => ({ name: nameOf(node), ...mapAt(node, "status", "nodeInfo") })));
  });
}

async function collectControlPlane(cluster: Cluster, collection: Collection, namespace: string): Promise<void> {
  const { api } = cluster;
  const at = `control-plane/${namespace}`;
  await collection.objects(`${at}/deployments.yaml`, () => api.list(DEPLOYMENTS, { namespace }));
  await collection.objects(`${at}/services.yaml`, () => api.list(SERVICES, { namespace }));
  await collection.objects(`${at}/events.yaml`, () => api.list(EVENTS, { namespace }));
  await collection.objects(`${at}/meshconfig.yaml`, () => listKind(api, "MeshConfig", namespace));
  let pods: Raw[] = [];
  await collection.objects(`${at}/pods.yaml`, async () => (pods = await api.list(PODS, { namespace })));
  for (const pod of pods) {
    await collectLogs(cluster, collection, pod, at);
    if (mapAt(pod, "metadata", "labels")[LABEL_APP] !== CONTROLLER) continue;
    for (const page of ["/api/proxies", "/api/problems", "/debug/work"])
      await collection.add(`${at}/${nameOf(pod)}${page}.json`, async () => {
        const port = { namespace, pod: nameOf(pod), port: CONTROLLER_DEBUG_PORT };
        return JSON.stringify(await cluster.askPodJson(port, page), undefined, 2);
      });
  }
}

async function applications(
  { api }: Cluster,
  options: BugReportOptions,
  collection: Collection,
): Promise<{ namespaces: string[]; pods: Raw[] }> {
  if (options.all) {
    const namespaces = (await monitoredNamespaces(api)).map(nameOf);
    const lists = await Promise.all(namespaces.map((namespace) => api.list(PODS, { namespace })));
    return { namespaces, pods: lists.flat().filter(hasSidecar) };
  }
  const pods: Raw[] = [];
  const missing = (what: string) => collection.errors.push(`${what}: there is none, or its name is not namespace/name`);
  for (const text of options.appPods) {
    const name = namespacedName(text);
    const pod = name && (await api.get(PODS, name));
    if (pod) pods.push(pod);
    else missing(`pod ${text}`);
  }
  for (const text of options.appDeployments) {
    const name = namespacedName(text);
    const deployment = name && (await api.get(DEPLOYMENTS, name));
    if (!deployment) {
      missing(`deployment ${text}`);
      continue;
    }
    await collection.objects(`deployments/${text}.yaml`, async () => [deployment]);
    const labels = Object.entries(mapAt(deployment, "spec", "selector", "matchLabels"));
    if (labels.length === 0) continue;
    const labelSelector = labels.map(([key, value]) => `${key}=${String(value)}`).join(",");
    pods.push(...(await api.list(PODS, { namespace: namespaceOf(deployment), labelSelector })));
  }
  const unique = [...new Map(pods.map((pod) => [fullName(pod), pod])).values()];
  return { namespaces: [...options.appNamespaces], pods: unique };
}

async function collectNamespace(
  { api }: Cluster,
  collection: Collection,
  namespace: string,
  ingress: boolean,
): Promise<void> {
  const at = `namespaces/${namespace}`;
  await collection.objects(`${at}/namespace.yaml`, async () => {
    const found = await api.get(NAMESPACES, { name: namespace });
    if (!found) throw new UserError("there is no such namespace");
    return [found];
  });
  await collection.objects(`${at}/services.yaml`, () => api.list(SERVICES, { namespace }));
  await collection.objects(`${at}/events.yaml`, () => api.list(EVENTS, { namespace }));
  for (const { kind, group } of KINDS)
    if (group.endsWith("smi-spec.io"))
      await collection.objects(`${at}/${kind.toLowerCase()}.yaml`, () => listKind(api, kind, namespace));
  if (!ingress) return;
  await collection.objects(`${at}/ingresses.yaml`, () => api.list(INGRESSES, { namespace }));
  await collection.objects(`${at}/ingressbackends.yaml`, () => api.list(INGRESS_BACKENDS, { namespace }));
}

async function collectPod(cluster: Cluster, collection: Collection, pod: Raw): Promise<void> {
  const at = `pods/${fullName(pod)}`;
  await collection.objects(`${at}/pod.yaml`, async () => [pod]);
  await collectLogs(cluster, collection, pod, "pods");
  if (!hasSidecar(pod)) return;
  const port = { namespace: namespaceOf(pod), pod: nameOf(pod), port: ADMIN_PORT };
  // Envoy leaves private keys out of its dump itself.
  for (const [query, file] of [
    ["/config_dump?include_eds", "config_dump.json"],
    ["/clusters", "clusters.txt"],
    ["/stats?usedonly", "stats.txt"],
    ["/server_info", "server_info.json"],
  ] as const)
    await collection.add(`${at}/envoy/${file}`, async () => (await cluster.askPod(port, query)).body);
}

async function collectLogs({ api }: Cluster, collection: Collection, pod: Raw, at: string): Promise<void> {
  const path = `/api/v1/namespaces/${namespaceOf(pod)}/pods/${nameOf(pod)}/log`;
  const place = at.startsWith("control-plane") ? `${at}/${nameOf(pod)}` : `${at}/${fullName(pod)}`;
  for (const container of containersOf(pod)) {
    const log = (previous: boolean) =>
      api.text(path, { container, previous, tailLines: LOG_LINES, limitBytes: LOG_BYTES }, LOG_BYTES);
    await collection.add(`${place}/logs/${container}.log`, () => log(false));
    // Only a container that was restarted has one.
    const before = await log(true).catch((error: unknown) => (isForbidden(error) ? undefined : ""));
    if (before) await collection.add(`${place}/logs/${container}.previous.log`, async () => before);
  }
}
