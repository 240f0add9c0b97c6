/**
 * A whole Kubernetes in a network namespace of this machine: starts it, breaks it where a test asks for that, and removes it.
 */
import { randomBytes } from "node:crypto";
import type { ChildProcess } from "node:child_process";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ApiAccess, type ApiReply, callApi } from "./api.ts";
import { binary } from "./binaries.ts";
import { ClusterError, exec, until } from "./exec.ts";
import { pauseImage } from "./images.ts";
import { cleanUp, gone, Node } from "./node.ts";
import { installPackages } from "./packages.ts";
import { type Binaries, commandOf, containerdSocket, type Part, writeConfigs } from "./parts.ts";
import { API_PORT, linkAddresses, NODE_NAME, nodeNamespace, stateDirectory } from "./paths.ts";
import { kubeconfig, makePki } from "./pki.ts";
import { claim, cleanUpDead, self, writeRecord } from "./record.ts";

export { ClusterError } from "./exec.ts";
export type { ApiAccess, ApiReply } from "./api.ts";
export type { Part } from "./parts.ts";

export interface ClusterOptions {
  /** Part of its names on the machine: 1 to 8 of a-z and 0-9. Random when not given. */
  readonly id?: string;
  /** Progress, for people. */
  readonly say?: (line: string) => void;
  /** Goes on without this process, until somebody stops it. */
  readonly stays?: boolean;
}

/** Milliseconds for one part to be ready, on a busy machine. */
const PATIENCE = 120_000;

