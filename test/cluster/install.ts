/**
 * The steps from an empty cluster to a mesh with applications, as a user takes them: images, chart, namespaces, manifests; and a look at
 * what runs then. Knows no test.
 */
import { join } from "node:path";
import { OSM_MANIFESTS, ROOT, until } from "../support/live-mesh.ts";
import type { Cluster } from "./cluster.ts";
import { exec } from "./exec.ts";
import { buildImage } from "./images.ts";
import { envoyImage, helm } from "./users-tools.ts";

/** The control plane's namespace. */
export const SYSTEM = "heddle-system";
/** As the chart's defaults name them. */
export const HEDDLE_IMAGE = "docker.io/heddle/heddle:0.1.0";
export const ENVOY_IMAGE = "docker.io/envoyproxy/envoy:distroless-v1.40.0";

export const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** Builds Heddle's image from the Dockerfile and Envoy's from its binary, and puts both into the node: under the chart's names, and `more` for Heddle's. */
export async function importImages(cluster: Cluster, more: readonly string[] = []): Promise<void> {
  const heddle = await buildImage(join(ROOT, "Dockerfile"), ROOT, HEDDLE_IMAGE, { network: true }, say);
  await cluster.importImage(heddle, more);
  await cluster.importImage(await envoyImage(ENVOY_IMAGE, say));
}

export interface ChartOptions {
  /** The version of helm; 4 when not given. */
  readonly helm?: 3 | 4;
  /** Values that are not the defaults: key with dots → value, as `--set` takes them. */
  readonly set?: Readonly<Record<string, string | number | boolean>>;
  /** Further arguments, `--reset-values` for example. */
  readonly more?: readonly string[];
}

/** helm on this cluster, with no file outside of its directory; the answer is its standard output. */
export async function runHelm(cluster: Cluster, args: readonly string[], version: 3 | 4 = 4): Promise<string> {
  const env = Object.fromEntries(
    ["CACHE", "CONFIG", "DATA"].map((kind) => [`HELM_${kind}_HOME`, join(cluster.directory, "helm")]),
  );
  return exec([await helm(version), ...args, "--kubeconfig", cluster.kubeconfig], { timeout: 300_000, env });
}

/** `helm install` of the chart; resolves when the control plane is ready. The images must be there. */
export const installChart = (cluster: Cluster, options: ChartOptions = {}): Promise<string> =>
  runChart(cluster, "install", ["--create-namespace"], options);

/** `helm upgrade` with the values of the installation, changed by `set`; resolves when the new control plane is ready. */
export const upgradeChart = (cluster: Cluster, options: ChartOptions = {}): Promise<string> =>
  runChart(cluster, "upgrade", ["--reuse-values"], options);

function runChart(cluster: Cluster, verb: string, args: readonly string[], options: ChartOptions): Promise<string> {
  const values = Object.entries(options.set ?? {}).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
  const what = [verb, "heddle", join(ROOT, "charts/heddle"), "-n", SYSTEM];
  const patience = ["--wait", "--timeout", "4m"];
  return runHelm(cluster, [...what, ...patience, ...args, ...values, ...(options.more ?? [])], options.helm);
}

/** The command `heddle` as the cluster's admin; the answer is its standard output. */
export const heddle = (cluster: Cluster, args: readonly string[]): Promise<string> =>
  exec([join(ROOT, "bin/heddle"), ...args], { timeout: 120_000, env: { KUBECONFIG: cluster.kubeconfig } });

/** Makes namespaces and adds them to the mesh. */
export async function addNamespaces(cluster: Cluster, names: readonly string[]): Promise<void> {
  for (const name of names) await cluster.kubectl(["create", "namespace", name]);
  await heddle(cluster, ["namespace", "add", ...names, "--osm-namespace", SYSTEM]);
}

