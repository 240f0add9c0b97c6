import { describe, expect, test } from "vitest";
import { app, pods, routeGroup, service, split, target, workload } from "../../support/build.ts";
import { meshOf } from "./support.ts";

const versions = [
  ...app("a/v1", { ports: [{ port: 80, targetPort: 8081 }] }),
  ...app("a/v2", { ports: [{ port: 80, targetPort: 8082 }] }),
];
const root = service("a/root", { ports: [{ port: 80, targetPort: 8080 }], selector: { app: "v1" } });
const half = { v1: 50, v2: 50 };
const HALVES = "a/v1|8081*50, a/v2|8082*50";

describe("row 25: the root", () => {
  test.each(["root", "root.a", "root.a.svc", "root.a.svc.cluster.local"])(
    "may be written as %s, its backends too",
    (name) => {
      const mesh = meshOf(
        versions,
        root,
        split("a/s", { service: name, backends: { "v1.a": 50, "v2.a.svc.cluster.local": 50 } }),
      );
      expect(mesh.routes("a/root", 80)).toEqual([HALVES]);
      expect(mesh.said("TrafficSplit", "a/s")).toEqual([]);
    },
  );

  test.each(["root.b", "nowhere", "", "root.a.example.com"])(
    "%j is none of the split's namespace: the split is not used",
    (name) => {
      const mesh = meshOf(versions, root, split("a/s", { service: name, backends: half }));
      expect(mesh.routes("a/root", 80)).toEqual(["a/root|8080*1"]);
      expect(mesh.said("TrafficSplit", "a/s")).toEqual(["error bad-root spec.service"]);
    },
  );

  test("a backend of another namespace is left out", () => {
    const mesh = meshOf(versions, root, app("b/v3"), split("a/s", { service: "root", backends: { v1: 1, "v3.b": 1 } }));
    expect(mesh.routes("a/root", 80)).toEqual(["a/v1|8081*1"]);
    expect(mesh.said("TrafficSplit", "a/s")).toEqual(["error bad-backend spec.backends[1].service"]);
  });

  test.each([{ externalName: "example.com" }, { selector: null }, { selector: {} }])(
    "a Service of no pods (%j) is no root and no backend",
    (options) => {
      const outside = service("a/out", { ...options, ports: [80] });
      const mesh = meshOf(
        versions,
        root,
        outside,
        split("a/s", { service: "out", backends: half }),
        split("a/t", { service: "root", backends: { out: 1, v2: 1 } }),
      );
      expect(mesh.mesh.services.has("a/out" as never)).toBe(false);
      expect(mesh.routes("a/root", 80)).toEqual(["a/v2|8082*1"]);
      expect(mesh.said("TrafficSplit", "a/s")).toEqual(["error bad-root spec.service"]);
      expect(mesh.said("TrafficSplit", "a/t")).toEqual(["error bad-backend spec.backends[0].service"]);
      expect(mesh.said("Service", "a/out")).toEqual(["hint not-in-mesh spec.selector"]);
    },
  );
});

describe("row 26: ports", () => {
  test("a backend without the root's port takes no part on it", () => {
    const two = service("a/root", { ports: [{ port: 80 }, { port: 81, name: "b" }], selector: { app: "v1" } });
    const mesh = meshOf(
      versions,
      app("a/v3", { ports: [{ port: 81, name: "other" }] }),
      two,
      split("a/s", { service: "root", backends: { v1: 1, v3: 2 } }),
    );
    expect(mesh.routes("a/root", 80)).toEqual(["a/v1|8081*1"]);
    expect(mesh.routes("a/root", 81)).toEqual(["a/v3|81*2"]);
    expect(mesh.said("TrafficSplit", "a/s")).toEqual([
      "error bad-backend spec.backends",
      "error bad-backend spec.backends",
    ]);
  });

  test("a Service that is not there is left out, and is no mistake while its weight is 0", () => {
    const mesh = meshOf(versions, root, split("a/s", { service: "root", backends: { v1: 1, v9: 1, v10: 0 } }));
    expect(mesh.routes("a/root", 80)).toEqual(["a/v1|8081*1"]);
    expect(mesh.said("TrafficSplit", "a/s")).toEqual(["error bad-backend spec.backends[1].service"]);
  });
});

describe("row 27: weights", () => {
  test("are relative, and 0 takes nothing", () => {
    const mesh = meshOf(versions, root, split("a/s", { service: "root", backends: { v1: 1000, v2: 0 } }));
    expect(mesh.routes("a/root", 80)).toEqual(["a/v1|8081*1000"]);
  });

  test.each([[{ v1: 0, v2: 0 }], [{}], [{ v9: 0 }]])("nothing left of %j: no request goes anywhere", (backends) => {
    const mesh = meshOf(versions, root, split("a/s", { service: "root", backends }));
    expect(mesh.routes("a/root", 80)).toEqual(["nowhere"]);
    expect(mesh.said("TrafficSplit", "a/s")).toEqual(["error no-backends spec.backends"]);
  });

  test.each([[{ v1: -1, v2: 2 }], [{ v1: 0.5 }], [{ v1: 2 ** 31, v2: 2 ** 31 }], [{ v1: Number.NaN }]])(
    "%j cannot be used: the split is ignored",
    (backends) => {
      const mesh = meshOf(versions, root, split("a/s", { service: "root", backends }));
      expect(mesh.routes("a/root", 80)).toEqual(["a/root|8080*1"]);
      expect(mesh.said("TrafficSplit", "a/s")).toEqual(["error bad-weight spec.backends"]);
    },
  );

  test("the largest sum can be used", () => {
    const mesh = meshOf(versions, root, split("a/s", { service: "root", backends: { v1: 2 ** 31, v2: 2 ** 31 - 1 } }));
    expect(mesh.said("TrafficSplit", "a/s")).toEqual([]);
  });

  test("one Service under two names gets both weights", () => {
    const mesh = meshOf(versions, root, split("a/s", { service: "root", backends: { v1: 1, "v1.a": 2 } }));
    expect(mesh.routes("a/root", 80)).toEqual(["a/v1|8081*3"]);
  });
});

