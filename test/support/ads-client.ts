/**
 * A proxy as far as xDS goes, for tests and benchmarks: what Envoy would ask for, hold, warm and acknowledge (`ProxyModel`, no
 * network), and the same over gRPC (`AdsClient`). Knows nothing of what resources contain but the references it is told how to read.
 */
import * as grpc from "@grpc/grpc-js";
import {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
} from "../../gen/envoy/service/discovery/v3/discovery.ts";
import { TYPES, TYPE_URLS, type Reference, type Type } from "../../src/xds/resource.ts";

export type Protocol = "delta" | "sotw";

export interface Held {
  readonly version: string;
  readonly bytes: Uint8Array;
  readonly refs: readonly Reference[];
}

export interface Received {
  readonly type: Type;
  readonly names: readonly string[];
  readonly removed: readonly string[];
  readonly nonce: string;
  readonly size: number;
}

export interface ModelOptions {
  readonly protocol: Protocol;
  /** Name and references of a resource, from its bytes; SotW needs it for names. */
  readonly read?: (type: Type, bytes: Uint8Array) => { name: string; refs: readonly Reference[] };
  /** Asks for what resources refer to, as Envoy does; else only what the test asks for. */
  readonly follow?: boolean;
  /** What it calls itself; `whoever` when not given. */
  readonly node?: string;
  /** A message: the response is rejected. */
  readonly reject?: (type: Type, names: readonly string[], held: ReadonlyMap<string, Held>) => string | undefined;
  readonly send: (request: Buffer) => void;
}

const TYPES_BY_URL = new Map(TYPES.map((type) => [TYPE_URLS[type], type]));

interface Cluster {
  /** References of the version that serves, once there is one. */
  active: readonly Reference[] | undefined;
  warming: { readonly refs: readonly Reference[]; readonly missing: Set<string> } | undefined;
}

export class ProxyModel {
  readonly options: ModelOptions;
  /** By type: what was accepted. */
  readonly held: { readonly [T in Type]: Map<string, Held> };
  readonly received: Received[] = [];
  readonly #names: { readonly [T in Type]: Set<string> };
  readonly #clusters = new Map<string, Cluster>();
  readonly #asked = new Set<Type>();
  readonly #nonces = new Map<Type, string>();
  readonly #versions = new Map<Type, string>();

  constructor(options: ModelOptions) {
    this.options = options;
    this.held = { CDS: new Map(), EDS: new Map(), SDS: new Map(), LDS: new Map(), RDS: new Map() };
    this.#names = { CDS: new Set(), EDS: new Set(), SDS: new Set(), LDS: new Set(), RDS: new Set() };
  }

  /** A new stream: asks again for all that it asked for before, and says what it holds. */
  connect(): void {
    this.#nonces.clear();
    if (this.#asked.size === 0 && this.options.follow) this.#asked.add("CDS");
    for (const type of TYPES) if (this.#asked.has(type)) this.#hello(type);
  }

  /** Without names: the wildcard of CDS and LDS. */
  subscribe(type: Type, ...names: string[]): void {
    const added = names.filter((name) => !this.#names[type].has(name));
    const first = !this.#asked.has(type);
    if (!first && added.length === 0 && this.options.protocol === "sotw") return;
    this.#asked.add(type);
    for (const name of names) this.#names[type].add(name);
    if (this.options.protocol === "sotw") this.#sotw(type);
    else this.#delta(type, { resourceNamesSubscribe: names });
  }

  unsubscribe(type: Type, ...names: string[]): void {
    for (const name of names) {
      this.#names[type].delete(name);
      this.held[type].delete(name);
    }
    if (this.options.protocol === "sotw") this.#sotw(type);
    else this.#delta(type, { resourceNamesUnsubscribe: names });
  }

  /** Takes a response: applies and ACKs it, or rejects it whole. */
  receive(response: Buffer): void {
    if (this.options.protocol === "sotw") this.#receiveSotw(response);
    else this.#receiveDelta(response);
  }

  /** Whether a cluster serves: it is there and has finished warming once. */
  serves(cluster: string): boolean {
    return this.#clusters.get(cluster)?.active !== undefined;
  }

  /** Clusters of which a newer version waits for its endpoints or secrets. */
  warming(): string[] {
    return [...this.#clusters].filter(([, cluster]) => cluster.warming).map(([name]) => name);
  }

  /** Clusters that a listener or route held refers to and that do not serve. Must always be empty. */
  broken(): string[] {
    const wanted = [...this.held.LDS.values(), ...this.held.RDS.values()].flatMap(({ refs }) => refs);
    return wanted.filter((ref) => ref.type === "CDS" && !this.serves(ref.name)).map(({ name }) => name);
  }

  #receiveDelta(response: Buffer): void {
    const message = DeltaDiscoveryResponse.decode(response);
    const type = TYPES_BY_URL.get(message.typeUrl ?? "")!;
    const set = new Map<string, Held>();
    for (const { name = "", version = "", resource } of message.resources ?? []) {
      const bytes = resource!.value!;
      set.set(name, { version, bytes, refs: this.options.read?.(type, bytes).refs ?? [] });
    }
    const removed = message.removedResources ?? [];
    const nonce = message.nonce ?? "";
    this.received.push({ type, names: [...set.keys()], removed, nonce, size: response.length });
    const error = this.options.reject?.(type, [...set.keys()], set);
    if (error === undefined) this.#apply(type, set, removed);
    this.#delta(type, {
      responseNonce: nonce,
      ...(error !== undefined && { errorDetail: { code: 3, message: error } }),
    });
    if (error === undefined) this.#followOn();
  }

  #receiveSotw(response: Buffer): void {
    const message = DiscoveryResponse.decode(response);
    const type = TYPES_BY_URL.get(message.typeUrl ?? "")!;
    const set = new Map<string, Held>();
    for (const { value } of message.resources ?? []) {
      const { name, refs } = this.options.read!(type, value!);
      set.set(name, { version: "", bytes: value!, refs });
    }
    // "Everything" for these two types; of the others, what is absent has not changed.
    const whole = type === "CDS" || type === "LDS";
    const removed = whole ? [...this.held[type].keys()].filter((name) => !set.has(name)) : [];
    this.#nonces.set(type, message.nonce ?? "");
    this.received.push({ type, names: [...set.keys()], removed, nonce: message.nonce ?? "", size: response.length });
    const error = this.options.reject?.(type, [...set.keys()], set);
    if (error === undefined) {
      this.#versions.set(type, message.versionInfo ?? "");
      this.#apply(type, set, removed);
    }
    this.#sotw(type, error);
    if (error === undefined) this.#followOn();
  }

