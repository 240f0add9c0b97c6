/**
 * What two real Envoys make of a request's headers and authority on their way to rules and splits, and that `heddle why` says the same.
 */
import { expect, test } from "vitest";
import { explain } from "../../src/analysis/explain.ts";
import type { Request } from "../../src/analysis/request.ts";
import type { Raw } from "../../src/lib/json.ts";
import { compile } from "../../src/policy/compile.ts";
import { account, serviceRef } from "../support/build.ts";
import { useFleet } from "../support/fleet.ts";
import { worldOf } from "../support/random-mesh.ts";

/** Below the kernel's own range, and not the same in two runs at once. */
const BASE = 20_000 + (process.pid % 1_000) * 10;
const PORT = BASE;
const OWN = { outbound: BASE + 3, app: BASE + 4 };

type Header = readonly [name: string, value: string];
/** Asked of a rule, and of a split's match, about one header. */
interface Probe {
  readonly method: string;
  readonly headers: readonly Header[];
  readonly rule: Header;
}

const probe = (rule: Header, headers: readonly Header[], method = "GET"): Probe => ({ method, headers, rule });
/** Whether the header arrives at all. */
const arrives = (...headers: readonly Header[]): Probe => probe([headers[0]?.[0] ?? "", ".*"], headers);

const words = (text: string): readonly string[] => text.trim().split(/\s+/);

const AWAY = words(`
  keep-alive proxy-connection x-envoy-expected-rq-timeout-ms x-envoy-force-trace x-envoy-hedge-on-per-try-timeout
  x-envoy-internal x-envoy-ip-tags x-envoy-max-retries x-envoy-original-url x-envoy-retriable-header-names
  x-envoy-retriable-status-codes x-envoy-retry-grpc-on x-envoy-retry-on x-envoy-upstream-alt-stat-name
  x-envoy-upstream-rq-per-try-timeout-ms x-envoy-upstream-rq-timeout-alt-response x-envoy-upstream-rq-timeout-ms
  x-envoy-upstream-stream-duration-ms x-forwarded-client-cert
`);
const THROUGH = words(`
  x-a x_a accept authorization cookie date early-data forwarded grpc-timeout http2-settings host2 proxy-authorization
  server traceparent trailer user-agent via x-client-trace-id x-envoy-attempt-count x-envoy-decorator-operation
  x-envoy-downstream-service-cluster x-envoy-external-address x-envoy-original-dst-host x-envoy-original-path
  x-forwarded-for x-forwarded-host x-forwarded-port x-request-id x-heddle-unprocessed
`);
const REFERERS = words(String.raw`
  /a a/b:c ?a * //u@x/y x/y://z /%41 http://x HTTP://X/ a+b.c-d://x http://@x/ http://x:65535/ http://x:65536/
  http://x:/ http://x:abc/ http://[::1]:80/ http://[::1/ http:///x http://x/# http://x# http://x/#f http://u@x/
  http://u:p@x/ http://x_y/ http://x,y/ 1h://x http://x/"<^{|}>\[] http://x?@# a:b a# a" a[ a^ /a\ about:blank
  file:///a
`);

