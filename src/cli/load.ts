/**
 * The mesh that a question is about: read from a folder, from the mesh that runs on this machine, or from a cluster, and compiled by the
 * same code as in the control plane. Loads nothing of Envoy's vocabulary. Answers no question itself.
 */
import { stat } from "node:fs/promises";
import { Compiler } from "../policy/compile.ts";
import type { Mesh } from "../policy/ir.ts";
import { Readings, type Objects } from "../sources/files/once.ts";
import type { ObjectRef, Problem } from "../world/types.ts";
import { apply, EMPTY_WORLD, type World } from "../world/world.ts";
import type { ClusterVerbs } from "./cluster/program.ts";
import { EXIT, UserError } from "./errors.ts";

/** Where an object can be looked at: in a file, or which version of it in a cluster. */
export type Place =
  | { readonly file: string; readonly line: number; readonly resourceVersion?: undefined }
  | { readonly resourceVersion: string; readonly file?: undefined; readonly line?: undefined };

/** A mesh, and where its objects come from. */
export interface View {
  readonly world: World;
  readonly mesh: Mesh;
  /** With their places. */
  readonly problems: readonly Problem[];
  /** The one namespace in which a MeshConfig counts; undefined: any, the first by name. */
  readonly meshConfigNamespace?: string;
  /** @param path - of a field, as in a Problem; "" for the whole object */
  place(object: ObjectRef, path: string): Place | undefined;
}

/** A mesh takes whatever is free; here the same input gives the same output. */
export const SUBNETS = { pods: "10.244.0.0/16", services: "10.96.0.0/16" } as const;

/** Reads a folder or file once, as if every pod were running and ready. */
export async function loadFiles(path: string): Promise<View> {
  const readings = new Readings(SUBNETS);
  const { changes, problems, locate } = readings.outcome(await readFiles(readings, path));
  const world = apply(EMPTY_WORLD, changes);
  const { mesh, problems: compiled } = new Compiler().compile(world);
  const placed = compiled.map((problem) => ({ ...problem, ...locate(problem.object, problem.path) }));
  return { world, mesh, problems: [...problems, ...placed], place: locate };
}

export async function readFiles(readings: Readings, path: string): Promise<Objects> {
  if (!(await stat(path).catch(() => undefined))) throw new UserError(`There is no file or folder ${path}.`);
  return readings.read(path);
}

/** Which mesh is meant: `--file`, else flags that name a cluster or a mesh here, else what runs here, else the kubeconfig's cluster. */
export interface Wanted {
  /** A folder, or a file. */
  readonly file?: string;
  /** `--mesh` or $HEDDLE_MESH: on this machine. */
  readonly mesh?: string;
  /** `--mesh-name`: in the cluster. */
  readonly meshName?: string;
}

/**
 * Loads the mesh that is meant and asks `use`.
 * @param typed - whether `--mesh` stands on the command line
 * @returns the answer of `use`; undefined when the verb's runner has told it already
 */
export async function withView(
  wanted: Wanted,
  typed: boolean,
  verbs: ClusterVerbs,
  use: (view: View) => Promise<number>,
): Promise<number | undefined> {
  const flags = verbs.flags();
  const clusterFlag = Boolean(flags.kubeconfig ?? flags.context ?? flags.osmNamespace ?? wanted.meshName);
  if (wanted.file !== undefined) {
    if (clusterFlag || typed)
      throw new UserError("-f names files: it does not go with flags that name a mesh or a cluster.", EXIT.usage);
    return use(await loadFiles(wanted.file));
  }
  const { placeOf } = await import("./cluster/proxy-place.ts");
  const { hasCluster, readSettings } = await import("./cluster/settings.ts");
  const { liveRuns, runIds } = await import("../local/record.ts");
  if (clusterFlag && typed)
    throw new UserError("--mesh is a mesh on this machine: it does not go with flags that name a cluster.", EXIT.usage);
  const localRuns = process.getuid?.() === 0 ? liveRuns().length : runIds().length;
  const kubeconfig = hasCluster(await readSettings(flags, verbs.environment));
  const mesh = wanted.mesh !== undefined;
  if (!mesh && !clusterFlag && localRuns === 0 && !kubeconfig)
    throw new UserError("No mesh runs on this machine, and there is no kubeconfig. Give manifests: -f DIR", EXIT.usage);
  if (placeOf({ mesh, clusterFlag, localRuns, kubeconfig }) === "here")
    return use(await (await import("./load-live.ts")).loadLocal(wanted.mesh));
  await verbs.run(async (context) => use(await (await import("./load-live.ts")).loadCluster(context, wanted.meshName)));
  return undefined;
}

/** @internal The folder of a running mesh, for the places of its objects. */
export async function placesOf(dir: string): Promise<View["place"]> {
  const readings = new Readings(SUBNETS);
  return readings.outcome(await readFiles(readings, dir)).locate;
}
