/**
 * Compiling and building without any stream: everything from nothing, and one change, in meshes of several sizes. Run by hand with a
 * size, it is one of its own child processes.
 */
import { Compiler } from "../src/policy/compile.ts";
import { changedServices } from "../src/pipeline.ts";
import { Store } from "../src/world/store.ts";
import { Builder } from "../src/xds/build.ts";
import type { Trust } from "../src/xds/tls.ts";
import { benchMesh } from "./mesh.ts";
import { answer, collect, Peer } from "./rpc.ts";
import { p50, p99, print, rounded, type Row } from "./table.ts";

const SIZES = [1_000, 10_000] as const;
const TRUST: Trust = {
  bundle: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
  trustDomain: "cluster.local",
};
const WARM = 10;

const sum = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((total, count) => total + count, 0);

function measure({ services, fulls, rounds }: { services: number; fulls: number; rounds: number }): Row[] {
  const mesh = benchMesh(services, services / 4);
  const store = new Store();
  store.apply(mesh.changes);
  const full = { compile: [] as number[], build: [] as number[] };
  let compiler = new Compiler();
  let builder = new Builder();
  let groups = 0;
  for (let i = 0; i < fulls; i++) {
    compiler = new Compiler();
    builder = new Builder();
    collect();
    const start = performance.now();
    const compiled = compiler.compile(store.world).mesh;
    const middle = performance.now();
    builder.mesh(compiled, store.world, TRUST);
    full.compile.push(middle - start);
    full.build.push(performance.now() - middle);
    groups = compiled.groups.size;
  }
  const title = `${services}`;
  const rows: Row[] = [row(title, "everything, from nothing", full, sum(compiler.made), sum(builder.built), groups)];
  for (const { name, make } of mesh.edits) {
    const times = { compile: [] as number[], build: [] as number[] };
    const made = { parts: 0, resources: 0, groups: 0 };
    for (let round = 1; round <= WARM + rounds; round++) {
      const before = store.world;
      const parts = sum(compiler.made);
      const resources = sum(builder.built);
      let policy = false;
      const unfollow = store.follow((reach) => (policy = reach === "policy"));
      store.apply([make(round)]);
      unfollow();
      const start = performance.now();
      let middle = start;
      let changed;
      if (policy) {
        const compiled = compiler.compile(store.world).mesh;
        middle = performance.now();
        ({ changed } = builder.mesh(compiled, store.world, TRUST));
      } else ({ changed } = builder.endpoints(store.world, changedServices(before, store.world)));
      if (round <= WARM) continue;
      times.compile.push(middle - start);
      times.build.push(performance.now() - middle);
      made.parts = sum(compiler.made) - parts;
      made.resources = sum(builder.built) - resources;
      made.groups = changed.size;
    }
    rows.push(row(title, name, times, made.parts, made.resources, made.groups));
  }
  return rows;
}

function row(
  services: string,
  change: string,
  { compile, build }: { compile: readonly number[]; build: readonly number[] },
  parts: number,
  resources: number,
  groups: number,
): Row {
  return {
    services,
    change,
    "compile p50": rounded(p50(compile)),
    "compile p99": rounded(p99(compile)),
    "build p50": rounded(p50(build)),
    "build p99": rounded(p99(build)),
    parts,
    resources,
    groups,
  };
}

const handlers = { measure };
if (process.argv[1] === import.meta.filename) answer(handlers);

export async function compile(rounds: number): Promise<void> {
  const rows: Row[] = [];
  for (const services of SIZES) {
    const peer = new Peer<typeof handlers>(import.meta.filename, [], ["--expose-gc"]);
    const few = services >= 10_000;
    rows.push(...(await peer.ask("measure", { services, fulls: few ? 3 : 9, rounds: few ? rounds / 4 : rounds })));
    await peer.end();
  }
  print("Compile and build, without streams, ms", rows, [
    "parts: of the mesh that were compiled; resources: that were encoded; groups: of proxies that get something else",
  ]);
}
