/**
 * Pods per second through the injector's webhook server, and how long one waits: real HTTPS on kept-open connections, as the API server
 * has them, the real review, and the real patch. Server and client are processes of their own. Run: node bench/webhook.ts
 */
import { fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import { Agent, createServer, request } from "node:https";
import { performance } from "node:perf_hooks";
import { openAdmission } from "../src/admission.ts";
import { Authority } from "../src/ca/authority.ts";
import type { StoredRoot } from "../src/ca/store.ts";
import { reviewPod } from "../src/injector/review.ts";
import { INJECTOR_DEFAULTS, type InjectorSettings } from "../src/injector/settings.ts";
import { silent } from "../src/telemetry/log.ts";
import type { AddressInfo } from "node:net";
import { p50, p99, print, rounded, type Row } from "./table.ts";

const SETTINGS: InjectorSettings = {
  ...INJECTOR_DEFAULTS,
  envoyImage: "envoyproxy/envoy:distroless-v1.40.0",
  initImage: "heddle/heddle:0.1.0",
  controlPlane: {
    host: "osm-controller.heddle-system.svc.cluster.local",
    name: "osm-controller.heddle-system.svc.cluster.local",
  },
};
const NAMESPACE = { name: "shop", monitored: true, inject: true, metrics: true };
const NAME = "osm-injector.heddle-system.svc";
/** Pods at once: one, as many as a Deployment makes, and a storm. */
const AT_ONCE = [1, 50, 200] as const;
const PODS = 2_000;
const WARM = 500;

/** A pod as a ReplicaSet creates it: two containers with environment, probes and mounts. */
function pod(): object {
  const probe = (path: string) => ({
    httpGet: { path, port: 8080, scheme: "HTTP" },
    timeoutSeconds: 2,
    periodSeconds: 5,
  });
  const container = (name: string, port: number) => ({
    name,
    image: `registry.example.com/shop/${name}:v1.2.3`,
    ports: [{ name: "http", containerPort: port, protocol: "TCP" }],
    env: Array.from({ length: 12 }, (_, n) => ({ name: `SETTING_${n}`, value: `value-${n}-of-${name}` })),
    resources: { requests: { cpu: "100m", memory: "128Mi" } },
    livenessProbe: probe("/alive"),
    readinessProbe: probe("/ready"),
    volumeMounts: [{ name: "token", mountPath: "/var/run/secrets/kubernetes.io/serviceaccount", readOnly: true }],
  });
  return {
    metadata: {
      generateName: "store-6c9f7d8b5d-",
      namespace: "shop",
      labels: { app: "store", "pod-template-hash": "6c9f7d8b5d" },
    },
    spec: {
      serviceAccountName: "store",
      containers: [container("store", 8080), container("cache", 8081)],
      volumes: [{ name: "token", projected: { sources: [{ serviceAccountToken: { path: "token" } }] } }],
    },
  };
}

const review = (): Buffer =>
  Buffer.from(
    JSON.stringify({
      apiVersion: "admission.k8s.io/v1",
      kind: "AdmissionReview",
      request: {
        uid: randomUUID(),
        kind: { group: "", version: "v1", kind: "Pod" },
        resource: { group: "", version: "v1", resource: "pods" },
        operation: "CREATE",
        namespace: "shop",
        userInfo: { username: "system:serviceaccount:kube-system:replicaset-controller" },
        object: pod(),
        dryRun: false,
      },
    }),
  );

/** The server's process: the webhook, and beside it one that parses a review and answers it with what it always says. */
async function serve(): Promise<void> {
  let kept: StoredRoot | undefined;
  const store = {
    where: "memory",
    load: async () => kept,
    createIfAbsent: async (root: StoredRoot) => (kept ??= root),
  };
  const { signal } = new AbortController();
  const authority = await Authority.start({ trustDomain: "cluster.local" }, { store, log: silent }, signal);
  const { current } = await authority.server([NAME], signal);
  const credentials = { certificate: current.chainPem, privateKey: current.privateKey.revealPem() };
  const admission = await openAdmission({
    host: "127.0.0.1",
    port: 0,
    credentials,
    log: silent,
    webhooks: [
      {
        path: "/mutate-pod-creation",
        otherwise: "refuse",
        answer: (asked) =>
          reviewPod(asked, { settings: SETTINGS, namespace: NAMESPACE, uuid: randomUUID(), secret: randomUUID() }),
      },
    ],
  });
  const bare = createServer({ cert: credentials.certificate, key: credentials.privateKey }, (incoming, response) => {
    const parts: Buffer[] = [];
    incoming.on("data", (part: Buffer) => parts.push(part));
    incoming.on("end", () => {
      const { request: asked } = JSON.parse(Buffer.concat(parts).toString("utf8")) as { request: { uid: string } };
      response.end(JSON.stringify({ response: { uid: asked.uid, allowed: true } }));
    });
  });
  await new Promise<void>((resolve) => bare.listen(0, "127.0.0.1", resolve));
  process.on("message", () => {
    const { user, system } = process.cpuUsage();
    process.send?.((user + system) / 1e3);
  });
  process.on("disconnect", () => process.exit(0));
  process.send?.({ webhook: admission.port, bare: (bare.address() as AddressInfo).port, ca: authority.bundle.pem });
}

interface Asked {
  readonly ms: number;
  readonly bytes: number;
}

function ask(agent: Agent, port: number, body: Buffer): Promise<Asked> {
  return new Promise((resolve, reject) => {
    const begun = performance.now();
    const headers = { "content-type": "application/json", "content-length": body.length };
    const options = {
      agent,
      host: "127.0.0.1",
      servername: NAME,
      port,
      path: "/mutate-pod-creation",
      method: "POST",
      headers,
    };
    const outgoing = request(options, (response) => {
      let bytes = 0;
      response.on("data", (part: Buffer) => (bytes += part.length));
      response.on("end", () => {
        if (response.statusCode !== 200 || bytes === 0) reject(new Error(`answered with ${response.statusCode}`));
        else resolve({ ms: performance.now() - begun, bytes });
      });
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

export async function webhook(): Promise<void> {
  const child = fork(import.meta.filename, ["serve"]);
  const next = <T>(): Promise<T> => new Promise((resolve) => child.once("message", resolve as () => void));
  const { webhook: port, bare, ca } = await next<{ webhook: number; bare: number; ca: string }>();
  const cpu = async (): Promise<number> => {
    const answer = next<number>();
    child.send("cpu");
    return answer;
  };
  const rows: Row[] = [];
  for (const atOnce of AT_ONCE) {
    const agent = new Agent({ keepAlive: true, maxSockets: atOnce, ca });
    const run = async (to: number, pods: number) => {
      const bodies = Array.from({ length: Math.min(pods, 200) }, review);
      const asked: Asked[] = [];
      const before = await cpu();
      const begun = performance.now();
      let sent = 0;
      const worker = async (): Promise<void> => {
        for (let n = sent++; n < pods; n = sent++) asked.push(await ask(agent, to, bodies[n % bodies.length]!));
      };
      await Promise.all(Array.from({ length: atOnce }, worker));
      const seconds = (performance.now() - begun) / 1_000;
      return {
        times: asked.map(({ ms }) => ms),
        perSecond: pods / seconds,
        cpu: ((await cpu()) - before) / pods,
        bytes: asked[0]?.bytes ?? 0,
      };
    };
    await run(port, WARM);
    await run(bare, WARM);
    const [subject, floor] = [await run(port, PODS), await run(bare, PODS)];
    rows.push({
      "at once": atOnce,
      "pods/s": rounded(subject.perSecond, 0),
      p50: rounded(p50(subject.times), 2),
      p99: rounded(p99(subject.times), 2),
      "CPU ms each": rounded(subject.cpu, 2),
      "answer kB": rounded(subject.bytes / 1_000, 1),
      "floor pods/s": rounded(floor.perSecond, 0),
      "floor p50": rounded(p50(floor.times), 2),
      "floor CPU ms": rounded(floor.cpu, 2),
    });
    agent.destroy();
  }
  child.disconnect();
  print(`The injector's webhook: ${PODS} pods of ${review().length} bytes, ms`, rows, [
    "at once: reviews that are on their way, each on a connection of its own",
    "floor: an HTTPS server that parses the review and always answers the same",
  ]);
}

if (process.argv[2] === "serve") await serve();
else if (import.meta.main) await webhook();
