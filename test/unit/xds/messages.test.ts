/** What Envoy is told, where users read or scrape it, and where one message must not spoil another. */
import { describe, expect, test } from "vitest";
import { RouteConfiguration } from "../../../gen/envoy/config/route/v3/route.ts";
import { missing } from "../../../src/xds/build.ts";
import { resource, TYPES, type Resources } from "../../../src/xds/resource.ts";
import {
  app,
  meshConfig,
  namespace,
  pods,
  routeGroup,
  service,
  slice,
  split,
  target,
  tcpRoute,
  workload,
  type Changes,
} from "../../support/build.ts";
import type { ServicePort } from "../../../src/world/types.ts";
import type { Json } from "../../support/envoy-json.ts";
import { Steps } from "./support.ts";

const web = [namespace("a"), ...pods(workload("a/web"))];
const http = { port: 80, targetPort: 8080, name: "http" };
const open = (to: string, ...rules: string[]) => [
  routeGroup("a/all", [{ name: "all" }]),
  tcpRoute("a/tcp"),
  target(`a/${to}`, { to: `a/${to}`, from: ["a/web"], rules: rules.length > 0 ? rules : ["HTTPRouteGroup all"] }),
];

function built(...changes: readonly Changes[]): Steps {
  const steps = new Steps();
  steps.step(web, ...changes);
  return steps;
}

const chains = (listener: Json): Json[] => listener.filterChains.map((c: Json) => c.name);
const hosts = (routes: Json): Record<string, string[]> =>
  Object.fromEntries(routes.virtualHosts.map((h: Json) => [h.name, h.domains]));

test("difference 17: names are OSM's where users scrape them; those of secrets and headless clusters do not say who asks", () => {
  const mesh = built(
    app("a/api", { ports: [http, { port: 5432, name: "tcp-db" }], workload: { metrics: true } }),
    open("api", "HTTPRouteGroup all", "TCPRoute tcp"),
    app("a/pets", { ports: [http], headless: true }),
    open("pets"),
    pods(workload("a/guest")),
    target("a/guest", { to: "a/api", from: ["a/guest"], rules: ["HTTPRouteGroup all"] }),
  );
  expect([...mesh.of("a/web").CDS.keys()]).toEqual(["a/api|5432", "a/api|8080", "a/pets|8080"]);
  const secrets = ["root-cert-for-mtls-inbound", "root-cert-for-mtls-outbound:a/api"];
  expect([...mesh.of("a/guest").SDS.keys()]).toEqual(secrets);
  expect([...mesh.of("a/web").SDS.keys()]).toEqual([...secrets, "root-cert-for-mtls-outbound:a/pets"]);
  expect([...mesh.of("a/api").CDS.keys()]).toEqual(["a/api|5432|local", "a/api|8080|local", "envoy-metrics-cluster"]);
  expect([...mesh.of("a/api").LDS.keys()]).toEqual([
    "inbound-listener",
    "inbound-prometheus-listener",
    "outbound-listener",
  ]);
  expect([...mesh.of("a/api").RDS.keys()]).toEqual(["rds-inbound.8080", "rds-outbound.80"]);
  expect(chains(mesh.json("a/api", "LDS", "inbound-listener"))).toEqual([
    "inbound_a/api_5432_tcp_web.a.cluster.local",
    "inbound_a/api_5432_tcp",
    "inbound_a/api_8080_http",
    "inbound_plaintext_8080",
  ]);
  expect(chains(mesh.json("a/web", "LDS", "outbound-listener"))).toEqual([
    "outbound_80_http",
    "outbound_a/api_5432_tcp",
    "outbound-refused-http",
  ]);
  expect(Object.keys(hosts(mesh.json("a/web", "RDS", "rds-outbound.80")))).toEqual([
    "outbound_virtual-host|api.a.svc.cluster.local",
    "outbound_virtual-host|pets.a.svc.cluster.local",
    "outbound_virtual-host|*.pets.a.svc.cluster.local",
    "outbound_virtual-host|*",
  ]);
  const ports = Object.fromEntries(
    ["outbound-listener", "inbound-listener", "inbound-prometheus-listener"].map((name) => [
      name,
      mesh.json("a/api", "LDS", name).address.socketAddress.portValue,
    ]),
  );
  expect(ports).toEqual({
    "outbound-listener": 15001,
    "inbound-listener": 15003,
    "inbound-prometheus-listener": 15010,
  });
});

