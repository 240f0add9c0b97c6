/**
 * What `heddle up` needs of a mesh on this machine: its contract with the composition root. Types only.
 */
import type { Inspect } from "../pipeline.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { PodName } from "../world/names.ts";
import type { PodManifest, PodStatus } from "../world/pod.ts";
import type { Problem } from "../world/types.ts";
import type { ProxyStatus } from "../ads/status.ts";

export interface LocalMeshOptions {
  /** The folder of manifests. */
  readonly dir: string;
  /** A file that maps image names to commands; the folder's `images.yaml` when absent. */
  readonly images?: string;
  readonly log: Log;
  /** Gets one line for each thing that is done to the machine. */
  readonly say: (line: string) => void;
  /** Up to 8 of `a-z0-9`; random when absent. */
  readonly id?: string;
  /** Gives up starting. */
  readonly signal?: AbortSignal;
}

/** A policy change that took effect. */
export interface MeshChange {
  readonly revision: number;
  /** From `summarize` in summary.ts: one line for each thing that means something else now. */
  readonly lines: readonly string[];
  /** Files whose change it was, when known. */
  readonly files?: readonly string[];
}

export interface LocalMesh {
  readonly id: string;
  readonly runDir: string;
  readonly metrics: Metrics;
  readonly pipeline: Inspect & { settled(): Promise<void> };
  /** What sources and compiler found wrong, with file and line. */
  problems(): readonly Problem[];
  pods(): readonly { readonly manifest: PodManifest; readonly status: PodStatus | undefined }[];
  proxies(): readonly ProxyStatus[];
  /** Whether the sources have synced and a snapshot is published. */
  ready(): boolean;
  /** Lines that containers print. The answer ends it. */
  onLine(listener: (pod: PodName, container: string, line: string) => void): () => void;
  onChange(listener: (change: MeshChange) => void): () => void;
  stop(): Promise<void>;
}
