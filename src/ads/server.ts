/**
 * The Aggregated Discovery Service: who may open a stream, for how long, and what becomes of it. The only file that knows grpc-js;
 * what a proxy may have is decided by those who give `authenticate` and `open`.
 */
import type { TLSSocket } from "node:tls";
import {
  Server,
  ServerCredentials,
  status as Status,
  type ConnectionInjector,
  type ServerDuplexStream,
  type ServiceDefinition,
} from "@grpc/grpc-js";
import { realClock, type Clock } from "../lib/settle.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Cache } from "./cache.ts";
import { Envelope } from "./envelope.ts";
import { openListener, type Listener, type ListenerCredentials } from "./listener.ts";
import type { ProxyStatus } from "./status.ts";
import { Session, type Proxy, type Reason, type Sink } from "./session.ts";
import type { StreamLimits } from "./stream.ts";
import type { Protocol } from "./subscription.ts";

/** What a peer shows of itself before it may say anything. */
export interface Peer {
  /** Its certificate in DER, verified by TLS; undefined on a port that asks for none. */
  readonly certificate: Uint8Array | undefined;
  /** The first value of a header of the call. */
  readonly header: (name: string) => string | undefined;
  readonly address: string;
}

export interface Accepted {
  readonly proxy: Proxy;
  /** When its proof expires: the stream ends then, and the proxy must prove itself again. */
  readonly until?: Date;
}
export interface Refused {
  /** A sentence for the proxy's operator. */
  readonly refused: string;
}

export interface ServerLimits extends StreamLimits {
  /** Streams in all. */
  readonly streams: number;
  /** Bytes of one request. */
  readonly request: number;
  /** Milliseconds for the TLS handshake, for `authenticate`, until the first request, and that a connection may be without a stream. */
  readonly start: number;
  /** Connections of one address without a stream that has proved whose it is. Behind the address of a node may be many pods. */
  readonly unproven: number;
  /** Milliseconds that a proxy without a group may wait. */
  readonly unknown: number;
  /** Milliseconds without traffic before a connection is probed, and for its answer. */
  readonly keepalive: number;
}

export interface AdsServerOptions {
  readonly cache: Cache;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly authenticate: (peer: Peer) => Accepted | Refused | Promise<Accepted | Refused>;
  /** What a proxy calls itself, held against what it has proved: a sentence when it is somebody else, and the stream is refused. */
  readonly contradicts?: (proxy: Proxy, node: string) => string | undefined;
  /** A proxy has come; the answer is called when it has gone. */
  readonly open: (proxy: Proxy, sink: Sink) => () => void;
  readonly clock?: Clock;
  readonly limits?: Partial<ServerLimits>;
}

type Call = ServerDuplexStream<Buffer, Buffer>;

/** A call, and what ends it for us. It stays in the books until it has ended for grpc-js too. */
interface Open {
  session: Session | undefined;
  /** Nothing more is expected of it. */
  readonly gone: AbortController;
}

const LIMITS: Omit<ServerLimits, keyof StreamLimits> = {
  streams: 20_000,
  request: 4 * 1024 * 1024,
  start: 15_000,
  unproven: 200,
  unknown: 15_000,
  keepalive: 30_000,
};

/** A connection, and the streams on it that have proved whose they are. */
interface Connection {
  readonly address: string;
  readonly socket: TLSSocket;
  readonly proved: (proved: boolean) => void;
  streams: number;
  /** Ends the wait for a stream. */
  cancelIdle: () => void;
}

/** Bytes that may be on their way to one proxy before its stream waits for it. */
const UNSENT = 256 * 1024;

/** Milliseconds that a peer has to read the end of its stream. */
const GRACE = 2_000;

const CODES: { readonly [R in Reason]: Status } = {
  limit: Status.RESOURCE_EXHAUSTED,
  names: Status.RESOURCE_EXHAUSTED,
  silent: Status.DEADLINE_EXCEEDED,
  identity: Status.UNAUTHENTICATED,
  expired: Status.UNAUTHENTICATED,
  unknown: Status.PERMISSION_DENIED,
  malformed: Status.INVALID_ARGUMENT,
  replaced: Status.ABORTED,
  error: Status.UNAVAILABLE,
};

const pass = (bytes: Buffer): Buffer => bytes;
const method = (name: string) => ({
  path: `/envoy.service.discovery.v3.AggregatedDiscoveryService/${name}`,
  requestStream: true,
  responseStream: true,
  requestSerialize: pass,
  requestDeserialize: pass,
  responseSerialize: pass,
  responseDeserialize: pass,
});

