/**
 * The sidecars of many pods of many meshes in two real Envoys, one for all that call and one for all that are called, on loopback and
 * without iptables: the servers' listeners stand at their pods' addresses, the clients' at one address a client, where a PROXY header says
 * where a connection was going, as the kernel does in a pod. All else is what `xds/` builds.
 */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { Authority } from "../../src/ca/authority.ts";
import type { Issued } from "../../src/ca/lifetime.ts";
import type { Mesh } from "../../src/policy/ir.ts";
import type { Identity, PodName } from "../../src/world/names.ts";
import type { World } from "../../src/world/world.ts";
import { Builder } from "../../src/xds/build.ts";
import { ownCertificate } from "../../src/xds/tls.ts";
import { TYPE_URLS, type Resource, type Resources, type Type } from "../../src/xds/resource.ts";
import { jsonOf, layered_runtime, rewrite, type Json } from "./envoy-json.ts";
import { memoryStore } from "../unit/ca/support.ts";
import { EnvoyProcess, envoyPath, live, rejections, type Scope } from "./envoy-process.ts";

/** One mesh of the fleet. */
export interface Member {
  /** Unique among those that were ever there: it prefixes names. */
  readonly id: string;
  readonly world: World;
  readonly mesh: Mesh;
  /** Accounts that call, each with the address of its listener. */
  readonly clients: ReadonlyMap<Identity, string>;
}

interface FleetOptions {
  readonly envoy: string;
  readonly bundle: string;
  readonly leaf: (identity: Identity) => Issued;
  /** Port of the clients' listeners, and of the applications. */
  readonly ports: { readonly outbound: number; readonly app: number };
  /** How long it lives. */
  readonly scope: Scope;
}

/** The fleet of a test file: starts before its tests, with certificates for these accounts, and ends after them. */
export function useFleet(accounts: Iterable<Identity>, ports: FleetOptions["ports"]): () => Fleet {
  let fleet: Fleet | undefined;
  const stop = new AbortController();
  const endings: (() => void | Promise<void>)[] = [];
  beforeAll(async () => {
    const authority = await Authority.start({ trustDomain: "cluster.local" }, { store: memoryStore() }, stop.signal);
    const leaves = new Map<Identity, Issued>();
    for (const identity of accounts) leaves.set(identity, (await authority.leaf(identity, stop.signal)).current);
    fleet = new Fleet({
      envoy: await envoyPath(),
      bundle: authority.bundle.pem,
      leaf: (identity) => leaves.get(identity) as Issued,
      ports,
      scope: (ending) => endings.push(ending),
    });
    await fleet.start();
  });
  afterAll(async () => {
    stop.abort();
    for (const ending of endings.reverse()) await ending();
  });
  return () => fleet as Fleet;
}

