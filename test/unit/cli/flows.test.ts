/** From lines of access logs to flows. */
import { expect, test } from "vitest";
import { parseAccessLine } from "../../../src/cli/access-line.ts";
import { Flows } from "../../../src/cli/flows.ts";
import type { PodName } from "../../../src/world/names.ts";

const BUYER = "bookbuyer/buyer-1" as PodName;
const THIEF = "bookthief/thief-1" as PodName;
const STORE = "bookstore/store-v1-1" as PodName;

function flows() {
  const clock = { now: 1_000_000 };
  const identities: Record<string, string> = {
    [BUYER]: "bookbuyer/bookbuyer",
    [THIEF]: "bookthief/bookthief",
    [STORE]: "bookstore/bookstore-v1",
  };
  const made = new Flows({
    now: () => clock.now,
    directory: {
      identityOf: (pod) => identities[pod],
      podAt: (ip) => (ip === "10.0.0.5" ? STORE : undefined),
      hasService: (name) => name === "bookstore/bookstore",
    },
  });
  const add = (pod: PodName, line: Record<string, unknown>): void =>
    made.add(pod, parseAccessLine(JSON.stringify(line))!);
  return { clock, made, add };
}

const call = {
  reporter: "source",
  method: "GET",
  path: "/books-bought?n=1",
  authority: "bookstore.bookstore:14001",
  response_code: 200,
  response_code_details: "via_upstream",
  response_flags: "-",
  duration: 4,
  bytes_received: 10,
  bytes_sent: 90,
  upstream_cluster: "bookstore/bookstore-v1|14001",
  upstream_host: "10.0.0.5:14001",
};

test("what is no access log line is passed over", () => {
  for (const line of [
    "",
    "starting",
    "{",
    '{"reporter":',
    '{"reporter":"x"}',
    "null",
    '["reporter"]',
    '{"a":"reporter"}',
  ]) {
    expect(parseAccessLine(line)).toBeUndefined();
  }
});

test("a split's backends are flows of their own, with rate, codes and latencies", () => {
  const { clock, made, add } = flows();
  for (let i = 0; i < 100; i++) {
    clock.now += 100;
    add(BUYER, { ...call, duration: i });
    if (i % 4 === 0)
      add(BUYER, { ...call, upstream_cluster: "bookstore/bookstore-v2|14001", response_code: i === 0 ? 500 : 200 });
  }
  const [v1, v2, ...more] = made.rows();
  expect(more).toEqual([]);
  expect(v1).toMatchObject({
    from: "bookbuyer/bookbuyer",
    to: "bookstore/bookstore",
    port: 14001,
    backend: "bookstore/bookstore-v1",
    kind: "http",
  });
  expect(v1!.perSecond).toBeCloseTo(10, 0);
  expect(v1!.p50).toBeGreaterThan(45);
  expect(v1!.p50).toBeLessThan(60);
  expect(v1!.p99).toBe(99);
  expect(v2!.backend).toBe("bookstore/bookstore-v2");
  expect(v2!.outcomes[0]).toMatchObject({ outcome: "200" });
});

test("figures are about the last ten seconds, and a silent flow is forgotten after a minute", () => {
  const { clock, made, add } = flows();
  add(BUYER, call);
  clock.now += 5000;
  add(BUYER, { ...call, response_code: 503 });
  expect(made.rows()[0]!.outcomes.map((o) => o.outcome)).toEqual(["200", "503"]);
  clock.now += 6000;
  expect(made.rows()[0]!.outcomes.map((o) => o.outcome)).toEqual(["503"]);
  clock.now += 6000;
  expect(made.rows()[0]).toMatchObject({ perSecond: 0, outcomes: [] });
  expect(made.rows()[0]!.p50).toBeUndefined();
  clock.now += 60_000;
  expect(made.rows()).toEqual([]);
});

test("a call that the caller's sidecar refuses is told with its reason", () => {
  const { made, add } = flows();
  const refused = {
    ...call,
    response_code: 403,
    response_code_details: "direct_response",
    upstream_cluster: null,
    upstream_host: null,
  };
  add(THIEF, refused);
  add(THIEF, { ...refused, authority: "nowhere.example" });
  expect(made.rows().map((r) => [r.to, r.reason])).toEqual([
    ["bookstore/bookstore", "no TrafficTarget lets bookthief/bookthief call bookstore.bookstore:14001"],
    ["example/nowhere", "nowhere.example is not a Service of the mesh, so bookthief/bookthief may not call it"],
  ]);
});

test("a call that the server's sidecar refuses has the server's reason, whichever line comes first", () => {
  const { clock, made, add } = flows();
  const seen = { ...call, response_code: 403 };
  const refused = {
    reporter: "destination",
    method: "GET",
    path: "/secret?token=1",
    authority: "bookstore.bookstore:14001",
    response_code: 403,
    response_code_details: "rbac_access_denied_matched_policy[none]",
    peer: "spiffe://cluster.local/ns/bookthief/sa/bookthief",
  };
  add(THIEF, seen);
  expect(made.rows()[0]!.reason).toBeUndefined();
  add(STORE, refused);
  expect(made.rows()).toHaveLength(1);
  expect(made.rows()[0]!.reason).toBe(
    "no TrafficTarget lets bookthief/bookthief do GET /secret on bookstore/bookstore-v1",
  );
  clock.now += 11_000;
  expect(made.rows()[0]!.reason).toBeUndefined();
});

test("an application's own 403 has no reason of ours", () => {
  const { made, add } = flows();
  add(BUYER, { ...call, response_code: 403 });
  expect(made.rows()[0]!.reason).toBeUndefined();
});

test("who calls past the mesh is shown once, as outside", () => {
  const { made, add } = flows();
  add(STORE, {
    reporter: "destination",
    method: "GET",
    path: "/",
    authority: "10.0.0.5:14001",
    response_code: 403,
    response_code_details: "direct_response",
    peer: null,
  });
  expect(made.rows()[0]).toMatchObject({ from: "(outside the mesh)", to: "bookstore/bookstore-v1" });
  expect(made.rows()[0]!.reason).toMatch(/without its TLS/);
});

test("TCP connections count when they end, with their bytes; Envoy's flags say what failed", () => {
  const { made, add } = flows();
  const tcp = {
    ...call,
    method: null,
    path: null,
    authority: null,
    response_code: 0,
    upstream_cluster: "db/mysql|3306",
  };
  add(BUYER, tcp);
  add(BUYER, { ...tcp, response_flags: "UF,URX" });
  expect(made.rows()).toMatchObject([
    {
      kind: "tcp",
      to: "db/mysql",
      port: 3306,
      bytes: 200,
      outcomes: [
        { outcome: "UF,URX", count: 1 },
        { outcome: "ok", count: 1 },
      ],
    },
  ]);
  expect(made.rows()[0]!.reason).toMatch(/no connection to a pod/);
});

test("memory is bounded: flows beyond a thousand are counted only", () => {
  const { made, add } = flows();
  for (let i = 0; i < 1010; i++) add(BUYER, { ...call, authority: `s${i}.x` });
  expect(made.rows()).toHaveLength(1000);
  expect(made.dropped).toBe(10);
});
