import { expect, test } from "vitest";
import type { Raw } from "../../../src/manifest/reader.ts";
import { conditionsOf, renewed } from "../../../src/roles/status.ts";
import { StatusWriter, type StatusApi, type Subject } from "../../../src/roles/status-writer.ts";
import { silent } from "../../../src/telemetry/log.ts";
import type { Problem } from "../../../src/world/types.ts";

const object = { kind: "TrafficTarget", namespace: "a", name: "t" };
const problem = (severity: Problem["severity"], message: string): Problem => ({
  code: "unknown-route",
  severity,
  object,
  path: "spec.rules[0].name",
  message,
});
const resource = { group: "access.smi-spec.io", version: "v1alpha3", plural: "traffictargets" };
const subject = (name: string, problems: readonly Problem[] = [], value: unknown = name): Subject => ({
  kind: "TrafficTarget",
  resource,
  namespace: "a",
  name,
  value,
  problems,
});

/** An API server of a few objects. */
function api(names: readonly string[]) {
  const objects = new Map(names.map((name): [string, Raw] => [name, { metadata: { name, generation: 1 } }]));
  const calls: string[] = [];
  let failing = 0;
  const server: StatusApi = {
    get: (_r, { name }) => {
      calls.push(`get ${name}`);
      return Promise.resolve(objects.get(name));
    },
    apply: (_r, applied) => {
      const { name } = applied["metadata"] as { name: string };
      if (failing-- > 0) return Promise.reject(new Error("busy"));
      calls.push(`apply ${name}`);
      const next = { ...objects.get(name), status: applied["status"] };
      objects.set(name, next);
      return Promise.resolve(next);
    },
    create: (_r, event) => {
      calls.push(`event ${String(event["reason"])}`);
      return Promise.resolve(event);
    },
  };
  return { server, objects, calls, fail: (times: number) => void (failing = times) };
}

const signal = new AbortController().signal;
const writer = (server: StatusApi) =>
  new StatusWriter({
    api: server,
    log: silent,
    manager: "heddle",
    now: () => new Date(0),
    pause: () => Promise.resolve(),
  });

test("difference 13: conditions: errors are not accepted, hints are, and the sentences say where", () => {
  expect(conditionsOf([problem("hint", "h"), problem("error", "e")], true)).toEqual([
    { type: "Accepted", status: "False", reason: "UnknownRoute", message: "spec.rules[0].name: e" },
    { type: "Programmed", status: "True", reason: "Published", message: "" },
  ]);
  expect(conditionsOf([problem("hint", "h")], false).map((c) => [c.status, c.reason])).toEqual([
    ["True", "AcceptedWithHints"],
    ["False", "Pending"],
  ]);
  expect(conditionsOf([problem("error", "x".repeat(10_000))], true)[0]?.message.length).toBe(4096);
});

test("a time stays while its status does; what stands is not written again", () => {
  const wanted = conditionsOf([], true);
  const first = renewed(wanted, [], 1, "then") ?? [];
  expect(first.map((c) => c.lastTransitionTime)).toEqual(["then", "then"]);
  expect(renewed(wanted, first, 1, "now")).toBeUndefined();
  expect(renewed(wanted, first, 2, "now")?.map((c) => c.lastTransitionTime)).toEqual(["then", "then"]);
  const wrong = renewed(conditionsOf([problem("error", "e")], true), first, 1, "now");
  expect(wrong?.map((c) => c.lastTransitionTime)).toEqual(["now", "then"]);
});

test("each object is written once, and again only when what it says or its generation is another", async () => {
  const { server, calls } = api(["s", "t"]);
  const status = writer(server);
  const bad = subject("t", [problem("error", "e")]);
  status.update([subject("s"), bad], signal);
  await status.settled();
  expect(calls.toSorted()).toEqual(["apply s", "apply t", "event UnknownRoute", "get s", "get t"]);
  calls.length = 0;
  for (let i = 0; i < 50; i++) status.update([subject("s"), bad], signal);
  await status.settled();
  expect(calls).toEqual([]);
  status.update([subject("s"), subject("t")], signal);
  await status.settled();
  expect(calls).toEqual(["get t", "apply t"]);
});

test("a new leader reads what stands and writes nothing that is the same", async () => {
  const { server, calls } = api(["s"]);
  const before = writer(server);
  before.update([subject("s")], signal);
  await before.settled();
  calls.length = 0;
  const after = writer(server);
  after.update([subject("s")], signal);
  await after.settled();
  expect(calls).toEqual(["get s"]);
});

test("while a thousand changes come, an object is written for the latest, not for each", async () => {
  const { server, calls, objects } = api(["t"]);
  const status = writer(server);
  for (let i = 0; i < 1000; i++) status.update([subject("t", [problem("error", `message ${i}`)], i)], signal);
  await status.settled();
  expect(calls.filter((c) => c === "apply t").length).toBe(2);
  expect(JSON.stringify(objects.get("t"))).toContain("message 999");
});

test("a write that fails is tried again; an object that is gone is left alone", async () => {
  const { server, calls, fail } = api(["t"]);
  const status = writer(server);
  fail(2);
  status.update([subject("t"), subject("gone")], signal);
  await status.settled();
  expect(calls.filter((c) => c.startsWith("apply"))).toEqual(["apply t"]);
});
