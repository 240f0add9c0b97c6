/** From the store to what is published: two speeds, last known good, and who is told. */
import { describe, expect, onTestFinished, test } from "vitest";
import { Pipeline, type PipelineOptions } from "../../../src/pipeline.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { createMetrics } from "../../../src/telemetry/metrics.ts";
import { Store } from "../../../src/world/store.ts";
import type { Change } from "../../../src/world/types.ts";
import type { GroupName } from "../../../src/world/names.ts";
import type { Resources } from "../../../src/xds/resource.ts";
import { jsonOf } from "../../support/envoy-json.ts";
import {
  account,
  app,
  flat,
  gone,
  namespace,
  pod,
  pods,
  routeGroup,
  service,
  slice,
  target,
  workload,
} from "../../support/build.ts";
import { FakeClock } from "../../support/clock.ts";

const base = [
  namespace("a"),
  ...app("a/api"),
  ...pods(workload("a/web")),
  routeGroup("a/all", [{ name: "all" }]),
  target("a/api", { to: "a/api", from: ["a/web"], rules: ["HTTPRouteGroup all"] }),
];

/** A pipeline with a clock that is moved by hand. */
function setUp(options: Partial<PipelineOptions> = {}) {
  const clock = new FakeClock();
  const advance = (ms: number) => clock.advance(ms);
  const store = new Store();
  const published = new Map<string, Resources>();
  const sets: string[] = [];
  const lines: string[] = [];
  const metrics = createMetrics();
  const publication = {
    set(group: string, resources: Resources) {
      sets.push(group);
      published.set(group, resources);
    },
    delete: (group: string) => void published.delete(group),
  };
  const pipeline = new Pipeline({
    store,
    publication,
    trust: { bundle: "PEM\n", trustDomain: "cluster.local" },
    log: createLog("info", (line) => lines.push(line)),
    metrics,
    clock,
    ...options,
  });
  const end = new AbortController();
  onTestFinished(() => end.abort());
  const of = (name: string) => [...published].find(([group]) => group.startsWith(`${name}/`))?.[1];
  return {
    store,
    pipeline,
    published,
    sets,
    lines,
    metrics,
    advance,
    start: () => pipeline.start(end.signal),
    end,
    of,
  };
}

const apply = (store: Store, ...changes: readonly (Change | readonly Change[])[]) => store.apply(flat(...changes));
/** What was put off with setImmediate has run. */
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe("two speeds", () => {
  test("nothing is published before the start, everything at once then", async () => {
    const { store, pipeline, published, start } = setUp();
    apply(store, base);
    expect([pipeline.mesh, published.size, pipeline.published]).toEqual([undefined, 0, -1]);
    start();
    expect(published.size).toBe(2);
    await pipeline.settled();
    expect(pipeline.published).toBe(store.revision);
  });

  test("policies settle: quiet for 20 ms, at the latest after 200", async () => {
    const { store, pipeline, sets, start, advance } = setUp();
    apply(store, base);
    start();
    sets.length = 0;
    for (let i = 0; i < 25; i++) {
      apply(store, service(`a/s${i}`, { selector: { app: "api" } }));
      advance(10);
    }
    const first = pipeline.work.compiled["services"];
    expect(sets.length).toBeGreaterThan(0);
    expect(pipeline.published).toBeLessThan(store.revision);
    advance(20);
    await pipeline.settled();
    expect(pipeline.work.compiled["services"]).toBeGreaterThan(first ?? 0);
  });

  test("endpoints do not wait, and do not compile", async () => {
    const { store, pipeline, sets, start } = setUp();
    apply(store, base);
    start();
    sets.length = 0;
    const { compiled } = pipeline.work;
    apply(store, slice("a/api", { "": 80 }, ["10.9.9.9"]));
    apply(store, slice("a/api", { "": 80 }, ["10.9.9.8"]));
    expect(sets).toEqual([]);
    await pipeline.settled();
    expect(sets.map((g) => g.split("/")[1])).toEqual(["web"]);
    expect(pipeline.work.compiled).toEqual(compiled);
  });

  test("endpoints overtake a policy that settles, without taking it along", async () => {
    const { store, pipeline, of, start, advance } = setUp();
    apply(store, base);
    start();
    const before = of("a/web");
    apply(store, service("a/new", { selector: { app: "api" } }));
    apply(store, slice("a/api", { "": 80 }, ["10.9.9.9"]));
    await turn();
    expect(of("a/web")?.EDS.get("a/api|80")?.version).not.toBe(before?.EDS.get("a/api|80")?.version);
    expect(of("a/web")?.RDS).toBe(before?.RDS);
    expect(pipeline.published).toBeLessThan(store.revision);
    expect(pipeline.world.tables.Service.get("a")?.has("new")).toBe(false);
    advance(20);
    await pipeline.settled();
    expect(pipeline.world).toBe(store.world);
  });

  test("what is over is over", async () => {
    const { store, sets, start, end, advance } = setUp();
    apply(store, base);
    start();
    sets.length = 0;
    apply(store, service("a/new", { selector: { app: "api" } }));
    end.abort();
    apply(store, slice("a/api", { "": 80 }, ["10.9.9.9"]));
    advance(1000);
    await turn();
    expect(sets).toEqual([]);
  });
});

