/**
 * The iptables rules of a run, as input of `iptables-restore --noflush`: Services' virtual IPs in the node's namespace
 * (what kube-proxy does), and the way for probes into a pod. Pure text.
 */
import type { Subnets } from "./subnet.ts";

/** A port of a Service, and who answers there now. */
export interface VirtualPort {
  readonly ip: string;
  readonly port: number;
  readonly protocol: "TCP" | "UDP";
  readonly endpoints: readonly { readonly ip: string; readonly port: number }[];
}

const SERVICES = "HEDDLE-SERVICES";
const HAIRPIN = "HEDDLE-HAIRPIN";

/** Once, when the node's namespace is made. */
export const nodeRules = (subnets: Subnets): string => `*nat
:${SERVICES} - [0:0]
:${HAIRPIN} - [0:0]
-A PREROUTING -d ${subnets.services} -j ${SERVICES}
-A POSTROUTING -j ${HAIRPIN}
COMMIT
*filter
-A FORWARD -d ${subnets.services} -j REJECT --reject-with icmp-port-unreachable
COMMIT
`;

/**
 * Whenever Services or endpoints change. The chains are replaced in one transaction. A port without endpoints has no rule, so
 * that it is refused at once by the filter of `nodeRules`.
 */
export function serviceRules(ports: readonly VirtualPort[]): string {
  const lines = ["*nat", `:${SERVICES} - [0:0]`, `:${HAIRPIN} - [0:0]`];
  const own = new Set<string>();
  for (const { ip, port, protocol, endpoints } of ports) {
    const match = `-A ${SERVICES} -d ${ip}/32 -p ${protocol.toLowerCase()} --dport ${port}`;
    endpoints.forEach((endpoint, i) => {
      const left = endpoints.length - i;
      const chance = left > 1 ? ` -m statistic --mode random --probability ${(1 / left).toFixed(10)}` : "";
      lines.push(`${match}${chance} -j DNAT --to-destination ${endpoint.ip}:${endpoint.port}`);
      own.add(endpoint.ip);
    });
  }
  // A pod that is sent to itself would answer itself directly, and not recognise the answer.
  for (const ip of own) lines.push(`-A ${HAIRPIN} -s ${ip}/32 -d ${ip}/32 -j MASQUERADE`);
  return `${lines.join("\n")}\nCOMMIT\n`;
}

/**
 * In a pod, behind the injector's rules. Probes come from the node, as the kubelet's do, and reach the application past the
 * sidecar; Envoy's admin port, which listens on loopback, is opened for the same address. Nobody else reaches loopback.
 */
export const podRules = (subnets: Subnets, adminPort: number | undefined): string => {
  const admin =
    adminPort === undefined
      ? ""
      : `-I PREROUTING 1 -s ${subnets.prober}/32 -p tcp --dport ${adminPort} -j DNAT --to-destination 127.0.0.1:${adminPort}\n`;
  return `*nat
-I PREROUTING 1 -s ${subnets.prober}/32 -j ACCEPT
${admin}COMMIT
*filter
-I INPUT 1 ! -s ${subnets.prober}/32 -i eth0 -d 127.0.0.0/8 -j DROP
COMMIT
`;
};
