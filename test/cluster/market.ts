/**
 * A mesh in a cluster for tests of bad days: a store, a buyer who calls it all the time and counts, a thief who may or may not.
 * Knows no test. What it asks of pods goes through the node, so that it works without the API server.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { KubernetesClient } from "../../src/sources/kubernetes/client.ts";
import type { Raw, Resource } from "../../src/sources/kubernetes/resource.ts";
import { ROOT, until } from "../support/live-mesh.ts";
import { type ApiReply, callApi } from "./api.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import {
  addNamespaces,
  HEDDLE_IMAGE,
  importImages,
  installChart,
  type Pod,
  podsOf,
  podsReady,
  say,
} from "./install.ts";

/** In the mesh, and not. */
export const SHOP = "shop";
export const OUTSIDE = "outside";

export const TARGETS: Resource = { group: "access.smi-spec.io", version: "v1alpha3", plural: "traffictargets" };
export const ROUTES: Resource = { group: "specs.smi-spec.io", version: "v1alpha4", plural: "httproutegroups" };
export const SPLITS: Resource = { group: "split.smi-spec.io", version: "v1alpha4", plural: "trafficsplits" };
export const PODS: Resource = { group: "", version: "v1", plural: "pods" };

/** The buyers' port for tests: not the mesh's. */
const CONTROL = 9000;
/** Milliseconds between a buyer's calls. */
const PACE = 50;

const SERVER = `require("node:http").createServer((q, r) => {
  q.resume(); r.end(process.env.SAYS);
}).listen(8080)`;

/** Calls for ever when PACE is set; answers at CONTROL: /counts, /pause, /go, /call?url=…&NAME=VALUE for headers. */
const CALLER = `const http = require("node:http");
const kept = new http.Agent({ keepAlive: true }), fresh = new http.Agent();
let counts = {}, failures = [], n = 0, going = !!process.env.PACE;
const call = (url, agent, headers = {}) => new Promise((done) => {
  const q = http.request(url, { agent, headers, timeout: 10000 }, (r) => {
    let body = ""; r.on("data", (d) => body += d); r.on("end", () => done({ status: r.statusCode, body }));
    r.on("error", (e) => done({ status: 0, body: String(e) }));
  });
  q.on("timeout", () => q.destroy(new Error("timed out"))); q.on("error", (e) => done({ status: 0, body: String(e) })); q.end();
});
if (process.env.PACE) setInterval(async () => {
  if (!going) return;
  const { status, body } = await call("http://store.shop/", n++ % 4 ? kept : fresh);
  counts[status] = (counts[status] ?? 0) + 1;
  if (status !== 200 && failures.length < 10) failures.push(new Date().toISOString() + " " + status + " " + body.slice(0, 200));
}, Number(process.env.PACE));
http.createServer(async (q, r) => {
  const u = new URL(q.url, "http://x");
  const headers = Object.fromEntries([...u.searchParams].filter(([k]) => k !== "url"));
  if (u.pathname === "/call") return r.end(JSON.stringify(await call(u.searchParams.get("url"), fresh, headers)));
  if (u.pathname === "/pause") going = false;
  if (u.pathname === "/go") { going = true; counts = {}; failures = []; }
  r.end(JSON.stringify({ counts, failures }));
}).listen(${CONTROL})`;

interface Workload {
  readonly name: string;
  readonly account: string;
  readonly script: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly namespace?: string;
}

/** A Deployment of one pod that runs a script in our own image, which has Node. */
const deployment = ({ name, account, script, env = {}, namespace = SHOP }: Workload): Raw => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name, namespace },
  spec: {
    selector: { matchLabels: { app: name } },
    template: {
      metadata: {
        labels: { app: name },
        annotations: { "openservicemesh.io/inbound-port-exclusion-list": String(CONTROL) },
      },
      spec: {
        serviceAccountName: account,
        terminationGracePeriodSeconds: 2,
        containers: [
          {
            name: "app",
            image: HEDDLE_IMAGE,
            command: ["node", "-e", script],
            env: Object.entries(env).map(([key, value]) => ({ name: key, value })),
            ports: [{ containerPort: 8080 }],
            // Of those whom nobody calls: a busy machine takes no server away.
            ...(script === CALLER ? { readinessProbe: { tcpSocket: { port: CONTROL }, periodSeconds: 1 } } : {}),
          },
        ],
      },
    },
  },
});

const service = (name: string, app: string): Raw => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: SHOP },
  spec: { selector: { app }, ports: [{ name: "http", port: 80, targetPort: 8080 }] },
});

const account = (name: string): Raw => ({
  apiVersion: "v1",
  kind: "ServiceAccount",
  metadata: { name, namespace: SHOP },
});

const subject = (name: string): Raw => ({ kind: "ServiceAccount", name, namespace: SHOP });

