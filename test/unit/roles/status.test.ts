import { expect, test } from "vitest";
import { Decoder } from "../../../src/manifest/decode.ts";
import type { Raw } from "../../../src/lib/json.ts";
import { conditionsOf, renewed } from "../../../src/roles/status.ts";
import { LATER, StatusWriter, type StatusApi, type Subject } from "../../../src/roles/status-writer.ts";
import { subjectsOf } from "../../../src/roles/subjects.ts";
import { ApiError } from "../../../src/sources/kubernetes/errors.ts";
import { createLog, silent } from "../../../src/telemetry/log.ts";
import type { Kind, Problem } from "../../../src/world/types.ts";
import { apply, EMPTY_WORLD } from "../../../src/world/world.ts";

const object = { kind: "TrafficTarget", namespace: "a", name: "t" };
const problem = (severity: Problem["severity"], message: string): Problem => ({
  code: "unknown-route",
  severity,
  object,
  path: "spec.rules[0].name",
  message,
});
const resource = { group: "access.smi-spec.io", version: "v1alpha3", plural: "traffictargets" };
const subject = (name: string, problems: readonly Problem[] = [], generation = 1, uid = "u1"): Subject => ({
  kind: "TrafficTarget",
  resource,
  namespace: "a",
  name,
  revision: { uid, generation },
  problems,
  state: "published",
  pending: false,
});

/** An API server of a few objects. */
function api(names: readonly string[]) {
  const objects = new Map(names.map((name): [string, Raw] => [name, { metadata: { name, generation: 1 } }]));
  const calls: string[] = [];
  const failing = { apply: [] as Error[], create: [] as Error[] };
  const server: StatusApi = {
    get: (_r, { name }) => {
      calls.push(`get ${name}`);
      return Promise.resolve(objects.get(name));
    },
    apply: (_r, applied) => {
      const { name } = applied["metadata"] as { name: string };
      const failure = failing.apply.pop();
      if (failure) return Promise.reject(failure);
      calls.push(`apply ${name}`);
      const next = { ...objects.get(name), status: applied["status"] };
      objects.set(name, next);
      return Promise.resolve(next);
    },
    create: (_r, event) => {
      const failure = failing.create.pop();
      if (failure) return Promise.reject(failure);
      calls.push(`event ${String(event["reason"])}`);
      return Promise.resolve(event);
    },
  };
  return { server, objects, calls, failing };
}
const refused = (status: number) => new ApiError(status, "Reason", "no");
const times = (count: number, error: Error) => Array.from({ length: count }, () => error);

const signal = new AbortController().signal;
let now = 0;
const writer = (server: StatusApi, log = silent) =>
  new StatusWriter({
    api: server,
    log,
    manager: "heddle",
    now: () => new Date(now),
    pause: () => Promise.resolve(),
  });

test("difference 13: conditions: errors are not accepted, hints are, and the sentences say where", () => {
  expect(conditionsOf([problem("hint", "h"), problem("error", "e")], "published")).toEqual([
    { type: "Accepted", status: "False", reason: "UnknownRoute", message: "spec.rules[0].name: e" },
    { type: "Programmed", status: "True", reason: "Published", message: "" },
  ]);
  expect(conditionsOf([problem("hint", "h")], "published").map((c) => [c.status, c.reason])).toEqual([
    ["True", "AcceptedWithHints"],
    ["True", "Published"],
  ]);
  expect(conditionsOf([problem("error", "e")], "unusable").map((c) => [c.status, c.reason])).toEqual([
    ["False", "UnknownRoute"],
    ["False", "Unusable"],
  ]);
  expect(conditionsOf([problem("error", "x".repeat(10_000))], "published")[0]?.message.length).toBe(4096);
});

test("a time stays while its status does; what stands is not written again", () => {
  const wanted = conditionsOf([], "published");
  const first = renewed(wanted, [], 1, "then") ?? [];
  expect(first.map((c) => c.lastTransitionTime)).toEqual(["then", "then"]);
  expect(renewed(wanted, first, 1, "now")).toBeUndefined();
  expect(renewed(wanted, first, 2, "now")?.map((c) => c.lastTransitionTime)).toEqual(["then", "then"]);
  const wrong = renewed(conditionsOf([problem("error", "e")], "published"), first, 1, "now");
  expect(wrong?.map((c) => c.lastTransitionTime)).toEqual(["now", "then"]);
});

test("each object is written once, and again only when what it says or its generation is another", async () => {
  const { server, calls, objects } = api(["s", "t"]);
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
  expect(calls).toEqual(["apply t"]);
  calls.length = 0;
  status.update([subject("s", [], 2), subject("t")], signal);
  await status.settled();
  expect(calls).toEqual(["apply s"]);
  expect(JSON.stringify(objects.get("s"))).toContain('"observedGeneration":2');
});

