/** Valid manifests to start from: those of the repository, and generated ones of every kind and version that is read. */
import { existsSync, globSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseYaml } from "../../src/sources/files/yaml.ts";
import type { Random } from "./random.ts";

const root = resolve(import.meta.dirname, "../..");
/** OSM's own demo manifests, where they are at hand. */
const OSM = resolve(process.env["HEDDLE_OSM_MANIFESTS"] ?? join(root, "../shared/osm-manifests"));

/** Texts of manifests that belong together. */
export const TEXTS: readonly string[] = [
  ...globSync("test/golden/*/input.yaml", { cwd: root })
    .sort()
    .map((file) => readFileSync(join(root, file), "utf8")),
  joined(root, "examples/bookstore/*.yaml"),
  ...(existsSync(OSM) ? [joined(OSM, "{apps,split,meshconfig}/*.yaml"), joined(OSM, "{apps,access}/*.yaml")] : []),
];

function joined(cwd: string, pattern: string): string {
  return globSync(pattern, { cwd })
    .sort()
    .map((file) => readFileSync(join(cwd, file), "utf8"))
    .join("\n---\n");
}

const READ = TEXTS.map((text) => parseYaml(text).documents.map((document) => document.value));

/** Objects that belong together, and that nobody but the caller holds. */
export function scene(random: Random): unknown[] {
  return random.oneIn(2) ? structuredClone(random.of(READ)) : generated(random);
}

type Fields = Record<string, unknown>;

const NAMESPACES = ["a", "b"];
const NAMES = ["api", "web", "db"];

function generated(random: Random): unknown[] {
  const draws = [
    namespace,
    service,
    service,
    pods,
    pods,
    pods,
    target,
    target,
    routeGroup,
    routeGroup,
    tcpRoute,
    udpRoute,
    split,
    split,
    meshConfig,
    slice,
  ];
  const objects = random.some(4, 16, () => random.of(draws)(random));
  // Twice the same object is a mistake of its own, which mutation makes often enough.
  return [
    ...new Map(
      objects.map((o) => [
        [o["kind"], (o["metadata"] as Fields)["namespace"], (o["metadata"] as Fields)["name"]].join("/"),
        o,
      ]),
    ).values(),
  ];
}

function object(random: Random, apiVersion: string, kind: string, rest: Fields, metadata: Fields = {}): Fields {
  return {
    apiVersion,
    kind,
    metadata: { name: random.of(NAMES), namespace: random.of(NAMESPACES), ...metadata },
    ...rest,
  };
}

const namespace = (random: Random): Fields => {
  const labels = random.of<Fields>([{}, { "openservicemesh.io/monitored-by": "osm" }]);
  const annotations = random.of<Fields>([
    {},
    { "openservicemesh.io/sidecar-injection": "enabled" },
    { "openservicemesh.io/metrics": "enabled" },
  ]);
  return { apiVersion: "v1", kind: "Namespace", metadata: { name: random.of(NAMESPACES), labels, annotations } };
};

const PORTS: readonly Fields[] = [
  { port: 80, targetPort: 8080, name: "http-web" },
  { port: 80, name: "p" },
  { port: 81, targetPort: "web", name: "web" },
  { port: 90, targetPort: 9090, name: "tcp-db" },
  { port: 91, targetPort: 9090, name: "m", appProtocol: "mysql" },
  { port: 92, targetPort: 8080, name: "o", appProtocol: "odd" },
  { port: 53, name: "dns", protocol: "UDP" },
];

const service = (random: Random): Fields => {
  const ports = [...new Map(random.some(1, 3, () => random.of(PORTS)).map((p) => [p["port"], p])).values()];
  const kind = random.of<Fields>([
    {},
    {},
    {},
    { clusterIP: "None" },
    { clusterIP: "10.1.9.9" },
    { type: "ExternalName", externalName: "example.com" },
  ]);
  const selector = random.of<Fields>([{ app: "api" }, { app: "web" }, { app: "db" }, { tier: "back" }]);
  return object(random, "v1", "Service", { spec: { ports, ...(random.oneIn(8) ? {} : { selector }), ...kind } });
};

