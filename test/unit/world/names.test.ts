import { describe, expect, test } from "vitest";
import { mustInject, parseToggle } from "../../../src/world/injection.ts";
import {
  identity,
  localName,
  namespaceOf,
  parseServiceHost,
  principalDnsName,
  serviceHosts,
  serviceName,
  spiffeId,
} from "../../../src/world/names.ts";

test("an account's names", () => {
  const id = identity("shop", "book.store");
  expect(namespaceOf(id)).toBe("shop");
  expect(localName(id)).toBe("book.store");
  expect(principalDnsName(id, "cluster.local")).toBe("book.store.shop.cluster.local");
  expect(spiffeId(id, "cluster.local")).toBe("spiffe://cluster.local/ns/shop/sa/book.store");
});

test("a Service's bare name is for its own namespace only", () => {
  const name = serviceName("shop", "cart");
  expect(serviceHosts(name, "shop")).toContain("cart");
  expect(serviceHosts(name, "other")).toEqual([
    "cart.shop",
    "cart.shop.svc",
    "cart.shop.svc.cluster",
    "cart.shop.svc.cluster.local",
  ]);
});

test.each([
  ["cart", "shop/cart"],
  ["cart.other", "other/cart"],
  ["cart.other.svc", "other/cart"],
  ["cart.other.svc.cluster", "other/cart"],
  ["cart.other.svc.cluster.local", "other/cart"],
  ["", undefined],
  [".shop", undefined],
  ["cart.", undefined],
  ["cart.other.svc.example.com", undefined],
  ["cart.other.pod", undefined],
])("row 25: a split's %j is Service %j", (host, service) => {
  expect(parseServiceHost(host, "shop")).toBe(service);
});

describe("injection", () => {
  const inMesh = { name: "a", monitored: true, inject: true, metrics: false };
  const pod = (value?: string, hostNetwork = false) => ({
    annotations: value === undefined ? {} : { "openservicemesh.io/sidecar-injection": value },
    hostNetwork,
  });

  test("a pod's word goes before its namespace's", () => {
    expect(mustInject(inMesh, pod())).toBe(true);
    expect(mustInject(inMesh, pod("disabled"))).toBe(false);
    expect(mustInject({ ...inMesh, inject: false }, pod("enabled"))).toBe(true);
    expect(mustInject({ ...inMesh, inject: false }, pod("nonsense"))).toBe(false);
  });

  test("never outside of the mesh, nor on the host's network", () => {
    expect(mustInject({ ...inMesh, monitored: false }, pod("enabled"))).toBe(false);
    expect(mustInject(inMesh, pod("enabled", true))).toBe(false);
  });

  test("toggles are read as OSM reads them", () => {
    expect(["enabled", "YES", " true "].map(parseToggle)).toEqual([true, true, true]);
    expect(["disabled", "No", "false"].map(parseToggle)).toEqual([false, false, false]);
    expect([undefined, "", "1"].map(parseToggle)).toEqual([undefined, undefined, undefined]);
  });
});
