/**
 * What a cluster of 30,000 pods costs to follow: heap per pod, time to read it, and how long an event takes from the server's socket to
 * the world. The server is a process of its own. Run: node bench/reflector.ts [pods]
 */
import { fork } from "node:child_process";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { KubernetesClient } from "../src/sources/kubernetes/client.ts";
import { KubernetesSource } from "../src/sources/kubernetes/source.ts";
import type { Sink } from "../src/sources/sink.ts";
import { createLog } from "../src/telemetry/log.ts";
import type { Change, Pod } from "../src/world/types.ts";
import { Store } from "../src/world/store.ts";
import { collect } from "./rpc.ts";
import { FakeApiServer, type Json } from "../test/support/fake-api-server.ts";

const NAMESPACES = 30;
const PER_DEPLOYMENT = 20;
/** Events per second, and how many: what such a cluster makes on a busy day, in a rolling restart, and in a storm. */
const LOADS: readonly Order[] = [
  { rate: 100, events: 1_000 },
  { rate: 500, events: 5_000 },
  { rate: 1e9, events: 20_000 },
];

/** The server holds whole pods: its collections of garbage must not be taken for ours. */
const SERVER = ["--expose-gc", "--max-semi-space-size=256"];
/** Before anything is measured: code is compiled when it has run for a while. */
const WARM: Order = { rate: 1e9, events: 5_000 };

const nanoseconds = (): number => Number(process.hrtime.bigint());
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A pod as large as they are: managed fields, environment, volumes and status of a container and its sidecar. */
function bigPod(i: number, turn: number): Json {
  const namespace = `team-${i % NAMESPACES}`;
  const app = `app-${Math.floor(i / NAMESPACES / PER_DEPLOYMENT)}`;
  const name = `${app}-6c9f7d8b5d-${i.toString(36).padStart(5, "0")}`;
  const container = (of: string, port: number) => ({
    name: of,
    image: `registry.example.com/team/${of}:v1.2.3`,
    ports: [{ name: "http", containerPort: port, protocol: "TCP" }],
    env: Array.from({ length: 12 }, (_, n) => ({ name: `SETTING_${n}`, value: `value-${n}-of-${of}` })),
    resources: { limits: { cpu: "500m", memory: "256Mi" }, requests: { cpu: "100m", memory: "128Mi" } },
    volumeMounts: [{ name: "token", mountPath: "/var/run/secrets/kubernetes.io/serviceaccount", readOnly: true }],
    terminationMessagePath: "/dev/termination-log",
    imagePullPolicy: "IfNotPresent",
  });
  const managed = (manager: string) => ({
    manager,
    operation: "Update",
    apiVersion: "v1",
    time: "2026-01-01T00:00:00Z",
    fieldsType: "FieldsV1",
    fieldsV1: Object.fromEntries(
      Array.from({ length: 40 }, (_, n) => [`f:field${n}`, { "f:name": {}, "f:value": {} }]),
    ),
  });
  const condition = (type: string) => ({
    type,
    status: "True",
    lastProbeTime: null,
    lastTransitionTime: "2026-01-01T00:00:00Z",
  });
  return {
    metadata: {
      namespace,
      name,
      generateName: `${app}-6c9f7d8b5d-`,
      labels: {
        app,
        "pod-template-hash": "6c9f7d8b5d",
        "osm-proxy-uuid": `0b5e1f6a-7d1c-4a5e-9c1d-${i.toString(16).padStart(12, "0")}`,
      },
      annotations: { "prometheus.io/scrape": "true", "openservicemesh.io/sidecar-injection": "enabled" },
      ownerReferences: [
        { apiVersion: "apps/v1", kind: "ReplicaSet", name: `${app}-6c9f7d8b5d`, uid: "u", controller: true },
      ],
      managedFields: [managed("kube-controller-manager"), managed("kubelet")],
    },
    spec: {
      serviceAccountName: app,
      nodeName: `node-${i % 300}`,
      containers: [container("app", 8080), container("envoy", 15_000)],
      volumes: [
        {
          name: "token",
          projected: { sources: [{ serviceAccountToken: { path: "token", expirationSeconds: 3607 } }] },
        },
      ],
      tolerations: [
        { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 },
      ],
      // Where the time of an event travels in the bench.
      ...(turn > 0 ? { hostname: `t${nanoseconds()}` } : {}),
    },
    status: {
      phase: "Running",
      podIP: `10.${64 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`,
      podIPs: [{ ip: `10.${64 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}` }],
      conditions: ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition),
      containerStatuses: ["app", "envoy"].map((of) => ({
        name: of,
        ready: true,
        restartCount: 0,
        containerID: `containerd://${"0123456789abcdef".repeat(4)}`,
        imageID: `registry.example.com/team/${of}@sha256:${"0123456789abcdef".repeat(4)}`,
        state: { running: { startedAt: "2026-01-01T00:00:00Z" } },
      })),
    },
  };
}

/** The server's process: fills itself, says where it is, and changes pods as fast as it is told. */
async function serve(pods: number, watchList: boolean): Promise<void> {
  const server = await FakeApiServer.start({ watchList });
  const collection = server.of("pods");
  for (let i = 0; i < pods; i++) collection.create(bigPod(i, 0));
  process.send?.({ url: server.url, bytes: JSON.stringify(bigPod(0, 0)).length });
  process.on("message", (order: Order) => void send(order));
  process.on("disconnect", () => process.exit(0));
  async function send({ rate, events }: Order): Promise<void> {
    collect();
    const begun = performance.now();
    for (let sent = 0; sent < events;) {
      const due = Math.min(events, sent + 200, ((performance.now() - begun) / 1_000) * rate);
      for (; sent < due; sent++) collection.put(bigPod((sent * 7_919) % pods, 1));
      // What a watch that is just being opened has not got yet stays.
      if (collection.history.length > 10_000) collection.history = collection.history.slice(-5_000);
      await (rate > 1e6 ? new Promise((resolve) => setImmediate(resolve)) : sleep(1));
    }
  }
}