const pods = (random: Random): Fields => {
  const name = random.of(NAMES);
  const labels = { app: random.of(NAMES), ...(random.oneIn(3) ? { tier: "back" } : {}) };
  const container = {
    name: "app",
    image: "app",
    ports: [{ containerPort: 8080, name: "web" }, { containerPort: 9090 }],
  };
  const spec = { serviceAccountName: name, containers: [container] };
  const kind = random.of(["Pod", "Deployment", "StatefulSet", "ReplicaSet", "DaemonSet", "Job"]);
  if (kind === "Pod") return object(random, "v1", kind, { spec }, { name, labels });
  const template = { metadata: { labels }, spec };
  const more = kind === "StatefulSet" ? { serviceName: name } : {};
  const selector = kind === "Job" ? {} : { selector: { matchLabels: labels } };
  return object(
    random,
    kind === "Job" ? "batch/v1" : "apps/v1",
    kind,
    { spec: { ...selector, ...more, template } },
    { name },
  );
};

const account = (random: Random): Fields => ({
  kind: "ServiceAccount",
  name: random.of(NAMES),
  namespace: random.of(NAMESPACES),
});

const target = (random: Random): Fields => {
  const version = random.of(["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha3", "v1alpha4"]);
  const namespaceName = random.of(NAMESPACES);
  const port = version < "v1alpha3" && random.oneIn(2) ? { port: random.of([8080, 9090, 80]) } : {};
  const destination = { ...account(random), namespace: namespaceName, ...port };
  const sources = random.some(1, 2, () => account(random));
  const rules = random.some(1, 3, () => {
    const kind = random.of(["HTTPRouteGroup", "HTTPRouteGroup", "TCPRoute", "UDPRoute"]);
    const matches =
      kind === "HTTPRouteGroup" && random.oneIn(2)
        ? { matches: random.some(1, 2, () => random.of(["m0", "m1", "m2"])) }
        : {};
    return { kind, name: random.of(NAMES), ...matches };
  });
  const body =
    version === "v1alpha1" ? { destination, sources, specs: rules } : { spec: { destination, sources, rules } };
  return object(random, `access.smi-spec.io/${version}`, "TrafficTarget", body, { namespace: namespaceName });
};

const routeGroup = (random: Random): Fields => {
  const version = random.of(["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4", "v1alpha4"]);
  const matches = random
    .some(1, 3, () => 0)
    .map((_, i) => {
      const header = random.of<Fields>([
        { host: "api.*" },
        { "X-Two": "a|b" },
        { cookie: "^(.*?;)?(type=insider)(;.*)?$" },
      ]);
      return {
        name: `m${i}`,
        ...(random.oneIn(3)
          ? {}
          : { pathRegex: random.of(["/api", "/api/.*", ".*", "/b/[0-9]+", "(?i)/c", ".*a-book.*new"]) }),
        ...(random.oneIn(2) ? {} : { methods: random.of<string[]>([["GET"], ["*"], ["GET", "POST"], ["get"]]) }),
        ...(version === "v1alpha1" || random.oneIn(2) ? {} : { headers: random.oneIn(2) ? header : [header] }),
      };
    });
  return object(
    random,
    `specs.smi-spec.io/${version}`,
    "HTTPRouteGroup",
    version < "v1alpha3" ? { matches } : { spec: { matches } },
  );
};

const route =
  (kind: string) =>
  (random: Random): Fields => {
    const version = random.of(["v1alpha1", "v1alpha3", "v1alpha4", "v1alpha4"]);
    const ports = random.some(0, 3, () => random.of([8080, 9090, 80, 53, 7000]));
    return object(
      random,
      `specs.smi-spec.io/${version}`,
      kind,
      version === "v1alpha4" ? { spec: { matches: { ports } } } : {},
    );
  };
const tcpRoute = route("TCPRoute");
const udpRoute = route("UDPRoute");

const split = (random: Random): Fields => {
  const version = random.of(["v1alpha1", "v1alpha2", "v1alpha2", "v1alpha3", "v1alpha4"]);
  const weight = () => (version === "v1alpha1" ? random.of(["500m", "1", "1500m", "0"]) : random.of([0, 1, 50, 100]));
  const backends = random.some(1, 3, () => ({ service: random.of(NAMES), weight: weight() }));
  const matches =
    version > "v1alpha2" && random.oneIn(2)
      ? { matches: random.some(1, 2, () => ({ kind: "HTTPRouteGroup", name: random.of(NAMES) })) }
      : {};
  const metadata = random.oneIn(2)
    ? { creationTimestamp: random.of(["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"]) }
    : {};
  return object(
    random,
    `split.smi-spec.io/${version}`,
    "TrafficSplit",
    { spec: { service: random.of([...NAMES, "api.a", "web.b.svc.cluster.local"]), backends, ...matches } },
    metadata,
  );
};

