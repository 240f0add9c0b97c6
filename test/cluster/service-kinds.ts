/**
 * Services of all kinds in a cluster, and single calls: what `heddle why` says of each, and what the caller's pod gets. Knows no test.
 */
import { join } from "node:path";
import type { Answer } from "../../src/cli/why-answer.ts";
import { ROOT } from "../support/live-mesh.ts";
import type { Cluster } from "./cluster.ts";
import { exec } from "./exec.ts";
import { addNamespaces, podsOf, podsReady } from "./install.ts";

/** In the mesh, and not. */
const KINDS = "kinds";
const PLAIN = "plain";

/** Answers every request at HTTP's ports, greets at TCP's, and returns what comes at UDP's. */
const SERVER = `const ports = (name) => (process.env[name] ?? "").split(" ").filter(Boolean).map(Number);
for (const port of ports("HTTP")) require("node:http").createServer((q, r) => { q.resume(); r.end("hello"); }).listen(port);
for (const port of ports("TCP")) require("node:net").createServer((s) => { s.on("error", () => {}); s.end("hello"); }).listen(port);
for (const port of ports("UDP")) { const s = require("node:dgram").createSocket("udp4");
  s.on("message", (m, from) => s.send(m, from.port, from.address)).bind(port); }
setInterval(() => {}, 1 << 30);`;

/** Makes each call of its argument as often as it says; prints for each what the answers were: statuses, "open" or "closed". */
const CLIENT = `const http = require("node:http"), net = require("node:net"), dgram = require("node:dgram");
const wait = 2000;
const request = ({ host, port, method, path, headers }) => new Promise((done) => {
  const q = http.request({ host, port, method, path, headers, agent: false, timeout: wait }, (r) => { r.resume(); done(r.statusCode); });
  q.on("timeout", () => q.destroy(new Error("timed out"))); q.on("error", () => done("closed")); q.end(method === "POST" ? "1" : undefined);
});
const connection = ({ host, port }) => new Promise((done) => {
  const s = net.connect({ host, port, timeout: wait });
  s.on("data", () => { done("open"); s.destroy(); }); s.on("timeout", () => s.destroy()); s.on("error", () => {}); s.on("close", () => done("closed"));
});
const datagram = ({ host, port }) => new Promise((done) => {
  const s = dgram.createSocket("udp4"), end = (says) => { clearTimeout(timer); s.close(); done(says); };
  const timer = setTimeout(end, wait, "closed");
  s.on("message", () => end("open")).send("hello", port, host);
});
const one = (call) => call.udp ? datagram(call) : call.method ? request(call) : connection(call);
Promise.all(JSON.parse(process.argv[1]).map(async (call) => {
  const answers = new Set();
  for (let i = 0; i < call.times; i++) answers.add(await one(call));
  return [...answers].sort();
})).then((all) => console.log(JSON.stringify(all)));`;

const meta = (name: string, namespace = KINDS): object => ({ name, namespace });

interface Pods {
  readonly http?: readonly number[];
  readonly tcp?: readonly number[];
  readonly udp?: readonly number[];
  /** The names of container ports. */
  readonly named?: Readonly<Record<string, number>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly namespace?: string;
  /** A StatefulSet of so many, and not a Deployment of one. */
  readonly stateful?: number;
}

/** Pods that run as an account of the same name, and the account. */
function workload(name: string, pods: Pods = {}): readonly object[] {
  const { http = [], tcp = [], udp = [], named = {}, labels = { app: name }, namespace = KINDS, stateful } = pods;
  const env = Object.entries({ HTTP: http, TCP: tcp, UDP: udp }).map(([key, of]) => ({
    name: key,
    value: of.join(" "),
  }));
  const names = new Map(Object.entries(named).map(([port, number]) => [number, port]));
  const ports = [...http, ...tcp].map((port) => ({
    containerPort: port,
    ...(names.has(port) ? { name: names.get(port) } : {}),
  }));
  const image = "openservicemesh/bookbuyer:latest-main";
  const template = {
    metadata: { labels },
    spec: {
      serviceAccountName: name,
      terminationGracePeriodSeconds: 1,
      containers: [{ name: "app", image, command: ["node", "-e", SERVER], env, ports }],
    },
  };
  const kind = stateful === undefined ? "Deployment" : "StatefulSet";
  const set = stateful === undefined ? {} : { serviceName: name, replicas: stateful, podManagementPolicy: "Parallel" };
  return [
    { apiVersion: "v1", kind: "ServiceAccount", metadata: meta(name, namespace) },
    {
      apiVersion: "apps/v1",
      kind,
      metadata: meta(name, namespace),
      spec: { ...set, selector: { matchLabels: labels }, template },
    },
  ];
}

