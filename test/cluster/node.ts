/**
 * The node: a network namespace without a way out, and one process that holds mount, process and host name namespaces of its own.
 * Knows nothing of Kubernetes.
 *
 * All that runs in the node is below that process's PID namespace, all that is mounted is in its mount namespace, and /run, /var/log
 * and /var/lib are folders of the cluster's state directory in it: whoever ends the process has ended and unmounted everything,
 * and whoever removes the directory has removed all that was written.
 */
import { type ChildProcess, spawn } from "node:child_process";
import {
  mkdirSync,
  openSync,
  closeSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  rmSync,
  existsSync,
  writeFileSync,
} from "node:fs";
import { totalmem } from "node:os";
import { dirname, join } from "node:path";
import { runSync, tool } from "../../src/local/command.ts";
import { killIn } from "../../src/local/clean-up.ts";
import { ClusterError, exec, until, words } from "./exec.ts";
import {
  cgroupName,
  hostLink,
  linkAddresses,
  BRIDGE_MAC,
  NODE_ADDRESS,
  NODE_LINK,
  NODE_NAME,
  nodeNamespace,
  POD_CIDR,
  SERVICE_CIDR,
  stateDirectory,
  STATE_ROOT,
} from "./paths.ts";

/**
 * Kernel settings of the whole machine that the kubelet would change (its setupKernelTunables), as it wants them: it finds these
 * files over the real ones and leaves the machine alone.
 */
const KERNEL_SETTINGS: Readonly<Record<string, string>> = {
  "vm/overcommit_memory": "1",
  "vm/panic_on_oom": "0",
  "kernel/panic": "10",
  "kernel/panic_on_oops": "1",
  "kernel/keys/root_maxkeys": "1000000",
  "kernel/keys/root_maxbytes": "25000000",
};

/**
 * With more memory than this (bytes), images and etcd's data are kept there: they are written, and forgotten, in a tenth of the time,
 * and half a gigabyte or two is all they are.
 */
const ENOUGH_MEMORY = 12 * 2 ** 30;

/** Process 1 of the node: mounts, tells that it is ready, and then only reaps what is left to it, as bash does while it waits. */
const HOLDER = `set -e
mount -t proc proc /proc
for f in $(cd "$0/kernel" && find . -type f); do mount --bind "$0/kernel/$f" "/proc/sys/$f"; done
mount --bind "$0/run" /run
mount --bind "$0/log" /var/log
if [ "$1" = memory ]; then mount -t tmpfs -o mode=755 tmpfs /var/lib; else mount --bind "$0/lib" /var/lib; fi
hostname ${NODE_NAME}
mount --make-rshared /
trap '' TERM INT HUP
sleep infinity & echo ready >&3; exec 3>&-
while :; do wait || :; done`;

export class Node {
  readonly id: string;
  readonly #holder: number;

  private constructor(id: string, holder: number) {
    this.id = id;
    this.#holder = holder;
  }

  /** Makes the node of a cluster whose state directory exists. */
  static async start(id: string): Promise<Node> {
    const state = stateDirectory(id);
    for (const name of ["run/lock", "run/netns", "log", "lib", "logs", "pids"])
      mkdirSync(join(state, name), { recursive: true });
    for (const [name, value] of Object.entries(KERNEL_SETTINGS)) {
      if (!existsSync(join("/proc/sys", name))) continue;
      mkdirSync(join(state, "kernel", dirname(name)), { recursive: true });
      writeFileSync(join(state, "kernel", name), `${value}\n`);
    }
    makeCgroups(id);
    await makeNetwork(id);
    return new Node(id, await hold(id));
  }

