/**
 * Envoy resources as opaque bytes with a name and a version, and the order in which their types are sent.
 * The whole vocabulary that `ads/` needs of Envoy.
 */
import { hash } from "../lib/hash.ts";

/** In the order in which they are sent: what is referenced before what refers to it. */
export const TYPES = ["CDS", "EDS", "SDS", "LDS", "RDS"] as const;
export type Type = (typeof TYPES)[number];

export const TYPE_URLS: { readonly [T in Type]: string } = {
  CDS: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
  EDS: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
  SDS: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
  LDS: "type.googleapis.com/envoy.config.listener.v3.Listener",
  RDS: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
};

/** A name in another type that a resource refers to. */
export interface Reference {
  readonly type: Type;
  readonly name: string;
}

/** One resource. Immutable; equal content has an equal version. Bytes are made once and shared by every stream. */
export interface Resource {
  readonly type: Type;
  readonly name: string;
  /** Hash of `bytes`. */
  readonly version: string;
  /** The message, encoded. */
  readonly bytes: Uint8Array;
  /** What must be known to the proxy for this resource to work. */
  readonly refs: readonly Reference[];
  /** Where the message has IPv6 addresses: the same without them, for proxies whose kernel may not have the family. */
  readonly withoutIPv6?: Resource;
}

export const resource = (
  type: Type,
  name: string,
  bytes: Uint8Array,
  refs: readonly Reference[] = [],
  withoutIPv6?: Resource,
): Resource => Object.freeze({ type, name, version: hash(bytes), bytes, refs, ...(withoutIPv6 && { withoutIPv6 }) });

/** All resources of one type that a proxy may have, by name. Replaced when it changes, never mutated: an equal reference is no change. */
export type ResourceMap = ReadonlyMap<string, Resource>;

/** All that a group of proxies gets, but for each stream's own secrets. */
export type Resources = { readonly [T in Type]: ResourceMap };
