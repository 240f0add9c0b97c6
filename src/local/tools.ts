/**
 * What local pods need of the machine: Linux, root, a few tools, and enough inotify instances for many Envoys.
 */
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { LocalError } from "./errors.ts";
import { locate, tool } from "./command.ts";

/** Tool → Debian package. */
const TOOLS: Readonly<Record<string, string>> = {
  ip: "iproute2",
  "iptables-restore": "iptables",
  nsenter: "util-linux",
  unshare: "util-linux",
  setpriv: "util-linux",
  mount: "mount",
};

const INOTIFY_INSTANCES = "/proc/sys/fs/inotify/max_user_instances";
/** Each Envoy takes a few; the usual 128 end at about 32 Envoys. */
const INOTIFY_WANTED = 1024;

/** What the machine is, as an argument so that tests can say otherwise. */
export interface Machine {
  readonly platform: string;
  readonly uid: number;
  readonly locate: (tool: string) => string | undefined;
}

const thisMachine = (): Machine => ({ platform: process.platform, uid: process.getuid?.() ?? -1, locate });

/** The packages that lack, or why nothing can be done: a `LocalError` that is thrown. */
export function missingPackages(machine: Machine = thisMachine()): string[] {
  if (machine.platform !== "linux") {
    throw new LocalError(
      "not-linux",
      `Local pods need Linux (network namespaces and iptables); this is ${machine.platform}. Use a Linux machine or a virtual machine.`,
    );
  }
  if (machine.uid !== 0) {
    throw new LocalError(
      "not-root",
      "Local pods need root, because they make network namespaces. Run the same command with sudo.",
    );
  }
  const missing = Object.keys(TOOLS).filter((name) => machine.locate(name) === undefined);
  return [...new Set(missing.map((name) => TOOLS[name]!))].sort();
}

/** The command that installs Debian's packages of these names, in the words of the package managers that we know. */
export function installCommand(packages: readonly string[], has: (tool: string) => boolean): string {
  const list = packages.join(" ");
  if (has("apt-get")) return `apt-get install -y --no-install-recommends ${list}`;
  // Elsewhere `mount` is a part of util-linux, and iproute2 has another name.
  const others = [...new Set(packages.map((p) => (p === "mount" ? "util-linux" : p)))];
  if (has("dnf")) return `dnf install -y ${others.join(" ").replace("iproute2", "iproute")}`;
  if (has("apk")) return `apk add ${others.join(" ").replace("util-linux", "util-linux setpriv")}`;
  if (has("pacman")) return `pacman -S --noconfirm ${others.join(" ")}`;
  if (has("zypper")) return `zypper install -y ${others.join(" ")}`;
  return `install the packages ${list} with this system's package manager`;
}

/**
 * Makes the machine ready for local pods, saying each thing that it does in one line. Installs Debian packages where it
 * can; otherwise throws a `LocalError` that holds the command to run.
 */
export async function ensureTools(say: (line: string) => void): Promise<void> {
  const missing = missingPackages();
  if (missing.length > 0) {
    const command = installCommand(missing, (name) => locate(name) !== undefined);
    if (locate("apt-get") === undefined) {
      throw new LocalError("missing-tools", `Missing on this machine: ${missing.join(", ")}. Please run: ${command}`);
    }
    say(`Installing ${missing.join(", ")} with apt-get`);
    await aptGet(["install", "-y", "--no-install-recommends", ...missing], say).catch(async () => {
      say("Reading the lists of packages (apt-get update)");
      await aptGet(["update"], say).catch(() => {});
      await aptGet(["install", "-y", "--no-install-recommends", ...missing], say).catch(() => {});
    });
    const still = missingPackages();
    if (still.length > 0) {
      throw new LocalError(
        "missing-tools",
        `apt-get could not install ${still.join(", ")}. Please run: apt-get update && ${command}`,
      );
    }
  }
  raiseInotify(say);
}

/** Raises the limit of inotify instances if it is lower than many Envoys need. It is left so: other runs may rely on it. */
function raiseInotify(say: (line: string) => void): void {
  const now = Number(readFileSync(INOTIFY_INSTANCES, "utf8"));
  if (now >= INOTIFY_WANTED) return;
  try {
    writeFileSync(INOTIFY_INSTANCES, String(INOTIFY_WANTED));
    say(`Raised fs.inotify.max_user_instances from ${now} to ${INOTIFY_WANTED}`);
  } catch {
    say(
      `Could not raise fs.inotify.max_user_instances from ${now}: above about ${Math.floor(now / 4)} pods, Envoys may not start`,
    );
  }
}

function aptGet(args: readonly string[], say: (line: string) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(tool("apt-get"), ["-q", ...args], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    });
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      for (const line of text.split("\n")) if (/^(Get|Unpacking|Setting up)\b/.test(line)) say(`  ${line}`);
    });
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`apt-get: exit code ${code}`))));
  });
}
