/**
 * Reads a container's log while it grows, across its rotation to `<path>.1`.
 */
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";

/** Milliseconds between looks. A look is one system call. */
const EVERY = 100;

export class Follow {
  readonly #path: string;
  #fd: number | undefined;
  #at = 0;

  constructor(path: string) {
    this.#path = path;
    this.#open();
  }

  /** All that there is until now. */
  before(): string {
    const old = new Follow(`${this.#path}.1`);
    const text = old.#rest() + this.#rest();
    old.close();
    return text;
  }

  /** What came since the last call. */
  next(): Buffer {
    const chunks = [this.#read()];
    if (this.#moved()) {
      chunks.push(this.#read());
      this.close();
      this.#open();
      chunks.push(this.#read());
    }
    return Buffer.concat(chunks);
  }

  /** Gives out what comes, until the signal, or until the mesh is gone. */
  async until(signal: AbortSignal, give: (chunk: Buffer) => Promise<void>, alive: () => boolean): Promise<void> {
    for (let look = 1; !signal.aborted; look++) {
      const chunk = this.next();
      if (chunk.length > 0) await give(chunk);
      else if (look % 10 === 0 && !alive()) break;
      else await pause(EVERY, signal);
    }
    this.close();
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #open(): void {
    try {
      this.#fd = openSync(this.#path, "r");
      this.#at = 0;
    } catch {
      // Nothing was printed yet.
    }
  }

  #moved(): boolean {
    try {
      return this.#fd === undefined || statSync(this.#path).ino !== fstatSync(this.#fd).ino;
    } catch {
      return false;
    }
  }

  #rest(): string {
    return this.#read().toString();
  }

  #read(): Buffer {
    if (this.#fd === undefined) return Buffer.alloc(0);
    const chunks: Buffer[] = [];
    for (;;) {
      const chunk = Buffer.alloc(64 << 10);
      const n = readSync(this.#fd, chunk, 0, chunk.length, this.#at);
      if (n === 0) return Buffer.concat(chunks);
      this.#at += n;
      chunks.push(chunk.subarray(0, n));
    }
  }
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
