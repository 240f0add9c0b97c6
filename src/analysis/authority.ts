/**
 * The authorities under which a client's calls reach a destination: the names of virtual hosts. Knows how Envoy compares them.
 */
import type { Language, Languages } from "../language/languages.ts";
import { localName, namespaceOf, serviceHosts, type Identity } from "../world/names.ts";
import type { Destination, Way } from "./ways.ts";

/** What an authority consists of, in a bracket expression (RFC 3986); sidecars answer all else with 400. */
const CHARACTERS = "!$%&'()*+,;=\\-0-9A-Z_a-z~@\\[";
export const AUTHORITIES = `[${CHARACTERS}.:\\]]+`;
/** Whatever follows a name's colon counts as the port. A dot at the end is taken off, so none arrives. */
const ANY_PORT = `(?::(?:[${CHARACTERS}.]*[${CHARACTERS}])?)?`;

/** In any case of letters, with any port or none: routes are found without looking at it. A headless Service's pods have any name before its own. */
export function authoritiesOf(languages: Languages, client: Identity, way: Way, to: Destination): Language {
  const names = namesOf(client, way, to).map(escaped).join("|");
  return languages.regex(`(?i:${to.kind === "pod" ? "[!-9;-~]+\\." : ""}(?:${names}))${ANY_PORT}`);
}

/** As a client would write them, the plainest first. */
export function hostsOf(client: Identity, way: Way, to: Destination): readonly string[] {
  const pod = to.kind === "pod" ? `${localName(to.pod)}.` : "";
  const port = to.port === 80 ? "" : `:${to.port}`;
  const names = namesOf(client, way, to).map((name) => `${pod}${name}${port}`);
  // The shortest name that all namespaces know goes before the one that only its own does.
  const bare = namespaceOf(client) === namespaceOf(way.service.name) ? 1 : 0;
  return [...names.slice(bare), ...names.slice(0, bare)];
}

function namesOf(client: Identity, { service }: Way, to: Destination): readonly string[] {
  const names = serviceHosts(service.name, namespaceOf(client));
  if (to.kind === "pod") return names;
  return [...names, ...service.clusterIPs.map((ip) => (ip.includes(":") ? `[${ip}]` : ip))];
}

const escaped = (text: string): string => text.replace(/[^A-Za-z0-9]/g, "\\$&");
