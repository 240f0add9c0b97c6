/**
 * The examples of SMI's own specification, each with what its paragraph says of them: call → verdict and backends.
 * What an example leaves out (pods, Services, apiVersion) is filled in.
 */
import { describe, expect, test } from "vitest";
import { Example } from "./ask.ts";

const object = (group: string, version: string, kind: string, name: string, rest: string) =>
  `apiVersion: ${group}.smi-spec.io/${version}\nkind: ${kind}\nmetadata: {name: ${name}, namespace: default}\n${rest}\n---\n`;
const access = (version: string, name: string, rest: string) => object("access", version, "TrafficTarget", name, rest);
const specs = (version: string, kind: string, name: string, rest: string) => object("specs", version, kind, name, rest);
const split = (version: string, name: string, rest: string) => object("split", version, "TrafficSplit", name, rest);
const account = (name: string, more = "") => `{kind: ServiceAccount, name: ${name}, namespace: default${more}}`;

interface Case {
  /** Page and paragraph of the specification. */
  readonly paragraph: string;
  readonly workloads: readonly string[];
  readonly manifests: string;
  /** Call → verdict. */
  readonly calls: Readonly<Record<string, string>>;
  /** What is said of the objects: nothing, unless the specification itself is at odds with them. */
  readonly said?: readonly string[];
}

/** `matches` as v1alpha1 and v1alpha2 wrote them, and as later versions did. */
const group = (version: string, name: string, matches: string) =>
  specs(version, "HTTPRouteGroup", name, /1$|2$/.test(version) ? `matches: ${matches}` : `spec: {matches: ${matches}}`);
const ports = (version: string, kind: string, name: string, list: string) =>
  specs(version, kind, name, `spec: {matches: {ports: ${list}}}`);

const METRICS =
  '[{name: metrics, pathRegex: /metrics, methods: [GET]}, {name: everything, pathRegex: ".*", methods: ["*"]}]';
const API = '[{name: api, pathRegex: /api, methods: ["*"]}, {name: metrics, pathRegex: /metrics, methods: [GET]}]';

/** The body of a TrafficTarget in the form of its version. */
function target(version: string, to: string, from: readonly string[], rules: string, port?: number): string {
  const destination = account(to, port === undefined ? "" : `, port: ${port}`);
  const sources = `[${from.map((name) => account(name)).join(", ")}]`;
  return version === "v1alpha1"
    ? `destination: ${destination}\nspecs: ${rules}\nsources: ${sources}`
    : `spec: {destination: ${destination}, rules: ${rules}, sources: ${sources}}`;
}

// The last one but with ports in TCPRoutes instead of targets.
const ACCESS = [
  ["v1alpha1", "v1alpha2"],
  ["v1alpha2", "v1alpha3"],
  ["v1alpha3", "v1alpha4"],
] as const;