/** Who may call the store. */
export const target = (...sources: readonly string[]): Raw => ({
  apiVersion: "access.smi-spec.io/v1alpha3",
  kind: "TrafficTarget",
  metadata: { name: "store", namespace: SHOP },
  spec: {
    destination: subject("store"),
    sources: sources.map(subject),
    rules: [{ kind: "HTTPRouteGroup", name: "all", matches: ["all"] }],
  },
});

export const routes = (name: string, matches: unknown = [{ name: "all", pathRegex: ".*", methods: ["*"] }]): Raw => ({
  apiVersion: "specs.smi-spec.io/v1alpha4",
  kind: "HTTPRouteGroup",
  metadata: { name, namespace: SHOP },
  spec: { matches },
});

/** All of `parted`'s calls go to `other`. */
export const SPLIT: Raw = {
  apiVersion: "split.smi-spec.io/v1alpha4",
  kind: "TrafficSplit",
  metadata: { name: "parted", namespace: SHOP },
  spec: { service: "parted", backends: [{ service: "other", weight: 1 }] },
};

export interface Called {
  /** 0: no answer. */
  readonly status: number;
  readonly body: string;
}

export interface Counted {
  /** Answers by status. */
  readonly counts: Readonly<Record<string, number>>;
  /** The first that were not 200. */
  readonly failures: readonly string[];
}

/** Asks URLs from inside the node: one program for all, as tests look again and again. */
class Relay {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (body: string) => void; reject: (error: Error) => void }>();
  #next = 1;

  constructor(cluster: Cluster) {
    const script = `require("node:readline").createInterface({ input: process.stdin }).on("line", async (line) => {
      const { id, url } = JSON.parse(line);
      const answer = await fetch(url).then(async (r) => ({ body: await r.text() }), (e) => ({ error: String(e.cause ?? e) }));
      console.log(JSON.stringify({ id, ...answer }));
    }).on("close", () => process.exit(0))`;
    const [program = "", ...args] = cluster.nodeCommand([process.execPath, "-e", script]);
    this.#child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
      const { id, body, error } = JSON.parse(line) as { id: number; body?: string; error?: string };
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (body === undefined) waiting?.reject(new Error(error));
      else waiting?.resolve(body);
    });
    this.#child.once("exit", (code) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the relay in the node ended (${code})`));
    });
  }

  fetch(url: string): Promise<string> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.stdin?.write(`${JSON.stringify({ id, url })}\n`);
    });
  }

  end(): void {
    this.#child.stdin?.end();
  }
}

export class Market {
  readonly cluster: Cluster;
  /** As the admin. */
  readonly client: KubernetesClient;
  readonly #relay: Relay;
  readonly #addresses = new Map<string, string>();
  readonly #ending = new AbortController();
  #thiefMay = false;

