/** `heddle inject -f`, without the files. */
import { loadAll } from "js-yaml";
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { injectFile } from "../../../src/injector/inject-file.ts";
import { named, pod, settings, shop, type Loose } from "./pods.ts";

const template = (name: string): Loose => {
  const { metadata, spec } = pod();
  return { metadata: { ...metadata, name: undefined, namespace: undefined, labels: { app: name } }, spec };
};
const workload = (apiVersion: string, kind: string, spec: Loose = { template: template(kind) }): Loose => ({
  apiVersion,
  kind,
  metadata: { name: kind.toLowerCase(), namespace: "shop" },
  spec,
});
const run = (documents: readonly unknown[], over: Loose = {}) =>
  injectFile(documents, { settings: settings(), secret: "unguessable", ...over });

test.each([
  ["v1", "Pod", (o: Loose) => o],
  ["apps/v1", "Deployment", (o: Loose) => o.spec.template],
  ["apps/v1", "StatefulSet", (o: Loose) => o.spec.template],
  ["apps/v1", "DaemonSet", (o: Loose) => o.spec.template],
  ["apps/v1", "ReplicaSet", (o: Loose) => o.spec.template],
  ["batch/v1", "Job", (o: Loose) => o.spec.template],
  ["batch/v1", "CronJob", (o: Loose) => o.spec.jobTemplate.spec.template],
])("%s %s gets its sidecar where its pod is", (apiVersion, kind, podOf) => {
  const inner = { template: template(kind) };
  const before =
    kind === "Pod"
      ? pod()
      : workload(
          apiVersion,
          kind,
          kind === "CronJob" ? { schedule: "* * * * *", jobTemplate: { spec: inner } } : inner,
        );
  const text = JSON.stringify(before);
  const { documents, notes } = run([before]);
  expect(JSON.stringify(before)).toBe(text);
  const done = podOf(documents[0]);
  expect(named(done, "envoy").restartPolicy).toBe("Always");
  // Its pods would share an id otherwise.
  expect(done.metadata.labels["osm-proxy-uuid"]).toBe("pod-uid");
  expect(named(done, "envoy").env).toContainEqual({
    name: "PROXY_UUID",
    valueFrom: { fieldRef: { fieldPath: "metadata.uid" } },
  });
  expect(notes).toEqual([expect.objectContaining({ outcome: "injected", kind, namespace: "shop", message: "" })]);
});

test("lists keep their form, and what makes no pods passes as it is", () => {
  const service = { apiVersion: "v1", kind: "Service", metadata: { name: "s" } };
  const list = { apiVersion: "v1", kind: "List", items: [service, workload("apps/v1", "Deployment")] };
  const others = [null, 5, "text", [], {}, service, { kind: "Deployment", apiVersion: "example.com/v1", spec: {} }];
  const { documents, notes } = run([...others, list]);
  expect(documents.slice(0, others.length)).toEqual(others);
  expect((documents.at(-1) as Loose).items[0]).toBe(service);
  expect(named((documents.at(-1) as Loose).items[1].spec.template, "envoy")).toBeDefined();
  expect(notes.map((note) => note.outcome)).toEqual(["injected"]);
});

test("what is injected already stays, byte by byte", () => {
  const once = run([workload("apps/v1", "Deployment")]).documents;
  const { documents, notes } = run(once);
  expect(documents[0]).toBe(once[0]);
  expect(notes).toEqual([
    expect.objectContaining({ outcome: "left", message: "The pod has a sidecar already, so it is left as it is." }),
  ]);
});

test("what is left out or refused is said, and stands as it was", () => {
  const annotated = (value: string) => {
    const deployment = workload("apps/v1", "Deployment");
    deployment.spec.template.metadata.annotations = { "openservicemesh.io/sidecar-injection": value };
    return deployment;
  };
  const input = [
    annotated("disabled"),
    annotated("perhaps"),
    workload("apps/v1", "Deployment", {}),
    pod({ hostNetwork: true }),
  ];
  const { documents, notes } = run(input);
  expect(documents).toEqual(input);
  expect(notes.map((note) => note.outcome)).toEqual(["left", "refused", "refused", "left"]);
  expect(notes[0]?.message).toBe("It does not want a sidecar.");
  const outside = run([pod()], { namespaces: new Map([["shop", shop({ monitored: false })]]) });
  expect(outside.notes).toEqual([
    expect.objectContaining({ outcome: "left", message: "Namespace shop is not in the mesh." }),
  ]);
});

test("the examples", () => {
  const folder = new URL("../../../examples/bookstore/", import.meta.url);
  const objects = readdirSync(folder)
    .filter((name) => name.endsWith(".yaml"))
    .flatMap((name) => loadAll(readFileSync(new URL(name, folder), "utf8")));
  const { documents, notes } = run(objects);
  expect(documents).toHaveLength(objects.length);
  const workloads = objects.filter((o: Loose) => ["Deployment", "StatefulSet"].includes(o?.kind));
  expect(workloads.length).toBeGreaterThan(3);
  expect(notes.filter((note) => note.outcome === "injected")).toHaveLength(workloads.length);
});
