/**
 * One proxy's ADS stream: brings the proxy to the latest resources, type by type, in an order that never breaks traffic.
 * A lifetime around pure functions; knows no gRPC: it is given requests and a place to write bytes.
 */
import { realClock, type Clock } from "../lib/settle.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { TYPES, TYPE_URLS, type Resource, type ResourceMap, type Resources, type Type } from "../xds/resource.ts";
import type { Decoded } from "./codec.ts";
import type { Envelope } from "./envelope.ts";
import { offer } from "./offer.ts";
import { gate } from "./order.ts";
import { typeStatus, type TypeStatus } from "./status.ts";
import { receive, sendAgain, subscription, type Protocol, type Response, type Subscription } from "./subscription.ts";

export interface StreamLimits {
  /** Names that a proxy may ask for, a type. */
  readonly names: number;
  /** Bytes of resources in one response, where it can be split. */
  readonly response: number;
  /** Milliseconds that a change waits for what it needs to be confirmed, before it goes anyway. */
  readonly patience: number;
}

export const STREAM_LIMITS: StreamLimits = { names: 20_000, response: 3.5 * 1024 * 1024, patience: 5_000 };

export interface StreamOptions {
  readonly protocol: Protocol;
  /** As an operator knows the proxy; for log lines. */
  readonly proxy: string;
  readonly envelope: Envelope;
  readonly metrics: Metrics;
  readonly log: Log;
  /** False: no more until `writable()`. */
  readonly write: (bytes: Buffer) => boolean;
  readonly clock?: Clock;
  readonly limits?: Partial<StreamLimits>;
}

const TYPES_BY_URL: ReadonlyMap<string, Type> = new Map(TYPES.map((type) => [TYPE_URLS[type], type]));

