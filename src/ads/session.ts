/**
 * One proxy that has proved who it is, from its coming to its going: which group it is in, what it may have, when it must go.
 * Knows no gRPC and no authentication: it is told the outcome of both.
 */
import { realClock, type Clock } from "../lib/settle.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Resource } from "../xds/resource.ts";
import type { Cache } from "./cache.ts";
import { decodeRequest } from "./codec.ts";
import type { Envelope } from "./envelope.ts";
import type { ProxyStatus } from "./status.ts";
import { Stream, type StreamLimits } from "./stream.ts";
import type { Protocol } from "./subscription.ts";

/** A proxy that has proved who it is. */
export interface Proxy {
  /** Unique: a newer stream of the same proxy ends the older one. */
  readonly id: string;
  readonly identity: string;
}

/** Through this, what a proxy may have is given to its stream. Nothing is sent before `group` and `secrets` were called once. */
export interface Sink {
  /** The group of equal proxies that it belongs to; undefined while its pod is not known: after a while the stream is refused. */
  group(name: string | undefined): void;
  /** All secrets of this stream alone. */
  secrets(resources: readonly Resource[]): void;
}

/** Why a stream is ended by the server. Also the label of the metric. */
export type Reason =
  | "limit"
  | "silent"
  | "identity"
  | "error"
  | "unknown"
  | "malformed"
  | "names"
  | "replaced"
  | "expired";

export interface SessionOptions {
  readonly proxy: Proxy;
  /** When its proof expires. */
  readonly until?: Date | undefined;
  readonly protocol: Protocol;
  readonly address: string;
  readonly cache: Cache;
  readonly envelope: Envelope;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly clock?: Clock;
  readonly limits: Partial<StreamLimits> & { readonly unknown: number };
  readonly open: (proxy: Proxy, sink: Sink) => () => void;
  readonly contradicts?: ((proxy: Proxy, node: string) => string | undefined) | undefined;
  /** False: no more until `writable()`. */
  readonly write: (bytes: Buffer) => boolean;
  /** Ends the stream with a sentence for the proxy's operator; `close` follows. */
  readonly end: (reason: Reason, details: string) => void;
}

/** Longest that a timer can be set. */
const LONGEST = 2 ** 31 - 1;

export class Session {
  readonly proxy: Proxy;
  readonly #options: SessionOptions;
  readonly #clock: Clock;
  readonly #stream: Stream;
  readonly #since = new Date();
  #closeProxy: (() => void) | undefined;
  #group: string | undefined;
  #unsubscribe: (() => void) | undefined;
  #cancelUnknown: (() => void) | undefined;
  #cancelExpiry: (() => void) | undefined;
  #closed = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.proxy = options.proxy;
    this.#clock = options.clock ?? realClock;
    this.#stream = new Stream({ ...options, proxy: options.proxy.id });
    this.#waitForGroup();
    if (options.until) this.#expireAt(options.until);
    this.#guard(() => {
      this.#closeProxy = options.open(options.proxy, {
        group: (name) => this.#guard(() => this.#join(name)),
        secrets: (resources) => this.#guard(() => this.#stream.secrets(resources)),
      });
    });
  }

  receive(bytes: Uint8Array): void {
    if (this.#closed) return;
    const { end, protocol, contradicts } = this.#options;
    let decoded;
    try {
      decoded = decodeRequest(protocol, bytes);
    } catch {
      end("malformed", "a request could not be read: it is no discovery request");
      return;
    }
    const lie = decoded.node === "" ? undefined : contradicts?.(this.proxy, decoded.node);
    if (lie !== undefined) {
      end("identity", lie);
      return;
    }
    this.#guard(() => {
      const beyond = this.#stream.receive(decoded);
      if (beyond !== undefined) end("names", beyond);
    });
  }

  /** What was written has left. */
  writable(): void {
    this.#guard(() => this.#stream.writable());
  }

  /** A newer stream of the same proxy has come. */
  replace(): void {
    this.#options.end("replaced", "a newer stream of the same proxy took over");
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelUnknown?.();
    this.#cancelExpiry?.();
    this.#unsubscribe?.();
    this.#stream.close();
    this.#closeProxy?.();
  }

  status(): ProxyStatus {
    const { proxy, protocol, address } = this.#options;
    return {
      id: proxy.id,
      identity: proxy.identity,
      group: this.#group,
      protocol,
      connectedSince: this.#since.toISOString(),
      address,
      types: this.#stream.status(),
    };
  }

  /** A bug that shows with one proxy ends that proxy's stream and nobody else's. */
  #guard(run: () => void): void {
    if (this.#closed) return;
    try {
      run();
    } catch (error) {
      const { proxy, log, end } = this.#options;
      log.error(`serving proxy ${proxy.id} failed`, { err: error, proxy: proxy.id });
      end("error", "the control plane failed to serve this proxy");
    }
  }

  #join(name: string | undefined): void {
    if (name === this.#group) return;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#group = name;
    if (name === undefined) {
      this.#waitForGroup();
      return;
    }
    this.#cancelUnknown?.();
    this.#cancelUnknown = undefined;
    const { cache } = this.#options;
    // A group whose resources are not there yet, or no more, changes nothing.
    const wake = () => {
      const latest = cache.get(name);
      if (latest) this.#guard(() => this.#stream.resources(latest));
    };
    this.#unsubscribe = cache.subscribe(name, wake);
    wake();
  }

  #waitForGroup(): void {
    const { proxy, limits, end } = this.#options;
    this.#cancelUnknown ??= this.#clock.after(limits.unknown, () => {
      end("unknown", `no pod of this mesh is known for proxy ${proxy.id} of ${proxy.identity}`);
    });
  }

  #expireAt(until: Date): void {
    const left = Math.max(until.getTime() - Date.now(), 0);
    this.#cancelExpiry = this.#clock.after(Math.min(left, LONGEST), () => {
      if (left > LONGEST) this.#expireAt(until);
      else this.#options.end("expired", `the certificate or token of proxy ${this.proxy.id} has expired`);
    });
  }
}
