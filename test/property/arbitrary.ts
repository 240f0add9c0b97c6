/** Random worlds: a small universe of objects, each of which takes a few shapes, so that they meet and miss one another often. */
import * as fc from "fast-check";
import { isIPv6 } from "../../src/world/address.ts";
import type { Change } from "../../src/world/types.ts";
import {
  gone,
  meshConfig,
  namespace,
  pod,
  routeGroup,
  service,
  slice,
  split,
  target,
  tcpRoute,
  workload,
} from "../support/build.ts";

const NAMESPACES = ["a", "b"];
const NAMES = ["x", "y", "z"];

const PLACES = NAMESPACES.flatMap((ns) => NAMES.map((name) => `${ns}/${name}`));

const place = fc.constantFrom(...PLACES);
const maybe = <T>(values: fc.Arbitrary<T>, most = 3) => fc.uniqueArray(values, { maxLength: most });

const portOf = fc.constantFrom(
  { port: 80, targetPort: 8080 },
  { port: 80, targetPort: 8080, name: "http-web" },
  { port: 80, targetPort: "web", name: "http-web" },
  { port: 81, targetPort: 8080, name: "tcp-other" },
  { port: 90, targetPort: 9090, name: "tcp-db" },
  { port: 90, targetPort: 9090, appProtocol: "mysql" },
  { port: 91, targetPort: 9090, appProtocol: "http" },
  { port: 53, targetPort: 53, protocol: "UDP" as const, name: "dns" },
  { port: 92, targetPort: 9090, appProtocol: "odd", name: "odd" },
);

const workloadOf = fc
  .record({
    of: place,
    app: fc.constantFrom("x", "y", "z"),
    ports: fc.constantFrom(
      [],
      [{ name: "web", port: 8080 }],
      [
        { name: "web", port: 8081 },
        { name: "db", port: 9090 },
      ],
    ),
    meshed: fc.constantFrom(true, true, true, false),
    metrics: fc.constantFrom(false, false, true),
  })
  .map(({ of, app, ...rest }) => workload(of, { labels: { app }, ...rest }));

const services = fc
  .record({
    at: place,
    selector: fc.constantFrom<Record<string, string> | null>(
      { app: "x" },
      { app: "y" },
      { app: "z" },
      { app: "none" },
      {},
      null,
    ),
    ports: fc.uniqueArray(portOf, { maxLength: 3, selector: (p) => p.port }),
    headless: fc.constantFrom(false, false, true),
    external: fc.constantFrom(false, false, false, true),
    families: fc.constantFrom("IPv4", "both", "IPv6"),
  })
  .map(({ at, external, families, ...rest }) => {
    const number = 1 + PLACES.indexOf(at);
    const ips = [`10.1.0.${number}`, `fd00:1::${number}`];
    const clusterIPs = families === "both" ? ips : ips.filter((ip) => isIPv6(ip) === (families === "IPv6"));
    return service(at, { ...rest, clusterIPs, ...(external ? { externalName: "example.com" } : {}) });
  });

const podsOf = fc
  .record({ number: fc.nat(2), of: workloadOf, ready: fc.boolean() })
  .map(({ number, of, ready }) => pod(`${of.identity}-${number}`, of, { ready }));

const slices = fc
  .record({
    at: place,
    number: fc.nat(1),
    ports: fc.constantFrom(
      { "": 8080 },
      { "http-web": 8080 },
      { "http-web": 8081, "tcp-db": 9090 },
      { "tcp-other": 8080, "": 9090, odd: 9090 },
    ),
    ips: maybe(fc.constantFrom("10.2.0.1", "10.2.0.2", "10.2.0.3", "fd00:2::1", "fd00:2::2")),
    ready: fc.boolean(),
  })
  .map(({ at, number, ports, ips, ready }) =>
    slice(
      at,
      ports,
      ips.map((ip) => ({ ip, ready: ready || ip !== "10.2.0.1" })),
      `${at.split("/")[1]}-${number}`,
    ),
  );

const rule = fc.constantFrom(
  "HTTPRouteGroup x",
  "HTTPRouteGroup x get",
  "HTTPRouteGroup y get nothing",
  "HTTPRouteGroup z",
  "TCPRoute x",
  "TCPRoute y",
  "TCPRoute none",
  "UDPRoute x",
);
const subject = fc.oneof(
  { weight: 8, arbitrary: place },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      { kind: "Group", name: "x", namespace: "a" },
      { kind: "ServiceAccount", name: "x", namespace: "" },
    ),
  },
);

