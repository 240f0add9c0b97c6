/**
 * Deployments, StatefulSets and the like → the pods that a cluster would make of them. Pure and deterministic: names, ids and
 * labels follow from content, so the same folder makes the same pods. Runs nothing.
 */
import { contentHash, hash } from "../../lib/hash.ts";
import { LIMITS } from "../../manifest/limits.ts";
import { podSpec } from "../../manifest/pod-spec.ts";
import { isRaw, type Raw } from "../../lib/json.ts";
import { at, Reader } from "../../manifest/reader.ts";
import { LABEL_PROXY_UUID, mustInject } from "../../world/injection.ts";
import type { PodManifest, PodSpec } from "../../world/pod.ts";
import type { Namespace, ObjectRef, Problem } from "../../world/types.ts";
import type { Controller } from "./kinds.ts";

interface Made {
  readonly pods: readonly PodManifest[];
  readonly problems: readonly Problem[];
}

interface Template {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: PodSpec;
  /** Of the content: pods of another template are other pods. */
  readonly hash: string;
}

/** What distinguishes the pods of one controller. */
interface Instance {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly spec?: Partial<PodSpec>;
  readonly owner?: { readonly kind: string; readonly name: string };
}

/** Kubernetes' own alphabet for generated names: no vowels, so no words; nothing that is easily mistaken. */
const ALPHABET = "bcdfghjklmnpqrstvwxz2456789";

function letters(content: string, length: number): string {
  const digest = hash(content);
  let out = "";
  for (let i = 0; i < length; i++)
    out += ALPHABET[Number.parseInt(digest.slice(i * 2, i * 2 + 2), 16) % ALPHABET.length];
  return out;
}

