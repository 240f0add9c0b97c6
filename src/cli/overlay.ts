/**
 * What `kubectl apply` of some objects makes of a world that runs: objects of the same kind and name are replaced, all else stays. What the
 * cluster decides itself (addresses, ages, labels that the objects do not name) stays too. Pure.
 */
import { isDeepStrictEqual } from "node:util";
import { canonical } from "../lib/hash.ts";
import { podPort, selects } from "../policy/services.ts";
import { isRaw, type Raw } from "../lib/json.ts";
import type { Objects, Outcome } from "../sources/files/once.ts";
import { ANNOTATION_INJECTION, LABEL_IGNORE, LABEL_MONITORED_BY } from "../world/injection.ts";
import { localName, namespaceOf } from "../world/names.ts";
import type { Change, EndpointSlice, Namespace, Pod, Service, Workload } from "../world/types.ts";
import { apply, inNamespace, type World } from "../world/world.ts";

/** Namespaces as they will be, with what the cluster knows and the objects do not say: they decide which pods get a sidecar. */
export function namespacesAfter(world: World, objects: Objects, outcome: Outcome): ReadonlyMap<string, Namespace> {
  const written = writtenIn(objects);
  const after = new Map(world.tables.Namespace.get(""));
  for (const change of outcome.changes) {
    if (change.kind !== "Namespace" || change.value === undefined) continue;
    const known = after.get(change.name);
    after.set(change.name, known ? merged(known, change.value, written.get(change.name)) : change.value);
  }
  return after;
}

const writtenIn = (objects: Objects): ReadonlyMap<string, unknown> =>
  new Map(objects.entries.filter(({ ref }) => ref.kind === "Namespace").map(({ ref, raw }) => [ref.name, raw]));

/** The changes that lead from the world to the one with the objects applied. */
export function overlay(world: World, objects: Objects, outcome: Outcome): readonly Change[] {
  const written = writtenIn(objects);
  const changes = outcome.changes.flatMap((change) => applied(world, change, written) ?? []);
  const pods = podChanges(world, outcome);
  const next = apply(world, [...changes, ...pods]);
  return [...changes, ...pods, ...sliceChanges(world, next, outcome)];
}

/** What becomes of one object; undefined when it stays as it is, or is looked at elsewhere. */
function applied(world: World, change: Change, written: ReadonlyMap<string, unknown>): Change | undefined {
  if (change.kind === "Pod" || change.kind === "EndpointSlice" || change.value === undefined) return undefined;
  const known = world.tables[change.kind].get(change.namespace)?.get(change.name);
  const next = kept(change, known, written);
  return isDeepStrictEqual(known, next.value) ? undefined : next;
}

/** With what the cluster has decided about the object of this name. */
function kept(change: Change, known: unknown, written: ReadonlyMap<string, unknown>): Change {
  if (known === undefined || change.value === undefined) return change;
  switch (change.kind) {
    case "Namespace":
      return { ...change, value: merged(known as Namespace, change.value, written.get(change.name)) };
    case "Service": {
      const { clusterIPs, headless } = known as Service;
      const same = headless === change.value.headless && change.value.externalName === undefined;
      return same ? { ...change, value: { ...change.value, clusterIPs } } : change;
    }
    case "TrafficSplit":
      return { ...change, value: { ...change.value, created: (known as { created: string }).created } };
    default:
      return change;
  }
}

/** Labels and annotations that the objects do not name stay. */
function merged(known: Namespace, next: Namespace, raw: unknown): Namespace {
  if (raw === undefined) return known;
  const has = (where: "labels" | "annotations", key: string): boolean => {
    const metadata = isRaw(raw) ? raw["metadata"] : undefined;
    const map = isRaw(metadata) ? metadata[where] : undefined;
    return isRaw(map) && key in map;
  };
  const labelled = has("labels", LABEL_MONITORED_BY) || has("labels", LABEL_IGNORE);
  return {
    ...known,
    ...(labelled ? { monitored: next.monitored } : {}),
    ...(has("annotations", ANNOTATION_INJECTION) ? { inject: next.inject } : {}),
  };
}

/** Labels by which controllers tell their pods apart; they are others in every cluster. */
const OWN_LABELS = [
  "pod-template-hash",
  "controller-revision-hash",
  "pod-template-generation",
  "statefulset.kubernetes.io/pod-name",
  "apps.kubernetes.io/pod-index",
  "batch.kubernetes.io/job-completion-index",
  "batch.kubernetes.io/controller-uid",
  "controller-uid",
];

