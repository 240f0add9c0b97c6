/**
 * World → Mesh: each namespace by itself, then what they are together. Pure in effect: the same world gives the same mesh whatever
 * came before; what did not change since the last round keeps its object, so a change costs what it touches.
 */
import { Lists, Memo } from "../lib/memo.ts";
import type { GroupName, ServiceName } from "../world/names.ts";
import { settingsOf, type World } from "../world/world.ts";
import type { Compiled, Mesh, MeshService, ProxyPolicy } from "./ir.ts";
import { NamespaceCompiler, type Part } from "./namespace.ts";
import { Reach } from "./outbound.ts";

export class Compiler {
  readonly #namespaces = new Map<string, NamespaceCompiler>();
  readonly #services = new Memo<ReadonlyMap<ServiceName, MeshService>>();
  readonly #groupOf = new Memo<ReadonlyMap<string, GroupName>>();
  readonly #groups = new Memo<ProxyPolicy>();
  readonly #reach = new Reach();
  readonly #portLists = new Lists<number>();
  /** What namespaces that are gone had made. */
  #gone: Readonly<Record<string, number>> = {};

  /** What was really compiled since the compiler exists, by part: the figures of "a change costs what it touches". */
  get made(): Readonly<Record<string, number>> {
    let made = this.#gone;
    for (const namespace of this.#namespaces.values()) made = added(made, namespace.made);
    return {
      services: 0,
      grants: 0,
      splits: 0,
      accounts: 0,
      ...made,
      outbounds: this.#reach.made,
      groups: this.#groups.made,
    };
  }

  compile(world: World): Compiled {
    const settings = settingsOf(world);
    const byNamespace = this.#parts(world, settings.permissive);
    const parts = [...byNamespace.values()];

    const services = joined(
      this.#services,
      parts.map((p) => p.services),
    );
    const groupOf = joined(
      this.#groupOf,
      parts.map((p) => p.groupOf),
    );
    const reaches = new Map([...byNamespace].map(([namespace, part]) => [namespace, part.reaches]));
    const outboundOf = this.#reach.begin(reaches, settings.permissive ? services : undefined);
    const groups = new Map<GroupName, ProxyPolicy>();
    for (const part of parts) {
      for (const own of part.groups.values()) {
        const outbound = outboundOf(own.identity);
        const policy = this.#groups.get(own.group, [own, outbound], () => Object.freeze({ ...own, outbound }));
        groups.set(own.group, policy);
      }
    }
    const mesh: Mesh = { settings, services, groups, groupOf, ...this.#ports(services) };
    for (const memo of [this.#services, this.#groupOf, this.#groups, this.#reach, this.#portLists]) memo.sweep();
    const problems = (["backings", "splits", "access"] as const).flatMap((step) =>
      parts.flatMap((part) => part.problems[step]),
    );
    return { mesh, problems };
  }

  /** The monitored namespaces' parts, in order of name. */
  #parts(world: World, permissive: boolean): ReadonlyMap<string, Part> {
    const parts = new Map<string, Part>();
    const monitored = [...(world.tables.Namespace.get("")?.values() ?? [])].filter((n) => n.monitored);
    for (const name of monitored.map((n) => n.name).sort()) {
      let compiler = this.#namespaces.get(name);
      if (!compiler) this.#namespaces.set(name, (compiler = new NamespaceCompiler(name)));
      parts.set(name, compiler.compile(world, permissive));
    }
    for (const [name, compiler] of this.#namespaces) {
      if (parts.has(name)) continue;
      this.#gone = added(this.#gone, compiler.made);
      this.#namespaces.delete(name);
    }
    return parts;
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
}

/** Compiles one world from nothing. */
export const compile = (world: World): Compiled => new Compiler().compile(world);

/** Maps of different keys as one; the same one while they are the same. */
const joined = <K, V>(memo: Memo<ReadonlyMap<K, V>>, maps: readonly ReadonlyMap<K, V>[]): ReadonlyMap<K, V> =>
  memo.get("", maps, () => {
    const all = new Map<K, V>();
    for (const map of maps) for (const [key, value] of map) all.set(key, value);
    return all;
  });

const added = (a: Readonly<Record<string, number>>, b: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(b).map(([name, count]) => [name, count + (a[name] ?? 0)]));
