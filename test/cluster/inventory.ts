/**
 * What is in a cluster: the name of every object of every kind that its API server lists. Knows no kind.
 */
import type { Cluster } from "./cluster.ts";

/** They come by themselves and go by themselves. */
const PASSING: readonly string[] = ["events", "events.events.k8s.io"];

interface ApiResource {
  readonly name: string;
  readonly verbs: readonly string[];
}

/** `plural.group namespace/name`, as `pods default/web` and `customresourcedefinitions.apiextensions.k8s.io /a.b`. */
export async function inventory(cluster: Cluster): Promise<ReadonlySet<string>> {
  const get = async <T>(path: string): Promise<T | undefined> => {
    const { status, body } = await cluster.call("GET", path);
    // A kind whose CRD was deleted a moment ago.
    return status === 200 ? (JSON.parse(body) as T) : undefined;
  };
  const groups = await get<{ groups: { name: string; preferredVersion: { groupVersion: string } }[] }>("/apis");
  const bases = [
    { base: "/api/v1", group: "" },
    ...(groups?.groups ?? []).map((one) => ({ base: `/apis/${one.preferredVersion.groupVersion}`, group: one.name })),
  ];
  const found = new Set<string>();
  await Promise.all(
    bases.map(async ({ base, group }) => {
      const { resources = [] } = (await get<{ resources: ApiResource[] }>(base)) ?? {};
      for (const { name, verbs } of resources) {
        const kind = group === "" ? name : `${name}.${group}`;
        if (name.includes("/") || !verbs.includes("list") || PASSING.includes(kind)) continue;
        const list = await get<{ items: { metadata: { namespace?: string; name: string } }[] }>(`${base}/${name}`);
        for (const { metadata } of list?.items ?? []) found.add(`${kind} ${metadata.namespace ?? ""}/${metadata.name}`);
      }
    }),
  );
  return found;
}