const targets = fc
  .record({
    at: place,
    to: subject,
    same: fc.boolean(),
    from: maybe(subject),
    rules: maybe(rule),
    port: fc.constantFrom(undefined, undefined, 8080, 80),
  })
  .map(({ at, to, same, from, rules, port }) => {
    const destination = same && typeof to === "string" ? `${at.split("/")[0]}/${to.split("/")[1]}` : to;
    return target(at, { to: destination, from, rules, ...(port === undefined ? {} : { port }) });
  });

const match = fc.constantFrom(
  { name: "get", methods: ["GET"] },
  { name: "get", methods: ["get", "*"] },
  { name: "api", pathRegex: "/api/.*" },
  { name: "bad", pathRegex: "(" },
  {
    name: "h",
    headers: [
      { name: "host", regex: ".*" },
      { name: "x-a", regex: "b" },
    ],
  },
);
const groups = fc.record({ at: place, matches: maybe(match) }).map(({ at, matches }) => routeGroup(at, matches));
const routes = fc
  .record({ at: place, ports: maybe(fc.constantFrom(8080, 8081, 9090, 80), 2) })
  .map(({ at, ports }) => tcpRoute(at, ports));

const splits = fc
  .record({
    at: place,
    root: fc.constantFrom("x", "y", "z", "z.a", "none", "x.b.svc.cluster.local", "not/a.name..at.all"),
    backends: fc.dictionary(
      fc.constantFrom("x", "y", "z", "none", "x.a"),
      fc.constantFrom(0, 1, 50, -1, 0.5, 2 ** 32),
      { maxKeys: 3 },
    ),
    matches: fc.constantFrom(undefined, undefined, [], ["x"], ["y", "none"]),
    created: fc.constantFrom("", "2024-01-01T00:00:00Z", "2023-01-01T00:00:00Z"),
  })
  .map(({ at, root, backends, matches, created }) =>
    split(at, { service: root, backends, created, ...(matches ? { matches } : {}) }),
  );

const others = fc.oneof(
  fc.record({ permissive: fc.boolean(), egress: fc.boolean() }).map(meshConfig),
  fc
    .record({ name: fc.constantFrom(...NAMESPACES), monitored: fc.constantFrom(true, true, false) })
    .map(({ name, monitored }) => namespace(name, { monitored })),
);

/** One object that is now so, or (one in five) is gone. */
export const change: fc.Arbitrary<Change> = fc
  .tuple(
    fc.oneof(
      { weight: 4, arbitrary: services },
      { weight: 5, arbitrary: podsOf },
      { weight: 4, arbitrary: slices },
      { weight: 5, arbitrary: targets },
      { weight: 3, arbitrary: groups },
      { weight: 2, arbitrary: routes },
      { weight: 4, arbitrary: splits },
      { weight: 1, arbitrary: others },
    ),
    fc.nat(4),
  )
  .map(([one, n]) => (n === 0 ? gone(one) : one));

/** A mesh in which every kind of thing is there already, so that single changes have something to disturb. */
export const start: Change[] = NAMESPACES.flatMap((ns) => [
  namespace(ns),
  ...NAMES.flatMap((name) => [
    service(`${ns}/${name}`, {
      ports: [
        { port: 80, targetPort: 8080, name: "http-web" },
        { port: 90, targetPort: 9090, name: "tcp-db" },
      ],
      headless: name === "z",
    }),
    pod(`${ns}/${name}-0`, workload(`${ns}/${name}`, { labels: { app: name }, ports: [{ name: "web", port: 8080 }] })),
    slice(`${ns}/${name}`, { "http-web": 8080, "tcp-db": 9090 }, ["10.2.0.1", "10.2.0.2"], `${name}-0`),
    target(`${ns}/${name}`, { to: `${ns}/${name}`, from: ["a/x", "b/y"], rules: ["HTTPRouteGroup x", "TCPRoute y"] }),
  ]),
  routeGroup(`${ns}/x`, [
    { name: "get", methods: ["GET"] },
    { name: "api", pathRegex: "/api/.*" },
  ]),
  tcpRoute(`${ns}/y`, [9090]),
  split(`${ns}/x`, { service: "x", backends: { x: 1, y: 50 } }),
]);

/** The objects of a world, each once. */
export const changes = (length: { min: number; max: number }): fc.Arbitrary<Change[]> =>
  fc.array(change, { minLength: length.min, maxLength: length.max });
