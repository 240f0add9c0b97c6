/**
 * Starts a program inside a pod: its network namespace, its files for name resolution, its host name, its user, and no more rights
 * than a container would have. Knows nothing of restarts.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { tool } from "./command.ts";
import { STATE_ROOT } from "./record.ts";

export interface LaunchSpec {
  readonly netns: string;
  readonly hostname: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly uid: number;
  readonly gid: number;
  /** A sidecar has no capability at all and sees its own files; an application sees no files of runs. */
  readonly role: "application" | "sidecar";
}

/**
 * What container engines give by default, without those that reach past the pod: no NET_RAW (frames to the host's link), no MKNOD
 * (the host's disks), no SYS_* and no NET_ADMIN (the redirection would be the application's to remove).
 */
const CAPABILITIES = [
  "chown",
  "dac_override",
  "fowner",
  "fsetid",
  "kill",
  "setgid",
  "setuid",
  "setpcap",
  "net_bind_service",
  "audit_write",
  "setfcap",
];

/** Applications share the machine's files, so what runs keep (a sidecar's key, say) is covered by an empty directory. */
const START = `
[ ! -w /proc/sys/kernel/hostname ] || echo "$1" > /proc/sys/kernel/hostname
[ -z "$2" ] || "$3" -t tmpfs -o ro,size=4k,mode=755 tmpfs "$2" || exit 126
shift 3
exec "$@"`;

/** The command line that does it, run by root. Every program in it replaces the one before, so it stays one process. */
export function launchCommand(spec: LaunchSpec): [string, ...string[]] {
  return [
    tool("ip"),
    "netns",
    "exec",
    spec.netns,
    tool("unshare"),
    "--uts",
    "--",
    "/bin/sh",
    "-c",
    START,
    "sh",
    spec.hostname,
    spec.role === "application" ? STATE_ROOT : "",
    tool("mount"),
    tool("setpriv"),
    ...rights(spec),
    "--",
    ...spec.argv,
  ];
}

function rights({ uid, gid, role }: LaunchSpec): string[] {
  const user = [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
  if (role === "sidecar") return [...user, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"];
  if (uid === 0) return [...user, `--bounding-set=${only(CAPABILITIES)}`, "--inh-caps=-all"];
  // In a cluster an image is readable to its user whatever the machine's directories say; here the program may lie in root's home.
  const read = ["dac_read_search"];
  return [
    ...user,
    `--bounding-set=${only([...CAPABILITIES, ...read])}`,
    `--inh-caps=${only(read)}`,
    `--ambient-caps=${only(read)}`,
  ];
}

const only = (capabilities: readonly string[]): string => ["-all", ...capabilities.map((name) => `+${name}`)].join(",");

/** Starts it as the leader of a process group of its own, with pipes for its output. */
export function launch(spec: LaunchSpec): ChildProcess {
  const [program, ...args] = launchCommand(spec);
  return spawn(program, args, {
    env: { ...spec.env },
    ...(spec.cwd !== undefined && { cwd: spec.cwd }),
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
}

/** Sends a signal to a whole process group; nothing happens when it is gone. */
export function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // Gone already.
  }
}
