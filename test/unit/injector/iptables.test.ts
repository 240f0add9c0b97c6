/** The rules that lead a pod's traffic through its sidecar: their text, and that the kernel's tools take them. */
import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { iptablesRules, iptablesScript, type Interception, type IpFamily } from "../../../src/injector/iptables.ts";
import { isInterface, isIPRange } from "../../../src/world/interception.ts";

const DEFAULTS = `*nat
:OSM_PROXY_INBOUND - [0:0]
:OSM_PROXY_IN_REDIRECT - [0:0]
:OSM_PROXY_OUTBOUND - [0:0]
:OSM_PROXY_OUT_REDIRECT - [0:0]
-A OSM_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-port 15003
-A PREROUTING -p tcp -j OSM_PROXY_INBOUND
-A OSM_PROXY_INBOUND -p tcp --dport 15010 -j RETURN
-A OSM_PROXY_INBOUND -p tcp --dport 15901 -j RETURN
-A OSM_PROXY_INBOUND -p tcp --dport 15902 -j RETURN
-A OSM_PROXY_INBOUND -p tcp --dport 15903 -j RETURN
-A OSM_PROXY_INBOUND -p tcp --dport 15904 -j RETURN
-A OSM_PROXY_INBOUND -p tcp -j OSM_PROXY_IN_REDIRECT
-A OSM_PROXY_OUT_REDIRECT -p tcp -j REDIRECT --to-port 15001
-A OUTPUT -p tcp -j OSM_PROXY_OUTBOUND
-A OSM_PROXY_OUTBOUND -o lo ! -d 127.0.0.1/32 -m owner --uid-owner 1500 -j OSM_PROXY_IN_REDIRECT
-A OSM_PROXY_OUTBOUND -o lo -m owner ! --uid-owner 1500 -j RETURN
-A OSM_PROXY_OUTBOUND -m owner --uid-owner 1500 -j RETURN
-A OSM_PROXY_OUTBOUND -d 127.0.0.1/32 -j RETURN
-A OSM_PROXY_OUTBOUND -j OSM_PROXY_OUT_REDIRECT
COMMIT
`;

test("without settings the text is OSM's, less its unreachable rule", () => {
  expect(iptablesRules({})).toBe(DEFAULTS);
});

test("for IPv6 only the loopback address is another", () => {
  expect(iptablesRules({}, "ipv6")).toBe(DEFAULTS.replaceAll("127.0.0.1/32", "::1/128"));
});

/** The rules that a setting adds, with the rule before them. */
function added(interception: Interception, family: IpFamily = "ipv4"): string[] {
  const usual = new Set(iptablesRules({}, family).split("\n"));
  const lines = iptablesRules(interception, family).split("\n");
  return lines.filter((line) => !usual.has(line));
}

