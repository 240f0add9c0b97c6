/**
 * One namespace → its part of the Mesh. Splits and TrafficTargets speak of their own namespace only, so nothing in another one
 * matters here: a namespace in which nothing changed keeps its whole part.
 */
import { Lists, Memo, sameItems } from "../lib/memo.ts";
import type { GroupName, Identity, ServiceName } from "../world/names.ts";
import type { Problem, Service, TrafficSplit, TrafficTarget, Workload } from "../world/types.ts";
import { inNamespace, type World } from "../world/world.ts";
import { destinationOf, grantOf, portHints, rulesFor, type Grant } from "./access.ts";
import type { InboundPort, MeshPort, MeshService, ProxyPolicy, Rule } from "./ir.ts";
import { reachesWithin, type Reached, type Reaches } from "./outbound.ts";
import { conflicts, declaredPorts, type Declared, type DeclaredPort } from "./ports.ts";
import { hint } from "./problem.ts";
import { routesOf } from "./routes.ts";
import { backing, selects, type Backing } from "./services.ts";
import { orderSplits, readSplit, rootOf, routesOfPort, type UsableSplit } from "./splits.ts";

/** Everybody with an identity of the mesh may do everything. */
const OPEN: readonly Rule[] = Object.freeze([Object.freeze({})]);
const NOBODY: readonly Rule[] = Object.freeze([]);

/** What a group of equal proxies enforces: its policy without where it may go. */
export type Inbound = Omit<ProxyPolicy, "outbound">;

/** What a namespace brings to the Mesh. Each thing in it is the same object as before while it says the same. */
export interface Part {
  readonly services: ReadonlyMap<ServiceName, MeshService>;
  readonly groups: ReadonlyMap<GroupName, Inbound>;
  /** By workload key. */
  readonly groupOf: ReadonlyMap<string, GroupName>;
  /** Where clients of all namespaces may go in this one. */
  readonly reaches: Reaches;
  /** By step of the compiler, the order in which they are listed. */
  readonly problems: {
    readonly backings: readonly Problem[];
    readonly splits: readonly Problem[];
    readonly access: readonly Problem[];
  };
}

interface Account {
  /** By the port's `keyOf`. */
  readonly rules: ReadonlyMap<string, readonly Rule[]>;
  /** Whoever may do anything. */
  readonly callers: ReadonlySet<Identity>;
  readonly problems: readonly Problem[];
}

export class NamespaceCompiler {
  readonly #name: string;
  readonly #matching = new Memo<readonly Workload[]>();
  readonly #selected = new Lists<Workload>();
  readonly #backings = new Memo<Backing>();
  readonly #grants = new Memo<ReturnType<typeof grantOf>>();
  readonly #grantLists = new Lists<Grant>();
  readonly #splits = new Memo<ReturnType<typeof readSplit>>();
  readonly #services = new Memo<{ service: MeshService; problems: readonly Problem[] }>();
  readonly #declared = new Memo<Declared>();
  readonly #declaredLists = new Lists<readonly DeclaredPort[]>();
  readonly #accounts = new Memo<Account>();
  readonly #inbound = new Memo<readonly InboundPort[]>();
  readonly #groups = new Memo<Inbound>();
  readonly #reached = new Memo<Reached>();
  #inputs: readonly unknown[] = [];
  #part: Part | undefined;

  constructor(name: string) {
    this.#name = name;
  }

  /** What was really compiled since the start, by part. */
  get made(): Readonly<Record<string, number>> {
    return {
      services: this.#services.made,
      grants: this.#grants.made,
      splits: this.#splits.made,
      accounts: this.#accounts.made,
    };
  }

