/**
 * Where each account may go: Services with a pod that it may call, roots of splits that lead there, and the backends behind these.
 * Clients of one namespace with the same reach share one object.
 */
import { hash } from "../lib/hash.ts";
import { Lists, Memo, sameItems } from "../lib/memo.ts";
import { namespaceOf, type Identity, type ServiceName } from "../world/names.ts";
import type { MeshService, Outbound } from "./ir.ts";

export class Reach {
  readonly #lists = new Lists<MeshService>();
  readonly #shared = new Memo<Outbound>();
  #everything: readonly MeshService[] = [];

  get made(): number {
    return this.#shared.made;
  }

  /**
   * Starts a round.
   * @param reach - whom each account may call; undefined: everybody may call everything (permissive mode)
   */
  begin(
    services: ReadonlyMap<ServiceName, MeshService>,
    reach: ReadonlyMap<Identity, ReadonlySet<Identity>> | undefined,
  ): (client: Identity) => Outbound {
    const all = [...services.values()];
    if (!sameItems(all, this.#everything)) this.#everything = all;
    const byAccount = new Map<Identity, MeshService[]>();
    const rootsOf = new Map<ServiceName, Set<MeshService>>();
    for (const service of all) {
      for (const account of service.identities) push(byAccount, account, service);
      for (const backend of backendsOf(service)) {
        if (backend === service.name) continue;
        const roots = rootsOf.get(backend);
        if (roots) roots.add(service);
        else rootsOf.set(backend, new Set([service]));
      }
    }
    return (client) => {
      if (!reach) return this.#outbound(client, this.#everything, services);
      const found = new Set<MeshService>();
      for (const account of reach.get(client) ?? []) {
        for (const service of byAccount.get(account) ?? []) {
          found.add(service);
          for (const root of rootsOf.get(service.name) ?? []) found.add(root);
        }
      }
      return this.#outbound(client, [...found], services);
    };
  }

  sweep(): void {
    this.#lists.sweep();
    this.#shared.sweep();
  }

  #outbound(
    client: Identity,
    reached: readonly MeshService[],
    services: ReadonlyMap<ServiceName, MeshService>,
  ): Outbound {
    const namespace = namespaceOf(client);
    const list = reached === this.#everything ? reached : this.#lists.get(client, [...reached].sort(byName));
    const { key, beyond } = factsOf(list);
    // Looked up anew each round: a backend may be another object while the roots that lead to it are the same.
    const backends = this.#lists.get(
      `${client} backends`,
      beyond.map((name) => services.get(name)).filter((s) => s !== undefined),
    );
    return this.#shared.get(`${namespace}/${key}`, [...list, ...backends], () =>
      Object.freeze({ key, namespace, services: list, backends }),
    );
  }
}

interface Facts {
  readonly key: string;
  /** Backends that are not in the list themselves, by name. */
  readonly beyond: readonly ServiceName[];
}

const facts = new WeakMap<readonly MeshService[], Facts>();

/** What follows from a list of Services alone. Found once for each list: in permissive mode all clients have the same one. */
function factsOf(list: readonly MeshService[]): Facts {
  let found = facts.get(list);
  if (!found) {
    const names = list.map((s) => s.name);
    const beyond = [...new Set(list.flatMap((s) => [...backendsOf(s)])).difference(new Set(names))].sort();
    facts.set(list, (found = { key: hash([...names, "|", ...beyond].join(",")), beyond }));
  }
  return found;
}

function* backendsOf(service: MeshService): Generator<ServiceName> {
  for (const port of service.ports)
    for (const route of port.routes) for (const backend of route.backends) yield backend.service;
}

const byName = (a: MeshService, b: MeshService): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