test("row 28: a backend without pods keeps its share, with a hint", () => {
  const mesh = meshOf(versions, service("a/v3"), root, split("a/s", { service: "root", backends: { v1: 1, v3: 1 } }));
  expect(mesh.routes("a/root", 80)).toEqual(["a/v1|8081*1, a/v3|80*1"]);
  expect(mesh.said("TrafficSplit", "a/s")).toEqual(["hint no-endpoints spec.backends[1].service"]);
});

test("row 29: splits are not hierarchical, and a root may be its own backend", () => {
  const mesh = meshOf(
    versions,
    root,
    split("a/s", { service: "root", backends: { root: 1, v1: 1 } }),
    split("a/t", { service: "v1", backends: { v2: 1 } }),
  );
  expect(mesh.routes("a/root", 80)).toEqual(["a/root|8080*1, a/v1|8081*1"]);
  expect(mesh.routes("a/v1", 80)).toEqual(["a/v2|8082*1"]);
  expect(mesh.said("TrafficSplit", "a/s")).toEqual(["hint self-backend spec.backends[0].service"]);
});

describe("row 30: matches", () => {
  const groups = [
    routeGroup("a/x", [{ name: "one" }]),
    routeGroup("a/y", [{ name: "two" }, { name: "bad", pathRegex: "(" }]),
    routeGroup("a/none", []),
  ];

  test("are ORed; the rest goes on to the root itself", () => {
    const mesh = meshOf(versions, root, groups, split("a/s", { service: "root", backends: half, matches: ["x", "y"] }));
    expect(mesh.routes("a/root", 80)).toEqual([`${HALVES} if one or two`, "a/root|8080*1"]);
    expect(mesh.said("TrafficSplit", "a/s")).toEqual([]);
  });

  test("an empty list is as good as none: every request", () => {
    const mesh = meshOf(versions, root, split("a/s", { service: "root", backends: half, matches: [] }));
    expect(mesh.routes("a/root", 80)).toEqual([HALVES]);
    expect(mesh.said("TrafficSplit", "a/s")).toEqual([]);
  });

  test("of groups that are missing or empty select no request", () => {
    const mesh = meshOf(
      versions,
      root,
      groups,
      split("a/s", { service: "root", backends: half, matches: ["none", "gone"] }),
    );
    expect(mesh.routes("a/root", 80)).toEqual(["a/root|8080*1"]);
    expect(mesh.said("TrafficSplit", "a/s")).toEqual([
      "error split-match spec.matches[0]",
      "error split-match spec.matches[1]",
    ]);
  });
});

describe("row 31: several splits of one root", () => {
  const groups = routeGroup("a/x", [{ name: "one" }]);
  const one = (name: string, backends: Record<string, number>, created: string, matches?: string[]) =>
    split(`a/${name}`, { service: "root", backends, created, ...(matches ? { matches } : {}) });

  test("those with matches go first, then the oldest, then by name; a second one for all is shadowed", () => {
    const mesh = meshOf(
      versions,
      root,
      groups,
      one("a", { v1: 1 }, "2022-01-01T00:00:00Z"),
      one("b", { v1: 2 }, "2021-01-01T00:00:00Z"),
      one("d", { v1: 3 }, "2023-01-01T00:00:00Z", ["x"]),
      one("c", { v1: 4 }, "2023-01-01T00:00:00Z", ["x"]),
    );
    expect(mesh.routes("a/root", 80)).toEqual(["a/v1|8081*4 if one", "a/v1|8081*3 if one", "a/v1|8081*2"]);
    expect(mesh.said("TrafficSplit", "a/a")).toEqual(["error shadowed-split spec.service"]);
  });

  test("one that is ignored shadows nothing", () => {
    const mesh = meshOf(versions, root, one("a", { v1: -1 }, ""), one("b", { v1: 2 }, ""));
    expect(mesh.routes("a/root", 80)).toEqual(["a/v1|8081*2"]);
    expect(mesh.said("TrafficSplit", "a/b")).toEqual([]);
  });
});

test("row 32: TCP follows a split without matches, one with matches does not concern it", () => {
  const tcp = { ports: [{ port: 80, appProtocol: "tcp" }] };
  const made = [
    ...app("a/v1", tcp),
    ...app("a/v2", tcp),
    service("a/root", { ...tcp, selector: { app: "v1" } }),
    routeGroup("a/x", [{ name: "one" }]),
  ];
  const matched = split("a/m", { service: "root", backends: { v2: 1 }, matches: ["x"] });
  expect(meshOf(made, matched).routes("a/root", 80)).toEqual(["a/root|80*1"]);
  expect(meshOf(made, matched, split("a/s", { service: "root", backends: half })).routes("a/root", 80)).toEqual([
    "a/v1|80*50, a/v2|80*50",
  ]);
});

test("who may call one backend reaches its root, and has clusters for all of them", () => {
  const mesh = meshOf(
    versions,
    root,
    pods(workload("a/web")),
    routeGroup("a/g", [{ name: "m" }]),
    target("a/t", { to: "a/v2", from: ["b/web"], rules: ["HTTPRouteGroup g"] }),
    split("a/s", { service: "root", backends: half }),
  );
  expect(mesh.reach("b/web")).toEqual(["a/root", "a/v2"]);
  expect(mesh.policy("b/web").outbound.backends.map((s) => s.name)).toEqual(["a/v1"]);
});