test("difference 3: a client accepts exactly the Service's accounts; a Service without any is nobody", () => {
  const mesh = built(
    app("a/api", { ports: [http] }),
    service("a/empty", { ports: [http] }),
    pods(workload("a/second", { labels: { app: "api" } })),
    meshConfig({ permissive: true }),
  );
  const names = (of: string) =>
    mesh
      .json("a/web", "SDS", `root-cert-for-mtls-outbound:${of}`)
      .validationContext.matchTypedSubjectAltNames.map((m: Json) => [m.sanType, m.matcher.exact]);
  expect(names("a/api")).toEqual([
    ["DNS", "api.a.cluster.local"],
    ["DNS", "second.a.cluster.local"],
  ]);
  expect(names("a/empty")).toEqual([["DNS", "nobody.invalid"]]);
});

test("route configurations, put together of hosts that are encoded once, are what protobuf makes of the whole", () => {
  const mesh = built(
    app("a/api", { ports: [http] }),
    app("a/db", { ports: [http], headless: true }),
    pods(workload("b/web")),
    namespace("b"),
    open("api"),
    open("db"),
    meshConfig({ permissive: true, egress: true }),
  );
  const bytes = (of: string, name: string) => mesh.of(of).RDS.get(name)?.bytes ?? new Uint8Array();
  for (const [of, name] of [
    ["a/web", "rds-outbound.80"],
    ["b/web", "rds-outbound.80"],
    ["a/api", "rds-inbound.8080"],
  ] as const) {
    const whole = RouteConfiguration.decode(bytes(of, name));
    expect(whole.virtualHosts?.length, `${of} ${name}`).toBeGreaterThan(1);
    expect(RouteConfiguration.encode(whole).finish()).toEqual(bytes(of, name));
  }
  // Bare names are for the Service's own namespace only, whoever was first.
  expect(
    hosts(mesh.json("a/web", "RDS", "rds-outbound.80"))["outbound_virtual-host|api.a.svc.cluster.local"],
  ).toContain("api");
  expect(
    hosts(mesh.json("b/web", "RDS", "rds-outbound.80"))["outbound_virtual-host|api.a.svc.cluster.local"],
  ).not.toContain("api");
});

test("row 15: HTTP/2, and so gRPC, stays HTTP/2 on its way to the application", () => {
  const mesh = built(app("a/api", { ports: [{ port: 80, targetPort: 8080, name: "grpc-api" }] }), open("api"));
  for (const [of, cluster] of [
    ["a/web", "a/api|8080"],
    ["a/api", "a/api|8080|local"],
  ] as const) {
    const options = mesh.json(of, "CDS", cluster).typedExtensionProtocolOptions;
    expect(Object.values(options), cluster).toMatchObject([
      { useDownstreamProtocolConfig: { http2ProtocolOptions: {}, httpProtocolOptions: {} } },
    ]);
  }
});

test("row 33, difference 10: a pod's name of a headless Service leads to that pod, whatever splits say of the Service", () => {
  const mesh = built(
    app("a/db", { ports: [http], headless: true }),
    app("a/v2", { ports: [http] }),
    open("db"),
    open("v2"),
    split("a/s", { service: "db", backends: { v2: 1 } }),
  );
  const routes = mesh.json("a/web", "RDS", "rds-outbound.80");
  const to = Object.fromEntries(
    routes.virtualHosts.map((h: Json) => [h.name.split("|")[1], h.routes[0].route?.cluster]),
  );
  expect(to).toMatchObject({ "db.a.svc.cluster.local": "a/v2|8080", "*.db.a.svc.cluster.local": "a/db|8080" });
  expect(hosts(routes)["outbound_virtual-host|*.db.a.svc.cluster.local"]).toEqual([
    "*.db",
    "*.db.a",
    "*.db.a.svc",
    "*.db.a.svc.cluster",
    "*.db.a.svc.cluster.local",
  ]);
});