const accessCases: Case[] = ACCESS.flatMap(([version, spec]) => {
  const newest = version === "v1alpha3";
  const port = newest ? undefined : 8080;
  const tcp = (name: string) => (newest ? `{kind: TCPRoute, name: ${name}}, ` : "");
  const route = (name: string) => (newest ? ports(spec, "TCPRoute", name, "[8080]") : "");
  const rule = (name: string, match: string) => `{kind: HTTPRouteGroup, name: ${name}, matches: [${match}]}`;
  // Before v1alpha3, the target of the metrics names no port: "traffic will be allowed to all ports".
  const metricsElsewhere = newest ? "denied" : "allowed";
  const calls = (to: string, refused: Record<string, string>) => ({
    [`prometheus ${to}:8080 GET /metrics`]: "allowed",
    ...refused,
  });
  return [
    {
      paragraph: `traffic-access ${version}, TrafficTarget: path-specific`,
      workloads: ["service-a 8080 9090", "prometheus", "other"],
      manifests: `${route("the-routes")}${group(spec, "the-routes", METRICS)}${access(version, "path-specific", target(version, "service-a", ["prometheus"], `[${tcp("the-routes")}${rule("the-routes", "metrics")}]`, port))}`,
      calls: calls("service-a", {
        "prometheus service-a:8080 POST /metrics": "denied",
        "prometheus service-a:8080 GET /": "denied",
        "prometheus service-a:9090 GET /metrics": "denied",
        "other service-a:8080 GET /metrics": "denied",
        "service-a service-a:8080 GET /metrics": "denied",
      }),
    },
    {
      paragraph: `traffic-access ${version}, TrafficTarget: "if omitted, a rule is valid for all the matches"`,
      workloads: ["service-a 8080", "prometheus", "other"],
      manifests: `${group(spec, "the-routes", METRICS)}${access(version, "path-specific", target(version, "service-a", ["prometheus"], "[{kind: HTTPRouteGroup, name: the-routes}]"))}`,
      calls: calls("service-a", {
        "prometheus service-a:8080 DELETE /anything?at=all": "allowed",
        "other service-a:8080 GET /metrics": "denied",
      }),
    },
    {
      paragraph: `traffic-access ${version}, Example implementation${newest ? " for L7" : ""}: api, website, payments and prometheus`,
      workloads: ["api-service 8080 9090", "website-service", "payments-service", "prometheus"],
      manifests: [
        route("api-service-port"),
        group(spec, "api-service-routes", API),
        access(
          version,
          "api-service-metrics",
          target(
            version,
            "api-service",
            ["prometheus"],
            `[${tcp("api-service-port")}${rule("api-service-routes", "metrics")}]`,
          ),
        ),
        access(
          version,
          "api-service-api",
          target(
            version,
            "api-service",
            ["website-service", "payments-service"],
            `[${tcp("api-service-port")}${rule("api-service-routes", "api")}]`,
            port,
          ),
        ),
      ].join(""),
      calls: calls("api-service", {
        "website-service api-service:8080 GET /api": "allowed",
        "website-service api-service:8080 DELETE /api": "allowed",
        "payments-service api-service:8080 POST /api": "allowed",
        "website-service api-service:9090 GET /api": "denied",
        "website-service api-service:8080 GET /metrics": "denied",
        "payments-service api-service:8080 GET /metrics": "denied",
        "prometheus api-service:8080 GET /api": "denied",
        "prometheus api-service:8080 POST /metrics": "denied",
        "prometheus api-service:9090 GET /metrics": metricsElsewhere,
        // Row 10: the whole path, not its beginning.
        "website-service api-service:8080 GET /api/books": "denied",
      }),
    },
  ];
});

const l4 = (kind: string, version: string, from: (name: string) => string) =>
  `${ports("v1alpha4", "TCPRoute", "tcp-ports", "[8301, 8302, 8300]")}${ports("v1alpha4", "UDPRoute", "udp-ports", "[8301, 8302]")}${access(version, "protocal-specific", `spec: {destination: ${account("server")}, rules: [{kind: TCPRoute, name: tcp-ports}, {kind: UDPRoute, name: udp-ports}], sources: [${from(kind)}]}`)}`;
const SERVER = "server tcp-a=8300 tcp-b=8301 tcp-c=8302 tcp-d=8303";

accessCases.push(
  {
    paragraph: "traffic-access v1alpha3, Example implementation for L4: TCP and UDP to ports",
    workloads: [SERVER, "client", "other"],
    manifests: l4("ServiceAccount", "v1alpha3", () => account("client")),
    calls: {
      "client server:8300": "allowed",
      "client server:8301": "allowed",
      "client server:8302": "allowed",
      "client server:8303": "denied",
      "other server:8301": "denied",
    },
    said: ["error udp-route TrafficTarget/protocal-specific spec.rules[1]"],
  },
  {
    paragraph: "traffic-access v1alpha4, IdentityBinding: nobody serves it, so it is said and opens nothing",
    workloads: [SERVER, "client"],
    manifests: `${object("access", "v1alpha4", "IdentityBinding", "client", "spec: {schemes: {serviceAccount: client}}")}${l4("IdentityBinding", "v1alpha4", (kind) => `{kind: ${kind}, group: access.smi-spec.io, name: client, namespace: default}`)}`,
    calls: { "client server:8301": "denied" },
    said: [
      "error unknown-kind IdentityBinding/client kind",
      "error bad-source TrafficTarget/protocal-specific spec.sources[0]",
      "error udp-route TrafficTarget/protocal-specific spec.rules[1]",
    ],
  },
);

