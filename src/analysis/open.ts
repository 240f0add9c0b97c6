/**
 * What a change does to ports of pods that no sidecar guards: whoever connects there is served, and no policy is asked.
 */
import { ANNOTATION_INBOUND_PORTS } from "../world/injection.ts";
import { changedDestinations } from "./destinations.ts";
import { openBehind, selectedBy, serviceOf, type OpenPort } from "./pods.ts";
import type { Ground } from "./ways.ts";

/** Ports that are open now and were not, and the other way round, behind Services of the mesh's namespaces. Sorted. */
export function changedOpen(
  before: Ground,
  after: Ground,
): { readonly opened: readonly OpenPort[]; readonly closed: readonly OpenPort[] } {
  const opened: OpenPort[] = [];
  const closed: OpenPort[] = [];
  const key = ({ identity, podPort: number }: OpenPort): string => `${identity} ${number}`;
  for (const place of changedDestinations(before, after)) {
    // What lies outside of the mesh before and after is not its business.
    if (![before, after].some(({ mesh }) => mesh.services.has(place.service))) continue;
    const [old, now] = [before, after].map((ground) => {
      const object = serviceOf(ground.world, place.service);
      return object ? openBehind(ground.world, ground.mesh, object, place.port) : [];
    }) as [readonly OpenPort[], readonly OpenPort[]];
    const was = new Map(old.map((port) => [key(port), port]));
    const is = new Set(now.map(key));
    // The last sidecar that goes opens what was half open.
    opened.push(...now.filter((port) => !was.has(key(port)) || (was.get(key(port))?.mixed && !port.mixed)));
    // One whose pods are gone is closed to nobody.
    closed.push(...old.filter((port) => !is.has(key(port)) && isThere(after, port)));
  }
  return { opened, closed };
}

function isThere({ world }: Ground, { service, identity }: OpenPort): boolean {
  const object = serviceOf(world, service);
  return object !== undefined && selectedBy(world, object).some((w) => w.identity === identity);
}

/** What is said of pods, as `have no sidecar`. */
export function openText({ because, podPort: port }: Pick<OpenPort, "because" | "podPort">): string {
  switch (because) {
    case "no-sidecar":
      return "have no sidecar";
    case "annotation":
      return `lead port ${port} past their sidecars by annotation ${ANNOTATION_INBOUND_PORTS}`;
    case "mesh-config":
      return `lead port ${port} past their sidecars by MeshConfig's inboundPortExclusionList`;
  }
}
