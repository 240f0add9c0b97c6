/**
 * TrafficSplits → where calls to each port of a root Service go.
 */
import { localName, namespaceOf, parseServiceHost, type ServiceName } from "../world/names.ts";
import type { HTTPMatch, HTTPRouteGroup, Problem, TrafficSplit } from "../world/types.ts";
import type { Backend, SplitRoute } from "./ir.ts";
import { fault, hint } from "./problem.ts";
import { routesOf } from "./routes.ts";
import type { BackedPort, Backing } from "./services.ts";

/** The largest sum of weights that Envoy takes. */
const MAX_WEIGHT = 2 ** 32 - 1;

/** A split that can be used: its root and backends are there, its weights are good. */
export interface UsableSplit {
  readonly split: TrafficSplit;
  readonly root: ServiceName;
  /** Backends with a weight above 0 whose Service exists, by name. */
  readonly backends: readonly { readonly backing: Backing; readonly weight: number }[];
  /** ORed; undefined: every request. Empty: no request. */
  readonly matches?: readonly HTTPMatch[];
}

/** The Service that a split is about, as a name; undefined when what is written is no Service name. */
export const rootOf = (split: TrafficSplit): ServiceName | undefined =>
  parseServiceHost(split.service, split.namespace);

/** Reads one split against the Services and route groups of its namespace. */
export function readSplit(
  split: TrafficSplit,
  services: ReadonlyMap<ServiceName, Backing>,
  groups: ReadonlyMap<string, HTTPRouteGroup> | undefined,
): { usable?: UsableSplit; problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const report = (code: Problem["code"], path: string, message: string) =>
    problems.push(fault(code, "TrafficSplit", split, path, message));

  const root = rootOf(split);
  if (root === undefined || namespaceOf(root) !== split.namespace) {
    report(
      "bad-root",
      "spec.service",
      `"${split.service}" is not a Service of namespace ${split.namespace}: the split is not used.`,
    );
    return { problems };
  }
  if (!services.has(root)) {
    report(
      "bad-root",
      "spec.service",
      `there is no Service "${localName(root)}" in namespace ${split.namespace}: the split is not used until there is one.`,
    );
    return { problems };
  }
  if (!services.get(root)?.inMesh) {
    const message = `Service "${localName(root)}" selects no pods by their labels, so the mesh does not route calls to it: the split is not used.`;
    report("bad-root", "spec.service", message);
    return { problems };
  }
  const sum = split.backends.reduce((total, b) => total + b.weight, 0);
  if (split.backends.some((b) => !Number.isInteger(b.weight) || b.weight < 0) || sum > MAX_WEIGHT) {
    report(
      "bad-weight",
      "spec.backends",
      `weights must be whole numbers from 0 on with a sum of at most ${MAX_WEIGHT}: the split is not used.`,
    );
    return { problems };
  }

  const byName = new Map<ServiceName, { backing: Backing; weight: number }>();
  for (const [i, backend] of split.backends.entries()) {
    const path = `spec.backends[${i}].service`;
    const name = parseServiceHost(backend.service, split.namespace);
    const found = name && namespaceOf(name) === split.namespace ? services.get(name) : undefined;
    if (!found) {
      // A rollout begins with a backend of weight 0 that is not there yet (SMI traffic-split).
      if (backend.weight > 0)
        report(
          "bad-backend",
          path,
          `there is no Service "${backend.service}" in namespace ${split.namespace}: the backend is left out.`,
        );
      continue;
    }
    if (!found.inMesh) {
      const message = `Service "${backend.service}" selects no pods by their labels, so the mesh does not route calls to it: the backend is left out.`;
      if (backend.weight > 0) report("bad-backend", path, message);
      continue;
    }
    if (name === root)
      problems.push(
        hint(
          "self-backend",
          "TrafficSplit",
          split,
          path,
          "the root Service is one of its own backends: its endpoints may be those of the other backends as well.",
        ),
      );
    if (backend.weight === 0) continue;
    const same = byName.get(found.name);
    byName.set(found.name, { backing: found, weight: backend.weight + (same?.weight ?? 0) });
    if (found.workloads.length === 0)
      problems.push(
        hint(
          "no-endpoints",
          "TrafficSplit",
          split,
          path,
          `Service "${localName(found.name)}" has no pod: its share of the requests is answered 503.`,
        ),
      );
  }
  if (byName.size === 0)
    report(
      "no-backends",
      "spec.backends",
      "no backend with a weight above 0 is left: calls to the root Service are answered 503.",
    );

  let matches: HTTPMatch[] | undefined;
  for (const [i, name] of (split.matches ?? []).entries()) {
    matches ??= [];
    const group = groups?.get(name);
    const found = group ? [...routesOf(group).matches.values()] : [];
    if (found.length === 0)
      report(
        "split-match",
        `spec.matches[${i}]`,
        `${group ? `HTTPRouteGroup "${name}" has no usable match` : `there is no HTTPRouteGroup "${name}" in namespace ${split.namespace}`}: it selects no request.`,
      );
    matches.push(...found);
  }
  if (split.matches && split.matches.length === 0) matches = undefined;
  const backends = [...byName.values()].sort((a, b) => (a.backing.name < b.backing.name ? -1 : 1));
  return { problems, usable: { split, root, backends, ...(matches ? { matches } : {}) } };
}

/** Splits with matches before those without; among equals the oldest, then by name (smi-semantics, row 31). */
export function orderSplits(splits: readonly UsableSplit[]): {
  ordered: readonly UsableSplit[];
  problems: readonly Problem[];
} {
  const key = ({ split, matches }: UsableSplit) => `${matches ? 0 : 1} ${split.created || "9999"} ${split.name}`;
  const sorted = [...splits].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  const first = sorted.findIndex((s) => !s.matches);
  if (first < 0) return { ordered: sorted, problems: [] };
  const problems = sorted.slice(first + 1).map(({ split, root }) => {
    const message = `TrafficSplit "${sorted[first]?.split.name}" already takes every request to Service "${localName(root)}": this one never takes effect.`;
    return fault("shadowed-split", "TrafficSplit", split, "spec.service", message);
  });
  return { ordered: sorted.slice(0, first + 1), problems };
}

/** Where calls to one port of a root go: its splits in order, then the Service itself if they leave anything. */
export function routesOfPort(
  self: Backing,
  port: BackedPort,
  splits: readonly UsableSplit[],
): { routes: readonly SplitRoute[]; problems: readonly Problem[] } {
  const routes: SplitRoute[] = [];
  const problems: Problem[] = [];
  for (const { split, backends, matches } of splits) {
    // Row 32: matches are HTTP's; a TCP port follows a split without them.
    if (matches && port.protocol !== "http") continue;
    const taken: Backend[] = [];
    for (const { backing, weight } of backends) {
      const same = backing.ports.find((p) => p.port === port.port);
      const spread = backing.service.headless ? { spread: true as const } : {};
      if (same) taken.push({ service: backing.name, targetPort: same.targetPort, weight, ...spread });
      else {
        const message = `Service "${localName(backing.name)}" has no port ${port.port}, which the root Service has: the backend is left out for that port.`;
        problems.push(fault("bad-backend", "TrafficSplit", split, "spec.backends", message));
      }
    }
    if (matches && matches.length === 0) continue;
    routes.push({ split: `${split.namespace}/${split.name}`, backends: taken, ...(matches ? { matches } : {}) });
    if (!matches) return { routes, problems };
  }
  routes.push({ backends: [{ service: self.name, targetPort: port.targetPort, weight: 1 }] });
  return { routes, problems };
}
