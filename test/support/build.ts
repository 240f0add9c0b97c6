/**
 * Builders of worlds for tests: each gives changes with everything filled in that the test does not care about.
 */
import { contentHash } from "../../src/lib/hash.ts";
import {
  identity,
  podName,
  serviceName,
  type Identity,
  type PodName,
  type ServiceName,
} from "../../src/world/names.ts";
import {
  DEFAULT_SETTINGS,
  type Change,
  type Endpoint,
  type HTTPMatch,
  type RuleRef,
  type ServicePort,
  type Settings,
  type SubjectRef,
  type TrafficTarget,
  type Workload,
} from "../../src/world/types.ts";
import { apply, EMPTY_WORLD, type World } from "../../src/world/world.ts";

/** What builders give: one change, or those of several objects. */
export type Changes = Change | readonly Changes[];

/** `ns/name` in two. */
function parts(full: string): { namespace: string; name: string } {
  const slash = full.indexOf("/");
  return { namespace: full.slice(0, slash), name: full.slice(slash + 1) };
}

/** `ns/sa`. */
export const account = (full: string): Identity => identity(parts(full).namespace, parts(full).name);
/** `ns/svc`. */
export const serviceRef = (full: string): ServiceName => serviceName(parts(full).namespace, parts(full).name);

/** `ns/pod`. */
export const podRef = (full: string): PodName => podName(parts(full).namespace, parts(full).name);

export const flat = (...changes: readonly Changes[]): Change[] =>
  (changes as readonly unknown[]).flat(Infinity) as Change[];

/** The world after these changes, from nothing. */
export const world = (...changes: readonly Changes[]): World => apply(EMPTY_WORLD, flat(...changes));

/** The same object, gone. */
export const gone = (change: Change): Change => ({ ...change, value: undefined });

export const namespace = (
  name: string,
  more: { monitored?: boolean; metrics?: boolean; terminating?: true } = {},
): Change => ({
  kind: "Namespace",
  namespace: "",
  name,
  value: { name, monitored: true, inject: true, metrics: false, ...more },
});

export const meshConfig = (settings: Partial<Settings>): Change => ({
  kind: "MeshConfig",
  namespace: "heddle-system",
  name: "mesh-config",
  value: { ...DEFAULT_SETTINGS, ...settings },
});

export interface ServiceOptions {
  /** A number stands for a port with that target port. Default: 80. */
  readonly ports?: readonly (number | (Partial<ServicePort> & { port: number }))[];
  /** Default: `{ app: <name> }`; null: none. */
  readonly selector?: Readonly<Record<string, string>> | null;
  readonly clusterIP?: string;
  /** In place of `clusterIP`: one for each family. */
  readonly clusterIPs?: readonly string[];
  readonly headless?: boolean;
  readonly externalName?: string;
}

export function service(full: string, options: ServiceOptions = {}): Change {
  const { namespace: ns, name } = parts(full);
  const { ports = [80], selector = { app: name }, headless = false, externalName } = options;
  const { clusterIPs = [options.clusterIP ?? ipOf(full, 1)] } = options;
  return {
    kind: "Service",
    namespace: ns,
    name,
    value: {
      name: serviceName(ns, name),
      clusterIPs: headless || externalName !== undefined ? [] : clusterIPs,
      headless,
      ...(externalName === undefined ? {} : { externalName }),
      ...(selector ? { selector } : {}),
      ports: ports.map((p) => {
        const given = typeof p === "number" ? { port: p } : p;
        return { name: "", targetPort: given.port, protocol: "TCP" as const, ...given };
      }),
    },
  };
}