/** With bytes for messages: responses are encoded elsewhere, once for many streams. */
export const ADS_SERVICE = {
  StreamAggregatedResources: method("StreamAggregatedResources"),
  DeltaAggregatedResources: method("DeltaAggregatedResources"),
} satisfies ServiceDefinition;

export class AdsServer {
  readonly envelope = new Envelope();
  readonly #options: AdsServerOptions;
  readonly #limits: Omit<ServerLimits, keyof StreamLimits> & Partial<StreamLimits>;
  readonly #clock: Clock;
  readonly #server: Server;
  readonly #injector: ConnectionInjector;
  readonly #listeners = new Set<Listener>();
  readonly #calls = new Map<Call, Open>();
  readonly #connections = new Map<string, Connection>();
  readonly #sessions = new Map<string, Session>();
  #uncheckable = false;

  constructor(options: AdsServerOptions) {
    this.#options = options;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#clock = options.clock ?? realClock;
    this.#server = new Server({
      "grpc.max_receive_message_length": this.#limits.request,
      "grpc.max_send_message_length": -1,
      "grpc.keepalive_time_ms": this.#limits.keepalive,
      "grpc.keepalive_timeout_ms": this.#limits.keepalive,
      "grpc.max_concurrent_streams": 8,
      "grpc.enable_channelz": 0,
    });
    this.#server.addService(ADS_SERVICE, {
      StreamAggregatedResources: (call: Call) => this.#accept(call, "sotw"),
      DeltaAggregatedResources: (call: Call) => this.#accept(call, "delta"),
    });
    // TLS is ours, because grpc-js says neither why it refused a certificate nor lets the version be chosen.
    this.#injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
  }

  /** Opens a port. Client certificates are demanded and verified if `credentials` has roots for them. */
  async listen(where: {
    readonly host: string;
    readonly port: number;
    readonly credentials: ListenerCredentials;
  }): Promise<Listener> {
    const { metrics, log } = this.#options;
    const listener = await openListener({
      ...where,
      maxConnections: this.#limits.streams * 2,
      maxUnproven: this.#limits.unproven,
      handshakeTimeout: this.#limits.start,
      accept: (socket, proved) => {
        const address = `${socket.remoteAddress}:${socket.remotePort}`;
        const connection: Connection = { address, socket, proved, streams: 0, cancelIdle: () => {} };
        this.#connections.set(address, connection);
        this.#count(connection, 0);
        socket.once("close", () => {
          connection.cancelIdle();
          if (this.#connections.get(address) === connection) this.#connections.delete(address);
        });
        this.#injector.injectConnection(socket);
      },
      refuse(reason, address) {
        metrics.streamsRefused.inc({ reason: "tls" });
        log.warn(`a connection from ${address} was refused in the TLS handshake: ${reason}`, { address });
      },
    });
    this.#listeners.add(listener);
    return listener;
  }

  /** Every proxy that is connected, by id. */
  status(): ProxyStatus[] {
    return [...this.#sessions.values()].map((session) => session.status()).sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** Accepts no more, ends the streams one by one over `ms` milliseconds so that not all proxies reconnect at once, then closes. */
  async drain(ms: number): Promise<void> {
    for (const listener of this.#listeners) listener.close();
    const cut = [...this.#connections.values()].map(
      ({ socket }) => new Promise((resolve) => socket.once("close", resolve)),
    );
    // Says goodbye on each connection: it takes no other stream, or a proxy would come back on it, and closes when its stream has ended.
    this.#server.tryShutdown(() => {});
    const calls = [...this.#calls.keys()];
    const spread = calls.map((call, i) => this.#clock.after((i * ms) / calls.length, () => call.end()));
    const late = Promise.withResolvers<void>();
    const cancelGrace = this.#clock.after(ms + GRACE, late.resolve);
    await Promise.race([Promise.all(cut), late.promise]);
    for (const cancel of [...spread, cancelGrace]) cancel();
    this.close();
  }

  /** Cuts every connection. */
  close(): void {
    for (const listener of this.#listeners) listener.destroy();
    this.#listeners.clear();
    this.#server.forceShutdown();
    for (const { gone } of this.#calls.values()) gone.abort();
  }

  /**
   * A proxy's stream on this connection has come or gone. Without any, the connection takes the place of an honest one: it is
   * closed after a while, in which a refusal can be read.
   */
  #count(connection: Connection, change: 1 | 0 | -1): void {
    const { socket, address } = connection;
    connection.streams += change;
    connection.cancelIdle();
    connection.proved(connection.streams > 0);
    if (connection.streams > 0 || socket.destroyed) return;
    const { start } = this.#limits;
    connection.cancelIdle = this.#clock.after(start + GRACE, () => {
      this.#options.metrics.streamsRefused.inc({ reason: "silent" });
      this.#options.log.warn(`a connection from ${address} was closed: it had no stream of a proxy`, { address });
      socket.destroy();
    });
  }

  /** Ends a call with a status. A peer that does not even read that is cut off. */
  #end(call: Call, reason: Reason, details: string): void {
    const address = call.getPeer();
    this.#calls.get(call)?.gone.abort();
    if (reason !== "replaced" && reason !== "expired") {
      this.#options.metrics.streamsRefused.inc({ reason });
      this.#options.log.warn(`a stream from ${address} was ended: ${details}`, { address, reason });
    }
    const cancelCut = this.#clock.after(GRACE, () => this.#connections.get(address)?.socket.destroy());
    for (const event of ["finish", "cancelled"]) call.once(event, cancelCut);
    // grpc-js takes a final status as an error of the call.
    call.emit("error", { code: CODES[reason], details });
  }

  #accept(call: Call, protocol: Protocol): void {
    const { streams, start } = this.#limits;
    // Also emitted when the connection breaks: 'cancelled' and 'close' say the rest.
    call.on("error", () => {});
    if (this.#calls.size >= streams) {
      this.#end(call, "limit", `this control plane serves no more than ${streams} streams`);
      return;
    }
    const open: Open = { session: undefined, gone: new AbortController() };
    this.#calls.set(call, open);
    for (const event of ["cancelled", "close", "finish"]) {
      call.once(event, () => {
        this.#calls.delete(call);
        open.gone.abort();
      });
    }
    const started = this.#clock.after(start, () =>
      this.#end(call, "silent", `no request came within ${start / 1000} s`),
    );
    open.gone.signal.addEventListener("abort", started);
    this.#authenticate(call).then(
      (verdict) => {
        this.#uncheckable = false;
        if (open.gone.signal.aborted) return;
        if ("refused" in verdict) this.#end(call, "identity", verdict.refused);
        else this.#serve(call, protocol, verdict, open, started);
      },
      (error: unknown) => {
        // All proxies come at once after an outage, and fail for the same reason: it is said once.
        if (!this.#uncheckable)
          this.#options.log.error("who a proxy is cannot be checked; proxies keep what they have and try again", {
            error: String(error),
          });
        this.#uncheckable = true;
        if (!open.gone.signal.aborted) this.#end(call, "error", "who this proxy is could not be checked now");
      },
    );
  }

  async #authenticate(call: Call): Promise<Accepted | Refused> {
    return this.#options.authenticate({
      certificate: call.getAuthContext().sslPeerCertificate?.raw,
      header: (name) => call.metadata.get(name)[0]?.toString(),
      address: call.getPeer(),
    });
  }

  #serve(call: Call, protocol: Protocol, { proxy, until }: Accepted, open: Open, started: () => void): void {
    const { metrics, log } = this.#options;
    // Of the same account: nobody ends another account's stream by bearing its proxy's id.
    const key = `${proxy.identity} ${proxy.id}`;
    this.#sessions.get(key)?.replace();
    let unsent = 0;
    const session = new Session({
      ...this.#options,
      proxy,
      until,
      protocol,
      address: call.getPeer(),
      envelope: this.envelope,
      limits: this.#limits,
      write(bytes) {
        unsent += bytes.length;
        call.write(bytes, () => {
          const full = unsent > UNSENT;
          unsent -= bytes.length;
          if (full && unsent <= UNSENT) open.session?.writable();
        });
        return unsent <= UNSENT;
      },
      end: (reason, details) => this.#end(call, reason, details),
    });
    open.session = session;
    this.#sessions.set(key, session);
    const connection = this.#connections.get(call.getPeer());
    if (connection) this.#count(connection, 1);
    metrics.streams.inc();
    metrics.connects.inc();
    log.debug(`proxy ${proxy.id} of ${proxy.identity} connected (${protocol})`, { proxy: proxy.id });
    const close = () => {
      if (this.#sessions.get(key) === session) this.#sessions.delete(key);
      metrics.streams.dec();
      if (connection) this.#count(connection, -1);
      session.close();
    };
    // Whoever was asked in `open` may have ended it already.
    if (open.gone.signal.aborted) close();
    else open.gone.signal.addEventListener("abort", close);
    call.on("data", (bytes: Buffer) => {
      started();
      session.receive(bytes);
    });
    call.on("end", () => call.end());
  }
}
