/** What is proved holds for all requests; what is refuted comes with a call that breaks it. */
import { describe, expect, test } from "vitest";
import { prove, type Invariant, type Proof, type Wanted } from "../../../src/analysis/prove.ts";
import {
  addressesOf,
  app,
  meshConfig,
  namespace,
  pod,
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
import { ground, newRequests } from "../../support/ground.ts";

const http = { ports: [{ port: 80, name: "http-web", targetPort: 8080 }] };
const shop: Changes[] = [
  namespace("shop"),
  namespace("web"),
  pods(workload("web/buyer")),
  pods(workload("web/thief")),
  app("shop/store", http),
  app("shop/v2", http),
  routeGroup("shop/routes", [
    { name: "read", methods: ["GET"], pathRegex: "/books/.*" },
    { name: "buy", methods: ["POST"], pathRegex: "/buy-a-book/.*" },
  ]),
];
const lets = (to: string, from: string[], rules = ["HTTPRouteGroup routes"]) =>
  target(`${to}-${from.join("-").replaceAll("/", ".")}`, { to, from, rules });

const never = (from: string, to: string, requests?: Wanted): Invariant => ({
  kind: "never",
  from: [from],
  to,
  ...(requests ? { requests } : {}),
});
const only = (from: string[], to: string, requests?: Wanted): Invariant => ({
  ...never("", to, requests),
  kind: "only",
  from,
});
const always = (from: string, to: string, requests?: Wanted): Invariant => ({
  ...never(from, to, requests),
  kind: "always",
});

const asked = (invariant: Invariant, ...more: Changes[]): Proof =>
  prove(newRequests(), ground(...shop, ...more), invariant);
const said = (invariant: Invariant, ...more: Changes[]): string => {
  const proof = asked(invariant, ...more);
  if (proof.result === "unknown") return `unknown: ${proof.why}`;
  if (proof.result === "proved") return "proved";
  const { from, to, request, rules, refusing } = proof.counterexample;
  const called = to.kind === "service" ? to.service : `pod ${to.pod}`;
  const why = rules.length > 0 ? ` by ${rules.map((r) => r.target).join()}` : ` refused by ${refusing.join()}`;
  return `refuted: ${from} → ${called}:${to.port} ${request ? `${request.method} ${request.path}` : "connection"}${why}`;
};

describe("never", () => {
  const buy = { pathRegex: "/buy-a-book/.*" };
  test("nobody is allowed anything: proved", () => {
    expect(said(never("*", "*"))).toBe("proved");
  });
  test("somebody else is: proved for who is meant", () => {
    expect(said(never("web/thief", "shop/store"), lets("shop/store", ["web/buyer"]))).toBe("proved");
  });
  test("a rule lets it: refuted with the request and the rule", () => {
    expect(said(never("web/thief", "shop/store", buy), lets("shop/store", ["web/thief"]))).toBe(
      "refuted: web/thief → shop/store:80 POST /buy-a-book/ by shop/store-web.thief",
    );
  });
  test("only other requests are allowed: proved", () => {
    const read = lets("shop/store", ["web/thief"], ["HTTPRouteGroup routes read"]);
    expect(said(never("web/thief", "shop/store", buy), read)).toBe("proved");
    expect(said(never("web/thief", "shop/store", { methods: ["DELETE", "PUT"] }), read)).toBe("proved");
  });
  test("a namespace, and everything", () => {
    const open = lets("shop/v2", ["web/thief"]);
    expect(said(never("web/*", "shop/*", buy), open)).toContain("refuted: web/thief → shop/v2:80");
    expect(said(never("shop/*", "*", buy), open)).toBe("proved");
  });
  test("by a split of another Service that leads there, and not by one that leads away", () => {
    const off = split("shop/off", { service: "store", backends: { v2: 1 } });
    const open = lets("shop/store", ["web/thief"]);
    expect(said(never("web/thief", "shop/store"), off, open)).toBe("proved");
    expect(
      said(never("web/thief", "shop/store"), off, open, split("shop/to", { service: "v2", backends: { store: 1 } })),
    ).toBe("refuted: web/thief → shop/v2:80 GET /books/ by shop/store-web.thief");
  });
  test("by another Service before the same pods", () => {
    const side = [
      service("shop/side", { selector: { app: "store" }, ports: [{ port: 81, targetPort: 8080, name: "http-side" }] }),
      split("shop/off", { service: "store", backends: { v2: 1 } }),
    ];
    expect(said(never("web/thief", "shop/store"), side, lets("shop/store", ["web/thief"]))).toBe(
      "refuted: web/thief → shop/side:81 GET /books/ by shop/store-web.thief",
    );
  });
  test("by the name of a headless Service's pod, past its split (row 33)", () => {
    const of = workload("shop/db", { ports: [{ port: 8080 }] });
    const running = pod("shop/db-0", of);
    const headless = [
      service("shop/db", { headless: true, ports: [{ port: 8080, name: "http-db" }] }),
      running,
      slice("shop/db", { "http-db": 8080 }, addressesOf([running])),
      app("shop/other", { ports: [{ port: 8080, name: "http-o" }] }),
      split("shop/off", { service: "db", backends: { other: 1 } }),
    ];
    expect(said(never("web/thief", "shop/db"), headless, lets("shop/db", ["web/thief"]))).toBe(
      "refuted: web/thief → pod shop/db-0:8080 GET /books/ by shop/db-web.thief",
    );
  });
  test("TCP: an invariant about everything is about connections too, one about requests is not", () => {
    const db = [
      app("shop/db", { ports: [{ port: 90, name: "tcp-sql", targetPort: 9090 }] }),
      tcpRoute("shop/db", [9090]),
      lets("shop/db", ["web/thief"], ["TCPRoute db"]),
    ];
    expect(said(never("web/thief", "shop/db"), db)).toBe(
      "refuted: web/thief → shop/db:90 connection by shop/db-web.thief",
    );
    expect(said(never("web/thief", "shop/db", buy), db)).toBe("proved");
  });
  test("a port: other ports of the same pods are not meant", () => {
    const two = app("shop/two", {
      ports: [
        { port: 80, name: "http-a", targetPort: 8080 },
        { port: 81, name: "http-b", targetPort: 8081 },
      ],
    });
    const admin = [
      two,
      tcpRoute("shop/b", [8081]),
      lets("shop/two", ["web/thief"], ["HTTPRouteGroup routes", "TCPRoute b"]),
    ];
    expect(said(never("web/thief", "shop/two:80"), admin)).toBe("proved");
    expect(said(never("web/thief", "shop/two:81"), admin)).toContain("refuted: web/thief → shop/two:81");
    expect(said(never("web/thief", "shop/two"), admin)).toContain("refuted: web/thief → shop/two:81");
  });
  test("an account that only a rule names may come at any time", () => {
    expect(said(never("*", "shop/store"), lets("shop/store", ["web/ghost"]))).toContain(
      "refuted: web/ghost → shop/store:80",
    );
  });
  test("permissive mode", () => {
    expect(said(never("web/thief", "shop/store"), meshConfig({ permissive: true }))).toContain("refuted: web/thief");
  });
});

describe("only", () => {
  test("nobody else: proved; one more: refuted with that one", () => {
    expect(said(only(["web/buyer"], "shop/store"), lets("shop/store", ["web/buyer"]))).toBe("proved");
    expect(said(only(["web/buyer"], "shop/store"), lets("shop/store", ["web/buyer", "web/thief"]))).toContain(
      "refuted: web/thief → shop/store:80",
    );
    expect(said(only(["web/*"], "shop/*"), lets("shop/store", ["web/buyer", "web/thief"]))).toBe("proved");
  });
});

describe("always", () => {
  const get = { methods: ["GET"], path: "/books/1" };
  test("everybody who may get it lets it through: proved", () => {
    expect(said(always("web/buyer", "shop/store", get), lets("shop/store", ["web/buyer"]))).toBe("proved");
  });
  test("nobody does: refuted, and who refuses it is named", () => {
    expect(
      said(always("web/buyer", "shop/store", { ...get, methods: ["PUT"] }), lets("shop/store", ["web/buyer"])),
    ).toMatch(/^refuted: web\/buyer → shop\/store:80 PUT \/books\/1 refused by shop\/store-/);
  });
  test("one backend of a split does not: refuted", () => {
    const half = split("shop/half", { service: "store", backends: { store: 9, v2: 1 } });
    expect(said(always("web/buyer", "shop/store", get), half, lets("shop/store", ["web/buyer"]))).toMatch(
      /refused by shop\/v2-/,
    );
  });
  test("a rule that asks for a header: the request without it is refused", () => {
    const keyed = routeGroup("shop/keyed", [{ name: "k", headers: [{ name: "x-key", regex: "[a-z]+" }] }]);
    const open = [keyed, lets("shop/store", ["web/buyer"], ["HTTPRouteGroup keyed"])];
    expect(said(always("web/buyer", "shop/store", get), open)).toContain("refuted");
    expect(said(always("web/buyer", "shop/store", { ...get, headers: { "x-key": "abc" } }), open)).toBe("proved");
  });
  test("a host is the request's authority", () => {
    const named = routeGroup("shop/named", [{ name: "n", headers: [{ name: "host", regex: "store[.]shop" }] }]);
    const rule = [named, lets("shop/store", ["web/buyer"], ["HTTPRouteGroup named"])];
    const get = { methods: ["GET"], path: "/a" };
    const of = (host: string) => said(always("web/buyer", "shop/store", { ...get, headers: { host } }), ...rule);
    expect(of("store.shop")).toBe("proved");
    expect(of("store.shop:80")).toMatch(/^refuted/);
  });
  test("a Service without pods", () => {
    expect(said(always("web/buyer", "shop/none", get), service("shop/none", http))).toContain("refuted");
  });
});

describe("what cannot be told", () => {
  test.each<[string, Invariant, string]>([
    ["an unknown account", never("web/nobody", "shop/store"), "unknown: no account of the mesh is called web/nobody"],
    ["an unknown Service", never("*", "shop/nothing"), "unknown: there is no Service shop/nothing"],
    ["an unknown namespace", never("nowhere/*", "*"), "unknown: there is no namespace nowhere"],
    ["an unknown port", never("*", "shop/store:99"), "unknown: Service shop/store has no port 99"],
    [
      "TCP on an HTTP port",
      always("web/buyer", "shop/store"),
      "unknown: no port of shop/store that is in the mesh speaks TCP; name METHOD and PATH for an HTTP port",
    ],
  ])("%s", (_says, invariant, expected) => expect(said(invariant)).toBe(expected));

  test("pods without a sidecar, at which nothing is enforced", () => {
    const bare = app("shop/bare", { ...http, workload: { meshed: false } });
    expect(said(never("web/thief", "shop/bare"), bare)).toBe(
      "unknown: pods of shop/bare behind Service shop/bare have no sidecar: nothing is enforced there",
    );
  });
  test("a port that MeshConfig leads past the sidecars", () => {
    const { sidecar } = ground().mesh.settings;
    expect(
      said(never("web/thief", "shop/store"), meshConfig({ sidecar: { ...sidecar, inboundPortExclusions: [8080] } })),
    ).toBe(
      "unknown: pods of shop/store behind Service shop/store lead port 8080 past their sidecars by MeshConfig's inboundPortExclusionList: nothing is enforced there",
    );
  });
  test("a port that an annotation leads past the sidecars", () => {
    const open = app("shop/open", { ...http, workload: { past: [8080] } });
    expect(said(never("web/thief", "shop/open"), open)).toMatch(/^unknown: pods of shop\/open .* by annotation/);
    const other = app("shop/open", { ...http, workload: { past: [9090] } });
    expect(said(never("web/thief", "shop/open"), other)).toMatch(/^proved/);
  });
  test("nobody, no request, UDP: of nothing everything is true", () => {
    expect(said({ kind: "never", from: [], to: "shop/store" })).toBe("unknown: no account is named");
    const none = { ...never("web/thief", "shop/store"), requests: { methods: [] } };
    expect(said(none)).toMatch(/^unknown: there is no such request/);
    const path = { ...never("web/thief", "shop/store"), requests: { pathRegex: "buy" } };
    expect(said(path)).toMatch(/^unknown: there is no such request/);
    const dns = app("shop/dns", { ports: [{ port: 53, protocol: "UDP", name: "dns" }] });
    expect(said(never("web/thief", "shop/dns"), dns)).toMatch(/^unknown: port 53 of Service shop\/dns is UDP's/);
  });
  test("a match on what Envoy makes or takes away itself", () => {
    for (const name of [":scheme", "referer", "connection", "x-envoy-retry-on", "expect", "content-length"]) {
      const odd = routeGroup("shop/odd", [{ name: "o", headers: [{ name, regex: "a" }] }]);
      const rule = lets("shop/store", ["web/thief"], ["HTTPRouteGroup odd"]);
      expect(said(never("web/thief", "shop/store"), odd, rule), name).toMatch(/^unknown: a match is about the header/);
    }
  });
  test("requests with a header that Envoy makes or takes away itself", () => {
    const open = lets("shop/store", ["web/buyer"]);
    for (const [name, value] of [
      ["connection", "upgrade"],
      ["content-length", "a"],
      [":scheme", "http"],
    ] as const) {
      const wanted = { methods: ["GET"], path: "/a", headers: { [name]: value } };
      expect(said({ kind: "always", from: ["web/buyer"], to: "shop/store", requests: wanted }, open)).toBe(
        `unknown: the invariant is about the header ${name}, which is not compared here`,
      );
    }
  });
  test("pods that decide by their own rules when a headless Service of their account is named at their address", () => {
    const x = [
      pods(workload("shop/acc", { labels: { app: "x" } })),
      service("shop/x", { selector: { app: "x" }, ports: [{ port: 8080, name: "http-x" }] }),
    ];
    const h = [
      pods(workload("shop/acc", { labels: { app: "h" } })),
      service("shop/h", { selector: { app: "h" }, ports: [{ port: 8080, name: "http-h" }], headless: true }),
    ];
    const away = split("shop/away", { service: "x", backends: { store: 1 } });
    const rule = target("shop/acc", { to: "shop/acc", from: ["web/thief"], rules: ["HTTPRouteGroup routes"] });
    expect(said(never("web/thief", "shop/x"), ...x, ...h, away, rule)).toMatch(
      /^unknown: pods of shop\/acc let web\/thief/,
    );
  });
  test("a match on :path, which holds the query too", () => {
    const odd = routeGroup("shop/odd", [{ name: "o", headers: [{ name: ":path", regex: "/a" }] }]);
    expect(
      said(never("web/thief", "shop/store"), odd, lets("shop/store", ["web/thief"], ["HTTPRouteGroup odd"])),
    ).toMatch(/^unknown: a match is about the header :path/);
  });
});
