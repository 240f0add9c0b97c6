import { describe, expect, test } from "vitest";
import {
  app,
  gone,
  meshConfig,
  namespace,
  pod,
  pods,
  routeGroup,
  service,
  target,
  tcpRoute,
  workload,
  type Changes,
} from "../../support/build.ts";
import type { Change } from "../../../src/world/types.ts";
import { meshOf } from "./support.ts";

const ALL = routeGroup("a/all", [{ name: "one" }, { name: "two", methods: ["GET"] }]);
const api = app("a/api");

describe("row 1: everything is denied by default", () => {
  test("inside a namespace, to others, and to oneself", () => {
    const mesh = meshOf(api, ...pods(workload("a/web")));
    expect(mesh.access("a/api", 80)).toEqual([]);
    expect([mesh.reach("a/web"), mesh.reach("a/api"), mesh.reach("b/web")]).toEqual([[], [], []]);
  });

  test("permissive mode opens everything inside the mesh, to identities", () => {
    const mesh = meshOf(
      api,
      app("b/db", { ports: [{ port: 5432, appProtocol: "tcp" }] }),
      meshConfig({ permissive: true }),
    );
    expect(mesh.access("a/api", 80)).toEqual([{}]);
    expect(mesh.access("b/db", 5432)).toEqual([{}]);
    expect(mesh.reach("b/web")).toEqual(["a/api", "b/db"]);
  });

  test("what is outside of the mesh is not in it", () => {
    const outside = [namespace("c", { monitored: false }), ...app("c/x")];
    const mesh = meshOf(
      api,
      outside,
      pod("a/plain", workload("a/plain", { labels: { app: "api" }, meshed: false })),
      meshConfig({ permissive: true }),
    );
    expect([...mesh.mesh.services.keys()]).toEqual(["a/api"]);
    expect([...mesh.mesh.groups.values()].map((g) => g.identity)).toEqual(["a/api", "a/web", "b/web"]);
    expect(mesh.mesh.services.values().next().value?.identities).toEqual(["a/api"]);
  });
});

describe("row 2: sources", () => {
  test("are exact by name and namespace", () => {
    const mesh = meshOf(api, ALL, target("a/t", { to: "a/api", from: ["b/web"], rules: ["HTTPRouteGroup all"] }));
    expect(mesh.allowed("a/api", 80)).toEqual(["b/web: one two"]);
    expect([mesh.reach("a/web"), mesh.reach("b/web")]).toEqual([[], ["a/api"]]);
  });

  test.each([
    { kind: "Group", name: "web", namespace: "a" },
    { kind: "", name: "web", namespace: "a" },
    { kind: "ServiceAccount", name: "web", namespace: "" },
    { kind: "ServiceAccount", name: "", namespace: "a" },
    { kind: "ServiceAccount", name: "", namespace: "" },
  ])("$kind $namespace/$name opens nothing, and the others stand", (source) => {
    const mesh = meshOf(
      api,
      ALL,
      target("a/t", { to: "a/api", from: [source, "b/web"], rules: ["HTTPRouteGroup all"] }),
    );
    expect(mesh.allowed("a/api", 80)).toEqual(["b/web: one two"]);
    expect(mesh.said("TrafficTarget", "a/t")).toEqual(["error bad-source spec.sources[0]"]);
    const alone = meshOf(api, ALL, target("a/t", { to: "a/api", from: [source], rules: ["HTTPRouteGroup all"] }));
    expect(alone.access("a/api", 80)).toEqual([]);
  });
});

describe("row 3, difference 3: empty lists", () => {
  test.each([
    ["sources", { from: [], rules: ["HTTPRouteGroup all"] }],
    ["rules", { from: ["a/web"], rules: [] }],
  ])("no %s: nobody", (list, options) => {
    const mesh = meshOf(api, ALL, target("a/t", { to: "a/api", ...options }));
    expect(mesh.access("a/api", 80)).toEqual([]);
    expect(mesh.said("TrafficTarget", "a/t")).toEqual([`error nobody-allowed spec.${list}`]);
  });

  test("a route group without matches opens nothing, and says so", () => {
    const mesh = meshOf(
      api,
      routeGroup("a/none", []),
      target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup none"] }),
    );
    expect(mesh.access("a/api", 80)).toEqual([]);
    expect(mesh.said("TrafficTarget", "a/t")).toEqual(["error nobody-allowed spec.rules[0].name"]);
  });
});

