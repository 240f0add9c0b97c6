import { describe, expect, test } from "vitest";
import { Store, type Reach } from "../../../src/world/store.ts";
import { DEFAULT_SETTINGS, type Change } from "../../../src/world/types.ts";
import { all, apply, EMPTY_WORLD, KINDS, settingsOf } from "../../../src/world/world.ts";
import {
  app,
  flat,
  gone,
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
  world,
} from "../../support/build.ts";

const shop = [namespace("shop"), namespace("other"), ...app("shop/cart", { pods: 2 }), ...app("other/cart")];

/** What followers are told of one change after others. */
function reachOf(before: readonly Change[], ...changes: readonly Change[]): Reach[] {
  const store = new Store();
  store.apply(before);
  const told: Reach[] = [];
  store.follow((reach) => told.push(reach));
  store.apply(changes);
  return told;
}

describe("world", () => {
  test("a change shares all that it does not touch", () => {
    const before = world(...shop);
    const after = apply(before, [service("shop/cart", { ports: [81] })]);
    for (const kind of KINDS) if (kind !== "Service") expect(after.tables[kind]).toBe(before.tables[kind]);
    expect(after.tables.Service.get("other")).toBe(before.tables.Service.get("other"));
    expect(after.tables.Service.get("shop")).not.toBe(before.tables.Service.get("shop"));
    expect(before.tables.Service.get("shop")?.get("cart")?.ports[0]?.port).toBe(80);
    expect(after.tables.Service.get("shop")?.get("cart")?.ports[0]?.port).toBe(81);
  });

  test("what changes nothing gives the same world", () => {
    const before = world(...shop);
    expect(apply(before, [])).toBe(before);
    const [first] = shop;
    expect(apply(before, [first as Change])).toBe(before);
    expect(apply(before, [gone(service("shop/nothing"))])).toBe(before);
  });

  test("an object that is gone leaves nothing behind", () => {
    const empty = apply(world(...shop), shop.map(gone));
    expect(empty).toEqual(EMPTY_WORLD);
  });

  test("the last of several changes of one object holds", () => {
    const first = service("shop/a", { ports: [1] });
    const second = service("shop/a", { ports: [2] });
    expect([...all(world(first, second).tables.Service)]).toEqual([second.value]);
    expect([...all(world(first, gone(first)).tables.Service)]).toEqual([]);
  });

  test("objects come in order of namespace and name", () => {
    const names = [...all(world(service("b/z"), service("a/z"), service("b/a")).tables.Service)].map((s) => s.name);
    expect(names).toEqual(["a/z", "b/a", "b/z"]);
  });

  test("no MeshConfig opens nothing; of several the first counts", () => {
    expect(settingsOf(EMPTY_WORLD)).toBe(DEFAULT_SETTINGS);
    const one = meshConfig({ permissive: true });
    const later = { ...meshConfig({}), namespace: "zzz" } as Change;
    expect(settingsOf(world(later, one)).permissive).toBe(true);
  });
});

describe("workloads", () => {
  const cart = workload("shop/cart");

  test("stay the same while pods come, go and change their readiness", () => {
    const one = world(...shop);
    const more = apply(one, [pod("shop/another", cart)]);
    expect(more.workloads).toBe(one.workloads);
    expect(apply(more, [pod("shop/another", cart, { ready: false })]).workloads).toBe(one.workloads);
    expect(apply(more, [gone(pod("shop/another", cart))]).workloads).toBe(one.workloads);
  });

  test("keep their object when an equal one comes", () => {
    const one = world(...shop);
    const equal = { ...cart };
    const after = apply(one, [pod("shop/another", equal), pod("shop/third", workload("shop/other"))]);
    expect(after.workloads.get("shop")?.get(cart.key)).toBe(cart);
    expect(after.workloads.get("other")).toBe(one.workloads.get("other"));
  });

  test("go with their last pod", () => {
    const two = pods(cart, 2);
    const one = world(...two);
    expect(apply(one, two.slice(1).map(gone)).workloads).toBe(one.workloads);
    expect(apply(one, two.map(gone)).workloads.size).toBe(0);
  });
});

describe("reach of a change", () => {
  const cart = workload("shop/cart");

  test.each<[string, Change[]]>([
    ["a pod of a known workload", [pod("shop/another", cart)]],
    ["a pod's readiness", pods(cart, 1).map((c) => pod(`shop/${c.name}`, cart, { ready: false }))],
    ["one of several pods gone", pods(cart, 1).map(gone)],
    ["endpoints", [slice("shop/cart", { "": 80 }, ["10.2.0.1"])]],
  ])("endpoints: %s", (_what, changes) => {
    expect(reachOf(shop, ...changes)).toEqual(["endpoints"]);
  });

  test.each<[string, Change[]]>([
    ["a new workload", [pod("shop/new", workload("shop/new"))]],
    ["the last pod of a workload gone", pods(workload("other/cart")).map(gone)],
    ["a Service", [service("shop/cart", { ports: [81] })]],
    ["a TrafficTarget", [target("shop/t", { to: "shop/cart", from: ["other/cart"], rules: [] })]],
    ["a route group", [routeGroup("shop/g", [])]],
    ["a TCPRoute", [tcpRoute("shop/r")]],
    ["a split", [split("shop/s", { service: "cart", backends: {} })]],
    ["a namespace", [namespace("third")]],
    ["MeshConfig", [meshConfig({ egress: true })]],
    ["endpoints and a Service at once", [slice("shop/cart", { "": 80 }, []), service("shop/new")]],
  ])("policy: %s", (_what, changes) => {
    expect(reachOf(shop, ...changes)).toEqual(["policy"]);
  });

  test("nothing: what is there already", () => {
    expect(reachOf(shop, ...flat(shop))).toEqual([]);
  });

  test("the revision grows with each world, and who unfollows hears no more", () => {
    const store = new Store();
    let told = 0;
    const unfollow = store.follow(() => told++);
    store.apply(shop);
    store.apply(shop);
    expect([store.revision, told]).toEqual([1, 1]);
    unfollow();
    store.apply([service("shop/new")]);
    expect([store.revision, told]).toEqual([2, 1]);
  });
});
