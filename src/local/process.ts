/**
 * One program that is kept running as a container is: started again with back-off as its policy says, ended with grace.
 * Knows nothing of pods and probes.
 */
import type { ChildProcess } from "node:child_process";
import { BackOff } from "./back-off.ts";
import { launch, signalGroup, type LaunchSpec } from "./launch.ts";
import { Lines } from "./log-file.ts";

export type RestartPolicy = "Always" | "OnFailure" | "Never";

/** How a run of the program ended. */
export interface Exit {
  readonly code: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  /** One line: `exit code 1: last words`. */
  readonly reason: string;
}

export type ProcessState = "waiting" | "running" | "backing-off" | "done" | "failed" | "stopped";

export interface ProcessOptions {
  readonly spec: LaunchSpec;
  readonly restart: RestartPolicy;
  readonly onOutput: (data: Buffer) => void;
  readonly onLine: (line: string) => void;
  /** The state changed; read it. */
  readonly onState: () => void;
}

/** How long the output is read after the program has ended: whoever it left behind may hold the pipes. */
const OUTPUT_MS = 200;

export class Process {
  readonly #options: ProcessOptions;
  readonly #backOff = new BackOff();
  #child: ChildProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  #state: ProcessState = "waiting";
  #ended: Promise<void> = Promise.resolve();
  #stopping = false;
  #restarts = 0;
  #startedAt = 0;
  #exit: Exit | undefined;

  constructor(options: ProcessOptions) {
    this.#options = options;
  }

  get state(): ProcessState {
    return this.#state;
  }
  get restarts(): number {
    return this.#restarts;
  }
  get pid(): number | undefined {
    return this.#child?.pid;
  }
  /** How it ended last; undefined before. */
  get exit(): Exit | undefined {
    return this.#exit;
  }

  start(): void {
    if (this.#stopping) return;
    this.#startedAt = performance.now();
    let child: ChildProcess;
    try {
      child = launch(this.#options.spec);
    } catch (error) {
      this.#finished({ code: undefined, signal: undefined, reason: (error as Error).message });
      return;
    }
    this.#child = child;
    let last = "";
    const emit = (line: string): void => {
      if (line.trim() !== "") last = line.trim().slice(0, 300);
      this.#options.onLine(line);
    };
    for (const stream of [child.stdout, child.stderr]) {
      if (!stream) continue;
      const lines = new Lines(emit);
      stream.on("data", (data: Buffer) => {
        this.#options.onOutput(data);
        lines.push(data);
      });
      stream.on("close", () => lines.end());
      stream.on("error", () => {});
    }
    this.#ended = new Promise((done) => {
      let over = false;
      const finish = (code: number | null, signal: NodeJS.Signals | null, failure?: string): void => {
        if (over) return;
        over = true;
        // As in a container, nothing outlives the first process.
        signalGroup(child.pid, "SIGKILL");
        const how = failure ?? (signal ? `ended by ${signal}` : `exit code ${code}`);
        const settle = (): void => {
          clearTimeout(timer);
          child.stdout?.destroy();
          child.stderr?.destroy();
          this.#child = undefined;
          this.#finished({
            code: code ?? undefined,
            signal: signal ?? undefined,
            // Whoever was killed had not been about to say why.
            reason: code !== 0 && last !== "" && signal !== "SIGKILL" && signal !== "SIGTERM" ? `${how}: ${last}` : how,
          });
          done();
        };
        const timer = setTimeout(settle, OUTPUT_MS);
        if (failure === undefined) child.once("close", settle);
        else settle();
      };
      child.once("exit", finish);
      child.once("error", (error: NodeJS.ErrnoException) => {
        const { cwd } = this.#options.spec;
        finish(
          null,
          null,
          error.code === "ENOENT" && cwd !== undefined ? `the working directory ${cwd} does not exist` : error.message,
        );
      });
    });
    this.#enter("running");
  }

  /** Ends it for good: SIGTERM, after `grace` milliseconds SIGKILL. Resolves when it is gone. */
  async stop(grace: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    if (this.#child) await this.#end(grace);
    else if (this.#state === "waiting" || this.#state === "backing-off") this.#enter("stopped");
  }

  /** Ends this run of it; its policy decides whether another one follows. */
  async interrupt(grace: number): Promise<void> {
    if (this.#child) await this.#end(grace);
  }

  async #end(grace: number): Promise<void> {
    const pid = this.#child?.pid;
    signalGroup(pid, grace > 0 ? "SIGTERM" : "SIGKILL");
    const timer = setTimeout(() => signalGroup(pid, "SIGKILL"), grace);
    await this.#ended;
    clearTimeout(timer);
  }

  #finished(exit: Exit): void {
    this.#exit = exit;
    const ok = exit.code === 0;
    if (this.#stopping) return this.#enter("stopped");
    const { restart } = this.#options;
    if (restart === "Never" || (restart === "OnFailure" && ok)) return this.#enter(ok ? "done" : "failed");
    const delay = this.#backOff.next(performance.now() - this.#startedAt);
    this.#timer = setTimeout(() => {
      this.#restarts++;
      this.start();
    }, delay);
    return this.#enter("backing-off");
  }

  #enter(state: ProcessState): void {
    this.#state = state;
    this.#options.onState();
  }
}