/** A UUID that follows from content (RFC 9562, version 8). */
export function uuidOf(content: string): string {
  const h = hash(content);
  const variant = ((Number.parseInt(h.slice(16, 18), 16) & 0x3f) | 0x80).toString(16);
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-8${h.slice(13, 16)}-${variant}${h.slice(18, 20)}-${h.slice(20, 32)}`;
}

/** What Kubernetes makes of `generateName`: cut, so that the name is a DNS label. */
const generated = (base: string, suffix: string): string => `${base.slice(0, 57)}-${suffix}`;

/** The pods of one controller, or of one bare Pod, in its namespace. */
export function podsOf(kind: Controller, ref: ObjectRef, object: Raw, namespace: Namespace): Made {
  const reader = new Reader(ref);
  const none = { pods: [], problems: reader.problems };
  if (kind === "CronJob") {
    reader.report(
      "unknown-kind",
      "",
      `CronJobs are not run from a folder, so no pod is made of ${ref.name}; make a Job of it to run it once.`,
      "hint",
    );
    return none;
  }
  const spec = kind === "Pod" ? object : reader.map(object["spec"], "spec", "no pod is made of it");
  const template =
    spec && (kind === "Pod" ? templateOf(reader, object, "") : templateOf(reader, spec["template"], "spec.template"));
  if (!spec || !template) return none;
  if (!selects(reader, spec, kind, template)) return none;
  const instances = instancesOf(reader, kind, ref, spec, template);
  return { pods: instances.map((instance) => podOf(ref, namespace, template, instance)), problems: reader.problems };
}

function templateOf(reader: Reader, value: unknown, path: string): Template | undefined {
  if (value === undefined || value === null) return reader.missing(path, "no pod is made of it");
  const raw = reader.map(value, path, "no pod is made of it");
  if (!raw) return undefined;
  const metadata =
    raw["metadata"] === undefined || raw["metadata"] === null
      ? {}
      : reader.map(raw["metadata"], at(path, "metadata"), "its labels are not seen");
  const strings = (key: string) => {
    const field = metadata?.[key];
    return field === undefined || field === null
      ? {}
      : (reader.strings(field, at(at(path, "metadata"), key), "it is not set") ?? {});
  };
  const spec = podSpec(reader, raw["spec"], at(path, "spec"));
  if (!spec) return undefined;
  const { [LABEL_PROXY_UUID]: _, ...labels } = strings("labels");
  const annotations = strings("annotations");
  return { labels, annotations, spec, hash: contentHash({ labels, annotations, spec }) };
}

/** Kubernetes refuses a controller whose selector does not select its own pods. */
function selects(reader: Reader, spec: Raw, kind: Controller, template: Template): boolean {
  if (kind === "Pod" || kind === "Job" || !isRaw(spec["selector"])) return true;
  const wanted = kind === "ReplicationController" ? spec["selector"] : spec["selector"]["matchLabels"];
  const path = kind === "ReplicationController" ? "spec.selector" : "spec.selector.matchLabels";
  for (const [key, value] of Object.entries(isRaw(wanted) ? wanted : {})) {
    if (template.labels[key] === value) continue;
    const where = at(path, key);
    reader.report(
      "bad-field",
      where,
      `${where} is not a label of spec.template, so no pod is made of it, as Kubernetes refuses it; give both the same label.`,
    );
    return false;
  }
  return true;
}

function count(reader: Reader, spec: Raw, key: string, fallback: number): number {
  const value = spec[key];
  if (value === undefined || value === null) return fallback;
  const path = at("spec", key);
  const read = reader.integer(value, path, `it counts as ${fallback}`) ?? fallback;
  if (read <= LIMITS.replicas) return read;
  reader.report(
    "too-large",
    path,
    `${path} is ${read} where at most ${LIMITS.replicas} pods are made of one object, so ${LIMITS.replicas} are made; lower it.`,
  );
  return LIMITS.replicas;
}

const numbered = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

function instancesOf(reader: Reader, kind: Controller, ref: ObjectRef, spec: Raw, template: Template): Instance[] {
  const seed = `${ref.namespace}/${ref.name}`;
  const suffix = (i: number) => letters(`${kind}/${seed}/${template.hash}/${i}`, 5);
  switch (kind) {
    case "Pod":
      return [{ name: ref.name, labels: {} }];
    case "Deployment": {
      const hash10 = letters(template.hash, 10);
      const owner = { kind: "ReplicaSet", name: `${ref.name}-${hash10}` };
      const labels = { "pod-template-hash": hash10 };
      return numbered(count(reader, spec, "replicas", 1)).map((i) => ({
        name: generated(owner.name, suffix(i)),
        labels,
        owner,
      }));
    }
    case "ReplicaSet":
    case "ReplicationController":
      return numbered(count(reader, spec, "replicas", 1)).map((i) => ({
        name: generated(ref.name, suffix(i)),
        labels: {},
        owner: { kind, name: ref.name },
      }));
    case "DaemonSet": {
      const labels = { "controller-revision-hash": letters(template.hash, 10), "pod-template-generation": "1" };
      return [{ name: generated(ref.name, suffix(0)), labels, owner: { kind, name: ref.name } }];
    }
    case "StatefulSet":
      return statefulSet(reader, ref, spec, template);
    case "Job": {
      const completions =
        spec["completions"] === undefined ? Number.POSITIVE_INFINITY : count(reader, spec, "completions", 1);
      const labels = { "job-name": ref.name, "batch.kubernetes.io/job-name": ref.name };
      return numbered(Math.min(count(reader, spec, "parallelism", 1), completions)).map((i) => {
        const indexed = spec["completionMode"] === "Indexed";
        return {
          name: generated(indexed ? `${ref.name}-${i}` : ref.name, suffix(i)),
          labels: indexed ? { ...labels, "batch.kubernetes.io/job-completion-index": String(i) } : labels,
          owner: { kind, name: ref.name },
        };
      });
    }
    case "CronJob":
      return [];
  }
}

function statefulSet(reader: Reader, ref: ObjectRef, spec: Raw, template: Template): Instance[] {
  const given = spec["serviceName"];
  const subdomain =
    given === undefined || given === null
      ? undefined
      : reader.string(given, "spec.serviceName", "its pods have no names of their own", LIMITS.name);
  const ordinals = isRaw(spec["ordinals"]) ? spec["ordinals"] : {};
  const start =
    ordinals["start"] === undefined
      ? 0
      : (reader.integer(ordinals["start"], "spec.ordinals.start", "it counts as 0") ?? 0);
  const revision = `${ref.name}-${letters(template.hash, 10)}`;
  return Array.from({ length: count(reader, spec, "replicas", 1) }, (_, i) => {
    const name = `${ref.name}-${start + i}`;
    return {
      name,
      labels: {
        "controller-revision-hash": revision,
        "statefulset.kubernetes.io/pod-name": name,
        "apps.kubernetes.io/pod-index": String(start + i),
      },
      spec: { hostname: name, ...(subdomain ? { subdomain } : {}) },
      owner: { kind: "StatefulSet", name: ref.name },
    };
  });
}

function podOf(ref: ObjectRef, namespace: Namespace, template: Template, instance: Instance): PodManifest {
  const place = `${ref.namespace}/${instance.name}`;
  const injected = mustInject(namespace, {
    annotations: template.annotations,
    hostNetwork: template.spec.hostNetwork ?? false,
  });
  const scrape = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": "15010",
    "prometheus.io/path": "/stats/prometheus",
  };
  return {
    metadata: {
      name: instance.name,
      namespace: ref.namespace,
      uid: uuidOf(`${place}/${template.hash}`),
      labels: { ...template.labels, ...instance.labels, ...(injected ? { [LABEL_PROXY_UUID]: uuidOf(place) } : {}) },
      annotations: { ...template.annotations, ...(injected && namespace.metrics ? scrape : {}) },
      ...(instance.owner ? { ownerReferences: [{ ...instance.owner, controller: true }] } : {}),
    },
    spec: { ...template.spec, ...instance.spec },
  };
}
