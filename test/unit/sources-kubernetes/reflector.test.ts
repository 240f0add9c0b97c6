/** One collection, followed through every kind of end. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { KubernetesClient } from "../../../src/sources/kubernetes/client.ts";
import { Reflector, type End, type ReflectorOptions } from "../../../src/sources/kubernetes/reflector.ts";
import { metadataOf, type Raw } from "../../../src/sources/kubernetes/resource.ts";
import { createLog, silent } from "../../../src/telemetry/log.ts";
import { FakeApiServer, WATCH_FAULTS, type Fault, type FakeOptions } from "../../support/fake-api-server.ts";
import { FakeClock } from "../../support/clock.ts";
import { NEVER, pod } from "./support.ts";

const PODS = { group: "", version: "v1", plural: "pods" };
const PATH = "/api/v1/pods";

let server: FakeApiServer;
let clock: FakeClock;
let stop: AbortController;
let client: KubernetesClient;
/** Name → resourceVersion, as told. */
let told: Map<string, string>;
let commits: number;
let ends: End[];
let running: Promise<"absent" | "stopped"> | undefined;

const target = {
  put: (object: Raw) => void told.set(metadataOf(object, "name"), metadataOf(object, "resourceVersion")),
  remove: (object: Raw) => void told.delete(metadataOf(object, "name")),
  replacement() {
    const next = new Map<string, string>();
    return {
      put: (object: Raw) => void next.set(metadataOf(object, "name"), metadataOf(object, "resourceVersion")),
      remove: (object: Raw) => void next.delete(metadataOf(object, "name")),
      commit: () => {
        told = next;
        commits++;
      },
    };
  },
};

async function begin(options: FakeOptions = {}, more: Partial<ReflectorOptions> = {}): Promise<Reflector> {
  server = await FakeApiServer.start(options);
  client = new KubernetesClient({ config: { server: server.url, namespace: "d" }, clock });
  const limits = { silence: 75_000, event: 100_000 };
  const parts = {
    client,
    resource: PODS,
    target,
    log: silent,
    clock,
    limits,
    ended: (end: End) => void ends.push(end),
  };
  return new Reflector({ ...parts, random: () => 0.5, relist: NEVER, ...more });
}

const names = (): string[] => [...told.keys()].sort();
const add = (name: string) => server.of("pods").create(pod("ns", name));
const follows = () => {
  const all = () =>
    [...server.of("pods").objects.values()].map((o) => `${metadataOf(o, "name")} ${metadataOf(o, "resourceVersion")}`);
  return clock.until(
    () =>
      all().sort().join() ===
      [...told]
        .map(([n, v]) => `${n} ${v}`)
        .sort()
        .join(),
  );
};
const lists = () =>
  server.requests.filter((r) => r.path === PATH && (!r.watch || r.query.get("sendInitialEvents") === "true")).length;

async function running_(options: FakeOptions = {}, more: Partial<ReflectorOptions> = {}): Promise<Reflector> {
  const reflector = await begin(options, more);
  add("first");
  running = reflector.run(stop.signal);
  await clock.until(() => commits === 1 && server.watching("pods") === 1);
  return reflector;
}

beforeEach(() => {
  clock = new FakeClock();
  stop = new AbortController();
  told = new Map();
  commits = 0;
  ends = [];
  running = undefined;
});
afterEach(async () => {
  stop.abort();
  await running;
  client.close();
  await server.stop();
});

test.each(WATCH_FAULTS)("a watch that meets %s is followed by another one, and nothing is lost", async (fault) => {
  await running_();
  server.disturb(fault);
  if (fault !== "close") server.of("pods").delete("ns/first");
  add("second");
  const gap = await follows();
  expect(names()).toContain("second");
  // Silence is noticed by its own timer; everything else at once.
  expect(gap).toBeLessThan(fault === "stall" ? 76_000 : 1_000);
  const byFault: Record<string, End> = {
    close: "closed",
    stall: "silence",
    garbage: "bad-answer",
    nameless: "bad-answer",
    gone: "gone",
    error: "refused",
    huge: "bad-answer",
  };
  expect(ends).toEqual([byFault[fault] ?? "broken"]);
  // Only a version that is too old costs a new list.
  expect(lists()).toBe(fault === "gone" ? 2 : 1);
});

