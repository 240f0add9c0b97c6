/**
 * One local pod from its start to its end, in a kubelet's order: network, sidecar, init containers, applications; and back.
 * Knows nothing of other pods, nor of why it is wanted.
 */
import { chmodSync, chownSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Log } from "../telemetry/log.ts";
import type { Container as ContainerSpec, PodManifest, PodStatus, Probe } from "../world/pod.ts";
import { ADMIN_PORT } from "../injector/bootstrap.ts";
import { PROXY_UID } from "../injector/iptables.ts";
import { admin, drained } from "./admin.ts";
import { Container } from "./container.ts";
import type { LaunchSpec } from "./launch.ts";
import type { Attachment, Network } from "./network.ts";
import type { RestartPolicy } from "./process.ts";
import type { ContainerRecord } from "./record.ts";
import type { Images, Sidecar } from "./types.ts";

export const SIDECAR_NAME = "envoy";
const DEFAULT_GRACE = 30;
/** Milliseconds that a sidecar's open connections are waited for, once its applications have ended. */
const DRAIN_MS = 3000;

export interface PodOptions {
  readonly manifest: PodManifest;
  readonly attachment: Attachment;
  /** Of the pod's logs and the sidecar's files. */
  readonly directory: string;
  readonly network: Network;
  /** The address that probes come from. */
  readonly prober: string;
  readonly images: Images;
  /** Undefined: this pod has no sidecar. */
  readonly sidecar: (directory: string) => Promise<Sidecar | undefined>;
  readonly log: Log;
  readonly onStatus: (status: PodStatus) => void;
  readonly onLine: (container: string, line: string) => void;
}

export class LocalPod {
  readonly #options: PodOptions;
  readonly #initContainers: Container[] = [];
  readonly #applications: Container[] = [];
  #sidecar: Container | undefined;
  #adminPort: number | undefined;
  #phase: PodStatus["phase"] = "Pending";
  #reason: string | undefined;
  #startedAt: number | undefined;
  #stopping = false;
  #detached: Promise<void> | undefined;
  #starting: Promise<void> = Promise.resolve();
  #waiters: (() => void)[] = [];
  #last = "";

  constructor(options: PodOptions) {
    this.#options = options;
  }

  get manifest(): PodManifest {
    return this.#options.manifest;
  }
  get attachment(): Attachment {
    return this.#options.attachment;
  }

