/**
 * Bytes → lines of bounded size, without copying what came in one piece. Knows nothing of what stands in them.
 */

/** Holds the beginning of a line whose end has not come yet. */
export class Lines {
  readonly #limit: number;
  #parts: Buffer[] = [];
  #size = 0;

  /** Bytes that a line may have. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The lines that this chunk ends, without their ends. Throws `RangeError` for a line above the limit. */
  *push(chunk: Buffer): Generator<string> {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(10, start);
      if (end < 0) break;
      this.#bound(this.#size + end - start);
      if (this.#size === 0) yield chunk.toString("utf8", start, end);
      else {
        this.#parts.push(chunk.subarray(start, end));
        const line = Buffer.concat(this.#parts).toString("utf8");
        this.#parts = [];
        this.#size = 0;
        yield line;
      }
      start = end + 1;
    }
    if (start === chunk.length) return;
    this.#size += chunk.length - start;
    this.#bound(this.#size);
    this.#parts.push(start === 0 ? chunk : chunk.subarray(start));
  }

  /** Whether a line has begun and not ended. */
  get broken(): boolean {
    return this.#size > 0;
  }

  #bound(size: number): void {
    if (size > this.#limit) throw new RangeError(`a line of more than ${this.#limit} bytes`);
  }
}
