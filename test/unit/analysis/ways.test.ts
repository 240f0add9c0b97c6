/** Where calls may go, before anybody looks at the request: what `xds/` tells Envoys, as data. */
import { describe, expect, test } from "vitest";
import { waysOf, type Client, type Destination, type Way, type Ways } from "../../../src/analysis/ways.ts";
import { compile } from "../../../src/policy/compile.ts";
import type { World } from "../../../src/world/world.ts";
import {
  account,
  app,
  flat,
  namespace,
  pod,
  podRef,
  routeGroup,
  service,
  serviceRef,
  split,
  target,
  tcpRoute,
  workload,
  world,
} from "../../support/build.ts";

const web: Client = { kind: "account", identity: account("a/web") };
const outside: Client = { kind: "outside" };
const to = (of: string, port = 80): Destination => ({ kind: "service", service: serviceRef(of), port });
const toPod = (of: string, port = 80): Destination => ({ kind: "pod", pod: podRef(of), port });
/** Builders put a hash into pods' names. */
const short = (name: string): string => name.replace(/-[0-9a-f]{4}-/, "-");
const nth = (made: World, i: number): Destination =>
  toPod(
    [...(made.tables.Pod.get("a")?.values() ?? [])]
      .map((p) => p.name)
      .sort()
      .filter((n) => !n.includes("web"))[i] ?? "",
  );
const ask = (made: World, destination: Destination, client: Client = web): Ways =>
  waysOf({ world: made, mesh: compile(made).mesh }, client, destination);
const ways = (made: World, destination: Destination): readonly Way[] => {
  const found = ask(made, destination);
  if (found.kind !== "ways") throw new Error(`${found.kind}: ${found.reason}`);
  return found.ways;
};
/** `backend weight → pods:port` of each route. */
const lines = (made: World, destination: Destination): string[] =>
  ways(made, destination).flatMap(({ routes }) =>
    routes.map(({ route, backends }) =>
      [
        route.split ?? "itself",
        ...backends.map(
          ({ backend, servers }) =>
            `${backend.service} ${backend.weight} → ${servers.map((s) => `${s.pods.map(short).join(",")}:${s.port}${s.inbound ? "" : " (closed)"}`).join(" ")}`,
        ),
      ].join("; "),
    ),
  );

const open = (name: string) => [
  routeGroup("a/g", [{ name: "all" }]),
  tcpRoute("a/every"),
  target(`a/${name}`, { to: `a/${name}`, from: ["a/web"], rules: ["HTTPRouteGroup g", "TCPRoute every"] }),
];
const client = [namespace("a"), pod("a/web-0", workload("a/web"))];

describe("no way", () => {
  test.each([
    ["what does not exist", [], "not-in-mesh", "unknown"],
    ["row 24: an ExternalName", [service("a/api", { externalName: "example.com" })], "not-in-mesh", "external-name"],
    ["a Service without selector", [service("a/api", { selector: null })], "not-in-mesh", "no-selector"],
    ["another port", [app("a/api", { ports: [81] })], "not-routed", "no-port"],
    ["UDP", [app("a/api", { ports: [{ port: 80, protocol: "UDP" }] })], "not-in-mesh", "not-tcp"],
    ["no pods", [service("a/api")], "not-routed", "no-pods"],
    ["pods without sidecar", [app("a/api", { workload: { meshed: false } })], "not-in-mesh", "no-sidecar"],
    [
      "a name of no container port",
      [app("a/api", { ports: [{ port: 80, targetPort: "x" }] })],
      "not-routed",
      "no-target-port",
    ],
  ] as const)("%s", (_name, objects, kind, reason) => {
    expect(ask(world(client, flat(objects)), to("a/api"))).toEqual({ kind, reason });
  });

  test("another namespace, a pod's address, and a caller without sidecar", () => {
    const made = world(client, app("a/api"), namespace("b", { monitored: false }), app("b/api"));
    expect(ask(made, to("b/api"))).toEqual({ kind: "not-in-mesh", reason: "unmonitored" });
    expect(ask(made, nth(made, 0))).toEqual({ kind: "not-routed", reason: "pod-address" });
    expect(ask(made, to("a/api"), outside)).toEqual({ kind: "denied", reason: "client-without-sidecar" });
    expect(ask(made, nth(made, 0), outside)).toEqual({ kind: "denied", reason: "client-without-sidecar" });
  });
});

describe("ports that no sidecar guards", () => {
  const past = app("a/api", { ports: [{ port: 80, targetPort: 8080 }], workload: { past: [8080] } });

  test("are open to who has none, by the Service and by the pod, if any pod behind it is so", () => {
    const made = world(client, past);
    expect(ask(made, to("a/api"), outside)).toEqual({ kind: "not-in-mesh", reason: "open" });
    const own = [...(made.tables.Pod.get("a")?.values() ?? [])].find((p) => p.workload.past)?.name ?? "";
    expect(ask(made, toPod(own, 8080), outside)).toEqual({ kind: "not-in-mesh", reason: "open" });
    expect(ask(made, toPod(own, 8081), outside)).toEqual({ kind: "denied", reason: "client-without-sidecar" });
    const mixed = world(client, app("a/api"), pod("a/bare", workload("a/api", { meshed: false })));
    expect(ask(mixed, to("a/api"), outside)).toEqual({ kind: "not-in-mesh", reason: "open" });
  });

  test("take nothing from the mesh's sidecars, which speak its TLS", () => {
    const made = world(client, past, open("api"));
    expect(ways(made, to("a/api"))[0]?.routes[0]?.backends[0]?.servers).toMatchObject([{ past: true, port: 8080 }]);
    expect(ways(made, to("a/api"))[0]?.routes[0]?.backends[0]?.servers[0]).not.toHaveProperty("group");
  });

  test("a pod without sidecar behind a headless TCP Service: the chain for its address has the connection", () => {
    const bare = pod("a/bare", workload("a/db", { meshed: false }));
    const ports = [{ port: 80, name: "tcp-db" }];
    const made = world(client, app("a/db", { ports, headless: true }), bare, open("db"));
    expect(ask(made, toPod("a/bare"))).toMatchObject({ kind: "ways", ways: [{ service: { name: "a/db" } }] });
    expect(ask(made, toPod("a/bare", 81))).toEqual({ kind: "not-in-mesh", reason: "no-sidecar" });
  });
});

