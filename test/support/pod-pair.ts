/**
 * Two pods with addresses of both families, as a CNI and the init container leave them: network namespaces joined by one link, with the
 * injector's own rules. For tests of what local pods, which have IPv4 only, do not have. Gone with the test file's `remove`.
 */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { initScript } from "../../src/injector/containers.ts";
import { PodClient } from "./live-mesh.ts";

export interface PodAddresses {
  readonly ipv4: string;
  readonly ipv6: string;
}

export class PodPair {
  readonly client: PodNamespace;
  readonly server: PodNamespace;

  constructor() {
    const name = `heddle-pair-${process.pid}`;
    this.client = new PodNamespace(`${name}-c`, { ipv4: "10.99.0.1", ipv6: "fd00:99::1" });
    this.server = new PodNamespace(`${name}-s`, { ipv4: "10.99.0.2", ipv6: "fd00:99::2" });
    const [a, b] = [this.client, this.server];
    for (const { name: ns } of [a, b]) run("ip", "netns", "add", ns);
    run("ip", "-n", a.name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.name);
    a.configure(b.addresses);
    b.configure(a.addresses);
  }

  async remove(): Promise<void> {
    await Promise.all([this.client.remove(), this.server.remove()]);
  }
}

export class PodNamespace {
  readonly name: string;
  readonly addresses: PodAddresses;
  readonly #children: ChildProcess[] = [];

  constructor(name: string, addresses: PodAddresses) {
    this.name = name;
    this.addresses = addresses;
  }

  /** Virtual IPs need no more than a route: the rules catch calls to them before they leave. */
  configure(peer: PodAddresses): void {
    const { ipv4, ipv6 } = this.addresses;
    for (const line of [
      "link set lo up",
      `addr add ${ipv4}/24 dev eth0`,
      `addr add ${ipv6}/64 dev eth0 nodad`,
      "link set eth0 up",
      `route add default via ${peer.ipv4}`,
      `-6 route add default via ${peer.ipv6}`,
    ])
      run("ip", "-n", this.name, ...line.split(" "));
    run("nsenter", `--net=/run/netns/${this.name}`, "sh", "-c", initScript({}));
  }

  /** What goes before a program's name, to run it in here. */
  inside(uid?: number): readonly string[] {
    return [
      "nsenter",
      `--net=/run/netns/${this.name}`,
      ...(uid === undefined ? [] : [`--setuid=${uid}`, `--setgid=${uid}`]),
    ];
  }

  /** Runs a program of Node's; resolves when it has printed a line. */
  async node(args: readonly string[]): Promise<ChildProcess> {
    const child = this.#spawn(args);
    await new Promise((resolve, reject) => {
      child.stdout?.once("data", resolve);
      child.once("exit", (code) => reject(new Error(`${args.join(" ")} ended (${code})`)));
    });
    return child;
  }

  podClient(uid?: number): PodClient {
    return new PodClient(this.#spawn([new URL("pod-client.ts", import.meta.url).pathname], uid));
  }

  #spawn(args: readonly string[], uid?: number): ChildProcess {
    const [program = "", ...before] = this.inside(uid);
    const child = spawn(program, [...before, process.execPath, ...args], { stdio: ["pipe", "pipe", "inherit"] });
    this.#children.push(child);
    return child;
  }

  async remove(): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
    }
    run("ip", "netns", "del", this.name);
  }
}

const run = (program: string, ...args: string[]): void =>
  void execFileSync(program, args, { stdio: ["ignore", "ignore", "pipe"] });