test("row 29: a headless backend of a split is its endpoints, not the address that the client was calling", () => {
  const mesh = built(
    app("a/db", { ports: [http] }),
    app("a/v2", { ports: [http], headless: true }),
    open("db"),
    open("v2"),
    split("a/s", { service: "db", backends: { v2: 1 } }),
  );
  const to = (host: string) =>
    mesh
      .json("a/web", "RDS", "rds-outbound.80")
      .virtualHosts.find((h: Json) => h.name === `outbound_virtual-host|${host}.a.svc.cluster.local`).routes[0].route
      .cluster;
  expect([to("db"), to("v2"), to("*.v2")]).toEqual(["a/v2|8080|spread", "a/v2|8080", "a/v2|8080"]);
  const type = (name: string) => mesh.json("a/web", "CDS", name).type;
  expect([type("a/v2|8080|spread"), type("a/v2|8080")]).toEqual(["EDS", "ORIGINAL_DST"]);
  const { reach, built: made, changed } = mesh.step(slice("a/v2", { http: 8080 }, ["10.9.9.9"], "v2-1"));
  expect([reach, made, [...changed.values()]]).toEqual(["endpoints", { EDS: 1 }, [["EDS a/v2|8080|spread"]]]);
  expect(missing(mesh.of("a/web"))).toEqual([]);
  mesh.step(split("a/s", { service: "db", backends: { db: 1 } }));
  expect([...mesh.of("a/web").CDS.keys()]).toEqual(["a/db|8080", "a/v2|8080"]);
});

test("no two chains of a listener match one address: the first Service by name has it", () => {
  const db = { ports: [{ port: 5432, name: "tcp-db" }], selector: { app: "db" }, headless: true };
  const mesh = built(
    pods(workload("a/db")),
    ["a/one", "a/two"].map((name) => [service(name, db), slice(name, { "tcp-db": 5432 }, ["10.2.0.7"])]).flat(),
    open("db", "TCPRoute tcp"),
  );
  const tcp = () =>
    mesh
      .json("a/web", "LDS", "outbound-listener")
      .filterChains.filter((c: Json) => c.name.endsWith("_tcp"))
      .map((c: Json) => [c.name, c.filterChainMatch.prefixRanges.map((r: Json) => r.addressPrefix)]);
  expect(tcp()).toEqual([["outbound_a/one_5432_tcp", ["10.2.0.7"]]]);
  const { reach } = mesh.step(slice("a/two", { "tcp-db": 5432 }, ["10.2.0.7", "10.2.0.8"]));
  expect(reach).toBe("endpoints");
  expect(tcp()).toEqual([
    ["outbound_a/one_5432_tcp", ["10.2.0.7"]],
    ["outbound_a/two_5432_tcp", ["10.2.0.8"]],
  ]);
  mesh.step(split("a/nothing", { service: "one", backends: { gone: 1 } }));
  expect(tcp()).toEqual([["outbound_a/two_5432_tcp", ["10.2.0.7", "10.2.0.8"]]]);
});

