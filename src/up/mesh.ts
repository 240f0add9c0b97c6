/**
 * The composition root of a mesh on one machine: owns the local pods, gives them sidecars, and keeps a control plane process alive.
 */
import { fork, type ChildProcess } from "node:child_process";
import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { Authority } from "../ca/authority.ts";
import { fileStore } from "../ca/file-store.ts";
import { sidecarDnsName } from "../ca/peer-identity.ts";
import { bootstrapText, CONTROL_PLANE_PORT, sdsFiles, SIDECAR_FILES } from "../injector/bootstrap.ts";
import { envoyArguments } from "../injector/envoy-arguments.ts";
import { iptablesRules } from "../injector/iptables.ts";
import { envoyCache, findEnvoy } from "../local/envoy.ts";
import { readImages, standInNotice } from "../local/images.ts";
import { BackOff } from "../local/back-off.ts";
import { runDirectory } from "../local/record.ts";
import { LocalRuntime } from "../local/runtime.ts";
import { ensureTools } from "../local/tools.ts";
import type { Sidecar, SidecarPlace } from "../local/types.ts";
import { SERVER_NAMES } from "../serve.ts";
import type { Log, LogLevel } from "../telemetry/log.ts";
import { LABEL_PROXY_UUID } from "../world/injection.ts";
import { identity, podName, type PodName } from "../world/names.ts";
import type { PodManifest, PodStatus } from "../world/pod.ts";
import type { Problem } from "../world/types.ts";
import type { Type } from "../xds/resource.ts";
import type { FromController, State, ToController } from "./messages.ts";

const TRUST_DOMAIN = "cluster.local";

export interface LocalMeshOptions {
  /** The folder of manifests. */
  readonly dir: string;
  /** A file that maps image names to commands; the folder's `images.yaml` when absent. */
  readonly images?: string;
  readonly log: Log;
  /** Of the control plane's own log, in the run's directory. */
  readonly logLevel?: LogLevel;
  /** Gets one line for each thing that is done to the machine. */
  readonly say: (line: string) => void;
  /** Up to 8 of `a-z0-9`; random when absent. */
  readonly id?: string;
  /** Of the debug pages on loopback; any free one when absent. */
  readonly debugPort?: number;
  /** Envoy's log level in every sidecar. */
  readonly envoyLogLevel?: string;
  /** Ends the mesh, also while it starts. */
  readonly signal?: AbortSignal;
}

/** Starts everything; resolves when the first snapshot is published and the pods are on their way. */
export async function startLocalMesh(options: LocalMeshOptions): Promise<LocalMesh> {
  const mesh = new LocalMesh(options);
  try {
    await mesh.start();
  } catch (error) {
    await mesh.stop();
    throw error;
  }
  return mesh;
}

export class LocalMesh {
  readonly #options: LocalMeshOptions;
  readonly #ending = new AbortController();
  readonly #statuses = new Map<PodName, PodStatus>();
  readonly #lines = new Set<(pod: PodName, container: string, line: string) => void>();
  readonly #changes = new Set<(state: State) => void>();
  readonly #backOff = new BackOff();
  #runtime: LocalRuntime | undefined;
  #authority: Authority | undefined;
  #envoy = "";
  #child: ChildProcess | undefined;
  #pods: readonly PodManifest[] = [];
  #state: State | undefined;
  #debugPort = 0;
  #imageProblems: readonly Problem[] = [];
  #stopping: Promise<void> | undefined;

  constructor(options: LocalMeshOptions) {
    this.#options = options;
  }

