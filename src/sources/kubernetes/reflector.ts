/**
 * One collection of an API server, followed for ever: listed, watched, and begun anew after every kind of end. Keeps no object and
 * knows no kind: who is told decides what of it is kept.
 */
import { isRaw, type Raw } from "../../lib/json.ts";
import { realClock, type Clock } from "../../lib/settle.ts";
import type { Log } from "../../telemetry/log.ts";
import { BackOff, pause } from "./back-off.ts";
import type { KubernetesClient, Selection } from "./client.ts";
import { ApiError, isGone, isNotFound, noAnswer } from "./errors.ts";
import { metadataOf, pathOf, type Resource } from "./resource.ts";
import type { WatchEvent, WatchLimits } from "./watch.ts";

/** Takes one object after the other. An object is the caller's no longer. */
export interface Objects {
  put(object: Raw): void;
  remove(object: Raw): void;
}

/** Who is told. */
export interface Target extends Objects {
  /** All that is there, to take the place of what was told before, at once, when it is committed; dropped when it is not. */
  replacement(): Objects & { commit(): void };
}

/** Why a list or watch ended. */
export type End = "closed" | "gone" | "silence" | "refused" | "broken" | "bad-answer";

export interface ReflectorOptions {
  readonly client: KubernetesClient;
  readonly resource: Resource;
  readonly selection?: Selection;
  readonly target: Target;
  readonly log: Log;
  readonly clock?: Clock;
  /** From 0 up to 1; for jitter. */
  readonly random?: () => number;
  readonly limits?: Partial<WatchLimits>;
  /** Objects of a page. */
  readonly page?: number;
  /** Milliseconds after which a watch that ends is followed by a new list, in case the server kept something from us. */
  readonly relist?: number;
  /** Called after each list or watch that ended, whatever the reason. */
  readonly ended?: (end: End) => void;
}

export interface ReflectorStatus {
  /** `listing`: what was told last may be old. `waiting`: for the next attempt. */
  readonly phase: "listing" | "watching" | "waiting";
  /** Milliseconds since the server was last heard. */
  readonly silent: number;
  /** Lists and watches that ended. */
  readonly ends: number;
  /** Whole lists that were taken over. */
  readonly lists: number;
}

/** A watch that was answered and lasted so long, in milliseconds, was a good one: whatever ends it is no reason to wait long. */
const GOOD = 5_000;
/** Attempts in a row after which the resourceVersion itself is doubted: one event may be too large or broken, or the server restored from a backup. */
const DOUBT = 3;
const INITIAL_EVENTS_END = "k8s.io/initial-events-end";

export class Reflector {
  readonly #options: Required<Omit<ReflectorOptions, "limits">> & Pick<ReflectorOptions, "limits">;
  readonly #path: string;
  /** Between resumed watches: short, for every gap is one in which nothing is heard. */
  readonly #resume: BackOff;
  /** Between lists, which cost the server more. */
  readonly #again: BackOff;
  /** What is known; undefined: nothing that a watch could go on from. */
  #version: string | undefined;
  #listedAt = 0;
  #heard: number;
  /** Whether the server has said anything in this attempt. */
  #answered = false;
  #phase: ReflectorStatus["phase"] = "listing";
  #ends = 0;
  #lists = 0;
  /** Whether the next beginning is a watch that sends all that is there first. */
  #stream = true;
  /** False once the server has said that it cannot. */
  #canStream = true;
  #page: number;
  /** Attempts in a row to go on from `#version` that ended as if it were at fault. */
  #doubts = 0;
  /** Attempts in a row that failed early. */
  #failures = 0;
  #troubled = false;