describe("each setting", () => {
  test("inbound ports are let by before anything else is looked at", () => {
    expect(added({ inboundPortExclusions: [9000, 22, 22] })).toEqual([
      "-I OSM_PROXY_INBOUND -p tcp --match multiport --dports 22,9000 -j RETURN",
    ]);
  });

  test("outbound ports", () => {
    expect(added({ outboundPortExclusions: [6379] })).toEqual([
      "-A OSM_PROXY_OUTBOUND -p tcp --match multiport --dports 6379 -j RETURN",
    ]);
  });

  test("more than 15 ports make more than one rule, and none is lost", () => {
    const ports = Array.from({ length: 31 }, (_, i) => 1000 + i);
    const rules = added({ outboundPortExclusions: ports });
    const lists = rules.map((rule) => /--dports (\S+)/.exec(rule)![1]!.split(",").map(Number));
    expect(lists.map((list) => list.length)).toEqual([15, 15, 1]);
    expect(lists.flat()).toEqual(ports);
  });

  test("excluded ranges go by the sidecar, each family its own", () => {
    const interception = { outboundIPRangeExclusions: ["10.0.0.0/8", "fd00::/8", "1.2.3.4/32"] };
    expect(added(interception)).toEqual([
      "-A OSM_PROXY_OUTBOUND -d 10.0.0.0/8 -j RETURN",
      "-A OSM_PROXY_OUTBOUND -d 1.2.3.4/32 -j RETURN",
    ]);
    expect(added(interception, "ipv6")).toEqual(["-A OSM_PROXY_OUTBOUND -d fd00::/8 -j RETURN"]);
  });

  test("with included ranges nothing else is redirected, in either family", () => {
    const interception = { outboundIPRangeInclusions: ["10.0.0.0/8"] };
    const tail = (family: IpFamily) => iptablesRules(interception, family).split("\n").slice(-5);
    expect(tail("ipv4")).toEqual([
      "-A OSM_PROXY_OUTBOUND -d 127.0.0.1/32 -j RETURN",
      "-A OSM_PROXY_OUTBOUND -d 10.0.0.0/8 -j OSM_PROXY_OUT_REDIRECT",
      "-A OSM_PROXY_OUTBOUND -j RETURN",
      "COMMIT",
      "",
    ]);
    expect(tail("ipv6").slice(1)).toEqual([
      "-A OSM_PROXY_OUTBOUND -d ::1/128 -j RETURN",
      "-A OSM_PROXY_OUTBOUND -j RETURN",
      "COMMIT",
      "",
    ]);
  });

  test("interfaces are left alone in both directions", () => {
    expect(added({ interfaceExclusions: ["eth1"] })).toEqual([
      "-I OSM_PROXY_INBOUND -i eth1 -j RETURN",
      "-A OSM_PROXY_OUTBOUND -o eth1 -j RETURN",
    ]);
  });

  test("with the pod's address the sidecar reaches the application there, in the address's family", () => {
    expect(added({ podIP: "10.1.0.7" })).toEqual([
      "-I OUTPUT -p tcp -o lo -d 127.0.0.1/32 ! --dport 15000 -m owner --uid-owner 1500 -j DNAT --to-destination 10.1.0.7",
    ]);
    expect(added({ podIP: "10.1.0.7" }, "ipv6")).toEqual([]);
    for (const family of ["ipv4", "ipv6"] as const)
      expect(added({ podIP: "$POD_IPS" }, family)[0]).toMatch(/^\$\{address:\+-I .* --to-destination \$address\}$/);
  });

  test("another uid stands in every rule that names one", () => {
    const text = iptablesRules({ proxyUid: 1337, podIP: "10.1.0.7" });
    expect(text).not.toContain("--uid-owner 1500");
    expect(text.match(/--uid-owner 1337/g)).toHaveLength(4);
  });

  test("no setting moves the rules of the others", () => {
    const all = iptablesRules(EVERYTHING).split("\n");
    const usual = DEFAULTS.split("\n").filter((line) => line !== "-A OSM_PROXY_OUTBOUND -j OSM_PROXY_OUT_REDIRECT");
    expect(all.filter((line) => usual.includes(line))).toEqual(usual);
  });
});

const EVERYTHING: Interception = {
  podIP: "10.1.0.7",
  inboundPortExclusions: Array.from({ length: 20 }, (_, i) => 2000 + i),
  outboundPortExclusions: Array.from({ length: 40 }, (_, i) => 3000 + i),
  outboundIPRangeExclusions: ["10.9.0.0/16", "fd00:9::/32"],
  outboundIPRangeInclusions: ["10.0.0.0/8", "fd00::/8"],
  interfaceExclusions: ["eth1", "net-a.b_c"],
};

