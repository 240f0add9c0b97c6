/** Verdict, backends, trail and nearest misses of single calls. That they are Envoy's is test/live/why.test.ts's business. */
import { describe, expect, test } from "vitest";
import { eachPod, explain, type Explanation } from "../../../src/analysis/explain.ts";
import { nearestOf } from "../../../src/analysis/nearest.ts";
import { through, titleOf, trailOf } from "../../../src/analysis/trail.ts";
import type { Ground } from "../../../src/analysis/ways.ts";
import { compile } from "../../../src/policy/compile.ts";
import {
  account,
  app,
  meshConfig,
  namespace,
  pod,
  routeGroup,
  service,
  serviceRef,
  split,
  target,
  tcpRoute,
  workload,
  world,
  type Changes,
} from "../../support/build.ts";

const base = [namespace("a"), namespace("b"), ...["a/web", "a/thief"].map((name) => pod(`${name}-0`, workload(name)))];
const of = (...changes: readonly Changes[]): Ground => {
  const made = world(base, ...changes);
  return { world: made, mesh: compile(made).mesh };
};
const ask = (
  ground: Ground,
  from: string,
  to: string,
  line?: string,
  headers: readonly (readonly [string, string])[] = [],
): Explanation => {
  const [name = "", port = "80"] = to.split(":");
  const [method = "", path = ""] = line?.split(" ") ?? [];
  return explain(ground, {
    client: from === "outside" ? { kind: "outside" } : { kind: "account", identity: account(from) },
    destination: { kind: "service", service: serviceRef(name), port: Number(port) },
    ...(line === undefined ? {} : { request: { method, path, headers } }),
  });
};
const says = (ground: Ground, explanation: Explanation): string[] =>
  nearestOf(ground, explanation).map((miss) => miss.says);
const trail = (ground: Ground, explanation: Explanation): string[] =>
  trailOf(ground, explanation).map(({ object, path, says: text }) => `${titleOf(object)} ${path}: ${text}`);
const backends = (explanation: Explanation): string[] =>
  through(explanation).allowed.map(({ service: name, weight }) => `${name} ${weight}`);

const api = app("a/api");
const group = routeGroup("a/g", [
  { name: "buy", pathRegex: "/buy/.*", methods: ["GET"] },
  { name: "beta", pathRegex: "/buy/.*", methods: ["POST"], headers: [{ name: "x-beta", regex: "yes|no" }] },
]);
const web = target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup g"] });

