/** A folder as a source: read, watched, told. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FilesSource, type FilesSourceOptions } from "../../../src/sources/files/source.ts";
import { silent } from "../../../src/telemetry/log.ts";
import { podName } from "../../../src/world/names.ts";
import type { Change, Problem } from "../../../src/world/types.ts";
import { apply, EMPTY_WORLD, type World } from "../../../src/world/world.ts";

let dir: string;
let stop: AbortController;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "heddle-files-"));
  stop = new AbortController();
});
afterEach(() => {
  stop.abort();
  rmSync(dir, { recursive: true, force: true });
});

/** A sink that holds the world, and waits for it to be as wanted. */
class Seen {
  world: World = EMPTY_WORLD;
  batches: (readonly Change[])[] = [];
  problems: readonly Problem[] = [];
  syncs = 0;
  #waiting = new Set<() => void>();
  readonly sink = {
    apply: (changes: readonly Change[]) => {
      this.world = apply(this.world, changes);
      this.batches.push(changes);
      this.#wake();
    },
    synced: () => void this.syncs++,
    problems: (list: readonly Problem[]) => {
      this.problems = list;
      this.#wake();
    },
  };
  #wake() {
    for (const look of this.#waiting) look();
  }
  until(holds: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (!holds()) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }
  get routes(): string[] {
    return [...this.world.tables.HTTPRouteGroup.values()].flatMap((names) => [...names.keys()]).sort();
  }
}

const routes = (name: string, path = "/a") =>
  `apiVersion: specs.smi-spec.io/v1alpha4\nkind: HTTPRouteGroup\nmetadata: {name: ${name}, namespace: ns}\nspec:\n  matches:\n  - name: m\n    pathRegex: ${path}\n`;
const regexOf = (seen: Seen, name: string) =>
  seen.world.tables.HTTPRouteGroup.get("ns")?.get(name)?.matches[0]?.pathRegex;
const write = (path: string, text: string) => writeFileSync(join(dir, path), text);

async function started(over: Partial<FilesSourceOptions> = {}): Promise<{ source: FilesSource; seen: Seen }> {
  const seen = new Seen();
  const source = new FilesSource({
    dir,
    log: silent,
    subnets: { pods: "10.64.0.0/16", services: "10.65.0.0/16" },
    ...over,
  });
  await source.start(seen.sink, stop.signal);
  return { source, seen };
}

test("reads what is a manifest, and nothing else", async () => {
  mkdirSync(join(dir, "deep/er"), { recursive: true });
  mkdirSync(join(dir, ".git"));
  write("a.yaml", routes("a"));
  write("b.yml", routes("b"));
  write(
    "c.json",
    JSON.stringify({
      apiVersion: "specs.smi-spec.io/v1alpha4",
      kind: "HTTPRouteGroup",
      metadata: { name: "c", namespace: "ns" },
      spec: { matches: [] },
    }),
  );
  write("deep/er/d.yaml", `apiVersion: v1\nkind: List\nitems:\n- ${routes("d").trim().replaceAll("\n", "\n  ")}\n`);
  write("README.md", "# not one");
  write(".hidden.yaml", routes("hidden"));
  write(".git/e.yaml", routes("git"));
  write("images.yaml", "images: {}");
  write(
    "builtin.yaml",
    [
      "v1 ConfigMap",
      "v1 Secret",
      "v1 ServiceAccount",
      "networking.k8s.io/v1 Ingress",
      "rbac.authorization.k8s.io/v1 Role",
      "apiextensions.k8s.io/v1 CustomResourceDefinition",
    ]
      .map((one) => `apiVersion: ${one.split(" ")[0]}\nkind: ${one.split(" ")[1]}\nmetadata: {name: x}\n`)
      .join("---\n"),
  );
  const { seen } = await started();
  expect(seen.routes).toEqual(["a", "b", "c", "d"]);
  expect(seen.problems).toEqual([]);
  expect(seen.syncs).toBe(1);
  expect(seen.batches).toHaveLength(1);
});

test("an edit is told, alone, within 100 ms", async () => {
  write("a.yaml", routes("a"));
  write("b.yaml", routes("b"));
  const { seen } = await started();
  const start = performance.now();
  write("a.yaml", routes("a", "/new"));
  await seen.until(() => regexOf(seen, "a") === "/new");
  // Printed, not asserted: a busy machine is no mistake.
  console.log(`edit to changes: ${(performance.now() - start).toFixed(0)} ms`);
  expect(
    seen.batches
      .slice(1)
      .flat()
      .map(({ kind, name }) => `${kind} ${name}`),
  ).toEqual(["HTTPRouteGroup a"]);
});

