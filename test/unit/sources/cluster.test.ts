/** What a cluster makes of objects: pods, addresses, EndpointSlices. */
import { describe, expect, test } from "vitest";
import { Cluster, type Derived, type Statuses } from "../../../src/sources/files/cluster.ts";
import { catalogOf } from "../../../src/sources/files/catalog.ts";
import { parseYaml } from "../../../src/sources/files/yaml.ts";
import { podName } from "../../../src/world/names.ts";
import type { PodStatus } from "../../../src/world/pod.ts";
import type { EndpointSlice, Kind, ObjectOf } from "../../../src/world/types.ts";

const SUBNETS = { pods: "10.64.0.0/16", services: "10.65.0.0/16" };

const entriesOf = (yaml: string) => {
  const { documents, errors } = parseYaml(yaml);
  expect(errors).toEqual([]);
  return catalogOf([{ path: "a.yaml", signature: "", documents, problems: [] }], (path) => path).entries;
};
const derive = (yaml: string, statuses: Statuses = "assume-ready"): Derived =>
  new Cluster(SUBNETS).derive(entriesOf(yaml), statuses);

function all<K extends Kind>(derived: Derived, kind: K): ObjectOf[K][] {
  return derived.changes.flatMap((change) =>
    change.kind === kind && change.value ? [change.value as ObjectOf[K]] : [],
  );
}

const TEMPLATE =
  "template: {metadata: {labels: {app: a}}, spec: {containers: [{name: c, image: i, ports: [{name: web, containerPort: 8080}]}]}}";
const controller = (kind: string, spec: string, apiVersion = "apps/v1", name = "a") =>
  `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: ${name}, namespace: ns}\nspec: {${spec}${TEMPLATE}}\n`;

