/**
 * Pods on this machine without Kubernetes: brings what is wanted and what runs together, and removes every trace at the end.
 * Knows no policy and no Envoy configuration: sidecars are given to it.
 */
import { randomInt } from "node:crypto";
import { contentHash } from "../lib/hash.ts";
import { Settle } from "../lib/settle.ts";
import type { Log } from "../telemetry/log.ts";
import { podName, type PodName } from "../world/names.ts";
import type { PodManifest, PodStatus } from "../world/pod.ts";
import { ADMIN_PORT } from "../injector/bootstrap.ts";
import { admin, type AdminReply } from "./admin.ts";
import { cleanUp, cleanUpDead } from "./clean-up.ts";
import { LocalError } from "./errors.ts";
import { NameServer } from "./name-server.ts";
import type { NamedService } from "./names.ts";
import { hostRoutes, Network } from "./network.ts";
import { LocalPod } from "./pod.ts";
import * as records from "./record.ts";
import { deploymentOf, Rollout } from "./rollout.ts";
import type { VirtualPort } from "./service-rules.ts";
import { Addresses, candidates, subnetsOf, type Subnets } from "./subnet.ts";
import { ensureTools } from "./tools.ts";
import type { Images, Sidecar, SidecarPlace } from "./types.ts";

export interface LocalRuntimeOptions {
  /** Up to 8 of `a-z0-9`; random when absent. */
  readonly id?: string;
  readonly images: Images;
  /** Asked each time a pod starts; undefined: the pod has no sidecar. */
  readonly sidecar: (pod: PodManifest, place: SidecarPlace) => Sidecar | undefined | Promise<Sidecar | undefined>;
  readonly log: Log;
  /** Gets one line for each thing that is done to the machine. */
  readonly say: (line: string) => void;
  /** Undefined: the pod is gone. */
  readonly onStatus: (pod: PodName, status: PodStatus | undefined) => void;
  readonly onLine?: (pod: PodName, container: string, line: string) => void;
}

/** What is wanted under a pod's name, and what runs there. Only one of them is changed at a time. */
interface Slot {
  readonly name: PodName;
  wanted: Wanted | undefined;
  running: { readonly pod: LocalPod; readonly wanted: Wanted } | undefined;
  busy: Promise<void> | undefined;
}
interface Wanted {
  readonly manifest: PodManifest;
  readonly hash: string;
}

export class LocalRuntime {
  readonly #options: LocalRuntimeOptions;
  readonly #names = new NameServer();
  readonly #slots = new Map<PodName, Slot>();
  readonly #rollout = new Rollout((name) => this.#want(name, undefined));
  readonly #write = new Settle({ quiet: 50, max: 300 }, () => this.#writeRecord());
  readonly #onExit = (): void => cleanUp(this.#id);
  #id = "";
  #subnets: Subnets | undefined;
  #network: Network | undefined;
  #addresses: Addresses | undefined;
  #startedAt = 0;
  #stopping: Promise<void> | undefined;
  #unlisten: () => void = () => {};

  constructor(options: LocalRuntimeOptions) {
    this.#options = options;
  }

  get id(): string {
    return this.#id;
  }
  /** The host's address in the run: pods reach what listens there. */
  get address(): string {
    return this.#known().host;
  }
  get podSubnet(): string {
    return this.#known().pods;
  }
  /** Virtual IPs are to be taken from here. */
  get serviceSubnet(): string {
    return this.#known().services;
  }
  /** Connections from this local address reach pods past their sidecar, as a kubelet's probes do. */
  get prober(): string {
    return this.#known().prober;
  }

  #known(): Subnets {
    if (!this.#subnets) throw new Error("the runtime has not been started");
    return this.#subnets;
  }