const PROBES: readonly Probe[] = [
  ...AWAY.map((name) => arrives([name, "1"])),
  ...THROUGH.map((name) => arrives([name, "1"])),
  ...[...REFERERS, "", "a b"].map((value) => arrives(["referer", value])),
  arrives(["referer", "/a"], ["referer", "/b"]),
  ...["10.0.0.1", "127.0.0.1", "8.8.8.8"].map((ip) => probe(["x-envoy-internal", ".*"], [["x-forwarded-for", ip]])),
  ...["trailers", "Trailers", "deflate, trailers", "trailers;q=1", "gzip", ""].flatMap((value) => [
    arrives(["te", value]),
    probe(["te", "trailers"], [["te", value]]),
    probe(
      ["te", "trailers"],
      [
        ["te", value],
        ["connection", "te"],
      ],
    ),
  ]),
  ...["close", "keep-alive", "x-a", "close, X-A", "x-a;q", "x-b", "x-request-id", "http2-settings"].flatMap((value) => [
    arrives(["connection", value]),
    arrives(["x-a", "1"], ["connection", value]),
    probe(
      ["x-request-id", "7"],
      [
        ["x-request-id", "7"],
        ["connection", value],
      ],
    ),
  ]),
  ...words("host x-forwarded-for X-Forwarded-Host x-forwarded-proto :method connection a,b,c,d,e,f,g,h").map((value) =>
    probe([":method", ".*"], [["connection", `close,${value}`]]),
  ),
  probe([":method", ".*"], [["connection", "a,b,c,d,e,f,g,h,i,j"]]),
  ...(["websocket", "WebSocket", "h2c", "H2C", "foo", "", "websocket, foo"] as const).flatMap((value) =>
    ["upgrade", "keep-alive, Upgrade", "close"].flatMap((connection) => {
      const headers = [
        ["upgrade", value],
        ["connection", connection],
        ["http2-settings", "a"],
      ] as const;
      return words("upgrade connection http2-settings content-length").map((name) => probe([name, ".*"], headers));
    }),
  ),
  ...["100-continue", "100-Continue", "100-continue, x", "x"].map((value) => arrives(["expect", value])),
  arrives(["cookie", "a=b"], ["cookie", "c=d"]),
  probe(
    ["cookie", "a=b,c=d"],
    [
      ["cookie", "a=b"],
      ["cookie", "c=d"],
    ],
  ),
  probe(["x-request-id", ".{36}"], [["x-request-id", ""]]),
  ...["https", "HTTPS", "Http", "http", "ftp", "http, https", ""].flatMap((value) => [
    probe([":scheme", "http"], [["x-forwarded-proto", value]]),
    probe([":scheme", "https"], [["x-forwarded-proto", value]]),
    probe(["x-forwarded-proto", value || "x"], [["x-forwarded-proto", value]]),
  ]),
  probe([":scheme", "http"], []),
  probe([":scheme", "https"], []),
  ...["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "PROPFIND"].map((method) =>
    probe(["content-length", "0"], [], method),
  ),
  ...["0", "00", "x", "-1", "18446744073709551615", "18446744073709551616"].map((value) =>
    probe(["content-length", ".*"], [["content-length", value]], "POST"),
  ),
  ...["chunked", "Chunked", "gzip", "gzip, chunked"].flatMap((value) => [
    probe(["transfer-encoding", ".*"], [["transfer-encoding", value]], "POST"),
    probe(["content-length", ".*"], [["transfer-encoding", value]], "POST"),
    probe(
      [":method", ".*"],
      [
        ["transfer-encoding", value],
        ["content-length", "0"],
      ],
      "POST",
    ),
  ]),
];

const meta = (name: string) => ({ name, namespace: "a" });
const subject = (name: string) => ({ kind: "ServiceAccount", ...meta(name) });
const pod = (name: string): Raw => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { ...meta(`${name}-0`), labels: { app: name } },
  spec: { serviceAccountName: name, containers: [{ name: "app", image: "x" }] },
});
const service = (name: string, pods = name): Raw => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: meta(name),
  spec: { selector: { app: pods }, ports: [{ port: PORT, name: "http" }] },
});
const group = (name: string, matches: readonly Raw[]): Raw => ({
  apiVersion: "specs.smi-spec.io/v1alpha4",
  kind: "HTTPRouteGroup",
  metadata: meta(name),
  spec: { matches },
});
const target = (to: string, groups: readonly string[]): Raw => ({
  apiVersion: "access.smi-spec.io/v1alpha3",
  kind: "TrafficTarget",
  metadata: meta(to),
  spec: {
    destination: subject(to),
    sources: [subject("web")],
    rules: groups.map((name) => ({ kind: "HTTPRouteGroup", name })),
  },
});
const split = (name: string, backend: string, groups?: readonly string[]): Raw => ({
  apiVersion: "split.smi-spec.io/v1alpha4",
  kind: "TrafficSplit",
  metadata: meta(name),
  spec: {
    service: "root",
    backends: [{ service: backend, weight: 1 }],
    ...(groups ? { matches: groups.map((one) => ({ kind: "HTTPRouteGroup", name: one })) } : {}),
  },
});

/** Rules of `one` are the probes'; calls of `root` go to `two` when the probe's match takes them, else to `one`, and all are allowed. */
const objects = (probes: readonly Probe[]): readonly Raw[] => [
  ...["web", "one", "two"].map(pod),
  service("root", "one"),
  service("one"),
  service("two"),
  group(
    "rules",
    probes.map(({ rule: [name, regex] }, i) => ({ name: `m${i}`, pathRegex: `/${i}`, headers: [{ [name]: regex }] })),
  ),
  group(
    "matches",
    probes.map(({ rule: [name, regex] }, i) => ({ name: `m${i}`, pathRegex: `/s${i}`, headers: [{ [name]: regex }] })),
  ),
  group("split", [{ name: "all", pathRegex: "/s.*" }]),
  target("one", ["rules", "split"]),
  target("two", ["split"]),
  split("by-match", "two", ["matches"]),
  split("rest", "one"),
];

