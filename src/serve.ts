/**
 * The composition root of a control plane: builds every part, starts them in order, ends them in reverse. Decides nothing itself.
 */
import { X509Certificate } from "node:crypto";
import { Cache } from "./ads/cache.ts";
import { AdsServer, type Accepted, type Refused, type ServerLimits } from "./ads/server.ts";
import type { Proxy, Sink as StreamSink } from "./ads/session.ts";
import type { ProxyStatus } from "./ads/status.ts";
import { Authority } from "./ca/authority.ts";
import type { Issued } from "./ca/lifetime.ts";
import { claimedIdentity, peerIdentity } from "./ca/peer-identity.ts";
import type { SecretStore } from "./ca/store.ts";
import { Pipeline, type PipelineOptions } from "./pipeline.ts";
import type { Sink } from "./sources/sink.ts";
import type { Log } from "./telemetry/log.ts";
import { createMetrics, type Metrics } from "./telemetry/metrics.ts";
import { controlPlaneDnsName, type Identity } from "./world/names.ts";
import { Store } from "./world/store.ts";
import type { ObjectRef, Problem } from "./world/types.ts";
import { ownCertificate } from "./xds/tls.ts";

/** DNS names of a control plane: the one under which sidecars verify it first, then OSM's Service, for sidecars of before. */
export const SERVER_NAMES = [
  controlPlaneDnsName("cluster.local"),
  "osm-controller.osm-system.svc.cluster.local",
] as const;

export interface ServeOptions {
  /** Resolves when everything that was there has been told. */
  readonly source: {
    start(sink: Sink, signal: AbortSignal): Promise<void>;
    /** Where an object's field stands, for problems that compiling finds. */
    locate?(ref: ObjectRef, path: string): { readonly file: string; readonly line: number } | undefined;
  };
  readonly rootStore: SecretStore;
  /** Where sidecars connect, with a client certificate. */
  readonly listen: { readonly host: string; readonly port: number };
  /** Where sidecars connect with their pod's token, and who says whose it is. */
  readonly tokens?: {
    readonly host: string;
    readonly port: number;
    authenticate(authorization: string | undefined, signal: AbortSignal): Promise<Accepted | Refused>;
  };
  readonly log: Log;
  readonly metrics?: Metrics;
  readonly trustDomain?: string;
  /** DNS names in the control plane's certificate; `SERVER_NAMES` when absent. */
  readonly serverNames?: readonly string[];
  /** What proxies may take; `AdsServer`'s own when absent. */
  readonly limits?: Partial<ServerLimits>;
  readonly settle?: PipelineOptions["settle"];
  readonly tamper?: PipelineOptions["tamper"];
}

/** A control plane that runs. */
export interface ControlPlane {
  readonly pipeline: Pipeline;
  readonly store: Store;
  readonly authority: Authority;
  readonly metrics: Metrics;
  /** The port that was opened. */
  readonly port: number;
  /** What sources and compiler found wrong. */
  problems(): readonly Problem[];
  /** Calls when the sources' problems are others. The answer ends it. */
  onProblems(watcher: () => void): () => void;
  /** Every proxy that is connected. */
  proxies(): readonly ProxyStatus[];
  /** Whether the sources have synced and a snapshot is published. */
  ready(): boolean;
  /** Resolves when that is so. */
  readonly started: Promise<void>;
  /** Gives every stream a new certificate at once, before its time. Open connections go on with the old one. */
  renew(): Promise<void>;
  /** Ends streams spread over so many milliseconds, then everything else. */
  stop(drainMs: number): Promise<void>;
}