/** Rights that CoreDNS' kubernetes plugin needs (its deployment's manifest). */
const DNS_RULES = [
  { apiGroups: [""], resources: ["services", "pods", "namespaces"], verbs: ["list", "watch"] },
  { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"] },
];

/** Installs and builds what is missing, which takes minutes the first time; starts a cluster, and resolves when its node is ready. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const { id = randomBytes(4).toString("hex"), say = () => {}, stays = false } = options;
  if (process.platform !== "linux" || process.getuid?.() !== 0)
    throw new ClusterError("The cluster needs Linux and root: namespaces, mounts and cgroups are made.");
  for (const dead of cleanUpDead()) say(`removed what was left of cluster "${dead}"`);
  await installPackages(say);
  const binaries = { kube: await binary("kube", say), coredns: await binary("coredns", say) };
  const pause = await pauseImage(say);
  claim(id);
  const cluster = new Cluster(id, binaries, stays);
  try {
    await cluster.start(pause);
  } catch (error) {
    const logs = error instanceof ClusterError ? "" : `\n${(error as Error).stack}`;
    cluster.stop();
    throw new ClusterError(`The cluster did not start: ${(error as Error).message}${logs}`);
  }
  return cluster;
}

export class Cluster {
  readonly id: string;
  /** Everything that the cluster writes is below it; logs/PART.log are the parts' logs. */
  readonly directory: string;
  /** The admin's, complete in itself; works on the machine, outside the node. */
  readonly kubeconfig: string;
  /** The network namespace that is the node, as `ip netns` knows it. */
  readonly namespace: string;
  /** The machine as pods and the API server see it, and the node as the machine sees it. */
  readonly addresses: { readonly host: string; readonly node: string };
  readonly #binaries: Binaries;
  readonly #stays: boolean;
  readonly #running = new Map<Part, ChildProcess>();
  readonly #onExit = (): void => cleanUp(this.id);
  #node: Node | undefined;
  #access: ApiAccess | undefined;

  /** Use `startCluster`. */
  constructor(id: string, binaries: Binaries, stays: boolean) {
    this.id = id;
    this.directory = stateDirectory(id);
    this.kubeconfig = join(this.directory, "kubeconfig");
    this.namespace = nodeNamespace(id);
    this.addresses = linkAddresses(id);
    this.#binaries = binaries;
    this.#stays = stays;
  }

  /** Where the API server is, and the admin's certificate for it. */
  get api(): ApiAccess {
    if (!this.#access) throw new ClusterError("The cluster has not been started.");
    return this.#access;
  }

  /** Use `startCluster`. */
  async start(pause: string): Promise<void> {
    const record = { id: this.id, startedAt: new Date().toISOString(), ...(!this.#stays && { owner: self() }) };
    process.once("exit", this.#onExit);
    // While it starts it is this process's, whatever it will be.
    writeRecord({ ...record, owner: self(), ready: false });
    raiseInotify();
    const pki = join(this.directory, "pki");
    const [node] = await Promise.all([Node.start(this.id), makePki(pki, this.addresses.node)]);
    this.#node = node;
    writeConfigs(this.id);
    const url = `https://${this.addresses.node}:${API_PORT}`;
    const pem = (name: string): string => readFileSync(join(pki, name), "utf8");
    this.#access = { url, ca: pem("ca.crt"), cert: pem("admin.crt"), key: pem("admin.key") };
    writeFileSync(this.kubeconfig, kubeconfig(pki, "admin", url), { mode: 0o600 });
    this.#writeWrapper();
    for (const part of ["etcd", "kube-apiserver", "containerd", "registry"] as const) this.startPart(part);
    await Promise.all([this.#apiReady(), this.#importPause(pause)]);
    for (const part of ["kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns"] as const)
      this.startPart(part);
    await this.#allowDns();
    await Promise.all([
      this.#nodeReady(),
      this.#answers("kube-proxy", 10256, "healthz"),
      this.#answers("coredns", 8181, "ready"),
    ]);
    writeRecord({ ...record, ready: true });
    if (this.#stays) process.off("exit", this.#onExit);
  }

  /** Ends all that runs in it and removes all that it made. May be repeated. */
  stop(): void {
    process.off("exit", this.#onExit);
    this.#running.clear();
    cleanUp(this.id);
  }

  /** kubectl as the cluster's admin; the answer is its standard output. Throws a `ClusterError` with what it said. */
  kubectl(args: readonly string[], stdin?: string): Promise<string> {
    return exec([join(this.directory, "kubectl"), ...args], stdin === undefined ? {} : { input: stdin });
  }

  /** One request to the API server as admin, much cheaper than kubectl. */
  call(method: string, path: string, body?: object): Promise<ApiReply> {
    return callApi(this.api, method, path, body);
  }

  /** Runs a program inside the node (its mounts, network and processes) to its end; the answer is its standard output. */
  nodeExec(argv: readonly string[], input?: string): Promise<string> {
    return this.#theNode.exec(argv, input);
  }

  /** The command that runs `argv` inside the node. */
  nodeCommand(argv: readonly string[]): string[] {
    return this.#theNode.command(argv);
  }

  /** containerd's own client, in the kubelet's namespace. */
  ctr(args: readonly string[]): Promise<string> {
    return exec(["ctr", "--address", containerdSocket(this.id), "--namespace", "k8s.io", ...args]);
  }

  /**
   * Puts an archive (of `buildImage` or `docker save`) into the node, under the name that it bears and under `more` names: whole
   * ones, as `docker.io/team/app:tag`, or with a digest that need not be its own (`docker.io/team/app@sha256:…`; the kubelet asks
   * for `team/app:tag@sha256:…` under it).
   */
  async importImage(archive: string, more: readonly string[] = []): Promise<void> {
    const said = await this.ctr(["images", "import", archive]);
    if (more.length === 0) return;
    const name = /^unpacking (\S+) /m.exec(said)?.[1];
    if (name === undefined) throw new ClusterError(`${archive} bears no name.`);
    await this.ctr(["images", "tag", "--force", name, ...more]);
  }

  /**
   * Puts an archive of `buildImage` into the cluster's registry, as `name` without a host (`team/app:tag`): for pods that say
   * `imagePullPolicy: Always`.
   */
  async pushImage(archive: string, name: string): Promise<void> {
    const to = `docker://${this.addresses.node}:5000/${name.includes("/") ? name : `library/${name}`}`;
    const quick = ["--dest-compress-format", "zstd", "--dest-compress-level", "1"];
    await exec([
      "skopeo",
      "copy",
      "--quiet",
      "--insecure-policy",
      "--dest-tls-verify=false",
      ...quick,
      `docker-archive:${archive}`,
      to,
    ]);
  }

  /** Starts a part that is not running. Does not wait until it is ready. */
  startPart(part: Part): void {
    const child = this.#theNode.spawn(part, commandOf(part, this.id, this.#binaries));
    child.once("error", () => {});
    this.#running.set(part, child);
  }

  /** Ends a part with a signal; resolves when it is gone. */
  async killPart(part: Part, signal: "KILL" | "TERM" = "KILL"): Promise<void> {
    const child = this.#running.get(part);
    if (!child) throw new ClusterError(`${part} was not started by this process, or is not running.`);
    this.#running.delete(part);
    await this.nodeExec(["kill", `-${signal}`, readFileSync(join(this.directory, "pids", part), "utf8").trim()]);
    await gone(child);
  }

  killApiServer(): Promise<void> {
    return this.killPart("kube-apiserver");
  }

  /** Starts the API server again; resolves when it is ready. */
  async startApiServer(): Promise<void> {
    this.startPart("kube-apiserver");
    await this.#apiReady();
  }

  /**
   * Forgets the history before now in etcd, so that a watch from an older version gets 410, at the latest when the API server has
   * been started again (it remembers some itself). The answer is the revision.
   */
  async compactEtcd(): Promise<number> {
    const script = `
      const ask = async (path, body) => (await fetch("http://127.0.0.1:2379/v3/kv/" + path, { method: "POST", body: JSON.stringify(body) })).json();
      const revision = Number((await ask("range", { key: "AA==" })).header.revision);
      const answer = await ask("compaction", { revision, physical: true });
      if (answer.error) throw new Error(answer.error);
      console.log(revision);`;
    return Number(await this.nodeExec([process.execPath, "-e", script]));
  }

  /**
   * Makes connections to the API server half-open: from now on packets from and to `source` (an address as the node sees it: a pod's,
   * or `addresses.host`) vanish, and nobody is told. The answer undoes it.
   */
  async cutApi(source: string): Promise<() => Promise<void>> {
    const port = String(API_PORT);
    const rules = [
      ["INPUT", "-p", "tcp", "--dport", port, "-s", source, "-j", "DROP"],
      ["OUTPUT", "-p", "tcp", "--sport", port, "-d", source, "-j", "DROP"],
    ];
    for (const rule of rules) await this.nodeExec(["iptables", "-w", "-I", ...rule]);
    return async () => {
      for (const rule of rules) await this.nodeExec(["iptables", "-w", "-D", ...rule]);
    };
  }

  get #theNode(): Node {
    if (!this.#node) throw new ClusterError("The cluster has not been started.");
    return this.#node;
  }

  #writeWrapper(): void {
    const path = join(this.directory, "kubectl");
    const [config, cache] = [this.kubeconfig, join(this.directory, "kubectl-cache")];
    writeFileSync(
      path,
      `#!/bin/sh\nexport KUBECONFIG="${config}" KUBECACHEDIR="${cache}"\nexec "${this.#binaries.kube}" kubectl "$@"\n`,
    );
    chmodSync(path, 0o755);
  }

  /** Looks until it is so; fails at once when a part has ended. */
  #until(what: string, look: () => Promise<boolean>): Promise<true> {
    return until(
      async () => {
        for (const [part, child] of this.#running)
          if (child.exitCode !== null || child.signalCode !== null)
            throw new ClusterError(`${part} ended (${child.exitCode ?? child.signalCode}):\n${this.log(part)}`);
        return look().catch(() => false);
      },
      () => `${what} is not ready after ${PATIENCE / 1000} s`,
      PATIENCE,
    );
  }

  /** The last lines of a part's log. */
  log(part: Part, lines = 15): string {
    return readFileSync(join(this.directory, "logs", `${part}.log`), "utf8")
      .trimEnd()
      .split("\n")
      .slice(-lines)
      .join("\n");
  }

  #apiReady(): Promise<true> {
    return this.#until("The API server", async () => (await this.call("GET", "/readyz")).status === 200);
  }

  #answers(part: Part, port: number, path: string): Promise<true> {
    return this.#until(part, async () => (await fetch(`http://${this.addresses.node}:${port}/${path}`)).status === 200);
  }

  async #importPause(archive: string): Promise<void> {
    await this.#until("containerd", async () => (await this.ctr(["version"])) !== "");
    await this.importImage(archive);
  }

  async #allowDns(): Promise<void> {
    const name = "system:coredns";
    const group = "rbac.authorization.k8s.io";
    const base = { apiVersion: `${group}/v1`, metadata: { name } };
    await this.#create(`/apis/${group}/v1/clusterroles`, { ...base, kind: "ClusterRole", rules: DNS_RULES });
    await this.#create(`/apis/${group}/v1/clusterrolebindings`, {
      ...base,
      kind: "ClusterRoleBinding",
      roleRef: { apiGroup: group, kind: "ClusterRole", name },
      subjects: [{ apiGroup: group, kind: "User", name }],
    });
  }

  async #create(path: string, body: object): Promise<void> {
    const reply = await this.call("POST", path, body);
    if (reply.status !== 201) throw new ClusterError(`POST ${path}: ${reply.status} ${reply.body}`);
  }

  /** Ready, without the taint that keeps pods off, and pods get their ServiceAccount. */
  #nodeReady(): Promise<true> {
    return this.#until("The node", async () => {
      const node = await this.call("GET", `/api/v1/nodes/${NODE_NAME}`);
      if (node.status !== 200) return false;
      const { spec, status } = JSON.parse(node.body) as {
        spec: { taints?: unknown[] };
        status: { conditions?: { type: string; status: string }[] };
      };
      const ready = status.conditions?.some((c) => c.type === "Ready" && c.status === "True") && !spec.taints?.length;
      if (!ready) return false;
      return (await this.call("GET", "/api/v1/namespaces/default/serviceaccounts/default")).status === 200;
    });
  }
}

/** Each Envoy takes inotify instances, of which a machine gives a user 128: about 32 Envoys. A setting of the machine, not undone. */
function raiseInotify(): void {
  const path = "/proc/sys/fs/inotify/max_user_instances";
  if (Number(readFileSync(path, "utf8")) < 1024) writeFileSync(path, "1024");
}