describe("allowed", () => {
  test("by a match, with the objects that say so", () => {
    const ground = of(api, group, web);
    const found = ask(ground, "a/web", "a/api", "GET /buy/a?b");
    expect([found.verdict, found.answer, backends(found)]).toEqual(["allowed", undefined, ["a/api 100"]]);
    expect(trail(ground, found)).toEqual([
      "Service a/api spec.ports[0]: port 80 speaks HTTP",
      "TrafficTarget a/t spec.rules[0]: lets a/web call a/api",
      "HTTPRouteGroup a/g spec.matches[0]: match buy fits: GET, path /buy/.*",
    ]);
    expect(says(ground, found)).toEqual([]);
  });

  test("row 13: repeated headers are one, joined with a comma; names in any case", () => {
    const ground = of(api, routeGroup("a/g", [{ name: "h", headers: [{ name: "x-a", regex: "1,2" }] }]), web);
    expect(
      ask(ground, "a/web", "a/api", "GET /", [
        ["X-A", "1"],
        ["x-a", "2"],
      ]).verdict,
    ).toBe("allowed");
    expect(
      ask(ground, "a/web", "a/api", "GET /", [
        ["x-a", "2"],
        ["x-a", "1"],
      ]).verdict,
    ).toBe("denied");
    expect(ask(ground, "a/web", "a/api", "GET /").verdict).toBe("denied");
  });

  test("row 13: headers as they are behind the sidecars on their way", () => {
    const asking = (name: string, regex: string) =>
      of(api, web, routeGroup("a/g", [{ name: "m", headers: [{ name, regex }] }]));
    const verdict = (ground: Ground, ...headers: (readonly [string, string])[]) =>
      ask(ground, "a/web", "a/api", "GET /", headers).verdict;
    expect(verdict(asking("keep-alive", ".*"), ["Keep-Alive", "1"])).toBe("denied");
    expect(verdict(asking("x-envoy-retry-on", ".*"), ["x-envoy-retry-on", "5xx"])).toBe("denied");
    expect(verdict(asking("te", "trailers"), ["te", "deflate, trailers"])).toBe("allowed");
    expect(verdict(asking("x-a", "1"), ["x-a", "1"], ["connection", "close, X-A"])).toBe("denied");
    expect(verdict(asking("upgrade", "websocket"), ["upgrade", "websocket"], ["connection", "Upgrade"])).toBe(
      "allowed",
    );
    expect(verdict(asking("upgrade", "websocket"), ["upgrade", "websocket"])).toBe("denied");
    expect(verdict(asking(":scheme", "https"), ["x-forwarded-proto", "HTTPS"])).toBe("allowed");
    expect(verdict(asking(":scheme", "https"), [":scheme", "https"])).toBe("allowed");
    // To the client's sidecar it is http then, and to the server's, which is reached through TLS, https.
    expect(verdict(asking(":scheme", "https"), ["x-forwarded-proto", "ftp"])).toBe("allowed");
    const length = asking("content-length", "0");
    expect(ask(length, "a/web", "a/api", "POST /").verdict).toBe("allowed");
    expect(ask(length, "a/web", "a/api", "GET /").verdict).toBe("denied");
    expect(ask(length, "a/web", "a/api", "POST /", [[":scheme", "http"]]).verdict).toBe("denied");
    const ground = asking("te", "gzip");
    expect(says(ground, ask(ground, "a/web", "a/api", "GET /", [["te", "gzip"]]))).toEqual([
      "allowed by a/t if header te matched gzip (it is taken away by sidecars)",
    ]);
  });

  test("row 12: patterns are about bytes, as Envoy's: a letter of two bytes is two characters", () => {
    const ground = of(api, routeGroup("a/g", [{ name: "h", headers: [{ name: "x-a", regex: ".." }] }]), web);
    expect(ask(ground, "a/web", "a/api", "GET /", [["x-a", "é"]]).verdict).toBe("allowed");
    expect(ask(ground, "a/web", "a/api", "GET /", [["x-a", "e"]]).verdict).toBe("denied");
  });

  test("row 18: on TCP by a TCPRoute, and an HTTP request there is a connection too", () => {
    const ports = [{ port: 80, name: "tcp-x" }];
    const ground = of(
      app("a/api", { ports }),
      tcpRoute("a/r", [79, 80]),
      target("a/t", { to: "a/api", from: ["a/web"], rules: ["TCPRoute r"] }),
    );
    const found = ask(ground, "a/web", "a/api");
    expect(found.verdict).toBe("allowed");
    expect(trail(ground, found).at(-1)).toBe("TCPRoute a/r spec.matches.ports[1]: names port 80");
    expect(ask(ground, "a/web", "a/api", "GET /%2f").verdict).toBe("allowed");
    expect(ask(ground, "a/thief", "a/api")).toMatchObject({ verdict: "denied", answer: "closed" });
  });

  test("row 1: by permissive mode", () => {
    const ground = of(api, meshConfig({ permissive: true }));
    const found = ask(ground, "a/thief", "a/api", "GET /");
    expect(found.verdict).toBe("allowed");
    expect(trail(ground, found)[1]).toContain("permissive mode");
  });

  test("row 9: as a split's part that lets it through; the rest is said", () => {
    const ground = of(
      app("a/v1"),
      app("a/v2"),
      service("a/api"),
      group,
      split("a/s", { service: "api", backends: { v1: 1, v2: 3 } }),
      target("a/t", { to: "a/v2", from: ["a/web"], rules: ["HTTPRouteGroup g"] }),
    );
    const found = ask(ground, "a/web", "a/api", "GET /buy/a");
    expect([found.verdict, backends(found)]).toEqual(["allowed", ["a/v2 75"]]);
    expect(through(found).refused.map(({ service: name, weight }) => [name, weight])).toEqual([["a/v1", 25]]);
    expect(trail(ground, found)[1]).toBe("TrafficSplit a/s spec.backends: takes it, and sends 25% to v1, 75% to v2");
    expect(eachPod(found).map(({ service: name, judgement }) => [name, judgement.allowed])).toEqual([
      ["a/v1", false],
      ["a/v2", true],
    ]);
  });

  test("row 30: by the first split whose matches take it", () => {
    const ground = of(
      app("a/v1"),
      app("a/v2"),
      service("a/api"),
      routeGroup("a/beta", [{ name: "x", headers: [{ name: "x-beta", regex: ".*" }] }]),
      routeGroup("a/g", [{ name: "all" }]),
      split("a/s1", { service: "api", backends: { v1: 1 }, matches: ["beta"] }),
      split("a/s2", { service: "api", backends: { v2: 1 } }),
      ...["v1", "v2"].map((to) => target(`a/${to}`, { to: `a/${to}`, from: ["a/web"], rules: ["HTTPRouteGroup g"] })),
    );
    expect(backends(ask(ground, "a/web", "a/api", "GET /", [["X-Beta", ""]]))).toEqual(["a/v1 100"]);
    const other = ask(ground, "a/web", "a/api", "GET /");
    expect(backends(other)).toEqual(["a/v2 100"]);
    expect(trail(ground, other)[1]).toBe("TrafficSplit a/s1 spec.matches: does not take it: its matches do not fit");
  });
});