interface Order {
  readonly rate: number;
  readonly events: number;
}

/** Times from the server's process to here, in milliseconds. */
class Times {
  readonly #times: number[] = [];
  readonly #wanted: number;
  readonly #done = Promise.withResolvers<void>();

  constructor(wanted: number) {
    this.#wanted = wanted;
  }

  get done(): Promise<void> {
    return this.#done.promise;
  }

  take(hostname: unknown, now: number): void {
    this.#times.push((now - Number(String(hostname).slice(1))) / 1e6);
    if (this.#times.length === this.#wanted) this.#done.resolve();
  }

  get text(): string {
    const sorted = this.#times.toSorted((a, b) => a - b);
    const at = (share: number): string => (sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(2);
    return `p50 ${at(0.5)} p99 ${at(0.99)} max ${at(0.99999)} ms`;
  }
}

/** The same events through a bare watch that parses them and does nothing else. */
async function floor(url: string, order: Order, send: (order: Order) => void): Promise<string> {
  const client = new KubernetesClient({ config: { server: url, namespace: "default" } });
  const stop = new AbortController();
  const times = new Times(order.events);
  const resource = { group: "", version: "v1", plural: "pods" };
  const { resourceVersion } = await client.list(resource, { limit: 1 }, stop.signal);
  const watch = async () => {
    for await (const batch of client.watch(resource, { from: resourceVersion, seconds: 600 }, stop.signal)) {
      const now = nanoseconds();
      for (const { object } of batch) times.take((object["spec"] as Json)["hostname"], now);
    }
  };
  void watch().catch(() => {});
  send(order);
  await times.done;
  stop.abort();
  client.close();
  return times.text;
}

async function measure(pods: number, watchList: boolean): Promise<void> {
  const heap = (): number => {
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const child = fork(import.meta.filename, [String(pods), "serve", String(watchList)], { execArgv: SERVER });
  const { url, bytes } = await new Promise<{ url: string; bytes: number }>((resolve) =>
    child.once("message", resolve as () => void),
  );
  const way = watchList ? "WatchList" : "pages";
  console.log(
    `${pods} pods of ${bytes} bytes in ${NAMESPACES} namespaces, ${PER_DEPLOYMENT} to a Deployment, by ${way}`,
  );
  const store = new Store();
  /** Whether changes go into the world too, which costs as much again. */
  let whole = true;
  let seen: (changes: readonly Change[]) => void = () => {};
  const sink: Sink = {
    apply: (changes) => {
      if (whole) store.apply(changes);
      seen(changes);
    },
    problems: () => {},
    synced: () => {},
  };
  const stop = new AbortController();
  const client = new KubernetesClient({ config: { server: url, namespace: "default" } });
  const source = new KubernetesSource({ client, log: createLog("warn") });
  const before = heap();
  const begun = performance.now();
  const loop = monitorEventLoopDelay({ resolution: 1 });
  loop.enable();
  await source.start(sink, stop.signal);
  loop.disable();
  const seconds = (performance.now() - begun) / 1_000;
  const rss = process.memoryUsage().rss / 2 ** 20;
  const perPod = (heap() - before) / pods;
  console.log(
    `  read in ${seconds.toFixed(2)} s, event loop blocked for ${(loop.max / 1e6).toFixed(0)} ms at most; ` +
      `heap ${perPod.toFixed(0)} bytes a pod, the world included; RSS ${rss.toFixed(0)} MB`,
  );
  for (const into of [false, true]) {
    whole = into;
    for (const order of [WARM, ...LOADS]) {
      const times = new Times(order.events);
      seen = (changes) => {
        const now = nanoseconds();
        for (const change of changes) times.take((change.value as Pod).hostname, now);
      };
      const start = performance.now();
      const cpu = process.cpuUsage();
      child.send(order);
      await times.done;
      const { user, system } = process.cpuUsage(cpu);
      const perSecond = (order.events / (performance.now() - start)) * 1_000;
      const us = ((user + system) / order.events).toFixed(0);
      if (order === WARM) continue;
      const to = into ? "into the world" : "to the sink";
      console.log(`  ${nameOf(order)} ${times.text} ${to}, ${perSecond.toFixed(0)} events/s, ${us} us of CPU each`);
    }
  }
  seen = () => {};
  console.log(`  heap after the events ${((heap() - before) / pods).toFixed(0)} bytes a pod`);
  stop.abort();
  client.close();
  for (const order of LOADS)
    console.log(
      `  ${nameOf(order)} ${await floor(url, order, (one) => child.send(one))}: a bare watch that only parses`,
    );
  child.disconnect();
}

const nameOf = ({ rate }: Order): string => (rate > 1e6 ? "as fast as it goes" : `${rate} events/s`).padEnd(18);

const pods = Number(process.argv[2] ?? 30_000);
const [, , , role, way] = process.argv;
if (role === "serve") await serve(pods, way === "true");
else if (role === "measure") await measure(pods, way === "true");
else
  for (const watchList of [true, false]) {
    const child = fork(import.meta.filename, [String(pods), "measure", String(watchList)], {
      execArgv: ["--expose-gc"],
    });
    await new Promise((resolve) => child.once("exit", resolve));
  }
