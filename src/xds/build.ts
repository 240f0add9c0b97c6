/**
 * Mesh and endpoints → all resources of each group of proxies. What did not change keeps its object: a resource's bytes are made once,
 * and shared by every group that has it.
 */
import { contentHash } from "../lib/hash.ts";
import { Lists, Memo } from "../lib/memo.ts";
import type { Mesh, MeshPort, MeshService, Outbound, ProxyPolicy, Rule } from "../policy/ir.ts";
import { namespaceOf, principalDnsName, serviceFqdn, type GroupName, type ServiceName } from "../world/names.ts";
import type { EndpointSlice } from "../world/types.ts";
import type { World } from "../world/world.ts";
import { localCluster, metricsCluster, passthroughCluster, serviceCluster } from "./clusters.ts";
import { addressesOf, changedServices, loadAssignment, slicesOf } from "./endpoints.ts";
import { inboundListener } from "./inbound.ts";
import { same, withThese } from "./maps.ts";
import { backendClusterName, clusterName, localClusterName, OWN_CERTIFICATE, spreadClusterName } from "./names.ts";
import { outboundListener } from "./outbound.ts";
import { prometheusListener } from "./prometheus.ts";
import { reached, Reaches } from "./reaches.ts";
import { TYPES, type Resource, type ResourceMap, type Resources } from "./resource.ts";
import { inboundRoutes, outboundRoutes } from "./routes.ts";
import { inboundValidation, outboundValidation, type Trust } from "./tls.ts";

/** What one round made: groups whose resources are other than before, and groups that are no more. */
export interface Built {
  readonly changed: ReadonlyMap<GroupName, Resources>;
  readonly removed: readonly GroupName[];
}

interface State {
  readonly mesh: Mesh;
  /** Whose endpoints are in `groups`. */
  readonly world: World;
  readonly trust: Trust;
  readonly groups: ReadonlyMap<GroupName, Resources>;
}

/** What clients get of a Service that they reach. */
interface OfService {
  /** Undefined: clusters of a TCP port are another for each client. */
  readonly clusters: readonly Resource[] | undefined;
  readonly endpoints: readonly Resource[];
  readonly validation: Resource;
}

export class Builder {
  readonly #resources = new Memo<Resource>();
  readonly #optional = new Memo<Resource | undefined>();
  readonly #maps = new Memo<ResourceMap>();
  readonly #groups = new Memo<Resources>();
  readonly #slices = new Lists<EndpointSlice>();
  readonly #pods = new Lists<string>();
  /** The one source of truth of endpoints: the fast path replaces entries of it. */
  readonly #assignments = new Map<string, { slices: readonly EndpointSlice[]; portName: string; resource: Resource }>();
  /** Clusters of headless Services that splits lead to. */
  #spread: ReadonlySet<string> = new Set();
  readonly #memos = [this.#resources, this.#optional, this.#maps, this.#groups, this.#slices, this.#pods];
  /** Entries of the memos after the last sweep. */
  #swept = 0;
  #built: Record<string, number> = {};
  #hasIPv6 = false;
  #state: State | undefined;
  /** To which groups the endpoints of the state's mesh go. */
  readonly #reaches = new Reaches();
  /** Of the round that is being built: many clients have them. */
  readonly #ofServices = new Map<MeshService, OfService>();

