/** A change costs what it touches: in a mesh of 1,000 services, what each kind of change makes anew, and who gets it. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  app,
  gone,
  namespace,
  pod,
  pods,
  routeGroup,
  service,
  slice,
  split,
  target,
  workload,
} from "../../support/build.ts";
import { Steps } from "./support.ts";

const SERVICES = 1_000;
const ns = (i: number) => `ns${i % 20}`;
const name = (i: number) => `${ns(i)}/s${i}`;
const port = [{ port: 80, targetPort: 8080, name: "http" }];

/** Service i is called by i+20 of its own namespace; s0 has a canary. */
const allow = (i: number, from = name((i + 20) % SERVICES)) =>
  target(`${ns(i)}/t${i}`, { to: name(i), from: [from], rules: ["HTTPRouteGroup all"] });
const base = [
  ...Array.from({ length: 20 }, (_, i) => [
    namespace(ns(i)),
    routeGroup(`${ns(i)}/all`, [{ name: "all" }]),
    routeGroup(`${ns(i)}/get`, [{ name: "get", methods: ["GET"] }]),
  ]),
  ...Array.from({ length: SERVICES }, (_, i) => [...app(name(i), { ports: port }), allow(i)]),
  app("ns0/canary", { ports: port }),
  target("ns0/canary", { to: "ns0/canary", from: ["ns0/s20", "ns1/s1"], rules: ["HTTPRouteGroup all"] }),
  split("ns0/split", { service: "s0", backends: { s0: 9, canary: 1 } }),
];

const mesh = new Steps();
const groupOf = (changed: ReadonlyMap<string, string[]>) =>
  Object.fromEntries([...changed].map(([group, names]) => [group.split("/").slice(0, 2).join("/"), names]));

beforeAll(() => {
  const { changed } = mesh.step(base.flat());
  expect(changed.size).toBe(SERVICES + 1);
});