const service = (name: string, spec: object, namespace = KINDS): object => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: meta(name, namespace),
  spec,
});

/** GET, and what `port` speaks as TCP. */
const target = (to: string, port?: number): readonly object[] => [
  {
    apiVersion: "specs.smi-spec.io/v1alpha4",
    kind: "TCPRoute",
    metadata: meta(to),
    spec: { matches: { ports: port === undefined ? [] : [port] } },
  },
  {
    apiVersion: "access.smi-spec.io/v1alpha3",
    kind: "TrafficTarget",
    metadata: meta(to),
    spec: {
      destination: { kind: "ServiceAccount", ...meta(to) },
      rules: [
        { kind: "HTTPRouteGroup", name: "get", matches: ["get"] },
        ...(port === undefined ? [] : [{ kind: "TCPRoute", name: to }]),
      ],
      sources: [{ kind: "ServiceAccount", ...meta("client") }],
    },
  },
];

const OBJECTS: readonly object[] = [
  ...workload("client"),
  ...workload("stranger"),
  ...workload("multi", { http: [8080, 9090], tcp: [7000], udp: [7000, 5454], named: { web: 8080, admin: 9090 } }),
  service("multi", {
    selector: { app: "multi" },
    ports: [
      { name: "http-web", port: 80, targetPort: "web" },
      { name: "http-admin", port: 81, targetPort: "admin" },
      { name: "http-again", port: 82, targetPort: 8080 },
      { name: "tcp-raw", port: 53, targetPort: 7000 },
      { name: "udp-raw", port: 53, targetPort: 7000, protocol: "UDP" },
      { name: "udp-only", port: 5454, protocol: "UDP" },
    ],
  }),
  service("alias", {
    selector: { app: "multi" },
    ports: [
      { name: "http-alias", port: 8000, targetPort: "web" },
      { name: "tcp-alias", port: 7001, targetPort: 7000 },
    ],
  }),
  ...workload("red", { http: [8080], labels: { app: "paint", colour: "red" } }),
  ...workload("blue", { http: [8080], labels: { app: "paint", colour: "blue" } }),
  service("paint", { selector: { app: "paint" }, ports: [{ port: 80, targetPort: 8080 }] }),
  ...workload("db", { http: [8080], tcp: [9000], stateful: 2 }),
  service("db", {
    clusterIP: "None",
    selector: { app: "db" },
    ports: [
      { name: "http-db", port: 8080 },
      { name: "tcp-peer", port: 9000 },
    ],
  }),
  service("nobody", { selector: { app: "nobody" }, ports: [{ port: 80 }] }),
  service("outside", { type: "ExternalName", externalName: `legacy.${PLAIN}.svc.cluster.local` }),
  service("by-hand", {
    ports: [
      { name: "http", port: 80, targetPort: 8080 },
      { name: "tcp-raw", port: 7100, targetPort: 9000 },
    ],
  }),
  ...workload("legacy", { http: [8080], tcp: [9000], namespace: PLAIN }),
  service("legacy", { selector: { app: "legacy" }, ports: [{ port: 80, targetPort: 8080 }] }, PLAIN),
  {
    apiVersion: "specs.smi-spec.io/v1alpha4",
    kind: "HTTPRouteGroup",
    metadata: meta("get"),
    spec: { matches: [{ name: "get", methods: ["GET"] }] },
  },
  ...target("multi", 7000),
  ...target("db", 9000),
  ...target("red"),
];

/** Makes the two namespaces; resolves when all pods are ready and the Service without a selector has its address. */
export async function applyServiceKinds(cluster: Cluster): Promise<void> {
  const list = (items: readonly object[]): string => JSON.stringify({ apiVersion: "v1", kind: "List", items });
  await addNamespaces(cluster, [KINDS]);
  await cluster.kubectl(["create", "namespace", PLAIN]);
  await cluster.kubectl(["apply", "-f", "-"], list(OBJECTS));
  const [legacy] = await podsReady(cluster, PLAIN);
  const slice = {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { ...meta("by-hand"), labels: { "kubernetes.io/service-name": "by-hand" } },
    addressType: "IPv4",
    ports: [
      { name: "http", port: 8080 },
      { name: "tcp-raw", port: 9000 },
    ],
    endpoints: [{ addresses: [legacy?.status.podIP] }],
  };
  await cluster.kubectl(["apply", "-f", "-"], list([slice]));
  await podsReady(cluster, KINDS);
}