  /** The part as it is in this world; the same object while all that it is made of is the same. */
  compile(world: World, permissive: boolean): Part {
    const { Service, TrafficTarget, HTTPRouteGroup, TCPRoute, TrafficSplit } = world.tables;
    const tables = [Service, TrafficTarget, HTTPRouteGroup, TCPRoute, TrafficSplit, world.workloads];
    const inputs = [permissive, ...tables.map((table) => table.get(this.#name))];
    if (!this.#part || !sameItems(inputs, this.#inputs)) {
      this.#part = this.#compile(world, permissive);
      this.#inputs = inputs;
    }
    return this.#part;
  }

  #compile(world: World, permissive: boolean): Part {
    const problems = { backings: [] as Problem[], splits: [] as Problem[], access: [] as Problem[] };

    // 1. What stands behind each Service.
    const workloads = workloadsIn(world, this.#name);
    const backings = new Map<ServiceName, Backing>();
    const serving = new Map<Workload, Service[]>();
    for (const service of inNamespace(world.tables.Service, this.#name)) {
      const found = this.#backing(service, workloads);
      backings.set(service.name, found.backing);
      problems.backings.push(...found.backing.problems);
      for (const workload of found.selected) {
        const list = serving.get(workload);
        if (list) list.push(service);
        else serving.set(workload, [service]);
      }
    }

    // 2. Where calls to each Service go.
    const services = this.#meshServices(world, backings, problems.splits);

    // 3. Who may do what to each account.
    const meshed = workloads.filter((w) => w.meshed);
    const declared = new Map(meshed.map((w) => [w, this.#declaredPorts(w, serving.get(w) ?? [])]));
    const accounts = new Map<Identity, Account>();
    const byAccount = Map.groupBy(meshed, (w) => w.identity);
    const grants = this.#grantsOf(world, problems.access);
    for (const [account, own] of byAccount) {
      const list = this.#grantLists.get(account, grants.get(account) ?? []);
      const ports = own.map((w) => declared.get(w)?.ports ?? []);
      const found = this.#account(account, list, ports, own, serving, permissive);
      accounts.set(account, found);
      problems.access.push(...found.problems);
    }
    problems.access.push(...unknownAccounts(world, this.#name, byAccount));
    for (const group of inNamespace(world.tables.HTTPRouteGroup, this.#name))
      problems.access.push(...routesOf(group).problems);

    // 4. What each group of equal proxies enforces, and where clients may go.
    const groups = new Map<GroupName, Inbound>();
    const groupOf = new Map<string, GroupName>();
    for (const workload of meshed) {
      const found = this.#group(workload, declared.get(workload) as Declared, accounts);
      groups.set(found.group, found);
      groupOf.set(workload.key, found.group);
    }
    const callers = new Map([...accounts].map(([account, found]) => [account, found.callers]));
    const reaches = reachesWithin(services, callers, this.#reached);
    this.#sweep();
    const before = this.#part;
    return {
      services: kept(before?.services, services),
      groups: kept(before?.groups, groups),
      groupOf: kept(before?.groupOf, groupOf),
      reaches: kept(before?.reaches, reaches),
      problems,
    };
  }

  #backing(service: Service, workloads: readonly Workload[]): { selected: readonly Workload[]; backing: Backing } {
    const { name } = service;
    const matching = this.#matching.get(name, [service, workloads], () =>
      workloads.filter((w) => selects(service, w.labels)),
    );
    const selected = this.#selected.get(name, matching);
    return { selected, backing: this.#backings.get(name, [service, selected], () => backing(service, selected)) };
  }

  #meshServices(
    world: World,
    backings: ReadonlyMap<ServiceName, Backing>,
    problems: Problem[],
  ): Map<ServiceName, MeshService> {
    const groups = world.tables.HTTPRouteGroup.get(this.#name);
    const usable = new Map<ServiceName, UsableSplit[]>();
    for (const split of inNamespace(world.tables.TrafficSplit, this.#name)) {
      const deps = [split, ...involved(split, backings), ...(split.matches ?? []).map((name) => groups?.get(name))];
      const read = this.#splits.get(split.name, deps, () => readSplit(split, backings, groups));
      problems.push(...read.problems);
      if (!read.usable) continue;
      const list = usable.get(read.usable.root);
      if (list) list.push(read.usable);
      else usable.set(read.usable.root, [read.usable]);
    }
    const services = new Map<ServiceName, MeshService>();
    for (const self of backings.values()) {
      if (!self.inMesh) continue;
      const splits = usable.get(self.name) ?? [];
      const built = this.#services.get(self.name, [self, ...splits], () => meshService(self, splits));
      services.set(self.name, built.service);
      problems.push(...built.problems);
    }
    return services;
  }

  #grantsOf(world: World, problems: Problem[]): Map<Identity, Grant[]> {
    const tables = { groups: world.tables.HTTPRouteGroup.get(this.#name), tcp: world.tables.TCPRoute.get(this.#name) };
    const grants = new Map<Identity, Grant[]>();
    for (const target of inNamespace(world.tables.TrafficTarget, this.#name)) {
      const rules = target.rules.map((r) =>
        r.kind === "HTTPRouteGroup" ? tables.groups?.get(r.name) : tables.tcp?.get(r.name),
      );
      const read = this.#grants.get(target.name, [target, ...rules], () => grantOf(target, tables));
      problems.push(...read.problems);
      const account = read.grant && destinationOf(target);
      if (!read.grant || !account) continue;
      const list = grants.get(account);
      if (list) list.push(read.grant);
      else grants.set(account, [read.grant]);
    }
    return grants;
  }

  #declaredPorts(workload: Workload, services: readonly Service[]): Declared {
    return this.#declared.get(workload.key, [workload, ...services], () => declaredPorts(workload, services));
  }

  /** The rules of one account on each of its ports, and what is wrong with its ports. */
  #account(
    account: Identity,
    grants: readonly Grant[],
    ports: readonly (readonly DeclaredPort[])[],
    workloads: readonly Workload[],
    serving: ReadonlyMap<Workload, readonly Service[]>,
    permissive: boolean,
  ): Account {
    const lists = this.#declaredLists.get(account, ports);
    return this.#accounts.get(account, [grants, lists, permissive], () => {
      const all = lists.flat();
      const tcpPorts = new Set(all.map((p) => p.port));
      for (const { port, protocol, unclear } of all) if (protocol === "http" || unclear) tcpPorts.delete(port);
      const rules = new Map<string, readonly Rule[]>();
      for (const port of all)
        rules.set(keyOf(port), permissive ? OPEN : Object.freeze(rulesFor(grants, port, tcpPorts)));
      const callers = new Set([...rules.values()].flat().flatMap((rule) => rule.sources ?? []));
      const servicePorts = new Set(
        workloads.flatMap((w) => (serving.get(w) ?? []).flatMap((s) => s.ports.map((p) => p.port))),
      );
      const problems = [...portHints(grants, all, servicePorts), ...conflicts(workloads, serving)];
      return { rules, callers, problems };
    });
  }

  #group({ identity, metrics }: Workload, declared: Declared, accounts: ReadonlyMap<Identity, Account>): Inbound {
    const group = `${identity}/${declared.group}` as GroupName;
    const rules = declared.ports.map((p) => accounts.get(identity)?.rules.get(keyOf(p)) ?? NOBODY);
    const inbound = this.#inbound.get(group, [declared.hash, ...rules], () =>
      declared.ports.map((p, i) => ({ ...p, access: rules[i] ?? NOBODY })),
    );
    return this.#groups.get(group, [inbound, metrics], () => ({ group, identity, metrics, inbound }));
  }

  #sweep(): void {
    for (const memo of [
      this.#matching,
      this.#selected,
      this.#backings,
      this.#grants,
      this.#grantLists,
      this.#splits,
      this.#services,
      this.#declared,
      this.#declaredLists,
      this.#accounts,
      this.#inbound,
      this.#groups,
      this.#reached,
    ])
      memo.sweep();
  }
}

const keyOf = ({ port, protocol, unclear }: DeclaredPort): string => `${port}/${protocol}${unclear ? "/unclear" : ""}`;

/** The old map if the new one holds the same, in the same order. */
function kept<K, V>(before: ReadonlyMap<K, V> | undefined, now: ReadonlyMap<K, V>): ReadonlyMap<K, V> {
  if (before?.size !== now.size) return now;
  const old = before.entries();
  for (const [key, value] of now) {
    const [oldKey, oldValue] = old.next().value as [K, V];
    if (oldKey !== key || oldValue !== value) return now;
  }
  return before;
}

const NO_WORKLOADS: readonly Workload[] = Object.freeze([]);
const sorted = new WeakMap<ReadonlyMap<string, Workload>, readonly Workload[]>();

/** In an order that does not depend on which pod came first. Sorted once for each state of a namespace. */
function workloadsIn(world: World, namespace: string): readonly Workload[] {
  const found = world.workloads.get(namespace);
  if (!found) return NO_WORKLOADS;
  let list = sorted.get(found);
  if (!list) {
    list = [...found.values()].sort((a, b) =>
      a.identity === b.identity ? (a.key < b.key ? -1 : 1) : a.identity < b.identity ? -1 : 1,
    );
    sorted.set(found, list);
  }
  return list;
}

/** The backings that a split's text can lead to: what its reading depends on. */
function involved(split: TrafficSplit, backings: ReadonlyMap<ServiceName, Backing>): (Backing | undefined)[] {
  const root = rootOf(split);
  const named = split.backends.map((b) => rootOf({ ...split, service: b.service }));
  return [root, ...named].map((name) => (name ? backings.get(name) : undefined));
}

function meshService(
  self: Backing,
  splits: readonly UsableSplit[],
): { service: MeshService; problems: readonly Problem[] } {
  const { ordered, problems } = orderSplits(splits);
  const all = [...problems];
  const ports: MeshPort[] = self.ports.map((port) => {
    const { routes, problems: more } = routesOfPort(self, port, ordered);
    all.push(...more);
    return { ...port, routes };
  });
  const { name, identities, service } = self;
  return {
    problems: all,
    service: Object.freeze({ name, clusterIPs: service.clusterIPs, headless: service.headless, identities, ports }),
  };
}

function unknownAccounts(world: World, namespace: string, accounts: ReadonlyMap<Identity, unknown>): Problem[] {
  const problems: Problem[] = [];
  for (const target of inNamespace(world.tables.TrafficTarget, namespace) as Iterable<TrafficTarget>) {
    const account = destinationOf(target);
    if (account === undefined || accounts.has(account)) continue;
    const message = `no pod in the mesh runs as ServiceAccount "${target.destination.name}": the target takes effect when one does.`;
    problems.push(hint("unknown-account", "TrafficTarget", target, "spec.destination.name", message));
  }
  return problems;
}