test("a server that closes again and again without a word is asked again, ever more slowly, and never listed anew", async () => {
  await running_();
  const gaps: number[] = [];
  for (let i = 0; i < 12; i++) {
    server.disturb("close");
    const before = clock.now();
    await clock.until(() => server.watching("pods") === 1 && ends.length === i + 1);
    gaps.push(clock.now() - before);
  }
  expect(gaps[0]).toBeLessThan(100);
  expect(Math.max(...gaps)).toBeLessThanOrEqual(3_000);
  expect(gaps.at(-1)).toBeGreaterThan(1_000);
  expect(lists()).toBe(1);
  // One word, and it is quick again.
  add("second");
  await follows();
  server.disturb("close");
  const before = clock.now();
  await clock.until(() => server.watching("pods") === 1 && ends.length === 13);
  expect(clock.now() - before).toBeLessThan(100);
});

const FAULTS: readonly Fault[] = [
  { status: 500 },
  { status: 503 },
  { status: 403 },
  { status: 401 },
  "reset",
  "hang",
  "html",
  "cut",
  "early",
];

test.each(FAULTS.flatMap((fault) => [true, false].map((watchList) => ({ fault, watchList }))))(
  "begins, and goes on, in spite of $fault (WatchList: $watchList)",
  async ({ fault, watchList }) => {
    const reflector = await begin({ watchList });
    let times = 5;
    server.fault = () => (times-- > 0 ? fault : undefined);
    add("first");
    running = reflector.run(stop.signal);
    await clock.until(() => server.watching("pods") === 1);
    expect(names()).toEqual(["first"]);
    times = 5;
    server.disturb("close");
    add("second");
    server.of("pods").delete("ns/first");
    await follows();
    expect(names()).toEqual(["second"]);
  },
);

test("waits as long as the server asks for, but never for ever", async () => {
  const reflector = await begin();
  add("first");
  const asked = [7, 1_000_000];
  server.fault = () => {
    const retryAfter = asked.shift();
    return retryAfter === undefined ? undefined : { status: 429, retryAfter };
  };
  running = reflector.run(stop.signal);
  const waited = await follows();
  expect(waited).toBeGreaterThanOrEqual(67_000);
  expect(waited).toBeLessThan(90_000);
});

test.each([true, false])(
  "after 410 everything is replaced at once: what is gone is gone, what is new is there (WatchList: %s)",
  async (watchList) => {
    await running_({ watchList }, { page: 2 });
    for (const name of ["a", "b", "c", "d", "e"]) add(name);
    await follows();
    server.fault = () => ({ status: 503 });
    server.cutAll();
    server.of("pods").delete("ns/a");
    server.of("pods").delete("ns/first");
    add("z");
    server.compact();
    server.fault = () => undefined;
    const before = commits;
    await follows();
    expect(names()).toEqual(["b", "c", "d", "e", "z"]);
    expect(commits).toBe(before + 1);
  },
);

test("410 as an HTTP status means the same as an ERROR event", async () => {
  await running_();
  let times = 1;
  server.fault = (seen) => (seen.watch && times-- > 0 ? { status: 410 } : undefined);
  server.disturb("close");
  server.of("pods").delete("ns/first");
  await follows();
  expect(lists()).toBe(2);
});

test("a server that says 410 to each watch is not listed in a hot loop", async () => {
  const reflector = await begin();
  add("first");
  server.fault = (seen) => (seen.query.get("resourceVersion") !== null ? { status: 410 } : undefined);
  running = reflector.run(stop.signal);
  const end = clock.now() + 60_000;
  await clock.until(() => {
    server.disturb("close");
    return clock.now() >= end;
  });
  expect(lists()).toBeLessThan(30);
});

test("pages that expire in between are read again, larger", async () => {
  const reflector = await begin({ watchList: false }, { page: 2 });
  for (let i = 0; i < 9; i++) add(`p${i}`);
  let expiries = 2;
  server.fault = (seen) => {
    if (seen.query.get("continue") === null || expiries === 0) return undefined;
    expiries--;
    return { status: 410 };
  };
  running = reflector.run(stop.signal);
  await follows();
  expect(names()).toHaveLength(9);
  expect(commits).toBe(1);
  const limits = server.requests.filter((r) => r.path === PATH && !r.watch).map((r) => Number(r.query.get("limit")));
  expect(new Set(limits)).toEqual(new Set([2, 8, 32]));
});

