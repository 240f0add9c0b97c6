/**
 * Whether `heddle proxy status` is about the mesh on this machine or the one in a cluster.
 */
import { EXIT, UserError } from "../errors.ts";
import type { ClusterVerbs } from "./program.ts";
import { hasCluster, readSettings } from "./settings.ts";

export interface ProxyStatusOptions {
  readonly mesh?: string;
  readonly meshName?: string;
  readonly output: string;
}

/** What is known before anybody is asked. */
export interface Situation {
  /** `--mesh` or $HEDDLE_MESH. */
  readonly mesh: boolean;
  /** `--kubeconfig`, `--context`, `--osm-namespace` or `--mesh-name`. */
  readonly clusterFlag: boolean;
  readonly localRuns: number;
  readonly kubeconfig: boolean;
}

/** Pure: what was named decides, else the mesh that runs here, else the cluster that is known. */
export function placeOf({ mesh, clusterFlag, localRuns, kubeconfig }: Situation): "here" | "cluster" {
  if (clusterFlag) return "cluster";
  if (mesh || localRuns > 0) return "here";
  return kubeconfig ? "cluster" : "here";
}

/** Ends with the exit code of whichever it is; undefined when `run` has told it. `typed`: `--mesh` stands on the command line. */
export async function proxyStatusAnywhere(
  options: ProxyStatusOptions,
  typed: boolean,
  verbs: ClusterVerbs,
): Promise<number | undefined> {
  const flags = verbs.flags();
  const clusterFlag = Boolean(flags.kubeconfig ?? flags.context ?? flags.osmNamespace ?? options.meshName);
  if (clusterFlag && typed)
    throw new UserError("--mesh is a mesh on this machine: it does not go with flags that name a cluster.", EXIT.usage);
  const { liveRuns, runIds } = await import("../../local/record.ts");
  const localRuns = process.getuid?.() === 0 ? liveRuns().length : runIds().length;
  const kubeconfig = hasCluster(await readSettings(flags, verbs.environment));
  const place = placeOf({ mesh: options.mesh !== undefined, clusterFlag, localRuns, kubeconfig });
  if (place === "here") return (await import("../proxy-status.ts")).proxyStatus(options);
  await verbs.run(async (context) => (await import("./proxy.ts")).clusterProxyStatus(context, options));
  return undefined;
}