describe("a way", () => {
  test("to a Service's pods, known only to who may call them", () => {
    const made = world(client, app("a/api", { ports: [{ port: 80, targetPort: 8080 }], pods: 2 }));
    expect(lines(made, to("a/api"))).toEqual(["itself; a/api 1 → a/api-0,a/api-1:8080"]);
    expect(ways(made, to("a/api")).map((w) => w.known)).toEqual([false]);
    const allowed = world(client, app("a/api", { ports: [{ port: 80, targetPort: 8080 }] }), open("api"));
    expect(ways(allowed, to("a/api")).map((w) => w.known)).toEqual([true]);
  });

  test("rows 26, 30, 31: through splits in order, to each backend's own target port; a root needs no pods", () => {
    const made = world(
      client,
      service("a/api"),
      app("a/v1", { ports: [{ port: 80, targetPort: 1 }] }),
      app("a/v2", { ports: [{ port: 80, targetPort: 2 }], workload: { meshed: false } }),
      routeGroup("a/beta", [{ name: "x", pathRegex: "/beta" }]),
      split("a/beta", { service: "api", backends: { v2: 1 }, matches: ["beta"] }),
      split("a/all", { service: "api", backends: { v1: 3, v2: 1 } }),
    );
    expect(lines(made, to("a/api"))).toEqual([
      "a/beta; a/v2 1 → a/v2-0:2 (closed)",
      "a/all; a/v1 3 → a/v1-0:1; a/v2 1 → a/v2-0:2 (closed)",
    ]);
  });

  test("to a named target port, which is another one in other pods", () => {
    const labels = { app: "api" };
    const made = world(
      client,
      service("a/api", { ports: [{ port: 80, targetPort: "web" }] }),
      pod("a/one", workload("a/one", { labels, ports: [{ name: "web", port: 8081 }] })),
      pod("a/two", workload("a/two", { labels, ports: [{ name: "web", port: 8082 }] })),
      pod("a/three", workload("a/three", { labels })),
    );
    expect(lines(made, to("a/api"))).toEqual(["itself; a/api 1 → a/one:8081 a/two:8082"]);
  });

  test("row 33: to a headless Service's pod by its name goes past splits; the connection keeps its port", () => {
    const made = world(
      client,
      app("a/db", { headless: true, pods: 2 }),
      app("a/v1"),
      split("a/all", { service: "db", backends: { v1: 1 } }),
      open("db"),
    );
    expect(lines(made, to("a/db"))).toEqual(["a/all; a/v1 1 → a/v1-0:80"]);
    expect(lines(made, nth(made, 1))).toEqual(["itself; a/db 1 → a/db-1:80"]);
    const moved = world(client, app("a/db", { headless: true, ports: [{ port: 80, targetPort: 8080 }] }), open("db"));
    expect(lines(moved, to("a/db"))).toEqual(["itself; a/db 1 → a/db-0:80 (closed)"]);
  });

  test("on TCP ports of two headless Services with the same pods, the first one that the client knows has the address", () => {
    const ports = [{ port: 80, name: "tcp-x" }];
    const made = world(
      client,
      app("a/db", { headless: true, ports }),
      service("a/alias", { headless: true, ports, selector: { app: "db" } }),
      open("db"),
    );
    expect(ways(made, to("a/db")).map((w) => [w.service.name, w.to?.map(short), w.known])).toEqual([
      ["a/alias", ["a/db-0"], true],
    ]);
    expect(lines(made, nth(made, 0))).toEqual(["itself; a/alias 1 → a/db-0:80"]);
  });

  test("without pods there is no address, and no way by its split", () => {
    const ports = [{ port: 80, name: "tcp-x" }];
    const root = service("a/root", { headless: true, ports, selector: { app: "nobody" } });
    const made = world(
      client,
      root,
      app("a/db", { ports }),
      split("a/s", { service: "root", backends: { db: 1 } }),
      open("db"),
    );
    expect(ask(made, to("a/root"))).toEqual({ kind: "not-routed", reason: "no-pods" });
  });

  test("and one whose split has nothing left has none", () => {
    const ports = [{ port: 80, name: "tcp-x" }];
    const made = world(
      client,
      app("a/db", { headless: true, ports }),
      service("a/alias", { headless: true, ports, selector: { app: "db" } }),
      split("a/nothing", { service: "alias", backends: { gone: 1 } }),
      open("db"),
    );
    expect(lines(made, nth(made, 0))).toEqual(["itself; a/db 1 → a/db-0:80"]);
    expect(ways(made, to("a/alias")).map((w) => w.service.name)).toEqual(["a/db"]);
  });
});
