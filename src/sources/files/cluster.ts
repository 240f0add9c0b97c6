/**
 * What a cluster would make of a folder's objects: namespaces, virtual IPs, pods, EndpointSlices, all decoded as a cluster's own.
 * Keeps what it made, so that only what changed is made again. Touches no disk and runs nothing.
 */
import { isDeepStrictEqual } from "node:util";
import { Memo } from "../../lib/memo.ts";
import { Decoder, type Decoded } from "../../manifest/decode.ts";
import { isAddress } from "../../manifest/core.ts";
import { isRaw, type Raw } from "../../lib/json.ts";
import { isName, Reader } from "../../manifest/reader.ts";
import { ANNOTATION_INJECTION, LABEL_MONITORED_BY } from "../../world/injection.ts";
import { podName, type PodName } from "../../world/names.ts";
import type { PodManifest, PodStatus } from "../../world/pod.ts";
import type { Change, Namespace, Problem, Service } from "../../world/types.ts";
import { placed, type Entry } from "./catalog.ts";
import { podsOf } from "./controllers.ts";
import { addressesOf, endpointSlices, inside, podObject, selects, type RunningPod } from "./services.ts";

export interface Subnets {
  /** A /16, as `10.64.0.0/16`: pods get addresses from it where nobody runs them. */
  readonly pods: string;
  /** A /16: virtual IPs of Services. */
  readonly services: string;
}

export interface Derived {
  /** All that is there, one change for each object. */
  readonly changes: readonly Change[];
  /** Equal pods are the same object as before. */
  readonly pods: readonly PodManifest[];
  /** Which entry a pod was made of. */
  readonly owners: ReadonlyMap<PodName, Entry>;
  readonly problems: readonly Problem[];
}

/** With `assume-ready`, every pod runs, is ready and has an address of its own; else it is what `statuses` says of it. */
export type Statuses = "assume-ready" | ReadonlyMap<PodName, PodStatus>;

type Place = Pick<Entry, "file" | "lineOf">;

/** What an entry is remembered by; objects without a name are told apart by their places. */
const keyOf = ({ ref, file, line }: Entry): string =>
  `${ref.kind}/${ref.namespace}/${ref.name}/${ref.name === "" ? `${file}:${line}` : ""}`;

export class Cluster {
  readonly #subnets: Subnets;
  readonly #decoder = new Decoder();
  readonly #decoded = new Memo<Decoded>();
  readonly #made = new Memo<ReturnType<typeof podsOf>>();
  readonly #raws = new Memo<Raw>();
  readonly #slices = new Memo<readonly Raw[]>();
  #pods: ReadonlyMap<PodName, PodManifest> = new Map();

  constructor(subnets: Subnets) {
    this.#subnets = subnets;
  }

  /** @param known - namespaces as they are, whatever the entries say */
  derive(entries: readonly Entry[], statuses: Statuses, known: ReadonlyMap<string, Namespace> = new Map()): Derived {
    const changes: Change[] = [];
    const problems: Problem[] = [];
    const decode = (key: string, raw: Raw, entry?: Place): Decoded => {
      const decoded = this.#decoded.get(key, [raw], () => this.#decoder.decode(raw));
      changes.push(...decoded.changes);
      problems.push(...decoded.problems.map((problem) => (entry ? placed(problem, entry) : problem)));
      return decoded;
    };

    const namespaces = new Map([...this.#namespaces(entries, decode), ...known]);
    const { pods, owners } = this.#podsOf(entries, namespaces, problems);
    const running = this.#running(pods, statuses);
    for (const [name, { pod, status }] of running) {
      const raw = this.#raws.get(`Pod/${name}`, [pod, status], () => podObject(pod, status));
      const owner = owners.get(name);
      decode(
        `Pod/${name}/`,
        raw,
        owner && { file: owner.file, lineOf: (path) => owner.lineOf(`spec.template.${path}`) },
      );
    }
    const byNamespace = Map.groupBy(running.values(), ({ pod }) => pod.metadata.namespace);

    const services = this.#withAddresses(entries, problems);
    for (const entry of entries) {
      if (entry.controller || entry.ref.kind === "Namespace") continue;
      const raw = services.get(entry) ?? entry.raw;
      const change = decode(keyOf(entry), raw, entry).changes[0];
      if (change?.kind !== "Service" || !change.value) continue;
      for (const slice of this.#slicesOf(change.value, raw, byNamespace.get(change.namespace) ?? [])) {
        decode(`EndpointSlice/${change.namespace}/${(slice["metadata"] as { name: string }).name}/`, slice, entry);
      }
    }
    for (const memo of [this.#decoded, this.#made, this.#raws, this.#slices]) memo.sweep();
    return { changes, pods: [...pods.values()], owners, problems };
  }

  /** Namespaces that have no object are in the mesh: a folder needs none. */
  #namespaces(entries: readonly Entry[], decode: (key: string, raw: Raw, entry?: Place) => Decoded) {
    const namespaces = new Map<string, Namespace>();
    const keep = (decoded: Decoded) => {
      for (const change of decoded.changes)
        if (change.kind === "Namespace" && change.value) namespaces.set(change.name, change.value);
    };
    for (const entry of entries) if (entry.ref.kind === "Namespace") keep(decode(keyOf(entry), entry.raw, entry));
    const named = new Set(
      entries.filter((entry) => entry.ref.kind !== "Namespace").map((entry) => entry.ref.namespace),
    );
    for (const name of [...named].sort()) {
      if (!isName(name) || namespaces.has(name)) continue;
      const raw = this.#raws.get(`Namespace/${name}`, [], () => ({
        apiVersion: "v1",
        kind: "Namespace",
        metadata: {
          name,
          labels: { [LABEL_MONITORED_BY]: "heddle" },
          annotations: { [ANNOTATION_INJECTION]: "enabled" },
        },
      }));
      keep(decode(`Namespace//${name}/made`, raw));
    }
    return namespaces;
  }

