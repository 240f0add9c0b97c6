/**
 * What a pod's ports speak, as all Services before it see them. Where these disagree, the stricter reading counts.
 */
import { contentHash } from "../lib/hash.ts";
import { localName, namespaceOf, type ServiceName } from "../world/names.ts";
import type { Problem, Service, Workload } from "../world/types.ts";
import type { Protocol } from "./ir.ts";
import { fault } from "./problem.ts";
import { podPort, protocolOf } from "./services.ts";

/** A pod port as all Services before it see it. */
export interface DeclaredPort {
  readonly port: number;
  readonly protocol: Protocol;
  /** It may speak HTTP after all: Services disagree, or name a protocol that nobody knows. `protocol` is TCP then. */
  readonly unclear?: true;
  readonly services: readonly ServiceName[];
}

/** The ports of a workload, with hashes of them, made once. */
export interface Declared {
  readonly ports: readonly DeclaredPort[];
  readonly hash: string;
  /** Of the ports and of whether the workload is scraped: equal proxies of an account have equal ones. */
  readonly group: string;
}

/** The ports of a workload behind these Services, in order of their numbers. */
export function declaredPorts(workload: Workload, services: readonly Service[]): Declared {
  const ports = new Map<number, { protocol: Protocol; unclear: boolean; services: ServiceName[] }>();
  for (const service of services) {
    for (const port of service.ports) {
      const number = port.protocol === "TCP" ? podPort(port, workload) : undefined;
      if (number === undefined) continue;
      const said = protocolOf(port);
      const protocol = said ?? "tcp";
      const known = ports.get(number);
      if (!known) ports.set(number, { protocol, unclear: said === undefined, services: [service.name] });
      else {
        if (!known.services.includes(service.name)) known.services.push(service.name);
        known.unclear ||= said === undefined || (known.protocol === "http") !== (protocol === "http");
        known.protocol = narrower(known.protocol, protocol);
      }
    }
  }
  const declared = [...ports]
    .sort(([a], [b]) => a - b)
    .map(([port, { protocol, unclear, services: names }]) => ({
      port,
      protocol,
      ...(unclear ? { unclear: true as const } : {}),
      services: names.sort(),
    }));
  const group = contentHash({ declared, metrics: workload.metrics }).slice(0, 10);
  return { ports: declared, hash: contentHash(declared), group };
}

/** Where two Services disagree about a pod's port, it is taken as TCP, and opened by targets without HTTP rules only. */
const narrower = (a: Protocol, b: Protocol): Protocol =>
  a === b ? a : a === "tcp-server-first" || b === "tcp-server-first" ? "tcp-server-first" : "tcp";

/** Services that disagree about a port of these workloads, each said once. */
export function conflicts(
  workloads: readonly Workload[],
  serving: ReadonlyMap<Workload, readonly Service[]>,
): Problem[] {
  const problems = new Map<string, Problem>();
  for (const workload of workloads) {
    const seen = new Map<number, { protocol: Protocol; service: Service }>();
    for (const service of serving.get(workload) ?? []) {
      for (const [i, port] of service.ports.entries()) {
        const number = port.protocol === "TCP" ? podPort(port, workload) : undefined;
        const protocol = protocolOf(port) ?? "tcp";
        if (number === undefined) continue;
        const first = seen.get(number);
        if (!first) seen.set(number, { protocol, service });
        else if (first.protocol !== protocol) {
          const about = { namespace: namespaceOf(service.name), name: localName(service.name) };
          const taken = [protocol, first.protocol].includes("http")
            ? "TCP, and a target with HTTP rules does not open it"
            : "tcp-server-first";
          const message = `pods' port ${number} is ${protocol} here and ${first.protocol} in Service "${localName(first.service.name)}": it is treated as ${taken}. Declare one protocol.`;
          problems.set(
            `${service.name}/${i}`,
            fault("protocol-conflict", "Service", about, `spec.ports[${i}]`, message),
          );
        }
      }
    }
  }
  return [...problems.values()];
}