  constructor(options: ReflectorOptions) {
    const random = options.random ?? Math.random;
    this.#options = {
      selection: {},
      clock: realClock,
      page: 500,
      relist: 3_600_000,
      ended: () => {},
      ...options,
      random,
    };
    this.#path = pathOf(options.resource, { namespace: options.selection?.namespace });
    this.#resume = new BackOff({ first: 50, most: 3_000, random });
    this.#again = new BackOff({ first: 100, most: 10_000, random });
    this.#heard = this.#options.clock.now();
    this.#page = this.#options.page;
  }

  status(): ReflectorStatus {
    const silent = this.#options.clock.now() - this.#heard;
    return { phase: this.#phase, silent, ends: this.#ends, lists: this.#lists };
  }

  /** Follows until the signal (`stopped`), or until the server says that it has no such collection (`absent`). Never throws. */
  async run(signal: AbortSignal): Promise<"absent" | "stopped"> {
    const { clock, ended } = this.#options;
    while (!signal.aborted) {
      const begun = clock.now();
      const known = this.#version;
      this.#answered = false;
      let failure: unknown;
      try {
        this.#phase = known === undefined ? "listing" : "watching";
        if (known === undefined && !this.#stream) await this.#list(signal);
        else await this.#watch(signal);
      } catch (error) {
        failure = error;
      }
      if (signal.aborted) break;
      // A list that worked goes on to its watch at once.
      if (failure === undefined && this.#phase === "listing") continue;
      this.#ends++;
      ended(endOf(failure));
      if (isNotFound(failure)) {
        this.#version = undefined;
        return "absent";
      }
      const wait = this.#judge(failure, known, clock.now() - begun);
      this.#phase = "waiting";
      await pause(clock, wait, signal);
    }
    return "stopped";
  }

  /** What an end means for the next attempt; milliseconds until then. */
  #judge(failure: unknown, known: string | undefined, lasted: number): number {
    const { clock, relist, random } = this.#options;
    const asked = failure instanceof ApiError ? failure.retryAfter : undefined;
    if (lasted >= GOOD && this.#answered) {
      this.#resume.reset();
      this.#again.reset();
      this.#well();
    } else if (failure !== undefined && !isGone(failure)) this.#ill(failure);
    if (known !== undefined && isDoubtful(failure)) this.#doubts++;
    if (isGone(failure) || this.#doubts >= DOUBT) {
      this.#version = undefined;
      this.#doubts = 0;
    }
    if (this.#version !== undefined) {
      // Spread over a quarter of the time, for all kinds are listed together at the start.
      const old = clock.now() - this.#listedAt > relist * (0.875 + random() / 4);
      if (old) this.#version = undefined;
      return this.#resume.next(asked);
    }
    if (known === undefined && this.#phase === "listing") {
      const unknown = failure instanceof ApiError && (failure.status === 400 || failure.status === 422);
      if (this.#stream && unknown) {
        this.#canStream = this.#stream = false;
        return 0;
      }
      // The pages were read too slowly: fewer ones are faster.
      if (!this.#stream && isGone(failure)) this.#page = Math.min(this.#page * 4, 1 << 20);
      // Whichever way failed, the other one may work.
      this.#stream = !this.#stream && this.#canStream;
    }
    return this.#again.next(asked);
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { client, resource, selection, target } = this.#options;
    const whole = target.replacement();
    let next = "";
    for (;;) {
      const page = await client.list(resource, { ...selection, limit: this.#page, next }, signal);
      this.#hear();
      for (const item of page.items) whole.put(this.#named(item));
      if (page.next === "") {
        this.#commit(whole, page.resourceVersion);
        return;
      }
      if (page.next === next) throw noAnswer(`GET ${this.#path}`, "BadAnswer", "the pages of the list have no end");
      next = page.next;
    }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { client, resource, selection, target, random, limits } = this.#options;
    const heard = () => this.#hear();
    // As client-go: servers are not to lose all watches of a start at once.
    const seconds = Math.round(300 + random() * 300);
    const options = { ...selection, from: this.#version, seconds, limits, heard };
    let whole = this.#version === undefined ? target.replacement() : undefined;
    for await (const batch of client.watch(resource, options, signal)) {
      const initial = whole !== undefined;
      for (const { type, object } of batch) {
        const version = metadataOf(object, "resourceVersion");
        if (type === "BOOKMARK") {
          if (whole && isInitialEventsEnd(object)) {
            this.#commit(whole, version);
            this.#phase = "watching";
            whole = undefined;
          }
        } else this.#tell(whole ?? target, type, object);
        if (!whole && version !== "") this.#version = version;
      }
      if (initial) continue;
      this.#resume.reset();
      this.#doubts = 0;
      this.#well();
    }
    if (whole)
      throw noAnswer(`watch of ${this.#path}`, "BadAnswer", "the watch ended before all was sent that is there");
  }

  #hear(): void {
    this.#heard = this.#options.clock.now();
    this.#answered = true;
  }

  #tell(to: Objects, type: WatchEvent["type"], object: Raw): void {
    if (type === "DELETED") to.remove(this.#named(object));
    else to.put(this.#named(object));
  }

  #commit(whole: { commit(): void }, version: string): void {
    if (version === "") throw noAnswer(`watch of ${this.#path}`, "BadAnswer", "the list has no resourceVersion");
    whole.commit();
    this.#version = version;
    this.#listedAt = this.#options.clock.now();
    this.#lists++;
    this.#stream = this.#canStream;
    this.#page = this.#options.page;
    this.#well();
  }

  #named(object: Raw): Raw {
    if (metadataOf(object, "name") !== "") return object;
    throw noAnswer(this.#path, "BadAnswer", "the API server sent an object without a name");
  }

  /** It works: said only after it was said that it does not. */
  #well(): void {
    this.#failures = 0;
    if (!this.#troubled) return;
    this.#troubled = false;
    this.#options.log.info("followed again", { path: this.#path });
  }

  /** One line per change of state, and none for what the next attempt puts right: connections end every few minutes. */
  #ill(failure: unknown): void {
    if (++this.#failures < 2 || this.#troubled) return;
    this.#troubled = true;
    const { log } = this.#options;
    log.warn("cannot be followed now, tried again until it can", { path: this.#path, error: sentence(failure) });
  }
}

const isInitialEventsEnd = (bookmark: Raw): boolean => {
  const metadata = bookmark["metadata"];
  const annotations = isRaw(metadata) ? metadata["annotations"] : undefined;
  return isRaw(annotations) && annotations[INITIAL_EVENTS_END] === "true";
};

/** A message of ours is a sentence; anything else is a bug, whose place matters. */
const sentence = (failure: unknown): string =>
  failure instanceof ApiError ? failure.message : failure instanceof Error ? String(failure.stack) : String(failure);

/** Whether trying the same again may fail for ever; not so when the server is away, busy, or refuses us. */
function isDoubtful(failure: unknown): boolean {
  if (!(failure instanceof ApiError)) return failure !== undefined;
  if (failure.status === 0) return ["BadAnswer", "TooLarge", "Broken"].includes(failure.reason);
  return [400, 422, 500, 504].includes(failure.status);
}

function endOf(failure: unknown): End {
  if (failure === undefined) return "closed";
  if (!(failure instanceof ApiError)) return "bad-answer";
  if (isGone(failure)) return "gone";
  if (failure.status > 0) return "refused";
  if (failure.reason === "Silence" || failure.reason === "Timeout") return "silence";
  return failure.reason === "BadAnswer" || failure.reason === "TooLarge" ? "bad-answer" : "broken";
}