  get id(): string {
    return this.runtime.id;
  }
  get runDir(): string {
    return runDirectory(this.id);
  }
  /** Where the debug pages are, on loopback. */
  get debugPort(): number {
    return this.#debugPort;
  }
  /** The pods: for whoever removes, restarts or looks into one. */
  get runtime(): LocalRuntime {
    if (!this.#runtime) throw new Error("the mesh has not been started");
    return this.#runtime;
  }
  /** Of the control plane; undefined while there is none. */
  get controllerPid(): number | undefined {
    return this.#child?.pid;
  }

  pods(): readonly { readonly manifest: PodManifest; readonly status: PodStatus | undefined }[] {
    return this.#pods.map((manifest) => ({
      manifest,
      status: this.#statuses.get(podName(manifest.metadata.namespace, manifest.metadata.name)),
    }));
  }
  /** What is wrong with the folder, with file and line. */
  problems(): readonly Problem[] {
    return this.#state?.problems ?? [];
  }
  ready(): boolean {
    return this.#state?.ready ?? false;
  }
  /** Lines that containers print. The answer ends it. */
  onLine(listener: (pod: PodName, container: string, line: string) => void): () => void {
    this.#lines.add(listener);
    return () => this.#lines.delete(listener);
  }
  /** Calls after each publication, and when problems change. The answer ends it. */
  onChange(listener: (state: State) => void): () => void {
    this.#changes.add(listener);
    return () => this.#changes.delete(listener);
  }

  async start(): Promise<void> {
    const { say, log, id, signal, dir } = this.#options;
    signal?.throwIfAborted();
    signal?.addEventListener("abort", () => void this.stop(), { once: true });
    // Before anything is fetched: without root or Linux nothing of it would be of use.
    await ensureTools(say);
    const envoy = await findEnvoy({ env: process.env, say, ...(signal ? { signal } : {}) });
    this.#envoy = envoy.path;
    const { images, problems } = await readImages({
      folder: dir,
      ...(this.#options.images === undefined ? {} : { path: this.#options.images }),
    });
    const runtime = new LocalRuntime({
      ...(id === undefined ? {} : { id }),
      images,
      sidecar: (pod, place) => this.#sidecar(pod, place),
      log,
      say,
      onStatus: (pod, status) => this.#onStatus(pod, status),
      onLine: (pod, container, line) => {
        for (const listener of this.#lines) listener(pod, container, line);
      },
    });
    await runtime.start(this.#ending.signal);
    this.#runtime = runtime;
    this.#imageProblems = problems;
    this.#standIns = (pods) =>
      pods.flatMap((pod) =>
        pod.spec.containers
          .filter((container) => images.find(container.image) === undefined)
          .map((container) => standInNotice(container, pod)),
      );
    this.#authority = await Authority.start(
      { trustDomain: TRUST_DOMAIN },
      { store: fileStore(join(this.runDir, "ca")), log },
      this.#ending.signal,
    );
    signal?.throwIfAborted();
    await this.#startController();
  }

  /** Ends everything and removes every trace. May be called at any time and more than once. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#stop());
  }

  /** For tests of what happens when Envoy rejects something; without a name, nothing is tampered with any more. */
  tamper(type?: Type, name?: string): void {
    this.#send({ kind: "tamper", ...(type ? { type } : {}), ...(name ? { name } : {}) });
  }

  /** For tests: every proxy gets a new certificate now. */
  renew(): void {
    this.#send({ kind: "renew" });
  }

  #standIns: (pods: readonly PodManifest[]) => readonly Problem[] = () => [];

  async #stop(): Promise<void> {
    this.#ending.abort();
    const child = this.#child;
    if (child && child.exitCode === null && child.signalCode === null) {
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await gone;
    }
    await this.#runtime?.stop();
  }

  /** Resolves at the control plane's first `state`. Whenever it dies, another one is started. */
  #startController(): Promise<void> {
    const { dir, logLevel = "info", debugPort = 0 } = this.#options;
    const startedAt = Date.now();
    const output = createWriteStream(join(this.runDir, "controller.log"), { flags: "a" });
    const child = fork(join(import.meta.dirname, "controller.ts"), [], {
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      execArgv: [],
      // What Node keeps of compiled sources makes the second start faster, and the process a fifth smaller.
      env: { ...process.env, NODE_COMPILE_CACHE: join(envoyCache(process.env, true), "node") },
    });
    this.#child = child;
    child.stdout?.pipe(output, { end: false });
    child.stderr?.pipe(output, { end: false });
    const problems = this.#imageProblems;
    this.#send({
      kind: "start",
      dir,
      id: this.id,
      runDir: this.runDir,
      caDir: join(this.runDir, "ca"),
      host: this.runtime.address,
      port: CONTROL_PLANE_PORT,
      podSubnet: this.runtime.podSubnet,
      serviceSubnet: this.runtime.serviceSubnet,
      debugPort: this.#debugPort || debugPort,
      logLevel,
      statuses: [...this.#statuses],
      problems,
    });
    return new Promise((resolve, reject) => {
      child.on("message", (message: FromController) => {
        if (message.kind === "failed") reject(Object.assign(new Error(message.message), { name: message.name }));
        else this.#receive(message);
        if (message.kind === "state") resolve();
      });
      child.once("exit", (code, signal) => {
        output.end();
        reject(
          new Error(`the control plane ended (${signal ?? code}); its log: ${join(this.runDir, "controller.log")}`),
        );
        if (this.#stopping || this.#child !== child) return;
        this.#options.log.warn("the control plane ended; starting it again", { code, signal });
        setTimeout(
          () => {
            if (!this.#stopping) this.#startController().catch(() => {});
          },
          this.#backOff.next(Date.now() - startedAt),
        );
      });
    });
  }

  #send(message: ToController): void {
    if (this.#child?.connected) this.#child.send(message, () => {});
  }

  #receive(message: Exclude<FromController, { kind: "failed" }>): void {
    switch (message.kind) {
      case "listening":
        this.#debugPort = message.debugPort;
        break;
      case "pods":
        this.#pods = message.pods;
        this.runtime.apply(message.pods);
        break;
      case "directory":
        this.runtime.setNames(message.names);
        this.runtime.setServices(message.ports);
        break;
      case "state":
        this.#state = { ...message, problems: [...message.problems, ...this.#standIns(this.#pods)] };
        for (const listener of this.#changes) listener(this.#state);
        break;
    }
  }

  #onStatus(pod: PodName, status: PodStatus | undefined): void {
    if (status) this.#statuses.set(pod, status);
    else this.#statuses.delete(pod);
    this.#send({ kind: "status", pod, ...(status ? { status } : {}) });
  }

  /** What the injector gives a pod in a cluster: certificate, bootstrap, rules. Undefined: it has no sidecar. */
  async #sidecar(pod: PodManifest, place: SidecarPlace): Promise<Sidecar | undefined> {
    const uuid = pod.metadata.labels[LABEL_PROXY_UUID];
    const authority = this.#authority;
    if (uuid === undefined || !authority) return undefined;
    const { namespace } = pod.metadata;
    const { serviceAccountName } = pod.spec;
    const account = identity(namespace, serviceAccountName);
    const issued = await authority.issueSidecar(account, uuid, this.#ending.signal);
    const { directory } = place;
    const { certificateSds, validationSds } = sdsFiles(directory);
    const file = (content: string, mode = 0o644) => ({ content, mode });
    const line = { serviceAccount: serviceAccountName, namespace, directory };
    return {
      argv: [
        this.#envoy,
        ...envoyArguments({ ...line, logLevel: this.#options.envoyLogLevel ?? "error", concurrency: 1 }),
        // Its access log is read as it comes: Envoy would hold lines back for ten seconds.
        "--file-flush-interval-msec",
        "200",
      ],
      files: {
        [SIDECAR_FILES.bootstrap]: file(
          bootstrapText({
            ...line,
            nodeId: sidecarDnsName(account, uuid, TRUST_DOMAIN),
            controlPlane: { host: this.runtime.address, port: CONTROL_PLANE_PORT, name: SERVER_NAMES[0] },
          }),
        ),
        [SIDECAR_FILES.certificateSds]: file(certificateSds),
        [SIDECAR_FILES.validationSds]: file(validationSds),
        [SIDECAR_FILES.certificate]: file(issued.chainPem),
        [SIDECAR_FILES.key]: file(issued.privateKey.revealPem(), 0o600),
        [SIDECAR_FILES.ca]: file(authority.bundle.pem),
      },
      iptables: iptablesRules({}),
    };
  }
}
