import { describe, expect, test, vi } from "vitest";
import { Lifetime, renewalTime, retryPause, type Issued } from "../../../src/ca/lifetime.ts";
import { PrivateKey } from "../../../src/ca/private-key.ts";
import { Schedule } from "../../../src/ca/schedule.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { identity } from "../../../src/world/names.ts";
import { DAY, HOUR, memoryStore, MINUTE, startAuthority, testSignal } from "./support.ts";
import { FakeClock } from "../../support/clock.ts";

const NOW = Date.UTC(2031, 0, 1);

function setup(options: { validity?: number; random?: number } = {}) {
  const { validity = DAY, random = 0 } = options;
  const clock = new FakeClock(NOW);
  const schedule = new Schedule(clock);
  const state = { issues: 0, broken: false };
  const failures: unknown[] = [];
  const issue = async (): Promise<Issued> => {
    state.issues++;
    if (state.broken) throw new Error("no");
    const issuedAt = clock.now();
    const key = new PrivateKey("");
    return {
      chainPem: "",
      privateKey: key,
      serial: String(state.issues),
      issuedAt,
      notBefore: issuedAt,
      notAfter: issuedAt + validity,
    };
  };
  const failed = (error: unknown) => void failures.push(error);
  return {
    clock,
    schedule,
    state,
    failures,
    parts: { issue, schedule, clock, random: () => random, failed },
  };
}