test("while an object is not published as it was last read, what stands is left, and nothing is forgotten", async () => {
  const { server, calls, objects } = api(["t", "new"]);
  const status = writer(server);
  status.update([subject("t")], signal);
  await status.settled();
  calls.length = 0;
  const second = subject("t", [problem("error", "e")], 2);
  const pending = [second, subject("new")].map((one): Subject => ({ ...one, pending: true }));
  for (let i = 0; i < 3; i++) status.update(pending, signal);
  await status.settled();
  expect(calls).toEqual([]);
  expect(JSON.stringify(objects.get("t"))).not.toContain('"observedGeneration":2');
  status.update([second], signal);
  await status.settled();
  expect(calls).toEqual(["apply t", "event UnknownRoute"]);
});

test("an object that was made anew under the same name gets its status and Event, though nothing else differs", async () => {
  const { server, objects, calls } = api(["t"]);
  const status = writer(server);
  const bad = (uid: string) => subject("t", [problem("error", "e")], 1, uid);
  status.update([bad("u1")], signal);
  await status.settled();
  const written = objects.get("t")?.["status"];
  objects.set("t", { metadata: { name: "t", generation: 1 } });
  calls.length = 0;
  status.update([bad("u2")], signal);
  await status.settled();
  expect(calls).toEqual(["get t", "apply t", "event UnknownRoute"]);
  expect(objects.get("t")?.["status"]).toEqual(written);
});

