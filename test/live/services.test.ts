/**
 * Services as people write them, through real Envoys: ports of all kinds, headless ones, those that are not the mesh's.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { podName } from "../../src/world/names.ts";
import { cannotRunLive, lacking, LiveMesh, until, type PodClient } from "../support/live-mesh.ts";

/** Pods of an account of the same name. */
const workload = (
  name: string,
  ports: string,
  more: { kind?: string; spec?: string; labels?: string; ns?: string } = {},
) => {
  const { kind = "Deployment", spec = "", labels = `app: ${name}`, ns = "shop" } = more;
  return `
apiVersion: apps/v1
kind: ${kind}
metadata: { name: ${name}, namespace: ${ns} }
spec:
  ${spec}
  selector: { matchLabels: { ${labels} } }
  template:
    metadata: { labels: { ${labels} } }
    spec:
      serviceAccountName: ${name}
      containers: [{ name: app, image: nothing, ports: [${ports}] }]
---`;
};

const service = (name: string, spec: string, ns = "shop") => `
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: ${ns} }
spec: ${spec}
---`;

const target = (to: string, from: readonly string[], ports?: readonly number[]) => `
apiVersion: specs.smi-spec.io/v1alpha4
kind: TCPRoute
metadata: { name: ${to}, namespace: shop }
spec: { matches: { ports: [${(ports ?? []).join(", ")}] } }
---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: { name: ${to}, namespace: shop }
spec:
  destination: { kind: ServiceAccount, name: ${to}, namespace: shop }
  rules: [{ kind: HTTPRouteGroup, name: all }${ports ? `, { kind: TCPRoute, name: ${to} }` : ""}]
  sources: [${from.map((name) => `{ kind: ServiceAccount, name: ${name}, namespace: shop }`).join(", ")}]
---`;

const meshConfig = (egress: boolean) => `
apiVersion: config.openservicemesh.io/v1alpha2
kind: MeshConfig
metadata: { name: osm-mesh-config, namespace: osm-system }
spec: { traffic: { enableEgress: ${egress} } }
`;

const database = (replicas: number) =>
  workload("db", "{ containerPort: 8080 }, { containerPort: 9000 }", {
    kind: "StatefulSet",
    spec: `serviceName: db\n  replicas: ${replicas}`,
  });

const MESH = `
${workload("client", "")}
${workload("multi", "{ name: web, containerPort: 8080 }, { name: admin, containerPort: 9090 }, { containerPort: 7000 }")}
${service(
  "multi",
  `
  selector: { app: multi }
  ports:
    - { name: http-web, port: 80, targetPort: web }
    - { name: http-admin, port: 81, targetPort: admin }
    - { name: http-again, port: 82, targetPort: 8080 }
    - { name: tcp-raw, port: 7000 }
    - { name: tcp-dns, port: 53, targetPort: 7000 }
    - { name: udp-dns, port: 53, targetPort: 7000, protocol: UDP }
    - { name: udp-only, port: 80, targetPort: web, protocol: UDP }`,
)}
${service("alias", "{ selector: { app: multi }, ports: [{ name: http-alias, port: 8000, targetPort: web }, { name: tcp-alias, port: 7001, targetPort: 7000 }] }")}
${workload("spoken", "{ containerPort: 8081 }, { containerPort: 8443 }, { containerPort: 8083 }, { containerPort: 5672 }")}
${service(
  "spoken",
  `
  selector: { app: spoken }
  ports:
    - { name: tcp-in-name-only, port: 8081, appProtocol: http }
    - { name: http-in-name-only, port: 8443, appProtocol: https }
    - { name: grpc-api, port: 8083 }
    - { name: queue, port: 5672, appProtocol: amqp }`,
)}
${workload("red", "{ containerPort: 8080 }", { labels: "app: paint, colour: red" })}
${workload("blue", "{ containerPort: 8080 }", { labels: "app: paint, colour: blue" })}
${service("paint", "{ selector: { app: paint }, ports: [{ port: 80, targetPort: 8080 }] }")}
${service("db", "{ clusterIP: None, selector: { app: db }, ports: [{ name: http-db, port: 8080 }, { name: tcp-peer, port: 9000 }] }")}
${service("outside", "{ type: ExternalName, externalName: legacy.plain.svc.cluster.local }")}
${service("by-hand", "{ ports: [{ name: http, port: 80, targetPort: 8080 }, { name: tcp-raw, port: 7100, targetPort: 9000 }] }")}
apiVersion: v1
kind: Namespace
metadata: { name: plain }
---
${workload("legacy", "{ containerPort: 8080 }, { containerPort: 9000 }", { ns: "plain" })}
${service("legacy", "{ selector: { app: legacy }, ports: [{ port: 80, targetPort: 8080 }] }", "plain")}
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: { name: all, namespace: shop }
spec: { matches: [{ name: all }] }
---
${target("multi", ["client"], [7000])}
${target("spoken", ["client"], [8443])}
${target("db", ["client", "db"], [9000])}
${target("red", ["client"])}
`;

