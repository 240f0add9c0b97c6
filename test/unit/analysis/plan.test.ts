/** What a change means for those who call. */
import { describe, expect, test } from "vitest";
import { changedCalls, changedIdentities, type CallChange } from "../../../src/analysis/plan.ts";
import { changedOpen } from "../../../src/analysis/open.ts";
import { changedProtocols } from "../../../src/analysis/protocols.ts";
import { newAccess } from "../../../src/analysis/gate.ts";
import {
  app,
  gone,
  meshConfig,
  namespace,
  pods,
  routeGroup,
  service,
  serviceRef,
  split,
  target,
  tcpRoute,
  workload,
  type Changes,
} from "../../support/build.ts";
import { grounds, newRequests } from "../../support/ground.ts";

const client = (name: string) => pods(workload(name));
const http = (port: number) => ({ ports: [{ port, name: "http-web", targetPort: 8080 }] });
const shop: Changes[] = [
  namespace("shop"),
  namespace("web"),
  client("web/buyer"),
  client("web/thief"),
  app("shop/store", http(80)),
  app("shop/v1", http(80)),
  app("shop/v2", http(80)),
  routeGroup("shop/routes", [
    { name: "read", methods: ["GET"], pathRegex: "/books/.*" },
    { name: "buy", methods: ["POST"], pathRegex: "/buy" },
  ]),
];
const lets = (to: string, from: string[], rules = ["HTTPRouteGroup routes"]) =>
  target(`${to}-access`, { to, from, rules });

const said = (changes: readonly CallChange[]): string[] =>
  changes.map(({ change, from, to, witness, before, after }) => {
    const shares = (side: typeof before) => side.shares.map((s) => `${s.service} ${s.percent} ${s.lets}`).join(" + ");
    const call = witness ? `${witness.method} ${witness.path}` : "connection";
    return `${change}: ${from.join(",")} → ${to.service}:${to.port} ${call} (${shares(before)} → ${shares(after)})`;
  });
const plan = (before: Changes[], changed: Changes[]) => {
  const [a, b] = grounds([...shop, ...before], changed);
  const { calls, unknown } = changedCalls(newRequests(), a, b);
  expect(unknown).toEqual([]);
  return said(calls);
};