test("an editor's rename, a new folder, a folder that is replaced, a removal", async () => {
  write("a.yaml", routes("a"));
  const { seen } = await started();
  write(".a.yaml.swp", routes("a", "/renamed"));
  renameSync(join(dir, ".a.yaml.swp"), join(dir, "a.yaml"));
  await seen.until(() => regexOf(seen, "a") === "/renamed");

  mkdirSync(join(dir, "sub"));
  write("sub/b.yaml", routes("b"));
  await seen.until(() => seen.routes.join() === "a,b");

  mkdirSync(join(dir, ".next"));
  write(".next/c.yaml", routes("c"));
  rmSync(join(dir, "sub"), { recursive: true });
  renameSync(join(dir, ".next"), join(dir, "sub"));
  await seen.until(() => seen.routes.join() === "a,c");
  write("sub/c.yaml", routes("c", "/watched"));
  await seen.until(() => regexOf(seen, "c") === "/watched");

  rmSync(join(dir, "a.yaml"));
  await seen.until(() => seen.routes.join() === "c");
});

test("the folder itself is replaced, and is missing for a while", async () => {
  const inner = join(dir, "inner");
  mkdirSync(inner);
  write("inner/a.yaml", routes("a"));
  const { seen } = await started({ dir: inner });
  renameSync(inner, join(dir, "old"));
  await seen.until(() => seen.routes.length === 0 && seen.problems.length === 1);
  expect(seen.problems[0]?.code).toBe("unreadable");
  mkdirSync(inner);
  write("inner/b.yaml", routes("b"));
  await seen.until(() => seen.routes.join() === "b" && seen.problems.length === 0);
  write("inner/b.yaml", routes("b", "/watched"));
  await seen.until(() => regexOf(seen, "b") === "/watched");
});

test("a file behind a link is watched where it lies", async () => {
  mkdirSync(join(dir, "in"));
  mkdirSync(join(dir, "out"));
  write("out/a.yaml", routes("a"));
  symlinkSync("../out/a.yaml", join(dir, "in/a.yaml"));
  const { seen } = await started({ dir: join(dir, "in") });
  write("out/a.yaml", routes("a", "/linked"));
  await seen.until(() => regexOf(seen, "a") === "/linked");
});

test("a file that is emptied before it is written keeps its objects meanwhile", async () => {
  write("a.yaml", routes("a"));
  const { seen } = await started();
  write("a.yaml", "");
  write("b.yaml", routes("b"));
  await seen.until(() => seen.routes.includes("b"));
  expect(seen.routes).toEqual(["a", "b"]);
  await seen.until(() => seen.routes.join() === "b");
});

test("an edit that means the same tells nothing", async () => {
  write("a.yaml", routes("a"));
  const { seen } = await started();
  write("a.yaml", `# a comment\n${routes("a")}`);
  write("z.yaml", routes("z"));
  await seen.until(() => seen.routes.includes("z"));
  expect(
    seen.batches
      .slice(1)
      .flat()
      .map((change) => change.name),
  ).toEqual(["z"]);
});

test("an object that an edit breaks is withdrawn, and comes back", async () => {
  write("a.yaml", routes("a"));
  const { seen } = await started();
  write("a.yaml", routes("a").replace("spec:", "spec: 5 #"));
  await seen.until(() => seen.problems.length > 0);
  expect(seen.routes).toEqual([]);
  expect(seen.problems[0]?.file).toBe(join(dir, "a.yaml"));
  write("a.yaml", routes("a"));
  await seen.until(() => seen.routes.join() === "a" && seen.problems.length === 0);
});

test("of two that are the same the first in order of path stands; when it goes, the other does", async () => {
  write("a.yaml", routes("same", "/first"));
  write("b.yaml", routes("same", "/second"));
  const { seen } = await started();
  expect(regexOf(seen, "same")).toBe("/first");
  expect(seen.problems.map((problem) => problem.code)).toEqual(["duplicate"]);
  rmSync(join(dir, "a.yaml"));
  await seen.until(() => regexOf(seen, "same") === "/second" && seen.problems.length === 0);
});

const DEPLOYMENT = `apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: ns}
spec:
  template:
    metadata: {labels: {app: d}}
    spec:
      containers: [{name: c, image: i, ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: d, namespace: ns}
spec: {selector: {app: d}, ports: [{port: 80}]}
`;

