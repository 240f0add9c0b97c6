/** A server on a port of its own with real mTLS, and proxies that connect to it. */
import { X509Certificate } from "node:crypto";
import { afterEach, beforeAll } from "vitest";
import { Cache } from "../../../src/ads/cache.ts";
import type { Listener } from "../../../src/ads/listener.ts";
import { AdsServer, type AdsServerOptions, type Peer } from "../../../src/ads/server.ts";
import type { Sink } from "../../../src/ads/session.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { createMetrics } from "../../../src/telemetry/metrics.ts";
import type { Resources } from "../../../src/xds/resource.ts";
import { AdsClient, type AdsClientOptions } from "../../support/ads-client.ts";
import { authority, type Authority, type Pair } from "./certificates.ts";
import { fake, read, resources } from "./fixtures.ts";

export const SERVER = "heddle.test";
export let ca: Authority;
export let other: Authority;
export let serverPair: Pair;
export let alice: Pair;
export let bob: Pair;

beforeAll(async () => {
  ca = await authority("ours");
  other = await authority("theirs");
  serverPair = await ca.issue(SERVER);
  alice = await ca.issue("alice");
  bob = await ca.issue("bob");
});

/** A server whose proxies are named by their certificate's CN and are in a group of the same name. */
export class World {
  readonly cache = new Cache();
  readonly metrics = createMetrics();
  readonly lines: string[] = [];
  readonly sinks = new Map<string, Sink>();
  readonly closed: string[] = [];
  readonly clients: AdsClient[] = [];
  readonly server: AdsServer;
  listener!: Listener;

  constructor(options: Partial<AdsServerOptions> = {}) {
    this.server = new AdsServer({
      cache: this.cache,
      metrics: this.metrics,
      log: createLog("debug", (line) => this.lines.push(line)),
      authenticate: ({ certificate }: Peer) => {
        if (!certificate) return { refused: "no certificate was shown" };
        const name = new X509Certificate(certificate).subject.slice("CN=".length);
        return { proxy: { id: name, identity: `ns/${name}` } };
      },
      open: (proxy, sink) => {
        this.sinks.set(proxy.id, sink);
        sink.secrets([fake("SDS", `key-of-${proxy.id}`)]);
        sink.group(proxy.id);
        return () => this.closed.push(proxy.id);
      },
      ...options,
    });
  }

  async listen(clientCertificates = true): Promise<this> {
    const credentials = { ...serverPair, ...(clientCertificates && { clientRoots: ca.roots }) };
    this.listener = await this.server.listen({ host: "127.0.0.1", port: 0, credentials });
    return this;
  }

  client(pair: Pair | undefined, options: Partial<AdsClientOptions> = {}): AdsClient {
    const tls = { roots: ca.roots, serverName: SERVER, ...pair };
    const address = `127.0.0.1:${this.listener.port}`;
    const client = new AdsClient({ address, tls, protocol: "delta", read, follow: true, ...options }).connect();
    this.clients.push(client);
    return client;
  }

  async count(metric: "acks" | "nacks" | "responses" | "streamsRefused" | "streams"): Promise<number> {
    const { values } = await this.metrics[metric].get();
    return values.reduce((sum, { value }) => sum + value, 0);
  }
}

export const open: World[] = [];
export async function world(options: Partial<AdsServerOptions> = {}, clientCertificates = true): Promise<World> {
  const made = await new World(options).listen(clientCertificates);
  open.push(made);
  return made;
}
afterEach(() => {
  for (const { server, clients } of open.splice(0)) {
    for (const client of clients) client.close();
    server.close();
  }
});

export const mesh = (content: number | string = 1): Resources =>
  resources(
    fake("CDS", "c", 1, ["EDS/e"]),
    fake("EDS", "e", content),
    fake("LDS", "out", 1, ["RDS/r"]),
    fake("RDS", "r", 1, ["CDS/c"]),
  );
export const whole = (client: AdsClient) =>
  client.until((model) => model.held.RDS.size === 1 && model.held.EDS.size === 1);
export const has = (type: "EDS" | "LDS", content: number | string) => (model: AdsClient["model"]) =>
  [...model.held[type].values()].some(({ bytes }) =>
    Buffer.from(bytes).includes(`"content":${JSON.stringify(content)}`),
  );