describe("access", () => {
  test("a new source: its calls become allowed, and the rule that lets them is named", () => {
    const [a, b] = grounds(
      [...shop, lets("shop/store", ["web/buyer"])],
      [lets("shop/store", ["web/buyer", "web/thief"])],
    );
    const { calls } = changedCalls(newRequests(), a, b);
    expect(said(calls)).toEqual(["allowed: web/thief → shop/store:80 GET /books/ ( → shop/store 100 each)"]);
    expect(calls[0]?.before.rules).toEqual([]);
    expect(calls[0]?.after.rules).toEqual([{ target: "shop/store-access", group: "shop/routes", match: "read" }]);
    expect(calls[0]?.witness?.authority).toBe("store.shop");
  });

  test("clients whose changes differ by the authority alone are told apart, each with a witness of its own", () => {
    const all = (group: string) => [`HTTPRouteGroup ${group}`];
    const short = routeGroup("shop/short", [{ name: "s", headers: [{ name: "host", regex: "store\\.shop" }] }]);
    const every = routeGroup("shop/every", [{ name: "e" }]);
    const [a, b] = grounds(
      [...shop, short, every, target("shop/one", { to: "shop/store", from: ["web/buyer"], rules: all("short") })],
      [target("shop/two", { to: "shop/store", from: ["web/buyer", "web/thief"], rules: all("every") })],
    );
    const { calls } = changedCalls(newRequests(), a, b);
    expect(calls.map(({ from, witness }) => [...from, witness?.authority === "store.shop"])).toEqual([
      ["web/buyer", false],
      ["web/thief", true],
    ]);
  });

  test("a headless Service whose pods' addresses are another's: who is let in where that one's split leads", () => {
    const port = (name: string) => ({ headless: true, ports: [{ port: 8080, name }] });
    const before = [
      app("shop/db", port("http-db")),
      service("shop/root", { ...port("tcp-root"), selector: { app: "db" } }),
      app("shop/raw", { ports: [{ port: 8080, name: "tcp-raw" }] }),
      split("shop/moved", { service: "root", backends: { raw: 1 } }),
      tcpRoute("shop/any"),
    ];
    expect(plan(before, [lets("shop/raw", ["web/thief"], ["TCPRoute any"])])).toEqual([
      "allowed: web/thief → shop/db:8080 GET / ( → shop/raw 100 each)",
      "allowed: web/thief → shop/raw:8080 connection ( → shop/raw 100 each)",
      "allowed: web/thief → shop/root:8080 connection ( → shop/raw 100 each)",
    ]);
  });

  test("a wider pattern: exactly what is new", () => {
    const wider = routeGroup("shop/routes", [
      { name: "read", methods: ["GET", "HEAD"], pathRegex: "/(books|music)/.*" },
      { name: "buy", methods: ["POST"], pathRegex: "/buy" },
    ]);
    const [a, b] = grounds([...shop, lets("shop/store", ["web/buyer"])], [wider]);
    const requests = newRequests();
    const [one, ...more] = changedCalls(requests, a, b).calls;
    expect(more).toEqual([]);
    const has = (method: string, path: string) =>
      requests.has(one!.requests, { method, path, headers: [], authority: "STORE.shop:8080" });
    expect([has("GET", "/music/a"), has("HEAD", "/books/a"), has("HEAD", "/music/")]).toEqual([true, true, true]);
    expect([has("GET", "/books/a"), has("POST", "/buy"), has("PUT", "/music/a")]).toEqual([false, false, false]);
  });

  test.each<[string, Changes]>([
    [
      "order",
      routeGroup("shop/routes", [
        { name: "buy", methods: ["POST"], pathRegex: "/buy" },
        { name: "read", methods: ["GET"], pathRegex: "/books/.*" },
      ]),
    ],
    [
      "names and patterns",
      routeGroup("shop/routes", [
        { name: "a", methods: ["GET"], pathRegex: "/books/(|[^x].*)" },
        { name: "b", methods: ["GET"], pathRegex: "/b(o){2}ks/x.*" },
        { name: "c", methods: ["POST"], pathRegex: "/bu[y]" },
      ]),
    ],
    [
      "a match that another one contains",
      routeGroup("shop/routes", [
        { name: "read", methods: ["GET"], pathRegex: "/books/.*" },
        { name: "less", methods: ["GET"], pathRegex: "/books/new" },
        { name: "buy", methods: ["POST"], pathRegex: "/buy" },
      ]),
    ],
    [
      "two targets for one",
      [
        lets("shop/store", ["web/buyer"], ["HTTPRouteGroup routes read"]),
        target("shop/second", { to: "shop/store", from: ["web/buyer"], rules: ["HTTPRouteGroup routes buy"] }),
      ],
    ],
    [
      "another name",
      [
        gone(lets("shop/store", ["web/buyer"])),
        target("shop/renamed", { to: "shop/store", from: ["web/buyer"], rules: ["HTTPRouteGroup routes"] }),
      ],
    ],
  ])("a rewrite that changes nothing is no change: %s", (_says, change) => {
    expect(plan([lets("shop/store", ["web/buyer"])], [change])).toEqual([]);
  });

  test("a rule that is gone: what it alone had allowed is denied", () => {
    expect(plan([lets("shop/store", ["web/buyer", "web/thief"])], [lets("shop/store", ["web/buyer"])])).toEqual([
      "denied: web/thief → shop/store:80 GET /books/ (shop/store 100 each → )",
    ]);
  });

  test("an account without pods is somebody too: they may come at any time", () => {
    expect(plan([], [lets("shop/store", ["web/ghost"])])).toEqual([
      "allowed: web/ghost → shop/store:80 GET /books/ ( → shop/store 100 each)",
    ]);
  });

  test("a Service that goes takes the calls with it", () => {
    const [service] = app("shop/store", http(80));
    expect(plan([lets("shop/store", ["web/buyer"])], [gone(service!)])).toEqual([
      "denied: web/buyer → shop/store:80 GET /books/ (shop/store 100 each → )",
    ]);
  });

  test("permissive mode opens everything, told once for all clients", () => {
    const changes = plan([], [meshConfig({ permissive: true })]);
    expect(changes).toEqual([
      "allowed: shop/store,shop/v1,shop/v2,web/buyer,web/thief → shop/store:80 GET / ( → shop/store 100 each)",
      "allowed: shop/store,shop/v1,shop/v2,web/buyer,web/thief → shop/v1:80 GET / ( → shop/v1 100 each)",
      "allowed: shop/store,shop/v1,shop/v2,web/buyer,web/thief → shop/v2:80 GET / ( → shop/v2 100 each)",
    ]);
  });

  test("TCP: connections, and a port that stops to be HTTP (row 19)", () => {
    const db = (name: string) => app("shop/db", { ports: [{ port: 90, name, targetPort: 9090 }] });
    const access = [tcpRoute("shop/db", [9090]), lets("shop/db", ["web/buyer"], ["TCPRoute db"])];
    expect(plan([db("tcp-sql"), access[0]!], [access[1]!])).toEqual([
      "allowed: web/buyer → shop/db:90 connection ( → shop/db 100 each)",
    ]);
    const asHttp = [db("http-sql"), lets("shop/db", ["web/buyer"])];
    expect(plan(asHttp, [db("tcp-sql")])).toEqual(["denied: web/buyer → shop/db:90 GET /books/ (shop/db 100 each → )"]);
  });
});

