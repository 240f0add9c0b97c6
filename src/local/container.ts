/**
 * A container of a local pod: its process, its probes, its log. Knows nothing of the other containers of the pod.
 */
import { realClock } from "../lib/settle.ts";
import type { Container as ContainerSpec, Probe } from "../world/pod.ts";
import type { LaunchSpec } from "./launch.ts";
import { LogFile } from "./log-file.ts";
import { Process, type ProcessState, type RestartPolicy } from "./process.ts";
import { ProbeSchedule, type ProbeKind } from "./probe-schedule.ts";
import { check } from "./probes.ts";

export interface ContainerOptions {
  readonly container: ContainerSpec;
  readonly launch: LaunchSpec;
  readonly restart: RestartPolicy;
  readonly ip: string;
  /** The address that probes come from. */
  readonly prober: string;
  readonly logPath: string;
  /** Milliseconds between SIGTERM and SIGKILL when a probe ends it. */
  readonly grace: number;
  readonly onLine: (line: string) => void;
  readonly onChange: () => void;
}

export class Container {
  readonly #options: ContainerOptions;
  readonly #process: Process;
  readonly #log: LogFile;
  #probes: ProbeSchedule[] = [];
  #started = false;
  #ready = false;
  #why: string | undefined;
  #state: ProcessState = "waiting";

  constructor(options: ContainerOptions) {
    this.#options = options;
    this.#log = new LogFile(options.logPath);
    this.#process = new Process({
      spec: options.launch,
      restart: options.restart,
      onOutput: (data) => this.#log.write(data),
      onLine: options.onLine,
      onState: () => this.#onState(),
    });
  }

  get name(): string {
    return this.#options.container.name;
  }
  get state(): ProcessState {
    return this.#state;
  }
  /** Runs, and its startup probe has succeeded. */
  get started(): boolean {
    return this.#started;
  }
  get ready(): boolean {
    return this.#ready;
  }
  get restarts(): number {
    return this.#process.restarts;
  }
  get launch(): LaunchSpec {
    return this.#options.launch;
  }
  get logPath(): string {
    return this.#log.path;
  }
  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Why it is not as it should be, in one line; undefined when all is well. */
  get reason(): string | undefined {
    if (this.#state === "backing-off" || this.#state === "failed") {
      return `${this.name}: ${this.#process.exit?.reason ?? "ended"}${this.#state === "backing-off" ? ", will be restarted" : ""}`;
    }
    return this.#ready || this.#why === undefined ? undefined : `${this.name}: ${this.#why}`;
  }

  start(): void {
    this.#process.start();
  }

  async stop(grace: number): Promise<void> {
    this.#stopProbes();
    await this.#process.stop(grace);
    this.#log.close();
  }

  #onState(): void {
    const state = this.#process.state;
    this.#stopProbes();
    this.#state = state;
    this.#started = this.#ready = false;
    this.#why = undefined;
    if (state === "running") {
      const { startupProbe } = this.#options.container;
      const since = realClock.now();
      if (startupProbe) this.#probe("startup", startupProbe, since);
      else this.#onStarted(since);
    }
    this.#options.onChange();
  }

  #onStarted(since: number): void {
    const { readinessProbe, livenessProbe } = this.#options.container;
    this.#started = true;
    if (readinessProbe) this.#probe("readiness", readinessProbe, since);
    else this.#ready = true;
    if (livenessProbe) this.#probe("liveness", livenessProbe, since);
  }

  #probe(kind: ProbeKind, probe: Probe, since: number): void {
    const { container, ip, prober, launch } = this.#options;
    const schedule = new ProbeSchedule({
      kind,
      probe,
      clock: realClock,
      check: (signal) => check(probe, { ip, from: prober, container, launch }, signal),
      onFailure: (why) => {
        if (kind === "liveness" || this.#ready) return;
        this.#why = `${kind} probe: ${why}`;
        this.#options.onChange();
      },
      onResult: (ok, why) => this.#onResult(kind, ok, why, since),
    });
    this.#probes.push(schedule);
    schedule.start(since);
  }

  #onResult(kind: ProbeKind, ok: boolean, why: string | undefined, since: number): void {
    if (kind === "readiness") {
      this.#ready = ok;
      this.#why = ok ? undefined : `readiness probe: ${why}`;
    } else if (ok) {
      this.#why = undefined;
      this.#onStarted(since);
    } else {
      const line = `${kind} probe failed (${why}): restarting`;
      this.#log.write(`${line}\n`);
      this.#options.onLine(line);
      this.#stopProbes();
      this.#ready = false;
      this.#why = `${kind} probe: ${why}`;
      void this.#process.interrupt(this.#options.grace);
    }
    this.#options.onChange();
  }

  #stopProbes(): void {
    for (const probe of this.#probes) probe.stop();
    this.#probes = [];
  }
}
