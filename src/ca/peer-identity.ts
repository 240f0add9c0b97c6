/**
 * Which proxy a client certificate on the xDS port stands for, and the names that such a certificate bears.
 * Knows names only: that the chain is right and not expired, TLS has checked before.
 */
import type { X509Certificate } from "node:crypto";
import { identity, namespaceOf, localName, spiffeId, type Identity } from "../world/names.ts";
import { readCertificate, type CertificateParts } from "./x509.ts";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const NAMESPACE = new RegExp(`^${LABEL}$`);
const SUBDOMAIN = new RegExp(`^${LABEL}(\\.${LABEL})*$`);
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

/** Whether it is a UUID as Kubernetes and OSM write it. */
export const isUuid = (text: string): boolean => UUID.test(text);
/** Whether it is a DNS name of lower-case labels: a trust domain, a ServiceAccount, a server's name. */
export const isDnsName = (text: string): boolean => text.length <= 253 && SUBDOMAIN.test(text);
/** Whether the parts of an identity are names that Kubernetes accepts. */
export const isIdentity = (id: Identity): boolean =>
  id === identity(namespaceOf(id), localName(id)) &&
  NAMESPACE.test(namespaceOf(id)) &&
  namespaceOf(id).length <= 63 &&
  isDnsName(localName(id));

/** OSM's name of one proxy: `<uuid>.sidecar.<sa>.<ns>.<trust domain>`. */
export const sidecarDnsName = (id: Identity, uuid: string, trustDomain: string): string =>
  `${uuid}.sidecar.${localName(id)}.${namespaceOf(id)}.${trustDomain}`;

/** Our name of one proxy: its workload's SPIFFE ID and `/sidecar/<uuid>`. */
export const sidecarUri = (id: Identity, uuid: string, trustDomain: string): string =>
  `${spiffeId(id, trustDomain)}/sidecar/${uuid}`;

/** A proxy that has proved who it is. */
export interface PeerIdentity {
  readonly identity: Identity;
  readonly uuid: string;
}

/** Why a certificate is not accepted: a sentence. */
export interface Refusal {
  readonly refused: string;
}

export interface PeerOptions {
  /**
   * Whether certificates without a URI (OSM's) are accepted; default true. OSM gave its workload certificates the same kind
   * of name, so where OSM's CA is shared and ServiceAccounts named `<uuid>.sidecar.<other>` may be made, only false is safe.
   */
  readonly osmForm?: boolean;
}

/**
 * Reads the identity of a proxy from its client certificate. Two forms are accepted: ours, whose URI and DNS names agree;
 * and, without any URI, OSM's. A URI of any other form refuses: so a workload's certificate, which always has one, is never
 * taken for a proxy's, however its ServiceAccount is named. A ServiceAccount's name may have dots, a namespace has none:
 * behind the first two labels, the last one is the namespace.
 */
export function peerIdentity(
  certificate: X509Certificate,
  trustDomain: string,
  options: PeerOptions = {},
): PeerIdentity | Refusal {
  if (certificate.ca) return refuse("it is a CA's certificate");
  // Node's `keyUsage` is the extended one. A server's certificate is not a client's.
  if (certificate.keyUsage && !certificate.keyUsage.includes(CLIENT_AUTH))
    return refuse("it is not meant for clients (extended key usage)");
  let parts: CertificateParts;
  try {
    parts = readCertificate(certificate.raw);
  } catch {
    return refuse("it cannot be read");
  }
  const dns = parts.altNames.filter((name) => name.kind === "dns").map((name) => name.value);
  const uris = parts.altNames.filter((name) => name.kind === "uri").map((name) => name.value);
  const [name] = dns;
  if (name === undefined || dns.length > 1 || uris.length > 1 || dns.length + uris.length !== parts.altNames.length)
    return refuse("it must have exactly one DNS name, at most one URI, and no other alternative name");
  const { commonNames } = parts;
  if (commonNames.length !== 1 || commonNames[0] !== name)
    return refuse(`its common name must be its DNS name ${quote(name)}`);
  const peer = readSidecarName(name, trustDomain);
  if ("refused" in peer) return peer;
  const [uri] = uris;
  if (uri === undefined)
    return options.osmForm === false ? refuse("it has no URI, and OSM's form is not accepted here") : peer;
  if (uri === sidecarUri(peer.identity, peer.uuid, trustDomain)) return peer;
  return refuse(`its URI ${quote(uri)} does not name the proxy that its DNS name ${quote(name)} names`);
}

/** Whose sidecar somebody says that it is, by a name of OSM's form; undefined for any other name. Proves nothing. */
export function claimedIdentity(name: string, trustDomain: string): Identity | undefined {
  const claim = readSidecarName(name, trustDomain);
  return "refused" in claim ? undefined : claim.identity;
}

function readSidecarName(name: string, trustDomain: string): PeerIdentity | Refusal {
  const suffix = `.${trustDomain}`;
  if (!name.endsWith(suffix)) return refuse(`its name ${quote(name)} is not in the trust domain ${trustDomain}`);
  const [uuid = "", kind, ...labels] = name.slice(0, -suffix.length).split(".");
  const namespace = labels.pop() ?? "";
  const account = labels.join(".");
  const id = identity(namespace, account);
  if (!isUuid(uuid) || kind !== "sidecar" || !isIdentity(id))
    return refuse(`its name ${quote(name)} is not of the form <uuid>.sidecar.<service account>.<namespace>${suffix}`);
  return { identity: id, uuid };
}

const refuse = (reason: string): Refusal => ({
  refused: `The client certificate is refused: ${reason}.`,
});

/** The peer chose these characters: none may break a log line, and not too many. */
const quote = (text: string): string => JSON.stringify(text.length > 300 ? `${text.slice(0, 300)}...` : text);
