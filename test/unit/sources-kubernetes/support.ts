/** What the tests of this room share: a sink that holds the world, and the world that the server's objects mean. */
import { KINDS } from "../../../src/manifest/kinds.ts";
import { Decoder } from "../../../src/manifest/decode.ts";
import { KubernetesClient } from "../../../src/sources/kubernetes/client.ts";
import { KubernetesSource, type KubernetesSourceOptions } from "../../../src/sources/kubernetes/source.ts";
import type { Sink } from "../../../src/sources/sink.ts";
import { silent } from "../../../src/telemetry/log.ts";
import type { Change, Kind, Problem } from "../../../src/world/types.ts";
import { apply, EMPTY_WORLD, type World } from "../../../src/world/world.ts";
import type { FakeApiServer, Json } from "../../support/fake-api-server.ts";
import type { FakeClock } from "../../support/clock.ts";

/** Holds what it was told, and complains of what changes nothing. */
export class Mirror implements Sink {
  world: World = EMPTY_WORLD;
  readonly batches: (readonly Change[])[] = [];
  list: readonly Problem[] = [];
  problemLists = 0;
  syncs = 0;
  /** What the world was when it was said to be whole. */
  atSync: World | undefined;

  apply(changes: readonly Change[]): void {
    if (changes.length === 0) throw new Error("an empty batch");
    for (const change of changes) {
      const before = this.world;
      this.world = apply(before, [change]);
      if (this.world === before) throw new Error(`no change: ${change.kind} ${change.namespace}/${change.name}`);
    }
    this.batches.push(changes);
  }
  synced(): void {
    this.syncs++;
    this.atSync = this.world;
  }
  problems(list: readonly Problem[]): void {
    this.list = list;
    this.problemLists++;
  }
  get changes(): readonly Change[] {
    return this.batches.flat();
  }
  names(kind: Kind): string[] {
    return [...this.world.tables[kind]]
      .flatMap(([ns, names]) => [...names.keys()].map((name) => `${ns}/${name}`))
      .sort();
  }
}

/** Tables as plain data, in order, so that they can be compared. */
export const plain = (world: World) =>
  Object.fromEntries(
    KINDS.map(({ kind }) => [
      kind,
      [...world.tables[kind]]
        .flatMap(([ns, names]) => [...names].map(([name, value]) => [`${ns}/${name}`, value] as const))
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    ]),
  );

/** What the server's objects mean, read straight from it. */
export function truth(server: FakeApiServer): World {
  const decoder = new Decoder();
  let world = EMPTY_WORLD;
  for (const entry of KINDS) {
    const collection = server.collections.get(`${entry.group}/${entry.plural}`);
    const version = entry.versions.findLast((one) => collection?.spec.versions.includes(one));
    const apiVersion = entry.group ? `${entry.group}/${version}` : version;
    for (const object of collection?.objects.values() ?? [])
      world = apply(
        world,
        decoder.decode({ ...object, apiVersion, kind: entry.kind }).changes.filter((c) => c.value),
      );
  }
  return world;
}

export const inStep = (mirror: Mirror, server: FakeApiServer): boolean =>
  JSON.stringify(plain(mirror.world)) === JSON.stringify(plain(truth(server)));

/** Never, in milliseconds: a list anew would heal what a test is to find. */
export const NEVER = 1e15;

export function sourceOf(
  server: FakeApiServer,
  clock: FakeClock,
  more: Partial<KubernetesSourceOptions> = {},
): { source: KubernetesSource; client: KubernetesClient } {
  const client = new KubernetesClient({ config: { server: server.url, namespace: "default" }, clock });
  return {
    source: new KubernetesSource({ client, log: silent, clock, random: () => 0.5, relist: NEVER, ...more }),
    client,
  };
}

export const pod = (
  namespace: string,
  name: string,
  more: { ip?: string; ready?: boolean; labels?: Json } = {},
): Json => ({
  metadata: {
    namespace,
    name,
    labels: { app: "a", ...more.labels },
    managedFields: [{ manager: "kubelet", fieldsV1: {} }],
  },
  spec: { serviceAccountName: "sa", containers: [{ name: "c", image: "i", ports: [{ containerPort: 80 }] }] },
  status: {
    phase: "Running",
    podIPs: [{ ip: more.ip ?? "10.0.0.1" }],
    conditions: [{ type: "Ready", status: more.ready === false ? "False" : "True" }],
  },
});

export const namespaceObject = (name: string): Json => ({
  metadata: { name, labels: { "openservicemesh.io/monitored-by": "osm" } },
});

export const routes = (namespace: string, name: string, pathRegex = "/"): Json => ({
  apiVersion: "specs.smi-spec.io/v1alpha4",
  kind: "HTTPRouteGroup",
  metadata: { namespace, name },
  spec: { matches: [{ name: "m", pathRegex, methods: ["GET"] }] },
});

export const split = (namespace: string, name: string, weight = 1): Json => ({
  apiVersion: "split.smi-spec.io/v1alpha4",
  kind: "TrafficSplit",
  metadata: { namespace, name },
  spec: { service: "root", backends: [{ service: "b", weight }] },
});
