/**
 * Writes conditions to policy objects and Events about their problems: by the leader only, one object at a time and place, and only what
 * differs from what stands there. Knows the latest wish for each object, and no queue of older ones.
 */
import { isDeepStrictEqual } from "node:util";
import { realClock } from "../lib/settle.ts";
import { pause } from "../sources/kubernetes/back-off.ts";
import type { Log } from "../telemetry/log.ts";
import { isRaw, type Raw } from "../lib/json.ts";
import type { Problem } from "../world/types.ts";
import type { ApplyOptions } from "../sources/kubernetes/client.ts";
import { isNotFound, isTransient } from "../sources/kubernetes/errors.ts";
import type { Revision } from "../sources/kubernetes/holding.ts";
import { apiVersionOf, type Name, type Resource } from "../sources/kubernetes/resource.ts";
import { conditionsOf, renewed, type State, type Written } from "./status.ts";

/** What it needs of a Kubernetes client. */
export interface StatusApi {
  get(resource: Resource, name: Name, signal: AbortSignal): Promise<Raw | undefined>;
  apply(resource: Resource, object: Raw, options: ApplyOptions, signal: AbortSignal): Promise<Raw>;
  create(resource: Resource, object: Raw, signal: AbortSignal): Promise<Raw>;
}

/** An object whose status is kept. */
export interface Subject {
  readonly kind: string;
  readonly resource: Resource;
  readonly namespace: string;
  readonly name: string;
  /** That the problems and the state are about; undefined when it is gone already. */
  readonly revision: Revision | undefined;
  readonly problems: readonly Problem[];
  /** `outside`: its namespace is not in the mesh, and nothing is said of it. */
  readonly state: State | "outside";
  /** Another one of it is read and not published yet: nobody can say how it fares, so what stands is left. */
  readonly pending: boolean;
}

export interface StatusWriterOptions {
  readonly api: StatusApi;
  readonly log: Log;
  /** The field manager, and the reporter of Events. */
  readonly manager: string;
  readonly now?: () => Date;
  /** Objects that are written at a time. */
  readonly concurrency?: number;
  /** Waits before a write that failed is tried again. */
  readonly pause?: (attempt: number, signal: AbortSignal) => Promise<void>;
}

const EVENTS: Resource = { group: "", version: "v1", plural: "events" };
/** For about a minute in all: a leader that does not reach the API server for so long leads no more. */
const ATTEMPTS = 7;
/** Milliseconds before an object is tried again whose status could not be written. */
export const LATER = 300_000;

const keyOf = ({ kind, namespace, name }: Subject): string => `${kind}/${namespace}/${name}`;

interface Done {
  readonly revision: Revision | undefined;
  readonly said: string;
  readonly until: number;
  /** Undefined: not known. */
  readonly stands: readonly Written[] | undefined;
}

export class StatusWriter {
  readonly #options: Required<StatusWriterOptions>;
  /** What stands, by object, and what it was written for. What could not be written counts as such for a while, and is read again then. */
  readonly #done = new Map<string, Done>();
  readonly #wanted = new Map<string, Subject>();
  /** Objects that are being written: never two writes of one object at a time. */
  readonly #busy = new Set<string>();
  #working = 0;
  #idle: (() => void)[] = [];

  constructor(options: StatusWriterOptions) {
    this.#options = { now: () => new Date(), concurrency: 4, pause: wait, ...options };
  }

