/** Who leads: one at most, and somebody soon, whatever clocks, servers and replicas do. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { KubernetesClient } from "../../../src/sources/kubernetes/client.ts";
import { Leadership } from "../../../src/sources/kubernetes/lease.ts";
import { silent } from "../../../src/telemetry/log.ts";
import { FakeApiServer, type Json } from "../../support/fake-api-server.ts";
import { FakeClock } from "../../support/clock.ts";

let server: FakeApiServer;
let clock: FakeClock;
/** Everything that happened, as `a leads`. */
let events: string[];
const endings: (() => unknown)[] = [];

beforeEach(async () => {
  server = await FakeApiServer.start();
  clock = new FakeClock();
  events = [];
});
afterEach(async () => {
  for (const end of endings.splice(0)) await end();
  await server.stop();
});

interface Replica {
  readonly leadership: Leadership;
  readonly running: Promise<void>;
  /** The server no longer hears it. */
  cut: boolean;
  term: AbortSignal | undefined;
  stop(): Promise<void>;
}

function replica(identity: string, skew = 0): Replica {
  const client = new KubernetesClient({ config: { server: server.url, namespace: "ns" }, clock, userAgent: identity });
  const leadership = new Leadership({
    client,
    namespace: "ns",
    name: "heddle",
    identity,
    log: silent,
    // A monotonic clock that began at another time, and a time of day that is wrong.
    clock: { now: () => clock.now() + skew, after: (ms, run) => clock.after(ms, run) },
    wall: () => Date.UTC(2026, 0, 1) + clock.now() + skew,
    random: () => 0.5,
  });
  const stop = new AbortController();
  const one: Replica = {
    leadership,
    cut: false,
    term: undefined,
    running: leadership.start(stop.signal),
    async stop() {
      stop.abort();
      await clock.until(() => done);
    },
  };
  let done = false;
  void one.running.then(() => (done = true));
  leadership.onLeading((term) => {
    events.push(`${identity} leads`);
    one.term = term;
  });
  leadership.onLost(() => events.push(`${identity} lost`));
  replicas.set(identity, one);
  server.fault = (seen) => (replicas.get(String(seen.headers["user-agent"]))?.cut ? "hang" : undefined);
  endings.push(
    () => one.stop(),
    () => client.close(),
  );
  return one;
}
const replicas = new Map<string, Replica>();

const leaders = () => [...replicas.values()].filter((one) => one.leadership.leading).length;
const lease = (): Json => (server.of("leases").objects.get("ns/heddle")?.["spec"] ?? {}) as Json;

beforeEach(() => replicas.clear());

test("one of several leads, renews, and gives the Lease back when it stops", async () => {
  const [a, b] = [replica("a"), replica("b")];
  await clock.until(() => leaders() === 1);
  await clock.pass(120_000);
  expect(events).toHaveLength(1);
  const [first, second] = a.leadership.leading ? [a, b] : [b, a];
  expect(second.leadership.holder).toBe(lease()["holderIdentity"]);
  expect(lease()).toMatchObject({ leaseDurationSeconds: 15, leaseTransitions: 0 });
  expect(lease()["renewTime"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  const { term } = first;
  expect(term?.aborted).toBe(false);
  const since = clock.now();
  await first.stop();
  expect(term?.aborted).toBe(true);
  expect(first.leadership.leading).toBe(false);
  await clock.until(() => second.leadership.leading);
  // At the next attempt, not when the Lease runs out.
  expect(clock.now() - since).toBeLessThan(3_000);
  expect(lease()["leaseTransitions"]).toBe(1);
});

test.each([0, 3_600_000, -3_600_000])(
  "a leader that is cut off gives up before another takes over (clocks differ by %s ms)",
  async (skew) => {
    const a = replica("a");
    await clock.until(() => a.leadership.leading);
    const b = replica("b", skew);
    await clock.pass(10_000);
    expect(b.leadership.leading).toBe(false);
    a.cut = true;
    const since = clock.now();
    let both = false;
    await clock.until(() => {
      both ||= leaders() > 1;
      return b.leadership.leading;
    });
    expect(both).toBe(false);
    expect(events).toEqual(["a leads", "a lost", "b leads"]);
    expect(clock.now() - since).toBeLessThan(20_000);
    a.cut = false;
    await clock.pass(60_000);
    expect(a.leadership.leading).toBe(false);
  },
);

test("a short outage of the server changes nothing", async () => {
  const a = replica("a");
  await clock.until(() => a.leadership.leading);
  a.cut = true;
  await clock.pass(6_000);
  a.cut = false;
  await clock.pass(60_000);
  expect(events).toEqual(["a leads"]);
});

test("a renewal whose answer was lost is still a renewal", async () => {
  const a = replica("a");
  await clock.until(() => a.leadership.leading);
  let lost = 1;
  server.fault = (seen) => (seen.method === "PUT" && lost-- > 0 ? "cut" : undefined);
  await clock.pass(60_000);
  expect(events).toEqual(["a leads"]);
  expect(a.leadership.leading).toBe(true);
});

test("whoever finds the Lease in other hands leads no more at once", async () => {
  const a = replica("a");
  await clock.until(() => a.leadership.leading);
  const leases = server.of("leases");
  const object = leases.objects.get("ns/heddle") as Json;
  leases.put({ ...object, spec: { ...lease(), holderIdentity: "somebody", leaseDurationSeconds: 15 } });
  await clock.until(() => !a.leadership.leading);
  expect(a.leadership.holder).toBe("somebody");
  await clock.until(() => a.leadership.leading);
  expect(lease()["leaseTransitions"]).toBe(1);
});

test("a Lease that is deleted is made anew", async () => {
  const a = replica("a");
  await clock.until(() => a.leadership.leading);
  server.of("leases").delete("ns/heddle");
  await clock.until(() => !a.leadership.leading);
  await clock.until(() => a.leadership.leading);
});

test("a Lease with an absurd duration keeps nobody out for good", async () => {
  server.of("leases").create({
    metadata: { namespace: "ns", name: "heddle" },
    spec: { holderIdentity: "ghost", leaseDurationSeconds: 1e9 },
  });
  const a = replica("a");
  expect(await clock.until(() => a.leadership.leading)).toBeLessThan(65_000);
});

test("whatever fails, there are never two, and in the end there is one", async () => {
  const all = ["a", "b", "c"].map((name, i) => replica(name, i * 7_777));
  let most = 0;
  let random = 42;
  for (let i = 0; i < 200; i++) {
    random = (random * 1_103_515_245 + 12_345) % 2_147_483_648;
    const one = all[random % 3] as Replica;
    one.cut = (random >> 8) % 3 !== 0;
    const end = clock.now() + ((random >> 4) % 9_000);
    await clock.until(() => {
      most = Math.max(most, leaders());
      return clock.now() >= end;
    });
  }
  expect(most).toBe(1);
  expect(events.length).toBeGreaterThan(10);
  for (const one of all) one.cut = false;
  await clock.until(() => leaders() === 1);
});
