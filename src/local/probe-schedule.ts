/**
 * When a probe is made and what its results mean: Kubernetes' rules (pkg/kubelet/prober/worker.go). Knows a clock and a check,
 * but not what is checked.
 */
import type { Clock } from "../lib/settle.ts";
import type { Probe } from "../world/pod.ts";

export type ProbeKind = "startup" | "readiness" | "liveness";

export interface ProbeScheduleOptions {
  readonly kind: ProbeKind;
  readonly probe: Probe;
  /** One check, ended by the signal after the probe's timeout; undefined when it succeeded, else why not. */
  readonly check: (signal: AbortSignal) => Promise<string | undefined>;
  /** Called when a threshold is reached, for a change of the result only. */
  readonly onResult: (ok: boolean, why: string | undefined) => void;
  /** Called for each check that fails, whatever the threshold. */
  readonly onFailure?: (why: string) => void;
  readonly clock: Clock;
}

/** The probing of one container of one run of it: made when the container starts, stopped when it ends. */
export class ProbeSchedule {
  readonly #options: ProbeScheduleOptions;
  readonly #period: number;
  #cancel: (() => void) | undefined;
  #abort: AbortController | undefined;
  #stopped = false;
  #result: boolean;
  #last: boolean | undefined;
  #count = 0;

  constructor(options: ProbeScheduleOptions) {
    this.#options = options;
    this.#period = (options.probe.periodSeconds || 10) * 1000;
    // A container is alive until the opposite is proved, and neither ready nor started until that is proved.
    this.#result = options.kind === "liveness";
  }

  /** `since`: when the container started, for the initial delay. */
  start(since: number): void {
    const { clock, probe } = this.#options;
    this.#at(Math.max(0, since + (probe.initialDelaySeconds ?? 0) * 1000 - clock.now()));
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
    this.#abort?.abort();
  }

  #at(ms: number): void {
    if (!this.#stopped) this.#cancel = this.#options.clock.after(ms, () => void this.#check());
  }

  async #check(): Promise<void> {
    const { clock, probe, check } = this.#options;
    const began = clock.now();
    const abort = new AbortController();
    this.#abort = abort;
    const timeout = (probe.timeoutSeconds || 1) * 1000;
    const { promise: late, resolve } = Promise.withResolvers<string>();
    const cancel = clock.after(timeout, () => resolve(`no answer within ${timeout / 1000} s`));
    const why = await Promise.race([late, check(abort.signal).catch((error: Error) => error.message)]);
    cancel();
    abort.abort();
    if (this.#stopped) return;
    this.#judge(why);
    this.#at(Math.max(0, began + this.#period - clock.now()));
  }

  #judge(why: string | undefined): void {
    const { kind, probe, onResult } = this.#options;
    const ok = why === undefined;
    if (!ok) this.#options.onFailure?.(why);
    this.#count = ok === this.#last ? this.#count + 1 : 1;
    this.#last = ok;
    const threshold = ok ? (kind === "readiness" && probe.successThreshold) || 1 : probe.failureThreshold || 3;
    if (this.#count < threshold) return;
    const changed = this.#result !== ok || (kind === "startup" && !ok);
    this.#result = ok;
    // Started is for good; what is not alive is restarted, and probed anew then.
    if (kind === "startup" || (kind === "liveness" && !ok)) this.stop();
    if (changed) onResult(ok, why);
  }
}