/** A route group is tried out by opening all of it, as the page leaves it unassociated. */
const opened = (version: string, matches: string, rules = "[{kind: HTTPRouteGroup, name: the-routes}]") =>
  `${matches}${access(version, "all", target(version, "web", ["client"], rules))}`;
const ANDROID = "{name: android-insiders, headers: HEADERS}";
const FIREFOX = "Mozilla/5.0 (X11; rv:140.0) Gecko/20100101 Firefox/140.0";
const COOKIE = '"^(.*?;)?(type=insider)(;.*)?$"';
const headersIn = (version: string, ...headers: string[]) =>
  version === "v1alpha2" ? `[${headers.map((h) => `{${h}}`).join(", ")}]` : `{${headers.join(", ")}}`;

const specCases: Case[] = (["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"] as const).flatMap((version) => {
  const by =
    version === "v1alpha1" || version === "v1alpha2" ? "v1alpha1" : version === "v1alpha3" ? "v1alpha2" : "v1alpha3";
  const workloads = ["web 80 tcp-db=3306 tcp-router=6446", "client", "other"];
  const insiders = ANDROID.replace("HEADERS", headersIn(version, 'user-agent: ".*Android.*"', `cookie: ${COOKIE}`));
  const firefox = `{name: firefox-users, headers: ${headersIn(version, 'user-agent: ".*Firefox.*"')}}`;
  const iphone = `{name: iphone-users, pathRegex: "/api/.*", methods: [GET, HEAD], headers: ${headersIn(version, 'user-agent: ".*iPhone.*"')}}`;
  const cases: Case[] = [
    {
      paragraph: `traffic-specs ${version}, HTTPRouteGroup: metrics and health`,
      workloads,
      manifests: opened(
        by,
        group(
          version,
          "the-routes",
          '[{name: metrics, pathRegex: "/metrics", methods: [GET]}, {name: health, pathRegex: "/ping", methods: ["*"]}]',
        ),
      ),
      calls: {
        "client web:80 GET /metrics": "allowed",
        "client web:80 HEAD /metrics": "denied",
        "client web:80 GET /ping": "allowed",
        "client web:80 PATCH /ping": "allowed",
        "client web:80 GET /v1/metrics": "denied",
        "other web:80 GET /ping": "denied",
      },
    },
    {
      paragraph: `traffic-specs ${version}, HTTPRouteGroup: "a single route that matches anything"`,
      workloads,
      manifests: opened(by, group(version, "the-routes", '[{name: everything, pathRegex: ".*", methods: ["*"]}]')),
      calls: {
        "client web:80 PROPFIND /any/thing": "allowed",
        "client web:80 GET /": "allowed",
        "client web:3306": "denied",
      },
    },
    {
      paragraph: `traffic-specs ${version}, TCPRoute: ${version === "v1alpha4" ? '"will match all the ports"' : "raw traffic"}`,
      workloads,
      manifests: opened(
        by,
        specs(
          version,
          "TCPRoute",
          "the-routes",
          version === "v1alpha4" ? "spec: {matches: {ports: []}}" : version === "v1alpha3" ? "spec: {}" : "",
        ),
        "[{kind: TCPRoute, name: the-routes}]",
      ),
      calls: {
        "client web:3306": "allowed",
        "client web:6446": "allowed",
        "client web:80 GET /": "allowed",
        "other web:3306": "denied",
      },
      said: ["hint tcp-on-http TrafficTarget/all spec.rules"],
    },
  ];
  if (version === "v1alpha4")
    cases.push({
      paragraph: "traffic-specs v1alpha4, TCPRoute: a list of ports",
      workloads,
      manifests: opened(
        by,
        ports(version, "TCPRoute", "the-routes", "[3306, 6446]"),
        "[{kind: TCPRoute, name: the-routes}]",
      ),
      calls: { "client web:3306": "allowed", "client web:6446": "allowed", "client web:80 GET /": "denied" },
    });
  if (version === "v1alpha4")
    cases.push(
      ...["[989, 990]", "[]"].map((list) => ({
        paragraph: `traffic-specs v1alpha4, UDPRoute: ports ${list}`,
        workloads,
        manifests: opened(by, ports(version, "UDPRoute", "the-routes", list), "[{kind: UDPRoute, name: the-routes}]"),
        calls: { "client web:3306": "denied", "client web:80 GET /": "denied" },
        said: ["error udp-route TrafficTarget/all spec.rules[0]"],
      })),
    );
  if (version === "v1alpha1") return cases;
  const agent = (name: string, cookie?: string) =>
    `User-Agent: ${name}${cookie === undefined ? "" : `; Cookie: ${cookie}`}`;
  return [
    ...cases,
    {
      paragraph: `traffic-specs ${version}, HTTP header filters: Android users with a cookie`,
      workloads,
      manifests: opened(by, group(version, "the-routes", `[${insiders}]`)),
      calls: {
        [`client web:80 POST /any/path ${agent("Linux, Android 16", "type=insider")}`]: "allowed",
        [`client web:80 GET / ${agent("Linux, Android 16", "a=b;type=insider;c=d")}`]: "allowed",
        [`client web:80 GET / ${agent("Linux, Android 16", "type=insiders")}`]: "denied",
        [`client web:80 GET / ${agent("Linux, Android 16")}`]: "denied",
        "client web:80 GET / Cookie: type=insider": "denied",
      },
    },
    {
      paragraph: `traffic-specs ${version}, HTTP header filters: Android insiders or Firefox users`,
      workloads,
      manifests: opened(by, group(version, "the-routes", `[${insiders}, ${firefox}]`)),
      calls: {
        [`client web:80 GET / ${agent(FIREFOX.replaceAll(";", ","))}`]: "allowed",
        [`client web:80 GET / ${agent("Android", "type=insider")}`]: "allowed",
        [`client web:80 GET / ${agent("Android")}`]: "denied",
        "client web:80 GET /": "denied",
      },
    },
    {
      paragraph: `traffic-specs ${version}, HTTP header filters: iPhone users that GET or HEAD /api`,
      workloads,
      manifests: opened(by, group(version, "the-routes", `[${iphone}]`)),
      calls: {
        [`client web:80 GET /api/books ${agent("iPhone 17")}`]: "allowed",
        [`client web:80 HEAD /api/ ${agent("iPhone 17")}`]: "allowed",
        [`client web:80 POST /api/books ${agent("iPhone 17")}`]: "denied",
        [`client web:80 GET /books ${agent("iPhone 17")}`]: "denied",
        [`client web:80 GET /api/books ${agent("Android")}`]: "denied",
      },
    },
  ];
});