  /**
   * Makes the machine ready, removes what dead runs left, and makes the network. The signal's abort is `stop()`.
   * Throws a `LocalError` when this machine cannot do it; nothing is left behind then.
   */
  async start(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await ensureTools(this.#options.say);
    const dead = cleanUpDead();
    if (dead.length > 0) this.#options.say(`Removed what an earlier run left behind (${dead.join(", ")})`);
    this.#claim();
    process.once("exit", this.#onExit);
    try {
      this.#network = new Network(this.#id, this.#known(), this.#options.log);
      await this.#network.start();
      await this.#names.start(this.address);
      signal.throwIfAborted();
    } catch (error) {
      await this.stop();
      throw error;
    }
    const onAbort = (): void => void this.stop();
    signal.addEventListener("abort", onAbort, { once: true });
    this.#unlisten = () => signal.removeEventListener("abort", onAbort);
  }

  /** Takes an id and a subnet that no other run on this machine has. */
  #claim(): void {
    const { id } = this.#options;
    if (id !== undefined && !records.isRunId(id))
      throw new LocalError("run-exists", `"${id}" cannot name a run: 1 to 8 of a-z and 0-9.`);
    const taken =
      id === undefined ? records.createRun(randomId()) || records.createRun(randomId()) : records.createRun(id);
    if (taken === undefined) {
      const owner = records.readRecord(id ?? "")?.owner.pid;
      const whose = owner === undefined ? "" : ` (process ${owner})`;
      throw new LocalError("run-exists", `A run called "${id}" is active${whose}. Stop it, or choose another id.`);
    }
    this.#id = taken;
    this.#startedAt = Date.now();
    this.#writeRecord();
    const index = candidates(hostRoutes()).find((i) => records.claimSubnet(i, this.#id));
    if (index === undefined) {
      cleanUp(this.#id);
      throw new LocalError(
        "no-subnet",
        "No free subnet in 10.64.0.0/10: other runs or this machine's routes use them all (see: ip route).",
      );
    }
    this.#subnets = subnetsOf(index);
    this.#addresses = new Addresses(index);
    this.#writeRecord();
  }

  /**
   * These pods and no others are wanted. A pod whose spec (for one with an owner: also labels and annotations) differs is replaced
   * in place. Pods of a Deployment that are not wanted any more go when its other pods are ready, at the latest after 30 s.
   */
  apply(pods: readonly PodManifest[]): void {
    const wanted = new Map(pods.map((pod) => [podName(pod.metadata.namespace, pod.metadata.name), pod] as const));
    for (const [name, manifest] of wanted) {
      const hash = hashOf(manifest);
      this.#rollout.keep(name);
      // What follows a `+` in a hash was added by a restart.
      if (this.#slots.get(name)?.wanted?.hash.split("+")[0] !== hash) this.#want(name, { manifest, hash });
    }
    for (const [name, slot] of this.#slots) {
      if (wanted.has(name) || !slot.wanted) continue;
      this.#rollout.retire(name, deploymentOf(slot.wanted.manifest));
    }
    this.#checkRollout();
  }

  /** Ends a pod. A later `apply` that wants it brings it back. */
  remove(name: PodName): void {
    this.#want(name, undefined);
  }

  /** Ends a pod and starts it anew, with a new sidecar. */
  restart(name: PodName): void {
    const wanted = this.#slots.get(name)?.wanted;
    if (wanted) this.#want(name, { ...wanted, hash: `${wanted.hash.split("+")[0]}+${randomId()}` });
  }

  /** Names that pods can resolve from now on. */
  setNames(services: readonly NamedService[]): void {
    this.#names.setNames(services);
  }

  /** Who answers behind virtual IPs, for traffic that no sidecar takes. */
  setServices(ports: readonly VirtualPort[]): void {
    this.#network?.setServices(ports);
  }

  /** Replaces files of a running pod's sidecar, a renewed certificate, say. */
  writeSidecarFiles(name: PodName, files: Sidecar["files"]): void {
    this.#slots.get(name)?.running?.pod.writeFiles(files);
  }

  /** Asks a sidecar's admin interface. */
  admin(name: PodName, path: string, method: "GET" | "POST" = "GET"): Promise<AdminReply> {
    const ip = this.#slots.get(name)?.running?.pod.attachment.ip;
    if (ip === undefined) return Promise.reject(new Error(`there is no pod ${name}`));
    return admin({ ip, from: this.prober, port: ADMIN_PORT }, path, method);
  }

  status(name: PodName): PodStatus | undefined {
    return this.#slots.get(name)?.running?.pod.status;
  }

  /** Ends all pods and removes every trace. May be called at any time and more than once. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop());
  }

  async #stop(): Promise<void> {
    this.#unlisten();
    this.#rollout.stop();
    this.#network?.stop();
    await Promise.all(
      [...this.#slots.values()].map(async (slot) => {
        await slot.running?.pod.stop(true);
        await slot.busy;
      }),
    );
    this.#write.stop();
    await this.#names.stop();
    if (this.#id !== "") cleanUp(this.#id);
    process.off("exit", this.#onExit);
  }

  #want(name: PodName, wanted: Wanted | undefined): void {
    if (this.#stopping) return;
    let slot = this.#slots.get(name);
    if (!slot) {
      if (!wanted) return;
      slot = { name, wanted, running: undefined, busy: undefined };
      this.#slots.set(name, slot);
    }
    slot.wanted = wanted;
    slot.busy ??= this.#reconcile(slot).finally(() => (slot.busy = undefined));
  }

  async #reconcile(slot: Slot): Promise<void> {
    while (!this.#stopping && slot.running?.wanted.hash !== slot.wanted?.hash) {
      if (slot.running) {
        const { pod } = slot.running;
        await pod.stop();
        slot.running = undefined;
        this.#addresses!.free(pod.attachment.ip);
        this.#onStatus(slot.name, undefined);
      }
      if (slot.wanted && !this.#stopping) {
        const pod = this.#makePod(slot.name, slot.wanted.manifest);
        slot.running = { pod, wanted: slot.wanted };
        pod.start();
      }
    }
    if (!slot.wanted && !slot.running) this.#slots.delete(slot.name);
  }

  #makePod(name: PodName, manifest: PodManifest): LocalPod {
    const { images, sidecar, log, onLine } = this.#options;
    const { namespace } = manifest.metadata;
    const netns = records.podNamespace(this.#id, name);
    const ip = this.#addresses!.take();
    return new LocalPod({
      manifest,
      attachment: { netns, ip, hostname: hostnameOf(manifest), namespace, podName: name },
      directory: records.podDirectory(this.#id, namespace, manifest.metadata.name),
      network: this.#network!,
      prober: this.prober,
      images,
      sidecar: async (directory) => sidecar(manifest, { ip, directory }),
      log,
      onStatus: (status) => this.#onStatus(name, status),
      onLine: (container, line) => onLine?.(name, container, line),
    });
  }

  #onStatus(name: PodName, status: PodStatus | undefined): void {
    this.#options.onStatus(name, status);
    if (this.#stopping) return;
    this.#write.poke();
    this.#checkRollout();
  }

  #checkRollout(): void {
    this.#rollout.check(
      [...this.#slots.values()].flatMap(({ name, wanted, running }) =>
        wanted && !this.#rollout.has(name)
          ? [
              {
                deployment: deploymentOf(wanted.manifest),
                ready: running?.wanted === wanted && running.pod.status.ready,
              },
            ]
          : [],
      ),
    );
  }

  #writeRecord(): void {
    const running = [...this.#slots.values()].flatMap((slot) => (slot.running ? [slot.running.pod] : []));
    records.writeRecord({
      id: this.#id,
      owner: { pid: process.pid, startTime: records.startTime(process.pid) ?? "" },
      startedAt: this.#startedAt,
      address: this.#subnets?.host ?? "",
      podSubnet: this.#subnets?.pods ?? "",
      serviceSubnet: this.#subnets?.services ?? "",
      pods: running.map(({ attachment, manifest, status, containers }) => ({
        namespace: manifest.metadata.namespace,
        name: manifest.metadata.name,
        netns: attachment.netns,
        hostname: attachment.hostname,
        status,
        containers,
      })),
    });
  }
}

/** The pod's name for itself. */
const hostnameOf = (pod: PodManifest): string => (pod.spec.hostname ?? pod.metadata.name).slice(0, 63);

const randomId = (): string => randomInt(36 ** 3, 36 ** 4).toString(36);

/** A bare pod may be labelled while it runs; a workload's template makes new pods. */
function hashOf({ metadata, spec }: PodManifest): string {
  const { labels, annotations, ownerReferences } = metadata;
  return contentHash(ownerReferences?.length ? { labels, annotations, spec } : spec);
}