export class Stream {
  readonly #options: StreamOptions;
  readonly #limits: StreamLimits;
  readonly #clock: Clock;
  readonly #subs: { [T in Type]: Subscription };
  #resources: Resources | undefined;
  #secrets: ResourceMap | undefined;
  #target: Resources | undefined;
  #writable = true;
  #closed = false;
  /** What is being held back → since when; once released it stays so until the order no longer asks for it. */
  #waits = new Map<string, number>();
  #cancelTimer: (() => void) | undefined;
  readonly #pendingSince = new Map<Type, number>();

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#limits = { ...STREAM_LIMITS, ...options.limits };
    this.#clock = options.clock ?? realClock;
    const sub = (type: Type) => subscription(type, options.protocol);
    this.#subs = { CDS: sub("CDS"), EDS: sub("EDS"), SDS: sub("SDS"), LDS: sub("LDS"), RDS: sub("RDS") };
  }

  /** The latest that the proxy's group may have. Nothing is sent until this and `secrets` were given once. */
  resources(resources: Resources): void {
    this.#resources = resources;
    this.#retarget();
  }

  /** This stream's own secrets, all of them. They win over the group's of the same name. */
  secrets(secrets: readonly Resource[]): void {
    this.#secrets = new Map(secrets.map((secret) => [secret.name, secret]));
    this.#retarget();
  }

  /** Takes a request. The answer is a sentence if the stream must end because the proxy went beyond a bound. */
  receive({ typeUrl, request }: Decoded): string | undefined {
    const { metrics, proxy, log } = this.#options;
    const type = TYPES_BY_URL.get(typeUrl);
    if (!type) {
      // Envoy waits for no answer of a type that its bootstrap does not make it wait for; ours does not.
      log.debug(`proxy ${proxy} asks for ${typeUrl.slice(0, 200)}, which is not served`);
      return undefined;
    }
    metrics.requests.inc({ type });
    const before = this.#subs[type];
    const sub = receive(before, request);
    this.#put(sub);
    if (sub.names.size + sub.asked.size > this.#limits.names) {
      return `more than ${this.#limits.names} names of ${type} were asked for on one stream`;
    }
    if (before.pending && !sub.pending) this.#answered(type, before, sub, request.error);
    this.#flush();
    return undefined;
  }

  /** What was written has left. */
  writable(): void {
    this.#writable = true;
    this.#flush();
  }

  close(): void {
    this.#closed = true;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    for (const type of TYPES) this.#options.metrics.rejected.dec({ type }, rejectedCount(this.#subs[type]));
  }

  status(): { readonly [T in Type]?: TypeStatus } {
    const status: { [T in Type]?: TypeStatus } = {};
    for (const type of TYPES) {
      const since = this.#pendingSince.get(type);
      const pendingMs = since === undefined ? undefined : Math.round(this.#clock.now() - since);
      if (this.#subs[type].begun) status[type] = typeStatus(this.#subs[type], pendingMs);
    }
    return status;
  }

  /** Whether the proxy has confirmed all that it may have. */
  get settled(): boolean {
    return this.#target !== undefined && TYPES.every((type) => !this.#subs[type].pending) && this.#waits.size === 0;
  }

  #retarget(): void {
    if (!this.#resources || !this.#secrets) return;
    this.#target = { ...this.#resources, SDS: merged(this.#resources.SDS, this.#secrets) };
    this.#flush();
  }

  #answered(type: Type, before: Subscription, sub: Subscription, error: string | undefined): void {
    const { metrics, proxy, log } = this.#options;
    this.#pendingSince.delete(type);
    if (error === undefined) {
      metrics.acks.inc({ type });
      if (before.nack && !sub.nack) log.info(`proxy ${proxy} accepts ${type} again`, { proxy, type });
      return;
    }
    metrics.nacks.inc({ type });
    const names = [...(before.pending?.sent.keys() ?? [])];
    log.error(`proxy ${proxy} rejected ${type} (${some(names)}): ${error}; it keeps its last good configuration`, {
      proxy,
      type,
    });
  }

  #put(sub: Subscription): void {
    const { type } = sub;
    const rejects = rejectedCount(sub) - rejectedCount(this.#subs[type]);
    if (rejects !== 0) this.#options.metrics.rejected.inc({ type }, rejects);
    this.#subs[type] = sub;
  }

  /** Sends what is due, in order of types. */
  #flush(): void {
    const target = this.#target;
    if (!target || this.#closed) return;
    const now = this.#clock.now();
    const waits = new Map<string, number>();
    for (const type of TYPES) {
      if (!this.#writable) {
        // Not looked at now, so not known to be free: keeps its place.
        for (const [key, since] of this.#waits) if (!waits.has(key)) waits.set(key, since);
        break;
      }
      const before = this.#subs[type];
      const hold = (name: string, change: "set" | "remove"): boolean => {
        const verdict = gate(this.#subs, target, type, name, change);
        if (verdict === "go") return false;
        if (verdict === "keep") return true;
        const key = `${type} ${name}`;
        const since = this.#waits.get(key) ?? now;
        waits.set(key, since);
        return now - since < this.#limits.patience;
      };
      const [sub, response] = offer(before, target[type], hold, this.#limits.response);
      this.#put(sub);
      if (before.pending) this.#stillWaiting(type, waits);
      if (response) this.#send(response, target, now);
    }
    this.#waits = waits;
    this.#arm(now);
  }

  /** While a response is pending nothing of its type was looked at: what waits keeps its place. */
  #stillWaiting(type: Type, waits: Map<string, number>): void {
    for (const [key, since] of this.#waits) if (key.startsWith(type)) waits.set(key, since);
  }

  #send(response: Response, target: Resources, now: number): void {
    const { metrics, envelope, protocol, write } = this.#options;
    const { type, resources } = response;
    if (type === "CDS") this.#rewarm(target);
    const bytes = envelope.encode(protocol, response);
    metrics.responses.inc({ type });
    metrics.resourcesSent.inc({ type }, resources.length);
    metrics.bytesSent.inc({ type }, bytes.length);
    this.#pendingSince.set(type, now);
    if (!write(bytes)) this.#writable = false;
  }

  /**
   * "Warming of Cluster is completed only when a new ClusterLoadAssignment response is supplied by management server even if
   * there is no change in endpoints" (Envoy, resource warming): the endpoints of a cluster that was replaced follow it.
   */
  #rewarm(target: Resources): void {
    const names: string[] = [];
    for (const name of this.#subs.CDS.pending?.sent.keys() ?? []) {
      for (const ref of target.CDS.get(name)?.refs ?? []) if (ref.type === "EDS") names.push(ref.name);
    }
    this.#subs.EDS = sendAgain(this.#subs.EDS, names);
  }

  #arm(now: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    const due = [...this.#waits.values()].map((since) => since + this.#limits.patience).filter((at) => at > now);
    if (due.length === 0) return;
    this.#cancelTimer = this.#clock.after(Math.min(...due) - now, () => {
      const { proxy, log } = this.#options;
      const late = [...this.#waits]
        .filter(([, since]) => this.#clock.now() - since >= this.#limits.patience)
        .map(([key]) => key);
      if (late.length > 0)
        log.warn(`proxy ${proxy} has not confirmed what ${some(late)} wait for; they are sent without it`, { proxy });
      this.#flush();
    });
  }
}

const rejectedCount = ({ nack }: Subscription): number => (nack ? nack.sent.size + nack.removed.size : 0);

/** One of the two maps itself where the other is empty: streams without secrets of their own share the group's. */
function merged(shared: ResourceMap, own: ResourceMap): ResourceMap {
  if (own.size === 0) return shared;
  return shared.size === 0 ? own : new Map([...shared, ...own]);
}

const some = (names: readonly string[]): string =>
  names.length <= 5 ? names.join(", ") : `${names.slice(0, 5).join(", ")} and ${names.length - 5} more`;