const byHand = (ip: string) => `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: by-hand, namespace: shop, labels: { kubernetes.io/service-name: by-hand } }
addressType: IPv4
ports: [{ name: http, port: 8080 }, { name: tcp-raw, port: 9000 }]
endpoints: [{ addresses: ["${ip}"] }]
`;

describe.skipIf(lacking(cannotRunLive()))("Services", () => {
  let live: LiveMesh;
  let client: PodClient;

  beforeAll(async () => {
    live = await LiveMesh.start({ "mesh.yaml": MESH, "db.yaml": database(2), "config.yaml": meshConfig(true) });
    await live.ready();
    client = await live.client("shop/client");
    await until("the client is served", async () => (await client.http("http://multi/")).status === 200);
  });
  afterAll(() => live?.stop());

  interface Said {
    readonly pod: string;
    readonly port: number;
    readonly headers: Readonly<Record<string, string>>;
  }
  /** Which pod answered, on which port. */
  async function asked(host: string, by = client): Promise<string> {
    const { status, body, error } = await by.http(`http://${host}/`);
    if (status !== 200) return `${status} ${error ?? body.trim()}`;
    const { pod, port } = JSON.parse(body) as Said;
    return `${pod.replace(/-[a-z0-9]{10}-[a-z0-9]{5}$/, "")}:${port}`;
  }
  const echoed = async (host: string, port: number, by = client) =>
    (await by.tcp(host, port, "PING\n")).received === "PING\n";
  const problems = (name: string) =>
    live.mesh
      .problems()
      .filter(({ object, code }) => object.name === name && code !== "no-image-mapping")
      .map(({ severity, code, path }) => `${severity} ${code} ${path}`);

  test("each port leads to its own targetPort, by number or by name, and two ports may have the same one", async () => {
    expect(await asked("multi")).toBe("multi:8080");
    expect(await asked("multi:81")).toBe("multi:9090");
    expect(await asked("multi:82")).toBe("multi:8080");
    expect(await echoed("multi", 7000)).toBe(true);
    expect(await asked("multi:83")).toMatch(/^0 /);
  });

  test("UDP ports are told and disturb nothing, also where a TCP port has the same number", async () => {
    expect(problems("multi")).toEqual([
      "hint unsupported-protocol spec.ports[5].protocol",
      "hint unsupported-protocol spec.ports[6].protocol",
    ]);
    expect(await echoed("multi", 53)).toBe(true);
    expect(await asked("multi:80")).toBe("multi:8080");
  });

  test("a pod behind several Services is called by the name of each", async () => {
    expect([await asked("alias:8000"), await asked("multi"), await asked("alias.shop.svc:8000")]).toEqual([
      "multi:8080",
      "multi:8080",
      "multi:8080",
    ]);
    expect(await echoed("alias", 7001)).toBe(true);
    // A name counts on the ports of its own Service only: on others it is passed on, to where nobody listens.
    expect(await asked("alias:80")).toMatch(/^503 /);
  });

  test("row 24: a port speaks what appProtocol says, else its name; what nobody knows is TCP", async () => {
    expect(await asked("spoken:8081")).toBe("spoken:8081");
    expect(await asked("spoken:8083")).toBe("spoken:8083");
    expect(await echoed("spoken", 8443)).toBe(true);
    // HTTP rules open no TCP port, and the TCPRoute does not name this one.
    expect(await echoed("spoken", 5672)).toBe(false);
    expect(problems("spoken")).toEqual(["hint unknown-protocol spec.ports[3].appProtocol"]);
  });

  test("difference 10: a StatefulSet's pods are called by their names and by the Service's, HTTP and TCP", async () => {
    for (const pod of ["db-0", "db-1"])
      for (const host of [`${pod}.db`, `${pod}.db.shop`, `${pod}.db.shop.svc.cluster.local`])
        expect(await asked(`${host}:8080`), host).toBe(`${pod}:8080`);
    for (const host of ["db:8080", "db.shop:8080", "db.shop.svc.cluster.local:8080"])
      expect(await asked(host), host).toMatch(/^db-[01]:8080$/);
    const counted = async (pod: string) => {
      const { body } = await live.mesh.runtime.admin(
        podName("shop", pod),
        "/stats?filter=%7C9000%7Clocal.upstream_cx_total",
      );
      return Number(body.split(": ")[1] ?? 0);
    };
    const before = await counted("db-1");
    expect(await echoed("db-1.db", 9000)).toBe(true);
    expect(await counted("db-1")).toBe(before + 1);
    expect(await echoed("db-0.db", 9000)).toBe(true);
    expect(await counted("db-1")).toBe(before + 1);
    expect(await echoed("db", 9000)).toBe(true);
    const peer = await live.client("db-0");
    expect(await asked("db-1.db:8080", peer)).toBe("db-1:8080");
    expect(await echoed("db-1.db", 9000, peer)).toBe(true);
  });

  test("a pod that a StatefulSet gets later is called by its name as soon as it is ready", async () => {
    live.write("db.yaml", database(3));
    await until("db-2 answers", async () => (await asked("db-2.db:8080")) === "db-2:8080", 30_000);
    await until("its TCP port too", () => echoed("db-2.db", 9000));
    expect(await asked("db-0.db:8080")).toBe("db-0:8080");
  });

  test("pods of several accounts are one Service: each is called as its own account's TrafficTarget lets it", async () => {
    const { statuses } = await client.count("http://paint/", 40);
    expect(Object.keys(statuses)).toEqual(["200", "403"]);
    live.write("blue.yaml", target("blue", ["client"]));
    await until("both are open", async () => {
      const answers = await client.count("http://paint/", 40);
      return answers.statuses[200] === 40;
    });
  });

  test("what is no Service of the mesh is told, and passed on in plain text where egress is on, else refused", async () => {
    live.write("by-hand.yaml", byHand(live.pod("plain/legacy").status?.ip ?? ""));
    expect(problems("outside")).toEqual(["hint not-in-mesh spec.selector"]);
    expect(problems("by-hand")).toEqual(["hint not-in-mesh spec.selector"]);
    await until("the Service without a selector answers", async () => (await asked("by-hand")) === "legacy:8080");
    expect(await asked("outside")).toBe("legacy:8080");
    expect(await asked("legacy.plain")).toBe("legacy:8080");
    expect(await echoed("by-hand", 7100)).toBe(true);
    live.write("config.yaml", meshConfig(false));
    await until("egress is off", async () => (await asked("by-hand")).startsWith("403 "));
    for (const host of ["outside", "legacy.plain"])
      expect(await asked(host), host).toContain("or there is no such Service in the mesh");
    expect(await echoed("by-hand", 7100)).toBe(false);
    live.write("config.yaml", meshConfig(true));
    await until("egress is on", async () => (await asked("by-hand")) === "legacy:8080");
    expect(await asked("multi")).toBe("multi:8080");
  });
});
