/**
 * Ports that speak another protocol after a change: where requests were looked at, connections may be all that is now. Knows no rule and no call.
 */
import type { Protocol } from "../policy/ir.ts";
import { changedDestinations, type ServicePort } from "./destinations.ts";
import { selectedBy, serviceOf, targetPortIn } from "./pods.ts";
import type { Ground } from "./ways.ts";

export interface ChangedProtocol {
  readonly to: ServicePort;
  /** As callers' sidecars and those of the pods behind take it: more than one where they differ. HTTP first. */
  readonly before: readonly Protocol[];
  readonly after: readonly Protocol[];
}

/** Of Services' ports that are there before and after. Sorted. */
export function changedProtocols(before: Ground, after: Ground): readonly ChangedProtocol[] {
  return [...changedDestinations(before, after)].flatMap((to) => {
    const [old, now] = [before, after].map((ground) => spoken(ground, to)) as [
      readonly Protocol[],
      readonly Protocol[],
    ];
    const same = old.length === 0 || now.length === 0 || old.join() === now.join();
    return same ? [] : [{ to, before: old, after: now }];
  });
}

const ORDER: readonly Protocol[] = ["http", "tcp", "tcp-server-first"];

function spoken({ world, mesh }: Ground, { service, port }: ServicePort): readonly Protocol[] {
  const own = mesh.services.get(service)?.ports.find((p) => p.port === port);
  const object = serviceOf(world, service);
  if (!own || !object) return [];
  const found = new Set([own.protocol]);
  for (const workload of selectedBy(world, object)) {
    const number = targetPortIn(object, own, workload);
    const group = mesh.groupOf.get(workload.key);
    const inbound = group && mesh.groups.get(group)?.inbound.find((p) => p.port === number);
    if (inbound) found.add(inbound.protocol);
  }
  return ORDER.filter((protocol) => found.has(protocol));
}