export interface WorkloadOptions {
  /** Default: `{ app: <account's name> }`. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly ports?: readonly { name?: string; port: number }[];
  readonly meshed?: boolean;
  readonly metrics?: boolean;
  readonly past?: readonly number[];
}

const workloads = new Map<string, Workload>();

/** @param of - `ns/serviceaccount` */
export function workload(of: string, options: WorkloadOptions = {}): Workload {
  const content = {
    identity: account(of),
    labels: options.labels ?? { app: parts(of).name },
    ports: (options.ports ?? []).map((p) => ({ name: p.name ?? "", port: p.port, protocol: "TCP" as const })),
    meshed: options.meshed ?? true,
    metrics: options.metrics ?? false,
    ...(options.past ? { past: options.past } : {}),
  };
  const key = contentHash(content);
  const known = workloads.get(key) ?? Object.freeze({ key, ...content });
  workloads.set(key, known);
  return known;
}

/** @param full - `ns/pod` */
export function pod(
  full: string,
  of: Workload,
  more: { ready?: boolean; ips?: readonly string[]; terminating?: boolean } = {},
): Change {
  const { namespace: ns, name } = parts(full);
  const { ready = true, ips = [ipOf(full, 2)], terminating = false } = more;
  return {
    kind: "Pod",
    namespace: ns,
    name,
    value: { name: podName(ns, name), proxyId: `proxy-${ns}-${name}`, ips, workload: of, ready, terminating },
  };
}

/** Pods `<account>-<hash>-0` … of one workload. */
export function pods(of: Workload, count = 1): Change[] {
  const { namespace: ns, name } = parts(of.identity);
  return Array.from({ length: count }, (_, i) => pod(`${ns}/${name}-${of.key.slice(0, 4)}-${i}`, of));
}

/** @param ports - port numbers by the Service port's name */
export function slice(
  of: string,
  ports: Readonly<Record<string, number>>,
  endpoints: readonly (string | Endpoint)[],
  name = `${parts(of).name}-1`,
): Change {
  const { namespace: ns } = parts(of);
  return {
    kind: "EndpointSlice",
    namespace: ns,
    name,
    value: {
      namespace: ns,
      name,
      service: serviceRef(of),
      ports: Object.entries(ports).map(([key, port]) => ({ name: key, port })),
      endpoints: endpoints.map((e) => (typeof e === "string" ? { ip: e, ready: true } : e)),
    },
  };
}

export interface TargetOptions {
  /** `ns/sa`, or as written. */
  readonly to: string | SubjectRef;
  readonly from: readonly (string | SubjectRef)[];
  /** `HTTPRouteGroup name`, `HTTPRouteGroup name match match`, `TCPRoute name`, `UDPRoute name`. */
  readonly rules: readonly string[];
  readonly port?: number;
}

const subject = (of: string | SubjectRef): SubjectRef =>
  typeof of === "string" ? { kind: "ServiceAccount", ...parts(of) } : of;

export function target(full: string, { to, from, rules, port }: TargetOptions): Change {
  const { namespace: ns, name } = parts(full);
  const value: TrafficTarget = {
    namespace: ns,
    name,
    destination: subject(to),
    sources: from.map(subject),
    rules: rules.map((rule) => {
      const [kind, of, ...matches] = rule.split(" ");
      if (of === "broken") return { kind: kind as RuleRef["kind"], name: "", matches: [], broken: true };
      return { kind: kind as RuleRef["kind"], name: of ?? "", matches };
    }),
    ...(port === undefined ? {} : { port }),
  };
  return { kind: "TrafficTarget", namespace: ns, name, value };
}

export function routeGroup(full: string, matches: readonly (Partial<HTTPMatch> & { name: string })[]): Change {
  const place = parts(full);
  return {
    kind: "HTTPRouteGroup",
    ...place,
    value: {
      ...place,
      matches: matches.map((m, i) => ({ where: `spec.matches[${i}]`, methods: [], headers: [], ...m })),
    },
  };
}

/** @param partial - it names more ports, which could not be read */
export function tcpRoute(full: string, ports: readonly number[] = [], partial = false): Change {
  const place = parts(full);
  return { kind: "TCPRoute", ...place, value: { ...place, ports, ...(partial ? { partial } : {}) } };
}

export interface SplitOptions {
  readonly service: string;
  readonly backends: Readonly<Record<string, number>>;
  readonly matches?: readonly string[];
  readonly created?: string;
}

export function split(full: string, { service: root, backends, matches, created = "" }: SplitOptions): Change {
  const place = parts(full);
  return {
    kind: "TrafficSplit",
    ...place,
    value: {
      ...place,
      service: root,
      backends: Object.entries(backends).map(([to, weight]) => ({ service: to, weight })),
      ...(matches ? { matches } : {}),
      created,
    },
  };
}

/** A Service with one workload, its pods and their endpoints; Service, account and label `app` have the same name. */
export function app(
  full: string,
  options: ServiceOptions & { pods?: number; workload?: WorkloadOptions } = {},
): Change[] {
  const made = service(full, options);
  const ports = made.kind === "Service" ? (made.value?.ports ?? []) : [];
  const running = pods(workload(full, options.workload), options.pods ?? 1);
  const numbers = Object.fromEntries(ports.map((p) => [p.name, typeof p.targetPort === "number" ? p.targetPort : 0]));
  return [made, ...running, slice(full, numbers, addressesOf(running))];
}

export const addressesOf = (running: readonly Change[]): string[] =>
  running.flatMap((change) => (change.kind === "Pod" ? (change.value?.ips ?? []) : []));

/** An address that depends on the name only. */
function ipOf(name: string, net: number): string {
  const bytes = Buffer.from(contentHash(name), "hex");
  return `10.${net}.${bytes[0]}.${1 + ((bytes[1] ?? 0) % 254)}`;
}
