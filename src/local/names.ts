/**
 * What a cluster's DNS would answer, as a pure function from a table of Services and a question. Knows no socket.
 */
import type { Answer, Question, RecordType } from "dns-packet";
import { CLUSTER_DOMAIN } from "../world/names.ts";

/** A Service as DNS sees it. */
export type NamedService = {
  readonly namespace: string;
  readonly name: string;
  /** For SRV records; only named ports have one. */
  readonly ports?: readonly { readonly name?: string; readonly port: number; readonly protocol: "TCP" | "UDP" }[];
} & (
  | { readonly kind: "clusterIP"; readonly ip: string }
  /** Ready pods; `hostname` gives a pod a name of its own below the Service's. */
  | { readonly kind: "headless"; readonly endpoints: readonly { readonly ip: string; readonly hostname?: string }[] }
  | { readonly kind: "externalName"; readonly target: string }
);

/** Names in lower case without the last dot → what is known of them. */
export interface NameTable {
  readonly addresses: ReadonlyMap<string, readonly string[]>;
  readonly aliases: ReadonlyMap<string, string>;
  readonly services: ReadonlyMap<string, readonly { readonly target: string; readonly port: number }[]>;
  /** Every name that exists or has something below it: asked for another type, it answers "nothing" instead of "no such name". */
  readonly known: ReadonlySet<string>;
}

export interface Reply {
  readonly code: "NOERROR" | "NXDOMAIN";
  readonly answers: readonly Answer[];
}

/** Seconds. Short, because pods come and go; CoreDNS has 5 too. */
const TTL = 5;
/** An alias of an alias of …: more is a loop. */
const MAX_ALIASES = 8;

export function nameTable(services: readonly NamedService[]): NameTable {
  const addresses = new Map<string, string[]>();
  const aliases = new Map<string, string>();
  const ports = new Map<string, { target: string; port: number }[]>();
  for (const service of services) {
    const fqdn = `${service.name}.${service.namespace}.svc.${CLUSTER_DOMAIN}`.toLowerCase();
    const targets: string[] = [];
    if (service.kind === "externalName") aliases.set(fqdn, normal(service.target));
    else if (service.kind === "clusterIP") {
      addresses.set(fqdn, [service.ip]);
      targets.push(fqdn);
    } else {
      addresses.set(fqdn, [...new Set(service.endpoints.map((e) => e.ip))].sort());
      for (const { ip, hostname } of service.endpoints) {
        // CoreDNS names pods without a hostname after their address.
        const name = `${hostname ?? ip.replaceAll(".", "-")}.${fqdn}`.toLowerCase();
        addresses.set(name, [...(addresses.get(name) ?? []), ip]);
        targets.push(name);
      }
    }
    for (const { name, port, protocol } of service.ports ?? []) {
      if (name === undefined) continue;
      ports.set(
        `_${name}._${protocol}.${fqdn}`.toLowerCase(),
        targets.map((target) => ({ target, port })),
      );
    }
  }
  const known = new Set<string>([CLUSTER_DOMAIN, `svc.${CLUSTER_DOMAIN}`]);
  for (const name of [...addresses.keys(), ...aliases.keys(), ...ports.keys()]) {
    for (
      let rest = name;
      rest.length > CLUSTER_DOMAIN.length && !known.has(rest);
      rest = rest.slice(rest.indexOf(".") + 1)
    ) {
      known.add(rest);
    }
  }
  return { addresses, aliases, services: ports, known };
}

/** The reply to one question. Names outside the cluster do not exist: nothing leads there. */
export function answer(table: NameTable, question: Question): Reply {
  const answers: Answer[] = [];
  let name = normal(question.name);
  let found = table.known.has(name);
  for (let hops = 0; hops < MAX_ALIASES; hops++) {
    const target = table.aliases.get(name);
    if (target === undefined) break;
    answers.push({ type: "CNAME", name: hops === 0 ? question.name : name, ttl: TTL, data: target });
    if (question.type === "CNAME") return { code: "NOERROR", answers };
    name = target;
    found ||= table.known.has(name);
  }
  const owner = answers.length === 0 ? question.name : name;
  if (asks(question.type, "A")) {
    for (const data of table.addresses.get(name) ?? []) answers.push({ type: "A", name: owner, ttl: TTL, data });
  }
  if (asks(question.type, "SRV")) {
    for (const { target, port } of table.services.get(name) ?? []) {
      answers.push({ type: "SRV", name: owner, ttl: TTL, data: { target, port, priority: 0, weight: 0 } });
    }
  }
  return { code: found ? "NOERROR" : "NXDOMAIN", answers };
}

const asks = (type: RecordType, wanted: RecordType): boolean => type === wanted || (type as string) === "ANY";
const normal = (name: string): string => name.toLowerCase().replace(/\.$/, "");