// What users write into annotations ends in a shell that runs as root.
test.each<Interception>([
  { inboundPortExclusions: [0] },
  { inboundPortExclusions: [65536] },
  { outboundPortExclusions: [1.5] },
  { outboundPortExclusions: ["80; reboot" as unknown as number] },
  { outboundIPRangeExclusions: ["10.0.0.0/33"] },
  { outboundIPRangeExclusions: ["10.0.0.0"] },
  { outboundIPRangeInclusions: ["$(reboot)/8"] },
  { outboundIPRangeInclusions: ["10.0.0.0/8\n-F"] },
  { interfaceExclusions: ["eth0 -j ACCEPT"] },
  { interfaceExclusions: ["-F"] },
  { interfaceExclusions: ["a-name-of-more-than-15"] },
  { podIP: "$POD_NAME" },
  { podIP: "`reboot`" },
  { proxyUid: 0 },
])("%j is refused", (interception) => {
  for (const family of ["ipv4", "ipv6"] as const) {
    expect(() => iptablesRules(interception, family)).toThrow(RangeError);
    expect(() => iptablesScript(interception, family)).toThrow(RangeError);
  }
});

test.each([
  ["0.0.0.0/0", true],
  ["::/0", true],
  ["fd00::1/128", true],
  ["::ffff:10.0.0.0/104", true],
  ["fd00::/129", false],
  ["10.0.0/8", false],
  ["10.0.0.0/", false],
  ["10.0.0.256/8", false],
  ["fd00:::/8", false],
  ["host/8", false],
])("%s is an IP range: %s", (text, is) => {
  expect(isIPRange(text)).toBe(is);
});

test.each([
  ["eth0", true],
  ["net-a.b_c", true],
  ["fifteen-letters", true],
  ["sixteen-letters0", false],
  ["", false],
  ["-F", false],
  ["..", false],
  ["eth0\n", false],
  ["a/b", false],
])("%j is the name of an interface: %s", (text, is) => {
  expect(isInterface(text)).toBe(is);
});

describe("the real tools, in a network namespace of their own", () => {
  const can =
    process.getuid?.() === 0 &&
    ["unshare", "iptables-restore", "ip6tables-restore"].every((tool) => spawnSync(tool, ["--version"]).status === 0);
  const required = process.env["CI"] === "true";
  if (!can && !required)
    console.warn("SKIPPED: iptables rules are not shown to iptables-restore: that takes root, unshare and iptables");

  /** Runs a shell script in a namespace that goes away with it. */
  const inside = (script: string, input = "") =>
    spawnSync("unshare", ["--net", "sh", "-ec", script], {
      input,
      encoding: "utf8",
      env: { ...process.env, POD_IPS: "10.1.0.7" },
    });

  const cases: [string, Interception][] = [
    ["defaults", {}],
    ["everything", EVERYTHING],
  ];

  test.skipIf(!can && !required).each(cases)("iptables-restore accepts the rules: %s", (_name, interception) => {
    expect(inside("iptables-restore --noflush --test", iptablesRules(interception))).toMatchObject({
      status: 0,
      stderr: "",
    });
    expect(inside("ip6tables-restore --noflush --test", iptablesRules(interception, "ipv6"))).toMatchObject({
      status: 0,
      stderr: "",
    });
  });

  test.skipIf(!can && !required).each(cases)(
    "the script leaves the same rules however often it runs: %s",
    (_name, interception) => {
      for (const [family, tool] of [
        ["ipv4", "iptables"],
        ["ipv6", "ip6tables"],
      ] as const) {
        const script = iptablesScript({ ...interception, ...(interception.podIP && { podIP: "$POD_IPS" }) }, family);
        const once = inside(`${script}${tool} -t nat -S`);
        const thrice = inside(`${script}${script}${script}${tool} -t nat -S`);
        expect(once).toMatchObject({ status: 0, stderr: "" });
        expect(thrice.stdout).toBe(once.stdout);
        expect(once.stdout.match(/-A PREROUTING/g)).toHaveLength(1);
      }
    },
  );

  test.skipIf(!can && !required)("rules of others stay", () => {
    const others = "iptables -t nat -A OUTPUT -p tcp --dport 99 -j ACCEPT";
    const { stdout } = inside(`${others}\n${iptablesScript({})}iptables -t nat -S`);
    expect(stdout).toContain("-A OUTPUT -p tcp -m tcp --dport 99 -j ACCEPT");
  });
});