  /** Resources encoded since the builder exists, by type. */
  get built(): Readonly<Record<string, number>> {
    return { ...this.#built };
  }

  /** Whether any resource has, or had, an IPv6 address in it. */
  get hasIPv6(): boolean {
    return this.#hasIPv6;
  }

  /** The resources of a group as last built: with the addresses of both families. */
  resources(group: GroupName): Resources | undefined {
    return this.#state?.groups.get(group);
  }

  /** The slow path: a mesh, whatever changed in it. Groups whose policy is the same object keep what they have, but for endpoints. */
  mesh(mesh: Mesh, world: World, trust: Trust): Built {
    const before = this.#state;
    const spread = before?.mesh.services === mesh.services ? this.#spread : spreadClusters(mesh);
    const sameSpread = spread.symmetricDifference(this.#spread).size === 0;
    this.#spread = spread;
    const kept = before && sameSpread && !this.#grown() && sameGround(before, mesh, trust) ? before.mesh : undefined;
    if (!kept) for (const memo of this.#memos) memo.begin();
    this.#ofServices.clear();
    // Of a Service that is another one all clients are built again.
    const services = kept ? [...changedServices(before?.world ?? world, world)] : [];
    const current =
      before &&
      this.#withEndpoints(
        before,
        world,
        services.filter((name) => mesh.services.get(name) === kept?.services.get(name)),
      );
    const groups = new Map<GroupName, Resources>();
    const changed = new Map<GroupName, Resources>();
    for (const policy of mesh.groups.values()) {
      const { group } = policy;
      const ready = kept?.groups.get(group) === policy ? current?.get(group) : undefined;
      const resources = ready ?? this.#group(policy, mesh, world, trust);
      groups.set(group, resources);
      if (before?.groups.get(group) !== resources) changed.set(group, resources);
    }
    this.#reaches.update(before?.mesh, mesh);
    if (!kept) this.#sweep();
    const removed = [...(before?.groups.keys() ?? [])].filter((group) => !groups.has(group));
    this.#state = { mesh, world, trust, groups };
    this.#ofServices.clear();
    return { changed, removed };
  }

  /** The fast path: endpoints of these Services changed, the mesh did not. Touches only groups that refer to them. */
  endpoints(world: World, services: Iterable<ServiceName>): Built {
    const state = this.#state;
    if (!state) return { changed: new Map(), removed: [] };
    const groups = this.#withEndpoints(state, world, services);
    const changed = new Map([...groups].filter(([group, resources]) => state.groups.get(group) !== resources));
    this.#state = { ...state, world, groups };
    return { changed, removed: [] };
  }

  /** The groups' resources with these Services' endpoints as they are now. */
  #withEndpoints(
    { mesh, groups }: State,
    world: World,
    services: Iterable<ServiceName>,
  ): ReadonlyMap<GroupName, Resources> {
    const replaced = new Map<string, Resource[]>();
    const headless = new Set<string>();
    for (const name of services) {
      const service = mesh.services.get(name);
      const keys = this.#reaches.of(name);
      if (!service) continue;
      if (service.headless && service.ports.some((p) => p.protocol !== "http"))
        for (const key of keys) headless.add(key);
      for (const { cluster, port } of keys.size > 0 ? this.#fed(service) : []) {
        const made = this.#assignment(service, cluster, port, world);
        for (const key of keys) replaced.set(key, [...(replaced.get(key) ?? []), made]);
      }
    }
    if (replaced.size === 0 && headless.size === 0) return groups;
    const next = new Map(groups);
    for (const [key, resources] of replaced) {
      let shared: { from: ResourceMap; to: ResourceMap } | undefined;
      for (const group of this.#reaches.groups(key)) {
        const old = groups.get(group);
        if (!old) continue;
        if (shared?.from !== old.EDS) shared = { from: old.EDS, to: withThese(old.EDS, resources) };
        if (shared.to !== old.EDS) next.set(group, Object.freeze({ ...old, EDS: shared.to }));
      }
    }
    for (const group of [...headless].flatMap((key) => [...this.#reaches.groups(key)])) {
      const old = next.get(group);
      const policy = mesh.groups.get(group);
      if (!old || !policy) continue;
      const LDS = withThese(old.LDS, [this.#outboundListener(policy.outbound, mesh, world)]);
      if (LDS !== old.LDS) next.set(group, Object.freeze({ ...old, LDS }));
    }
    return next;
  }

  #group(policy: ProxyPolicy, mesh: Mesh, world: World, trust: Trust): Resources {
    const { group, identity, inbound, outbound, metrics } = policy;
    const { egress } = mesh.settings;
    const own = inbound.flatMap((p) =>
      p.services.map((s) => this.#made(`CDS ${localClusterName(s, p.port)}`, [], () => localCluster(s, p.port))),
    );
    const scraped = metrics
      ? [this.#made("CDS metrics", [], metricsCluster), this.#made("LDS prometheus", [], prometheusListener)]
      : [];
    const listeners = [
      this.#outboundListener(outbound, mesh, world),
      // HTTP access is not among the dependencies: it travels in RDS. Ports, protocols and Services are in the group's name.
      this.#maybe(
        `LDS inbound ${group}`,
        [
          trust.trustDomain,
          ...inbound.flatMap((p) => (p.protocol === "http" ? [p.port] : [p.port, printed(p.access)])),
        ],
        () => inboundListener(inbound, trust.trustDomain),
      ),
      scraped[1],
    ].filter((r) => r !== undefined);
    const routes = [
      ...mesh.httpPorts.map((port) => {
        const services = outbound.services.filter((s) => s.ports.some((p) => p.port === port && p.protocol === "http"));
        const place = services.length > 0 ? `${outbound.namespace} ${outbound.key}` : "none";
        return this.#made(`RDS ${port} ${place}`, [egress, ...services], () =>
          outboundRoutes(port, services, outbound, egress),
        );
      }),
      ...inbound
        .filter((p) => p.protocol === "http")
        .map((p) =>
          this.#made(`RDS inbound ${group} ${p.port}`, [printed(p.access), trust.trustDomain], () =>
            inboundRoutes(p, trust.trustDomain),
          ),
        ),
    ];
    const services = [...reached(outbound)].map((service) => ({
      service,
      shared: this.#ofService(service, mesh.settings, world, trust),
    }));
    const ownName = principalDnsName(identity, trust.trustDomain);
    const clusters = [
      ...services.flatMap(
        ({ service, shared }) =>
          shared.clusters ??
          this.#clusters(service, (p) => (p.protocol === "http" ? serviceFqdn(service.name) : ownName)),
      ),
      ...(egress ? [this.#made("CDS passthrough", [], passthroughCluster)] : []),
      ...own,
      ...scraped.slice(0, 1),
    ];
    const validations = [
      this.#made("SDS inbound", [trust.bundle, trust.trustDomain], () => inboundValidation(trust)),
      ...services.map(({ shared }) => shared.validation),
    ];
    const resources: Resources = {
      CDS: this.#map(`CDS ${group}`, clusters),
      EDS: this.#map(
        `EDS ${outbound.key}`,
        services.flatMap(({ shared }) => shared.endpoints),
      ),
      SDS: this.#map(`SDS ${outbound.key}`, validations),
      LDS: this.#map(`LDS ${group}`, listeners),
      RDS: this.#map(`RDS ${group}`, routes),
    };
    const maps = TYPES.map((type) => resources[type]);
    const made = this.#groups.get(group, maps, () => Object.freeze(resources));
    return same(made, this.#state?.groups.get(group)) ?? made;
  }

  #outboundListener(outbound: Outbound, mesh: Mesh, world: World): Resource {
    const { httpPorts, tcpPorts, settings } = mesh;
    const tcp = outbound.services.filter((s) => s.ports.some((p) => p.protocol !== "http"));
    const podsOf = (service: MeshService, port: MeshPort) =>
      this.#pods.get(`${service.name} ${port.port}`, [
        ...new Set(addressesOf(slicesOf(world, namespaceOf(service.name), service.name), port.name).map((a) => a.ip)),
      ]);
    const pods = tcp.filter((s) => s.headless).flatMap((s) => s.ports.map((p) => podsOf(s, p)));
    const place = tcp.length > 0 ? outbound.key : "none";
    return this.#made(`LDS outbound ${place}`, [httpPorts, tcpPorts, settings.egress, ...tcp, ...pods], () =>
      outboundListener({ services: tcp, podsOf, httpPorts, tcpPorts, egress: settings.egress }),
    );
  }

  /** What clients get of a Service: looked up once a round, however many they are. */
  #ofService(service: MeshService, { permissive }: Mesh["settings"], world: World, trust: Trust): OfService {
    let found = this.#ofServices.get(service);
    if (!found) {
      const { name, ports, identities } = service;
      const shared = permissive || ports.every((p) => p.protocol === "http");
      found = {
        clusters: shared ? this.#clusters(service, () => serviceFqdn(name)) : undefined,
        endpoints: this.#fed(service).map(({ cluster, port }) => this.#assignment(service, cluster, port, world)),
        validation: this.#made(`SDS ${name}`, [trust.bundle, trust.trustDomain, identities], () =>
          outboundValidation(name, identities, trust),
        ),
      };
      this.#ofServices.set(service, found);
    }
    return found;
  }

  /** The clusters of a Service. Where a client asks for itself (TCP ports, see `tcpChains`), they are its own. */
  #clusters({ name, headless, ports }: MeshService, sniOf: (port: MeshPort) => string): readonly Resource[] {
    const made = new Map<string, Resource>();
    for (const port of ports) {
      const spread = spreadClusterName(name, port.targetPort);
      const sni = sniOf(port);
      for (const key of [clusterName(name, port.targetPort), ...(this.#spread.has(spread) ? [spread] : [])]) {
        const to = headless && key !== spread ? "where-they-were-going" : "endpoints";
        made.set(
          key,
          this.#made(`CDS ${key} ${sni}`, [to], () => serviceCluster(key, name, to, sni)),
        );
      }
    }
    return [...made.values()];
  }

  /** The clusters of a Service that are fed with endpoints: a headless one's only where a split leads to it. */
  #fed(service: MeshService): readonly { cluster: string; port: MeshPort }[] {
    const name = service.headless ? spreadClusterName : clusterName;
    const fed = clusterPorts(service).map((port) => ({ cluster: name(service.name, port.targetPort), port }));
    return service.headless ? fed.filter(({ cluster }) => this.#spread.has(cluster)) : fed;
  }

  /** Made anew only when the Service's slices, or the name by which they know the port, are other than before; kept when that changes nothing. */
  #assignment(service: MeshService, name: string, port: MeshPort, world: World): Resource {
    const slices = this.#slices.get(service.name, slicesOf(world, namespaceOf(service.name), service.name));
    const known = this.#assignments.get(name);
    if (known?.slices === slices && known.portName === port.name) return known.resource;
    const made = loadAssignment(name, port, slices);
    const kept = known?.resource.version === made.version ? known.resource : this.#count(made);
    this.#assignments.set(name, { slices, portName: port.name, resource: kept });
    return kept;
  }

  /** A resource, encoded when its dependencies are other than before. */
  #made(key: string, deps: readonly unknown[], make: () => Resource): Resource {
    return this.#resources.get(key, deps, () => this.#count(make()));
  }

  #maybe(key: string, deps: readonly unknown[], make: () => Resource | undefined): Resource | undefined {
    return this.#optional.get(key, deps, () => {
      const made = make();
      return made && this.#count(made);
    });
  }

  #map(key: string, resources: readonly Resource[]): ResourceMap {
    return this.#maps.get(key, resources, () => {
      const sorted = [...resources].sort((a, b) => (a.name < b.name ? -1 : 1));
      return new Map(sorted.map((r) => [r.name, r]));
    });
  }

  /** Whether so much was added since the last sweep that a round over everything, which allows one, costs less than it. */
  #grown(): boolean {
    return this.#size() > 2 * this.#swept;
  }

  #size(): number {
    return this.#memos.reduce((sum, memo) => sum + memo.size, 0);
  }

  #sweep(): void {
    for (const memo of this.#memos) memo.sweep();
    for (const name of this.#assignments.keys())
      if (this.#reaches.of(name.slice(0, name.indexOf("|")) as ServiceName).size === 0) this.#assignments.delete(name);
    this.#swept = this.#size();
  }

  #count(made: Resource): Resource {
    this.#built[made.type] = (this.#built[made.type] ?? 0) + 1;
    if (made.withoutIPv6) this.#hasIPv6 = true;
    return made;
  }
}