describe("where calls go", () => {
  const to = (v1: number, v2: number, matches?: string[]) =>
    split("shop/split", { service: "store", backends: { v1, v2 }, ...(matches ? { matches } : {}) });

  test("weights, told once for all that it concerns", () => {
    const access = ["shop/v1", "shop/v2"].map((one) => lets(one, ["web/buyer", "web/thief"]));
    expect(plan([...access, to(100, 0)], [to(50, 50)])).toEqual([
      "moved: web/buyer,web/thief → shop/store:80 GET /books/ (shop/v1 100 each → shop/v1 50 each + shop/v2 50 each)",
    ]);
    expect(plan([...access, to(1, 1)], [to(500, 500)])).toEqual([]);
  });

  test("a backend that refuses takes part: that is more than a weight (row 9)", () => {
    expect(plan([lets("shop/v1", ["web/buyer"]), to(1, 0)], [to(3, 1)])).toEqual([
      "partly: web/buyer → shop/store:80 GET /books/ (shop/v1 100 each → shop/v1 75 each + shop/v2 25 none)",
    ]);
  });

  test("a split with matches: only the requests that it takes (row 30)", () => {
    const access = ["shop/v1", "shop/v2", "shop/store"].map((one) => lets(one, ["web/buyer"]));
    const some = routeGroup("shop/some", [{ name: "new", pathRegex: "/books/new" }]);
    const [a, b] = grounds([...shop, ...access, some], [to(0, 1, ["some"])]);
    const requests = newRequests();
    const { calls } = changedCalls(requests, a, b);
    expect(said(calls)).toEqual([
      "moved: web/buyer → shop/store:80 GET /books/new (shop/store 100 each → shop/v2 100 each)",
    ]);
    const other = { method: "GET", path: "/books/old", headers: [], authority: "store.shop" };
    expect(requests.has(calls[0]!.requests, other)).toBe(false);
  });
});

test("identities that come and go", () => {
  const [a, b] = grounds([...shop], [client("web/new"), client("web/thief").map(gone)].flat());
  expect(changedIdentities(a, b)).toEqual({ added: ["web/new"], removed: ["web/thief"] });
});

