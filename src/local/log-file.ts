/**
 * A log of bounded size: when it is full it becomes `<path>.1`, and the `<path>.1` before it is gone.
 */
import { closeSync, mkdirSync, openSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";

/** Bytes. /run is memory, so at most twice this is used per container. */
const SIZE = 1 << 20;

export class LogFile {
  readonly path: string;
  readonly #size: number;
  #fd: number | undefined;
  #written = 0;

  constructor(path: string, size = SIZE) {
    this.path = path;
    this.#size = size;
  }

  write(data: Buffer | string): void {
    try {
      const length = Buffer.byteLength(data);
      if (this.#fd !== undefined && this.#written + length > this.#size) {
        this.close();
        renameSync(this.path, `${this.path}.1`);
      }
      if (this.#fd === undefined) {
        mkdirSync(dirname(this.path), { recursive: true, mode: 0o755 });
        this.#fd = openSync(this.path, "a", 0o644);
        this.#written = 0;
      }
      writeSync(this.#fd, data as Buffer);
      this.#written += length;
    } catch {
      // A full or vanished /run must not stop the pods; lines still reach whoever listens.
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** Cuts a stream of bytes into lines. A line that does not end is given out in pieces, so that memory stays bounded. */
export class Lines {
  static readonly MAX = 16 << 10;
  readonly #emit: (line: string) => void;
  readonly #decoder = new TextDecoder();
  #rest = "";

  constructor(emit: (line: string) => void) {
    this.#emit = emit;
  }

  push(data: Buffer): void {
    const parts = (this.#rest + this.#decoder.decode(data, { stream: true })).split("\n");
    this.#rest = parts.pop()!;
    for (const part of parts) this.#emit(part.endsWith("\r") ? part.slice(0, -1) : part);
    if (this.#rest.length > Lines.MAX) this.end();
  }

  end(): void {
    if (this.#rest !== "") this.#emit(this.#rest);
    this.#rest = "";
  }
}
