/**
 * The network of a run: a namespace that is the node, with a bridge and the Services' rules, one namespace per pod, and one
 * link to the host. Nothing in it has a route out. Knows nothing of what runs in the pods.
 *
 * Pods have /32 addresses and reach everything through the node, never each other directly: so the node's rules see both
 * directions of every connection, and the same rules serve all pods.
 */
import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Log } from "../telemetry/log.ts";
import { killIn, NETNS_ETC } from "./clean-up.ts";
import { locate, run, runIn, runSync, tool } from "./command.ts";
import { LocalError } from "./errors.ts";
import { hostLink, nodeNamespace, podKey } from "./record.ts";
import { nodeRules, podRules, serviceRules, type VirtualPort } from "./service-rules.ts";
import type { Subnets } from "./subnet.ts";

export interface Attachment {
  readonly netns: string;
  readonly ip: string;
  readonly hostname: string;
  /** The pod's Kubernetes namespace: first search domain. */
  readonly namespace: string;
  readonly podName: string;
}

/** What is set once in a namespace: forwarding only in the node, no IPv6 that would go past the rules, ping without privileges. */
const NODE_SETTINGS = `
set -e
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects
echo 0 > /proc/sys/net/ipv4/conf/default/send_redirects
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6 2>/dev/null || :
"$1" -batch -`;
const POD_SETTINGS = `
set -e
echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet
echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6 2>/dev/null || :
echo "0 2147483647" > /proc/sys/net/ipv4/ping_group_range 2>/dev/null || :
printf '%s' "$2" | "$1" -batch -
exec "$3" --noflush --wait=10`;
/** Frames on the bridge must not meet iptables before they are routed: the module, where loaded, is on in every new namespace. */
const NO_BRIDGE_FILTER = `f=/proc/sys/net/bridge/bridge-nf-call-iptables; [ ! -e $f ] || echo 0 > $f`;

/** Fixed: by itself a bridge takes the lowest of its ports' addresses, and each pod that comes or goes would cut off all others for seconds. */
const BRIDGE_MAC = "02:68:65:64:00:01";

export class Network {
  readonly #id: string;
  readonly #subnets: Subnets;
  readonly #log: Log;
  #restore = "iptables-restore";
  #adding: { pod: Attachment; done: () => void; failed: (error: unknown) => void }[] = [];
  #services: { wanted: string; applied: string; running: boolean } = { wanted: "", applied: "", running: false };
  #stopped = false;

  constructor(id: string, subnets: Subnets, log: Log) {
    this.#id = id;
    this.#subnets = subnets;
    this.#log = log;
  }

