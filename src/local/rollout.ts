/**
 * When the pods that a Deployment no longer wants may go: once the others are ready, or after a while.
 * Knows names and readiness, not processes.
 */
import { realClock, type Clock } from "../lib/settle.ts";
import type { PodName } from "../world/names.ts";
import type { PodManifest } from "../world/pod.ts";

/** Milliseconds that old pods wait for new ones. */
export const ROLLOUT_MS = 30_000;

/** The Deployment that a pod belongs to, known by its ReplicaSet's name without the template's hash; undefined for any other pod. */
export function deploymentOf({ metadata }: PodManifest): string | undefined {
  const owner = metadata.ownerReferences?.find((o) => o.kind === "ReplicaSet");
  if (!owner) return undefined;
  const dash = owner.name.lastIndexOf("-");
  return `${metadata.namespace}/${dash > 0 ? owner.name.slice(0, dash) : owner.name}`;
}

interface Retired {
  readonly deployment: string | undefined;
  late: boolean;
  readonly cancel: () => void;
}

/** The pods that wait for their replacements. */
export class Rollout {
  readonly #remove: (name: PodName) => void;
  readonly #clock: Clock;
  readonly #retired = new Map<PodName, Retired>();
  #wanted: readonly { readonly deployment: string | undefined; readonly ready: boolean }[] = [];

  constructor(remove: (name: PodName) => void, clock: Clock = realClock) {
    this.#remove = remove;
    this.#clock = clock;
  }

  has(name: PodName): boolean {
    return this.#retired.has(name);
  }

  /** Not wanted any more; goes at a later `check`. */
  retire(name: PodName, deployment: string | undefined): void {
    if (this.#retired.has(name)) return;
    const retired: Retired = {
      deployment,
      late: false,
      cancel: this.#clock.after(ROLLOUT_MS, () => {
        retired.late = true;
        this.check(this.#wanted);
      }),
    };
    this.#retired.set(name, retired);
  }

  /** Wanted (again). */
  keep(name: PodName): void {
    this.#retired.get(name)?.cancel();
    this.#retired.delete(name);
  }

  /** Removes those whose replacements are ready, given all pods that are wanted now. */
  check(wanted: readonly { readonly deployment: string | undefined; readonly ready: boolean }[]): void {
    this.#wanted = wanted;
    const waiting = new Set(wanted.filter((pod) => !pod.ready).map((pod) => pod.deployment));
    for (const [name, { deployment, late }] of this.#retired) {
      if (deployment !== undefined && !late && waiting.has(deployment)) continue;
      this.keep(name);
      this.#remove(name);
    }
  }

  stop(): void {
    for (const { cancel } of this.#retired.values()) cancel();
    this.#retired.clear();
  }
}
