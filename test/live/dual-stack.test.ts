/**
 * Pods with addresses of both families: real Envoys behind the injector's own rules, and calls over IPv6.
 */
import { chownSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Authority } from "../../src/ca/authority.ts";
import { PROXY_UID } from "../../src/injector/iptables.ts";
import { findEnvoy } from "../../src/local/envoy.ts";
import { compile } from "../../src/policy/compile.ts";
import { identity, podName } from "../../src/world/names.ts";
import { type World } from "../../src/world/world.ts";
import { Builder } from "../../src/xds/build.ts";
import { dualStack } from "../../src/xds/dual-stack.ts";
import { ownCertificate } from "../../src/xds/tls.ts";
import { namespace, pod, routeGroup, service, slice, target, tcpRoute, workload, world } from "../support/build.ts";
import { ConfigFiles } from "../support/envoy-json.ts";
import { EnvoyProcess, live, rejections } from "../support/envoy-process.ts";
import { cannotRunLive, lacking, ROOT, type PodClient } from "../support/live-mesh.ts";
import { memoryStore } from "../unit/ca/support.ts";
import { PodPair, type PodNamespace } from "../support/pod-pair.ts";

const API = { ipv4: "10.98.0.10", ipv6: "fd00:98::10" };
const TCP = { ipv4: "10.98.0.11", ipv6: "fd00:98::11" };
const ONLY6 = "fd00:98::12";
const HALF = "fd00:98::13";
const GONE = "fd00:98::14";

/** Ports of the server's applications: HTTP and TCP at all addresses, HTTP at IPv6 only, and one where nothing listens. */
const PORTS = { http: 8080, tcp: 9000, only6: 8086, gone: 8099 };

function mesh(pair: PodPair): World {
  const { client, server } = pair;
  const ips = ({ addresses }: PodNamespace) => [addresses.ipv4, addresses.ipv6];
  /** As Kubernetes makes them: a slice for each family. */
  const slices = (of: string, ports: Readonly<Record<string, number>>, addresses = ips(server)) =>
    addresses.map((ip, i) =>
      slice(of, ports, [{ ip, ready: true, pod: podName("a", "api-0") }], `${of.slice(2)}-${i}`),
    );
  const api = workload("a/api", {
    ports: [{ port: PORTS.http }, { port: PORTS.tcp }, { port: PORTS.only6 }, { port: PORTS.gone }],
  });
  return world(
    namespace("a"),
    service("a/api", { ports: [{ port: 80, targetPort: PORTS.http }], clusterIPs: Object.values(API) }),
    slices("a/api", { "": PORTS.http }),
    service("a/tcp", {
      ports: [{ port: 80, targetPort: PORTS.tcp, name: "tcp-echo" }],
      selector: { app: "api" },
      clusterIPs: Object.values(TCP),
    }),
    slices("a/tcp", { "tcp-echo": PORTS.tcp }),
    service("a/only6", {
      ports: [{ port: 80, targetPort: PORTS.only6 }],
      selector: { app: "api" },
      clusterIPs: [ONLY6],
    }),
    slices("a/only6", { "": PORTS.only6 }),
    // Where its pod's IPv4 address leads, nothing listens: it is the client's own.
    service("a/half", { ports: [{ port: 80, targetPort: PORTS.http }], selector: { app: "api" }, clusterIPs: [HALF] }),
    slices("a/half", { "": PORTS.http }, [client.addresses.ipv4, server.addresses.ipv6]),
    service("a/gone", {
      ports: [{ port: 80, targetPort: PORTS.gone }],
      selector: { app: "api" },
      clusterIPs: [GONE],
    }),
    slices("a/gone", { "": PORTS.gone }),
    service("a/pods", { ports: [PORTS.http], selector: { app: "api" }, headless: true }),
    slices("a/pods", { "": PORTS.http }),
    service("a/tcp-pods", { ports: [{ port: PORTS.tcp, name: "tcp-echo" }], selector: { app: "api" }, headless: true }),
    slices("a/tcp-pods", { "tcp-echo": PORTS.tcp }),
    pod("a/api-0", api, { ips: ips(server) }),
    pod("a/web-0", workload("a/web"), { ips: ips(client) }),
    routeGroup("a/g", [{ name: "public", pathRegex: "/public/.*" }]),
    tcpRoute("a/tcp", [PORTS.tcp]),
    target("a/http", { to: "a/api", from: ["a/web", "a/api"], rules: ["HTTPRouteGroup g"] }),
    target("a/tcp", { to: "a/api", from: ["a/web"], rules: ["TCPRoute tcp"] }),
  );
}