/** Whether what all groups depend on, beside their policy, is the same. */
function sameGround(before: State, { httpPorts, tcpPorts, settings }: Mesh, trust: Trust): boolean {
  const { mesh } = before;
  return (
    mesh.httpPorts === httpPorts &&
    mesh.tcpPorts === tcpPorts &&
    mesh.settings.egress === settings.egress &&
    mesh.settings.permissive === settings.permissive &&
    before.trust.bundle === trust.bundle &&
    before.trust.trustDomain === trust.trustDomain
  );
}

const texts = new WeakMap<readonly Rule[], string>();

/** Rules by their content: those of one port are made anew, and mostly equal, when those of another change. */
function printed(rules: readonly Rule[]): string {
  let text = texts.get(rules);
  if (text === undefined) texts.set(rules, (text = contentHash(rules)));
  return text;
}

function spreadClusters({ services }: Mesh): ReadonlySet<string> {
  const found = new Set<string>();
  for (const { ports } of services.values())
    for (const { routes } of ports)
      for (const { backends } of routes)
        for (const backend of backends) if (backend.spread) found.add(backendClusterName(backend));
  return found;
}

/** One port for each cluster: a Service's ports with the same target port share it, and the first one's endpoints are its. */
const clusterPorts = ({ ports }: MeshService): readonly MeshPort[] =>
  ports.filter((p, i) => ports.findIndex((q) => q.targetPort === p.targetPort) === i);

/** Names that are referred to and are not there: a bug of ours, so nothing is published. Each stream adds its own certificate. */
export function missing(resources: Resources): readonly string[] {
  const absent = new Set<string>();
  for (const type of TYPES) {
    for (const { refs } of resources[type].values()) {
      for (const ref of refs)
        if (!resources[ref.type].has(ref.name) && ref.name !== OWN_CERTIFICATE) absent.add(`${ref.type} ${ref.name}`);
    }
  }
  return [...absent].sort();
}