class Fleet {
  readonly #options: FleetOptions;
  readonly #clients: EnvoyProcess;
  readonly #servers: EnvoyProcess;
  readonly #app: Server;
  #updates = 0;

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#clients = new EnvoyProcess(options.scope);
    this.#servers = new EnvoyProcess(options.scope);
    this.#app = createServer(answerAs);
    options.scope(() => void this.#app.close());
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#app.once("error", reject).listen(this.#options.ports.app, "0.0.0.0", resolve);
    });
    for (const process of [this.#clients, this.#servers]) {
      mkdirSync(process.directory, { recursive: true });
      this.#put(process, "CDS", []);
      this.#put(process, "LDS", []);
      process.start(this.#options.envoy, bootstrap(process), [], ["--drain-time-s", "1"]);
    }
    for (const process of [this.#clients, this.#servers]) await process.until("Envoy is live", live);
  }

  /** These meshes, and no others; resolves when both Envoys have them. */
  async become(members: readonly Member[]): Promise<void> {
    const made = members.map((member) => this.#resources(member));
    const all = (side: "clients" | "servers", type: Type) =>
      made.flatMap((one) => one[side].filter((r) => r.type === type).map((r) => r.json));
    this.#updates++;
    const sides = [
      [this.#servers, "servers"],
      [this.#clients, "clients"],
    ] as const;
    for (const [process, side] of sides) {
      this.#put(process, "CDS", all(side, "CDS"));
      await process.until(
        "the clusters are warm",
        (s) => taken(s, "cluster_manager.cds", this.#updates) && s.get("cluster_manager.warming_clusters") === 0,
      );
      this.#put(process, "LDS", all(side, "LDS"));
      await process.until(
        "the listeners listen",
        (s) =>
          taken(s, "listener_manager.lds", this.#updates) && s.get("listener_manager.total_listeners_warming") === 0,
      );
      const bad = rejections(await process.stats());
      if (bad.length > 0) throw new Error(`Envoy rejects: ${bad.join(", ")}\n${process.log}`);
    }
  }

  /** Connects as this client's application to an address. Never rejects: a connection that is refused is one that is closed. */
  dial(from: string, to: { readonly ip: string; readonly port: number }): Socket {
    const socket = connect(this.#options.ports.outbound, from);
    socket.on("error", () => {});
    socket.write(`PROXY TCP4 127.0.0.1 ${to.ip} 4321 ${to.port}\r\n`);
    return socket;
  }

  #resources({ id, world, mesh, clients }: Member): { clients: Placed[]; servers: Placed[] } {
    const { bundle, leaf, ports } = this.#options;
    const { changed } = new Builder().mesh(mesh, world, { bundle, trustDomain: mesh.settings.trustDomain });
    const out = { clients: [] as Placed[], servers: [] as Placed[] };
    const seen = new Set<Identity>();
    for (const [group, resources] of changed) {
      const policy = mesh.groups.get(group);
      if (!policy) continue;
      const certificate = ownCertificate(leaf(policy.identity).chainPem, leaf(policy.identity).privateKey.revealPem());
      const at = clients.get(policy.identity);
      if (at !== undefined && !seen.has(policy.identity)) {
        seen.add(policy.identity);
        out.clients.push(
          ...placed(`${id} ${policy.identity}`, resources, certificate, {
            kind: "client",
            ip: at,
            port: ports.outbound,
          }),
        );
      }
      for (const pod of podsOf(world, mesh, group))
        out.servers.push(
          ...placed(`${id} ${pod.name}`, resources, certificate, {
            kind: "server",
            ip: pod.ip,
            port: ports.app,
            past: pod.past,
          }),
        );
    }
    return out;
  }

  #put(process: EnvoyProcess, type: "CDS" | "LDS", messages: readonly Json[]): void {
    const path = join(process.directory, `${type}.json`);
    const resources = messages.map((message) => ({ "@type": TYPE_URLS[type], ...message }));
    writeFileSync(`${path}.new`, JSON.stringify({ version_info: String(this.#updates), resources }));
    renameSync(`${path}.new`, path);
  }
}

interface Placed {
  readonly type: Type;
  readonly json: Json;
}

/** The first file counts as an update too. */
const taken = (stats: ReadonlyMap<string, number>, what: string, updates: number): boolean =>
  (stats.get(`${what}.update_success`) ?? 0) + (stats.get(`${what}.update_rejected`) ?? 0) > updates;

interface ServerPod {
  readonly name: PodName;
  readonly ip: string;
  /** Ports that do not come to its sidecar. */
  readonly past: readonly number[];
}

function* podsOf(world: World, mesh: Mesh, group: string): Generator<ServerPod> {
  for (const pods of world.tables.Pod.values())
    for (const { name, ips, workload } of pods.values())
      if (mesh.groupOf.get(workload.key) === group && ips[0] !== undefined)
        yield { name, ip: ips[0], past: workload.past ?? [] };
}

const PROXY_FILTER = {
  name: "envoy.filters.listener.proxy_protocol",
  typedConfig: { "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol" },
};

/** A pod's listeners and clusters with everything that they refer to inside, under names of its own. */
function placed(
  id: string,
  resources: Resources,
  certificate: Resource,
  place: {
    readonly kind: "client" | "server";
    readonly ip: string;
    readonly port: number;
    readonly past?: readonly number[];
  },
): Placed[] {
  const secrets = new Map([...resources.SDS.values(), certificate].map((r) => [r.name, jsonOf(r)]));
  const clusters = new Set(resources.CDS.keys());
  const own = (object: Json): Json => {
    let next = object;
    if (next.rds) {
      const { rds, ...rest } = next;
      next = { ...rest, routeConfig: jsonOf(resources.RDS.get(rds.routeConfigName) as Resource) };
    }
    if (next.tlsCertificateSdsSecretConfigs) {
      const { tlsCertificateSdsSecretConfigs: configs, validationContextSdsSecretConfig: validation, ...rest } = next;
      next = {
        ...rest,
        tlsCertificates: configs.map((config: Json) => secrets.get(config.name).tlsCertificate),
        validationContext: secrets.get(validation.name).validationContext,
      };
    }
    if (typeof next.cluster === "string" && clusters.has(next.cluster))
      next = { ...next, cluster: `${id} ${next.cluster}` };
    if (next.weightedClusters)
      next = {
        ...next,
        weightedClusters: {
          ...next.weightedClusters,
          clusters: next.weightedClusters.clusters.map((c: Json) => ({ ...c, name: `${id} ${c.name}` })),
        },
      };
    return next;
  };
  const out: Placed[] = [];
  for (const resource of resources.CDS.values()) {
    const json = jsonOf(resource);
    const name = `${id} ${json.name}`;
    const { edsClusterConfig: eds, ...rest } = json;
    const assignment = eds ? jsonOf(resources.EDS.get(json.name) as Resource) : json.loadAssignment;
    // The application has the pod's address: that tells it which pod it is.
    const moved = eds
      ? assignment
      : rewrite(assignment ?? {}, (o) =>
          o.socketAddress ? { socketAddress: { address: place.ip, portValue: place.port } } : o,
        );
    const load = assignment ? { loadAssignment: { ...moved, clusterName: name } } : {};
    out.push({ type: "CDS", json: { ...rewrite(rest, own), name, ...(eds ? { type: "STATIC" } : {}), ...load } });
  }
  for (const resource of resources.LDS.values()) {
    const json = rewrite(jsonOf(resource), own);
    const inbound = json.name === "inbound-listener";
    if (inbound !== (place.kind === "server")) continue;
    const ports: number[] = inbound
      ? [...new Set<number>(json.filterChains.map((c: Json) => c.filterChainMatch.destinationPort))].filter(
          (port) => !place.past?.includes(port),
        )
      : [place.port];
    const [first, ...more] = ports.map((portValue) => ({ socketAddress: { address: place.ip, portValue } }));
    if (!first) continue;
    const listenerFilters = inbound
      ? json.listenerFilters
      : json.listenerFilters.map((f: Json) => (f.name === "envoy.filters.listener.original_dst" ? PROXY_FILTER : f));
    const additional = more.length > 0 ? { additionalAddresses: more.map((address) => ({ address })) } : {};
    out.push({
      type: "LDS",
      json: { ...json, name: `${id} ${json.name}`, address: first, ...additional, listenerFilters },
    });
  }
  return out;
}

function bootstrap(process: EnvoyProcess): Json {
  const source = (type: "CDS" | "LDS") => ({
    path_config_source: { path: join(process.directory, `${type}.json`) },
    resource_api_version: "V3",
  });
  return {
    node: { id: "test", cluster: "test" },
    admin: { address: { pipe: { path: process.adminPath } } },
    layered_runtime,
    dynamic_resources: { cds_config: source("CDS"), lds_config: source("LDS") },
  };
}

/** Every pod's application: HTTP to whom speaks it, else a line; both say at which pod's address they were asked. */
function answerAs(socket: Socket): void {
  if (!socket.localAddress?.startsWith("127.")) return void socket.destroy();
  let text = "";
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    const end = text.indexOf("\r\n\r\n");
    if (end < 0 && /^[A-Z-]+ /.test(text)) return;
    if (end < 0) return void socket.end(`pod ${socket.localAddress}\n`);
    const [line = ""] = text.split("\r\n");
    text = "";
    const body = `${JSON.stringify({ pod: socket.localAddress, line })}\n`;
    const sent = line.startsWith("HEAD ") ? "" : body;
    socket.end(
      `HTTP/1.1 200 OK\r\nx-pod: ${socket.localAddress}\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${sent}`,
    );
  });
}