  get status(): PodStatus {
    const running = this.#phase === "Running";
    const lasting = this.#longLived();
    const reason = this.#reason ?? this.#all().find((c) => c.reason !== undefined)?.reason;
    return {
      phase: this.#phase,
      ready: running && !this.#stopping && lasting.every((c) => c.ready),
      ip: this.#options.attachment.ip,
      terminating: this.#stopping,
      containers: `${lasting.filter((c) => c.ready).length}/${lasting.length}`,
      restarts: this.#all().reduce((sum, c) => sum + c.restarts, 0),
      ...(this.#startedAt !== undefined && { startedAt: this.#startedAt }),
      ...(reason !== undefined && { reason }),
    };
  }

  /** What others need to run programs in its containers and to read their logs. */
  get containers(): ContainerRecord[] {
    const all = [...this.#applications, ...this.#initContainers, ...(this.#sidecar ? [this.#sidecar] : [])];
    return all.map((container) => {
      const { uid, gid, cwd, env } = container.launch;
      const init = this.#initContainers.includes(container);
      return { name: container.name, init, uid, gid, env, log: container.logPath, ...(cwd !== undefined && { cwd }) };
    });
  }

  /** Begins; the status tells how it goes. Never rejects. */
  start(): void {
    this.#starting = this.#start().catch((error: Error) => {
      if (this.#stopping) return;
      this.#phase = "Failed";
      this.#reason = error.message;
      this.#options.log.error("a pod could not be started", { pod: this.attachment.podName, error: error.message });
      this.#changed();
    });
  }

  async #start(): Promise<void> {
    const { attachment, network, directory, manifest } = this.#options;
    const spec = manifest.spec;
    this.#changed();
    const place = join(directory, "sidecar");
    const attached = network.attach(attachment);
    const asked = this.#options.sidecar(place);
    // Whichever fails, the other one has come to its end before the pod is taken down again.
    await Promise.allSettled([attached, asked]);
    await attached;
    const sidecar = await asked;
    if (this.#stopping) return;
    if (sidecar) {
      this.#adminPort = sidecar.adminPort ?? ADMIN_PORT;
      this.writeFiles(sidecar.files);
    }
    await network.configure(attachment, sidecar?.iptables ?? "", this.#adminPort);
    this.#startedAt = Date.now();
    if (sidecar) {
      this.#sidecar = this.#makeSidecar(sidecar, place);
      this.#begin(this.#sidecar);
      if (!(await this.#until(() => this.#sidecar!.started))) return;
    }
    for (const container of spec.initContainers ?? []) {
      const always = container.restartPolicy === "Always";
      const run = this.#make(container, always ? "Always" : spec.restartPolicy === "Never" ? "Never" : "OnFailure");
      this.#initContainers.push(run);
      this.#begin(run);
      if (!(await this.#until(() => (always ? run.started : run.state === "done" || run.state === "failed")))) return;
      if (run.state === "failed") return this.#complete("Failed");
    }
    for (const container of spec.containers)
      this.#applications.push(this.#make(container, spec.restartPolicy ?? "Always"));
    this.#phase = "Running";
    for (const container of this.#applications) this.#begin(container);
  }

  /**
   * Ends it and removes its network and files. `fast`: all at once and with little patience, for the end of the run. Otherwise as
   * a kubelet: applications get their grace period while the sidecar serves on and tells clients to go elsewhere; it goes last.
   */
  async stop(fast = false): Promise<void> {
    this.#stopping = true;
    this.#changed();
    await this.#stopContainers(fast ? 1 : (this.manifest.spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE), fast);
    await this.#starting;
    // A start that was under way may have begun one more in the meantime.
    await this.#stopContainers(0, true);
    await this.#detach();
    rmSync(this.#options.directory, { recursive: true, force: true });
  }

  async #stopContainers(graceSeconds: number, fast: boolean): Promise<void> {
    const grace = graceSeconds * 1000;
    const helpers = this.#initContainers.toReversed();
    if (fast) {
      await Promise.all(this.#all().map((c) => c.stop(grace)));
      return;
    }
    const draining = this.#sidecar?.state === "running" && this.#adminPort !== undefined;
    const target = { ip: this.attachment.ip, from: this.#options.prober, port: this.#adminPort ?? ADMIN_PORT };
    if (draining) await admin(target, "/drain_listeners?graceful&skip_exit&inboundonly", "POST").catch(() => {});
    await Promise.all(this.#applications.map((c) => c.stop(grace)));
    for (const container of helpers) await container.stop(grace);
    if (draining) await drained(target, Math.min(DRAIN_MS, grace));
    await this.#sidecar?.stop(1000);
  }

  /** All applications have ended and none will be started again: what served them ends too. */
  async #complete(phase: "Succeeded" | "Failed"): Promise<void> {
    this.#phase = phase;
    this.#reason =
      this.#all().find((c) => c.state === "failed")?.reason ?? (phase === "Succeeded" ? "Completed" : undefined);
    this.#changed();
    for (const container of this.#initContainers.toReversed()) await container.stop(2000);
    await this.#sidecar?.stop(2000);
    await this.#detach();
  }

  #detach(): Promise<void> {
    return (this.#detached ??= this.#options.network.detach(this.attachment));
  }

  /** Writes files for the sidecar: readable to its user only, each whole or not at all. Envoy sees them by being moved into place. */
  writeFiles(files: Sidecar["files"]): void {
    const directory = join(this.#options.directory, "sidecar");
    mkdirSync(directory, { recursive: true });
    // Set expressly: the caller's umask may take more away.
    for (const parent of [this.#options.directory, dirname(this.#options.directory)]) chmodSync(parent, 0o755);
    chmodSync(directory, 0o700);
    chownSync(directory, PROXY_UID, PROXY_UID);
    for (const [name, { content, mode }] of Object.entries(files)) {
      const path = join(directory, name);
      writeFileSync(`${path}.new`, content, { mode: 0o600 });
      chmodSync(`${path}.new`, mode);
      chownSync(`${path}.new`, PROXY_UID, PROXY_UID);
      renameSync(`${path}.new`, path);
    }
  }

  #makeSidecar(sidecar: Sidecar, place: string): Container {
    const ready: Probe = { httpGet: { path: "/ready", port: this.#adminPort! } };
    // Its first configuration may take as long as it takes, and is looked for often: everything else waits for it.
    const startupProbe: Probe = { ...ready, periodSeconds: 0.05, failureThreshold: Infinity };
    const readinessProbe: Probe = { ...ready, periodSeconds: 2, failureThreshold: 2 };
    const container: ContainerSpec = { name: SIDECAR_NAME, image: SIDECAR_NAME, startupProbe, readinessProbe };
    return this.#container(container, "Always", {
      argv: sidecar.argv,
      env: { PATH, ...sidecar.env },
      cwd: place,
      uid: PROXY_UID,
      gid: PROXY_UID,
      role: "sidecar",
    });
  }

  #make(container: ContainerSpec, restart: RestartPolicy): Container {
    const { manifest, attachment, images } = this.#options;
    const { argv, cwd = "/", env = {} } = images.resolve(container, manifest, attachment.ip);
    const uid = container.securityContext?.runAsUser ?? manifest.spec.securityContext?.runAsUser ?? 0;
    const gid = container.securityContext?.runAsGroup ?? manifest.spec.securityContext?.runAsGroup ?? 0;
    return this.#container(container, restart, { argv, env: { PATH, ...env }, cwd, uid, gid, role: "application" });
  }

  #container(
    container: ContainerSpec,
    restart: RestartPolicy,
    launch: Omit<LaunchSpec, "netns" | "hostname">,
  ): Container {
    const { attachment, prober, directory, onLine, manifest } = this.#options;
    return new Container({
      container,
      restart,
      launch: { ...launch, netns: attachment.netns, hostname: attachment.hostname },
      ip: attachment.ip,
      prober,
      logPath: join(directory, "logs", `${container.name}.log`),
      grace: (manifest.spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE) * 1000,
      onLine: (line) => onLine(container.name, line),
      onChange: () => this.#changed(),
    });
  }

  #begin(container: Container): void {
    if (!this.#stopping) container.start();
    this.#changed();
  }

  #all(): Container[] {
    return [...(this.#sidecar ? [this.#sidecar] : []), ...this.#initContainers, ...this.#applications];
  }

  /** Those that must be ready for the pod to be ready. */
  #longLived(): Container[] {
    return this.#all().filter((c) => c.state !== "done");
  }

  /** Resolves when the test holds, or with false when the pod is to end. */
  async #until(test: () => boolean): Promise<boolean> {
    while (!this.#stopping && !test()) await new Promise<void>((wake) => this.#waiters.push(wake));
    return !this.#stopping;
  }

  #changed(): void {
    for (const wake of this.#waiters.splice(0)) wake();
    const apps = this.#applications;
    const over = apps.length > 0 && apps.every((c) => c.state === "done" || c.state === "failed");
    if (this.#phase === "Running" && over && !this.#stopping) {
      void this.#complete(apps.some((c) => c.state === "failed") ? "Failed" : "Succeeded");
      return;
    }
    const status = this.status;
    const text = JSON.stringify(status);
    if (text === this.#last) return;
    this.#last = text;
    this.#options.onStatus(status);
  }
}

/** Our own Node first: programs of images.yaml that say `node` get a version that we know. */
const PATH = [dirname(process.execPath), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"].join(":");