const meshConfig = (random: Random): Fields => {
  const traffic = { enablePermissiveTrafficPolicyMode: random.oneIn(4), enableEgress: random.oneIn(2) };
  const metadata = { name: "osm-mesh-config", namespace: "osm-system" };
  return object(
    random,
    `config.openservicemesh.io/${random.of(["v1alpha1", "v1alpha2"])}`,
    "MeshConfig",
    { spec: { traffic, sidecar: { logLevel: "error" } } },
    metadata,
  );
};

const slice = (random: Random): Fields =>
  object(
    random,
    "discovery.k8s.io/v1",
    "EndpointSlice",
    {
      addressType: "IPv4",
      ports: [{ name: random.of(["http-web", "tcp-db", ""]), port: 8080 }],
      endpoints: [{ addresses: ["10.3.0.1"], conditions: { ready: random.oneIn(2) } }],
    },
    { labels: { "kubernetes.io/service-name": random.of(NAMES) } },
  );

/** A mesh without a mistake in which every rule has something to limit: one destination with several ports, and targets of each form. */
export function sound(random: Random): unknown[] {
  const at = (name: string) => ({ metadata: { name, namespace: "a" } });
  const all: readonly Fields[] = [
    { port: 80, targetPort: 8080, name: "http-web" },
    { port: 81, targetPort: 9090, name: "http-admin" },
    { port: 5432, name: "tcp-db" },
    { port: 3306, name: "m", appProtocol: "mysql" },
  ];
  const services = random.oneIn(2)
    ? [{ ...at("api"), spec: { selector: { app: "api" }, ports: all } }]
    : all.map((port, i) => ({ ...at(`api-${i}`), spec: { selector: { app: "api" }, ports: [port] } }));
  const client = (name: string) => ({
    apiVersion: "v1",
    kind: "Pod",
    ...at(name),
    spec: { serviceAccountName: name, containers: [{ name: "app", image: "app" }] },
  });
  const api = { ...client("api"), metadata: { name: "api", namespace: "a", labels: { app: "api" } } };
  const numbers = [8080, 9090, 5432, 3306];
  const routes = ["r", "s"].map((name) => ({
    apiVersion: "specs.smi-spec.io/v1alpha4",
    kind: "TCPRoute",
    ...at(name),
    spec: random.oneIn(6) ? {} : { matches: { ports: random.some(1, 3, () => random.of(numbers)) } },
  }));
  const matches = [
    { name: "get", pathRegex: "/a", methods: ["GET", "HEAD"] },
    {
      name: "agent",
      headers: random.of<unknown>([[{ "user-agent": "x" }, { cookie: "y" }], { "user-agent": "x", cookie: "y" }]),
    },
    { name: "any" },
  ];
  const group = { apiVersion: "specs.smi-spec.io/v1alpha4", kind: "HTTPRouteGroup", ...at("g"), spec: { matches } };
  const http = (): Fields => ({
    kind: "HTTPRouteGroup",
    name: "g",
    ...(random.oneIn(3) ? {} : { matches: random.of([["get"], ["get", "agent"]]) }),
  });
  const tcp = (): Fields => ({ kind: "TCPRoute", name: random.of(["r", "s"]) });
  const targets = random
    .some(1, 2, () => 0)
    .map((_, i) => {
      const version = random.of(["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"]);
      const destination: Fields = {
        kind: "ServiceAccount",
        name: "api",
        namespace: "a",
        ...(version < "v1alpha3" && random.oneIn(2) ? { port: random.of(numbers) } : {}),
      };
      const sources = ["web", "other"]
        .slice(0, 1 + random.below(2))
        .map((name) => ({ kind: "ServiceAccount", name, namespace: "a" }));
      const rules = random.of<() => Fields[]>([
        () => [http(), tcp()],
        () => [tcp(), http(), tcp()],
        () => [http()],
        () => [tcp()],
        () => [tcp(), tcp()],
      ])();
      const body =
        version === "v1alpha1" ? { destination, sources, specs: rules } : { spec: { destination, sources, rules } };
      return { apiVersion: `access.smi-spec.io/${version}`, kind: "TrafficTarget", ...at(`t${i}`), ...body };
    });
  const made = services.map((service) => ({ apiVersion: "v1", kind: "Service", ...service }));
  // What is not broken comes last.
  return structuredClone([...targets, group, ...routes, ...made, api, client("web"), client("other")]);
}