describe("followers", () => {
  const api = pods(workload("a/api"))[0] as Change & { kind: "Pod" };
  const id = api.value?.proxyId ?? "";

  test("learn the group of their proxy, and when it is another one or none", async () => {
    const { store, pipeline, start, advance, published } = setUp();
    const told: (string | undefined)[] = [];
    const unfollow = pipeline.follow(id, account("a/api"), (group) => told.push(group));
    expect(told).toEqual([undefined]);
    apply(store, base);
    start();
    expect(told).toHaveLength(2);
    expect(published.has(told[1] ?? "")).toBe(true);
    apply(store, service("a/more", { selector: { app: "api" }, ports: [9090] }));
    advance(20);
    expect(told).toHaveLength(3);
    expect(published.has(told[2] ?? "")).toBe(true);
    expect(published.has(told[1] ?? "")).toBe(false);
    apply(store, pod("a/other-api", workload("a/api")), gone(api));
    await pipeline.settled();
    expect(told[3]).toBeUndefined();
    expect(told).toHaveLength(4);
    unfollow();
    apply(store, api);
    await pipeline.settled();
    expect(told).toHaveLength(4);
  });

  test("a proxy is found by its id, whatever its pod is called, and its pod's readiness changes nothing", async () => {
    const { store, pipeline, start } = setUp();
    // Another pod of its workload is there all the time, so that policy does not change.
    apply(store, base, api, pod("a/other-api", workload("a/api")));
    start();
    const told: (string | undefined)[] = [];
    pipeline.follow(id, account("a/api"), (group) => told.push(group));
    expect(told).toEqual([expect.stringMatching(/^a\/api\//)]);
    const [ready, renamed] = [
      { ...api.value!, ready: false },
      { ...api, name: "renamed" },
    ];
    apply(store, { ...api, value: ready });
    apply(store, gone(api), renamed);
    await pipeline.settled();
    expect(told).toHaveLength(1);
    apply(store, gone(renamed));
    await pipeline.settled();
    expect(told[1]).toBeUndefined();
  });

  test("a pod that comes after its stream is found on the fast path", async () => {
    const { store, pipeline, start } = setUp();
    apply(store, base);
    start();
    const told: (string | undefined)[] = [];
    pipeline.follow("proxy-a-late", account("a/api"), (group) => told.push(group));
    apply(store, pod("a/late", workload("a/api")));
    await pipeline.settled();
    expect(told).toEqual([undefined, expect.stringMatching(/^a\/api\//)]);
  });

  test.each(["a/0-before", "a/zz-behind"])(
    "a pod of another account that bears a proxy's id takes nothing from it: %s",
    async (name) => {
      const { store, pipeline, start } = setUp();
      const borrower = pod(name, workload("a/web")) as typeof api;
      const borrowed = { ...borrower, value: { ...borrower.value!, proxyId: id } };
      const others = [pod("a/other-api", workload("a/api")), pod("a/other-web", workload("a/web"))];
      apply(store, ...(name === "a/0-before" ? [borrowed] : []), base, ...others);
      apply(store, borrowed);
      start();
      const told: (string | undefined)[] = [];
      const theirs: (string | undefined)[] = [];
      pipeline.follow(id, account("a/api"), (group) => told.push(group));
      pipeline.follow(id, account("a/web"), (group) => theirs.push(group));
      expect(told).toEqual([expect.stringMatching(/^a\/api\//)]);
      expect(theirs).toEqual([expect.stringMatching(/^a\/web\//)]);
      // Its pod is another one, of the same id and account.
      apply(store, gone(api), { ...api, name: "renamed" });
      apply(store, gone(borrowed), borrowed);
      await pipeline.settled();
      expect(told).toHaveLength(1);
    },
  );

  test("nobody gets the group of a proxy by another account's certificate", () => {
    const { store, pipeline, start } = setUp();
    apply(store, base);
    start();
    const told: (string | undefined)[] = [];
    pipeline.follow(id, account("a/web"), (group) => told.push(group));
    pipeline.follow("no such proxy", account("a/api"), (group) => told.push(group));
    expect(told).toEqual([undefined, undefined]);
  });
});

describe("last known good", () => {
  test("a fault of our own keeps what is published, raises the alarm, and is over with the next good world", async () => {
    const { store, pipeline, of, lines, metrics, start, advance } = setUp();
    apply(store, base);
    start();
    const before = of("a/web");
    const broken = service("a/broken") as Change & { kind: "Service" };
    apply(store, { ...broken, value: { ...broken.value, ports: null } } as unknown as Change);
    advance(20);
    expect(of("a/web")).toBe(before);
    expect(pipeline.mesh?.services.size).toBe(1);
    expect(lines.filter((l) => l.includes("keep their last configuration"))).toHaveLength(1);
    expect((await metrics.publishFailures.get()).values[0]?.value).toBe(1);
    apply(store, slice("a/api", { "": 80 }, ["10.9.9.9"]));
    await turn();
    expect(of("a/web")?.EDS).not.toBe(before?.EDS);
    expect(pipeline.published, "endpoints pass for a world that could not be compiled").toBeLessThan(store.revision);
    apply(store, gone(broken));
    advance(20);
    await pipeline.settled();
    expect(pipeline.published).toBe(store.revision);
  });

  test("a fault on the fast path neither: what is published stays, and the process lives", async () => {
    const { store, of, lines, start, advance } = setUp();
    apply(store, base);
    start();
    const before = of("a/web");
    const broken = slice("a/api", {}, []) as Change & { kind: "EndpointSlice" };
    apply(store, { ...broken, value: { ...broken.value, ports: null } } as unknown as Change);
    await turn();
    expect(of("a/web")).toBe(before);
    expect(lines.filter((l) => l.includes("could not build the endpoints"))).toHaveLength(1);
    apply(store, slice("a/api", { "": 80 }, ["10.9.9.9"]));
    await turn();
    expect(of("a/web")?.EDS).not.toBe(before?.EDS);
    advance(0);
  });

  test("a test may change what goes out, and only that", () => {
    const { store, pipeline, of, start } = setUp({ tamper: (_group, resources) => ({ ...resources, RDS: new Map() }) });
    apply(store, base);
    start();
    expect(of("a/web")?.RDS.size).toBe(0);
    const [group] = [...(pipeline.mesh?.groups.keys() ?? [])];
    expect(pipeline.resources(group as never)?.RDS.size).toBeGreaterThan(0);
  });
});

test("watchers hear of each publication, and metrics count what was made", async () => {
  const { store, pipeline, metrics, start } = setUp();
  const heard: string[] = [];
  const unwatch = pipeline.onPublished((path) => heard.push(path));
  apply(store, base);
  start();
  apply(store, slice("a/api", { "": 80 }, ["10.9.9.9"]));
  await pipeline.settled();
  expect(heard).toEqual(["policy", "endpoints"]);
  const values = Object.fromEntries((await metrics.built.get()).values.map((v) => [v.labels.type, v.value]));
  expect(values).toEqual(pipeline.work.built);
  unwatch();
  apply(store, slice("a/api", { "": 80 }, ["10.9.9.8"]));
  await pipeline.settled();
  expect(heard).toHaveLength(2);
});

describe("dual-stack", () => {
  const followed = (pipeline: Pipeline, proxyId: string) => {
    const groups: (string | undefined)[] = [];
    pipeline.follow(proxyId, account("a/web"), (group) => groups.push(group));
    return groups;
  };
  const web = (ips: readonly string[]) => pod("a/web-x", workload("a/web"), { ips });
  const listener = (resources: Resources | undefined) => jsonOf(resources!.LDS.get("outbound-listener")!);

  test("a proxy is given nothing until its pod's addresses are known, and by them what fits", async () => {
    const { store, pipeline, published, start } = setUp();
    apply(store, base, web([]));
    start();
    const groups = followed(pipeline, "proxy-a-web-x");
    expect(groups).toEqual([undefined]);
    apply(store, web(["10.2.0.1", "fd00::1"]));
    await turn();
    const name = groups.at(-1) ?? "";
    expect(name).toMatch(/^a\/web\/.*\+ipv6$/);
    expect(listener(published.get(name)).additionalAddresses).toHaveLength(1);
    expect(pipeline.resources(name as GroupName)).toBe(published.get(name));
    const plain = name.replace("+ipv6", "");
    expect(listener(published.get(plain)).additionalAddresses ?? []).toEqual([]);
    // Of an ended pod no addresses are known any more.
    apply(store, web([]));
    await turn();
    expect(groups).toEqual([undefined, name]);
  });

  test("both are kept right, and go with their group", async () => {
    const { store, pipeline, published, start, advance } = setUp();
    apply(store, base, web(["fd00::1"]));
    start();
    const [name = ""] = followed(pipeline, "proxy-a-web-x");
    const plain = name?.replace("+ipv6", "") ?? "";
    const ips = (group: string) => JSON.stringify([...published.get(group)!.EDS.values()].map(jsonOf));
    apply(store, slice("a/api", { "": 80 }, ["10.9.9.9", "fd00::99"]));
    await turn();
    expect([ips(name).includes("fd00::99"), ips(plain).includes("fd00::99")]).toEqual([true, false]);
    expect([ips(name).includes("10.9.9.9"), ips(plain).includes("10.9.9.9")]).toEqual([true, true]);
    apply(store, gone(web([])), ...pods(workload("a/web")).map(gone));
    advance(20);
    await pipeline.settled();
    expect([...published.keys()].filter((group) => group.startsWith("a/web/"))).toEqual([]);
  });
});