test("pods are pending until somebody says what became of them; a status touches pods and endpoints only", async () => {
  write("d.yaml", DEPLOYMENT);
  const { source, seen } = await started();
  const [pod] = source.pods();
  const name = podName("ns", pod?.metadata.name ?? "");
  expect(seen.world.tables.Pod.get("ns")?.get(pod?.metadata.name ?? "")).toMatchObject({ ready: false, ips: [] });
  expect(seen.world.tables.EndpointSlice.size).toBe(0);

  const workloads = seen.world.workloads;
  source.setStatus(name, { phase: "Running", ready: true, ip: "10.64.1.1", terminating: false, restarts: 0 });
  await seen.until(() => seen.world.tables.EndpointSlice.size === 1);
  expect(seen.batches.at(-1)?.map((change) => change.kind)).toEqual(["Pod", "EndpointSlice"]);
  expect(seen.world.workloads).toBe(workloads);

  const batches = seen.batches.length;
  source.setStatus(name, { phase: "Running", ready: true, ip: "10.64.1.1", terminating: false, restarts: 7 });
  await new Promise((resolve) => setImmediate(resolve));
  expect(seen.batches).toHaveLength(batches);

  source.setStatus(name, undefined);
  await seen.until(() => seen.world.tables.EndpointSlice.size === 0);
});

test("pods are told of when they change, and equal pods stay the same objects", async () => {
  write("d.yaml", DEPLOYMENT);
  const { source, seen } = await started();
  let calls = 0;
  source.onPods(() => calls++);
  const [pod] = source.pods();
  write("d.yaml", `# touched\n${DEPLOYMENT}---\n${routes("touched")}`);
  await seen.until(() => seen.routes.includes("touched"));
  expect(source.pods()[0]).toBe(pod);
  expect(calls).toBe(0);
  write("d.yaml", DEPLOYMENT.replace("image: i", "image: j"));
  await seen.until(() => !seen.routes.includes("touched"));
  expect(calls).toBe(1);
  expect(source.pods()[0]?.spec.containers[0]?.image).toBe("j");
});

test("an object's place is known, also of the pods that were made of it", async () => {
  write("d.yaml", DEPLOYMENT);
  write("r.yaml", `---\n${routes("r")}`);
  const { source } = await started();
  expect(source.locate({ kind: "HTTPRouteGroup", namespace: "ns", name: "r" }, "spec.matches[0].pathRegex")).toEqual({
    file: join(dir, "r.yaml"),
    line: 8,
  });
  expect(source.locate({ kind: "Service", namespace: "ns", name: "d" }, "")).toEqual({
    file: join(dir, "d.yaml"),
    line: 10,
  });
  const [pod] = source.pods();
  expect(source.locate({ kind: "Pod", namespace: "ns", name: pod?.metadata.name ?? "" }, "spec.containers[0]")).toEqual(
    { file: join(dir, "d.yaml"), line: 8 },
  );
  expect(source.locate({ kind: "Service", namespace: "ns", name: "nowhere" }, "")).toBeUndefined();
});

test("a field of SMI's first versions is found where they have it", async () => {
  const old = (group: string, kind: string, rest: string) =>
    `apiVersion: ${group}.smi-spec.io/v1alpha1\nkind: ${kind}\nmetadata: {name: o, namespace: ns}\n${rest}\n`;
  write(
    "t.yaml",
    old(
      "access",
      "TrafficTarget",
      "destination: {kind: ServiceAccount}\nsources:\n- kind: A\nspecs:\n- kind: TCPRoute\n  name: t\n- kind: TCPRoute\n  name: u",
    ),
  );
  write("g.yaml", old("specs", "HTTPRouteGroup", "matches:\n- name: m\n- name: n\n  pathRegex: ("));
  const { source } = await started();
  const line = (kind: string, path: string) => source.locate({ kind, namespace: "ns", name: "o" }, path)?.line;
  expect(line("TrafficTarget", "spec.destination")).toBe(4);
  expect(line("TrafficTarget", "spec.sources[0]")).toBe(6);
  expect(line("TrafficTarget", "spec.rules[1].name")).toBe(11);
  expect(line("HTTPRouteGroup", "spec.matches[1].pathRegex")).toBe(7);
});

test("a namespace without an object is in the mesh; one with an object is what that says", async () => {
  write("r.yaml", routes("r"));
  write("n.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n");
  const { seen } = await started();
  const namespaces = seen.world.tables.Namespace.get("");
  expect(namespaces?.get("ns")).toMatchObject({ monitored: true, inject: true });
  expect(namespaces?.get("other")).toMatchObject({ monitored: false, inject: false });
});

test("after the signal nothing is told, and a folder that is not there is a Problem", async () => {
  write("a.yaml", routes("a"));
  const { seen } = await started();
  const batches = seen.batches.length;
  stop.abort();
  write("a.yaml", routes("a", "/late"));
  stop = new AbortController();
  const other = await started({ dir: join(dir, "nowhere") });
  expect(other.seen.problems.map((problem) => problem.code)).toEqual(["unreadable"]);
  expect(other.seen.syncs).toBe(1);
  expect(seen.batches).toHaveLength(batches);
});