describe("denied", () => {
  test("and the nearest rule is the one with the fewest differences", () => {
    const ground = of(api, group, web);
    expect(says(ground, ask(ground, "a/thief", "a/api", "GET /buy/a"))).toEqual([
      "allowed by a/t if the source were a/web (the path matches /buy/.*, the method is GET)",
      "allowed by a/t if the source were a/web, and the method were POST and not GET, and header x-beta matched yes|no (it is missing) (the path matches /buy/.*)",
    ]);
    expect(says(ground, ask(ground, "a/web", "a/api", "DELETE /buy/a"))[0]).toBe(
      "allowed by a/t if the method were GET and not DELETE (the path matches /buy/.*)",
    );
    expect(says(ground, ask(ground, "a/web", "a/api", "GET /sell"))[0]).toBe(
      "allowed by a/t if the path matched /buy/.* (the method is GET)",
    );
    expect(says(ground, ask(ground, "a/web", "a/api", "POST /buy/a", [["x-beta", "maybe"]]))).toContain(
      'allowed by a/t if header x-beta matched yes|no (it is "maybe") (the path matches /buy/.*, the method is POST)',
    );
  });

  test("row 11: by an escaped slash, whoever asks; by the path in normal form", () => {
    const ground = of(api, group, web);
    expect(ask(ground, "a/web", "a/api", "GET /buy/a%2Fb")).toMatchObject({ verdict: "denied", answer: 400 });
    expect(says(ground, ask(ground, "a/web", "a/api", "GET /buy/a%2Fb"))[0]).toContain("no escaped slash");
    expect(ask(ground, "a/web", "a/api", "GET /buy/../admin").answer).toBe(403);
    expect(ask(ground, "a/web", "a/api", "GET /x/%2e%2e//buy/a").verdict).toBe("allowed");
    expect(ask(ground, "a/web", "a/api", "GET /buy/a#b")).toMatchObject({ verdict: "denied", answer: 400 });
  });

  test("by a request that the sidecar answers itself, whoever asks", () => {
    const open = of(api, target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup g"] }), group);
    const status = (...headers: (readonly [string, string])[]) => {
      const found = ask(open, "a/web", "a/api", "GET /buy/a", headers);
      return found.answer ?? found.verdict;
    };
    expect(status()).toBe("allowed");
    expect(status(["upgrade", "h2c"], ["connection", "upgrade"])).toBe("allowed");
    expect(status(["upgrade", "foo"], ["connection", "upgrade"])).toBe(403);
    expect(status(["connection", "x-forwarded-for"])).toBe(400);
    expect(status(["content-length", "a"])).toBe(400);
    expect(status(["x-forwarded-proto", ""])).toBe(404);
    expect(status(["transfer-encoding", "gzip"])).toBe(501);
  });

  test.each([
    [
      "row 4: a target in another namespace",
      [
        group,
        target("b/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup g"] }),
        routeGroup("b/g", [{ name: "x" }]),
      ],
      "allowed by b/t if the TrafficTarget were in namespace a",
    ],
    ["row 5: a route group that is not there", [web], "allowed by a/t if there were an HTTPRouteGroup a/g"],
    [
      "row 5: a match that is not there",
      [group, target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup g nothing"] })],
      "allowed by a/t if HTTPRouteGroup g had a match nothing",
    ],
    [
      "row 14: a pattern that RE2 rejects",
      [routeGroup("a/g", [{ name: "bad", pathRegex: "(" }]), web],
      "allowed by a/t if match bad of HTTPRouteGroup g were usable",
    ],
    [
      "row 3: no sources",
      [group, target("a/t", { to: "a/api", from: [], rules: ["HTTPRouteGroup g"] })],
      "allowed by a/t if it named any source",
    ],
    [
      "row 22: another destination.port",
      [group, target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup g"], port: 81 })],
      "allowed by a/t if its destination.port were 80, the pods' port, and not 81",
    ],
    [
      "row 21: TCPRoutes that limit HTTP to other ports",
      [
        group,
        tcpRoute("a/r"),
        target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup g", "TCPRoute none"] }),
      ],
      "allowed by a/t if one of its TCPRoutes named port 80",
    ],
    [
      "row 17: a TCPRoute of another port",
      [tcpRoute("a/r", [81]), target("a/t", { to: "a/api", from: ["a/web"], rules: ["TCPRoute r"] })],
      "allowed by a/t if TCPRoute r named the pods' port 80 (it names 81)",
    ],
    [
      "a rule that cannot be read",
      [target("a/t", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup broken"] })],
      "allowed by a/t if the rule could be read",
    ],
  ] as const)("for %s", (_name, objects, wanted) => {
    const ground = of(api, ...objects);
    const found = ask(ground, "a/web", "a/api", "GET /buy/a");
    expect(found.verdict).toBe("denied");
    expect(says(ground, found)[0]).toContain(wanted);
  });

  test("row 19: an HTTP rule on a TCP port", () => {
    const ground = of(app("a/api", { ports: [{ port: 80, name: "tcp-x" }] }), group, web);
    expect(says(ground, ask(ground, "a/web", "a/api"))[0]).toContain("it speaks TCP, which only TCPRoutes open");
  });

  test("for whoever has no sidecar, and for what is no HTTP", () => {
    const ground = of(api, group, web);
    expect(ask(ground, "outside", "a/api", "GET /buy/a")).toMatchObject({ verdict: "denied", answer: 403 });
    expect(ask(ground, "a/web", "a/api")).toMatchObject({ verdict: "denied", answer: 400 });
  });

  test("by an authority that names no Service that the caller knows; by one that names another Service it is that one's call", () => {
    const ground = of(api, app("a/shop"), group, web);
    const host = (name: string) => ask(ground, "a/web", "a/shop", "GET /buy/a", [["Host", name]]);
    for (const name of ["API.a.svc:81", "api.a:abc", "api.a.:", "api.a:80..", "api.a:a[b"])
      expect(host(name), name).toMatchObject({ verdict: "allowed", redirected: "a/api" });
    for (const name of ["api.a:1:", "api.a:]", "api.a..:80", "u@api.a"])
      expect(ask(ground, "a/web", "a/api", "GET /buy/a", [["host", name]]), name).toMatchObject({
        stop: { reason: "unknown-host" },
        answer: 403,
      });
    for (const name of ["api.a:/", "api.a:é"])
      expect(host(name), name).toMatchObject({ verdict: "denied", answer: 400 });
    expect(ask(ground, "a/web", "a/api", "GET /buy/a", [["host", "nobody"]])).toMatchObject({
      verdict: "denied",
      stop: { reason: "unknown-host" },
    });
    expect(ask(ground, "a/web", "a/api", "GET /buy/a", [["host", "api"]]).verdict).toBe("allowed");
  });

  test("row 27: by a split with nothing left, with 503", () => {
    const ground = of(api, group, web, split("a/s", { service: "api", backends: { api: 0 } }));
    expect(ask(ground, "a/web", "a/api", "GET /buy/a")).toMatchObject({ verdict: "not-routed", answer: 503 });
  });

  test("row 27: by a split with nothing left on this port, with 503, though its root has no pods and its other port leads on", () => {
    const ground = of(
      app("a/db", { ports: [{ port: 90, name: "tcp-x" }] }),
      service("a/root", {
        selector: { app: "nobody" },
        ports: [{ port: 80 }, { port: 90, name: "tcp-x" }],
      }),
      split("a/s", { service: "root", backends: { db: 1 } }),
      tcpRoute("a/all", []),
      target("a/t", { to: "a/db", from: ["a/web"], rules: ["TCPRoute all"] }),
    );
    expect(ask(ground, "a/web", "a/root:80", "GET /")).toMatchObject({ verdict: "not-routed", answer: 503 });
  });

  describe("row 1: in permissive mode, to a Service without pods", () => {
    const permissive = meshConfig({ permissive: true });
    const empty = (name: string) => service("a/empty", { selector: { app: "nobody" }, ports: [{ port: 80, name }] });

    test("with 503, where the request names a Service of this port", () => {
      const ground = of(api, permissive, empty("http-x"));
      const nobody = { verdict: "not-routed" };
      expect(ask(ground, "a/web", "a/empty", "GET /")).toMatchObject({ ...nobody, answer: 503 });
      expect(ask(ground, "a/web", "a/empty", "GET /", [["host", "empty.a"]])).toMatchObject({ ...nobody, answer: 503 });
      expect(ask(ground, "a/web", "a/empty", "GET /", [["host", "x.y"]])).toMatchObject({
        verdict: "denied",
        stop: { reason: "unknown-host" },
        answer: 403,
      });
      expect(ask(ground, "a/web", "a/empty", "GET /", [["host", "empty.a"]]).redirected).toBeUndefined();
      expect(ask(ground, "a/web", "a/empty", "GET /", [["host", "api"]])).toMatchObject({
        verdict: "allowed",
        redirected: "a/api",
      });
    });

    test("by a closed connection on TCP, whatever a request names", () => {
      const ground = of(api, permissive, empty("tcp-x"));
      const closed = { verdict: "not-routed", answer: "closed" };
      expect(ask(ground, "a/web", "a/empty", "GET /")).toMatchObject(closed);
      expect(ask(ground, "a/web", "a/empty", "GET /", [["host", "api"]])).toMatchObject(closed);
      expect(ask(ground, "a/web", "a/empty")).toMatchObject(closed);
    });

    test("or to one whose pods have no sidecar: they do not speak the mesh's TLS", () => {
      const bare = (name: string) => app("a/bare", { ports: [{ port: 80, name }], workload: { meshed: false } });
      const tcp = of(api, permissive, bare("tcp-x"));
      expect(ask(tcp, "a/web", "a/bare")).toMatchObject({ verdict: "denied", answer: "closed" });
      // The chain for its address has what names another Service.
      expect(ask(tcp, "a/web", "a/bare", "GET /", [["host", "api"]])).toMatchObject({
        verdict: "denied",
        answer: "closed",
      });
      const http = of(api, permissive, bare("http-x"));
      expect(ask(http, "a/web", "a/bare", "GET /")).toMatchObject({ verdict: "denied", answer: 503 });
      expect(ask(of(api, bare("http-x"), web), "a/web", "a/bare", "GET /")).toMatchObject({ verdict: "not-in-mesh" });
    });
  });
});