test("ports that no sidecar guards, as they open and close; what is gone is not closed", () => {
  const bare = app("shop/v2", { ...http(80), workload: { meshed: false } });
  const [a, b] = grounds(shop, [bare, app("shop/v1", { ...http(80), workload: { past: [8080] } })]);
  const port = (name: string, because: string) => ({
    service: `shop/${name}`,
    port: 80,
    identity: `shop/${name}`,
    podPort: 8080,
    because,
  });
  const ports = [port("v1", "annotation"), port("v2", "no-sidecar")];
  expect(changedOpen(a, b)).toMatchObject({ opened: ports, closed: [] });
  expect(changedOpen(b, a)).toMatchObject({ opened: [], closed: ports });
  expect(changedOpen(b, b)).toEqual({ opened: [], closed: [] });
  const [c, d] = grounds([...shop, bare], [namespace("shop", { monitored: false })]);
  expect(changedOpen(c, d).opened.map((one) => one.service)).toEqual(["shop/store", "shop/v1", "shop/v2"]);
});

describe("a port that speaks another protocol", () => {
  const tcp = { ports: [{ port: 80, name: "tcp-web", targetPort: 8080 }] };
  const spoken = (before: Changes[], changed: Changes[]) =>
    changedProtocols(...grounds([...shop, ...before], changed)).map(
      ({ to, before: old, after: now }) => `${to.service}:${to.port} ${old.join("+")} → ${now.join("+")}`,
    );
  test("HTTP and then TCP, and the other way round", () => {
    expect(spoken([], [app("shop/store", tcp)])).toEqual(["shop/store:80 http → tcp"]);
    expect(spoken([app("shop/store", tcp)], [app("shop/store", http(80))])).toEqual(["shop/store:80 tcp → http"]);
  });
  test("as another Service before the same pods has it", () => {
    const other = service("shop/other", { selector: { app: "store" }, ...tcp });
    expect(spoken([], [other])).toEqual(["shop/store:80 http → http+tcp"]);
  });
  test("not one that is new, is gone, or has other rules", () => {
    expect(
      spoken([], [app("shop/new", tcp), gone(service("shop/v1", http(80))), lets("shop/v2", ["web/buyer"])]),
    ).toEqual([]);
  });
});

test("a namespace in which nothing changed is not looked at", () => {
  const other = [namespace("other"), app("other/one", http(80)), lets("other/one", ["web/buyer"], ["TCPRoute all"])];
  const [a, b] = grounds([...shop, ...other, tcpRoute("other/all")], [lets("shop/store", ["web/buyer"])]);
  const requests = newRequests();
  expect(changedCalls(requests, a, b).calls.map((c) => c.to.service)).toEqual(["shop/store"]);
});