/** Everybody may do everything at these accounts, so that only the split decides. */
const everything = (...to: string[]) =>
  `${group("v1alpha4", "everything", "[{name: all}]")}${to.map((name) => access("v1alpha3", name, target("v1alpha3", name, ["client"], "[{kind: HTTPRouteGroup, name: everything}]"))).join("")}`;
const backends = (list: Readonly<Record<string, number | string>>) =>
  `[${Object.entries(list)
    .map(([service, weight]) => `{service: ${service}, weight: ${weight}}`)
    .join(", ")}]`;
const website = ["website 80", "website-v1 80", "website-v2 80", "client"];

const splitCases: Case[] = (["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"] as const).flatMap((version) => {
  /** The first version's weights were quantities: `1 = 1000m`. */
  const weight = (n: number) => (version === "v1alpha1" ? `${n}m` : n);
  const foobar = (name: string, list: Record<string, number>, more: readonly string[]): Case => ({
    paragraph: `traffic-split ${version}, Workflow: ${name}`,
    workloads: ["foobar 80", "foobar-v1 80", ...more, "client"],
    manifests: `${everything("foobar", "foobar-v1", "foobar-v2")}${split(version, "foobar-rollout", `spec: {service: foobar, backends: ${backends(Object.fromEntries(Object.entries(list).map(([to, n]) => [to, weight(n)])))}}`)}`,
    calls: {},
  });
  const birds = (blue: string) => ["birds grpc=8080 rest=9090", blue, "green-birds grpc=8080:8081 rest=9090", "client"];
  const cases: Case[] = [
    version === "v1alpha1" || version === "v1alpha2"
      ? {
          paragraph: `traffic-split ${version}, Specification: half and half`,
          workloads: ["my-website 80", "my-website-v1 80", "my-website-v2 80", "client", "other"],
          manifests: `${everything("my-website", "my-website-v1", "my-website-v2")}${split(version, "my-trafficsplit", `spec: {service: my-website, backends: ${backends({ "my-website-v1": weight(50), "my-website-v2": weight(50) })}}`)}`,
          calls: {
            "client my-website:80 GET /": "allowed my-website-v1 50, my-website-v2 50",
            "client my-website-v1:80 GET /": "allowed",
            "other my-website:80 GET /": "denied",
          },
        }
      : {
          paragraph: `traffic-split ${version}, Specification: canary`,
          workloads: website,
          manifests: `${everything("website", "website-v1", "website-v2")}${split(version, "canary", `spec: {service: website, backends: ${backends({ "website-v1": 90, "website-v2": 10 })}}`)}`,
          calls: { "client website:80 GET /": "allowed website-v1 90, website-v2 10" },
        },
    {
      paragraph: `traffic-split ${version}, Ports: a valid configuration`,
      workloads: birds("blue-birds grpc=8080 rest=9090"),
      manifests: `${everything("birds", "blue-birds", "green-birds")}${split(version, "birds", `spec: {service: birds, backends: ${backends({ "blue-birds": 1, "green-birds": 1 })}}`)}`,
      calls: {
        "client birds:8080 GET /": "allowed blue-birds 50, green-birds 50",
        "client birds:9090 GET /": "allowed blue-birds 50, green-birds 50",
      },
    },
    {
      paragraph: `traffic-split ${version}, Ports: an invalid configuration`,
      workloads: ["birds grpc=8080", "blue-birds grpc=1024", "green-birds grpc=8080", "client"],
      manifests: `${everything("birds", "blue-birds", "green-birds")}${split(version, "birds", `spec: {service: birds, backends: ${backends({ "blue-birds": 1, "green-birds": 1 })}}`)}`,
      calls: { "client birds:8080 GET /": "allowed green-birds 100" },
      said: ["error bad-backend TrafficSplit/birds spec.backends"],
    },
    {
      ...foobar(
        "a new version is announced with weight 0 before it is there",
        { "foobar-v1": 100, "foobar-v2": 0 },
        [],
      ),
      calls: { "client foobar:80 GET /": "allowed foobar-v1 100" },
      said: ["hint unknown-account TrafficTarget/foobar-v2 spec.destination.name"],
    },
    {
      ...foobar("the new version is there and gets nothing yet", { "foobar-v1": 100, "foobar-v2": 0 }, [
        "foobar-v2 80",
      ]),
      calls: { "client foobar:80 GET /": "allowed foobar-v1 100", "client foobar-v2:80 GET /": "allowed" },
    },
    {
      ...foobar("approximately 33 % go to the new version", { "foobar-v1": 1000, "foobar-v2": 500 }, ["foobar-v2 80"]),
      calls: { "client foobar:80 GET /": "allowed foobar-v1 67, foobar-v2 33" },
    },
    {
      ...foobar("all go to the new version", { "foobar-v2": 1 }, ["foobar-v2 80"]),
      calls: { "client foobar:80 GET /": "allowed foobar-v2 100" },
    },
    {
      paragraph: `traffic-split ${version}, Tradeoffs: a split that refers to itself`,
      workloads: ["foobar 80", "foobar-next 80", "client"],
      manifests: `${everything("foobar", "foobar-next")}${split(version, "my-split", `spec: {service: foobar, backends: ${backends({ "foobar-next": weight(100), foobar: weight(900) })}}`)}`,
      calls: { "client foobar:80 GET /": "allowed foobar 90, foobar-next 10" },
      said: ["hint self-backend TrafficSplit/my-split spec.backends[1].service"],
    },
    {
      paragraph: `traffic-split ${version}, Tradeoffs: splits are not hierarchical`,
      workloads: ["web 80", "web-next 80", "web-after 80", "client"],
      manifests: `${everything("web", "web-next", "web-after")}${split(version, "first", `spec: {service: web, backends: ${backends({ "web-next": 1 })}}`)}${split(version, "second", `spec: {service: web-next, backends: ${backends({ "web-after": 1 })}}`)}`,
      calls: { "client web:80 GET /": "allowed web-next 100", "client web-next:80 GET /": "allowed web-after 100" },
    },
    {
      paragraph: `traffic-split ${version}, Example implementation: web-next gets a tenth`,
      workloads: ["web 80", "web-next 80", "web-current 80", "client"],
      manifests: `${everything("web", "web-next", "web-current")}${split(version, "my-canary", `spec: {service: web, backends: ${backends({ "web-next": weight(100), "web-current": weight(900) })}}`)}`,
      calls: { "client web:80 GET /": "allowed web-current 90, web-next 10" },
    },
  ];
  if (version === "v1alpha1" || version === "v1alpha2") return cases;
  const abTest = `${everything("website", "website-v1", "website-v2")}${split(version, "ab-test", `spec: {service: website, matches: [{kind: HTTPRouteGroup, name: ab-test}], backends: ${backends({ "website-v1": 0, "website-v2": 100 })}}`)}`;
  const users = '[{name: firefox-users, headers: [{user-agent: ".*Firefox.*"}]}]';
  const agent = `User-Agent: ${FIREFOX.replaceAll(";", ",")}`;
  return [
    ...cases,
    {
      paragraph: `traffic-split ${version}, A/B test: Firefox users get website-v2, all others the root`,
      workloads: website,
      manifests: `${abTest}${group(version, "ab-test", users)}`,
      calls: {
        [`client website:80 GET /any ${agent}`]: "allowed website-v2 100",
        "client website:80 GET /any User-Agent: curl/8.14": "allowed",
        "client website:80 GET /any": "allowed",
      },
    },
    {
      paragraph: `traffic-split ${version}, A/B test: the page's HTTPRouteGroup has no spec, which its own version demands`,
      workloads: website,
      manifests: `${abTest}${specs(version, "HTTPRouteGroup", "ab-test", `matches: ${users}`)}`,
      calls: { [`client website:80 GET /any ${agent}`]: "allowed" },
      said: [
        "error unknown-field HTTPRouteGroup/ab-test matches",
        "error split-match TrafficSplit/ab-test spec.matches[0]",
      ],
    },
    {
      paragraph: `traffic-split ${version}, A/B test: several groups are merged into one; by path and method too`,
      workloads: website,
      manifests: `${abTest.replace("name: ab-test}]", "name: ab-test}, {kind: HTTPRouteGroup, name: beta}]")}${group(version, "ab-test", users)}${group(version, "beta", "[{name: beta, pathRegex: /beta/.*, methods: [GET]}]")}`,
      calls: {
        [`client website:80 POST / ${agent}`]: "allowed website-v2 100",
        "client website:80 GET /beta/1": "allowed website-v2 100",
        "client website:80 POST /beta/1": "allowed",
        "client website:80 GET /": "allowed",
      },
    },
  ];
});

describe.each([
  ["traffic-access", accessCases],
  ["traffic-specs", specCases],
  ["traffic-split", splitCases],
] as const)("SMI's own examples: %s", (_page, cases) => {
  test.each(cases.map((one) => [one.paragraph, one] as const))(
    "%s",
    (_paragraph, { workloads, manifests, calls, said = [] }) => {
      const example = new Example(workloads, manifests);
      expect(Object.fromEntries(Object.keys(calls).map((call) => [call, example.verdict(call)]))).toEqual(calls);
      expect(example.said).toEqual(said);
    },
  );
});