  #podsOf(entries: readonly Entry[], namespaces: ReadonlyMap<string, Namespace>, problems: Problem[]) {
    const pods = new Map<PodName, PodManifest>();
    const owners = new Map<PodName, Entry>();
    for (const entry of entries) {
      const { controller, ref, raw } = entry;
      const namespace = namespaces.get(ref.namespace);
      if (!controller || !namespace) continue;
      const made = this.#made.get(`${controller}/${ref.namespace}/${ref.name}`, [raw, namespace], () =>
        podsOf(controller, ref, raw, namespace),
      );
      problems.push(...made.problems.map((problem) => placed(problem, entry)));
      for (const pod of made.pods) {
        const name = podName(ref.namespace, pod.metadata.name);
        const other = owners.get(name);
        if (other) {
          const message = `Pod ${name} is already made of ${other.ref.kind} ${other.ref.name} at line ${other.line} of ${other.file}, so ${ref.kind} ${ref.name} does not make it; rename one of them.`;
          problems.push({
            code: "duplicate",
            severity: "error",
            object: ref,
            path: "metadata.name",
            message,
            file: entry.file,
            line: entry.line,
          });
          continue;
        }
        const before = this.#pods.get(name);
        pods.set(name, before && isDeepStrictEqual(before, pod) ? before : pod);
        owners.set(name, entry);
      }
    }
    this.#pods = pods;
    return { pods, owners };
  }

  #running(pods: ReadonlyMap<PodName, PodManifest>, statuses: Statuses): ReadonlyMap<PodName, RunningPod> {
    const out = new Map<PodName, RunningPod>();
    if (statuses !== "assume-ready") {
      for (const [name, pod] of pods) out.set(name, { pod, status: statuses.get(name) });
      return out;
    }
    const ips = addressesOf(this.#subnets.pods, [...pods.keys()]);
    for (const [name, pod] of pods) {
      const ip = ips.get(name);
      // Kept by its address, so that a pod that did not change is not made again.
      const status = this.#raws.get(`status/${name}`, [ip], () => ({
        ...assumed,
        ...(ip ? { ip } : {}),
      })) as unknown as PodStatus;
      out.set(name, { pod, status });
    }
    return out;
  }

  /** The Services that get a virtual IP here. One that a user wrote holds if it lies in the range and is free. */
  #withAddresses(entries: readonly Entry[], problems: Problem[]): ReadonlyMap<Entry, Raw> {
    const wanting = new Map<string, Entry>();
    const fixed = new Map<string, string>();
    for (const entry of entries) {
      const core = entry.ref.kind === "Service" && isRaw(entry.raw) && entry.raw["apiVersion"] === "v1";
      const spec = core && isRaw(entry.raw["spec"]) ? entry.raw["spec"] : undefined;
      if (!spec || spec["type"] === "ExternalName") continue;
      const list = Array.isArray(spec["clusterIPs"]) ? (spec["clusterIPs"] as unknown[]) : [];
      const written = spec["clusterIP"] ?? list[0];
      if (written === "None") continue;
      const name = `${entry.ref.namespace}/${entry.ref.name}`;
      wanting.set(name, entry);
      if (written === undefined || written === null || written === "") continue;
      const reader = new Reader(entry.ref);
      const path = spec["clusterIP"] === undefined ? "spec.clusterIPs[0]" : "spec.clusterIP";
      const then = "it gets another address";
      if (typeof written !== "string" || !isAddress(written))
        reader.wrong(written, path, "an IP address or None", then);
      else if (!inside(this.#subnets.services, written)) {
        reader.report(
          "bad-field",
          path,
          `${path} is ${written}, which is not in this run's range of virtual IPs, so ${then}; leave it out to be silent about it.`,
          "hint",
        );
      } else if ([...fixed.values()].includes(written)) {
        reader.report(
          "bad-field",
          path,
          `${path} is ${written}, which another Service has, so ${then}; write one that is free.`,
        );
      } else fixed.set(name, written);
      problems.push(...reader.problems.map((problem) => placed(problem, entry)));
    }
    const ips = addressesOf(this.#subnets.services, [...wanting.keys()], fixed);
    const out = new Map<Entry, Raw>();
    for (const [name, entry] of wanting) {
      const ip = ips.get(name) ?? "";
      const raw = this.#raws.get(`Service/${name}`, [entry.raw, ip], () => ({
        ...entry.raw,
        spec: { ...(entry.raw["spec"] as Raw), clusterIP: ip, clusterIPs: [ip] },
      }));
      out.set(entry, raw);
    }
    return out;
  }

  #slicesOf(service: Service, raw: Raw, running: readonly RunningPod[]): readonly Raw[] {
    const spec = raw["spec"] as Raw;
    const selected = running.filter(({ pod }) => selects(service, pod));
    const deps = [service, ...selected.flatMap(({ pod, status }) => [pod, status])];
    return this.#slices.get(service.name, deps, () =>
      endpointSlices(service, spec["publishNotReadyAddresses"] === true, selected),
    );
  }
}

const assumed = { phase: "Running", ready: true, terminating: false, restarts: 0 } as const;
