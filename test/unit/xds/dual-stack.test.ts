/** What pods with and without an IPv6 address get of one mesh: no pod an address of a family that its kernel may not have. */
import { expect, test } from "vitest";
import { podName } from "../../../src/world/names.ts";
import { dualStack, singleStack } from "../../../src/xds/dual-stack.ts";
import { TYPES } from "../../../src/xds/resource.ts";
import { app, namespace, pods, service, slice, target, tcpRoute, workload } from "../../support/build.ts";
import { jsonOf, type Json } from "../../support/envoy-json.ts";
import { Steps } from "./support.ts";

const pod = (name: string, ip: string) => ({ ip, ready: true, pod: podName("a", name) });

/** A Service of both families and a headless one; `api-0` has both addresses, `api-1` IPv4, `api-2` IPv6. */
function mesh(): Steps {
  const steps = new Steps();
  const ports = { "tcp-db": 5432, http: 8080 };
  const of = ["a/api", "a/pods"];
  steps.step(
    namespace("a"),
    ...pods(workload("a/web", { metrics: true })),
    ...app("a/own"),
    ...pods(workload("a/api")),
    service("a/api", {
      ports: [
        { port: 5432, name: "tcp-db" },
        { port: 80, targetPort: 8080, name: "http" },
      ],
      clusterIPs: ["10.1.0.9", "fd00::9"],
    }),
    service("a/pods", { ports: [{ port: 5432, name: "tcp-db" }], selector: { app: "api" }, headless: true }),
    service("a/six", { ports: [{ port: 5432, name: "tcp-db" }], selector: { app: "api" }, clusterIPs: ["fd00::6"] }),
    of.map((name) => slice(name, ports, [pod("api-0", "10.2.0.1"), pod("api-1", "10.2.0.2")], `${name}-4`)),
    of.map((name) => slice(name, ports, [pod("api-0", "fd00:2::1"), pod("api-2", "fd00:2::3")], `${name}-6`)),
    tcpRoute("a/tcp"),
    target("a/t", { to: "a/api", from: ["a/web"], rules: ["TCPRoute tcp"] }),
  );
  return steps;
}

const addresses = (assignment: Json): string[][] =>
  assignment.endpoints[0].lbEndpoints.map(({ endpoint }: Json) =>
    [endpoint.address, ...(endpoint.additionalAddresses ?? []).map((a: Json) => a.address)].map(
      (a: Json) => a.socketAddress.address,
    ),
  );
const prefixes = (listener: Json): Record<string, string[]> =>
  Object.fromEntries(
    listener.filterChains
      .filter((c: Json) => c.filterChainMatch.prefixRanges)
      .map((c: Json) => [
        c.name,
        c.filterChainMatch.prefixRanges.map((r: Json) => `${r.addressPrefix}/${r.prefixLen}`),
      ]),
  );

test("a pod with addresses of both families is one endpoint, called at IPv4 first", () => {
  const made = mesh().json("a/web", "EDS", "a/api|5432");
  expect(addresses(made)).toEqual([["10.2.0.1", "fd00:2::1"], ["10.2.0.2"], ["fd00:2::3"]]);
});

test("TCP Services are told apart by their addresses of both families", () => {
  expect(prefixes(mesh().json("a/web", "LDS", "outbound-listener"))).toEqual({
    "outbound_a/api_5432_tcp": ["10.1.0.9/32", "fd00::9/128"],
    "outbound_a/pods_5432_tcp": ["10.2.0.1/32", "10.2.0.2/32", "fd00:2::1/128", "fd00:2::3/128"],
    "outbound_a/six_5432_tcp": ["fd00::6/128"],
  });
});

test("a pod without an IPv6 address gets none in any resource", () => {
  const resources = singleStack(mesh().of("a/web"));
  expect(addresses(jsonOf(resources.EDS.get("a/api|5432")!))).toEqual([["10.2.0.1"], ["10.2.0.2"]]);
  expect(prefixes(jsonOf(resources.LDS.get("outbound-listener")!))).toEqual({
    "outbound_a/api_5432_tcp": ["10.1.0.9/32"],
    "outbound_a/pods_5432_tcp": ["10.2.0.1/32", "10.2.0.2/32"],
  });
  const all = TYPES.flatMap((type) => [...resources[type].values()].map(jsonOf));
  const found = JSON.stringify(all).match(/"(address|addressPrefix)":"[^"]*:[^"]*"/g);
  expect(found).toBeNull();
});

test("a pod with an IPv6 address listens at both families, and finds its application at either loopback", () => {
  const steps = mesh();
  const [before, after] = [steps.of("a/web"), dualStack(steps.of("a/web"))];
  const bound = [...after.LDS.values()]
    .map(jsonOf)
    .map((l: Json) => [l.address.socketAddress, ...l.additionalAddresses.map((a: Json) => a.address.socketAddress)]);
  expect(bound).toEqual(
    [
      [15010, "0.0.0.0", "::"],
      [15001, "0.0.0.0", "::"],
    ].map(([portValue, ...ips]) => ips.map((address) => ({ address, portValue }))),
  );
  for (const type of ["CDS", "EDS", "RDS", "SDS"] as const) expect(after[type], type).toBe(before[type]);

  const own = jsonOf(dualStack(steps.of("a/own")).CDS.get("a/own|80|local")!);
  expect(addresses(own.loadAssignment)).toEqual([["127.0.0.1", "::1"]]);
  expect(jsonOf(dualStack(steps.of("a/own")).LDS.get("inbound-listener")!).additionalAddresses).toHaveLength(1);
});

test("what does not change keeps its object", () => {
  const steps = mesh();
  const before = { single: singleStack(steps.of("a/web")), dual: dualStack(steps.of("a/web")) };
  steps.step(slice("a/api", { "tcp-db": 5432, http: 8080 }, [pod("api-1", "10.2.0.7")], "a/api-4"));
  const after = { single: singleStack(steps.of("a/web")), dual: dualStack(steps.of("a/web")) };
  for (const which of ["single", "dual"] as const) {
    for (const type of ["CDS", "LDS", "RDS", "SDS"] as const) expect(after[which][type]).toBe(before[which][type]);
    expect(after[which].EDS.get("a/api|5432")).not.toBe(before[which].EDS.get("a/api|5432"));
    expect(after[which].EDS.get("a/six|5432")).toBe(before[which].EDS.get("a/six|5432"));
  }
  expect(singleStack(steps.of("a/own"))).toEqual(steps.of("a/own"));
});