export const BOOKSTORE_NAMESPACES = ["bookbuyer", "bookthief", "bookstore", "bookwarehouse"] as const;
/** What bookbuyer and bookthief call. */
export const BUY = "http://bookstore.bookstore:14001/buy-a-book/new";
/** One of OSM's own manifests. */
export const osm = (path: string): string => join(OSM_MANIFESTS, path);

/** The cluster has no storage class; mysql's claim takes this volume. */
const VOLUME = {
  apiVersion: "v1",
  kind: "PersistentVolume",
  metadata: { name: "data" },
  spec: {
    capacity: { storage: "1Gi" },
    accessModes: ["ReadWriteOnce"],
    hostPath: { path: "/tmp/data", type: "DirectoryOrCreate" },
  },
};

/** Puts images of our applications into the registry, under the names that OSM's manifests (and `examples/bookstore`) use. */
export async function pushBookstoreImages(cluster: Cluster): Promise<void> {
  const folder = join(ROOT, "examples/bookstore");
  const apps = await buildImage(join(folder, "Dockerfile"), folder, "bookstore-apps:test", {}, say);
  for (const name of BOOKSTORE_NAMESPACES) await cluster.pushImage(apps, `openservicemesh/${name}:latest-main`);
  await cluster.pushImage(apps, "mysql:5.6");
}

/** OSM's own manifests, unchanged, in the mesh: namespaces, images, applications, and its policies. Does not wait for pods. */
export async function applyBookstore(cluster: Cluster): Promise<void> {
  await pushBookstoreImages(cluster);
  await addNamespaces(cluster, BOOKSTORE_NAMESPACES);
  await cluster.kubectl(["apply", "-f", "-"], JSON.stringify(VOLUME));
  for (const app of ["bookbuyer", "bookthief", "bookstore", "bookstore-v2", "bookwarehouse", "mysql"])
    await cluster.kubectl(["apply", "-f", osm(`apps/${app}.yaml`)]);
  const policies = ["access/traffic-access-v1.yaml", "split/traffic-split-50-50.yaml"];
  await cluster.kubectl(["apply", ...policies.flatMap((path) => ["-f", osm(path)])]);
}

/** What tests look at in a pod. */
export interface Pod {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
  readonly spec: {
    readonly initContainers?: readonly { readonly name: string; readonly restartPolicy?: string }[];
    readonly containers: readonly { readonly name: string }[];
  };
  readonly status: {
    readonly phase: string;
    readonly podIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

/** @param selector - labels, as `app=web`; all pods when not given */
export async function podsOf(cluster: Cluster, namespace: string, selector?: string): Promise<readonly Pod[]> {
  const query = selector === undefined ? "" : `?labelSelector=${encodeURIComponent(selector)}`;
  const { body } = await cluster.call("GET", `/api/v1/namespaces/${namespace}/pods${query}`);
  return (JSON.parse(body) as { items: readonly Pod[] }).items;
}

export const isReady = (pod: Pod): boolean =>
  pod.status.conditions?.some((c) => c.type === "Ready" && c.status === "True") ?? false;

/** Resolves with the namespace's pods when there are some and all are ready. */
export async function podsReady(cluster: Cluster, namespace: string, timeout = 120_000): Promise<readonly Pod[]> {
  const ready = async (): Promise<boolean> => {
    const pods = await podsOf(cluster, namespace);
    return pods.length > 0 && pods.every(isReady);
  };
  await until(`the pods of ${namespace} are ready`, ready, timeout);
  return podsOf(cluster, namespace);
}

/** What a call from the first pod of a namespace gives: status, a space, the body. Its application has Node and the namespace's name. */
export async function callFrom(cluster: Cluster, namespace: string, url: string): Promise<string> {
  const [pod] = await podsOf(cluster, namespace);
  const script = `fetch(${JSON.stringify(url)}).then(async (r) => console.log(r.status, await r.text()), (e) => console.log(0, String(e)))`;
  const where = ["-n", namespace, pod?.metadata.name ?? "", "-c", namespace];
  return (await cluster.kubectl(["exec", ...where, "--", "node", "-e", script])).trim();
}