/** FROM and TO of `heddle why`, what is called, and the verdict; `partly`: some of the calls are refused. */
export type Case = readonly [
  from: keyof typeof CALLERS,
  to: string,
  what: "GET" | "POST" | "TCP" | "UDP",
  path: string,
  verdict: Answer["verdict"] | "partly",
  headers?: Readonly<Record<string, string>>,
];

/** Where calls come from: the FROM, and a pod. */
const CALLERS = {
  "kinds/client": [KINDS, "app=client", "app"],
  "kinds/stranger": [KINDS, "app=stranger", "app"],
  outside: [PLAIN, "app=legacy", "app"],
  "bookbuyer/bookbuyer": ["bookbuyer", "app=bookbuyer", "bookbuyer"],
  "bookthief/bookthief": ["bookthief", "app=bookthief", "bookthief"],
  "bookstore/bookstore": ["bookstore", "app=bookstore,version=v1", "bookstore"],
  "bookwarehouse/bookwarehouse": ["bookwarehouse", "app=bookwarehouse", "bookwarehouse"],
} as const;

const OF_KINDS: readonly Case[] = [
  ["kinds/client", "kinds/multi:80", "GET", "/", "allowed"],
  ["kinds/client", "kinds/multi:80", "POST", "/", "denied"],
  ["kinds/stranger", "kinds/multi:80", "GET", "/", "denied"],
  ["outside", "kinds/multi:80", "GET", "/", "denied"],
  ["kinds/client", "kinds/multi:81", "GET", "/", "allowed"],
  ["kinds/client", "kinds/multi:82", "GET", "/", "allowed"],
  ["kinds/client", "kinds/multi:82", "POST", "/", "denied"],
  ["kinds/client", "kinds/multi:53", "TCP", "", "allowed"],
  ["kinds/stranger", "kinds/multi:53", "TCP", "", "denied"],
  ["outside", "kinds/multi:53", "TCP", "", "denied"],
  ["kinds/client", "kinds/multi:5454", "UDP", "", "not-in-mesh"],
  ["kinds/client", "kinds/multi:83", "GET", "/", "not-routed"],
  ["kinds/client", "kinds/alias:8000", "GET", "/", "allowed"],
  ["kinds/client", "kinds/alias:7001", "TCP", "", "allowed"],
  ["kinds/stranger", "kinds/alias:7001", "TCP", "", "denied"],
  ["kinds/client", "kinds/paint:80", "GET", "/", "partly"],
  ["kinds/client", "kinds/paint:80", "POST", "/", "denied"],
  ["kinds/client", "kinds/db:8080", "GET", "/", "allowed"],
  ["kinds/client", "kinds/db:9000", "TCP", "", "allowed"],
  ["kinds/stranger", "kinds/db:8080", "GET", "/", "denied"],
  ["kinds/stranger", "kinds/db:9000", "TCP", "", "denied"],
  ["kinds/client", "kinds/pod/db-0:8080", "GET", "/", "allowed"],
  ["kinds/client", "kinds/pod/db-1:8080", "POST", "/", "denied"],
  ["kinds/client", "kinds/pod/db-1:9000", "TCP", "", "allowed"],
  ["kinds/stranger", "kinds/pod/db-1:9000", "TCP", "", "denied"],
  ["kinds/client", "kinds/nobody:80", "GET", "/", "not-routed"],
  ["kinds/client", "kinds/outside:80", "GET", "/", "not-in-mesh"],
  ["kinds/client", "kinds/by-hand:80", "GET", "/", "not-in-mesh"],
  ["kinds/client", "kinds/by-hand:7100", "TCP", "", "not-in-mesh"],
  ["kinds/client", "plain/legacy:80", "GET", "/", "not-in-mesh"],
];

const STORE = "bookstore/bookstore:14001";
const BUY = "/buy-a-book/new";
const OF_BOOKSTORE: readonly Case[] = [
  ["bookbuyer/bookbuyer", STORE, "GET", BUY, "partly"],
  ["bookbuyer/bookbuyer", STORE, "POST", BUY, "denied"],
  ["bookbuyer/bookbuyer", STORE, "GET", "/reset", "denied"],
  ["bookbuyer/bookbuyer", STORE, "GET", "/books-bought", "denied"],
  [
    "bookbuyer/bookbuyer",
    STORE,
    "GET",
    "/books-bought",
    "partly",
    { "user-agent": "Go-http-client/1.1", "client-app": "bookbuyer" },
  ],
  ["bookbuyer/bookbuyer", "bookstore/bookstore-v1:14001", "GET", BUY, "allowed"],
  ["bookbuyer/bookbuyer", "bookstore/bookstore-v2:14001", "GET", BUY, "denied"],
  ["bookthief/bookthief", STORE, "GET", BUY, "denied"],
  ["bookthief/bookthief", STORE, "POST", BUY, "denied"],
  ["bookstore/bookstore", "bookwarehouse/bookwarehouse:14001", "POST", "/restock-books", "allowed"],
  ["bookstore/bookstore", "bookwarehouse/bookwarehouse:14001", "GET", "/", "denied"],
  ["bookbuyer/bookbuyer", "bookwarehouse/bookwarehouse:14001", "POST", "/restock-books", "denied"],
  ["bookwarehouse/bookwarehouse", "bookwarehouse/mysql:3306", "TCP", "", "allowed"],
  ["bookbuyer/bookbuyer", "bookwarehouse/mysql:3306", "TCP", "", "denied"],
];

