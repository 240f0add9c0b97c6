/**
 * Every path and name on the machine that the test cluster uses is made here.
 */
import { createHash } from "node:crypto";
import { chmodSync, lstatSync, mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { ClusterError } from "./exec.ts";

/** What may be made again but takes long: binaries and images. `XDG_CACHE_HOME` moves it. */
export function cacheDirectory(...parts: string[]): string {
  const root = process.env["XDG_CACHE_HOME"];
  const path = join(root?.startsWith("/") ? root : join(homedir(), ".cache"), "heddle", "cluster", ...parts);
  mkdirSync(path, { recursive: true });
  return path;
}

/** Where each cluster has a directory with everything it writes: a disk, because images are unpacked there. */
export const STATE_ROOT = "/var/tmp/heddle-cluster";

/** An id is part of interface names (15 characters at most). */
export const isClusterId = (id: string): boolean => /^[a-z0-9]{1,8}$/.test(id);

export const stateDirectory = (id: string): string => join(STATE_ROOT, id);
/** The network namespace that is the node. */
export const nodeNamespace = (id: string): string => `hcluster-${id}`;
/** The machine's end of the link to the node. */
export const hostLink = (id: string): string => `hcl-${id}`;
/** The node's end. */
export const NODE_LINK = "host0";
/** Below the root of each cgroup hierarchy. */
export const cgroupName = (id: string): string => `heddle-cluster-${id}`;

/** The cluster's own addresses: the same in each, because nothing leads from one to another. */
export const NODE_NAME = "node1";
export const NODE_ADDRESS = "10.244.0.1";
/** Of the pods' bridge. */
export const BRIDGE_MAC = "02:00:0a:f4:00:01";
export const POD_CIDR = "10.244.0.0/16";
export const SERVICE_CIDR = "10.96.0.0/16";
export const API_SERVICE_ADDRESS = "10.96.0.1";
export const API_PORT = 6443;
export const REGISTRY_PORT = 5000;

/** The two ends of the link between machine and node: a /30 of 198.18.0.0/15 (RFC 2544: for tests of networks), by the cluster's id. */
export function linkAddresses(id: string): { readonly host: string; readonly node: string } {
  const index = createHash("sha256").update(id).digest().readUInt16BE(0) & 0x7fff;
  const at = (offset: number): string => {
    const n = index * 4 + offset;
    return `198.${18 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;
  };
  return { host: at(1), node: at(2) };
}

/** Makes the root of all state. Throws when somebody else owns it: /var/tmp is everybody's. */
export function makeStateRoot(): void {
  mkdirSync(STATE_ROOT, { recursive: true, mode: 0o755 });
  const { uid } = lstatSync(STATE_ROOT);
  if (uid !== 0) throw new ClusterError(`${STATE_ROOT} belongs to user ${uid}, not to root: remove it.`);
  chmodSync(STATE_ROOT, 0o755);
}
