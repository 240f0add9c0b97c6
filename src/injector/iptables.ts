/**
 * The iptables rules that lead a pod's TCP through its sidecar, as text for `iptables-restore --noflush`.
 * Pure; knows neither pods nor who runs the text (an init container or a local pod).
 *
 * Chains, their order and the ports that are left alone are OSM's (pkg/injector/iptables.go), with three faults mended:
 * long port lists are cut into chunks of 15 (the kernel's limit of `multiport`), a second run leaves the same rules, and OSM's
 * `ACCEPT` of port 15000 is left out: it stood behind the REDIRECT of everything, and in front of it any server on port 15000
 * of any host could have been reached around the sidecar.
 */
import { isIPv6 } from "../world/address.ts";
import { isExactAddress, isInterface, isIPRange } from "../world/interception.ts";

/** The uid that Envoy runs as. What it sends is not led back to it. */
export const PROXY_UID = 1500;
/** Envoy's listener for what the application sends. */
export const OUTBOUND_PORT = 15001;
/** Envoy's listener for what others send to the application. */
export const INBOUND_PORT = 15003;
/** Envoy's admin interface, on loopback. */
export const ADMIN_PORT = 15000;
/** Served by the sidecar itself, so never redirected: metrics, and the three probes and the health check of OSM. */
export const SIDECAR_PORTS: readonly number[] = [15010, 15901, 15902, 15903, 15904];

export type IpFamily = "ipv4" | "ipv6";

export interface Interception {
  /**
   * When given, the sidecar reaches the application at this address instead of at 127.0.0.1, for applications that listen
   * on the pod's address only (`localProxyMode: PodIP`). Rules of the other family do without. `$POD_IPS` is for scripts alone:
   * the variable of that name, as Kubernetes fills it in, has the pod's address of each family.
   */
  readonly podIP?: string;
  readonly proxyUid?: number;
  /** Ports of the pod whose traffic does not pass the sidecar. */
  readonly inboundPortExclusions?: readonly number[];
  /** Ports of other hosts that are called directly. */
  readonly outboundPortExclusions?: readonly number[];
  /** CIDR ranges that are called directly. Ranges of the other family are passed over. */
  readonly outboundIPRangeExclusions?: readonly string[];
  /** When not empty, only these CIDR ranges are called through the sidecar. */
  readonly outboundIPRangeInclusions?: readonly string[];
  /** Network interfaces whose traffic does not pass the sidecar, in either direction. */
  readonly interfaceExclusions?: readonly string[];
}

const POD_IPS = "$POD_IPS";

/** `multiport` takes so many ports (XT_MULTI_PORTS). */
const MULTIPORT_LIMIT = 15;

/**
 * The `nat` table's text. Applied again, the chains are made anew (a chain's `:` line empties it) and only the jumps of
 * `jumps()` are there twice, which changes nothing for a packet; `iptablesScript` removes them first.
 *
 * @throws RangeError on a port, range, address or interface that is none: what comes from annotations ends in a root shell.
 */
export function iptablesRules(interception: Interception, family: IpFamily = "ipv4"): string {
  const uid = checkUid(interception.proxyUid ?? PROXY_UID);
  const loopback = family === "ipv4" ? "127.0.0.1/32" : "::1/128";
  const excluded = rangesOf(interception.outboundIPRangeExclusions, family);
  const included = rangesOf(interception.outboundIPRangeInclusions, family);
  const interfaces = (interception.interfaceExclusions ?? []).map(checkInterface);
  const [inboundJump, outboundJump, ...podIPJump] = jumps(interception, family);
  const onlyIncluded = (interception.outboundIPRangeInclusions ?? []).length > 0;
  return [
    "*nat",
    ":OSM_PROXY_INBOUND - [0:0]",
    ":OSM_PROXY_IN_REDIRECT - [0:0]",
    ":OSM_PROXY_OUTBOUND - [0:0]",
    ":OSM_PROXY_OUT_REDIRECT - [0:0]",

    `-A OSM_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-port ${INBOUND_PORT}`,
    `-A ${inboundJump}`,
    ...SIDECAR_PORTS.map((port) => `-A OSM_PROXY_INBOUND -p tcp --dport ${port} -j RETURN`),
    "-A OSM_PROXY_INBOUND -p tcp -j OSM_PROXY_IN_REDIRECT",
    ...interfaces.map((name) => `-I OSM_PROXY_INBOUND -i ${name} -j RETURN`),
    ...multiport(interception.inboundPortExclusions, (match) => `-I OSM_PROXY_INBOUND -p tcp ${match} -j RETURN`),

    `-A OSM_PROXY_OUT_REDIRECT -p tcp -j REDIRECT --to-port ${OUTBOUND_PORT}`,
    `-A ${outboundJump}`,
    // The sidecar calls its own pod by the pod's address: the call is inbound, as if another pod had made it.
    `-A OSM_PROXY_OUTBOUND -o lo ! -d ${loopback} -m owner --uid-owner ${uid} -j OSM_PROXY_IN_REDIRECT`,
    `-A OSM_PROXY_OUTBOUND -o lo -m owner ! --uid-owner ${uid} -j RETURN`,
    `-A OSM_PROXY_OUTBOUND -m owner --uid-owner ${uid} -j RETURN`,
    `-A OSM_PROXY_OUTBOUND -d ${loopback} -j RETURN`,
    // Where the pod has no address of this family there is no rule: an empty line.
    ...podIPJump.map((rule) => (interception.podIP === POD_IPS ? `\${address:+-I ${rule}}` : `-I ${rule}`)),
    ...interfaces.map((name) => `-A OSM_PROXY_OUTBOUND -o ${name} -j RETURN`),
    ...excluded.map((range) => `-A OSM_PROXY_OUTBOUND -d ${range} -j RETURN`),
    ...multiport(interception.outboundPortExclusions, (match) => `-A OSM_PROXY_OUTBOUND -p tcp ${match} -j RETURN`),
    ...included.map((range) => `-A OSM_PROXY_OUTBOUND -d ${range} -j OSM_PROXY_OUT_REDIRECT`),
    // A list without a range of this family still says: nothing but the list.
    `-A OSM_PROXY_OUTBOUND -j ${onlyIncluded ? "RETURN" : "OSM_PROXY_OUT_REDIRECT"}`,
    "COMMIT",
    "",
  ].join("\n");
}