  /** The command that runs `argv` inside the node. */
  command(argv: readonly string[]): string[] {
    const namespaces = ["--target", String(this.#holder), "--mount", "--net", "--pid", "--uts"];
    return [tool("nsenter"), ...namespaces, "--", ...argv];
  }

  /** Runs a program inside the node to its end; the answer is its standard output. */
  exec(argv: readonly string[], input?: string): Promise<string> {
    return exec(this.command(argv), input === undefined ? {} : { input });
  }

  /** Starts a program that stays, in its own session, with its output in logs/NAME.log and its number inside the node in pids/NAME. */
  spawn(name: string, argv: readonly string[]): ChildProcess {
    const state = stateDirectory(this.id);
    const log = openSync(join(state, "logs", `${name}.log`), "a");
    try {
      const [program, ...args] = this.command([
        "sh",
        "-c",
        'echo $$ >"$0"; exec "$@"',
        join(state, "pids", name),
        ...argv,
      ]);
      // Nothing of this process's environment but what programs need to find others; the proxies of a machine, say, are not theirs.
      const env = {
        PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        HOME: "/root",
        LANG: "C.UTF-8",
      };
      const child = spawn(program!, args, { stdio: ["ignore", log, log], detached: true, env });
      child.unref();
      return child;
    } finally {
      closeSync(log);
    }
  }
}

async function hold(id: string): Promise<number> {
  const state = stateDirectory(id);
  const log = openSync(join(state, "logs", "node.log"), "a");
  const alone = words("--mount --propagation private --uts --pid --fork --kill-child=KILL --");
  const program = [
    tool("unshare"),
    ...alone,
    tool("bash"),
    "-c",
    HOLDER,
    state,
    totalmem() > ENOUGH_MEMORY ? "memory" : "disk",
  ];
  const child = spawn(tool("nsenter"), [`--net=/run/netns/${nodeNamespace(id)}`, ...program], {
    stdio: ["ignore", log, log, "pipe"],
    detached: true,
  });
  closeSync(log);
  const ready = child.stdio[3]!;
  await new Promise<void>((resolve, reject) => {
    const failed = (): void =>
      reject(new ClusterError(`The node did not start: ${readText(join(state, "logs/node.log"))?.trim()}`));
    child.once("exit", failed);
    child.once("error", reject);
    ready.once("data", () => {
      child.off("exit", failed);
      resolve();
    });
  });
  ready.destroy();
  child.unref();
  // `unshare` waits outside; its one child is process 1 of the node.
  const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim();
  const holder = children.split(" ")[0]!;
  writeFileSync(join(state, "pids", "node"), holder);
  return Number(holder);
}

async function makeNetwork(id: string): Promise<void> {
  const node = nodeNamespace(id);
  const link = linkAddresses(id);
  const taken = (await exec(["ip", "-4", "route", "show", "to", "root", `${link.host}/30`])).trim();
  if (taken !== "")
    throw new ClusterError(`Cluster "${id}" would use ${link.host}/30, but there is: ${taken}. Choose another id.`);
  await exec(["ip", "netns", "add", node]);
  await exec(["ip", "link", "add", hostLink(id), "type", "veth", "peer", "name", NODE_LINK, "netns", node]);
  await exec(["ip", "addr", "add", `${link.host}/30`, "dev", hostLink(id)]);
  await exec(["ip", "link", "set", hostLink(id), "up"]);
  const inside = [
    "link set lo up",
    `addr add ${link.node}/30 dev ${NODE_LINK}`,
    `link set ${NODE_LINK} up`,
    // An address of its own: else it is that of a port and changes with the pods, whose packets to the node are lost until they notice.
    `link add br0 address ${BRIDGE_MAC} type bridge`,
    `addr add ${NODE_ADDRESS}/${POD_CIDR.split("/")[1]} dev br0`,
    "link set br0 up",
    // So that the node itself can use the Services' addresses.
    `route add ${SERVICE_CIDR} dev br0`,
  ];
  await exec(["ip", "-n", node, "-batch", "-"], { input: `${inside.join("\n")}\n` });
  const at = ["nsenter", `--net=/run/netns/${node}`];
  await exec([...at, "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  // Pods reach the machine's end of the link (a control plane that a test runs there), and nothing else outside.
  await exec([...at, "iptables", "-w", "-t", "nat", "-A", "POSTROUTING", "-o", NODE_LINK, "-j", "MASQUERADE"]);
}

/** The roots of the cgroup hierarchies: many in version 1, one in version 2. */
const hierarchies = (): string[] =>
  readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => line.split(" ")[4]!);

function makeCgroups(id: string): void {
  for (const root of hierarchies()) {
    const path = join(root, cgroupName(id));
    mkdirSync(path, { recursive: true });
    // Version 1 gives a new group no processors, and none can join it so.
    for (const name of ["cpuset.cpus", "cpuset.mems"])
      if (existsSync(join(path, name)) && !existsSync(join(path, "cgroup.controllers")))
        writeFileSync(join(path, name), readFileSync(join(root, name)));
  }
}

/** Removes all that is left of a cluster, from its id alone; may be repeated, and goes on whatever is missing. Blocks. */
export function cleanUp(id: string): void {
  const holder = Number(readText(join(stateDirectory(id), "pids", "node")));
  killIn([nodeNamespace(id)]);
  // The kernel ends all that is in the node before its process 1 is gone.
  for (let tries = 0; tries < 2000 && isHolder(holder); tries++) pause(5);
  runSync("ip", ["link", "del", hostLink(id)]);
  runSync("ip", ["netns", "del", nodeNamespace(id)]);
  for (const root of hierarchies()) removeCgroup(join(root, cgroupName(id)));
  rmSync(stateDirectory(id), { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  try {
    rmdirSync(STATE_ROOT);
  } catch {
    // Other clusters have something there.
  }
}

function removeCgroup(path: string): void {
  let entries;
  try {
    entries = readdirSync(path, { withFileTypes: true });
  } catch {
    return;
  }
  for (const entry of entries) if (entry.isDirectory()) removeCgroup(join(path, entry.name));
  // A group is busy for a moment after its last process is gone.
  for (let tries = 0; tries < 50; tries++) {
    try {
      return rmdirSync(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EBUSY") return;
      pause(10);
    }
  }
}

/** Whether the node of a cluster is there. */
export const nodeRuns = (id: string): boolean => isHolder(Number(readText(join(stateDirectory(id), "pids/node"))));

/** Whether this is process 1 of a PID namespace: then its number has not been used again. */
function isHolder(pid: number): boolean {
  const status = pid > 1 ? readText(`/proc/${pid}/status`) : undefined;
  return status !== undefined && /^NSpid:\s+\d+\s+1$/m.test(status) && !/^State:\s+Z/m.test(status);
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

const pause = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

/** Waits until a program of the node is gone. */
export const gone = (child: ChildProcess): Promise<true> =>
  until(
    () => child.exitCode !== null || child.signalCode !== null,
    () => `process ${child.pid} does not end`,
    30_000,
    10,
  );
