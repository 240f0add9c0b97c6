/**
 * Random meshes as manifests, small and crowded, so that their objects meet and miss one another often; and random calls into them,
 * drawn from their patterns and near them.
 */
import * as fc from "fast-check";
import type { Client, Destination } from "../../src/analysis/ways.ts";
import type { Request } from "../../src/analysis/request.ts";
import type { Raw } from "../../src/lib/json.ts";
import { catalogOf } from "../../src/sources/files/catalog.ts";
import { Cluster, type Subnets } from "../../src/sources/files/cluster.ts";
import { apply, EMPTY_WORLD, type World } from "../../src/world/world.ts";
import { account, podRef, serviceRef } from "./build.ts";

export interface Ports {
  readonly web: number;
  readonly db: number;
  readonly other: number;
}

export interface RandomMesh {
  /** What `heddle why -f` reads. */
  readonly objects: readonly Raw[];
}

const rarely = (weight: number) => fc.nat(weight - 1).map((n) => n === 0);
const some = <T>(values: readonly T[], most = values.length, least = 0) =>
  fc.subarray([...values], { minLength: least, maxLength: most });

const meta = (namespace: string, name: string) => ({ name, namespace });
const subject = (full: string) => ({ kind: "ServiceAccount", name: full.split("/")[1], namespace: full.split("/")[0] });

/** Accounts of servers, which call too, and of clients. */
export const SERVERS = ["a/one", "a/two", "a/three", "b/one"] as const;
export const CLIENTS = ["a/web", "b/web", "a/thief", "a/one"] as const;

const clientPod = (full: string): Raw => {
  const [namespace = "", name = ""] = full.split("/");
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { ...meta(namespace, `client-${name}`), labels: { app: `client-${name}` } },
    spec: { serviceAccountName: name, containers: [{ name: "app", image: "x" }] },
  };
};

const serverPods = ({ web, db, other }: Ports): fc.Arbitrary<Raw[]> => {
  const one = (namespace: string, app: string, group: string, accounts: readonly string[]) =>
    fc
      .record({
        sa: fc.constantFrom(...accounts),
        port: fc.constantFrom(web, db, other),
        meshed: rarely(12).map((r) => !r),
        past: rarely(12),
        there: rarely(15).map((r) => !r),
        copies: fc.constantFrom(1, 1, 2),
      })
      .map(({ sa, port, meshed, past, there, copies }) =>
        Array.from({ length: there ? copies : 0 }, (_, i): Raw => ({
          apiVersion: "v1",
          kind: "Pod",
          metadata: {
            ...meta(namespace, `${app}-${i}`),
            labels: { app, group },
            annotations: {
              ...(meshed ? {} : { "openservicemesh.io/sidecar-injection": "disabled" }),
              ...(past ? { "openservicemesh.io/inbound-port-exclusion-list": `${port}` } : {}),
            },
          },
          spec: {
            serviceAccountName: sa,
            subdomain: "db",
            containers: [{ name: "app", image: "x", ports: [{ name: "web", containerPort: port }] }],
          },
        })),
      );
  return fc
    .tuple(
      one("a", "one", "g", ["one"]),
      one("a", "two", "g", ["two", "two", "one"]),
      one("a", "three", "h", ["three", "one"]),
      one("b", "one", "g", ["one"]),
    )
    .map((lists) => lists.flat());
};

const servicePort = ({ web, db, other }: Ports) =>
  fc.record({
    port: fc.constantFrom(web, web, db, other),
    target: fc.constantFrom<"same" | "web" | "other">("same", "same", "same", "web", "other"),
    speaks: fc.constantFrom<Raw>(
      {},
      {},
      { name: "http-x" },
      { name: "grpc-x" },
      { name: "tcp-x" },
      { name: "tcp-server-first-x" },
      { appProtocol: "tcp" },
      { appProtocol: "http" },
    ),
  });

