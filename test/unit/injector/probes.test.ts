/** What becomes of probes and hooks in the pod's own text. That they work is seen in `live-probes.test.ts`. */
import { describe, expect, test } from "vitest";
import { bootstrapOf, expand, injected, named, patched, pod, type Loose } from "./pods.ts";

const app = (over: Loose) =>
  pod({ containers: [{ name: "app", image: "a", ports: [{ name: "web", containerPort: 8080 }], ...over }] });
const routesOf = (of: Loose): Loose[] =>
  bootstrapOf(of).static_resources.listeners.flatMap((listener: Loose) =>
    listener.filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes.map((route: Loose) => ({
      listen: listener.address.socket_address.port_value,
      ...route,
    })),
  );
const clusterOf = (of: Loose, name: string): Loose =>
  bootstrapOf(of).static_resources.clusters.find((cluster: Loose) => cluster.name === name);
const appPort = (of: Loose, name: string): number =>
  clusterOf(of, name).load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value;

test("http: OSM's ports and paths, and everything else stays", () => {
  const probe = {
    initialDelaySeconds: 2,
    periodSeconds: 7,
    timeoutSeconds: 4,
    failureThreshold: 9,
    terminationGracePeriodSeconds: 5,
  };
  const httpHeaders = [{ name: "X-Probe", value: "1" }];
  const done = patched(
    app({
      livenessProbe: { ...probe, httpGet: { path: "/alive?deep=1#x", port: "web", httpHeaders } },
      readinessProbe: { httpGet: { port: 8081 } },
      startupProbe: { httpGet: { path: "started", port: "8082", scheme: "HTTP" } },
    }),
  );
  expect(named(done, "app")).toMatchObject({
    livenessProbe: {
      ...probe,
      httpGet: { path: "/osm-liveness-probe/app?deep=1", port: 15901, scheme: "HTTP", httpHeaders },
    },
    readinessProbe: { httpGet: { path: "/osm-readiness-probe/app", port: 15902 } },
    startupProbe: { httpGet: { path: "/osm-startup-probe/app", port: 15903 } },
  });
  expect(routesOf(done).filter((route) => route.route)).toEqual([
    expect.objectContaining({
      listen: 15901,
      match: {
        path: "/osm-liveness-probe/app",
        headers: [
          { name: ":method", string_match: { exact: "GET" } },
          { name: ":path", string_match: { exact: "/osm-liveness-probe/app?deep=1" } },
          { name: "content-length", present_match: true, invert_match: true },
        ],
      },
      route: { cluster: "app_liveness_cluster", timeout: "4s", prefix_rewrite: "/alive" },
    }),
    expect.objectContaining({
      listen: 15902,
      route: { cluster: "app_readiness_cluster", timeout: "1s", prefix_rewrite: "/" },
    }),
    expect.objectContaining({
      listen: 15903,
      route: { cluster: "app_startup_cluster", timeout: "1s", prefix_rewrite: "/started" },
    }),
  ]);
  expect(["liveness", "readiness", "startup"].map((type) => appPort(done, `app_${type}_cluster`))).toEqual([
    8080, 8081, 8082,
  ]);
  const names = named(done, "envoy").ports.map((port: Loose) => `${port.name} ${port.containerPort}`);
  expect(names).toEqual([
    "proxy-admin 15000",
    "proxy-inbound 15003",
    "proxy-metrics 15010",
    "liveness-port 15901",
    "readiness-port 15902",
    "startup-port 15903",
    "health-port 15904",
  ]);
});

test("several containers with several probes each: nothing collides, https included", () => {
  const probes = (port: number, scheme: string) => ({
    livenessProbe: { httpGet: { path: "/l", port, scheme } },
    readinessProbe: { httpGet: { path: "/r", port, scheme } },
  });
  const of = pod({
    containers: [
      { name: "a", ...probes(8443, "HTTPS") },
      { name: "b", ...probes(9443, "HTTPS") },
      { name: "c", ...probes(8080, "HTTP"), startupProbe: { tcpSocket: { port: 5432 } } },
    ],
  });
  const done = patched(of);
  const clusters = bootstrapOf(done).static_resources.clusters.map((cluster: Loose) => cluster.name);
  expect(clusters).toHaveLength(7);
  expect(new Set(clusters).size).toBe(7);
  expect(["a", "b", "c"].map((name) => appPort(done, `${name}_liveness_cluster`))).toEqual([8443, 9443, 8080]);
  expect(clusterOf(done, "a_liveness_cluster").transport_socket.name).toBe("envoy.transport_sockets.tls");
  expect(clusterOf(done, "c_liveness_cluster").transport_socket).toBeUndefined();
  const matches = routesOf(done).map((route) => `${route.listen}${route.match.path}`);
  expect(new Set(matches).size).toBe(matches.length);
  // The kubelet speaks plain text to the sidecar in any case.
  expect(named(done, "a").livenessProbe.httpGet.scheme).toBe("HTTP");
});

test("tcp becomes an http probe that asks whether the application takes connections", () => {
  const done = patched(app({ readinessProbe: { tcpSocket: { port: "web" }, timeoutSeconds: 3 } }));
  expect(named(done, "app").readinessProbe).toEqual({
    httpGet: { path: "/osm-readiness-probe/app", port: 15902, scheme: "HTTP" },
    timeoutSeconds: 3,
  });
  expect(clusterOf(done, "app_readiness_cluster")).toMatchObject({
    connect_timeout: "3s",
    upstream_config: { name: "envoy.upstreams.http.tcp" },
  });
});

