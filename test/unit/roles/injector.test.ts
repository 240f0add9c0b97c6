/** Which namespace a pod is judged by, when the watch may be behind the API server. */
import { expect, test } from "vitest";
import { reviewPod } from "../../../src/injector/review.ts";
import { formOf, surely } from "../../../src/roles/injector.ts";
import { settings } from "../injector/pods.ts";

const namespace = (monitored: boolean, inject: boolean) => ({ name: "shop", monitored, inject, metrics: false });
const request = (annotations = {}) => ({
  operation: "CREATE",
  kind: { group: "", kind: "Pod" },
  namespace: "shop",
  object: { metadata: { annotations }, spec: { containers: [{ name: "app", image: "app:1" }] } },
});
const says = (word: string) => request({ "openservicemesh.io/sidecar-injection": word });

test("hole: a namespace that has just become a member, and the watch does not know yet, is looked at", async () => {
  const now = namespace(true, true);
  for (const known of [undefined, namespace(false, false), namespace(false, true), namespace(true, false)])
    expect(await surely(request(), known, () => Promise.resolve(now))).toBe(now);
});

test("one that is known to inject costs no call, and one that is not there stays unknown", async () => {
  const known = namespace(true, true);
  expect(await surely(request(), known, () => Promise.reject(new Error("asked")))).toBe(known);
  expect(await surely(request(), undefined, () => Promise.resolve(undefined))).toBeUndefined();
});

test.each(["disabled", "no", "false", " Disabled "])(
  "a pod that says %o costs no call, and stays as it is",
  async (word) => {
    const asked = () => Promise.reject(new Error("asked"));
    for (const known of [undefined, namespace(false, false), namespace(true, true)]) {
      expect(await surely(says(word), known, asked)).toBe(known);
      const facts = { settings: settings(), namespace: known, uuid: "u", secret: "s" };
      expect(reviewPod(says(word), facts)).toEqual({ allowed: true });
    }
  },
);

test("a pod that says anything else is looked at", async () => {
  for (const word of ["enabled", "maybe", ""])
    await expect(surely(says(word), undefined, () => Promise.reject(new Error("asked")))).rejects.toThrow("asked");
});

test.each([
  ["auto", 128, false, false],
  ["auto", 129, true, false],
  ["auto", 130, true, true],
  ["true", 130, true, true],
  ["true", 129, true, false],
  ["false", 136, false, false],
] as const)("sidecar.native=%s on %i", (native, version, nativeSidecars, sleepAction) => {
  expect(formOf(native, version)).toEqual({ nativeSidecars, sleepAction });
});
