/**
 * Policy edits in a real Kubernetes with real Envoys: from the API server's answer to the first request that follows; and what the control
 * plane needs for a change, by the number of sidecars. Run: node bench/cluster.ts [rounds] [sidecars,sidecars…]
 */
import { cannotRunLive } from "../test/support/live-mesh.ts";
import { type Cluster, startCluster } from "../test/cluster/cluster.ts";
import { until } from "../test/cluster/exec.ts";
import { addNamespaces, importImages, installChart, podsOf, podsReady, say, SYSTEM } from "../test/cluster/install.ts";
import { importTrafficImage, startLoad, TRAFFIC_IMAGE, type Verdicts, watchVerdicts } from "../test/cluster/load.ts";
import {
  apply,
  changed,
  clientPod,
  deployment,
  server,
  SHOP,
  shop,
  split,
  target,
  urlOf,
} from "../test/cluster/shop.ts";
import { p50, p99, print, rounded, type Row } from "./table.ts";

const [roundsText = "50", sidecarsText = "10,40,80"] = process.argv.slice(2);
const ROUNDS = Number(roundsText);
const SIDECARS = sidecarsText.split(",").map(Number);
/** Idle connections that are asked after each edit, and changes of one kind for a figure of CPU. */
const IDLE = 12;
const CHANGES = 20;
/** Milliseconds: a change is over by then, and nothing happens for so long where the control plane's rest is measured. */
const OVER = 700;
const REST = 15_000;
const MOST_RESTS = 8;

const TARGETS = `/apis/access.smi-spec.io/v1alpha3/namespaces/${SHOP}/traffictargets`;
const SPLITS = `/apis/split.smi-spec.io/v1alpha2/namespaces/${SHOP}/trafficsplits`;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

type Weights = readonly [v1: number, v2: number];
const weighted = ([v1, v2]: Weights): readonly object[] => split("store", { v1, v2 });

async function main(): Promise<void> {
  const reason = cannotRunLive();
  if (reason !== undefined) {
    console.log(`\nA real cluster: not measured, ${reason}.`);
    return;
  }
  const cluster = await startCluster({ say });
  try {
    await importImages(cluster);
    await importTrafficImage(cluster, say);
    await installChart(cluster);
    await addNamespaces(cluster, [SHOP]);
    const servers = ["v1", "v2"].flatMap((name) => server({ name, replicas: 1, work: 0 }));
    await apply(cluster, [...shop(), ...servers, ...weighted([100, 0]), ...flipping(), ...idle(0)]);
    await podsReady(cluster, SHOP, 300_000);
    const idleLoad = async () => (await startLoad(cluster, await clientPod(cluster), urlOf("store"), 10)).stop();
    await until(
      async () => (await idleLoad()).failures.length === 0,
      () => "the client is not served",
      60_000,
    );
    await edits(cluster);
    await costs(cluster);
  } finally {
    cluster.stop();
  }
}

/** The time of an edit's effect. */
async function edits(cluster: Cluster): Promise<void> {
  const verdicts = await watchVerdicts(cluster, await clientPod(cluster), urlOf("store"), IDLE);
  const weigh = (weights: Weights) =>
    changed(cluster, "PATCH", `${SPLITS}/store`, { spec: (weighted(weights)[1] as { spec: object }).spec });
  const deny = () => changed(cluster, "DELETE", `${TARGETS}/clients`);
  const allow = () => changed(cluster, "POST", TARGETS, target("clients", "client"));
  const kinds = { deny: new Figures(), allow: new Figures(), weight: new Figures() };
  // Once for nothing: what is compiled is warm.
  for (let round = -1; round < ROUNDS; round++) {
    for (const [kind, wanted, edit] of [
      ["deny", 403, deny],
      ["allow", "v1", allow],
      ["weight", "v2", () => weigh([0, 100])],
      ["weight", "v1", () => weigh([100, 0])],
    ] as const)
      await kinds[kind].take(verdicts, wanted, edit, round >= 0);
  }
  verdicts.stop();
  print(
    "Policy edits in a cluster: the API server's answer to the first request that follows, ms",
    Object.entries(kinds).map(([kind, figures]) => figures.row(kind)),
    [
      `old: requests that followed the former verdict after one had followed the new one; ${IDLE} idle connections are asked each time`,
      "the control plane lets policies settle for 20 ms; below 0: the effect was there before the API server's answer",
    ],
  );
}