describe("difference 12: grpc", () => {
  const grpc = (port: number, more: Loose = {}) => ({ grpc: { port, service: "s" }, ...more });
  test("one port of a kind takes OSM's port, further ones get their own, which the rules leave alone", () => {
    const of = pod({
      containers: [
        { name: "a", livenessProbe: grpc(50051), readinessProbe: grpc(50051, { timeoutSeconds: 5 }) },
        { name: "b", livenessProbe: grpc(50052), readinessProbe: grpc(50052) },
        { name: "c", livenessProbe: grpc(50051), ports: [{ containerPort: 15906 }] },
        { name: "d", livenessProbe: grpc(50053) },
      ],
    });
    const done = patched(of);
    const ports = done.spec.containers.map((c: Loose) => [c.livenessProbe.grpc.port, c.readinessProbe?.grpc.port]);
    expect(ports).toEqual([
      [15901, 15902],
      [15905, 15905],
      [15901, undefined],
      [15907, undefined],
    ]);
    expect(done.spec.containers[0].livenessProbe.grpc.service).toBe("s");
    expect(expand(named(done, "osm-init").args[0], {})).toContain("--dports 15905,15907 -j RETURN");
    expect(appPort(done, "b_liveness_cluster")).toBe(50052);
  });
  test("a longer timeout is not cut by a shorter one of the same port", () => {
    const of = pod({
      containers: [
        { name: "a", livenessProbe: grpc(50051) },
        { name: "b", livenessProbe: grpc(50051, { timeoutSeconds: 9 }) },
      ],
    });
    const done = patched(of);
    const route = routesOf(done).find((one) => one.listen === named(done, "b").livenessProbe.grpc.port);
    expect(route.route.timeout).toBe("9s");
  });
  test("http and grpc probes share a port", () => {
    const of = pod({
      containers: [
        { name: "a", livenessProbe: grpc(50051) },
        { name: "b", livenessProbe: { httpGet: { port: 80 } } },
      ],
    });
    expect(routesOf(patched(of)).filter((one) => one.listen === 15901)).toHaveLength(2);
  });
});

test("exec is untouched, and so is what does not ask the pod or passes the sidecar by", () => {
  const probes = {
    livenessProbe: { exec: { command: ["true"] } },
    readinessProbe: { httpGet: { port: 9090, path: "/x" } },
    startupProbe: { grpc: { port: 9091 } },
  };
  const of = app(probes);
  of.metadata.annotations = { "openservicemesh.io/inbound-port-exclusion-list": "9090,9091" };
  expect(named(patched(of), "app")).toMatchObject(named(of, "app"));
  const elsewhere = app({
    livenessProbe: { httpGet: { host: "10.0.0.1", port: 80 } },
    readinessProbe: { tcpSocket: { host: "10.0.0.1", port: 80 } },
  });
  expect(named(patched(elsewhere), "app")).toMatchObject(named(elsewhere, "app"));
  expect(injected(elsewhere)).toMatchObject({
    warnings: [expect.stringMatching(/liveness of container app asks host "10.0.0.1"/), expect.anything()],
  });
});

test("a port that nobody has is said, and the probe left to the kubelet's own complaint", () => {
  const of = app({ livenessProbe: { httpGet: { port: "wbe" } } });
  expect(named(patched(of), "app")).toMatchObject(named(of, "app"));
  expect(injected(of)).toMatchObject({
    warnings: ['liveness of container app: its port is "wbe", which no port of the container is: it is left as it is.'],
  });
});

test("hooks that ask the application by http go the same way", () => {
  const done = patched(
    app({
      lifecycle: {
        postStart: { httpGet: { path: "/warm", port: "web" } },
        preStop: { httpGet: { path: "/quit", port: 9000, scheme: "HTTPS" } },
      },
    }),
  );
  expect(named(done, "app").lifecycle).toEqual({
    postStart: { httpGet: { path: "/osm-post-start-hook/app/unguessable", port: 15904, scheme: "HTTP" } },
    preStop: { httpGet: { path: "/osm-pre-stop-hook/app/unguessable", port: 15904, scheme: "HTTP" } },
  });
  expect(routesOf(done).find((one) => one.match.path === "/osm-pre-stop-hook/app/unguessable").route).toEqual({
    cluster: "app_pre_stop_cluster",
    timeout: "0s",
    prefix_rewrite: "/quit",
  });
});

test("probes of the application's own native sidecars are rewritten too", () => {
  const side = { name: "side", restartPolicy: "Always", startupProbe: { httpGet: { port: 7000 } } };
  const done = patched(pod({ initContainers: [side] }));
  expect(named(done, "side").startupProbe.httpGet.port).toBe(15903);
});

test("at both families where pods' first addresses are IPv6, of applications at either loopback", () => {
  const address = (ipv6: boolean) =>
    bootstrapOf(patched(pod(), { settings: { ipv6 } })).static_resources.listeners[0].address.socket_address;
  expect(address(false)).toEqual({ address: "0.0.0.0", port_value: 15904 });
  expect(address(true)).toEqual({ address: "::", port_value: 15904, ipv4_compat: true });
  const probed = (ipv6: boolean) => {
    const of = pod({ containers: [{ name: "a", livenessProbe: { httpGet: { port: 80 } } }] });
    const [cluster] = bootstrapOf(patched(of, { settings: { ipv6 } })).static_resources.clusters;
    return cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint;
  };
  const at = (host: string) => ({ address: { socket_address: { address: host, port_value: 80 } } });
  expect(probed(false)).toEqual(at("127.0.0.1"));
  expect(probed(true)).toEqual({ ...at("127.0.0.1"), additional_addresses: [at("::1")] });
});
