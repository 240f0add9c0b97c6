/**
 * World → Mesh, in a listed order of steps. Pure in effect: the same world gives the same mesh whatever came before;
 * what did not change since the last round keeps its object, so a change costs what it touches.
 */
import { contentHash } from "../lib/hash.ts";
import { Lists, Memo } from "../lib/memo.ts";
import { localName, namespaceOf, type GroupName, type Identity, type ServiceName } from "../world/names.ts";
import type { Problem, Service, TrafficSplit, TrafficTarget, Workload } from "../world/types.ts";
import { inNamespace, settingsOf, type World } from "../world/world.ts";
import { destinationOf, grantOf, portHints, rulesFor, type Grant } from "./access.ts";
import type { Compiled, InboundPort, Mesh, MeshPort, MeshService, Protocol, ProxyPolicy, Rule } from "./ir.ts";
import { Reach } from "./outbound.ts";
import { fault, hint } from "./problem.ts";
import { routesOf } from "./routes.ts";
import { backing, podPort, protocolOf, selects, type Backing } from "./services.ts";
import { orderSplits, readSplit, rootOf, routesOfPort, type UsableSplit } from "./splits.ts";

/** Everybody with an identity of the mesh may do everything. */
const OPEN: readonly Rule[] = Object.freeze([Object.freeze({})]);
const NOBODY: readonly Rule[] = Object.freeze([]);

/** The ports of a workload, with hashes of them, made once. */
interface Declared {
  readonly ports: readonly DeclaredPort[];
  readonly hash: string;
  /** Of the ports and of whether the workload is scraped: equal proxies of an account have equal ones. */
  readonly group: string;
}

/** A pod port as all Services before it see it. */
interface DeclaredPort {
  readonly port: number;
  readonly protocol: Protocol;
  readonly services: readonly ServiceName[];
}

export class Compiler {
  readonly #matching = new Memo<readonly Workload[]>();
  readonly #selected = new Lists<Workload>();
  readonly #backings = new Memo<Backing>();
  readonly #grants = new Memo<ReturnType<typeof grantOf>>();
  readonly #grantLists = new Lists<Grant>();
  readonly #splits = new Memo<ReturnType<typeof readSplit>>();
  readonly #services = new Memo<{ service: MeshService; problems: readonly Problem[] }>();
  readonly #declared = new Memo<Declared>();
  readonly #declaredLists = new Lists<readonly DeclaredPort[]>();
  readonly #accounts = new Memo<{ rules: ReadonlyMap<string, readonly Rule[]>; problems: readonly Problem[] }>();
  readonly #inbound = new Memo<readonly InboundPort[]>();
  readonly #groups = new Memo<ProxyPolicy>();
  readonly #reach = new Reach();
  readonly #portLists = new Lists<number>();

  /** What was really compiled since the compiler exists, by part: the figures of "a change costs what it touches". */
  get made(): Readonly<Record<string, number>> {
    return {
      services: this.#services.made,
      grants: this.#grants.made,
      splits: this.#splits.made,
      accounts: this.#accounts.made,
      outbounds: this.#reach.made,
      groups: this.#groups.made,
    };
  }

