/**
 * A mesh of so many Services for benchmarks, and the changes that are measured in it. Everything depends on the size only.
 *
 * Nine tenths of the Services are applications; one application in eighteen has two more Services, the halves of a split.
 * Each has an account of its own and is called by five others, and the first one is called by everybody.
 */
import { contentHash } from "../src/lib/hash.ts";
import type { Change, EndpointSlice } from "../src/world/types.ts";
import {
  app,
  flat,
  namespace,
  pods,
  routeGroup,
  service,
  slice,
  split,
  target,
  workload,
} from "../test/support/build.ts";

const NAMESPACES = 20;
const SPLIT_EVERY = 18;
const PODS = 4;
/** Distances to those whom an application calls. */
const CALLS = [1, 7, 31, 64, 100] as const;
const PORT = 8080;

/** One proxy of the mesh: who it is. */
export interface MeshProxy {
  readonly id: string;
  /** `ns/account` */
  readonly account: string;
}

/** A change that can be made and taken back: `make(round)` differs from `make(round - 1)`, and equals `make(round - 2)`. */
export interface Edit {
  readonly name: string;
  readonly make: (round: number) => Change;
}

export interface BenchMesh {
  readonly services: number;
  readonly changes: readonly Change[];
  /** Of the first applications, which are called among themselves. */
  readonly proxies: readonly MeshProxy[];
  readonly edits: readonly Edit[];
}

/**
 * @param services - a multiple of 100
 * @param watched - how many applications have proxies that connect; they have four pods each, the others one
 */
export function benchMesh(services: number, watched: number): BenchMesh {
  const count = Math.round(services * 0.9);
  const name = (i: number) => `ns-${i % NAMESPACES}/app-${i}`;
  const calls = new Map<number, number[]>();
  const call = (client: number, server: number) => {
    const clients = calls.get(server);
    if (!clients) calls.set(server, [client]);
    else if (!clients.includes(client)) clients.push(client);
  };
  for (let i = 0; i < count; i++) {
    const [first, size] = i < watched ? [0, watched] : [watched, count - watched];
    for (const distance of CALLS) call(i, first + ((i - first + distance) % size));
    if (i > 0) call(i, 0);
  }
  const apps = Array.from({ length: count }, (_, i) =>
    appOf(name(i), i < watched ? PODS : 1, i % SPLIT_EVERY === 0).map(withUuid),
  );
  const access = (i: number, more: { leaveOut?: number; matches?: string } = {}) =>
    target(`${name(i)}-access`, {
      to: name(i),
      from: (calls.get(i) ?? []).filter((client) => client !== more.leaveOut).map(name),
      rules: [`HTTPRouteGroup app-${i} ${more.matches ?? "read write"}`],
    });
  const changes = flat(
    Array.from({ length: NAMESPACES }, (_, i) => namespace(`ns-${i}`)),
    apps,
    Array.from({ length: count }, (_, i) => [
      access(i),
      routeGroup(name(i), [
        { name: "read", pathRegex: "/items/.*", methods: ["GET"] },
        { name: "write", pathRegex: "/items", methods: ["POST", "PUT"] },
        { name: "admin", pathRegex: "/admin/.*", methods: ["GET"], headers: [{ name: "x-team", regex: "ops" }] },
      ]),
    ]),
  );
  const proxies = flat(apps.slice(0, watched)).flatMap(({ kind, value }) =>
    kind === "Pod" && value ? [{ id: value.proxyId, account: value.workload.identity }] : [],
  );
  const usual = SPLIT_EVERY + 1;
  const client = usual - 1;
  return {
    services,
    changes,
    proxies,
    edits: [
      { name: "endpoint", make: endpoint(apps[usual] as Change[]) },
      { name: "endpoint, called by all", make: endpoint(apps[0] as Change[]) },
      { name: "weight", make: (round) => weights(name(SPLIT_EVERY), round) },
      { name: "weight, called by all", make: (round) => weights(name(0), round) },
      {
        name: "TrafficTarget: a match more, less",
        make: (round) => access(usual, { matches: round % 2 === 0 ? "read write" : "read write admin" }),
      },
      {
        name: "TrafficTarget: a source less, more",
        make: (round) => access(usual, round % 2 === 0 ? {} : { leaveOut: client }),
      },
    ],
  };
}

/** Pods as in a cluster: a proxy's id is a UUID, which certificates want. */
function withUuid(change: Change): Change {
  if (change.kind !== "Pod" || !change.value) return change;
  const proxyId = contentHash(change.value.name).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  return { ...change, value: { ...change.value, proxyId } };
}

function appOf(name: string, count: number, withSplit: boolean): Change[] {
  if (!withSplit) return app(name, { ports: [PORT], pods: count });
  const label = name.slice(name.indexOf("/") + 1);
  const half = (version: string) => {
    const labels = { app: label, version };
    const running = pods(workload(name, { labels }), Math.max(1, count / 2));
    const ips = running.flatMap((change) => (change.kind === "Pod" ? (change.value?.ips ?? []) : []));
    const own = service(`${name}-${version}`, { ports: [PORT], selector: labels });
    return { ips, changes: [own, ...running, slice(`${name}-${version}`, { "": PORT }, ips)] };
  };
  const halves = [half("v1"), half("v2")];
  return flat(
    service(name, { ports: [PORT], selector: { app: label } }),
    slice(
      name,
      { "": PORT },
      halves.flatMap(({ ips }) => ips),
    ),
    halves.map(({ changes }) => changes),
    weights(name, 0),
  );
}

const weights = (name: string, round: number): Change => {
  const label = name.slice(name.indexOf("/") + 1);
  const [v1, v2] = round % 2 === 0 ? [90, 10] : [50, 50];
  return split(`${name}-split`, { service: label, backends: { [`${label}-v1`]: v1, [`${label}-v2`]: v2 } });
};

/** The first slice of an application, with and without its last endpoint. */
function endpoint(changes: readonly Change[]): (round: number) => Change {
  const found = changes.find((change) => change.kind === "EndpointSlice") as Change;
  const value = found.value as EndpointSlice;
  const fewer: EndpointSlice = { ...value, endpoints: value.endpoints.slice(0, -1) };
  return (round) => ({ ...found, value: round % 2 === 0 ? value : fewer }) as Change;
}
