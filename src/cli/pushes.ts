/**
 * What a change sends to sidecars: for each group of equal proxies, how many resources of each type would be other ones. Builds both meshes
 * with the control plane's own builder, and of them only the groups that can differ.
 */
import type { Mesh, ProxyPolicy } from "../policy/ir.ts";
import type { GroupName, Identity, PodName } from "../world/names.ts";
import { Builder } from "../xds/build.ts";
import { changedServices } from "../xds/endpoints.ts";
import { TYPES, type Resources, type Type } from "../xds/resource.ts";
import type { Pair } from "./pair.ts";

/** What the proxies of a group get. */
export interface Push {
  readonly group: GroupName;
  readonly identity: Identity;
  readonly pods: readonly PodName[];
  /** Resources that are new or other than before, by type; none of a type is left out. */
  readonly sent: Readonly<Partial<Record<Type, number>>>;
  /** Resources that are no more. */
  readonly removed: number;
  /** Whether no pod of the group was in the mesh before: it gets all that there is. */
  readonly fresh: boolean;
}

type Side = Pair["before"];

/** By group; groups that get nothing are left out. */
export function pushes({ before, after }: Pair): readonly Push[] {
  const touched = touchedGroups(before, after);
  if (touched.size === 0) return [];
  const builder = new Builder();
  const built = (side: Side): ReadonlyMap<GroupName, Resources> => {
    const groups = new Map([...side.mesh.groups].filter(([group]) => touched.has(group)));
    const { trustDomain } = side.mesh.settings;
    builder.mesh({ ...side.mesh, groups }, side.world, { bundle: "", trustDomain });
    return new Map([...groups.keys()].flatMap((group) => [[group, builder.resources(group) as Resources] as const]));
  };
  const old = built(before);
  const now = built(after);
  const podsOf = podsByGroup(after);
  const groupsBefore = groupByPod(before);
  return [...now.keys()].sort().flatMap((group): Push[] => {
    const pods = podsOf.get(group) ?? [];
    if (pods.length === 0) return [];
    const was = old.has(group) ? group : pods.map((pod) => groupsBefore.get(pod)).find((one) => one !== undefined);
    const had = was === undefined ? undefined : old.get(was);
    const { identity } = after.mesh.groups.get(group) as ProxyPolicy;
    const change = compared(had, now.get(group) as Resources);
    if (Object.keys(change.sent).length === 0 && change.removed === 0) return [];
    return [{ group, identity, pods, ...change, fresh: had === undefined }];
  });
}

function compared(had: Resources | undefined, have: Resources): Pick<Push, "sent" | "removed"> {
  const sent: Partial<Record<Type, number>> = {};
  let removed = 0;
  for (const type of TYPES) {
    const old = had?.[type];
    const other = [...have[type].values()].filter(({ name, version }) => old?.get(name)?.version !== version).length;
    if (other > 0) sent[type] = other;
    removed += [...(old?.keys() ?? [])].filter((name) => !have[type].has(name)).length;
  }
  return { sent, removed };
}

/** Groups whose policy, or whose endpoints, or whatever all depend on, is another one. */
function touchedGroups(before: Side, after: Side): ReadonlySet<GroupName> {
  const [a, b] = [before.mesh, after.mesh];
  const all = new Set([...a.groups.keys(), ...b.groups.keys()]);
  if (!sameGround(a, b)) return all;
  const moved = new Set(changedServices(before.world, after.world));
  const reaches = ({ outbound }: ProxyPolicy): boolean =>
    moved.size > 0 && [...outbound.services, ...outbound.backends].some(({ name }) => moved.has(name));
  return new Set(
    [...all].filter((group) => {
      const policy = b.groups.get(group);
      return policy === undefined || policy !== a.groups.get(group) || reaches(policy);
    }),
  );
}

const sameGround = (a: Mesh, b: Mesh): boolean =>
  a.httpPorts === b.httpPorts && a.tcpPorts === b.tcpPorts && JSON.stringify(a.settings) === JSON.stringify(b.settings);

function podsByGroup({ world, mesh }: Side): ReadonlyMap<GroupName, readonly PodName[]> {
  const found = new Map<GroupName, PodName[]>();
  for (const [name, group] of groupByPod({ world, mesh })) {
    const list = found.get(group);
    if (list) list.push(name);
    else found.set(group, [name]);
  }
  for (const list of found.values()) list.sort();
  return found;
}

function groupByPod({ world, mesh }: Pick<Side, "world" | "mesh">): ReadonlyMap<PodName, GroupName> {
  const found = new Map<PodName, GroupName>();
  for (const pods of world.tables.Pod.values()) {
    for (const { name, workload } of pods.values()) {
      const group = mesh.groupOf.get(workload.key);
      if (group !== undefined) found.set(name, group);
    }
  }
  return found;
}