/** Services of all kinds; and the bookstore's, half of whose calls go to a version that no TrafficTarget opens. */
export const CASES: readonly Case[] = [...OF_KINDS, ...OF_BOOKSTORE];

const words = ([from, to, what, path, , headers = {}]: Case): string =>
  [
    from,
    to,
    ...(path === "" ? [] : [what, path]),
    ...Object.entries(headers).map(([name, value]) => `-H '${name}: ${value}'`),
  ].join(" ");

/** `heddle why --calls` about all cases, of the cluster. */
async function answers(cluster: Cluster, cases: readonly Case[]): Promise<readonly Answer[]> {
  // It ends with 1 where a call is not allowed.
  const argv = ["sh", "-c", '"$0" why --calls - -o json --mesh-name osm || [ $? = 1 ]', join(ROOT, "bin/heddle")];
  const input = cases.map((one) => `${words(one)}\n`).join("");
  const out = await exec(argv, { input, timeout: 60_000, env: { KUBECONFIG: cluster.kubeconfig } });
  return out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Answer);
}

/** What callers get: for each case, the different answers. One exec for each caller. */
async function calls(
  cluster: Cluster,
  cases: readonly Case[],
): Promise<ReadonlyMap<Case, readonly (number | string)[]>> {
  const got = new Map<Case, readonly (number | string)[]>();
  const by = Map.groupBy(cases, ([from]) => from);
  const all = [...by].map(async ([from, own]) => {
    const [namespace, selector, container] = CALLERS[from];
    const [pod] = await podsOf(cluster, namespace, selector);
    const where = ["-n", namespace, pod?.metadata.name ?? "", "-c", container];
    const out = await cluster.kubectl(["exec", ...where, "--", "node", "-e", CLIENT, JSON.stringify(own.map(callOf))]);
    const said = JSON.parse(out) as (readonly (number | string)[])[];
    for (const [i, one] of own.entries()) got.set(one, said[i] ?? []);
  });
  await Promise.all(all);
  return got;
}

function callOf([, to, what, path, verdict, headers = {}]: Case): object {
  const [, namespace, pod, name, port] = /^(.+?)\/(?:(pod)\/)?(.+):(.+)$/.exec(to) ?? [];
  const host = `${name}${pod ? ".db" : ""}.${namespace}`;
  const http = path === "" ? {} : { method: what, path, headers };
  return { host, port: Number(port), ...http, udp: what === "UDP", times: verdict === "partly" ? 20 : 3 };
}

/** A sentence for each case in which what is expected, what `heddle why` says and what the caller gets are not the same. */
export async function disagreements(cluster: Cluster, cases: readonly Case[]): Promise<readonly string[]> {
  const said = await answers(cluster, cases);
  const got = await calls(cluster, cases);
  return cases.flatMap((one, i) => {
    const why = said[i];
    const verdict = why?.verdict === "allowed" && why.reason !== "" ? "partly" : why?.verdict;
    const wanted = wantedOf(one, why);
    const is = (got.get(one) ?? []).join(", ");
    if (verdict === one[4] && wanted.includes(is)) return [];
    return `${words(one)}: ${one[4]}; why says ${verdict} (${why?.reason}), so ${wanted.join(" or ")}; the caller gets ${is}`;
  });
}

/** What callers may get by an answer of `why`. */
function wantedOf([, , what]: Case, why: Answer | undefined): readonly string[] {
  const through = what === "GET" || what === "POST" ? "200" : "open";
  switch (why?.verdict) {
    case "allowed":
      return why.reason === "" ? [through] : [`${through}, 403`];
    case "not-in-mesh":
      // Egress is off: what goes through a sidecar is refused, by a 403 where it serves that port for other Services.
      return what === "UDP" ? [through] : what === "TCP" ? ["closed"] : ["403", "closed"];
    default:
      return [String(why?.answer)];
  }
}