  /** Makes the node's namespace and the host's link into it. */
  async start(): Promise<void> {
    const { gateway, host, prober, pods, services } = this.#subnets;
    const node = nodeNamespace(this.#id);
    const link = hostLink(this.#id);
    await run("ip", ["netns", "add", node]);
    const inside = lines(
      "link set lo up",
      `link add br0 address ${BRIDGE_MAC} type bridge`,
      `addr add ${gateway}/16 dev br0`,
      "link set br0 up",
      `route add ${services} dev br0`,
    );
    await runIn(node, "sh", ["-c", NODE_SETTINGS, "sh", tool("ip")], inside);
    await runIn(node, "sh", ["-c", NO_BRIDGE_FILTER]);
    await Promise.all([this.#firstRules(node), this.#linkHost(node, link)]);
    await run(
      "ip",
      ["-batch", "-"],
      lines(
        `addr add ${host}/32 dev ${link}`,
        `addr add ${prober}/32 dev ${link}`,
        `link set ${link} up`,
        `route add ${gateway}/32 dev ${link} src ${host}`,
        `route add ${pods} via ${gateway} dev ${link} src ${host}`,
        `route add ${services} via ${gateway} dev ${link} src ${host}`,
      ),
    );
  }

  async #linkHost(node: string, link: string): Promise<void> {
    await run("ip", ["link", "add", link, "type", "veth", "peer", "name", "host", "netns", node]);
    await run("ip", ["-n", node, "-batch", "-"], lines(...port("host")));
  }

  /** Some kernels have no nf_tables: there, iptables' older variant is tried. */
  async #firstRules(node: string): Promise<void> {
    const rules = nodeRules(this.#subnets);
    try {
      await runIn(node, this.#restore, ["--noflush", "--wait=10"], rules);
    } catch (error) {
      if (locate("iptables-legacy-restore") === undefined) throw error;
      this.#log.debug("iptables-restore failed, trying iptables-legacy-restore", { error: String(error) });
      this.#restore = "iptables-legacy-restore";
      await runIn(node, this.#restore, ["--noflush", "--wait=10"], rules);
    }
  }

  /** Makes a pod's namespace with its address and name resolution. Pods that are attached at the same time share the commands. */
  attach(pod: Attachment): Promise<void> {
    this.#writeEtc(pod);
    return new Promise((done, failed) => {
      this.#adding.push({ pod, done, failed });
      if (this.#adding.length === 1) setImmediate(() => void this.#addAll());
    });
  }

  async #addAll(): Promise<void> {
    const batch = this.#adding;
    this.#adding = [];
    const node = nodeNamespace(this.#id);
    const commands = batch.flatMap(({ pod }) => {
      const veth = vethOf(pod);
      return [`netns add ${pod.netns}`, `link add ${veth} type veth peer name eth0 netns ${pod.netns}`, ...port(veth)];
    });
    try {
      if (this.#stopped) throw new LocalError("command-failed", "The run is being stopped.");
      await run("nsenter", [`--net=/run/netns/${node}`, tool("ip"), "-batch", "-"], lines(...commands));
      for (const { done } of batch) done();
    } catch (error) {
      // One that cannot be made must not take the others along: each is tried alone, from the beginning.
      if (batch.length === 1 || this.#stopped) for (const { failed } of batch) failed(error);
      else
        for (const each of batch)
          await this.#remove(each.pod)
            .then(() => this.attach(each.pod))
            .then(each.done, each.failed);
    }
  }

  /** Brings a pod's link up with its address, behind the injector's rules and ours: nothing flows before they are in place. */
  async configure(pod: Attachment, iptables: string, adminPort: number | undefined): Promise<void> {
    const { gateway } = this.#subnets;
    const links = lines(
      "link set lo up",
      `addr add ${pod.ip}/32 dev eth0`,
      "link set eth0 up",
      `route add ${gateway}/32 dev eth0`,
      `route add default via ${gateway}`,
    );
    const rules = `${iptables.trimEnd()}\n${podRules(this.#subnets, adminPort)}`;
    await runIn(pod.netns, "sh", ["-c", POD_SETTINGS, "sh", tool("ip"), links, tool(this.#restore)], rules);
  }

  /** Removes a pod's namespace and whoever is still in it. May be repeated. */
  async detach(pod: Attachment): Promise<void> {
    killIn([pod.netns]);
    rmSync(join(NETNS_ETC, pod.netns), { recursive: true, force: true });
    if (!this.#stopped) await this.#remove(pod);
  }

  async #remove(pod: Attachment): Promise<void> {
    // The link first: a namespace's end is only scheduled by its removal, and the name may come back at once.
    await run("ip", ["-n", nodeNamespace(this.#id), "link", "del", vethOf(pod)]).catch(() => {});
    await run("ip", ["netns", "del", pod.netns]).catch(() => {});
  }

  /** Who answers behind the virtual IPs from now on. Returns at once; the latest call wins. */
  setServices(ports: readonly VirtualPort[]): void {
    this.#services.wanted = serviceRules(ports);
    if (!this.#services.running) void this.#applyServices();
  }

  async #applyServices(): Promise<void> {
    const services = this.#services;
    services.running = true;
    while (services.wanted !== services.applied && !this.#stopped) {
      const rules = services.wanted;
      try {
        await runIn(nodeNamespace(this.#id), this.#restore, ["--noflush", "--wait=10"], rules);
      } catch (error) {
        if (!this.#stopped) this.#log.error("Services' virtual IPs could not be set", { error: String(error) });
      }
      services.applied = rules;
    }
    services.running = false;
  }

  /** From now on nothing is made any more; removal is `cleanUp`'s. */
  stop(): void {
    this.#stopped = true;
  }

  #writeEtc({ netns, hostname, namespace, ip }: Attachment): void {
    const directory = join(NETNS_ETC, netns);
    mkdirSync(directory, { recursive: true });
    // Set expressly: the caller's umask may take more away, and every user of the pod reads them.
    for (const path of [NETNS_ETC, directory]) chmodSync(path, 0o755);
    const put = (name: string, ...content: string[]): void => {
      writeFileSync(join(directory, name), lines(...content));
      chmodSync(join(directory, name), 0o644);
    };
    put(
      "resolv.conf",
      `nameserver ${this.#subnets.host}`,
      `search ${namespace}.svc.cluster.local svc.cluster.local cluster.local`,
      "options ndots:5",
    );
    put("hosts", "127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback", `${ip} ${hostname}`);
    // The host may resolve through a daemon (systemd's) that knows nothing of the pods' names.
    put(
      "nsswitch.conf",
      "passwd: files",
      "group: files",
      "shadow: files",
      "hosts: files dns",
      "networks: files",
      "protocols: files",
      "services: files",
    );
  }
}

/** The host's routes, as CIDRs. */
export function hostRoutes(): string[] {
  const text = runSync("ip", ["-4", "route", "show", "table", "all"]) ?? "";
  const types = new Set([
    "unicast",
    "local",
    "broadcast",
    "multicast",
    "unreachable",
    "blackhole",
    "prohibit",
    "throw",
  ]);
  return text
    .split("\n")
    .map((line) => line.split(" ").find((word) => !types.has(word)) ?? "")
    .filter((word) => /^\d/.test(word));
}

const vethOf = (pod: Attachment): string => `p${podKey(pod.podName)}`;

/** A port of the bridge that reaches the node only, not the other ports. */
const port = (link: string): string[] => [
  `link set ${link} master br0 up`,
  `link set ${link} type bridge_slave isolated on`,
];

const lines = (...all: string[]): string => `${all.join("\n")}\n`;
