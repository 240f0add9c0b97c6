/** The init container's script, run as the pod's would be: root with NET_ADMIN and nothing else, in a network namespace of its own. */
import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { expand, named, patched, pod, type Loose } from "./pods.ts";

const can =
  process.getuid?.() === 0 &&
  ["unshare", "setpriv", "iptables-restore", "ip6tables-restore", "ip"].every(
    (tool) => spawnSync(tool, [tool === "ip" ? "-V" : "--version"]).status === 0,
  );
const required = process.env["CI"] === "true";
if (!can && !required)
  console.warn("SKIPPED: the init container's script is not run: that takes root, unshare, setpriv and iptables");

/** The container's arguments as the kubelet passes them, and then a look at the rules. */
function run(of: Loose, before = "true", ips = "10.1.0.7") {
  const init = named(of, "osm-init");
  const script = [
    before,
    `setpriv --bounding-set=-all,+net_admin --inh-caps=-all --no-new-privs -- ${init.command.join(" ")} "$SCRIPT" || exit 7`,
    "iptables -t nat -S; echo ---; ip6tables -t nat -S",
  ].join("\n");
  const env = { ...process.env, POD_IPS: ips, SCRIPT: expand(init.args[0], {}) };
  const { status, stdout, stderr } = spawnSync("unshare", ["--net", "sh", "-c", script], { encoding: "utf8", env });
  const [ipv4 = "", ipv6 = ""] = stdout.split("---");
  return { status, ipv4, ipv6, stderr };
}

test.skipIf(!can && !required)("both families get their rules", () => {
  const excluded = { annotations: { "openservicemesh.io/inbound-port-exclusion-list": "6379" } };
  const of = patched(pod({}, excluded), { settings: { localProxyMode: "PodIP" } });
  const { status, ipv4, ipv6, stderr } = run(of, "ip link set lo up; ip -6 addr add fd00::7/128 dev lo");
  expect(status, stderr).toBe(0);
  for (const rules of [ipv4, ipv6]) {
    expect(rules).toContain("-A OSM_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15003");
    expect(rules).toContain("-A OUTPUT -p tcp -j OSM_PROXY_OUTBOUND");
    expect(rules).toMatch(/OSM_PROXY_INBOUND -p tcp -m multiport --dports 6379 -j RETURN/);
  }
  expect(ipv4).toContain("-j DNAT --to-destination 10.1.0.7");
  expect(ipv6).not.toContain("DNAT");
});

test.skipIf(!can && !required).each([
  ["10.1.0.7", ["10.1.0.7", undefined]],
  ["fd00::7", [undefined, "fd00::7"]],
  ["10.1.0.7,fd00::7", ["10.1.0.7", "fd00::7"]],
  ["fd00::7,10.1.0.7", ["10.1.0.7", "fd00::7"]],
])("an application at the pod's addresses %s is reached in each family", (ips, wanted) => {
  const of = patched(pod(), { settings: { localProxyMode: "PodIP" } });
  const { status, ipv4, ipv6, stderr } = run(of, "ip link set lo up; ip -6 addr add fd00::7/128 dev lo", ips);
  expect(status, stderr).toBe(0);
  expect([ipv4, ipv6].map((rules) => /DNAT --to-destination (\S+)/.exec(rules)?.[1])).toEqual(wanted);
});

/** Puts a program of this name in front of the real one. */
const instead = (name: string, body: string) =>
  `bin=$(mktemp -d); trap 'rm -rf "$bin"' EXIT; printf '#!/bin/sh\\n${body}\\n' >$bin/${name}; chmod +x $bin/${name}; PATH=$bin:$PATH`;

test.skipIf(!can && !required)("a node without IPv6 tables is fine as long as the pod has no IPv6 address", () => {
  const broken = instead("ip6tables", "exit 3");
  const alone = run(patched(pod()), broken);
  expect(alone.status, alone.stderr).not.toBe(7);
  expect(alone.ipv4).toContain("OSM_PROXY_INBOUND");
  const restore = `${broken}; ${instead("ip6tables-restore", "exit 3").replace("bin=$(mktemp -d);", "")}`;
  const exposed = run(patched(pod()), `${restore}; ip link set lo up; ip -6 addr add fd00::7/128 dev lo`);
  expect(exposed.status).toBe(7);
});