test("an object that was deleted before its status was written again is no failure", async () => {
  const { server, objects, failing, calls } = api(["t"]);
  const lines: string[] = [];
  const status = writer(
    server,
    createLog("warn", (line) => lines.push(line)),
  );
  status.update([subject("t")], signal);
  await status.settled();
  objects.delete("t");
  failing.apply = [refused(404)];
  status.update([subject("t", [problem("error", "e")])], signal);
  await status.settled();
  expect(calls).toEqual(["get t", "apply t", "get t"]);
  expect(lines).toEqual([]);
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

test("a write that fails for a while is tried again; an object that is gone is left alone", async () => {
  const { server, calls, failing } = api(["t"]);
  const status = writer(server);
  failing.apply = times(2, refused(503));
  status.update([subject("t"), subject("gone")], signal);
  await status.settled();
  expect(calls.filter((c) => c.startsWith("apply"))).toEqual(["apply t"]);
});

test("a problem is told by one Event: not by a new leader again, not for the same in a new generation, but again when it comes back", async () => {
  const { server, calls } = api(["t"]);
  const bad = (generation: number) => subject("t", [problem("error", "e")], generation);
  const events = () => calls.filter((c) => c.startsWith("event")).length;
  const first = writer(server);
  first.update([bad(1)], signal);
  await first.settled();
  expect(events()).toBe(1);
  const second = writer(server);
  second.update([bad(1)], signal);
  await second.settled();
  second.update([bad(2)], signal);
  await second.settled();
  expect(calls.filter((c) => c === "apply t").length).toBe(2);
  expect(events()).toBe(1);
  second.update([subject("t", [], 3)], signal);
  await second.settled();
  second.update([bad(4)], signal);
  await second.settled();
  expect(events()).toBe(2);
});

test("an Event that fails is told later, and the status is not written again for it", async () => {
  const { server, calls, failing } = api(["t"]);
  failing.create = times(3, refused(429));
  const status = writer(server);
  status.update([subject("t", [problem("error", "e")])], signal);
  await status.settled();
  expect(calls).toEqual(["get t", "apply t", "event UnknownRoute"]);
});

test("a status that is refused, or that the CRD has not, is no storm: tried again after minutes, said once", async () => {
  for (const code of [403, 404, 422]) {
    const { server, calls, failing } = api(["t"]);
    const lines: string[] = [];
    const status = writer(
      server,
      createLog("warn", (line) => lines.push(line)),
    );
    failing.apply = times(1_000, refused(code));
    const bad = subject("t", [problem("error", "e")]);
    for (let i = 0; i < 20; i++) {
      status.update([bad], signal);
      await status.settled();
    }
    expect(calls.filter((c) => c === "get t").length).toBe(1);
    // Where there is no status, the Event is all that can be told.
    expect(calls.filter((c) => c.startsWith("event")).length).toBe(code === 404 ? 1 : 0);
    expect(lines.length).toBe(1);
    now += LATER;
    status.update([bad], signal);
    await status.settled();
    expect(calls.filter((c) => c === "get t").length).toBe(2);
    expect(calls.filter((c) => c.startsWith("event")).length).toBe(code === 404 ? 1 : 0);
  }
});

test("a namespace that leaves the mesh: what was said of its policies is taken back, and nothing is written to others", async () => {
  const { server, calls, objects } = api(["t", "foreign"]);
  const status = writer(server);
  const bad = subject("t", [problem("error", "e")]);
  const outside = (one: Subject): Subject => ({ ...one, state: "outside" });
  status.update([bad, outside(subject("foreign"))], signal);
  await status.settled();
  calls.length = 0;
  for (let i = 0; i < 3; i++) {
    status.update([outside(bad), outside(subject("foreign"))], signal);
    await status.settled();
  }
  expect(calls).toEqual(["apply t"]);
  expect(objects.get("t")?.["status"]).toEqual({ conditions: [] });
  // It comes back.
  status.update([bad], signal);
  await status.settled();
  expect(calls).toEqual(["apply t", "get t", "apply t", "event UnknownRoute"]);
});

test("subjects: every policy object of the mesh's namespaces, those too of which nothing can be used; others are outside", () => {
  const labels = { "openservicemesh.io/monitored-by": "osm" };
  const decoder = new Decoder();
  const target = (namespace: string, name: string, spec: unknown) => ({
    apiVersion: "access.smi-spec.io/v1alpha3",
    kind: "TrafficTarget",
    metadata: { namespace, name },
    spec,
  });
  const spec = {
    destination: { kind: "ServiceAccount", name: "d", namespace: "in" },
    sources: [{ kind: "ServiceAccount", name: "s", namespace: "in" }],
    rules: [{ kind: "TCPRoute", name: "r" }],
  };
  const decoded = [
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "in", labels } },
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "out" } },
    target("in", "good", spec),
    target("in", "broken", { ...spec, onlyOn: "mondays" }),
    target("out", "good", spec),
    target("out", "broken", {}),
    { apiVersion: "config.openservicemesh.io/v1alpha2", kind: "MeshConfig", metadata: { namespace: "sys", name: "c" } },
    { apiVersion: "specs.smi-spec.io/v1alpha4", kind: "UDPRoute", metadata: { namespace: "in", name: "u" } },
    ...["in", "out"].map((namespace) => ({
      apiVersion: "policy.openservicemesh.io/v1alpha1",
      kind: "IngressBackend",
      metadata: { namespace, name: "i" },
    })),
  ].map((object) => decoder.decode(object));
  const world = apply(
    EMPTY_WORLD,
    decoded.flatMap((one) => one.changes),
  );
  const problems = decoded.flatMap((one) => one.problems);
  const served = new Map<Kind, string>([
    ["TrafficTarget", "v1alpha3"],
    ["MeshConfig", "v1alpha2"],
    ["IngressBackend", "v1alpha1"],
  ]);
  const revisionOf = (kind: Kind, namespace: string, name: string) => ({
    uid: `${kind} ${namespace}/${name}`,
    generation: 1,
  });
  const found = subjectsOf(world, world, problems, served, revisionOf);
  expect(found.map(({ kind, namespace, name, state }) => `${kind} ${namespace}/${name} ${state}`)).toEqual([
    "TrafficTarget in/good published",
    "TrafficTarget out/good outside",
    "TrafficTarget out/broken outside",
    "TrafficTarget in/broken unusable",
    "MeshConfig sys/c published",
    "IngressBackend in/i unusable",
    "IngressBackend out/i outside",
  ]);
  expect(found[3]?.problems[0]).toMatchObject({ code: "unknown-field", path: "spec.onlyOn" });
  expect(found.map(({ revision }) => revision?.uid)).toEqual(
    found.map(({ kind, namespace, name }) => `${kind} ${namespace}/${name}`),
  );
  expect(found.filter(({ pending }) => pending)).toEqual([]);

  // One is changed, one can be used now, one is gone: none of it is published.
  const latest = apply(world, [
    ...decoder.decode(target("in", "good", { ...spec, sources: [] })).changes,
    ...decoder.decode(target("in", "broken", spec)).changes,
    { kind: "MeshConfig", namespace: "sys", name: "c", value: undefined },
  ]);
  const pending = subjectsOf(world, latest, problems, served, revisionOf).filter((one) => one.pending);
  expect(pending.map(({ kind, namespace, name }) => `${kind} ${namespace}/${name}`)).toEqual([
    "TrafficTarget in/good",
    "TrafficTarget in/broken",
    "MeshConfig sys/c",
  ]);
});