const services = (ports: Ports): fc.Arbitrary<Raw[]> => {
  const one = (namespace: string, name: string, selector: Raw, headless: fc.Arbitrary<boolean>) =>
    fc
      .record({
        headless,
        there: rarely(10).map((r) => !r),
        list: fc.uniqueArray(servicePort(ports), { minLength: 1, maxLength: 3, selector: ({ port }) => port }),
      })
      .map(({ headless: none, there, list }): Raw[] =>
        there
          ? [
              {
                apiVersion: "v1",
                kind: "Service",
                metadata: meta(namespace, name),
                spec: {
                  selector,
                  ...(none ? { clusterIP: "None" } : {}),
                  ports: list.map(({ port, target, speaks }, i) => ({
                    port,
                    targetPort: target === "same" || none ? port : target === "web" ? "web" : ports.other,
                    ...speaks,
                    name: `${typeof speaks["name"] === "string" ? speaks["name"] : "p"}${i}`,
                  })),
                },
              },
            ]
          : [],
      );
  const never = fc.constant(false);
  return fc
    .tuple(
      one("a", "root", { group: "g" }, rarely(6)),
      one("a", "one", { app: "one" }, never),
      one("a", "two", { app: "two" }, never),
      one("a", "three", { app: "three" }, rarely(4)),
      one("a", "db", { group: "g" }, fc.constant(true)),
      one("b", "one", { app: "one" }, never),
    )
    .map((lists) => lists.flat());
};

export const PATTERNS = [
  "/.*",
  "/a",
  "/a/.*",
  "/a/b",
  "/a+",
  "/(a|b)/c",
  "/api/v[12]/[^/]+",
  "/A",
  "(?i)/a",
  ".*",
  "/",
  "/a%20b",
  "/a b",
  "/a\\.b",
  "/é",
  "/%C3%A9",
  ".*b.*new",
  "/x/./y",
  "/a;.*",
  "/%.*",
  "/a//",
  "/[",
] as const;
const METHODS = ["GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "PATCH", "PROPFIND", "TRACE"] as const;
const HEADERS = [
  ["x-a", "1"],
  ["x-a", ".*"],
  ["X-A", "a,b"],
  ["x-b", "(a|b)+"],
  ["host", "one\\.a.*"],
  [":authority", ".*"],
  [":path", "/a.*"],
  [":method", "GET"],
  ["user-agent", "curl/.*"],
  ["x-request-id", ".+"],
] as const;

const match = fc.record({
  path: fc.option(fc.constantFrom(...PATTERNS), { nil: undefined, freq: 2 }),
  methods: fc.option(some([...METHODS.slice(0, 4), "*", "get"], 2), { nil: undefined, freq: 2 }),
  headers: fc.option(some(HEADERS, 2), { nil: undefined, freq: 2 }),
});

const groups: fc.Arbitrary<Raw[]> = fc
  .tuple(
    ...["a/g1", "a/g2", "b/g1"].map((full) =>
      fc
        .record({ matches: fc.array(match, { minLength: 1, maxLength: 3 }), there: rarely(10).map((r) => !r) })
        .map(({ matches, there }): Raw[] =>
          there
            ? [
                {
                  apiVersion: "specs.smi-spec.io/v1alpha4",
                  kind: "HTTPRouteGroup",
                  metadata: meta(full.slice(0, 1), full.slice(2)),
                  spec: {
                    matches: matches.map(({ path, methods, headers }, i) => ({
                      name: `m${i}`,
                      ...(path === undefined ? {} : { pathRegex: path }),
                      ...(methods === undefined ? {} : { methods }),
                      ...(headers === undefined
                        ? {}
                        : { headers: headers.map(([name, regex]) => ({ [name]: regex })) }),
                    })),
                  },
                },
              ]
            : [],
        ),
    ),
  )
  .map((lists) => lists.flat());

const tcpRoutes = ({ web, db, other }: Ports): fc.Arbitrary<Raw[]> =>
  fc
    .tuple(
      ...["a/t1", "a/t2", "b/t1"].map((full) =>
        fc.option(some([web, db, other], 2), { nil: undefined, freq: 3 }).map((ports): Raw => ({
          apiVersion: "specs.smi-spec.io/v1alpha4",
          kind: "TCPRoute",
          metadata: meta(full.slice(0, 1), full.slice(2)),
          spec: ports === undefined ? {} : { matches: { ports } },
        })),
      ),
    )
    .map((list) => [...list]);

const rule = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .record({
        name: fc.constantFrom("g1", "g1", "g2", "none"),
        matches: fc.option(some(["m0", "m1", "m2", "m9"], 2), { freq: 2, nil: undefined }),
      })
      .map(({ name, matches }) => ({ kind: "HTTPRouteGroup", name, ...(matches === undefined ? {} : { matches }) })),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom("t1", "t1", "t2", "none").map((name) => ({ kind: "TCPRoute", name })),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "UDPRoute", name: "u" }) },
);