describe("in a mesh of 1,000 services", () => {
  test("a change of one endpoint makes one resource, for the groups that refer to it", () => {
    const { reach, built, compiled, changed } = mesh.step(slice("ns5/s5", { http: 8080 }, ["10.9.9.9"]));
    expect([reach, built, compiled]).toEqual(["endpoints", { EDS: 1 }, {}]);
    expect(groupOf(changed)).toEqual({ "ns5/s25": ["EDS ns5/s5|8080"] });
  });

  test("a pod of a known workload that comes and goes is endpoints only", () => {
    const another = pod("ns5/s5-another", workload(name(5)));
    const come = mesh.step(another, slice("ns5/s5", { http: 8080 }, ["10.9.9.9", "10.9.9.10"]));
    expect([come.reach, come.built, groupOf(come.changed)]).toEqual([
      "endpoints",
      { EDS: 1 },
      { "ns5/s25": ["EDS ns5/s5|8080"] },
    ]);
    const go = mesh.step(gone(another), slice("ns5/s5", { http: 8080 }, ["10.9.9.9"]));
    expect([go.reach, go.built, groupOf(go.changed)]).toEqual([
      "endpoints",
      { EDS: 1 },
      { "ns5/s25": ["EDS ns5/s5|8080"] },
    ]);
  });

  test("endpoints that nobody may call make nothing, and equal ones neither", () => {
    const before = mesh.step(app("ns7/lonely", { ports: port }), routeGroup("ns7/other", []));
    expect(before.reach).toBe("policy");
    expect(mesh.step(slice("ns7/lonely", { http: 8080 }, ["10.9.9.9"])).built).toEqual({});
    const same = mesh.step(slice("ns5/s5", { http: 8080 }, ["10.9.9.9"]));
    expect([same.reach, same.built, same.changed.size]).toEqual(["endpoints", {}, 0]);
  });

  test("what changes nothing makes nothing", () => {
    const again = mesh.step(service("ns9/s9", { ports: port }), allow(9));
    expect([again.reach, again.changed.size, again.removed]).toEqual(["policy", 0, []]);
    expect(mesh.step().reach).toBeUndefined();
  });

  test("a weight edit makes the routes of the clients that may call that Service", () => {
    const { built, compiled, changed } = mesh.step(
      split("ns0/split", { service: "s0", backends: { s0: 5, canary: 5 } }),
    );
    expect(compiled).toEqual({ services: 1, splits: 1, outbounds: 2, groups: 2 });
    expect(built).toEqual({ RDS: 2 });
    expect(groupOf(changed)).toEqual({ "ns0/s20": ["RDS rds-outbound.80"], "ns1/s1": ["RDS rds-outbound.80"] });
  });

  test("other matches in a TrafficTarget make the server's routes and nothing else", () => {
    const { built, compiled, changed } = mesh.step(
      target("ns5/t5", { to: "ns5/s5", from: ["ns5/s25"], rules: ["HTTPRouteGroup get"] }),
    );
    expect(compiled).toEqual({ grants: 1, accounts: 1, groups: 1 });
    expect(built).toEqual({ RDS: 1 });
    expect(groupOf(changed)).toEqual({ "ns5/s5": ["RDS rds-inbound.8080"] });
  });

  test("another source in a TrafficTarget makes the server's routes, and what the source gains", () => {
    const { built, compiled, changed } = mesh.step(
      target("ns5/t5", { to: "ns5/s5", from: ["ns5/s25", "ns6/s6"], rules: ["HTTPRouteGroup get"] }),
    );
    expect(compiled).toEqual({ grants: 1, accounts: 1, outbounds: 1, groups: 2 });
    expect(built["LDS"]).toBeUndefined();
    expect(groupOf(changed)).toEqual({
      "ns5/s5": ["RDS rds-inbound.8080"],
      "ns6/s6": ["CDS ns5/s5|8080", "EDS ns5/s5|8080", "RDS rds-outbound.80", "SDS root-cert-for-mtls-outbound:ns5/s5"],
    });
    // Cluster, endpoints and validation are there already, for the other client.
    expect(built).toEqual({ RDS: 2 });
  });

  test("a rule of a TCP port leaves the HTTP ports alone, and the other way round", () => {
    const two = app("ns8/two", { ports: [...port, { port: 90, targetPort: 9090, name: "tcp-db" }] });
    const http = (rules: string[]) => target("ns8/http", { to: "ns8/two", from: ["ns8/s8"], rules });
    mesh.step(two, routeGroup("ns8/post", [{ name: "post", methods: ["POST"] }]), http(["HTTPRouteGroup get"]));
    const { built, changed } = mesh.step(http(["HTTPRouteGroup post"]));
    expect(built).toEqual({ RDS: 1 });
    expect(groupOf(changed)).toEqual({ "ns8/two": ["RDS rds-inbound.8080"] });
  });

  test("a new Service on a known port makes its own things, and no other client's", () => {
    const { changed, built } = mesh.step(
      app("ns3/new", { ports: port }),
      target("ns3/new", { to: "ns3/new", from: ["ns3/s3"], rules: ["HTTPRouteGroup all"] }),
    );
    expect(Object.keys(groupOf(changed)).sort()).toEqual(["ns3/new", "ns3/s3"]);
    expect(Object.values(built).reduce((a, b) => a + b, 0)).toBeLessThan(12);
  });

  test("a Service that is gone takes its group, and what its clients had of it", () => {
    const { changed, removed } = mesh.step([...app("ns4/s4", { ports: port })].map(gone));
    expect(removed.map((g) => g.split("/")[1])).toEqual(["s4"]);
    expect(groupOf(changed)).toEqual({
      "ns4/s24": [
        "CDS ns4/s4|8080",
        "EDS ns4/s4|8080",
        "RDS rds-outbound.80",
        "SDS root-cert-for-mtls-outbound:ns4/s4",
      ],
    });
  });

  test("pods of one more template of an account with the same ports are no new group: nothing is sent", () => {
    const { built, changed } = mesh.step(pods(workload(name(10), { labels: { app: "s10", version: "2" } })));
    // The Service is read again, for it may have got another account.
    expect([built, changed.size]).toEqual([{ RDS: 1, SDS: 1 }, 0]);
  });
});
