/** Which namespace a pod is judged by, when the watch may be behind the API server. */
import { expect, test } from "vitest";
import { surely } from "../../../src/roles/injector.ts";

const namespace = (monitored: boolean, inject: boolean) => ({ name: "shop", monitored, inject, metrics: false });

test("hole: a namespace that has just become a member, and the watch does not know yet, is looked at", async () => {
  const now = namespace(true, true);
  for (const known of [undefined, namespace(false, false), namespace(false, true), namespace(true, false)])
    expect(await surely(known, () => Promise.resolve(now))).toBe(now);
});

test("one that is known to inject costs no call, and one that is not there stays unknown", async () => {
  const known = namespace(true, true);
  expect(await surely(known, () => Promise.reject(new Error("asked")))).toBe(known);
  expect(await surely(undefined, () => Promise.resolve(undefined))).toBeUndefined();
});
