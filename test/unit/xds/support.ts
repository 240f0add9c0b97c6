/** A mesh that is built step by step, as the pipeline does it, and the messages that come out. */
import { Compiler } from "../../../src/policy/compile.ts";
import { changedServices } from "../../../src/xds/endpoints.ts";
import { Store } from "../../../src/world/store.ts";
import { Builder, type Built } from "../../../src/xds/build.ts";
import { TYPES, type Resources } from "../../../src/xds/resource.ts";
import { flat, type Changes } from "../../support/build.ts";
import { jsonOf, type Json } from "../../support/envoy-json.ts";

export const TRUST = { bundle: "PEM\n", trustDomain: "cluster.local" };

export class Steps {
  readonly store = new Store();
  readonly compiler = new Compiler();
  readonly builder = new Builder();
  readonly #groups = new Map<string, Resources>();

  /** Applies changes, and says what was made of them: resources encoded by type, and by group and type the names that are other than before. */
  step(...changes: readonly Changes[]) {
    const { store, compiler, builder } = this;
    const before = { world: store.world, built: builder.built, compiled: compiler.made };
    let reach: string | undefined;
    const unfollow = store.follow((far) => (reach = far));
    store.apply(flat(...changes));
    unfollow();
    const { world } = store;
    let made: Built = { changed: new Map(), removed: [] };
    if (reach === "policy") made = builder.mesh(compiler.compile(world).mesh, world, TRUST);
    if (reach === "endpoints") made = builder.endpoints(world, changedServices(before.world, world));
    const changed = new Map(
      [...made.changed].map(([group, resources]) => [group as string, difference(this.#groups.get(group), resources)]),
    );
    for (const [group, resources] of made.changed) this.#groups.set(group, resources);
    for (const group of made.removed) this.#groups.delete(group);
    return {
      reach,
      built: less(builder.built, before.built),
      compiled: less(compiler.made, before.compiled),
      changed,
      removed: made.removed,
    };
  }

  /** The resources of the one group of an account. */
  of(account: string): Resources {
    const found = [...this.#groups].filter(([group]) => group.startsWith(`${account}/`)).map(([, r]) => r);
    if (found.length !== 1 || !found[0]) throw new Error(`${account} has ${found.length} groups`);
    return found[0];
  }

  get groups(): ReadonlyMap<string, Resources> {
    return this.#groups;
  }

  json(account: string, type: (typeof TYPES)[number], name: string): Json {
    const found = this.of(account)[type].get(name);
    if (!found) throw new Error(`${account} has no ${type} ${name}: ${[...this.of(account)[type].keys()].join(", ")}`);
    return jsonOf(found);
  }
}

/** `TYPE name` of what is new, other or gone. */
function difference(before: Resources | undefined, after: Resources): string[] {
  return TYPES.flatMap((type) => {
    const names = new Set([...(before?.[type].keys() ?? []), ...after[type].keys()]);
    return [...names]
      .filter((name) => before?.[type].get(name)?.version !== after[type].get(name)?.version)
      .map((name) => `${type} ${name}`);
  }).sort();
}

const less = (
  after: Readonly<Record<string, number>>,
  before: Readonly<Record<string, number>>,
): Record<string, number> =>
  Object.fromEntries(
    Object.entries(after)
      .map(([key, n]) => [key, n - (before[key] ?? 0)] as const)
      .filter(([, n]) => n !== 0),
  );
