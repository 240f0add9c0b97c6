import { describe, expect, test } from "vitest";
import { Compiler } from "../../../src/policy/compile.ts";
import { protocolOf } from "../../../src/policy/services.ts";
import { PROBLEM_CODES, type ProblemCode } from "../../../src/world/types.ts";
import {
  app,
  namespace,
  pod,
  pods,
  routeGroup,
  service,
  split,
  target,
  tcpRoute,
  workload,
  world,
} from "../../support/build.ts";
import { apply } from "../../../src/world/world.ts";
import { meshOf } from "./support.ts";

const port = (name: string, appProtocol?: string) => ({
  name,
  port: 1,
  targetPort: 1,
  protocol: "TCP" as const,
  ...(appProtocol === undefined ? {} : { appProtocol }),
});

describe("row 24: what a port speaks", () => {
  test.each([
    ["", undefined, "http"],
    ["web", undefined, "http"],
    ["http-web", undefined, "http"],
    ["grpc-api", undefined, "http"],
    ["tcp-db", undefined, "tcp"],
    ["tcp", undefined, "http"],
    ["https-web", undefined, "tcp"],
    ["tcp-server-first-db", undefined, "tcp-server-first"],
    ["tcp-db", "http", "http"],
    ["http-web", "TCP", "tcp"],
    ["", "kubernetes.io/h2c", "http"],
    ["", "mysql", "tcp-server-first"],
    ["http-web", "unheard-of", undefined],
  ])("name %j, appProtocol %j: %j", (name, appProtocol, protocol) => {
    expect(protocolOf(port(name, appProtocol))).toBe(protocol);
  });

  test.each(["odd", "constructor", "__proto__", "toString"])(
    "an appProtocol that nobody knows (%s) is TCP, so HTTP rules open nothing",
    (appProtocol) => {
      const mesh = meshOf(
        app("a/api", { ports: [{ port: 80, appProtocol }] }),
        routeGroup("a/g", [{ name: "m" }]),
        target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup g"] }),
      );
      expect(mesh.port("a/api", 80)).toMatchObject({ protocol: "tcp", access: [] });
      expect(mesh.said("Service", "a/api")).toEqual(["hint unknown-protocol spec.ports[0].appProtocol"]);
    },
  );

  test("a port of no Service is not there", () => {
    const mesh = meshOf(pods(workload("a/api", { ports: [{ port: 8080 }] })));
    expect(mesh.policy("a/api").inbound).toEqual([]);
  });

  test("pods that are not ready have their ports, by number and by name", () => {
    const of = workload("a/api", { ports: [{ name: "web", port: 8080 }] });
    const mesh = meshOf(
      pod("a/api-1", of, { ready: false }),
      service("a/api", {
        ports: [
          { port: 80, targetPort: "web" },
          { port: 81, name: "b", targetPort: 9090 },
        ],
      }),
    );
    expect(mesh.policy("a/api").inbound.map((p) => p.port)).toEqual([8080, 9090]);
    expect(mesh.routes("a/api", 80)).toEqual(["a/api|8080*1"]);
  });

  test("where pods of one Service call a port by different numbers, the lowest names the cluster, and each pod opens its own", () => {
    const of = (n: number) => workload(`a/v${n}`, { labels: { app: "api" }, ports: [{ name: "web", port: 8080 + n }] });
    const mesh = meshOf(pods(of(1)), pods(of(2)), service("a/api", { ports: [{ port: 80, targetPort: "web" }] }));
    expect(mesh.routes("a/api", 80)).toEqual(["a/api|8081*1"]);
    expect(mesh.policy("a/v2").inbound.map((p) => p.port)).toEqual([8082]);
  });

  test("a name that no pod has leads nowhere", () => {
    const mesh = meshOf(
      pods(workload("a/api")),
      service("a/api", {
        ports: [
          { port: 80, targetPort: "web" },
          { port: 81, name: "b" },
        ],
      }),
    );
    expect(mesh.routes("a/api", 80)).toBeUndefined();
    expect(mesh.routes("a/api", 81)).toEqual(["a/api|81*1"]);
    expect(mesh.said("Service", "a/api")).toEqual(["error bad-target-port spec.ports[0].targetPort"]);
  });

  test("two Services that disagree make a port TCP, whatever their order", () => {
    const of = (http: string, tcp: string) =>
      meshOf(
        pods(workload("a/api")),
        service(`a/${http}`, { selector: { app: "api" } }),
        service(`a/${tcp}`, { selector: { app: "api" }, ports: [{ port: 80, appProtocol: "tcp" }] }),
      );
    for (const mesh of [of("x", "y"), of("y", "x")]) {
      expect(mesh.port("a/api", 80)).toMatchObject({ protocol: "tcp", services: ["a/x", "a/y"] });
      expect(mesh.said("Service", "a/y")).toEqual(["error protocol-conflict spec.ports[0]"]);
    }
  });

  test("a port that may speak HTTP after all is opened by TCPRoutes alone, never past the HTTP rules beside them", () => {
    const unclear = {
      disagreeing: service("a/raw", { selector: { app: "api" }, ports: [{ port: 80, appProtocol: "tcp" }] }),
      unknown: service("a/api", { ports: [{ port: 80, appProtocol: "htpp" }] }),
    };
    for (const [what, change] of Object.entries(unclear)) {
      const mesh = meshOf(
        app("a/api"),
        change,
        routeGroup("a/g", [{ name: "m", pathRegex: "/public" }]),
        tcpRoute("a/r", [80]),
        target("a/both", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup g", "TCPRoute r"] }),
        target("a/tcp", { to: "a/api", from: ["b/web"], rules: ["TCPRoute r"] }),
      );
      expect(mesh.port("a/api", 80), what).toMatchObject({ protocol: "tcp", unclear: true });
      expect(mesh.allowed("a/api", 80), what).toEqual(["b/web: all"]);
    }
    // That the server talks first is about TCP only.
    const first = service("a/first", { selector: { app: "db" }, ports: [{ port: 80, appProtocol: "mysql" }] });
    const mesh = meshOf(
      app("a/db", { ports: [{ port: 80, appProtocol: "tcp" }] }),
      first,
      tcpRoute("a/r", [80]),
      routeGroup("a/g", [{ name: "m" }]),
      target("a/both", { to: "a/db", from: ["a/web"], rules: ["HTTPRouteGroup g", "TCPRoute r"] }),
    );
    expect(mesh.allowed("a/db", 80)).toEqual(["a/web: all"]);
    expect(mesh.about("Service", "a/first")[0]?.message).toContain("it is treated as tcp-server-first. Declare one");
  });

  test("UDP passes by", () => {
    const mesh = meshOf(pods(workload("a/api")), service("a/api", { ports: [{ port: 53, protocol: "UDP" }] }));
    expect(mesh.policy("a/api").inbound).toEqual([]);
    expect(mesh.said("Service", "a/api")).toEqual(["hint unsupported-protocol spec.ports[0].protocol"]);
  });
});

test("difference 2: the identities of a Service are the accounts of its own namespace's pods that have a sidecar", () => {
  const of = (account: string, meshed = true) => pods(workload(account, { labels: { app: "api" }, meshed }));
  const mesh = meshOf(of("a/v2"), of("a/v1"), of("b/v3"), of("a/plain", false), service("a/api"));
  expect(mesh.mesh.services.get("a/api" as never)?.identities).toEqual(["a/v1", "a/v2"]);
});

test("a Service that selects no pod is a hint", () => {
  expect(meshOf(service("a/api")).said("Service", "a/api")).toEqual(["hint no-endpoints spec.selector"]);
});

describe("groups", () => {
  test("pods of equal ports and account are one group, and a scraped one is another", () => {
    const mesh = meshOf(
      pods(workload("a/api", { labels: { app: "api", version: "1" } }), 3),
      pods(workload("a/api", { labels: { app: "api", version: "2" } }), 2),
      pods(workload("a/api", { labels: { app: "api" }, metrics: true })),
      service("a/api"),
    );
    const groups = [...mesh.mesh.groups.values()].filter((g) => g.identity === "a/api");
    expect(new Set(groups.map((g) => g.metrics))).toEqual(new Set([false, true]));
    expect(mesh.mesh.groupOf.size).toBe(5);
  });

  test("clients of one namespace with the same reach share it", () => {
    const mesh = meshOf(
      app("a/api"),
      pods(workload("a/other")),
      routeGroup("a/g", [{ name: "m" }]),
      target("a/t", { to: "a/api", from: ["a/web", "a/other", "b/web"], rules: ["HTTPRouteGroup g"] }),
    );
    expect(mesh.policy("a/other").outbound).toBe(mesh.policy("a/web").outbound);
    expect(mesh.policy("b/web").outbound).not.toBe(mesh.policy("a/web").outbound);
    expect(mesh.policy("b/web").outbound.key).toBe(mesh.policy("a/web").outbound.key);
  });
});

test("clients of the same reach share it, whichever round each of them came in", () => {
  const compiler = new Compiler();
  const rules = { to: "a/api", rules: ["HTTPRouteGroup g"] };
  const opens = (...from: string[]) => target("a/t", { ...rules, from });
  let now = world(
    namespace("a"),
    app("a/api"),
    pods(workload("a/one")),
    pods(workload("a/two")),
    pods(workload("a/three")),
    routeGroup("a/g", [{ name: "m" }]),
    opens("a/one", "a/two"),
  );
  const shared = (...names: string[]) => {
    const { mesh } = compiler.compile(now);
    const found = [...mesh.groups.values()].filter((g) => names.includes(g.identity)).map((g) => g.outbound);
    expect(found).toHaveLength(names.length);
    return new Set(found).size;
  };
  expect(shared("a/one", "a/two")).toBe(1);
  now = apply(now, [service("a/unrelated", { ports: [] })]);
  expect(shared("a/one", "a/two")).toBe(1);
  now = apply(now, [opens("a/one", "a/two", "a/three")]);
  expect(shared("a/one", "a/two", "a/three")).toBe(1);
});

test("every code that policy may report is reported by one bad world, in words that say what follows", () => {
  const { codes, problems } = meshOf(
    namespace("c"),
    ...app("a/api", {
      ports: [
        { port: 80 },
        { port: 90, targetPort: "none", name: "n" },
        { port: 53, protocol: "UDP", name: "u" },
        { port: 91, appProtocol: "odd", name: "o" },
        { port: 1000, targetPort: 1001, name: "p" },
      ],
    }),
    service("a/raw", { selector: { app: "api" }, ports: [{ port: 80, appProtocol: "tcp" }] }),
    service("a/web-of-api", { selector: { app: "http-only" } }),
    ...pods(workload("a/http-only")),
    service("a/empty"),
    service("a/out", { externalName: "example.com" }),
    routeGroup("a/g", [
      { name: "bad", pathRegex: "(" },
      { name: "low", methods: ["get"] },
      { name: "two" },
      { name: "two" },
    ]),
    tcpRoute("a/all"),
    tcpRoute("a/service-port", [1000, 4]),
    target("b/elsewhere", { to: "a/api", from: ["a/web"], rules: ["TCPRoute all"] }),
    target("a/nobody", { to: "a/api", from: [], rules: [] }),
    target("a/bad", { to: { kind: "Pod", name: "x", namespace: "a" }, from: [], rules: [] }),
    target("a/sources", {
      to: "a/nowhere",
      from: [{ kind: "Pod", name: "x", namespace: "a" }],
      rules: ["HTTPRouteGroup none", "HTTPRouteGroup g none", "UDPRoute u"],
    }),
    target("a/open", { to: "a/http-only", from: ["a/web"], rules: ["TCPRoute all"] }),
    target("a/port", { to: "a/api", from: ["a/web"], rules: ["TCPRoute service-port"] }),
    split("a/root", { service: "none", backends: {} }),
    split("a/weight", { service: "api", backends: { api: -1 } }),
    split("a/one", { service: "api", backends: { api: 1, none: 1 }, matches: ["none"] }),
    split("a/two", { service: "api", backends: {} }),
    split("a/three", { service: "api", backends: { "web-of-api": 1 } }),
  );
  const elsewhere: ProblemCode[] = [
    "unreadable",
    "bad-yaml",
    "too-large",
    "not-an-object",
    "unknown-kind",
    "unknown-version",
    "bad-field",
    "unknown-field",
    "missing-field",
    "no-image-mapping",
    // What only `heddle lint` says: test/unit/problems.
    "empty-match",
    "contained-match",
    "prefix-pattern",
    "unused-route",
    "not-compared",
    "without-effect",
  ];
  expect(codes).toEqual(
    (Object.keys(PROBLEM_CODES) as ProblemCode[]).filter((code) => !elsewhere.includes(code)).sort(),
  );
  for (const { message, severity } of problems) {
    expect(message).toMatch(/\.$/);
    expect(message).not.toContain("undefined");
    expect(["error", "hint"]).toContain(severity);
  }
});
