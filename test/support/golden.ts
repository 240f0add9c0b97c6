/**
 * The small cases of `test/golden`: manifests in, IR and Envoy messages out.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Cluster } from "../../src/sources/files/cluster.ts";
import { catalogOf } from "../../src/sources/files/catalog.ts";
import { parseYaml } from "../../src/sources/files/yaml.ts";
import { compile } from "../../src/policy/compile.ts";
import type { Mesh } from "../../src/policy/ir.ts";
import type { Problem } from "../../src/world/types.ts";
import { apply, EMPTY_WORLD, type World } from "../../src/world/world.ts";
import { Builder } from "../../src/xds/build.ts";
import type { Resources } from "../../src/xds/resource.ts";
import type { Trust } from "../../src/xds/tls.ts";

export const GOLDEN = join(import.meta.dirname, "../golden");

export const CASES: readonly string[] = readdirSync(GOLDEN, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && existsSync(join(GOLDEN, entry.name, "input.yaml")))
  .map((entry) => entry.name)
  .sort();

export interface Case {
  readonly world: World;
  readonly mesh: Mesh;
  /** Of reading, then of compiling. */
  readonly problems: readonly Problem[];
  readonly groups: ReadonlyMap<string, Resources>;
}

/** Reads one case as a folder in which every pod runs and is ready. */
export function readCase(name: string, trust: Trust): Case {
  const { documents, errors } = parseYaml(readFileSync(join(GOLDEN, name, "input.yaml"), "utf8"));
  if (errors.length > 0) throw new Error(`golden ${name}: ${JSON.stringify(errors)}`);
  const catalog = catalogOf([{ path: "input.yaml", signature: "", documents, problems: [] }], (path) => path);
  const cluster = new Cluster({ pods: "10.2.0.0/16", services: "10.1.0.0/16" });
  const derived = cluster.derive(catalog.entries, "assume-ready");
  const world = apply(EMPTY_WORLD, derived.changes);
  const { mesh, problems } = compile(world);
  const { changed } = new Builder().mesh(mesh, world, trust);
  return { world, mesh, problems: [...catalog.problems, ...derived.problems, ...problems], groups: changed };
}