describe("pods", () => {
  test("a Deployment's pods have a ReplicaSet's names and labels", () => {
    const { pods } = derive(controller("Deployment", "replicas: 2, "));
    expect(pods).toHaveLength(2);
    for (const pod of pods) {
      expect(pod.metadata.name).toMatch(/^a-[b-df-hj-np-tv-z2-9]{10}-[b-df-hj-np-tv-z2-9]{5}$/);
      const hash = pod.metadata.name.split("-")[1];
      expect(pod.metadata.labels).toMatchObject({ app: "a", "pod-template-hash": hash });
      expect(pod.metadata.ownerReferences).toEqual([{ kind: "ReplicaSet", name: `a-${hash}`, controller: true }]);
      expect(pod.metadata.labels["osm-proxy-uuid"]).toMatch(
        /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
      );
      expect(pod.spec.serviceAccountName).toBe("default");
    }
    expect(new Set(pods.map((pod) => pod.metadata.name)).size).toBe(2);
    expect(new Set(pods.map((pod) => pod.metadata.labels["osm-proxy-uuid"])).size).toBe(2);
    expect(derive(controller("Deployment", "replicas: 2, ")).pods).toEqual(pods);
  });

  test("another template makes other pods; another number of replicas keeps those that are there", () => {
    const names = (yaml: string) => derive(yaml).pods.map((pod) => pod.metadata.name);
    const one = names(controller("Deployment", ""));
    expect(names(controller("Deployment", "replicas: 3, ")).slice(0, 1)).toEqual(one);
    expect(names(controller("Deployment", "").replace("image: i", "image: j"))).not.toEqual(one);
  });

  test("a StatefulSet's pods have ordinals, names in DNS, and a new uid when their template changes", () => {
    const yaml = controller("StatefulSet", "replicas: 2, serviceName: svc, ordinals: {start: 3}, ");
    const { pods } = derive(yaml);
    expect(pods.map((pod) => pod.metadata.name)).toEqual(["a-3", "a-4"]);
    expect(pods[1]?.metadata.labels).toMatchObject({
      "statefulset.kubernetes.io/pod-name": "a-4",
      "apps.kubernetes.io/pod-index": "4",
    });
    expect(pods[1]?.spec).toMatchObject({ hostname: "a-4", subdomain: "svc" });
    const [again] = derive(yaml.replace("image: i", "image: j")).pods;
    expect(again?.metadata.uid).not.toBe(pods[0]?.metadata.uid);
    expect(again?.metadata.labels["osm-proxy-uuid"]).toBe(pods[0]?.metadata.labels["osm-proxy-uuid"]);
  });

  test.for([
    ["DaemonSet", "", "apps/v1", 1],
    ["ReplicaSet", "replicas: 2, ", "apps/v1", 2],
    ["ReplicationController", "replicas: 0, ", "v1", 0],
    ["Job", "parallelism: 3, completions: 2, ", "batch/v1", 2],
    ["CronJob", "", "batch/v1", 0],
  ] as const)("%s with {%s}", ([kind, spec, version, count]) => {
    const derived = derive(controller(kind, spec, version));
    expect(derived.pods).toHaveLength(count);
    expect(derived.problems.map((problem) => problem.code)).toEqual(kind === "CronJob" ? ["unknown-kind"] : []);
  });

  test("too many replicas are a Problem, and bounded", () => {
    const { pods, problems } = derive(controller("Deployment", "replicas: 5000, "));
    expect(pods).toHaveLength(1_000);
    expect(problems.map((problem) => problem.path)).toEqual(["spec.replicas"]);
  });

  const namespaced = (metadata: string, pod = "") =>
    `apiVersion: v1\nkind: Namespace\nmetadata: {name: ns, ${metadata}}\n---\n${controller("Deployment", "").replace("metadata: {labels: {app: a}}", `metadata: {labels: {app: a}${pod}}`)}`;
  test.for([
    ["", "", false],
    ["labels: {openservicemesh.io/monitored-by: osm}", "", false],
    [
      "labels: {openservicemesh.io/monitored-by: osm}, annotations: {openservicemesh.io/sidecar-injection: enabled}",
      "",
      true,
    ],
    [
      "labels: {openservicemesh.io/monitored-by: osm}",
      ", annotations: {openservicemesh.io/sidecar-injection: enabled}",
      true,
    ],
    [
      "labels: {openservicemesh.io/monitored-by: osm}, annotations: {openservicemesh.io/sidecar-injection: enabled}",
      ", annotations: {openservicemesh.io/sidecar-injection: disabled}",
      false,
    ],
  ] as const)("with a Namespace {%s} and a pod {%s} there is a sidecar: %s", ([metadata, pod, meshed]) => {
    const derived = derive(namespaced(metadata, pod));
    expect(all(derived, "Pod").map((one) => one.workload.meshed)).toEqual([meshed]);
  });

  test("a label of a sidecar in a template makes none", () => {
    const derived = derive(namespaced("", "").replace("{app: a}", "{app: a, osm-proxy-uuid: forged}"));
    expect(all(derived, "Pod")[0]?.workload.meshed).toBe(false);
  });

  test("metrics of the namespace annotate its injected pods", () => {
    const derived = derive(
      namespaced(
        "labels: {openservicemesh.io/monitored-by: osm}, annotations: {openservicemesh.io/sidecar-injection: enabled, openservicemesh.io/metrics: enabled}",
      ),
    );
    expect(derived.pods[0]?.metadata.annotations).toEqual({
      "prometheus.io/scrape": "true",
      "prometheus.io/port": "15010",
      "prometheus.io/path": "/stats/prometheus",
    });
    expect(all(derived, "Pod")[0]?.workload.metrics).toBe(true);
  });

  test("two objects that make one pod: the first makes it", () => {
    const bare =
      "apiVersion: v1\nkind: Pod\nmetadata: {name: a-0, namespace: ns}\nspec: {containers: [{name: c, image: i}]}\n";
    const { pods, problems } = derive(`${controller("StatefulSet", "")}---\n${bare}`);
    expect(pods).toHaveLength(1);
    expect(problems.map((problem) => problem.code)).toEqual(["duplicate"]);
  });
});

describe("addresses", () => {
  const service = (name: string, spec = "ports: [{port: 80}]") =>
    `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: ns}\nspec: {${spec}}\n---\n`;
  const ips = (yaml: string) =>
    new Map(all(derive(yaml), "Service").map((one) => [one.name as string, one.clusterIPs[0]]));

  test("a Service's address lies in the range and does not depend on the others", () => {
    const alone = ips(service("a")).get("ns/a");
    expect(alone).toMatch(/^10\.65\.\d+\.\d+$/);
    const many = ips(Array.from({ length: 200 }, (_, i) => service(`s${i}`)).join("") + service("a"));
    expect(many.get("ns/a")).toBe(alone);
    expect(new Set(many.values()).size).toBe(201);
  });

  test("an address that was written holds if it lies in the range and is free", () => {
    const derived = derive(
      service("a", "clusterIP: 10.65.7.7") +
        service("b", "clusterIP: 10.65.7.7") +
        service("c", "clusterIP: 10.96.0.1") +
        service("d", "clusterIP: 5"),
    );
    const found = new Map(all(derived, "Service").map((one) => [one.name as string, one.clusterIPs[0]]));
    expect(found.get("ns/a")).toBe("10.65.7.7");
    expect(new Set(found.values()).size).toBe(4);
    for (const ip of found.values()) expect(ip).toMatch(/^10\.65\./);
    expect(derived.problems.map(({ object, severity }) => [object.name, severity])).toEqual([
      ["b", "error"],
      ["c", "hint"],
      ["d", "error"],
    ]);
  });

  test("a headless Service and an ExternalName have none", () => {
    const derived = derive(
      service("a", "clusterIP: None") + service("b", "type: ExternalName, externalName: example.org"),
    );
    expect(all(derived, "Service").map((one) => one.clusterIPs)).toEqual([[], []]);
    expect(derived.problems).toEqual([]);
  });
});

