/**
 * Which Service a request's authority names, for a client on one port: as the virtual hosts of its sidecar, which know names and virtual IPs
 * of the Services that the client was told of, in any case, with or without a port. Knows no verdict.
 */
import type { Mesh, MeshService } from "../policy/ir.ts";
import { inAuthority } from "../world/address.ts";
import { namespaceOf, serviceHosts, type Identity } from "../world/names.ts";
import { knownTo } from "./pods.ts";

/** `pods`: by the name of a pod behind a headless Service. */
export interface Named {
  readonly service: MeshService;
  readonly by: "service" | "pods";
}

const indexed = new WeakMap<Mesh, Map<string, ReadonlyMap<string, Named>>>();

/** Undefined when no Service that the client knows on this port is called so. */
export function named(mesh: Mesh, identity: Identity, port: number, authority: string): Named | undefined {
  // Whatever stands behind the last colon counts as the port, unless it is inside of an IPv6 address.
  const host = authority.replace(/:[^:\]]*$/, "").toLowerCase();
  const hosts = hostsOf(mesh, identity, port);
  const exact = hosts.get(host);
  if (exact) return exact;
  // Patterns: the longest one that fits counts.
  for (let dot = host.indexOf("."); dot >= 0; dot = host.indexOf(".", dot + 1)) {
    const found = dot > 0 ? hosts.get(`*${host.slice(dot)}`) : undefined;
    if (found) return found;
  }
  return undefined;
}

function hostsOf(mesh: Mesh, identity: Identity, port: number): ReadonlyMap<string, Named> {
  let known = indexed.get(mesh);
  if (!known) indexed.set(mesh, (known = new Map()));
  const key = `${identity} ${port}`;
  let hosts = known.get(key);
  if (!hosts) {
    const made = new Map<string, Named>();
    for (const service of knownTo(mesh, identity) ?? mesh.services.values()) {
      if (!service.ports.some((p) => p.port === port && p.protocol === "http")) continue;
      const names = serviceHosts(service.name, namespaceOf(identity));
      const addresses = service.clusterIPs.map(inAuthority);
      for (const name of [...names, ...addresses]) made.set(name.toLowerCase(), { service, by: "service" });
      if (service.headless) for (const name of names) made.set(`*.${name}`, { service, by: "pods" });
    }
    known.set(key, (hosts = made));
  }
  return hosts;
}