  compile(world: World): Compiled {
    const problems: Problem[] = [];
    const settings = settingsOf(world);
    const monitored = [...(world.tables.Namespace.get("")?.values() ?? [])]
      .filter((n) => n.monitored)
      .map((n) => n.name)
      .sort();

    // 1. What stands behind each Service.
    const backings = new Map<ServiceName, Backing>();
    const serving = new Map<Workload, Service[]>();
    for (const namespace of monitored) {
      for (const found of this.#backingsOf(world, namespace, serving)) {
        backings.set(found.name, found);
        problems.push(...found.problems);
      }
    }

    // 2. Where calls to each Service go.
    const services = new Map<ServiceName, MeshService>();
    for (const namespace of monitored) problems.push(...this.#meshServices(world, namespace, backings, services));

    // 3. Who may do what to each account.
    const workloads = monitored.flatMap((ns) => workloadsIn(world, ns).filter((w) => w.meshed));
    const declared = new Map(workloads.map((w) => [w, this.#declaredPorts(w, serving.get(w) ?? [])]));
    const byAccount = Map.groupBy(workloads, (w) => w.identity);
    const accounts = Map.groupBy(byAccount, ([account]) => namespaceOf(account));
    const access = new Map<Identity, ReadonlyMap<string, readonly Rule[]>>();
    for (const namespace of monitored) {
      const grants = this.#grantsOf(world, namespace, problems);
      for (const [account, own] of accounts.get(namespace) ?? []) {
        const list = this.#grantLists.get(account, grants.get(account) ?? []);
        const ports = own.map((w) => declared.get(w)?.ports ?? []);
        const found = this.#account(account, list, ports, own, serving, settings.permissive);
        access.set(account, found.rules);
        problems.push(...found.problems);
      }
      problems.push(...unknownAccounts(world, namespace, byAccount));
      for (const group of inNamespace(world.tables.HTTPRouteGroup, namespace))
        problems.push(...routesOf(group).problems);
    }

    // 4. What each group of equal proxies gets.
    const reach = settings.permissive ? undefined : clientsByAccount(access);
    const lookup = this.#reach.begin(services, reach);
    const groups = new Map<GroupName, ProxyPolicy>();
    const groupOf = new Map<string, GroupName>();
    for (const workload of workloads) {
      const policy = this.#group(workload, declared.get(workload) as Declared, access, lookup);
      groups.set(policy.group, policy);
      groupOf.set(workload.key, policy.group);
    }
    const mesh: Mesh = { settings, services, groups, groupOf, ...this.#ports(services) };
    this.#sweep();
    return { mesh, problems };
  }

  #backingsOf(world: World, namespace: string, serving: Map<Workload, Service[]>): Backing[] {
    const workloads = workloadsIn(world, namespace);
    const found: Backing[] = [];
    for (const service of inNamespace(world.tables.Service, namespace)) {
      const selected = this.#selected.get(
        service.name,
        this.#matching.get(service.name, [service, workloads], () =>
          workloads.filter((w) => selects(service, w.labels)),
        ),
      );
      for (const workload of selected) {
        const list = serving.get(workload);
        if (list) list.push(service);
        else serving.set(workload, [service]);
      }
      found.push(this.#backings.get(service.name, [service, selected], () => backing(service, selected)));
    }
    return found;
  }

  #meshServices(
    world: World,
    namespace: string,
    backings: ReadonlyMap<ServiceName, Backing>,
    into: Map<ServiceName, MeshService>,
  ): readonly Problem[] {
    const problems: Problem[] = [];
    const groups = world.tables.HTTPRouteGroup.get(namespace);
    const usable = new Map<ServiceName, UsableSplit[]>();
    for (const split of inNamespace(world.tables.TrafficSplit, namespace)) {
      const deps = [split, ...involved(split, backings), ...(split.matches ?? []).map((name) => groups?.get(name))];
      const read = this.#splits.get(`${namespace}/${split.name}`, deps, () => readSplit(split, backings, groups));
      problems.push(...read.problems);
      if (!read.usable) continue;
      const list = usable.get(read.usable.root);
      if (list) list.push(read.usable);
      else usable.set(read.usable.root, [read.usable]);
    }
    for (const service of inNamespace(world.tables.Service, namespace)) {
      const self = backings.get(service.name);
      if (!self?.inMesh) continue;
      const splits = usable.get(service.name) ?? [];
      const built = this.#services.get(service.name, [self, ...splits], () => meshService(self, splits));
      into.set(service.name, built.service);
      problems.push(...built.problems);
    }
    return problems;
  }

  #grantsOf(world: World, namespace: string, problems: Problem[]): Map<Identity, Grant[]> {
    const tables = { groups: world.tables.HTTPRouteGroup.get(namespace), tcp: world.tables.TCPRoute.get(namespace) };
    const grants = new Map<Identity, Grant[]>();
    for (const target of inNamespace(world.tables.TrafficTarget, namespace)) {
      const rules = target.rules.map((r) =>
        r.kind === "HTTPRouteGroup" ? tables.groups?.get(r.name) : tables.tcp?.get(r.name),
      );
      const read = this.#grants.get(`${namespace}/${target.name}`, [target, ...rules], () => grantOf(target, tables));
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
    return this.#declared.get(workload.key, [workload, ...services], () => {
      const ports = new Map<number, { protocol: Protocol; services: ServiceName[] }>();
      for (const service of services) {
        for (const port of service.ports) {
          const number = port.protocol === "TCP" ? podPort(port, workload) : undefined;
          if (number === undefined) continue;
          const protocol = protocolOf(port) ?? "tcp";
          const known = ports.get(number);
          if (!known) ports.set(number, { protocol, services: [service.name] });
          else {
            if (!known.services.includes(service.name)) known.services.push(service.name);
            known.protocol = narrower(known.protocol, protocol);
          }
        }
      }
      const declared = [...ports]
        .sort(([a], [b]) => a - b)
        .map(([port, { protocol, services: names }]) => ({ port, protocol, services: names.sort() }));
      const group = contentHash({ declared, metrics: workload.metrics }).slice(0, 10);
      return { ports: declared, hash: contentHash(declared), group };
    });
  }