  #apply(type: Type, set: ReadonlyMap<string, Held>, removed: readonly string[]): void {
    const held = this.held[type];
    for (const name of removed) {
      held.delete(name);
      if (type === "CDS") this.#clusters.delete(name);
    }
    for (const [name, resource] of set) {
      // Envoy ignores names that it no longer asks for, and clusters that are the same.
      if (!this.#wants(type, name)) continue;
      const same = held.get(name) && Buffer.compare(held.get(name)!.bytes, resource.bytes) === 0;
      held.set(name, resource);
      if (type === "CDS" && !same) this.#warm(name, resource.refs);
    }
    if (type !== "EDS" && type !== "SDS") return;
    for (const cluster of this.#clusters.values()) {
      for (const name of [...set.keys(), ...removed]) cluster.warming?.missing.delete(`${type} ${name}`);
      this.#warmed(cluster);
    }
  }

  #wants(type: Type, name: string): boolean {
    const names = this.#names[type];
    return names.has(name) || names.has("*") || (names.size === 0 && (type === "CDS" || type === "LDS"));
  }

  /** A cluster that is new or another one serves when its endpoints have come after it; secrets are shared and may be older. */
  #warm(name: string, refs: readonly Reference[]): void {
    const cluster = this.#clusters.get(name) ?? { active: undefined, warming: undefined };
    const missing = refs.filter((ref) => ref.type === "EDS" || !this.held.SDS.has(ref.name));
    cluster.warming = { refs, missing: new Set(missing.map((ref) => `${ref.type} ${ref.name}`)) };
    this.#clusters.set(name, cluster);
    this.#warmed(cluster);
  }

  #warmed(cluster: Cluster): void {
    if (!cluster.warming || cluster.warming.missing.size > 0) return;
    cluster.active = cluster.warming.refs;
    cluster.warming = undefined;
  }

  /** Asks for what is referred to and drops what no longer is. Listeners come when the first clusters have warmed. */
  #followOn(): void {
    if (!this.options.follow) return;
    const wanted: { [T in Type]?: Set<string> } = { EDS: new Set(), SDS: new Set(), RDS: new Set() };
    const note = (refs: readonly Reference[]) => {
      for (const ref of refs) wanted[ref.type]?.add(ref.name);
    };
    for (const [name, held] of this.held.CDS) {
      note(held.refs);
      note(this.#clusters.get(name)?.active ?? []);
    }
    for (const { refs } of this.held.LDS.values()) note(refs);
    for (const type of ["EDS", "SDS", "RDS"] as const) {
      const names = this.#names[type];
      const dropped = [...names].filter((name) => !wanted[type]!.has(name));
      const added = [...wanted[type]!].filter((name) => !names.has(name));
      if (dropped.length > 0) this.unsubscribe(type, ...dropped);
      if (added.length > 0) this.subscribe(type, ...added);
    }
    const warming = [...this.#clusters.values()].some((cluster) => cluster.warming);
    if (!this.#asked.has("LDS") && !warming) this.subscribe("LDS");
  }

  get #node() {
    return { id: this.options.node ?? "whoever", cluster: "whatever" };
  }

  #hello(type: Type): void {
    if (this.options.protocol === "sotw") {
      this.#sotw(type);
      return;
    }
    const initialResourceVersions = Object.fromEntries(
      [...this.held[type]].map(([name, { version }]) => [name, version]),
    );
    this.#delta(type, { resourceNamesSubscribe: [...this.#names[type]], initialResourceVersions });
  }

  #delta(type: Type, fields: Partial<DeltaDiscoveryRequest>): void {
    this.options.send(
      Buffer.from(DeltaDiscoveryRequest.encode({ node: this.#node, typeUrl: TYPE_URLS[type], ...fields }).finish()),
    );
  }

  #sotw(type: Type, error?: string): void {
    const request = {
      node: this.#node,
      typeUrl: TYPE_URLS[type],
      resourceNames: [...this.#names[type]],
      versionInfo: this.#versions.get(type) ?? "",
      responseNonce: this.#nonces.get(type) ?? "",
      ...(error !== undefined && { errorDetail: { code: 3, message: error } }),
    };
    this.options.send(Buffer.from(DiscoveryRequest.encode(request).finish()));
  }
}

/** PEM. */
export interface ClientTls {
  readonly roots: string;
  readonly certificate?: string;
  readonly privateKey?: string;
  /** Name that the server's certificate must have. */
  readonly serverName: string;
}

export interface AdsClientOptions extends Omit<ModelOptions, "send"> {
  /** `host:port` */
  readonly address: string;
  readonly tls: ClientTls;
  readonly metadata?: Readonly<Record<string, string>>;
}

export interface Ended {
  readonly code: grpc.status;
  readonly details: string;
}

const pass = (bytes: Buffer): Buffer => bytes;
const pem = (text: string | undefined): Buffer | null => (text === undefined ? null : Buffer.from(text));

/** One proxy on one connection of its own. */
export class AdsClient {
  readonly model: ProxyModel;
  /** Takes responses instead of the model; for clients that never answer. */
  onResponse: ((response: Buffer) => void) | undefined;
  readonly #options: AdsClientOptions;
  #client: grpc.Client | undefined;
  #call: grpc.ClientDuplexStream<Buffer, Buffer> | undefined;
  #ended = Promise.withResolvers<Ended>();
  readonly #watchers = new Set<() => void>();

  constructor(options: AdsClientOptions) {
    this.#options = options;
    this.model = new ProxyModel({ ...options, send: (request) => this.#call?.write(request) });
  }

  /** Opens a connection and a stream; a model that asked for something before asks for it again. */
  connect(): this {
    const { address, tls } = this.#options;
    const credentials = grpc.credentials.createSsl(pem(tls.roots), pem(tls.privateKey), pem(tls.certificate));
    this.#client = new grpc.Client(address, credentials, {
      "grpc.ssl_target_name_override": tls.serverName,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.max_receive_message_length": -1,
      "grpc.enable_channelz": 0,
      "grpc.initial_reconnect_backoff_ms": 100_000,
    });
    return this.reopen();
  }

  /** Another stream on the connection that there is, if it still takes one. */
  reopen(): this {
    const { protocol, metadata = {} } = this.#options;
    const method = protocol === "delta" ? "DeltaAggregatedResources" : "StreamAggregatedResources";
    const headers = new grpc.Metadata();
    for (const [key, value] of Object.entries(metadata)) headers.set(key, value);
    const path = `/envoy.service.discovery.v3.AggregatedDiscoveryService/${method}`;
    if (!this.#client) return this.connect();
    const call = this.#client.makeBidiStreamRequest(path, pass, pass, headers);
    const ended = (this.#ended = Promise.withResolvers<Ended>());
    this.#call = call;
    call.on("data", (response: Buffer) => {
      if (this.onResponse) this.onResponse(response);
      else this.model.receive(response);
      for (const watcher of this.#watchers) watcher();
    });
    call.on("status", ({ code, details }) => ended.resolve({ code, details }));
    call.on("error", () => {});
    this.model.connect();
    return this;
  }

  /** Raw bytes, which may be no request at all. */
  write(request: Buffer): void {
    this.#call?.write(request);
  }

  /** Stops or goes on reading. */
  pause(): void {
    this.#call?.pause();
  }
  resume(): void {
    this.#call?.resume();
  }

  /** How the stream ended. */
  get ended(): Promise<Ended> {
    return this.#ended.promise;
  }

  /** Settles when it holds, looked at after every response; rejects with the status if the stream ends before. */
  async until(holds: (model: ProxyModel) => boolean): Promise<void> {
    if (holds(this.model)) return;
    const met = Promise.withResolvers<void>();
    const watcher = () => {
      if (holds(this.model)) met.resolve();
    };
    this.#watchers.add(watcher);
    const failed = this.ended.then(({ code, details }) => {
      throw new Error(`the stream ended with ${code}: ${details}`);
    });
    try {
      await Promise.race([met.promise, failed]);
    } finally {
      this.#watchers.delete(watcher);
    }
  }

  /** Ends stream and connection; `connect` may follow. */
  close(): void {
    this.#call?.cancel();
    this.#client?.close();
    this.#call = undefined;
  }
}