describe("difference 8: an edit of a Service takes effect by itself", () => {
  const db = (port: Partial<ServicePort>, selector = { app: "db" }) =>
    service("a/db", { ports: [{ port: 80, targetPort: 8080, ...port }], selector });
  const before = () =>
    built(
      app("a/db", { ports: [http] }),
      open("db", "HTTPRouteGroup all", "TCPRoute tcp"),
      ...pods(workload("a/other")),
    );

  test("another appProtocol: the port is TCP from then on, at the server and its clients", () => {
    const mesh = before();
    const { reach } = mesh.step(db({ appProtocol: "tcp" }));
    expect(reach).toBe("policy");
    expect(chains(mesh.json("a/db", "LDS", "inbound-listener"))).toContain("inbound_a/db_8080_tcp");
    expect(chains(mesh.json("a/web", "LDS", "outbound-listener"))).toContain("outbound_a/db_80_tcp");
  });

  test("another targetPort, and another port", () => {
    const mesh = before();
    mesh.step(db({ targetPort: 9090 }));
    expect(chains(mesh.json("a/db", "LDS", "inbound-listener"))).toContain("inbound_a/db_9090_http");
    mesh.step(db({ port: 81 }));
    expect([...mesh.of("a/web").RDS.keys()]).toEqual(["rds-outbound.81"]);
  });

  test("another selector: it is another account's, for its clients as for itself", () => {
    const mesh = before();
    mesh.step(db({}, { app: "other" }));
    expect(chains(mesh.json("a/other", "LDS", "inbound-listener"))).toContain("inbound_a/db_8080_http");
    // Nothing opens the other account to the client, so it does not know the Service any more.
    expect([...mesh.of("a/web").CDS.keys()]).toEqual([]);
  });
});

test("a port's new name is found in slices that had it before the Service did", () => {
  const of = (name: string) => service("a/api", { ports: [{ ...http, name }] });
  const mesh = built(pods(workload("a/api")), of("old"), slice("a/api", { old: 8080 }, ["10.2.0.7"]), open("api"));
  const count = () => mesh.json("a/web", "EDS", "a/api|8080").endpoints?.length ?? 0;
  expect(count()).toBe(1);
  mesh.step(slice("a/api", { new: 8080 }, ["10.2.0.7"]));
  expect(count()).toBe(0);
  mesh.step(of("new"));
  expect(count()).toBe(1);
});

test("only ready endpoints take requests, each address once", () => {
  const mesh = built(
    app("a/api", { ports: [http] }),
    open("api"),
    slice("a/api", { http: 8080 }, ["10.2.0.9", "10.2.0.7", { ip: "10.2.0.8", ready: false }], "one"),
    slice("a/api", { http: 8080 }, ["10.2.0.9", "fd00::1"], "two"),
    slice("a/api", { other: 1 }, ["10.2.0.1"], "three"),
    slice("a/api", { http: 8080 }, [], "api-1"),
  );
  const addresses = mesh
    .json("a/web", "EDS", "a/api|8080")
    .endpoints[0].lbEndpoints.map((e: Json) => e.endpoint.address.socketAddress.address);
  expect(addresses).toEqual(["10.2.0.7", "10.2.0.9", "fd00::1"]);
});

describe("whole or not at all", () => {
  test("names that are referred to and are not there are found, each stream's own certificate aside", () => {
    const nothing = Object.fromEntries(TYPES.map((type) => [type, new Map()])) as unknown as Resources;
    const cluster = resource("CDS", "c", new Uint8Array(), [
      { type: "EDS", name: "e" },
      { type: "SDS", name: "service-cert" },
    ]);
    expect(missing({ ...nothing, CDS: new Map([["c", cluster]]) })).toEqual(["EDS e"]);
    expect(
      missing({
        ...nothing,
        CDS: new Map([["c", cluster]]),
        EDS: new Map([["e", resource("EDS", "e", new Uint8Array())]]),
      }),
    ).toEqual([]);
  });

  test("equal content has an equal version", () => {
    const [one, two] = [1, 2].map(() => built(app("a/api", { ports: [http] }), open("api")));
    for (const type of TYPES)
      expect([...(two as Steps).of("a/web")[type]].map(([n, r]) => [n, r.version])).toEqual(
        [...(one as Steps).of("a/web")[type]].map(([n, r]) => [n, r.version]),
      );
  });
});