/**
 * The same as a `/bin/sh` script that may run any number of times: no text for `iptables-restore` can take a rule away only
 * if it is there, so the script does. Exit status: that of `iptables-restore`.
 */
export function iptablesScript(interception: Interception, family: IpFamily = "ipv4"): string {
  const tool = family === "ipv4" ? "iptables" : "ip6tables";
  return [
    ...addressOf(interception, family),
    ...jumps(interception, family).map((rule) => `while ${tool} -w -t nat -D ${rule} 2>/dev/null; do :; done`),
    // Unquoted on purpose: the shell fills in the pod's address. Nothing else in the text can hold a $ (see the checks below).
    `${tool}-restore --noflush <<EOF`,
    `${iptablesRules(interception, family)}EOF`,
    "",
  ].join("\n");
}

/** Lines of the script that give it the pod's address of the family, or none. */
const addressOf = ({ podIP }: Interception, family: IpFamily): string[] =>
  podIP === POD_IPS
    ? [
        "address=",
        `for ip in $(echo "${POD_IPS}" | tr , " "); do case $ip in ${family === "ipv4" ? "*:*) ;; *)" : "*:*)"} address=$ip ;; esac; done`,
      ]
    : [];

/** The rules in chains that are not ours: they lead into our chains. */
function jumps(interception: Interception, family: IpFamily): [string, string, ...string[]] {
  const uid = checkUid(interception.proxyUid ?? PROXY_UID);
  const loopback = family === "ipv4" ? "127.0.0.1/32" : "::1/128";
  const podIP = interception.podIP === undefined ? [] : [checkPodIP(interception.podIP)];
  return [
    "PREROUTING -p tcp -j OSM_PROXY_INBOUND",
    "OUTPUT -p tcp -j OSM_PROXY_OUTBOUND",
    ...podIP
      .filter((ip) => ip === POD_IPS || familyOf(ip) === family)
      // Its own admin interface listens on loopback only, and metrics come from there.
      .map(
        (ip) =>
          `OUTPUT -p tcp -o lo -d ${loopback} ! --dport ${ADMIN_PORT} -m owner --uid-owner ${uid} -j DNAT --to-destination ${ip === POD_IPS ? "$address" : ip}`,
      ),
  ];
}

function multiport(ports: readonly number[] = [], rule: (match: string) => string): string[] {
  const sorted = [...new Set(ports.map(checkPort))].sort((a, b) => a - b);
  const rules: string[] = [];
  for (let i = 0; i < sorted.length; i += MULTIPORT_LIMIT) {
    rules.push(rule(`--match multiport --dports ${sorted.slice(i, i + MULTIPORT_LIMIT).join(",")}`));
  }
  return rules;
}

const rangesOf = (ranges: readonly string[] = [], family: IpFamily): string[] =>
  ranges.map(checkRange).filter((range) => familyOf(range) === family);

const familyOf = (address: string): IpFamily => (isIPv6(address) ? "ipv6" : "ipv4");

function checkPort(port: number): number {
  if (Number.isInteger(port) && port >= 1 && port <= 65535) return port;
  throw new RangeError(`${port} is not a port: 1 to 65535`);
}

function checkUid(uid: number): number {
  if (Number.isInteger(uid) && uid > 0) return uid;
  throw new RangeError(`${uid} is not a user id that a sidecar can have`);
}

function checkPodIP(ip: string): string {
  if (ip === POD_IPS || isExactAddress(ip)) return ip;
  throw new RangeError(`"${ip}" is not an IP address`);
}

function checkRange(range: string): string {
  if (isIPRange(range)) return range;
  throw new RangeError(`"${range}" is not an IP range such as 10.0.0.0/8`);
}

function checkInterface(name: string): string {
  if (isInterface(name)) return name;
  throw new RangeError(`"${name}" is not the name of a network interface`);
}