class Figures {
  readonly #times: number[] = [];
  #requests = 0;
  #errors = 0;
  #old = 0;

  async take(verdicts: Verdicts, wanted: string | 403, edit: () => Promise<number>, counts: boolean): Promise<void> {
    const { changed: seen } = await verdicts.watch(wanted);
    const answered = await edit();
    const { at, requests, errors, old } = await seen;
    if (!counts) return;
    this.#times.push(at - answered);
    this.#requests += requests;
    this.#errors += errors.length;
    this.#old += old.length;
  }

  row(edit: string): Row {
    const [times, requests] = [this.#times, this.#requests];
    return {
      edit,
      rounds: times.length,
      p50: rounded(p50(times)),
      p99: rounded(p99(times)),
      requests,
      errors: this.#errors,
      old: this.#old,
    };
  }
}

/** Sidecars that no change concerns: pods of an account that may call nobody. */
const idle = (replicas: number): readonly object[] => [
  { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "idle", namespace: SHOP } },
  deployment("idle", "idle", replicas, { image: TRAFFIC_IMAGE, command: ["sleep", "infinity"] }),
];

/** A server that is ready as long as a file is not there. */
function flipping(): readonly object[] {
  const [made, service] = server({ name: "flip", replicas: 1, work: 0 });
  const { spec } = made as { spec: { template: { spec: { containers: { readinessProbe?: object }[] } } } };
  const [container] = spec.template.spec.containers;
  container!.readinessProbe = {
    exec: { command: ["test", "!", "-e", "/tmp/away"] },
    periodSeconds: 1,
    failureThreshold: 1,
  };
  return [made!, service!];
}

/** What the control plane needs for a change. */
async function costs(cluster: Cluster): Promise<void> {
  const rows: Row[] = [];
  for (const sidecars of SIDECARS) {
    const others = (await podsOf(cluster, SHOP)).filter((pod) => pod.metadata.labels?.["app"] !== "idle").length;
    await cluster.kubectl(["scale", "deployment/idle", "-n", SHOP, `--replicas=${Math.max(0, sidecars - others)}`]);
    await podsReady(cluster, SHOP, 1_200_000);
    const planes = await Promise.all(
      (await podsOf(cluster, SYSTEM, "app=osm-controller")).map((pod) => Plane.of(cluster, pod.metadata.name)),
    );
    let rest = await calm(planes);
    for (const [change, make] of Object.entries(changes(cluster))) {
      const start = performance.now();
      const from = await Promise.all(planes.map((plane) => plane.look()));
      for (let n = 0; n < CHANGES; n++) {
        await make(n % 2 === 0);
        await sleep(OVER);
      }
      const to = await Promise.all(planes.map((plane) => plane.look()));
      const took = performance.now() - start;
      const after = await restOf(planes);
      // Without what it would have used anyway.
      const anyway = planes.map((_, i) => ((rest[i]! + after[i]!) / 2) * took);
      const cpu = planes.map((_, i) => (to[i]!.cpu - from[i]!.cpu - anyway[i]!) / CHANGES);
      rest = after;
      const leader = to.findIndex(({ leads }) => leads);
      rows.push({
        sidecars,
        change,
        "CPU of the leader": rounded(cpu[leader] ?? Number.NaN),
        "CPU of others": rounded(Math.max(...cpu.filter((_, i) => i !== leader))),
        "RSS MB": rounded(Math.max(...to.map(({ rss }) => rss))),
        "goal MB": rounded(120 + 0.2 * sidecars),
      });
    }
  }
  print("The control plane, by the number of real sidecars: CPU of one change, ms", rows, [
    `mean of ${CHANGES} changes, less what the process uses at rest; the leader also writes the object's status`,
    "RSS MB: the larger replica's, after the changes; goal: 120 MB and 0.2 MB a sidecar; CPU: 5 ms or less, however many sidecars there are",
  ]);
}