describe("a gate on new access", () => {
  const fresh = (before: Changes[], changed: Changes[], service = "shop/v2") => {
    const [a, b] = grounds([...shop, ...before], changed);
    return newAccess(newRequests(), a, b, [serviceRef(service)]).map(
      ({ from, to, request }) =>
        `${from} via ${to ? `${to.service}:${to.port}` : "nothing yet"} ${request?.method} ${request?.path}`,
    );
  };
  const half = split("shop/split", { service: "store", backends: { v1: 1, v2: 1 } });

  test("a rule", () => {
    expect(fresh([], [lets("shop/v2", ["web/buyer"])])).toEqual(["web/buyer via shop/v2:80 GET /books/"]);
  });
  test("a split that leads there, with rules that were there before", () => {
    expect(fresh([lets("shop/v2", ["web/buyer"])], [half])).toEqual(["web/buyer via shop/store:80 GET /books/"]);
  });
  test("a rule at pods to which no way leads: it waits for one", () => {
    const away = split("shop/away", { service: "v2", backends: { v1: 1 } });
    expect(fresh([away], [lets("shop/v2", ["web/buyer"])])).toEqual(["web/buyer via nothing yet GET /books/"]);
  });
  test("a rewrite, less access, and other Services' access are nothing new", () => {
    const all = lets("shop/v2", ["web/buyer"]);
    expect(fresh([all], [lets("shop/v2", ["web/buyer"], ["HTTPRouteGroup routes buy read"])])).toEqual([]);
    expect(fresh([all], [lets("shop/v2", ["web/buyer"], ["HTTPRouteGroup routes buy"])])).toEqual([]);
    expect(fresh([all], [lets("shop/v1", ["web/thief"])])).toEqual([]);
  });
  describe("pods of several accounts behind one Service", () => {
    // Both behind `shop/both`, each with rules of its own.
    const both = [
      pods(workload("shop/one", { labels: { app: "one", both: "" } })),
      pods(workload("shop/two", { labels: { app: "two", both: "" } })),
      service("shop/both", { selector: { both: "" }, ...http(80) }),
    ];
    test("each account's are guarded for themselves", () => {
      const one = lets("shop/one", ["web/buyer"]);
      expect(fresh([...both, one], [lets("shop/two", ["web/buyer"])], "shop/both")).toEqual([
        "web/buyer via shop/both:80 GET /books/",
      ]);
      const moved = [gone(lets("shop/one", ["web/buyer"])), lets("shop/two", ["web/buyer"])];
      expect(fresh([...both, one], moved, "shop/both")).toEqual(["web/buyer via shop/both:80 GET /books/"]);
    });
    test("and a change from one to the other is one", () => {
      const moved = [gone(lets("shop/one", ["web/buyer"])), lets("shop/two", ["web/buyer"])];
      expect(plan([...both, lets("shop/one", ["web/buyer"])], moved)).toEqual([
        "partly: web/buyer → shop/both:80 GET /books/ (shop/both 100 some → shop/both 100 some)",
      ]);
    });
  });
  test("connections that are no HTTP, where every request was let through", () => {
    const tcp = { ports: [{ port: 80, name: "tcp-web", targetPort: 8080 }] };
    const all = [tcpRoute("shop/all"), lets("shop/v2", ["web/buyer"], ["TCPRoute all"])];
    expect(fresh(all, [app("shop/v2", tcp)])).toEqual(["web/buyer via shop/v2:80 undefined undefined"]);
    expect(fresh([...all, app("shop/v2", tcp)], [app("shop/v2", http(80))])).toEqual([]);
    expect(fresh([...all, app("shop/v2", tcp)], [app("shop/v1", tcp)])).toEqual([]);
    const away = split("shop/away", { service: "v2", backends: { v1: 1 } });
    expect(fresh([...all, away], [app("shop/v2", tcp)])).toEqual(["web/buyer via nothing yet undefined undefined"]);
  });
  test("pods whose Service has another name now, and other ports of theirs", () => {
    const again = service("shop/again", { selector: { app: "v2" }, ...http(80) });
    const renamed = [gone(service("shop/v2", http(80))), again, lets("shop/v2", ["web/buyer"])];
    expect(fresh([], renamed)).toEqual(["web/buyer via shop/again:80 GET /books/"]);
    const debug = service("shop/debug", { selector: { app: "v2" }, ports: [{ port: 9090, name: "http-debug" }] });
    expect(fresh([lets("shop/v2", ["web/buyer"])], [debug])).toEqual(["web/buyer via shop/debug:9090 GET /books/"]);
  });
  test("the last sidecar that goes", () => {
    const bare = pods(workload("shop/v2", { meshed: false }));
    const [a, b] = grounds([...shop, bare], pods(workload("shop/v2")).map(gone));
    expect(newAccess(newRequests(), a, b, [serviceRef("shop/v2")])).toMatchObject([{ from: "everybody" }]);
  });
  test.each([
    ["pods without a sidecar", { meshed: false }],
    ["a port that is led past it", { past: [8080] }],
  ])("%s let everybody in", (_name, workload) => {
    const [a, b] = grounds(shop, [app("shop/v2", { ...http(80), workload })]);
    const found = newAccess(newRequests(), a, b, [serviceRef("shop/v2")]);
    expect(found).toMatchObject([{ from: "everybody", to: { service: "shop/v2", port: 80 }, podPort: 8080 }]);
    expect(newAccess(newRequests(), b, b, [serviceRef("shop/v2")])).toEqual([]);
  });
});
