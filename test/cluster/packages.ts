/**
 * The Debian packages that a node needs: looked for, and installed where that disturbs nobody. Knows nothing of clusters.
 */
import { existsSync } from "node:fs";
import { locate } from "../../src/local/command.ts";
import { ClusterError, exec } from "./exec.ts";

/** A file or command of the package → the package. */
const PACKAGES: Readonly<Record<string, string>> = {
  ip: "iproute2",
  nsenter: "util-linux",
  iptables: "iptables",
  conntrack: "conntrack",
  ipset: "ipset",
  socat: "socat",
  containerd: "containerd",
  runc: "runc",
  "/usr/lib/cni/bridge": "containernetworking-plugins",
  buildah: "buildah",
  skopeo: "skopeo",
  "docker-registry": "docker-registry",
  debootstrap: "debootstrap",
  "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
};

export const missingPackages = (): string[] => [
  ...new Set(
    Object.entries(PACKAGES)
      .filter(([what]) => (what.startsWith("/") ? !existsSync(what) : locate(what) === undefined))
      .map(([, name]) => name),
  ),
];

/** Installs what is missing. Throws with the command to run where it will not do that itself. */
export async function installPackages(say: (line: string) => void): Promise<void> {
  const missing = missingPackages();
  if (missing.length === 0) return;
  const command = `apt-get install -y --no-install-recommends ${missing.join(" ")}`;
  if (locate("apt-get") === undefined)
    throw new ClusterError(`The cluster needs these Debian packages, or what they hold: ${missing.join(", ")}.`);
  // Where systemd runs, installing containerd and docker-registry would start them as services: their owner should decide that.
  if (existsSync("/run/systemd/system"))
    throw new ClusterError(
      `The cluster needs packages that are missing here. Install them with:\n  ${command}\n` +
        "containerd and docker-registry come with services that the cluster does not use; you may disable them:\n" +
        "  systemctl disable --now containerd docker-registry",
    );
  say(`installing ${missing.join(", ")}`);
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  await exec(["apt-get", "update", "-qq"], { env });
  await exec(command.split(" "), { env });
  const still = missingPackages();
  if (still.length > 0) throw new ClusterError(`Installed, but still not found: ${still.join(", ")}.`);
}