  private constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.#relay = new Relay(cluster);
    const { url, ca, cert, key } = cluster.api;
    const config = { server: url, namespace: SHOP, ca, clientCertificate: cert, clientKey: key };
    this.client = new KubernetesClient({ config });
  }

  /** A cluster, the chart with its defaults, and the shop in it, ready. */
  static async open(): Promise<Market> {
    const cluster = await startCluster({ say });
    try {
      await importImages(cluster);
      await installChart(cluster);
      const shop = new Market(cluster);
      await cluster.kubectl(["create", "namespace", OUTSIDE]);
      await addNamespaces(cluster, [SHOP]);
      const objects = [
        ...["store", "buyer", "thief"].map(account),
        ...["store", "parted"].map((name) => service(name, "store")),
        service("other", "other"),
        deployment({ name: "store", account: "store", script: SERVER, env: { SAYS: "store" } }),
        deployment({ name: "other", account: "store", script: SERVER, env: { SAYS: "other" } }),
        deployment({ name: "buyer", account: "buyer", script: CALLER, env: { PACE: String(PACE) } }),
        deployment({ name: "thief", account: "thief", script: CALLER }),
        target("buyer"),
        routes("all"),
        SPLIT,
      ];
      await shop.kubectlApply(...objects);
      const pods = await podsReady(cluster, SHOP, 180_000);
      for (const { metadata, status } of pods) shop.#addresses.set(metadata.labels?.["app"] ?? "", status.podIP ?? "");
      await until("the buyer may buy", async () => (await shop.call("buyer")).status === 200, 60_000);
      return shop;
    } catch (error) {
      cluster.stop();
      throw error;
    }
  }

  close(): void {
    this.#ending.abort();
    this.#relay.end();
    this.client.close();
    this.cluster.stop();
  }

  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  kubectl(...args: string[]): Promise<string> {
    return this.cluster.kubectl(args);
  }

  async kubectlApply(...items: readonly Raw[]): Promise<void> {
    await this.cluster.kubectl(["apply", "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  }

  /** One request as the admin, and the answer as it is. */
  ask(method: string, path: string, body?: object): Promise<ApiReply> {
    return callApi(this.cluster.api, method, path, body);
  }

  apply(resource: Resource, object: Raw): Promise<Raw> {
    return this.client.apply(resource, object, { manager: "test", force: true }, this.#ending.signal);
  }

  get(resource: Resource, name: string, namespace = SHOP): Promise<Raw | undefined> {
    return this.client.get(resource, { namespace, name }, this.#ending.signal);
  }

  /** One call from a pod of this name. */
  call(who: string, url = "http://store.shop/", headers: Readonly<Record<string, string>> = {}): Promise<Called> {
    return this.#control(who, `/call?${new URLSearchParams({ ...headers, url }).toString()}`) as Promise<Called>;
  }

  /** What the buyer counted since it was told to go. */
  counted(): Promise<Counted> {
    return this.#control("buyer", "/counts") as Promise<Counted>;
  }
  async pause(): Promise<void> {
    await this.#control("buyer", "/pause");
  }
  async go(): Promise<void> {
    await this.#control("buyer", "/go");
  }

  /** Resolves when the buyer's calls went on for so many more, without looking at what came of them. */
  async traffic(calls: number): Promise<void> {
    const sum = ({ counts }: Counted) => Object.values(counts).reduce((a, b) => a + b, 0);
    const before = sum(await this.counted());
    await until(`${calls} more calls`, async () => sum(await this.counted()) >= before + calls, 60_000);
  }

  /** A policy is edited: the thief may call, or may no longer. Resolves when that is enforced. */
  async edit(timeout = 30_000): Promise<void> {
    const may = (this.#thiefMay = !this.#thiefMay);
    await this.apply(TARGETS, target("buyer", ...(may ? ["thief"] : [])));
    await this.enforced(timeout);
  }

  /** The thief may not call. */
  async forbid(): Promise<void> {
    if (this.#thiefMay) await this.edit();
  }

  /** Resolves when the thief is treated as the last `edit` says. */
  async enforced(timeout = 30_000): Promise<void> {
    const status = this.#thiefMay ? 200 : 403;
    await until(`the thief gets ${status}`, async () => (await this.call("thief")).status === status, timeout);
  }

  /** The target of the last `edit`, for those who have to make it anew. */
  get target(): Raw {
    return target("buyer", ...(this.#thiefMay ? ["thief"] : []));
  }

  /** Asks a pod, or anything else that the node reaches; the answer is the body. */
  fetch(url: string): Promise<string> {
    return this.#relay.fetch(url);
  }

  async #control(who: string, path: string): Promise<unknown> {
    return JSON.parse(await this.fetch(`http://${this.#addresses.get(who)}:${CONTROL}${path}`)) as unknown;
  }

  /** Pods of the control plane that run: `osm-controller` or `osm-injector`. */
  async controlPlane(app: string): Promise<readonly Pod[]> {
    const pods = await podsOf(this.cluster, "heddle-system", `app=${app}`);
    return pods.filter((pod) => pod.metadata.deletionTimestamp === undefined);
  }

  /** The log of every pod of an app of the control plane. */
  logs(app: string): Promise<string> {
    return this.kubectl("logs", "-n", "heddle-system", "-l", `app=${app}`, "--tail=-1", "--prefix");
  }

  /** A metric of the controllers, summed. `labels` as they stand in the text: `kind="Pod"`. */
  async metric(name: string, labels = ""): Promise<number> {
    const lines = await this.#metrics(name, labels);
    return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }

  /** How many series a metric of the controllers has. */
  async series(name: string): Promise<number> {
    return (await this.#metrics(name, "")).length;
  }

  async #metrics(name: string, labels: string): Promise<string[]> {
    const pods = await this.controlPlane("osm-controller");
    const texts = await Promise.all(pods.map(({ status }) => this.fetch(`http://${status.podIP}:9091/metrics`)));
    return texts.flatMap((text) => text.split("\n").filter((line) => line.startsWith(name) && line.includes(labels)));
  }

  /** Resident memory of each process of a role, in MB. */
  async memory(role: "controller" | "injector"): Promise<readonly number[]> {
    const script = `const fs = require("fs");
      for (const p of fs.readdirSync("/proc").filter((n) => /^\\d+$/.test(n))) try {
        const [, , is] = fs.readFileSync("/proc/" + p + "/cmdline", "utf8").split("\\0");
        if (is === ${JSON.stringify(role)}) console.log(/VmRSS:\\s+(\\d+)/.exec(fs.readFileSync("/proc/" + p + "/status", "utf8"))[1]);
      } catch {}`;
    const said = await this.cluster.nodeExec([process.execPath, "-e", script]);
    return said
      .trim()
      .split("\n")
      .map((kb) => Math.round(Number(kb) / 1024));
  }
}

/** A file of the chart's CRDs. */
export const crd = (name: string): string => join(ROOT, "charts/heddle/files/crds", `${name}.yaml`);

/** A file of the cluster's own keys. */
export const pki = (cluster: Cluster, name: string): string =>
  readFileSync(join(cluster.directory, "pki", name), "utf8");

/** openssl, in a directory. */
export const openssl = (directory: string, ...args: string[]): string =>
  execFileSync("openssl", args, { cwd: directory, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
