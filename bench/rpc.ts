/**
 * Questions to a process of one's own and its answers, so that every subject of a benchmark has its memory and its core for itself.
 */
import { fork, type ChildProcess } from "node:child_process";

/** What a child can be asked, by name: each takes one value and answers one, both plain data. */
export type Handlers = Readonly<Record<string, (argument: never) => unknown>>;

interface Question {
  readonly id: number;
  readonly name: string;
  readonly argument: unknown;
}
interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly failure?: string;
}

/** A child process that answers. It ends with us. */
export class Peer<H extends Handlers> {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #next = 1;

  /** @param flags - for Node */
  constructor(file: string, args: readonly string[] = [], flags: readonly string[] = []) {
    this.#child = fork(file, [...args], { execArgv: [...flags], serialization: "advanced" });
    this.#child.on("message", ({ id, value, failure }: Answer) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (failure === undefined) waiting?.resolve(value);
      else waiting?.reject(new Error(failure));
    });
    this.#child.once("exit", (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${file} ended (${signal ?? code})`));
    });
  }

  ask<K extends keyof H & string>(name: K, argument: Parameters<H[K]>[0]): Promise<Awaited<ReturnType<H[K]>>> {
    const waiting = Promise.withResolvers<unknown>();
    const id = this.#next++;
    this.#waiting.set(id, waiting);
    this.#child.send({ id, name, argument } satisfies Question);
    return waiting.promise as Promise<Awaited<ReturnType<H[K]>>>;
  }

  /** Ends the child, and resolves when it is gone. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.disconnect();
    await gone;
  }
}

/** The child's side: answers until its parent goes. */
export function answer(handlers: Handlers): void {
  process.once("disconnect", () => process.exit(0));
  process.on("message", ({ id, name, argument }: Question) => {
    const reply = (given: Omit<Answer, "id">) => process.send?.({ id, ...given } satisfies Answer);
    Promise.resolve()
      .then(() => handlers[name]?.(argument as never))
      .then(
        (value) => reply({ value }),
        (error: unknown) => reply({ failure: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
      );
  });
}

/** Collects what can be collected; needs `--expose-gc`. */
export function collect(): void {
  globalThis.gc?.();
  globalThis.gc?.();
}