/** Resolves when the port is open; snapshots follow when the source has synced (`started`). */
export async function serve(options: ServeOptions): Promise<ControlPlane> {
  const { log, source, listen, trustDomain = "cluster.local" } = options;
  const metrics = options.metrics ?? createMetrics();
  const ending = new AbortController();
  const { signal } = ending;

  const authority = await Authority.start(
    { trustDomain },
    { store: options.rootStore, log, issued: () => metrics.certificates.inc() },
    signal,
  );
  metrics.rootExpiry.set(authority.rootNotAfter / 1000);
  const store = new Store();
  const cache = new Cache();
  const pipeline = new Pipeline({
    store,
    publication: cache,
    trust: { bundle: authority.bundle.pem, trustDomain },
    log,
    metrics,
    ...(options.settle ? { settle: options.settle } : {}),
    ...(options.tamper ? { tamper: options.tamper } : {}),
  });
  const renewals: Renewals = new Set();
  const server = new AdsServer({
    cache,
    metrics,
    log,
    authenticate: async (peer) => {
      const found = peer.certificate
        ? authenticate(peer.certificate, trustDomain)
        : await options.tokens?.authenticate(peer.header("authorization"), signal);
      if (!found) return { refused: "no client certificate was shown" };
      if ("refused" in found) return found;
      // Without a certificate of its own it could do nothing with what it is sent: it learns why, instead of waiting.
      const refused = authority.refusal(found.proxy.identity as Identity);
      return refused === undefined ? found : { refused };
    },
    contradicts: ({ identity }, node) => {
      const claim = claimedIdentity(node, trustDomain);
      if (claim === undefined || claim === identity) return undefined;
      return `the proxy says that it is of ${claim}, and its certificate or token is of ${identity}`;
    },
    open: (proxy, sink) => open(proxy, sink, { pipeline, authority, log, renewals }),
    ...(options.limits ? { limits: options.limits } : {}),
  });
  const certificate = await authority.server(options.serverNames ?? SERVER_NAMES, signal);
  const credentials = () => ({
    certificate: certificate.current.chainPem,
    privateKey: certificate.current.privateKey.revealPem(),
  });
  const mutual = () => ({ ...credentials(), clientRoots: authority.bundle.pem });
  const listener = await server.listen({ ...listen, credentials: mutual() });
  const { tokens } = options;
  const tokenListener =
    tokens && (await server.listen({ host: tokens.host, port: tokens.port, credentials: credentials() }));
  certificate.onNext(() => {
    listener.rotate(mutual());
    tokenListener?.rotate(credentials());
  });

  let sourceProblems: readonly Problem[] = [];
  const watchers = new Set<() => void>();
  const count = () => {
    metrics.problems.reset();
    for (const { code } of [...sourceProblems, ...pipeline.problems]) metrics.problems.inc({ code });
  };
  pipeline.onPublished((path) => {
    if (path !== "policy") return;
    const validity = pipeline.mesh?.settings.certificateValidity;
    if (validity !== undefined) authority.setWorkloadValidity(validity * 1000);
    count();
  });
  const started = source.start(
    {
      apply: (changes) => {
        for (const { kind } of changes) metrics.events.inc({ kind });
        store.apply(changes);
      },
      problems: (problems) => {
        sourceProblems = problems;
        count();
        for (const watcher of watchers) watcher();
      },
      synced: () => pipeline.start(signal),
    },
    signal,
  );

  return {
    pipeline,
    store,
    authority,
    metrics,
    port: listener.port,
    started,
    problems: () => [
      ...sourceProblems,
      ...pipeline.problems.map((p) => ({ ...p, ...source.locate?.(p.object, p.path) })),
    ],
    onProblems(watcher) {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    proxies: () => server.status(),
    ready: () => pipeline.mesh !== undefined,
    async renew() {
      await Promise.all([...renewals].map((renewal) => renewal()));
    },
    async stop(drainMs) {
      await server.drain(drainMs);
      ending.abort();
      server.close();
    },
  };
}

function authenticate(der: Uint8Array, trustDomain: string): Accepted | Refused {
  const certificate = new X509Certificate(der);
  const found = peerIdentity(certificate, trustDomain);
  if ("refused" in found) return found;
  return { proxy: { id: found.uuid, identity: found.identity }, until: new Date(certificate.validTo) };
}

/** What each open stream does to get a new certificate now. */
type Renewals = Set<() => Promise<void>>;

interface Parts {
  readonly pipeline: Pipeline;
  readonly authority: Authority;
  readonly log: Log;
  readonly renewals: Renewals;
}

/** One stream: the group of its proxy, and a certificate of its own that is renewed as long as it lasts. */
function open(proxy: Proxy, sink: StreamSink, { pipeline, authority, log, renewals }: Parts): () => void {
  const ending = new AbortController();
  const identity = proxy.identity as Identity;
  const unfollow = pipeline.follow(proxy.id, identity, (group) => sink.group(group));
  const give = ({ chainPem, privateKey }: Issued) => sink.secrets([ownCertificate(chainPem, privateKey.revealPem())]);
  const failed = (error: unknown) => {
    if (!ending.signal.aborted)
      log.error("could not issue a certificate", { proxy: proxy.id, identity, error: String(error) });
  };
  const renewal = () => authority.issueWorkload(identity, ending.signal).then(give).catch(failed);
  authority
    .leaf(identity, ending.signal)
    .then((leaf) => {
      give(leaf.current);
      leaf.onNext(give);
      if (!ending.signal.aborted) renewals.add(renewal);
    })
    .catch(failed);
  return () => {
    ending.abort();
    unfollow();
    renewals.delete(renewal);
  };
}