const targets = ({ web, db }: Ports): fc.Arbitrary<Raw[]> =>
  fc
    .array(
      fc.record({
        to: fc.constantFrom(...SERVERS, ...SERVERS.slice(0, 3)),
        wrong: rarely(12),
        from: some(CLIENTS, 4, 2),
        rules: fc.array(rule, { minLength: 1, maxLength: 2 }),
        port: fc.constantFrom(undefined, undefined, undefined, undefined, undefined, web, db),
      }),
      { minLength: 4, maxLength: 9 },
    )
    .map((list) =>
      list.map(({ to, wrong, from, rules, port }, i): Raw => {
        const own = to.slice(0, 1);
        const old = port !== undefined;
        return {
          apiVersion: `access.smi-spec.io/${old ? "v1alpha2" : "v1alpha3"}`,
          kind: "TrafficTarget",
          metadata: meta(wrong ? (own === "a" ? "b" : "a") : own, `target-${i}`),
          spec: {
            destination: { ...subject(to), ...(old ? { port } : {}) },
            sources: from.map(subject),
            rules,
          },
        };
      }),
    );

const splits: fc.Arbitrary<Raw[]> = fc
  .array(
    fc.record({
      root: fc.constantFrom("root", "root", "root", "one", "db", "three"),
      backends: fc.uniqueArray(
        fc.record({
          service: fc.constantFrom("one", "two", "three", "db", "root", "none"),
          weight: fc.constantFrom(0, 1, 1, 2),
        }),
        { minLength: 1, maxLength: 3, selector: ({ service }) => service },
      ),
      matches: fc.option(some(["g1", "g2", "none"], 2, 1), { nil: undefined, freq: 2 }),
    }),
    { maxLength: 2 },
  )
  .map((list) =>
    list.map(({ root, backends, matches }, i): Raw => ({
      apiVersion: "split.smi-spec.io/v1alpha4",
      kind: "TrafficSplit",
      metadata: meta("a", `split-${i}`),
      spec: {
        service: root,
        backends,
        ...(matches === undefined ? {} : { matches: matches.map((name) => ({ kind: "HTTPRouteGroup", name })) }),
      },
    })),
  );

const settings: fc.Arbitrary<Raw[]> = fc
  .record({ permissive: rarely(15), egress: rarely(12) })
  .map(({ permissive, egress }) =>
    permissive || egress
      ? [
          {
            apiVersion: "config.openservicemesh.io/v1alpha2",
            kind: "MeshConfig",
            metadata: meta("a", "osm-mesh-config"),
            spec: { traffic: { enablePermissiveTrafficPolicyMode: permissive, enableEgress: egress } },
          },
        ]
      : [],
  );

export const randomMesh = (ports: Ports): fc.Arbitrary<RandomMesh> =>
  fc
    .tuple(serverPods(ports), services(ports), groups, tcpRoutes(ports), targets(ports), splits, settings)
    .map((lists) => ({ objects: [...CLIENTS.map(clientPod), ...lists.flat()] }));

/** The world that a folder with these objects gives, every pod ready. */
export function worldOf({ objects }: RandomMesh, subnets: Subnets): World {
  const lineOf = () => 1;
  const files = [
    { path: "mesh.yaml", signature: "", problems: [], documents: objects.map((value) => ({ value, line: 1, lineOf })) },
  ];
  const { entries } = catalogOf(files, (path) => path);
  return apply(EMPTY_WORLD, new Cluster(subnets).derive(entries, "assume-ready").changes);
}

