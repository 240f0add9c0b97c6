/**
 * Where each account may go: Services with a pod that it may call, roots of splits that lead there, and the backends behind these.
 * Clients of one namespace with the same reach share one object.
 */
import { hash } from "../lib/hash.ts";
import { Memo, sameItems } from "../lib/memo.ts";
import { namespaceOf, type Identity, type ServiceName } from "../world/names.ts";
import type { MeshService, Outbound } from "./ir.ts";

/** Where a client may go among some Services. */
export interface Reached {
  readonly services: readonly MeshService[];
  /** Services that splits of `services` lead to and that are not among them. */
  readonly backends: readonly MeshService[];
}

/** By client. One that may go nowhere has no entry. */
export type Reaches = ReadonlyMap<Identity, Reached>;

/**
 * Where clients may go within one namespace: splits do not leave it, so no other one matters.
 * @param callers - by account of the namespace: who may call it
 * @param known - keeps a client's entry the same object while it holds the same Services
 */
export function reachesWithin(
  services: ReadonlyMap<ServiceName, MeshService>,
  callers: ReadonlyMap<Identity, ReadonlySet<Identity>>,
  known: Memo<Reached>,
): Reaches {
  const byAccount = new Map<Identity, Set<MeshService>>();
  const rootsOf = new Map<ServiceName, MeshService[]>();
  for (const service of services.values())
    for (const backend of backendsOf(service)) if (backend !== service.name) push(rootsOf, backend, service);
  for (const service of services.values()) {
    for (const account of service.identities) {
      const found = byAccount.get(account) ?? new Set();
      byAccount.set(account, found);
      for (const one of [service, ...(rootsOf.get(service.name) ?? [])]) found.add(one);
    }
  }
  const open = new Map<Identity, MeshService[]>();
  for (const [account, clients] of callers) {
    const found = byAccount.get(account);
    if (found) for (const client of clients) for (const service of found) push(open, client, service);
  }
  const reaches = new Map<Identity, Reached>();
  for (const [client, list] of open) {
    const reached = list.length > 1 ? [...new Set(list)].sort(byName) : list;
    const backends = beyond(reached, services);
    const deps = [reached.length, ...reached, ...backends];
    reaches.set(
      client,
      known.get(client, deps, () => ({ services: reached, backends })),
    );
  }
  return reaches;
}

export class Reach {
  readonly #shared = new Map<string, Outbound>();
  #parts: ReadonlyMap<string, Reaches> = new Map();
  #everything: ReadonlyMap<ServiceName, MeshService> | undefined;
  /** What all clients reach in permissive mode. */
  #all: (Reached & { key: string }) | undefined;
  /** Of the clients of the last round. */
  #outbounds = new Map<Identity, Outbound>();
  #asked = new Map<Identity, Outbound>();
  #made = 0;

  /** Outbounds made since the start. */
  get made(): number {
    return this.#made;
  }

  /**
   * Starts a round: clients of which any namespace says something else than before are looked at again.
   * @param parts - where clients may go, by the namespace in which that is
   * @param everything - all Services, when everybody may call everything (permissive mode)
   */
  begin(
    parts: ReadonlyMap<string, Reaches>,
    everything: ReadonlyMap<ServiceName, MeshService> | undefined,
  ): (client: Identity) => Outbound {
    if (everything !== this.#everything) {
      const services = [...(everything?.values() ?? [])];
      this.#all = everything && { services, backends: [], key: keyOf(services, []) };
      this.#outbounds.clear();
    }
    for (const client of moved(this.#parts, parts)) this.#outbounds.delete(client);
    this.#everything = everything;
    this.#parts = parts;
    return (client) => {
      const outbound = this.#outbounds.get(client) ?? this.#outbound(client);
      this.#asked.set(client, outbound);
      return outbound;
    };
  }

  sweep(): void {
    const live = new Set(this.#asked.values());
    for (const [place, outbound] of this.#shared) if (!live.has(outbound)) this.#shared.delete(place);
    this.#outbounds = this.#asked;
    this.#asked = new Map();
  }

  #outbound(client: Identity): Outbound {
    const { services, backends, key } = this.#all ?? this.#joined(client);
    const namespace = namespaceOf(client);
    const place = `${namespace}/${key}`;
    const known = this.#shared.get(place);
    if (known && sameItems(known.services, services) && sameItems(known.backends, backends)) return known;
    const made = Object.freeze({ key, namespace, services, backends });
    this.#made++;
    this.#shared.set(place, made);
    return made;
  }

  #joined(client: Identity): Reached & { key: string } {
    const found = [...this.#parts.values()].map((reaches) => reaches.get(client)).filter((r) => r !== undefined);
    const services = found.flatMap((r) => r.services).sort(byName);
    const backends = found.flatMap((r) => r.backends).sort(byName);
    return { services, backends, key: keyOf(services, backends) };
  }
}

/** Clients of which a namespace says something else than before. */
function* moved(before: ReadonlyMap<string, Reaches>, after: ReadonlyMap<string, Reaches>): Generator<Identity> {
  for (const namespace of new Set([...before.keys(), ...after.keys()])) {
    const [a, b] = [before.get(namespace), after.get(namespace)];
    if (a === b) continue;
    for (const [client, reached] of b ?? []) if (a?.get(client) !== reached) yield client;
    for (const client of a?.keys() ?? []) if (!b?.has(client)) yield client;
  }
}

const keyOf = (services: readonly MeshService[], backends: readonly MeshService[]): string =>
  hash([...services.map((s) => s.name), "|", ...backends.map((s) => s.name)].join(","));

/** Backends that are not in the list themselves, by name. */
function beyond(list: readonly MeshService[], services: ReadonlyMap<ServiceName, MeshService>): MeshService[] {
  const own = new Set(list);
  const found = new Set<MeshService>();
  for (const service of list)
    for (const name of backendsOf(service)) {
      const backend = services.get(name);
      if (backend && !own.has(backend)) found.add(backend);
    }
  return [...found].sort(byName);
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