  /** The rules of one account on each of its ports, by `port/protocol`, and what is wrong with its ports. */
  #account(
    account: Identity,
    grants: readonly Grant[],
    ports: readonly (readonly DeclaredPort[])[],
    workloads: readonly Workload[],
    serving: ReadonlyMap<Workload, readonly Service[]>,
    permissive: boolean,
  ) {
    const lists = this.#declaredLists.get(account, ports);
    return this.#accounts.get(account, [grants, lists, permissive], () => {
      const all = lists.flat();
      const httpPorts = all.filter((p) => p.protocol === "http").map((p) => p.port);
      const rules = new Map<string, readonly Rule[]>();
      for (const { port, protocol } of all) {
        rules.set(
          `${port}/${protocol}`,
          permissive ? OPEN : Object.freeze(rulesFor(grants, port, protocol, httpPorts)),
        );
      }
      const servicePorts = new Set(
        workloads.flatMap((w) => (serving.get(w) ?? []).flatMap((s) => s.ports.map((p) => p.port))),
      );
      return { rules, problems: [...portHints(grants, all, servicePorts), ...conflicts(workloads, serving)] };
    });
  }

  #group(
    workload: Workload,
    declared: Declared,
    access: ReadonlyMap<Identity, ReadonlyMap<string, readonly Rule[]>>,
    lookup: ReturnType<Reach["begin"]>,
  ): ProxyPolicy {
    const { identity, metrics } = workload;
    const group = `${identity}/${declared.group}` as GroupName;
    const rules = declared.ports.map((p) => access.get(identity)?.get(`${p.port}/${p.protocol}`) ?? NOBODY);
    const inbound = this.#inbound.get(group, [declared.hash, ...rules], () =>
      declared.ports.map((p, i) => ({ ...p, access: rules[i] ?? NOBODY })),
    );
    const outbound = lookup(identity);
    return this.#groups.get(group, [inbound, outbound, metrics], () =>
      Object.freeze({ group, identity, metrics, inbound, outbound }),
    );
  }

  #ports(services: ReadonlyMap<ServiceName, MeshService>): Pick<Mesh, "httpPorts" | "tcpPorts"> {
    const http = new Set<number>();
    const tcp = new Set<number>();
    for (const { ports } of services.values())
      for (const { port, protocol } of ports) (protocol === "http" ? http : tcp).add(port);
    const sorted = (name: string, set: Set<number>) =>
      this.#portLists.get(
        name,
        [...set].sort((a, b) => a - b),
      );
    return { httpPorts: sorted("http", http), tcpPorts: sorted("tcp", tcp) };
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
      this.#reach,
      this.#portLists,
    ])
      memo.sweep();
  }
}

/** Compiles one world from nothing. */
export const compile = (world: World): Compiled => new Compiler().compile(world);

const sorted = new WeakMap<ReadonlyMap<string, Workload>, readonly Workload[]>();
const NO_WORKLOADS: readonly Workload[] = Object.freeze([]);

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

/** Where two Services disagree about a pod's port, it is taken as TCP, which HTTP rules do not open. */
const narrower = (a: Protocol, b: Protocol): Protocol =>
  a === b ? a : a === "tcp-server-first" || b === "tcp-server-first" ? "tcp-server-first" : "tcp";

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

function conflicts(workloads: readonly Workload[], serving: ReadonlyMap<Workload, readonly Service[]>): Problem[] {
  const problems = new Map<string, Problem>();
  for (const workload of workloads) {
    const seen = new Map<number, { protocol: Protocol; service: Service }>();
    for (const service of serving.get(workload) ?? []) {
      for (const [i, port] of service.ports.entries()) {
        const number = port.protocol === "TCP" ? podPort(port, workload) : undefined;
        const protocol = protocolOf(port) ?? "tcp";
        if (number === undefined) continue;
        const first = seen.get(number);
        if (!first) seen.set(number, { protocol, service });
        else if (first.protocol !== protocol) {
          const about = { namespace: namespaceOf(service.name), name: localName(service.name) };
          const message = `pods' port ${number} is ${protocol} here and ${first.protocol} in Service "${localName(first.service.name)}": it is treated as TCP, which HTTP rules do not open. Declare one protocol.`;
          problems.set(
            `${service.name}/${i}`,
            fault("protocol-conflict", "Service", about, `spec.ports[${i}]`, message),
          );
        }
      }
    }
  }
  return [...problems.values()];
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

/** For each account that is a source somewhere: the accounts that it may call. */
function clientsByAccount(
  access: ReadonlyMap<Identity, ReadonlyMap<string, readonly Rule[]>>,
): ReadonlyMap<Identity, ReadonlySet<Identity>> {
  const reach = new Map<Identity, Set<Identity>>();
  for (const [account, ports] of access) {
    for (const rules of ports.values()) {
      for (const source of rules.flatMap((r) => r.sources ?? [])) {
        const list = reach.get(source);
        if (list) list.add(account);
        else reach.set(source, new Set([account]));
      }
    }
  }
  return reach;
}
