/**
 * A namespace with a client and servers of `TRAFFIC_IMAGE`, and the policies that let the one call the others: as objects.
 */
import type { Cluster } from "./cluster.ts";
import { podsOf } from "./install.ts";
import { type From, TRAFFIC_IMAGE } from "./load.ts";

export const SHOP = "shop";
export const CLIENT = "client";

export interface ServerOptions {
  /** Of the Deployment and its Service. */
  readonly name: string;
  readonly replicas?: number;
  /** Whether the pods have a readiness probe. */
  readonly readiness?: boolean;
  /** What the application does at SIGTERM. */
  readonly atSigterm?: "exit" | "finish";
  /** Milliseconds before it listens, and that an answer takes. */
  readonly startAfter?: number;
  readonly work?: number;
}

const meta = (name: string): object => ({ name, namespace: SHOP });

/** With one container, `app`. */
export const deployment = (name: string, account: string, replicas: number, container: object): object => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: meta(name),
  spec: {
    replicas,
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name } },
      spec: {
        serviceAccountName: account,
        containers: [{ name: "app", image: TRAFFIC_IMAGE, imagePullPolicy: "Never", ...container }],
      },
    },
  },
});

/** A Deployment of servers, and their Service on port 80. */
export function server(options: ServerOptions): readonly object[] {
  const { name, replicas = 2, readiness = true, atSigterm = "exit", startAfter = 0, work = 20 } = options;
  const env = Object.entries({ AT_SIGTERM: atSigterm, START_AFTER: `${startAfter}`, WORK: `${work}` });
  const probe = { readinessProbe: { httpGet: { path: "/", port: 8080 }, periodSeconds: 1 } };
  const container = {
    env: env.map(([key, value]) => ({ name: key, value })),
    ports: [{ containerPort: 8080 }],
    ...(readiness ? probe : {}),
  };
  const ports = [{ name: "http", port: 80, targetPort: 8080 }];
  return [
    deployment(name, "server", replicas, container),
    { apiVersion: "v1", kind: "Service", metadata: meta(name), spec: { selector: { app: name }, ports } },
  ];
}

/** The client, and what every server needs. */
export const shop = (): readonly object[] => [
  ...[CLIENT, "server"].map((name) => ({ apiVersion: "v1", kind: "ServiceAccount", metadata: meta(name) })),
  deployment(CLIENT, CLIENT, 1, {}),
  {
    apiVersion: "specs.smi-spec.io/v1alpha4",
    kind: "HTTPRouteGroup",
    metadata: meta("all"),
    spec: { matches: [{ name: "all", pathRegex: ".*", methods: ["*"] }] },
  },
  target("clients", CLIENT),
];

/** Lets an account of the namespace call all servers. */
export const target = (name: string, account: string): object => ({
  apiVersion: "access.smi-spec.io/v1alpha3",
  kind: "TrafficTarget",
  metadata: meta(name),
  spec: {
    destination: { kind: "ServiceAccount", name: "server", namespace: SHOP },
    rules: [{ kind: "HTTPRouteGroup", name: "all", matches: ["all"] }],
    sources: [{ kind: "ServiceAccount", name: account, namespace: SHOP }],
  },
});

/** A Service in front of servers, whose calls a TrafficSplit leads to them in these weights. */
export function split(name: string, weights: Readonly<Record<string, number>>): readonly object[] {
  const backends = Object.entries(weights).map(([service, weight]) => ({ service, weight }));
  const [first = ""] = Object.keys(weights);
  const ports = [{ name: "http", port: 80, targetPort: 8080 }];
  return [
    { apiVersion: "v1", kind: "Service", metadata: meta(name), spec: { selector: { app: first }, ports } },
    {
      apiVersion: "split.smi-spec.io/v1alpha2",
      kind: "TrafficSplit",
      metadata: meta(name),
      spec: { service: name, backends },
    },
  ];
}

export const urlOf = (name: string): string => `http://${name}.${SHOP}/`;

/** `kubectl apply` of objects. */
export const apply = (cluster: Cluster, objects: readonly object[]): Promise<string> =>
  cluster.kubectl(["apply", "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }));

/** The client's pod. */
export async function clientPod(cluster: Cluster): Promise<From> {
  const [pod] = await podsOf(cluster, SHOP, `app=${CLIENT}`);
  if (!pod) throw new Error(`namespace ${SHOP} has no pod of the client`);
  return { namespace: SHOP, pod: pod.metadata.name, container: "app" };
}

/** One change by the API server's answer, in milliseconds since the epoch. */
export async function changed(
  cluster: Cluster,
  method: "PUT" | "POST" | "DELETE" | "PATCH",
  path: string,
  body?: object,
): Promise<number> {
  const reply = await cluster.call(method, path, body);
  const at = performance.timeOrigin + performance.now();
  if (reply.status >= 300) throw new Error(`${method} ${path}: ${reply.status} ${reply.body}`);
  return at;
}
