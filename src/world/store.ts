/**
 * The one mutable cell: takes changes from sources, holds the latest World, and tells who follows it how far a change reaches.
 */
import { apply, EMPTY_WORLD, samePolicyInput, type World } from "./world.ts";
import type { Change } from "./types.ts";

/** `endpoints`: only pods and endpoints changed, policy means what it meant. `policy`: anything may have changed. */
export type Reach = "endpoints" | "policy";

export class Store {
  #world: World = EMPTY_WORLD;
  #revision = 0;
  readonly #followers = new Set<(reach: Reach) => void>();

  get world(): World {
    return this.#world;
  }

  /** Counts worlds: it grows with each change that changes something. */
  get revision(): number {
    return this.#revision;
  }

  apply(changes: readonly Change[]): void {
    const next = apply(this.#world, changes);
    if (next === this.#world) return;
    const reach: Reach = samePolicyInput(this.#world, next) ? "endpoints" : "policy";
    this.#world = next;
    this.#revision++;
    for (const follower of this.#followers) follower(reach);
  }

  /** Calls on each change, at once and without data: read `world` when you are ready for it. The answer ends it. */
  follow(follower: (reach: Reach) => void): () => void {
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }
}