/** Lets promises that are settled run on; no time passes. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe("a lifetime", () => {
  test("renews a third of the validity before expiry, again and again", async () => {
    const { clock, state, parts } = setup();
    const lifetime = await Lifetime.start(parts, testSignal());
    const seen: string[] = [];
    lifetime.onNext((next) => seen.push(next.serial));
    expect(lifetime.current.serial).toBe("1");
    clock.advance(16 * HOUR - 1);
    await turn();
    expect(state.issues).toBe(1);
    clock.advance(1);
    await turn();
    expect(seen).toEqual(["2"]);
    expect(lifetime.current.serial).toBe("2");
    clock.advance(16 * HOUR);
    await turn();
    expect(seen).toEqual(["2", "3"]);
  });

  test("renews up to a tenth of the validity earlier, by chance", () => {
    const issued = { issuedAt: NOW, notAfter: NOW + DAY } as Issued;
    expect(renewalTime(issued, 0) - NOW).toBe(16 * HOUR);
    expect(renewalTime(issued, 1) - NOW).toBeCloseTo(13.6 * HOUR, 0);
  });

  test("tries again with growing pauses, keeps what it has meanwhile, and recovers", async () => {
    const { clock, state, failures, parts } = setup({ random: 1 });
    const lifetime = await Lifetime.start(parts, testSignal());
    state.broken = true;
    clock.advance(13.6 * HOUR);
    await turn();
    expect(failures).toHaveLength(1);
    for (const [index, seconds] of [5, 10, 20, 40, 80, 160, 300, 300].entries()) {
      clock.advance(seconds * 1000 - 1);
      await turn();
      expect(failures).toHaveLength(index + 1);
      clock.advance(1);
      await turn();
      expect(failures).toHaveLength(index + 2);
    }
    expect(lifetime.current.serial).toBe("1");
    state.broken = false;
    clock.advance(300_000);
    await turn();
    expect(lifetime.current.issuedAt).toBe(clock.now());
    expect(failures).toHaveLength(9);
  });

  test("gives ten-minute certificates several attempts before they expire", async () => {
    const { clock, state, failures, parts } = setup({ validity: 10 * MINUTE });
    await Lifetime.start(parts, testSignal());
    state.broken = true;
    for (let second = 0; second < 600; second++) {
      clock.advance(1000);
      await turn();
    }
    expect(failures.length).toBeGreaterThan(10);
    expect(retryPause(20, 10 * MINUTE, 1)).toBe(20_000);
    expect(retryPause(20, 10 * MINUTE, 0)).toBe(10_000);
  });

  test("does not hurry when there is almost nothing left", async () => {
    const { clock, state, parts } = setup({ validity: 1_000 });
    await Lifetime.start(parts, testSignal());
    clock.advance(29_999);
    await turn();
    expect(state.issues).toBe(1);
    clock.advance(1);
    await turn();
    expect(state.issues).toBe(2);
  });

  test("notices soon that the machine has slept past the renewal", async () => {
    const { clock, state, parts } = setup();
    await Lifetime.start(parts, testSignal());
    clock.advance(HOUR);
    clock.jump(20 * HOUR);
    clock.advance(MINUTE);
    await turn();
    expect(state.issues).toBe(2);
  });

  test("ends with its signal: no timer, no listener, also when a renewal is under way", async () => {
    const { clock, schedule, state, parts } = setup();
    const stop = new AbortController();
    const lifetime = await Lifetime.start(parts, stop.signal);
    const listener = vi.fn();
    lifetime.onNext(listener);
    clock.advance(16 * HOUR);
    expect(state.issues).toBe(2);
    stop.abort();
    await turn();
    expect(listener).not.toHaveBeenCalled();
    expect(schedule.size).toBe(0);
    expect(clock.waiting.length).toBe(0);
  });

  test("is not begun for a signal that is aborted, before or meanwhile", async () => {
    const { schedule, state, parts } = setup();
    await expect(Lifetime.start(parts, AbortSignal.abort(new Error("gone")))).rejects.toThrow("gone");
    expect(state.issues).toBe(0);
    const stop = new AbortController();
    const starting = Lifetime.start(parts, stop.signal);
    stop.abort(new Error("gone"));
    await expect(starting).rejects.toThrow("gone");
    expect(schedule.size).toBe(0);
  });

  test("no longer calls a listener that has left", async () => {
    const { clock, parts } = setup();
    const lifetime = await Lifetime.start(parts, testSignal());
    const listener = vi.fn();
    lifetime.onNext(listener)();
    clock.advance(16 * HOUR);
    await turn();
    expect(lifetime.current.serial).toBe("2");
    expect(listener).not.toHaveBeenCalled();
  });
});

describe("ten thousand lifetimes", () => {
  test("have one timer, which wakes once a minute", async () => {
    const { clock, schedule, state, parts } = setup();
    let seed = 1;
    const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
    const streams = Array.from({ length: 10_000 }, () => new AbortController());
    await Promise.all(streams.map((stream) => Lifetime.start({ ...parts, random }, stream.signal)));
    expect(clock.waiting.length).toBe(1);
    expect(schedule.size).toBe(10_000);
    clock.set = 0;
    clock.advance(HOUR);
    expect(clock.set).toBe(60);
    // Every one is renewed, spread over a tenth of the validity.
    clock.advance(13.8 * HOUR);
    await turn();
    expect(state.issues).toBeGreaterThan(14_000);
    expect(state.issues).toBeLessThan(16_000);
    clock.advance(1.2 * HOUR);
    await turn();
    expect(state.issues).toBe(20_000);
    for (const stream of streams) stream.abort();
    expect(schedule.size).toBe(0);
    expect(clock.waiting.length).toBe(0);
  });
});

test("a schedule runs in the order of time, whatever was cancelled in between", () => {
  const clock = new FakeClock(0);
  const schedule = new Schedule(clock);
  let seed = 7;
  const random = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below;
  const ran: number[] = [];
  const expected: number[] = [];
  for (let index = 0; index < 2_000; index++) {
    const at = random(1_000_000);
    const cancel = schedule.at(at, () => {
      expect(clock.now()).toBeGreaterThanOrEqual(at);
      ran.push(at);
    });
    if (random(3) > 0) cancel();
    else expected.push(at);
    if (index % 7 === 0) cancel();
    if (index % 7 === 0 && expected.at(-1) === at) expected.pop();
  }
  expect(schedule.size).toBe(expected.length);
  clock.advance(1_000_000);
  expect(ran).toEqual(expected.sort((a, b) => a - b));
  expect(clock.waiting.length).toBe(0);
  schedule.end();
  schedule.at(0, () => ran.push(-1));
  clock.advance(1_000_000);
  expect(ran).not.toContain(-1);
});

test("an authority's leaf is renewed under its clock, and trouble is logged once and once when it is over", async () => {
  const clock = new FakeClock(NOW);
  const lines: string[] = [];
  const log = createLog("info", (line) => lines.push(JSON.parse(line).msg));
  let issued = 0;
  const parts = { clock, log, random: () => 0, issued: () => issued++, store: memoryStore() };
  const authority = await startAuthority({ rootValidity: 26 * HOUR }, parts);
  lines.length = 0;
  const id = identity("ns", "sa");
  const leaves = await Promise.all([authority.leaf(id, testSignal()), authority.leaf(id, testSignal())]);
  const before = leaves.map((leaf) => leaf.current);
  const renewed = Promise.all(leaves.map((leaf) => new Promise<Issued>((resolve) => leaf.onNext(resolve))));
  clock.advance(16 * HOUR);
  const after = await renewed;
  expect(issued).toBe(4);
  expect(after.map((next) => next.notAfter)).toEqual([authority.rootNotAfter, authority.rootNotAfter]);
  expect(after[0]!.serial).not.toBe(before[0]!.serial);
  expect(after[0]!.privateKey.revealPem()).not.toBe(before[0]!.privateKey.revealPem());
  // The clock leaps behind the root's end: renewal fails for both, and is said once.
  clock.jump(11 * HOUR);
  clock.advance(MINUTE);
  await vi.waitFor(() => expect(authority.load.scheduled).toBe(2));
  expect(lines).toEqual(["Certificates cannot be renewed; trying again"]);
  // Somebody sets the clock right again: they do not wait for the time at which they meant to try again.
  clock.jump(-11 * HOUR);
  const again = Promise.all(leaves.map((leaf) => new Promise<Issued>((resolve) => leaf.onNext(resolve))));
  clock.advance(MINUTE);
  await again;
  expect(issued).toBe(6);
  expect(lines).toEqual(["Certificates cannot be renewed; trying again", "Certificates can be renewed again"]);
});