describe("row 4: a TrafficTarget counts in its destination's namespace only", () => {
  test("elsewhere it opens nothing", () => {
    const mesh = meshOf(
      api,
      routeGroup("b/all", [{ name: "one" }]),
      ALL,
      target("b/t", { to: "a/api", from: ["b/web"], rules: ["HTTPRouteGroup all"] }),
    );
    expect(mesh.access("a/api", 80)).toEqual([]);
    expect(mesh.said("TrafficTarget", "b/t")).toEqual(["error wrong-namespace spec.destination.namespace"]);
  });

  test.each([
    { kind: "Service", name: "api", namespace: "a" },
    { kind: "ServiceAccount", name: "api", namespace: "" },
    { kind: "ServiceAccount", name: "", namespace: "a" },
  ])("destination $kind $namespace/$name opens nothing", (to) => {
    const mesh = meshOf(api, ALL, target("a/t", { to, from: ["a/web"], rules: ["HTTPRouteGroup all"] }));
    expect(mesh.access("a/api", 80)).toEqual([]);
    expect(mesh.said("TrafficTarget", "a/t")).toEqual(["error bad-destination spec.destination"]);
  });

  test("a destination that no pod has is a hint", () => {
    const mesh = meshOf(ALL, target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup all"] }));
    expect(mesh.said("TrafficTarget", "a/t")).toEqual(["hint unknown-account spec.destination.name"]);
  });
});

describe("row 5: routes are looked up in the target's namespace", () => {
  test("one of another namespace does not count", () => {
    const mesh = meshOf(
      api,
      routeGroup("b/all", [{ name: "one" }]),
      target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup all"] }),
    );
    expect(mesh.access("a/api", 80)).toEqual([]);
    expect(mesh.said("TrafficTarget", "a/t")).toEqual(["error unknown-route spec.rules[0].name"]);
  });

  test("an unknown route or match opens nothing, and the rest stands", () => {
    const rules = ["HTTPRouteGroup gone", "HTTPRouteGroup all two nothing", "HTTPRouteGroup all nothing"];
    const mesh = meshOf(api, ALL, target("a/t", { to: "a/api", from: ["a/web"], rules }));
    expect(mesh.allowed("a/api", 80)).toEqual(["a/web: two"]);
    expect(mesh.said("TrafficTarget", "a/t")).toEqual([
      "error unknown-route spec.rules[0].name",
      "error unknown-match spec.rules[1].matches[1]",
      "error unknown-match spec.rules[2].matches[0]",
    ]);
  });

  test("a TCPRoute that is missing opens no port, and takes the HTTP rules beside it off every port that it may have named", () => {
    const mesh = meshOf(
      api,
      ALL,
      target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup all", "TCPRoute gone"] }),
    );
    expect(mesh.access("a/api", 80)).toEqual([]);
    expect(mesh.said("TrafficTarget", "a/t")).toEqual(["error unknown-route spec.rules[1].name"]);
  });
});

test("row 6, difference 4: a rule without matches means all of the group", () => {
  const mesh = meshOf(api, ALL, target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup all"] }));
  expect(mesh.allowed("a/api", 80)).toEqual(["a/web: one two"]);
});

test("row 7: rules and targets add up", () => {
  const mesh = meshOf(
    api,
    ALL,
    target("a/s", {
      to: "a/api",
      from: ["a/web", "b/web"],
      rules: ["HTTPRouteGroup all one", "HTTPRouteGroup all two"],
    }),
    target("a/t", { to: "a/api", from: ["b/web"], rules: ["HTTPRouteGroup all two"] }),
  );
  expect(mesh.allowed("a/api", 80)).toEqual(["a/web: one two", "b/web: one two", "b/web: two"]);
});

test("row 9: each backend of a split is authorized by its own account", async () => {
  const { split } = await import("../../support/build.ts");
  const two = [...app("a/v1"), ...app("a/v2"), service("a/root", { selector: { app: "v1" } })];
  const mesh = meshOf(
    two,
    ALL,
    split("a/s", { service: "root", backends: { v1: 1, v2: 1 } }),
    target("a/t", { to: "a/v1", from: ["a/web"], rules: ["HTTPRouteGroup all"] }),
  );
  expect(mesh.allowed("a/v1", 80)).toEqual(["a/web: one two"]);
  expect(mesh.access("a/v2", 80)).toEqual([]);
});

describe("HTTP", () => {
  test("row 15: a gRPC port speaks HTTP, and a method of it is a path and POST", () => {
    const grpc = app("a/greeter", {
      ports: [
        { port: 50051, name: "grpc-greet" },
        { port: 50052, appProtocol: "grpc" },
      ],
    });
    const hello = { name: "hello", pathRegex: "/helloworld\\.Greeter/SayHello", methods: ["POST"] };
    const mesh = meshOf(
      grpc,
      routeGroup("a/g", [hello]),
      target("a/t", { to: "a/greeter", from: ["a/web"], rules: ["HTTPRouteGroup g"] }),
    );
    for (const port of [50051, 50052]) {
      expect(mesh.port("a/greeter", port).protocol).toBe("http");
      expect(mesh.access("a/greeter", port)).toEqual([
        { target: "a/t", sources: ["a/web"], matches: [{ ...hello, headers: [], group: "a/g" }] },
      ]);
    }
  });

  test("row 16, difference 5: access does not depend on the order of anything", () => {
    const matches = [
      { name: "all", pathRegex: ".*" },
      { name: "exact", pathRegex: "/api", methods: ["GET"] },
      { name: "long", pathRegex: "/api/v1/.*", headers: [{ name: "x", regex: "y" }] },
    ];
    const rules = ["HTTPRouteGroup g exact", "HTTPRouteGroup g long all", "TCPRoute r"];
    const of = <T>(list: readonly T[], turn: number): T[] => [...list.slice(turn), ...list.slice(0, turn)];
    const accesses = [0, 1, 2].flatMap((i) =>
      [matches, matches.toReversed()].map((order) => {
        const targets = [
          target("a/t1", { to: "a/api", from: of(["a/web", "b/web", "b/x"], i), rules: of(rules, i) }),
          target("a/t2", {
            to: "a/api",
            from: ["b/web"],
            rules: of(["HTTPRouteGroup g long", "HTTPRouteGroup g exact"], i % 2),
          }),
        ];
        const routes = [routeGroup("a/g", of(order, i)), tcpRoute("a/r", of([80, 81, 82], i))];
        return meshOf(api, ...of([...targets, ...routes], i)).access("a/api", 80);
      }),
    );
    for (const access of accesses) expect(access).toEqual(accesses[0]);
    expect(accesses[0]?.map((rule) => rule.matches?.map((m) => m.name))).toEqual([
      ["all", "exact", "long"],
      ["exact", "long"],
    ]);
  });

  test("row 12: methods that nobody sends are a hint, and are compared as they are", () => {
    const mesh = meshOf(api, routeGroup("a/g", [{ name: "m", methods: ["get", "POST", "*"] }]));
    expect(mesh.said("HTTPRouteGroup", "a/g")).toEqual(["hint lowercase-method spec.matches[0].methods[0]"]);
  });

  test.each([
    "(",
    "a**b(?=c)",
    "\\1",
    "",
    "\\x{100}",
    "\\p{Garay}",
    "a".repeat(1025),
    "[a-zA-Z0-9]{1000}{1000}",
    "[acegikmoqsuwyACEGIKMOQSUWY]{1000}",
    "\ud800",
  ])("row 14: the regular expression %j opens nothing, the others stand", (regex) => {
    const group = routeGroup("a/g", [
      { name: "bad", pathRegex: regex },
      { name: "good" },
      { name: "header", headers: [{ name: "x", regex }] },
    ]);
    const mesh = meshOf(
      api,
      group,
      target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup g", "HTTPRouteGroup g bad header"] }),
    );
    expect(mesh.allowed("a/api", 80)).toEqual(["a/web: good"]);
    expect(mesh.said("HTTPRouteGroup", "a/g")).toEqual([
      "error bad-regex spec.matches[0].pathRegex",
      "error bad-regex spec.matches[2].headers.x",
    ]);
    expect(mesh.said("TrafficTarget", "a/t")).toEqual([]);
  });

  test("a long regular expression is not told in full, but so that it can be found", () => {
    for (const regex of ["(".repeat(1000), "a".repeat(4000)]) {
      const mesh = meshOf(api, routeGroup("a/g", [{ name: "bad", pathRegex: regex }]));
      const [problem] = mesh.problems;
      expect(problem?.message).toContain(regex.slice(0, 100));
      expect(problem?.message.length).toBeLessThan(500);
    }
  });

  test("of two matches of one name the last one counts, and the first is said to open nothing", () => {
    const group = routeGroup("a/g", [
      { name: "m", pathRegex: "/a" },
      { name: "m", pathRegex: "/b" },
    ]);
    const mesh = meshOf(api, group, target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup g"] }));
    expect(
      mesh
        .access("a/api", 80)
        .flatMap((r) => r.matches ?? [])
        .map((m) => m.pathRegex),
    ).toEqual(["/b"]);
    expect(mesh.said("HTTPRouteGroup", "a/g")).toEqual(["error duplicate spec.matches[0].name"]);
  });

  test("a match whose namesake cannot be read opens nothing: which of the two counts is not known", () => {
    const group = routeGroup("a/g", [
      { name: "m", pathRegex: "/a" },
      { name: "other", pathRegex: "/b" },
    ]) as Extract<Change, { kind: "HTTPRouteGroup" }>;
    const value = { ...(group.value as NonNullable<typeof group.value>), unreadable: ["m"] };
    const rules = ["HTTPRouteGroup g m other"];
    const mesh = meshOf(api, { ...group, value }, target("a/t", { to: "a/api", from: ["a/web"], rules }));
    expect(mesh.allowed("a/api", 80)).toEqual(["a/web: other"]);
    expect(mesh.said("HTTPRouteGroup", "a/g")).toEqual(["error duplicate spec.matches[0].name"]);
    expect(mesh.said("TrafficTarget", "a/t")).toEqual([]);
  });
});

describe("ports", () => {
  const ports = [
    { port: 80, targetPort: 8080, name: "http-a" },
    { port: 81, targetPort: 9090, name: "http-b" },
    { port: 5432, name: "tcp-db" },
  ];
  const many = app("a/api", { ports });
  const allowed = (rules: string[], port?: number, ...more: readonly Changes[]) => {
    const mesh = meshOf(
      many,
      ALL,
      ...more,
      target("a/t", { to: "a/api", from: ["a/web"], rules, ...(port === undefined ? {} : { port }) }),
    );
    return { mesh, open: [8080, 9090, 5432].filter((p) => mesh.access("a/api", p).length > 0) };
  };

  test("row 17: a number that only a Service has is a hint, and opens nothing", () => {
    const { mesh, open } = allowed(["TCPRoute r"], undefined, tcpRoute("a/r", [80, 80]));
    expect(open).toEqual([]);
    expect(mesh.said("TrafficTarget", "a/t")).toEqual(["hint service-port spec.rules"]);
  });

  test("row 18: a TCPRoute without ports means every port", () => {
    expect(allowed(["TCPRoute r"], undefined, tcpRoute("a/r")).open).toEqual([8080, 9090, 5432]);
  });

  test("row 19, difference 1: HTTP rules open no TCP port", () => {
    expect(allowed(["HTTPRouteGroup all"]).open).toEqual([8080, 9090]);
    expect(allowed(["TCPRoute r"], undefined, tcpRoute("a/r", [5432])).open).toEqual([5432]);
  });

  test("row 20: TCPRoutes alone open every request of the HTTP ports that they name, with a hint", () => {
    const { mesh, open } = allowed(["TCPRoute r"], undefined, tcpRoute("a/r", [9090, 5432]));
    expect(open).toEqual([9090, 5432]);
    expect(mesh.allowed("a/api", 9090)).toEqual(["a/web: all"]);
    expect(mesh.said("TrafficTarget", "a/t")).toEqual(["hint tcp-on-http spec.rules"]);
  });

  test("row 21: beside HTTP rules, TCPRoutes that name an HTTP port limit them to it", () => {
    const { mesh, open } = allowed(["HTTPRouteGroup all", "TCPRoute r"], undefined, tcpRoute("a/r", [8080]));
    expect(open).toEqual([8080]);
    expect(mesh.allowed("a/api", 8080)).toEqual(["a/web: one two"]);
  });

  test("row 21: those that name TCP ports only do not", () => {
    const { mesh, open } = allowed(["HTTPRouteGroup all", "TCPRoute r"], undefined, tcpRoute("a/r", [5432]));
    expect(open).toEqual([8080, 9090, 5432]);
    expect(mesh.allowed("a/api", 5432)).toEqual(["a/web: all"]);
    expect(mesh.allowed("a/api", 9090)).toEqual(["a/web: one two"]);
  });

  test("row 21: HTTP rules that open nothing do not become all requests for the TCPRoute beside them", () => {
    const { open } = allowed(["HTTPRouteGroup gone", "TCPRoute r"], undefined, tcpRoute("a/r"));
    expect(open).toEqual([5432]);
  });

  test("row 21: a rule that could not be read opens nothing, and nothing opens wider for its absence", () => {
    for (const kind of ["HTTPRouteGroup", "unknown"]) {
      expect(allowed([`${kind} broken`, "TCPRoute r"], undefined, tcpRoute("a/r")).open).toEqual([5432]);
    }
    for (const kind of ["TCPRoute", "unknown"]) {
      expect(allowed([`${kind} broken`, "HTTPRouteGroup all"]).open).toEqual([]);
    }
    expect(allowed(["UDPRoute broken", "HTTPRouteGroup all"]).open).toEqual([8080, 9090]);
  });

  test("row 21: a port that is named and not there may be HTTP, so the HTTP rules count on named ports only: no Service that goes opens another port", () => {
    const rules = ["HTTPRouteGroup all", "TCPRoute r"];
    const { open, mesh } = allowed(rules, undefined, tcpRoute("a/r", [5432, 7000]));
    expect(open).toEqual([5432]);
    expect(mesh.said("TrafficTarget", "a/t")).toEqual(["hint unknown-port spec.rules"]);
    const one = service("a/one", { selector: { app: "api" }, ports: [{ port: 70, targetPort: 7000 }] });
    expect(allowed(rules, undefined, tcpRoute("a/r", [7000]), one).open).toEqual([]);
    expect(allowed(rules, undefined, tcpRoute("a/r", [7000]), one).mesh.access("a/api", 7000)).toHaveLength(1);
    expect(allowed(rules, undefined, tcpRoute("a/r", [7000])).open).toEqual([]);
  });

  test("row 21: a TCPRoute of which a port could not be read might have named any: HTTP rules count on those that it names", () => {
    const rules = ["HTTPRouteGroup all", "TCPRoute r"];
    expect(allowed(rules, undefined, tcpRoute("a/r", [5432], true)).open).toEqual([5432]);
    expect(allowed(rules, undefined, tcpRoute("a/r", [5432, 8080], true)).open).toEqual([8080, 5432]);
  });

  test("row 22: destination.port limits every rule of its target", () => {
    expect(allowed(["HTTPRouteGroup all"], 9090).open).toEqual([9090]);
    expect(allowed(["TCPRoute r"], 5432, tcpRoute("a/r")).open).toEqual([5432]);
    const { mesh, open } = allowed(["HTTPRouteGroup all"], 80);
    expect(open).toEqual([]);
    expect(mesh.said("TrafficTarget", "a/t")).toEqual(["hint service-port spec.destination.port"]);
  });

  test("row 23: a UDPRoute opens nothing, the rest of the target stands", () => {
    const { mesh, open } = allowed(["UDPRoute u", "HTTPRouteGroup all"]);
    expect(open).toEqual([8080, 9090]);
    expect(mesh.said("TrafficTarget", "a/t")).toEqual(["error udp-route spec.rules[0]"]);
    expect(allowed(["UDPRoute u"]).open).toEqual([]);
  });
});

test("what is taken away is gone, and nothing that is missing widens", () => {
  const whole = [
    ...api,
    ALL,
    tcpRoute("a/r", [80]),
    target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup all two", "TCPRoute r"] }),
  ];
  expect(meshOf(whole).allowed("a/api", 80)).toEqual(["a/web: two"]);
  for (const one of whole.filter((c) => c.kind !== "EndpointSlice" && c.kind !== "Pod" && c.kind !== "Service")) {
    expect(meshOf(whole, gone(one)).access("a/api", 80), `without ${one.kind}`).toEqual([]);
  }
});