  /** All objects as they are now; those whose status is to say something else are written, until the signal. */
  update(subjects: readonly Subject[], signal: AbortSignal): void {
    const there = new Set<string>();
    for (const subject of subjects) {
      const key = keyOf(subject);
      const done = this.#done.get(key);
      // What was said of it is taken back, by who has said it.
      if (subject.state === "outside" && !done?.stands?.length) continue;
      there.add(key);
      if (subject.pending) {
        this.#wanted.delete(key);
        continue;
      }
      const stands =
        done !== undefined &&
        isDeepStrictEqual(done.revision, subject.revision) &&
        done.said === saidOf(subject) &&
        done.until > this.#options.now().getTime();
      if (stands && !this.#busy.has(key)) this.#wanted.delete(key);
      else this.#wanted.set(key, subject);
    }
    for (const key of this.#done.keys()) if (!there.has(key)) this.#done.delete(key);
    for (const key of this.#wanted.keys()) if (!there.has(key)) this.#wanted.delete(key);
    // A wish for an object that is being written is taken up by whoever writes it.
    const free = [...this.#wanted.keys()].filter((key) => !this.#busy.has(key)).length;
    for (let n = Math.min(free, this.#options.concurrency - this.#working); n > 0; n--) void this.#work(signal);
  }

  /** Resolves when nothing is left to write. */
  settled(): Promise<void> {
    if (this.#working === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  async #work(signal: AbortSignal): Promise<void> {
    this.#working++;
    for (let next = this.#take(); next && !signal.aborted; next = this.#take()) {
      const key = keyOf(next);
      this.#busy.add(key);
      await this.#write(next, signal);
      this.#busy.delete(key);
    }
    this.#working--;
    if (this.#working === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  #take(): Subject | undefined {
    for (const [key, subject] of this.#wanted) {
      if (this.#busy.has(key)) continue;
      this.#wanted.delete(key);
      return subject;
    }
    return undefined;
  }

  async #write(subject: Subject, signal: AbortSignal): Promise<void> {
    const key = keyOf(subject);
    const { now, log, pause: again } = this.#options;
    let until = Number.POSITIVE_INFINITY;
    let put: { readonly news: boolean; readonly stands: readonly Written[] | undefined } | undefined;
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        // What was written is not written again because its Event failed.
        put ??= await this.#put(subject, signal);
        if (put.news) await this.#tell(subject, signal);
        break;
      } catch (error) {
        if (signal.aborted) return;
        if (attempt < ATTEMPTS && isTransient(error)) {
          await again(attempt, signal);
          continue;
        }
        log.warn("could not write a status; tried again in some minutes, or when it changes", {
          object: key,
          error: String(error),
        });
        until = now().getTime() + LATER;
        break;
      }
    }
    if (signal.aborted) return;
    this.#done.set(key, { revision: subject.revision, said: saidOf(subject), until, stands: put?.stands });
  }

  /** What stands now, and whether what it says of `Accepted` is new to the object. Reads only what this writer has not written itself. */
  async #put(
    subject: Subject,
    signal: AbortSignal,
  ): Promise<{ readonly news: boolean; readonly stands: readonly Written[] | undefined }> {
    const { resource, namespace, name, revision, problems, state } = subject;
    const { api, manager, now } = this.#options;
    const done = this.#done.get(keyOf(subject));
    // Of an object that was made anew under the same name nothing is known.
    const known = done?.revision?.uid === revision?.uid ? done : undefined;
    const read = () => api.get(resource, { namespace, name }, signal);
    const gone = { news: false, stands: undefined };
    let before = known?.stands;
    if (!before) {
      const object = await read();
      if (!object) return gone;
      before = standing(object);
    }
    const wanted = state === "outside" ? [] : conditionsOf(problems, state);
    const conditions =
      state === "outside" ? [] : renewed(wanted, before, revision?.generation ?? 0, now().toISOString());
    if (!conditions) return { news: false, stands: before };
    const applied = {
      apiVersion: apiVersionOf(resource),
      kind: subject.kind,
      metadata: { namespace, name },
      // An empty list takes back what we own; an empty status is refused.
      status: { conditions },
    };
    try {
      await api.apply(resource, applied, { manager, force: true, subresource: "status" }, signal);
    } catch (error) {
      if (!isNotFound(error)) throw error;
      if (known?.stands && !(await read())) return gone;
      // Its CRD, which somebody else has installed, has no status: then Events are all that can be told.
      if (known?.said !== saidOf(subject)) await this.#tell(subject, signal);
      throw error;
    }
    const [accepted] = wanted;
    const was = before.find((condition) => condition.type === "Accepted");
    const news = accepted !== undefined && (was?.status !== accepted.status || was.message !== accepted.message);
    return { news, stands: conditions };
  }

  /** One Event for what is newly wrong: what stood in the status already, a leader before this one has told. */
  async #tell(subject: Subject, signal: AbortSignal): Promise<void> {
    if (subject.state === "outside") return;
    const [accepted] = conditionsOf(subject.problems, subject.state);
    if (accepted.status === "True") return;
    const { api, manager, now } = this.#options;
    const { resource, kind, namespace, name } = subject;
    const time = now().toISOString();
    const event = {
      apiVersion: "v1",
      kind: "Event",
      metadata: { namespace, generateName: `${name.slice(0, 200)}.` },
      type: "Warning",
      reason: accepted.reason,
      message: accepted.message.slice(0, 1024),
      involvedObject: { apiVersion: apiVersionOf(resource), kind, namespace, name },
      source: { component: manager },
      firstTimestamp: time,
      lastTimestamp: time,
      count: 1,
    };
    await api.create(EVENTS, event, signal);
  }
}

const saidOf = ({ problems, state }: Subject): string =>
  [state, ...problems.map((p) => `${p.severity} ${p.code} ${p.path} ${p.message}`)].join("\n");

function standing(object: Raw): Written[] {
  const status = isRaw(object["status"]) ? object["status"] : {};
  const list = Array.isArray(status["conditions"]) ? status["conditions"] : [];
  return list.filter(isRaw) as unknown as Written[];
}

/** Half a second, then twice as long each time, with jitter. */
const wait = (attempt: number, signal: AbortSignal): Promise<void> =>
  pause(realClock, 500 * 2 ** (attempt - 1) * (0.5 + Math.random()), signal);