const fleet = useFleet(["a/web", "a/one", "a/two"].map(account), OWN);

/** `200 127.…` with the pod's address, or a status. */
function send(from: string, ip: string, host: string, { method, path, headers }: Request): Promise<string> {
  const socket = fleet().dial(from, { ip, port: PORT });
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  socket.write(`${method} ${path} HTTP/1.1\r\nhost: ${host}\r\n${lines}\r\n`, "latin1");
  // Some promise a body.
  if (headers.some(([, value]) => /chunked/i.test(value))) socket.write("0\r\n\r\n");
  return new Promise((resolve) => {
    let text = "";
    const end = () => {
      socket.destroy();
      clearTimeout(timer);
      const last = text.slice(text.lastIndexOf("HTTP/1.1 "));
      resolve(`${/^HTTP\/1\.1 (\d+)/.exec(last)?.[1] ?? "closed"} ${/x-pod: (\S+)/.exec(last)?.[1] ?? ""}`.trim());
    };
    const timer = setTimeout(end, 5_000);
    socket.on("close", end);
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      if (/HTTP\/1\.1 [2-5]\d\d [^]*\r\n\r\n/.test(text)) end();
    });
  });
}

let meshes = 0;

/** What `why` and Envoy say, where they differ. */
async function compared(
  probes: readonly Probe[],
  asked: (i: number) => readonly { readonly to: string; readonly host?: string; readonly request: Request }[],
): Promise<string[]> {
  // Listeners of the mesh before may still be draining.
  const net = 20 + 2 * meshes++;
  const caller = `127.${net}.255.1`;
  const subnets = { pods: `127.${net}.0.0/16`, services: `127.${net + 1}.0.0/16` };
  const world = worldOf({ objects: objects(probes) }, subnets);
  const { mesh, problems } = compile(world);
  expect(problems).toEqual([]);
  await fleet().become([{ id: `w${net}`, world, mesh, clients: new Map([[account("a/web"), caller]]) }]);
  const podIp = (name: string) => world.tables.Pod.get("a")?.get(`${name}-0`)?.ips[0] ?? "";
  const different: string[] = [];
  for (const i of probes.keys())
    for (const { to, host, request } of asked(i)) {
      const found = explain(
        { world, mesh },
        {
          client: { kind: "account", identity: account("a/web") },
          destination: { kind: "service", service: serviceRef(`a/${to}`), port: PORT },
          request: host === undefined ? request : { ...request, headers: [["host", host], ...request.headers] },
        },
      );
      const [share] = found.taken.flatMap(({ shares }) => shares);
      const says =
        found.verdict === "allowed"
          ? `200 ${podIp(String(share?.service).replace("a/", ""))}`
          : String(found.answer ?? found.verdict);
      const ip = world.tables.Service.get("a")?.get(to)?.clusterIPs[0] ?? "";
      const real = await send(caller, ip, host ?? `${to}.a:${PORT}`, request);
      if (real !== says)
        different.push(`${to} ${host ?? ""} ${JSON.stringify([probes[i], request])}: Envoy ${real}, why ${says}`);
    }
  return different;
}

test("row 13: headers that sidecars take away, change or add are looked at as Envoy does", async () => {
  const different = await compared(PROBES, (i) => {
    const { method, headers } = PROBES[i] as Probe;
    return [
      { to: "one", request: { method, path: `/${i}`, headers } },
      { to: "root", request: { method, path: `/s${i}`, headers } },
    ];
  });
  expect(different).toEqual([]);
});

test("row 13: whatever stands behind an authority's last colon counts as its port", async () => {
  const characters = Array.from({ length: 94 }, (_, i) => `one.a:${String.fromCharCode(33 + i)}`);
  const hosts = [
    ...characters,
    ...words("one.a: one.a:99999 one.a:80:80 one.a.:abc one.a:80. one.a:80.. one.a..:80 one.a.: ONE.A:x one.a:a]b"),
    ...words("one.a:a[b [::1]:x u@one.a:80 one.a.svc.cluster.local.:x one.a"),
  ];
  // As the server sees it, and as the client does.
  const patterns = [".*", ".*:80", ".*:80\\.", ".*\\.:.*", ".*:abc"];
  const different = await compared(
    patterns.map((pattern) => probe(["host", pattern], [])),
    (i) =>
      hosts.flatMap((host) => [
        { to: "one", host, request: { method: "GET", path: `/${i}`, headers: [] } },
        { to: "root", host: host.replace(/^one/i, "root"), request: { method: "GET", path: `/s${i}`, headers: [] } },
      ]),
  );
  expect(different).toEqual([]);
});