/** Milliseconds of CPU in each millisecond in which nothing happens. */
async function restOf(planes: readonly Plane[]): Promise<readonly number[]> {
  const before = await Promise.all(planes.map((plane) => plane.look()));
  await sleep(REST);
  const after = await Promise.all(planes.map((plane) => plane.look()));
  return planes.map((_, i) => (after[i]!.cpu - before[i]!.cpu) / REST);
}

/** What it is once the sidecars that came are served: when it falls no more. */
async function calm(planes: readonly Plane[]): Promise<readonly number[]> {
  let last = await restOf(planes);
  for (let i = 0; i < MOST_RESTS; i++) {
    const next = await restOf(planes);
    if (next.every((one, at) => one > last[at]! * 0.85)) return next;
    last = next;
  }
  return last;
}

/** Changes that concern one server and its client, each with its way back. */
function changes(cluster: Cluster): Readonly<Record<string, (away: boolean) => Promise<unknown>>> {
  const source = (name: string) => ({ kind: "ServiceAccount", name, namespace: SHOP });
  const slices = `/apis/discovery.k8s.io/v1/namespaces/${SHOP}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dflip`;
  const isReady = async (): Promise<boolean> => {
    const { items } = JSON.parse((await cluster.call("GET", slices)).body) as {
      items: { endpoints: { conditions: { ready: boolean } }[] | null }[];
    };
    return items.some(({ endpoints }) => endpoints?.some(({ conditions }) => conditions.ready));
  };
  return {
    policy: (away) => {
      const sources = away ? [source("client"), source("other")] : [source("client")];
      return changed(cluster, "PATCH", `${TARGETS}/clients`, { spec: { sources } });
    },
    weight: (away) =>
      changed(cluster, "PATCH", `${SPLITS}/store`, {
        spec: (weighted(away ? [60, 40] : [100, 0])[1] as { spec: object }).spec,
      }),
    endpoint: async (away) => {
      const command = away ? ["touch", "/tmp/away"] : ["rm", "/tmp/away"];
      await cluster.kubectl(["exec", "-n", SHOP, "deployment/flip", "-c", "app", "--", ...command]);
      await until(
        async () => (await isReady()) !== away,
        () => "the endpoint does not change",
        30_000,
        100,
      );
    },
  };
}

/** One controller's process, as the node's /proc shows it. */
class Plane {
  readonly #cluster: Cluster;
  readonly #pod: string;
  readonly #pid: string;

  private constructor(cluster: Cluster, pod: string, pid: string) {
    this.#cluster = cluster;
    this.#pod = pod;
    this.#pid = pid;
  }

  static async of(cluster: Cluster, pod: string): Promise<Plane> {
    const path = "jsonpath={.status.containerStatuses[0].containerID}";
    const id = (await cluster.kubectl(["get", "pod", pod, "-n", SYSTEM, "-o", path])).replace("containerd://", "");
    const line = (await cluster.ctr(["tasks", "list"])).split("\n").find((text) => text.startsWith(id));
    const pid = line?.split(/\s+/)[1];
    if (id === "" || pid === undefined) throw new Error(`${pod} has no process`);
    return new Plane(cluster, pod, pid);
  }

  /** Milliseconds of CPU so far, resident megabytes, and whether it leads. */
  async look(): Promise<{ readonly cpu: number; readonly rss: number; readonly leads: boolean }> {
    const [tasks, status, metrics] = await Promise.all([
      this.#cluster.nodeExec(["sh", "-c", `cat /proc/${this.#pid}/task/*/schedstat`]),
      this.#cluster.nodeExec(["cat", `/proc/${this.#pid}/status`]),
      this.#cluster.call("GET", `/api/v1/namespaces/${SYSTEM}/pods/${this.#pod}:9091/proxy/metrics`),
    ]);
    const nanoseconds = tasks
      .trim()
      .split("\n")
      .reduce((sum, line) => sum + Number(line.split(" ")[0]), 0);
    return {
      cpu: nanoseconds / 1e6,
      rss: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1024,
      leads: /^heddle_leader 1$/m.test(metrics.body),
    };
  }
}

await main();