/** An application that takes IPv6 only, as nginx does with `listen [::]:80`. */
const ONLY_IPV6 = `
require("node:http").createServer((q, s) => s.end("by IPv6 from " + q.socket.remoteAddress + "\\n"))
  .listen({ port: ${PORTS.only6}, host: "::", ipv6Only: true }, () => console.log("listening"));
`;

describe.skipIf(lacking(cannotRunLive()))("dual-stack", () => {
  const stop = new AbortController();
  let pair: PodPair;
  let envoy: string;
  let authority: Authority;
  let web: PodClient;
  let api: PodClient;
  let outside: PodClient;

  beforeAll(async () => {
    envoy = (await findEnvoy({ env: process.env, say: () => {} })).path;
    authority = await Authority.start({ trustDomain: "cluster.local" }, { store: memoryStore() }, stop.signal);
    pair = new PodPair();
    const standIn = join(ROOT, "src/local/stand-in.ts");
    await pair.server.node([standIn, String(PORTS.http), String(PORTS.tcp)]);
    await pair.server.node(["--eval", ONLY_IPV6]);
    web = pair.client.podClient();
    api = pair.server.podClient();
    // What runs as the sidecar's user is led nowhere: as if it were a pod without a sidecar.
    outside = pair.client.podClient(PROXY_UID);
    await Promise.all([sidecar(pair.client, "web"), sidecar(pair.server, "api")]);
  });
  afterAll(async () => {
    stop.abort();
    for (const go of going.reverse()) await go();
    await pair?.remove();
  });
  const envoys = new Map<string, EnvoyProcess>();
  const going: (() => void | Promise<void>)[] = [];

  async function sidecar(place: PodNamespace, account: string): Promise<void> {
    const made = mesh(pair);
    const { changed } = new Builder().mesh(compile(made).mesh, made, {
      bundle: authority.bundle.pem,
      trustDomain: "cluster.local",
    });
    const [resources] = [...changed].filter(([group]) => group.startsWith(`a/${account}/`)).map(([, r]) => r);
    if (!resources) throw new Error(`no group of ${account}`);
    const leaf = (await authority.leaf(identity("a", account), stop.signal)).current;
    const running = new EnvoyProcess((goes) => going.push(goes));
    envoys.set(account, running);
    const files = new ConfigFiles(running.directory);
    files.write({
      resources: dualStack(resources),
      secrets: [ownCertificate(leaf.chainPem, leaf.privateKey.revealPem())],
    });
    const bootstrap = files.bootstrap(running.adminPath);
    // Envoy runs as the user whom the rules let pass.
    chownSync(running.directory, PROXY_UID, PROXY_UID);
    running.start(envoy, bootstrap, place.inside(PROXY_UID));
    const stats = await running.until(account, live);
    expect(rejections(stats), running.log).toEqual([]);
  }

  const asked = async (client: PodClient, host: string, more: { path?: string; authority?: string } = {}) => {
    const { path = "/public/a", authority: name } = more;
    const answer = await client.http(`http://${host}${path}`, name === undefined ? {} : { headers: { host: name } });
    const identityOf = (body: string) =>
      body.startsWith("{") ? (JSON.parse(body) as { headers: Record<string, string> }).headers["host"] : body.trim();
    return [answer.status, answer.error ?? identityOf(answer.body)];
  };

  test("a Service is called at its virtual IPs of both families, by address and by name", async () => {
    for (const [ip, host] of [
      [API.ipv4, API.ipv4],
      [API.ipv6, `[${API.ipv6}]`],
    ] as const) {
      expect(await asked(web, host), ip).toEqual([200, host]);
      expect(await asked(web, `${host}:80`), ip).toEqual([200, host]);
      for (const name of ["api", "api.a", "api.a.svc:80", "api.a.svc.cluster.local"])
        expect(await asked(web, host, { authority: name }), `${ip} ${name}`).toEqual([200, name]);
    }
    // What Host says counts, not where the connection went.
    expect(await asked(web, `[${API.ipv6}]`, { authority: `[${API.ipv6}]:80` })).toEqual([200, `[${API.ipv6}]:80`]);
    expect(await asked(web, `[${API.ipv6}]`, { authority: "[FD00:98::10]" })).toEqual([200, "[FD00:98::10]"]);
  });

  test("difference 19: access is enforced over IPv6 as over IPv4", async () => {
    expect(await asked(web, `[${API.ipv6}]`, { path: "/private" })).toEqual([
      403,
      "heddle: no TrafficTarget lets spiffe://cluster.local/ns/a/sa/web do GET /private on [fd00:98::10]",
    ]);
    const pod = `[${pair.server.addresses.ipv6}]`;
    expect(await asked(outside, `${pod}:${PORTS.http}`)).toEqual([
      403,
      "heddle: this pod takes calls from sidecars of the mesh only, and this one came without its TLS",
    ]);
    expect((await outside.tcp(pair.server.addresses.ipv6, PORTS.tcp, "PING\n")).received).toBe("");
    const [status, refusal] = await asked(web, "[fd00:98::99]");
    expect([status, refusal]).toEqual([
      403,
      "heddle: no TrafficTarget lets this pod's ServiceAccount call [fd00:98::99], or there is no such Service in the mesh",
    ]);
  });

  test("TCP is led by the virtual IP of either family", async () => {
    for (const ip of Object.values(TCP)) expect((await web.tcp(ip, 80, `to ${ip}\n`)).received).toBe(`to ${ip}\n`);
    expect((await web.tcp("fd00:98::99", 81, "PING\n")).received).toBe("");
  });

  test("difference 10: a headless Service's pods are called at their addresses of both families, HTTP and TCP", async () => {
    const { ipv4, ipv6 } = pair.server.addresses;
    for (const host of [ipv4, `[${ipv6}]`])
      for (const name of ["api-0.pods.a", "pods.a.svc.cluster.local"])
        expect(await asked(web, `${host}:${PORTS.http}`, { authority: name }), `${host} ${name}`).toEqual([200, name]);
    for (const ip of [ipv4, ipv6]) expect((await web.tcp(ip, PORTS.tcp, `${ip}\n`)).received).toBe(`${ip}\n`);
  });

  test("row 1: a pod calls its own Service over IPv6, as its TrafficTarget allows", async () => {
    expect(await asked(api, `[${API.ipv6}]`)).toEqual([200, `[${API.ipv6}]`]);
    expect((await asked(api, `[${API.ipv6}]`, { path: "/private" }))[0]).toBe(403);
  });

  test("of a pod's two addresses the other one is tried when nothing answers at the first", async () => {
    expect(await asked(web, `[${HALF}]`)).toEqual([200, `[${HALF}]`]);
  });

  test("an application that takes IPv6 only is reached", async () => {
    expect(await asked(web, `[${ONLY6}]`)).toEqual([200, "by IPv6 from ::1"]);
  });

  test("where the application listens at neither loopback, the client's side learns that nobody has taken the request", async () => {
    expect((await asked(web, `[${GONE}]`))[0]).toBe(503);
    const stats = await envoys.get("web")?.stats();
    expect(stats?.get(`cluster.a/gone|${PORTS.gone}.upstream_rq_retry`)).toBeGreaterThan(0);
  });
});
