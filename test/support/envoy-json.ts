/**
 * Resources as JSON that people and Envoy read, and bootstraps made of them: without a control plane, for goldens and for Envoy's own validator.
 */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Cluster } from "../../gen/envoy/config/cluster/v3/cluster.ts";
import { ClusterLoadAssignment } from "../../gen/envoy/config/endpoint/v3/endpoint.ts";
import { Listener } from "../../gen/envoy/config/listener/v3/listener.ts";
import { RouteConfiguration } from "../../gen/envoy/config/route/v3/route.ts";
import { Secret } from "../../gen/envoy/extensions/transport_sockets/tls/v3/secret.ts";
import { bootstrap } from "../../src/injector/bootstrap.ts";
import { hash } from "../../src/lib/hash.ts";
import { TYPE_URLS, TYPES, type Resource, type Resources, type Type } from "../../src/xds/resource.ts";

// Messages of many types, as tests look into them.
// oxlint-disable-next-line typescript/no-explicit-any
export type Json = any;

const MESSAGES = { CDS: Cluster, EDS: ClusterLoadAssignment, SDS: Secret, LDS: Listener, RDS: RouteConfiguration };

/** Canonical JSON of a resource, with every Any written out. */
export const jsonOf = ({ type, bytes }: Resource): Json => MESSAGES[type].toJSON(MESSAGES[type].decode(bytes));

/** A copy in which `replace` may put something else for an object; what it gives back is walked too. */
export function rewrite(value: Json, replace: (object: Json) => Json): Json {
  if (Array.isArray(value)) return value.map((v) => rewrite(v, replace));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(replace(value)).map(([key, v]) => [key, rewrite(v, replace)]));
}

export interface ProxyConfig {
  readonly resources: Resources;
  /** The proxy's own, beside those of the group. */
  readonly secrets: readonly Resource[];
}

/** The runtime that sidecars are started with. */
export const { layered_runtime } = bootstrap({
  nodeId: "test",
  serviceAccount: "test",
  namespace: "test",
  directory: "/nowhere",
  controlPlane: { host: "127.0.0.1", name: "nobody" },
}) as Json;

const all = ({ resources, secrets }: ProxyConfig, type: Type): Resource[] => [
  ...resources[type].values(),
  ...(type === "SDS" ? secrets : []),
];

/** A bootstrap that holds everything itself: `--mode validate` looks at nothing that comes later. */
export function staticBootstrap(config: ProxyConfig): Json {
  const find = (type: Type, name: string) => jsonOf(config.resources[type].get(name) as Resource);
  const clusters = all(config, "CDS").map((resource) => {
    const cluster = jsonOf(resource);
    if (cluster.type !== "EDS") return cluster;
    const { edsClusterConfig: _, ...rest } = cluster;
    return { ...rest, type: "STATIC", loadAssignment: find("EDS", cluster.name) };
  });
  const inline = (object: Json): Json => {
    if (object.rds) {
      const { rds, ...rest } = object;
      return { ...rest, routeConfig: find("RDS", rds.routeConfigName) };
    }
    return object.sdsConfig ? { name: object.name } : object;
  };
  return {
    node: { id: "test", cluster: "test" },
    layered_runtime,
    static_resources: {
      listeners: rewrite(all(config, "LDS").map(jsonOf), inline),
      clusters: rewrite(clusters, inline),
      secrets: all(config, "SDS").map(jsonOf),
    },
  };
}

/** Every resource in a file of its own, that a running Envoy follows; the answer is the bootstrap. */
export class ConfigFiles {
  readonly #directory: string;
  #version = 0;

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true });
  }

  bootstrap(adminPath: string): Json {
    const source = (type: Type) => ({ path_config_source: { path: this.#path(type, "") }, resource_api_version: "V3" });
    return {
      node: { id: "test", cluster: "test" },
      admin: { address: { pipe: { path: adminPath } } },
      layered_runtime,
      dynamic_resources: { cds_config: source("CDS"), lds_config: source("LDS") },
    };
  }

  /** Writes what is now so. `edit` changes listeners and clusters on their way, for a test's own ports. */
  write(config: ProxyConfig, edit: (object: Json) => Json = (o) => o): void {
    for (const type of TYPES) {
      const messages = all(config, type).map((r) => ({
        "@type": TYPE_URLS[type],
        ...rewrite(rewrite(jsonOf(r), edit), (o) => this.#follow(o)),
      }));
      if (type === "CDS" || type === "LDS") this.#put(type, "", messages);
      else for (const message of messages) this.#put(type, message.name ?? message.clusterName, [message]);
    }
  }

  #follow(object: Json): Json {
    const source = (type: Type, name: string) => ({
      pathConfigSource: { path: this.#path(type, name) },
      resourceApiVersion: "V3",
    });
    if (object.rds)
      return { ...object, rds: { ...object.rds, configSource: source("RDS", object.rds.routeConfigName) } };
    if (object.sdsConfig) return { ...object, sdsConfig: source("SDS", object.name) };
    if (object.edsClusterConfig) return { ...object, edsClusterConfig: { edsConfig: source("EDS", object.name) } };
    return object;
  }

  #path(type: Type, name: string): string {
    return join(this.#directory, `${type}-${hash(name)}.json`);
  }

  /** Envoy notices files that are moved into place. */
  #put(type: Type, name: string, resources: Json[]): void {
    const path = this.#path(type, name);
    writeFileSync(`${path}.new`, JSON.stringify({ version_info: String(++this.#version), resources }));
    renameSync(`${path}.new`, path);
  }
}
