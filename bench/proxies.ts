/**
 * A process full of simulated proxies: each has a connection and a certificate of its own, asks for what Envoy would ask for, and
 * acknowledges everything. Can note what it is sent, so that the floor can send the same.
 */
import { Cluster } from "../gen/envoy/config/cluster/v3/cluster.ts";
import { Listener } from "../gen/envoy/config/listener/v3/listener.ts";
// Makes every message that the builder packs known to `toJSON`.
import "../src/xds/build.ts";
import type { Reference, Type } from "../src/xds/resource.ts";
import { AdsClient } from "../test/support/ads-client.ts";
import { answer } from "./rpc.ts";

export interface Connect {
  readonly address: string;
  readonly roots: string;
  readonly serverName: string;
  readonly proxies: readonly { readonly id: string; readonly certificate: string; readonly privateKey: string }[];
  /** Whether they follow references; else they ask for clusters only, and take whatever comes. */
  readonly follow: boolean;
}

/** One response as it was sent to one proxy. */
export interface Sent {
  readonly proxy: string;
  readonly type: Type;
  readonly bytes: Uint8Array;
}

let sent: Sent[] | undefined;

/** References, wherever a message has them: they are the sources of configuration and what stands beside these. */
function references(message: unknown, found: Reference[]): readonly Reference[] {
  if (message === null || typeof message !== "object") return found;
  const fields = message as Readonly<Record<string, unknown>>;
  if ("sdsConfig" in fields && typeof fields["name"] === "string") found.push({ type: "SDS", name: fields["name"] });
  if (typeof fields["routeConfigName"] === "string") found.push({ type: "RDS", name: fields["routeConfigName"] });
  for (const value of Object.values(fields)) references(value, found);
  return found;
}

function read(type: Type, bytes: Uint8Array): { name: string; refs: readonly Reference[] } {
  if (type === "LDS") return { name: "", refs: references(Listener.toJSON(Listener.decode(bytes)), []) };
  if (type !== "CDS") return { name: "", refs: [] };
  const cluster = Cluster.decode(bytes);
  const { name = "", edsClusterConfig } = cluster;
  const endpoints = edsClusterConfig ? [{ type: "EDS" as const, name: edsClusterConfig.serviceName || name }] : [];
  return { name, refs: references(Cluster.toJSON(cluster), [...endpoints]) };
}

const handlers = {
  connect({ address, roots, serverName, proxies, follow }: Connect): void {
    for (const { id, certificate, privateKey } of proxies) {
      const client = new AdsClient({
        address,
        tls: { roots, serverName, certificate, privateKey },
        protocol: "delta",
        follow,
        read,
        metadata: { proxy: id },
      });
      let type: Type = "CDS";
      // A thousand proxies that remember everything would be measured for their memory.
      client.model.received.push = (received) => {
        type = received.type;
        return 0;
      };
      client.onResponse = (bytes) => {
        client.model.receive(bytes);
        sent?.push({ proxy: id, type, bytes });
      };
      client.connect();
      if (!follow) client.model.subscribe("CDS");
    }
  },
  /** From now on what is sent is noted. */
  note(): void {
    sent = [];
  },
  /** What was noted. */
  noted(): readonly Sent[] {
    const all = sent ?? [];
    sent = undefined;
    return all;
  },
};
export type Proxies = typeof handlers;

answer(handlers);
