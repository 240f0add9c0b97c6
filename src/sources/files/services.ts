/**
 * What a cluster adds to Services and pods: virtual IPs, and EndpointSlices that follow readiness. Pure; its output has
 * Kubernetes' shapes and is decoded like a cluster's.
 */
import { hash } from "../../lib/hash.ts";
import type { Raw } from "../../lib/json.ts";
import { localName, namespaceOf } from "../../world/names.ts";
import type { PodManifest, PodStatus } from "../../world/pod.ts";
import type { Service } from "../../world/types.ts";

/** 10.N.1.1 to 10.N.254.254 without .0 and .255; the first 256 stay free for gateways. */
const SIZE = 254 * 254;

const prefixOf = (cidr: string): string => {
  const match = /^(\d+\.\d+)\.0\.0\/16$/.exec(cidr);
  if (!match?.[1]) throw new Error(`${cidr} is not a /16`);
  return match[1];
};

/** Whether an address lies in a /16. */
export const inside = (cidr: string, ip: string): boolean => ip.startsWith(`${prefixOf(cidr)}.`);

/**
 * An address of the /16 for each name: by the name's own hash, so that one name's address does not follow from the others;
 * when two meet, the first in order of name has it. `fixed` are taken as they are.
 */
export function addressesOf(
  cidr: string,
  names: readonly string[],
  fixed: ReadonlyMap<string, string> = new Map(),
): ReadonlyMap<string, string> {
  const prefix = prefixOf(cidr);
  const out = new Map(fixed);
  const taken = new Set(fixed.values());
  for (const name of [...names].sort()) {
    if (out.has(name)) continue;
    for (
      let tries = 0, n = Number.parseInt(hash(name).slice(0, 8), 16) % SIZE;
      tries < SIZE;
      tries++, n = (n + 1) % SIZE
    ) {
      const ip = `${prefix}.${Math.floor(n / 254) + 1}.${(n % 254) + 1}`;
      if (taken.has(ip)) continue;
      taken.add(ip);
      out.set(name, ip);
      break;
    }
  }
  return out;
}

/** The Pod object as the API server would show it. */
export function podObject(pod: PodManifest, status: PodStatus | undefined): Raw {
  const { phase = "Pending", ready = false, ip, terminating = false } = status ?? {};
  return {
    apiVersion: "v1",
    kind: "Pod",
    // Any time says that it is going: nobody reads which.
    metadata: { ...pod.metadata, ...(terminating ? { deletionTimestamp: "1970-01-01T00:00:00Z" } : {}) },
    spec: pod.spec,
    status: {
      phase,
      conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
      ...(ip ? { podIP: ip, podIPs: [{ ip }] } : {}),
    },
  };
}

export interface RunningPod {
  readonly pod: PodManifest;
  readonly status: PodStatus | undefined;
}

/** Whether a Service selects a pod of its namespace. */
export const selects = (service: Service, pod: PodManifest): boolean =>
  service.selector !== undefined &&
  Object.entries(service.selector).every(([key, value]) => pod.metadata.labels[key] === value);

/**
 * The EndpointSlices of a Service: one for each set of port numbers that its pods have, as a named `targetPort` may be another
 * number in each pod. Pods without an address, and pods that have ended, are in none.
 */
export function endpointSlices(service: Service, publishNotReady: boolean, running: readonly RunningPod[]): Raw[] {
  if (service.selector === undefined || service.externalName !== undefined) return [];
  const namespace = namespaceOf(service.name);
  const name = localName(service.name);
  const groups = new Map<string, { ports: Raw[]; endpoints: Raw[] }>();
  for (const { pod, status } of running) {
    if (!status?.ip || status.phase === "Succeeded" || status.phase === "Failed" || !selects(service, pod)) continue;
    const ports = portsIn(service, pod);
    if (ports.length === 0 && service.ports.length > 0) continue;
    const key = JSON.stringify(ports);
    const group = groups.get(key) ?? { ports, endpoints: [] };
    groups.set(key, group);
    group.endpoints.push({
      addresses: [status.ip],
      conditions: {
        ready: publishNotReady || (status.ready && !status.terminating),
        serving: status.ready,
        terminating: status.terminating,
      },
      ...(pod.spec.hostname && pod.spec.subdomain === name ? { hostname: pod.spec.hostname } : {}),
      targetRef: { kind: "Pod", namespace, name: pod.metadata.name, uid: pod.metadata.uid },
    });
  }
  return [...groups.entries()].map(([key, { ports, endpoints }]) => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: `${name}-${hash(key).slice(0, 5)}`, namespace, labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports,
    endpoints,
  }));
}

/** The Service's ports with the numbers that they have in this pod; a port whose name the pod does not have is left out. */
function portsIn(service: Service, pod: PodManifest): Raw[] {
  return service.ports.flatMap(({ name, targetPort, protocol }) => {
    const number = typeof targetPort === "number" ? targetPort : namedPort(pod, targetPort, protocol);
    return number === undefined ? [] : [{ name, port: number, protocol }];
  });
}

function namedPort(pod: PodManifest, name: string, protocol: string): number | undefined {
  const sidecars = (pod.spec.initContainers ?? []).filter((container) => container.restartPolicy === "Always");
  for (const container of [...pod.spec.containers, ...sidecars]) {
    const port = container.ports?.find((one) => one.name === name && (one.protocol ?? "TCP") === protocol);
    if (port) return port.containerPort;
  }
  return undefined;
}