export interface RandomCall {
  readonly client: Client;
  readonly destination: Destination;
  readonly request?: Request;
}

const segment = fc.constantFrom(
  ...'a|b|c|new|api|v1|v2|x|y|.|..|%2e|%2E%2e|%2f|%5C|%61|%41|A|%20|%C3%A9|%c3%a9|a b|a;q|a.b|%|%%32e|%zz|a%2fb|:|@|~|!|{|"|<|[|]|^'.split(
    "|",
  ),
  "",
  "\\",
);
const path = fc
  .oneof(
    {
      weight: 3,
      arbitrary: fc.constantFrom(
        "/",
        "/a",
        "/a/b",
        "/b/c",
        "/api/v1/x",
        "/A",
        "/a/",
        "/a%20b",
        "/a.b",
        "/axb",
        "/%C3%A9",
        "/ab/new",
        "/aa",
      ),
    },
    { weight: 3, arbitrary: fc.array(segment, { minLength: 1, maxLength: 5 }).map((parts) => `/${parts.join("/")}`) },
    { weight: 1, arbitrary: fc.array(segment, { minLength: 1, maxLength: 7 }).map((parts) => `/${parts.join("")}`) },
  )
  .map((text) => text.replaceAll(" ", "%20"));
const query = fc.constantFrom("", "", "", "", "?a=/../b", "?%2f", "?#", "?");

const headers = fc.array(
  fc.constantFrom<readonly [string, string]>(
    ["x-a", "1"],
    ["X-A", "a"],
    ["x-a", "b"],
    ["x-a", ""],
    ["x-b", "ab"],
    ["x-b", "c"],
    ["user-agent", "curl/8"],
    ["user-agent", "node"],
    ["x-request-id", "7"],
  ),
  { maxLength: 3 },
);

const request = (port: number): fc.Arbitrary<Request> =>
  fc
    .record({
      method: fc.constantFrom("GET", "GET", "GET", ...METHODS),
      path,
      query,
      headers,
      host: fc.constantFrom(
        ...Array.from({ length: 12 }, () => ""),
        "one.a",
        "ONE.a.svc.cluster.local.",
        "root",
        `root.a.svc:${port}`,
        "one-0.db.a",
        "db.a",
        "nobody.a",
        "one.b.svc.cluster",
      ),
    })
    .map(({ host, ...rest }) => ({
      method: rest.method,
      path: rest.path + rest.query,
      headers: [...(host === "" ? [] : [["host", host] as const]), ...rest.headers],
    }));

/** A call that means something in this world: to its Services' ports, and its pods'. */
export const randomCall = (world: World, { web, db, other }: Ports): fc.Arbitrary<RandomCall> => {
  const listed = [...world.tables.Service.values()].flatMap((services) =>
    [...services.values()].flatMap((s) =>
      s.ports.map(({ port }): Destination => ({ kind: "service", service: s.name, port })),
    ),
  );
  const pods = [...world.tables.Pod.values()]
    .flatMap((all) =>
      [...all.keys()].map((name) => ({ namespace: [...all.values()][0]?.name.split("/")[0] ?? "", name })),
    )
    .filter(({ name }) => !name.startsWith("client-"))
    .flatMap(({ namespace, name }) =>
      [web, db].map((port): Destination => ({ kind: "pod", pod: podRef(`${namespace}/${name}`), port })),
    );
  const odd: Destination = { kind: "service", service: serviceRef("a/one"), port: other };
  const destination = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...listed, odd) },
    { weight: 2, arbitrary: fc.constantFrom(...pods, odd) },
  );
  const client = fc.constantFrom(...CLIENTS).map((name): Client => ({ kind: "account", identity: account(name) }));
  return fc.tuple(client, destination).chain(([who, to]) =>
    fc.option(request(to.port), { nil: undefined, freq: 5 }).map((sent) => ({
      client: who,
      destination: to,
      ...(sent ? { request: sent } : {}),
    })),
  );
};
