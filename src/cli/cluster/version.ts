/**
 * `heddle version` with what runs in a cluster, when one answers soon. Without a kubeconfig it loads nothing of it.
 */
import { EXIT, UserError } from "../errors.ts";
import { formatOf } from "../output.ts";
import { table } from "../text.ts";
import { VERSION } from "../version.ts";
import { hasCluster, readSettings, type ClusterFlags, type Environment } from "./settings.ts";
import { outData, type Terminal } from "./terminal.ts";

export interface VersionOptions {
  readonly output: string;
  readonly clientOnly?: boolean;
  readonly versionOnly?: boolean;
}

/** A mesh's version, as its controller tells it. */
export interface MeshVersion {
  readonly mesh: string;
  readonly namespace: string;
  readonly version: string;
  readonly gitCommit: string;
  readonly buildDate: string;
}

/** Milliseconds for a cluster to answer. Whoever asked for one by name waits longer. */
const SOON = 5_000;
const PATIENT = 15_000;

export async function version(
  options: VersionOptions,
  flags: ClusterFlags,
  { environment, terminal }: { readonly environment: Environment; readonly terminal: Terminal },
): Promise<number> {
  const format = formatOf(options.output, ["text", "json", "yaml"]);
  const own = { heddle: VERSION, node: process.versions.node, platform: `${process.platform}/${process.arch}` };
  if (format === "text") await terminal.out(`heddle ${own.heddle} (node ${own.node}, ${own.platform})`);
  const meshes = options.clientOnly ? undefined : await inCluster(flags, environment, terminal);
  if (format !== "text") await outData(terminal, format, meshes === undefined ? own : { ...own, meshes });
  else if (meshes && meshes.length > 0) await terminal.out(["", ...versionTable(meshes)].join("\n"));
  else if (meshes && !options.versionOnly) terminal.note("No mesh is installed in the cluster.");
  return EXIT.ok;
}

export const versionTable = (meshes: readonly MeshVersion[]): string[] =>
  table(
    ["MESH NAME", "MESH NAMESPACE", "VERSION", "GIT COMMIT", "BUILD DATE"],
    meshes.map((one) => [one.mesh, one.namespace, one.version, one.gitCommit, one.buildDate]),
  );

/** Undefined when there is no cluster or it does not answer in time. */
async function inCluster(
  flags: ClusterFlags,
  environment: Environment,
  terminal: Terminal,
): Promise<MeshVersion[] | undefined> {
  const settings = await readSettings(flags, environment);
  if (!hasCluster(settings)) return undefined;
  const named = flags.kubeconfig !== undefined || flags.context !== undefined;
  const limit = named ? PATIENT : SOON;
  const [{ contextOf }, { versionsOf }, { errorOf }] = await Promise.all([
    import("./connection.ts"),
    import("./mesh-version.ts"),
    import("./sentences.ts"),
  ]);
  const ending = new AbortController();
  const context = contextOf(settings, terminal, ending.signal);
  const late = setTimeout(() => ending.abort(new Error(`it did not answer within ${limit / 1000} s`)), limit);
  try {
    return await versionsOf(await context.cluster({ answer: limit, whole: limit }), settings);
  } catch (error) {
    // Whoever named a cluster wants to know; without one the version of the command is what was asked for.
    if (named) throw new UserError(`The cluster's version cannot be told: ${errorOf(error)}`);
    terminal.note(`The cluster's version is not known: ${errorOf(error)} (--client-only does not ask)`);
    return undefined;
  } finally {
    clearTimeout(late);
    context.close();
  }
}