test("assumed to be ready, every pod has an address of its own, and is an endpoint", () => {
  const service =
    "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: ns}\nspec: {selector: {app: a}, ports: [{port: 80, targetPort: 8080}]}\n";
  const derived = derive(`${controller("Deployment", "replicas: 3, ")}---\n${service}`);
  const ips = all(derived, "Pod").flatMap((pod) => pod.ips);
  expect(new Set(ips).size).toBe(3);
  for (const ip of ips) expect(ip).toMatch(/^10\.64\./);
  const [slice] = all(derived, "EndpointSlice");
  expect(slice?.endpoints.map((endpoint) => endpoint.ready)).toEqual([true, true, true]);
});

describe("EndpointSlices", () => {
  const SERVICE =
    "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: ns}\nspec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: web}]}\n---\n";
  const status = (over: Partial<PodStatus>): PodStatus => ({
    phase: "Running",
    ready: true,
    ip: "10.64.1.1",
    terminating: false,
    restarts: 0,
    ...over,
  });
  const slices = (yaml: string, statuses: Record<string, PodStatus>): EndpointSlice[] =>
    all(
      derive(yaml, new Map(Object.entries(statuses).map(([name, one]) => [podName("ns", name), one]))),
      "EndpointSlice",
    );
  const yaml = SERVICE + controller("StatefulSet", "replicas: 2, serviceName: a, ");

  test("endpoints follow readiness, and say which pod and which name", () => {
    expect(slices(yaml, {})).toEqual([]);
    const [slice, ...more] = slices(yaml, { "a-0": status({}), "a-1": status({ ip: "10.64.1.2", ready: false }) });
    expect(more).toEqual([]);
    expect(slice).toMatchObject({
      service: "ns/a",
      ports: [{ name: "http", port: 8080 }],
      endpoints: [
        { ip: "10.64.1.1", pod: "ns/a-0", hostname: "a-0", ready: true },
        { ip: "10.64.1.2", pod: "ns/a-1", hostname: "a-1", ready: false },
      ],
    });
  });

  test("a pod that goes is not ready, one that has ended is not there", () => {
    for (const phase of ["Succeeded", "Failed"] as const) {
      const [slice] = slices(yaml, { "a-0": status({ terminating: true }), "a-1": status({ phase }) });
      expect(slice?.endpoints).toMatchObject([{ pod: "ns/a-0", ready: false }]);
      expect(slice?.endpoints).toHaveLength(1);
    }
  });

  test("publishNotReadyAddresses", () => {
    const [slice] = slices(yaml.replace("ports: [{name: http", "publishNotReadyAddresses: true, ports: [{name: http"), {
      "a-0": status({ ready: false }),
    });
    expect(slice?.endpoints).toMatchObject([{ ready: true }]);
  });

  test("a named port is each pod's own number; a pod that lacks it is left out", () => {
    const other = controller("StatefulSet", "replicas: 1, ", "apps/v1", "b").replace("8080", "9090");
    const third = controller("StatefulSet", "replicas: 1, ", "apps/v1", "c").replace("name: web", "name: other");
    const found = slices(`${yaml}---\n${other}---\n${third}`, {
      "a-0": status({}),
      "b-0": status({ ip: "10.64.1.3" }),
      "c-0": status({ ip: "10.64.1.4" }),
    });
    expect(found.map(({ ports, endpoints }) => [ports[0]?.port, endpoints.map((one) => one.pod)])).toEqual([
      [8080, ["ns/a-0"]],
      [9090, ["ns/b-0"]],
    ]);
    expect(new Set(found.map((slice) => slice.name)).size).toBe(2);
  });

  test("a Service without a selector, or with an empty one, has none", () => {
    for (const selector of ["selector: {app: a}, ", ""]) {
      const made = slices(yaml.replace("selector: {app: a}, ports", `${selector}ports`), { "a-0": status({}) });
      expect(made).toHaveLength(selector ? 1 : 0);
    }
    expect(slices(yaml.replace("selector: {app: a}, ports", "selector: {}, ports"), { "a-0": status({}) })).toEqual([]);
  });
});
