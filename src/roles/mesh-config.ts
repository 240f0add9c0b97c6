/**
 * The MeshConfig `osm-mesh-config` follows the chart's values, by server-side apply without force: a field that somebody else wrote is
 * theirs and stays, every other one is as the values say. Knows no setting.
 */
import { realClock } from "../lib/settle.ts";
import { isRaw, type Raw } from "../lib/json.ts";
import { BackOff, pause } from "../sources/kubernetes/back-off.ts";
import type { KubernetesClient } from "../sources/kubernetes/client.ts";
import { ApiError } from "../sources/kubernetes/errors.ts";
import { apiVersionOf, type Resource } from "../sources/kubernetes/resource.ts";
import type { Log } from "../telemetry/log.ts";
import { CONFIG_MAPS } from "./cluster.ts";
import { MADE_HERE, madeHere } from "./made-here.ts";

/** What it needs of a Kubernetes client. */
export type MeshConfigApi = Pick<KubernetesClient, "get" | "apply">;

export interface PresetOptions {
  readonly client: MeshConfigApi;
  readonly log: Log;
  /** The control plane's. */
  readonly namespace: string;
  /** The ConfigMap with the chart's values. */
  readonly preset: string;
  /** Waits between attempts. */
  readonly pause?: (ms: number, signal: AbortSignal) => Promise<void>;
}

export const MESH_CONFIGS: Resource = {
  group: "config.openservicemesh.io",
  version: "v1alpha2",
  plural: "meshconfigs",
};
export const MESH_CONFIG = "osm-mesh-config";
/** OSM's key in OSM's ConfigMap. */
const KEY = "preset-mesh-config.json";
/** Owns the fields that come from the chart. Another one than the controller's, which owns the status. */
export const PRESET_MANAGER = "heddle-values";
/** Somebody may take one more field between two attempts; more often than this it is no accident. */
const ATTEMPTS = 5;

/**
 * Resolves after the first attempt, so that a control plane that is ready has the settings that it was installed with; what failed is
 * tried again until the signal: settings hold without it, as they stand or by default.
 */
export async function followPreset(options: PresetOptions, signal: AbortSignal): Promise<void> {
  const { log, pause: wait = (ms, end) => pause(realClock, ms, end) } = options;
  const again = new BackOff({ first: 500, most: 30_000, random: Math.random });
  let said = "";
  const done = async (): Promise<boolean> => {
    try {
      await applyPreset(options, signal);
      return true;
    } catch (error) {
      if (signal.aborted) return true;
      if (said !== String(error))
        log.warn("could not put the chart's values into MeshConfig osm-mesh-config, tried again until it can be", {
          error: String(error),
        });
      said = String(error);
      return false;
    }
  };
  if (await done()) return;
  void (async () => {
    do await wait(again.next(), signal);
    while (!signal.aborted && !(await done()));
  })();
}

async function applyPreset({ client, log, namespace, preset }: PresetOptions, signal: AbortSignal): Promise<void> {
  const found = await client.get(CONFIG_MAPS, { namespace, name: preset }, signal);
  const data = found && isRaw(found["data"]) ? found["data"] : {};
  const text = data[KEY];
  if (typeof text !== "string") return;
  const spec: unknown = JSON.parse(text);
  if (!isRaw(spec)) throw new Error(`${KEY} of ConfigMap ${namespace}/${preset} is not a map`);
  const there = await client.get(MESH_CONFIGS, { namespace, name: MESH_CONFIG }, signal);
  // Left out where it stands, the API server would take it away.
  const labels = there === undefined || madeHere(there) ? { labels: MADE_HERE } : {};
  const kept: string[] = [];
  for (let attempt = 1; ; attempt++) {
    const object = {
      apiVersion: apiVersionOf(MESH_CONFIGS),
      kind: "MeshConfig",
      metadata: { name: MESH_CONFIG, namespace, ...labels },
      ...without({ spec }, new Set(kept)),
    };
    try {
      await client.apply(MESH_CONFIGS, object, { manager: PRESET_MANAGER }, signal);
      log.info("MeshConfig osm-mesh-config is as the chart's values say", kept.length > 0 ? { butFor: kept } : {});
      return;
    } catch (error) {
      const conflicts = error instanceof ApiError ? error.conflicts.filter((path) => !kept.includes(path)) : [];
      if (conflicts.length === 0 || attempt === ATTEMPTS) throw error;
      kept.push(...conflicts);
    }
  }
}

/** The map without the fields at these paths, as `.spec.traffic.enableEgress`. */
function without(map: Raw, paths: ReadonlySet<string>, above = ""): Raw {
  return Object.fromEntries(
    Object.entries(map).flatMap(([key, value]) => {
      const path = `${above}.${key}`;
      if (paths.has(path)) return [];
      return [[key, isRaw(value) ? without(value, paths, path) : value]];
    }),
  );
}