test("a watch that ends before it has sent all that is there tells nothing", async () => {
  const reflector = await begin();
  for (let i = 0; i < 4; i++) add(`p${i}`);
  server.fault = (seen) => (seen.watch ? "early" : { status: 500 });
  running = reflector.run(stop.signal);
  await clock.until(() => ends.length === 3);
  expect([told.size, commits]).toEqual([0, 0]);
});

test("a list half read tells nothing", async () => {
  const reflector = await begin({ watchList: false }, { page: 2 });
  for (let i = 0; i < 5; i++) add(`p${i}`);
  server.fault = (seen) => (seen.query.get("continue") !== null ? { status: 500 } : undefined);
  running = reflector.run(stop.signal);
  await clock.until(() => ends.length === 3);
  expect(told.size).toBe(0);
  expect(reflector.status()).toMatchObject({ lists: 0 });
});

test("an event that is too large for a watch comes with a list", async () => {
  await running_({ watchList: false });
  server.of("pods").create({ ...pod("ns", "huge"), padding: "x".repeat(200_000) });
  await follows();
  expect(names()).toEqual(["first", "huge"]);
});

test("a version that the server does not know, as after a restore, is given up", async () => {
  await running_();
  server.of("pods").delete("ns/first");
  add("second");
  server.fault = (seen) => (Number(seen.query.get("resourceVersion") ?? 0) > 0 ? { status: 504 } : undefined);
  server.cutAll();
  add("third");
  await follows();
  expect(lists()).toBe(2);
});

test("a server that swallows an event is found out when its watch is old", async () => {
  await running_({}, { relist: 3_600_000 });
  server.of("pods").objects.delete("ns/first");
  // The server ends watches after five to ten minutes.
  const end = clock.now() + 2 * 3_600_000;
  await clock.until(() => {
    if (server.watching("pods") === 1 && clock.now() % 5 === 0) server.bookmark();
    if (clock.now() > 3_500_000) server.disturb("close");
    return told.size === 0 || clock.now() > end;
  });
  expect(names()).toEqual([]);
});

test("bookmarks move on the version from which a watch is resumed", async () => {
  await running_();
  server.of("services").create(pod("ns", "elsewhere"));
  const version = String(server.revision.now);
  server.bookmark();
  await clock.pass(10);
  server.disturb("close");
  await clock.until(() => server.requests.some((r) => r.query.get("resourceVersion") === version));
  expect(lists()).toBe(1);
});

test("bookmarks keep a quiet watch from counting as dead", async () => {
  const reflector = await running_();
  for (let minute = 0; minute < 10; minute++) {
    await clock.pass(60_000);
    expect(reflector.status().silent).toBeGreaterThanOrEqual(60_000);
    server.bookmark();
    await clock.pass(1);
    expect(reflector.status().silent).toBeLessThan(10);
  }
  expect(ends).toEqual([]);
});

test("says that the collection is not there", async () => {
  const reflector = await begin();
  server.uninstall("pods");
  await expect(reflector.run(stop.signal)).resolves.toBe("absent");
  server.fault = () => "text404";
  await expect(reflector.run(stop.signal)).resolves.toBe("absent");
});

test("ends at once when it is told to, whatever it is at", async () => {
  const reflector = await begin();
  server.fault = () => "hang";
  running = reflector.run(stop.signal);
  await clock.until(() => server.requests.length === 1);
  stop.abort();
  await expect(running).resolves.toBe("stopped");
  expect(clock.waiting).toEqual([]);
});

test("a server that takes requests and never answers is said to be away, once, and said to be back", async () => {
  const lines: string[] = [];
  const reflector = await running_({}, { log: createLog("info", (line) => lines.push(line)) });
  server.fault = () => "hang";
  server.disturb("stall");
  await clock.until(() => reflector.status().ends >= 5);
  expect(lines.filter((line) => line.includes("cannot be followed now")).length).toBe(1);
  server.fault = () => undefined;
  add("later");
  await follows();
  expect(lines.filter((line) => line.includes("followed again")).length).toBe(1);
});
