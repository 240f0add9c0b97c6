/**
 * Services of the mesh: which workloads stand behind them, and what each of their ports speaks.
 */
import { localName, namespaceOf, type Identity, type ServiceName } from "../world/names.ts";
import type { Problem, Service, ServicePort, Workload } from "../world/types.ts";
import type { Protocol } from "./ir.ts";
import { fault, hint } from "./problem.ts";

/** A Service with what it selects. Splits are not looked at here. */
export interface Backing {
  readonly name: ServiceName;
  readonly service: Service;
  /** Whether calls to it are the mesh's business: it selects pods by their labels. */
  readonly inMesh: boolean;
  /** Workloads that the selector selects. */
  readonly workloads: readonly Workload[];
  /** Accounts of those that have a sidecar, sorted. */
  readonly identities: readonly Identity[];
  /** TCP ports, in the order of their numbers. */
  readonly ports: readonly BackedPort[];
  readonly problems: readonly Problem[];
}

export interface BackedPort {
  readonly port: number;
  readonly name: string;
  readonly targetPort: number;
  readonly protocol: Protocol;
}

/** Whether a Service's selector selects these labels. No selector, or an empty one, selects nothing. */
export function selects(service: Service, labels: Readonly<Record<string, string>>): boolean {
  const wanted = Object.entries(service.selector ?? {});
  return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value);
}

/** The pod's port behind a Service's port, in pods of this workload: a number stands for itself, a name is looked up among the container ports. */
export function podPort(port: ServicePort, workload: Workload): number | undefined {
  if (typeof port.targetPort === "number") return port.targetPort;
  return workload.ports.find((p) => p.name === port.targetPort && p.protocol === port.protocol)?.port;
}

const PREFIXES: readonly (readonly [string, Protocol])[] = [
  ["tcp-server-first-", "tcp-server-first"],
  ["http-", "http"],
  ["grpc-", "http"],
  ["https-", "tcp"],
  ["tcp-", "tcp"],
];

/** A map: users write `constructor` and `__proto__` too, which an object would know. */
const APP_PROTOCOLS: ReadonlyMap<string, Protocol> = new Map([
  ["http", "http"],
  ["http2", "http"],
  ["h2c", "http"],
  ["grpc", "http"],
  ["grpc-web", "http"],
  ["ws", "http"],
  ["kubernetes.io/h2c", "http"],
  ["kubernetes.io/ws", "http"],
  ["tcp", "tcp"],
  ["tls", "tcp"],
  ["https", "tcp"],
  ["wss", "tcp"],
  ["kubernetes.io/wss", "tcp"],
  ["mysql", "tcp-server-first"],
  ["mongo", "tcp"],
  ["redis", "tcp"],
  ["postgresql", "tcp"],
  ["postgres", "tcp"],
  ["tcp-server-first", "tcp-server-first"],
]);

/** What a port speaks: `appProtocol`, else the prefix of its name, else HTTP, as OSM decides it. Undefined: an appProtocol that nobody knows. */
export function protocolOf(port: ServicePort): Protocol | undefined {
  if (port.appProtocol !== undefined) return APP_PROTOCOLS.get(port.appProtocol.toLowerCase());
  return PREFIXES.find(([prefix]) => port.name.startsWith(prefix))?.[1] ?? "http";
}

/** What stands behind a Service, and what is wrong with it. */
export function backing(service: Service, workloads: readonly Workload[]): Backing {
  const about = { namespace: namespaceOf(service.name), name: localName(service.name) };
  const problems: Problem[] = [];
  const ports: BackedPort[] = [];
  const identities = [...new Set(workloads.filter((w) => w.meshed).map((w) => w.identity))].sort();
  const inMesh = service.externalName === undefined && Object.keys(service.selector ?? {}).length > 0;
  if (!inMesh) {
    const what = service.externalName !== undefined ? "is of type ExternalName" : "has no selector";
    const message = `the Service ${what}, so no pod of the mesh stands behind it: calls to it are calls to something outside of the mesh.`;
    problems.push(hint("not-in-mesh", "Service", about, "spec.selector", message));
    return { name: service.name, service, inMesh, workloads: [], identities: [], ports, problems };
  }
  if (workloads.length === 0) {
    const message = "the selector selects no pod: calls to the Service are refused until there is one.";
    problems.push(hint("no-endpoints", "Service", about, "spec.selector", message));
  }
  for (const [i, port] of service.ports.entries()) {
    const path = `spec.ports[${i}]`;
    if (port.protocol !== "TCP") {
      const message = `port ${port.port} is ${port.protocol}: the mesh carries TCP only, this port goes past it unprotected.`;
      problems.push(hint("unsupported-protocol", "Service", about, `${path}.protocol`, message));
      continue;
    }
    const protocol = protocolOf(port);
    if (protocol === undefined) {
      const message = `appProtocol "${port.appProtocol}" is not known here: the port is treated as plain TCP, and only a target with TCPRoutes and no HTTP rules opens it.`;
      problems.push(hint("unknown-protocol", "Service", about, `${path}.appProtocol`, message));
    }
    const numbers = workloads.map((w) => podPort(port, w)).filter((n) => n !== undefined);
    const targetPort = typeof port.targetPort === "number" ? port.targetPort : Math.min(...numbers);
    if (!Number.isFinite(targetPort)) {
      if (workloads.length > 0) {
        const message = `no pod behind the Service has a container port named "${port.targetPort}": port ${port.port} leads nowhere. Name the container port, or give its number.`;
        problems.push(fault("bad-target-port", "Service", about, `${path}.targetPort`, message));
      }
      continue;
    }
    ports.push({ port: port.port, name: port.name, targetPort, protocol: protocol ?? "tcp" });
  }
  ports.sort((a, b) => a.port - b.port);
  return { name: service.name, service, inMesh, workloads, identities, ports, problems };
}