const template = ({ identity, labels, ports, past, subdomain }: Workload): string => {
  const own = Object.entries(labels).filter(([key]) => !OWN_LABELS.includes(key));
  // A sidecar that was injected adds ports of its own.
  const named = ports.filter((p) => p.name !== "" && !p.name.startsWith("proxy-"));
  return canonical([identity, Object.fromEntries(own), named, past ?? [], subdomain ?? ""]);
};

/** Whether a pod that runs is as its template would make it. One without a sidecar may be older than its namespace's membership. */
const isMadeSo = (running: Workload, made: Workload): boolean =>
  template(running) === template(made) && (made.meshed || !running.meshed);

/** Pods of controllers whose template is another one are replaced; those of an equal one stay, with their names, addresses and states. */
function podChanges(world: World, outcome: Outcome): Change[] {
  const made = new Map<unknown, Extract<Change, { kind: "Pod" }>[]>();
  for (const change of outcome.changes) {
    if (change.kind !== "Pod" || !change.value) continue;
    const owner = outcome.ownerOf({ kind: "Pod", namespace: change.namespace, name: change.name });
    made.set(owner, [...(made.get(owner) ?? []), change]);
  }
  const changes: Change[] = [];
  for (const [owner, list] of made) {
    const raw = (owner as { raw?: Raw } | undefined)?.raw;
    const [{ namespace, value: first }] = list as [Extract<Change, { kind: "Pod" }>];
    const mine = [...inNamespace(world.tables.Pod, namespace)].filter((pod) => isOf(pod, raw, list));
    if (first && mine.length > 0 && mine.every((pod) => isMadeSo(pod.workload, first.workload))) continue;
    for (const pod of mine) changes.push({ kind: "Pod", namespace, name: localName(pod.name), value: undefined });
    changes.push(...list);
  }
  return changes;
}

/** Whether a pod is of the controller that these pods would be made of. */
function isOf({ name, workload }: Pod, controller: Raw | undefined, made: readonly Change[]): boolean {
  const spec = isRaw(controller?.["spec"]) ? controller["spec"] : {};
  const selector = isRaw(spec["selector"]) ? spec["selector"] : {};
  const wanted = isRaw(selector["matchLabels"]) ? selector["matchLabels"] : {};
  if (Object.keys(wanted).length === 0) return made.some((change) => change.name === localName(name));
  return Object.entries(wanted).every(([key, value]) => workload.labels[key] === value);
}

/** Endpoints of Services that select other pods, or know their ports otherwise, than before. */
function sliceChanges(before: World, after: World, outcome: Outcome): Change[] {
  const touched = new Set(outcome.changes.map((change) => change.namespace));
  const changes: Change[] = [];
  for (const namespace of touched) {
    const samePods = before.tables.Pod.get(namespace) === after.tables.Pod.get(namespace);
    for (const service of inNamespace(after.tables.Service, namespace)) {
      const name = localName(service.name);
      const old = before.tables.Service.get(namespace)?.get(name);
      if (samePods && old && isDeepStrictEqual([old.selector, old.ports], [service.selector, service.ports])) continue;
      for (const slice of inNamespace(before.tables.EndpointSlice, namespace))
        if (slice.service === service.name)
          changes.push({ kind: "EndpointSlice", namespace, name: slice.name, value: undefined });
      changes.push(...slicesOf(after, service));
    }
  }
  return changes;
}

/** One slice a pod: ports may differ. */
function slicesOf(world: World, service: Service): Change[] {
  const namespace = namespaceOf(service.name);
  return [...inNamespace(world.tables.Pod, namespace)].flatMap((pod): Change[] => {
    if (service.externalName !== undefined || !selects(service, pod.workload.labels)) return [];
    const ports = service.ports.flatMap((port) => {
      const number = podPort(port, pod.workload);
      return number === undefined ? [] : [{ name: port.name, port: number }];
    });
    const endpoints = pod.ips.map((ip) => ({ ip, pod: pod.name, ready: pod.ready && !pod.terminating }));
    const name = `${localName(service.name)}-${localName(pod.name)}`;
    const value: EndpointSlice = { namespace, name, service: service.name, ports, endpoints };
    return [{ kind: "EndpointSlice", namespace, name, value }];
  });
}
