import { expect, test } from "vitest";
import { ProbeSchedule, type ProbeKind } from "../../../src/local/probe-schedule.ts";
import type { Probe } from "../../../src/world/pod.ts";
import { FakeClock } from "../../support/clock.ts";

function probing(kind: ProbeKind, probe: Probe, outcome: (second: number) => string | undefined | Promise<never>) {
  const clock = new FakeClock();
  const checks: number[] = [];
  const results: string[] = [];
  const schedule = new ProbeSchedule({
    kind,
    probe,
    clock,
    check: async () => {
      checks.push(clock.now() / 1000);
      return outcome(clock.now() / 1000);
    },
    onResult: (ok, why) => results.push(`${clock.now() / 1000} ${ok}${why === undefined ? "" : ` ${why}`}`),
  });
  schedule.start(0);
  return { clock, checks, results, schedule };
}

test("the first check waits for the initial delay, then one follows each period", async () => {
  const { clock, checks, results } = probing(
    "readiness",
    { initialDelaySeconds: 5, periodSeconds: 3 },
    () => undefined,
  );
  await clock.pass(12_000);
  expect(checks).toEqual([5, 8, 11]);
  expect(results).toEqual(["5 true"]);
});

test("Kubernetes' defaults: at once, every 10 s, 3 failures", async () => {
  const { clock, checks, results } = probing("readiness", {}, (s) => (s < 10 ? undefined : "no"));
  await clock.pass(35_000);
  expect(checks).toEqual([0, 10, 20, 30]);
  expect(results).toEqual(["0 true", "30 false no"]);
});

test("readiness needs successThreshold successes in a row", async () => {
  const { clock, results } = probing("readiness", { periodSeconds: 1, successThreshold: 3 }, (s) =>
    s === 2 ? "no" : undefined,
  );
  await clock.pass(10_000);
  expect(results).toEqual(["5 true"]);
});

test("one failure between successes does not count", async () => {
  const { clock, results } = probing("liveness", { periodSeconds: 1, failureThreshold: 2 }, (s) =>
    s % 2 ? "no" : undefined,
  );
  await clock.pass(10_000);
  expect(results).toEqual([]);
});

test("a container that is found dead is not probed again", async () => {
  const { clock, checks, results } = probing("liveness", { periodSeconds: 1, failureThreshold: 2 }, () => "no");
  await clock.pass(10_000);
  expect(checks).toEqual([0, 1]);
  expect(results).toEqual(["1 false no"]);
});

test("a startup probe ends with its first success", async () => {
  const { clock, checks, results } = probing("startup", { periodSeconds: 1, failureThreshold: 30 }, (s) =>
    s < 4 ? "no" : undefined,
  );
  await clock.pass(10_000);
  expect(checks).toEqual([0, 1, 2, 3, 4]);
  expect(results).toEqual(["4 true"]);
});

test("a startup probe that fails too often says so", async () => {
  const { clock, results } = probing("startup", { periodSeconds: 1, failureThreshold: 3 }, () => "no");
  await clock.pass(10_000);
  expect(results).toEqual(["2 false no"]);
});

test("a check that does not answer fails after its timeout", async () => {
  const never = new Promise<never>(() => {});
  const { clock, results } = probing(
    "liveness",
    { periodSeconds: 5, timeoutSeconds: 2, failureThreshold: 1 },
    () => never,
  );
  await clock.pass(3000);
  expect(results).toEqual(["2 false no answer within 2 s"]);
});

test("nothing is checked or reported once it is stopped", async () => {
  const { clock, checks, results, schedule } = probing("readiness", { periodSeconds: 1 }, () => undefined);
  await clock.pass(1500);
  schedule.stop();
  await clock.pass(5000);
  expect(checks).toEqual([0, 1]);
  expect(results).toEqual(["0 true"]);
});
