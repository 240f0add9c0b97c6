/**
 * The Mesh: what the policies mean, decided once, before anything becomes Envoy configuration.
 * Plain readonly data that prints as YAML. Knows neither Kubernetes' shapes nor Envoy's; never shown as an API.
 * Lists are sorted, so equal meaning is equal data.
 */
import type { GroupName, Identity, ServiceName } from "../world/names.ts";
import type { HTTPMatch, Problem, Settings } from "../world/types.ts";

/** What a port speaks. `tcp-server-first`: the server talks first, so nobody may wait for the client's first bytes. */
export type Protocol = "http" | "tcp" | "tcp-server-first";

export interface Mesh {
  readonly settings: Settings;
  /** Every Service that is in the mesh. */
  readonly services: ReadonlyMap<ServiceName, MeshService>;
  /** What each set of equal proxies gets. */
  readonly groups: ReadonlyMap<GroupName, ProxyPolicy>;
  /** The group of each workload that has a sidecar, by workload key. */
  readonly groupOf: ReadonlyMap<string, GroupName>;
  /** Port numbers on which any Service of the mesh speaks HTTP, ascending: each client listens for HTTP on all of them. */
  readonly httpPorts: readonly number[];
  /** Port numbers on which any Service of the mesh speaks TCP, ascending. */
  readonly tcpPorts: readonly number[];
}

/** A Service as its clients see it. */
export interface MeshService {
  readonly name: ServiceName;
  readonly clusterIPs: readonly string[];
  readonly headless: boolean;
  /** Accounts of the pods behind it, in the Service's own namespace only: the identities that a client accepts as this server. */
  readonly identities: readonly Identity[];
  readonly ports: readonly MeshPort[];
}

export interface MeshPort {
  /** The Service's port. */
  readonly port: number;
  /** The Service port's name, "" when unnamed: the key of endpoints' port numbers. */
  readonly name: string;
  /** The pods' port; where pods differ, the lowest: it names the cluster, endpoints carry their own. */
  readonly targetPort: number;
  readonly protocol: Protocol;
  /** Where calls go, in order; the last one has no `matches` unless nothing takes what is left. Always at least one. */
  readonly routes: readonly SplitRoute[];
}

/** Requests that match (all, when `matches` is undefined) go to the backends by weight. */
export interface SplitRoute {
  /** `namespace/name` of the TrafficSplit; undefined: the Service itself. */
  readonly split?: string;
  /** ORed. */
  readonly matches?: readonly HTTPMatch[];
  /** Only weights above 0. Empty: nothing is left, requests are answered 503. */
  readonly backends: readonly Backend[];
}

export interface Backend {
  readonly service: ServiceName;
  /** The backend Service's own target port: with `service` it names the cluster. */
  readonly targetPort: number;
  /** Relative. */
  readonly weight: number;
  /** A headless Service's share of a split: its endpoints, chosen by the sidecar, whatever address the client was calling. */
  readonly spread?: true;
}

/** What a group of equal proxies enforces and where it may go. */
export interface ProxyPolicy {
  readonly group: GroupName;
  readonly identity: Identity;
  readonly metrics: boolean;
  readonly inbound: readonly InboundPort[];
  readonly outbound: Outbound;
}

/** A port of the pod, open to those whom `access` names. */
export interface InboundPort {
  /** The pod's port. */
  readonly port: number;
  readonly protocol: Protocol;
  /** It may speak HTTP after all, for its Services disagree or name a protocol that nobody knows: targets with HTTP rules do not open it. */
  readonly unclear?: true;
  /** Services behind which the port stands, by name. */
  readonly services: readonly ServiceName[];
  /** Who may do what. Empty: nobody. */
  readonly access: readonly Rule[];
}

/** One permission: any of these sources may make any of these requests (on an HTTP port) or connect (on a TCP port). Rules add up. */
export interface Rule {
  /** `namespace/name` of the TrafficTarget; undefined in permissive mode. */
  readonly target?: string;
  /** Undefined: everybody with an identity of the mesh (permissive mode). Never empty. */
  readonly sources?: readonly Identity[];
  /** ORed; undefined: every request. Never empty. Absent on TCP ports. */
  readonly matches?: readonly RouteMatch[];
}

/** A match and the route group that it stands in, for whoever explains a verdict. */
export interface RouteMatch extends HTTPMatch {
  /** `namespace/name` of the HTTPRouteGroup. */
  readonly group: string;
}

/** Where a client may go. One object for all clients with the same reach and namespace. */
export interface Outbound {
  /** Hash of `services`' names: which clients share it. */
  readonly key: string;
  /** The client's namespace: bare Service names resolve in it. */
  readonly namespace: string;
  /** Services that the client may call (at least one of their pods, or a backend's), by name. */
  readonly services: readonly MeshService[];
  /** Services that splits lead to: `services` and these need clusters. */
  readonly backends: readonly MeshService[];
}

/** A compiled world. */
export interface Compiled {
  readonly mesh: Mesh;
  readonly problems: readonly Problem[];
}
