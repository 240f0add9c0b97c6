/**
 * The stream of a watch → batches of events, one batch for each piece that came over the wire. Holds nothing; every end that is not
 * clean is an error.
 */
import type { IncomingMessage } from "node:http";
import { isRaw, type Raw } from "../../lib/json.ts";
import { realClock, type Clock } from "../../lib/settle.ts";
import { noAnswer, refusal } from "./errors.ts";
import { Lines } from "./lines.ts";

export interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  readonly object: Raw;
}

export interface WatchLimits {
  /** Bytes of one event; etcd takes objects of 1.5 MB. */
  readonly event: number;
  /** Milliseconds without a byte after which the connection counts as dead. A server sends a bookmark about each minute. */
  readonly silence: number;
}

export const WATCH_LIMITS: WatchLimits = { event: 16 << 20, silence: 75_000 };

export interface WatchParts {
  /** The request, for sentences. */
  readonly what: string;
  readonly limits?: Partial<WatchLimits> | undefined;
  readonly clock?: Clock | undefined;
  /** Called for each piece that came. */
  readonly heard?: (() => void) | undefined;
}

/**
 * The events of an open watch, in order. Ends when the server ends it cleanly; throws `ApiError` for everything else:
 * an ERROR event with the server's own status, and status 0 for silence, garbage, or a connection that broke.
 */
export async function* eventsOf(response: IncomingMessage, parts: WatchParts): AsyncGenerator<readonly WatchEvent[]> {
  const { what, clock = realClock, heard } = parts;
  const limits = { ...WATCH_LIMITS, ...parts.limits };
  const lines = new Lines(limits.event);
  const silence = new Silence(clock, limits.silence, () => {
    response.destroy(noAnswer(what, "Silence", `the API server sent nothing for ${limits.silence / 1_000} s`));
  });
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      silence.broken();
      heard?.();
      const batch: WatchEvent[] = [];
      let failed: unknown;
      try {
        for (const line of lines.push(chunk)) if (line.trim() !== "") batch.push(eventOf(what, line));
      } catch (error) {
        failed = error;
      }
      // What came before the fault is as good as ever.
      if (batch.length > 0) yield batch;
      if (failed instanceof RangeError) throw noAnswer(what, "TooLarge", `the API server sent ${failed.message}`);
      if (failed !== undefined) throw failed;
    }
    if (lines.broken) throw noAnswer(what, "Broken", "the watch ended in the middle of an event");
  } catch (error) {
    if ((error as Error).name === "ApiError" || (error as Error).name === "AbortError") throw error;
    const { code = "Broken", message } = error as NodeJS.ErrnoException;
    throw noAnswer(what, code, `the watch broke off (${message})`, error);
  } finally {
    silence.stop();
    response.destroy();
  }
}

function eventOf(what: string, line: string): WatchEvent {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch (error) {
    throw noAnswer(what, "BadAnswer", "the watch sent a line that is not JSON", error);
  }
  const object = isRaw(event) ? event["object"] : undefined;
  const type = isRaw(event) ? event["type"] : undefined;
  if (type === "ERROR") {
    const code = isRaw(object) ? Number(object["code"]) : Number.NaN;
    throw refusal(what, Number.isInteger(code) && code >= 400 && code < 600 ? code : 500, object);
  }
  if ((type === "ADDED" || type === "MODIFIED" || type === "DELETED" || type === "BOOKMARK") && isRaw(object))
    return { type, object };
  throw noAnswer(what, "BadAnswer", "the watch sent what is not an event");
}

/** One timer for a thing that happens often: it looks when it fires, and goes on when it was not silent. */
class Silence {
  readonly #clock: Clock;
  readonly #limit: number;
  readonly #silent: () => void;
  #last: number;
  #cancel: () => void;

  constructor(clock: Clock, limit: number, silent: () => void) {
    this.#clock = clock;
    this.#limit = limit;
    this.#silent = silent;
    this.#last = clock.now();
    this.#cancel = clock.after(limit, () => this.#look());
  }

  broken(): void {
    this.#last = this.#clock.now();
  }

  stop(): void {
    this.#cancel();
  }

  #look(): void {
    const left = this.#last + this.#limit - this.#clock.now();
    if (left <= 0) return this.#silent();
    this.#cancel = this.#clock.after(left, () => this.#look());
  }
}
