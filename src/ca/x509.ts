/**
 * X.509 v3 certificates (RFC 5280) made of and taken into their parts.
 * Encodes and decodes what it is told; what stands in which certificate is decided elsewhere.
 */
import { createHash, randomBytes } from "node:crypto";
import * as der from "./der.ts";
import { pem, type Signer } from "./keys.ts";

const OID = {
  commonName: "2.5.4.3",
  organization: "2.5.4.10",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
} as const;

/** RFC 5280 4.2.1.3: the number is the bit. */
const KEY_USAGE = { digitalSignature: 0, keyEncipherment: 2, keyCertSign: 5, cRLSign: 6 } as const;
export type KeyUsage = keyof typeof KEY_USAGE;

const EXTENDED_KEY_USAGE = {
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;
export type ExtendedKeyUsage = keyof typeof EXTENDED_KEY_USAGE;

/** One name in a SubjectAltName. Written for DNS and URI; `other` is only read. */
export interface AltName {
  readonly kind: "dns" | "uri" | "other";
  readonly value: string;
}

/** A subject's name: the parts that are given, organization first. Without parts it is empty. */
export interface SubjectName {
  readonly organization?: string;
  readonly commonName?: string;
}

/** All that is in a certificate that we make. Times are milliseconds since the epoch, written as whole seconds. */
export interface Template {
  /** RelativeDistinguishedNames, DER, from `encodeName` or from the issuer's certificate, byte by byte. */
  readonly issuer: Uint8Array;
  /** Identifies the issuer's key; left out of a root. */
  readonly issuerKeyId?: Uint8Array;
  readonly subject: Uint8Array;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
  readonly notBefore: number;
  readonly notAfter: number;
  /** A CA that may sign leaves only (pathlen 0), or no CA. */
  readonly ca: boolean;
  readonly keyUsage: readonly KeyUsage[];
  readonly extendedKeyUsage: readonly ExtendedKeyUsage[];
  readonly altNames: readonly AltName[];
}

/** A certificate that was made. */
export interface SignedCertificate {
  readonly der: Buffer;
  readonly pem: string;
  /** Hexadecimal, as openssl and Node print it. */
  readonly serial: string;
}

/** DER of a name. UTF8String as RFC 5280 4.1.2.4 asks for. */
export const encodeName = (name: SubjectName): Buffer =>
  der.sequence(...namePart(OID.organization, name.organization), ...namePart(OID.commonName, name.commonName));

const namePart = (type: string, value: string | undefined): Buffer[] =>
  value === undefined ? [] : [der.setOf(der.sequence(der.oid(type), der.utf8String(value)))];

/** Key identifier: the leftmost 160 bits of SHA-256 of the public key's bits (RFC 7093, method 1). */
export function keyIdOf(publicKey: Uint8Array): Buffer {
  const [, bits] = der.children(der.read(publicKey));
  if (bits?.tag !== der.TAG.bitString) throw new RangeError("not a SubjectPublicKeyInfo");
  return createHash("sha256").update(bits.content.subarray(1)).digest().subarray(0, 20);
}

/** Makes and signs a certificate with a fresh random serial. */
export async function signCertificate(template: Template, signer: Signer): Promise<SignedCertificate> {
  // 20 bytes, as many as RFC 5280 allows; the two top bits are fixed so that it is positive and never shorter.
  const serial = randomBytes(20);
  serial[0] = (serial[0]! & 0x3f) | 0x40;
  const body = der.sequence(
    der.tlv(der.context(0, "constructed"), der.integer(2)),
    der.unsigned(serial),
    signer.algorithm,
    template.issuer,
    der.sequence(der.time(template.notBefore), der.time(template.notAfter)),
    template.subject,
    template.publicKey,
    der.tlv(der.context(3, "constructed"), der.sequence(...extensions(template))),
  );
  const certificate = der.sequence(body, signer.algorithm, der.bitString(await signer.sign(body)));
  return {
    der: certificate,
    pem: pem("CERTIFICATE", certificate),
    serial: serial.toString("hex").toUpperCase(),
  };
}

function extensions(template: Template): Buffer[] {
  const constraints = template.ca ? der.sequence(der.boolean(true), der.integer(0)) : der.sequence();
  const usage = der.namedBits(...template.keyUsage.map((use) => KEY_USAGE[use]));
  const list = [
    extension(OID.basicConstraints, true, constraints),
    extension(OID.keyUsage, true, usage),
    extension(OID.subjectKeyIdentifier, false, der.octetString(keyIdOf(template.publicKey))),
  ];
  if (template.issuerKeyId) {
    const keyId = der.tlv(der.context(0, "primitive"), template.issuerKeyId);
    list.push(extension(OID.authorityKeyIdentifier, false, der.sequence(keyId)));
  }
  if (template.extendedKeyUsage.length > 0) {
    const uses = template.extendedKeyUsage.map((use) => der.oid(EXTENDED_KEY_USAGE[use]));
    list.push(extension(OID.extendedKeyUsage, false, der.sequence(...uses)));
  }
  if (template.altNames.length > 0) {
    // Where the subject is empty, the alternative names are all there is, and must be understood (RFC 5280 4.2.1.6).
    const critical = der.read(template.subject).content.length === 0;
    list.push(extension(OID.subjectAltName, critical, der.sequence(...template.altNames.map(generalName))));
  }
  return list;
}

const extension = (type: string, critical: boolean, value: Uint8Array): Buffer =>
  der.sequence(der.oid(type), ...(critical ? [der.boolean(true)] : []), der.octetString(value));

const GENERAL_NAME = { dns: 2, uri: 6 } as const;

function generalName(name: AltName): Buffer {
  if (name.kind === "other") throw new RangeError("only DNS and URI names can be written");
  // IA5String: anything else would be cut down to other characters and so to another name.
  if (!/^[\x21-\x7e]+$/.test(name.value)) throw new RangeError(`not ASCII: ${JSON.stringify(name.value)}`);
  return der.tlv(der.context(GENERAL_NAME[name.kind], "primitive"), Buffer.from(name.value, "latin1"));
}

/** What Node's `X509Certificate` does not give, or only as text that has to be taken apart. */
export interface CertificateParts {
  /** Subject, DER: what stands byte by byte as issuer in the certificates that it signs. */
  readonly subject: Buffer;
  /** Every common name, outermost first. */
  readonly commonNames: readonly string[];
  readonly altNames: readonly AltName[];
  /** Its SubjectKeyIdentifier; where it has none, what ours would be. */
  readonly keyId: Buffer;
}

/** Takes apart a certificate's DER. Throws RangeError on what is no certificate. */
export function readCertificate(bytes: Uint8Array): CertificateParts {
  const [body] = der.children(der.read(bytes));
  if (!body) throw new RangeError("not a certificate");
  const fields = der.children(body);
  // A version 1 certificate has no version field, so that all others move up.
  const base = fields[0]?.tag === der.context(0, "constructed") ? 1 : 0;
  const subject = fields[base + 4];
  const publicKey = fields[base + 5];
  if (!subject || !publicKey) throw new RangeError("not a certificate");
  const found = new Map<string, Buffer>();
  const list = fields.slice(base + 6).find((field) => field.tag === der.context(3, "constructed"));
  for (const entry of list ? der.children(der.read(list.content)) : []) {
    const parts = der.children(entry);
    found.set(der.oidText(parts[0]!.content), parts.at(-1)!.content);
  }
  const keyId = found.get(OID.subjectKeyIdentifier);
  const altNames = found.get(OID.subjectAltName);
  return {
    subject: subject.raw,
    commonNames: der.children(subject).flatMap(der.children).flatMap(commonName),
    altNames: altNames ? der.children(der.read(altNames)).map(readGeneralName) : [],
    keyId: keyId ? der.read(keyId).content : keyIdOf(publicKey.raw),
  };
}

function commonName(attribute: der.Element): string[] {
  const [type, value] = der.children(attribute);
  if (!type || !value || der.oidText(type.content) !== OID.commonName) return [];
  return [value.content.toString(value.tag === der.TAG.utf8String ? "utf8" : "latin1")];
}

function readGeneralName({ tag, content }: der.Element): AltName {
  if (tag === der.context(GENERAL_NAME.dns, "primitive")) return { kind: "dns", value: content.toString("latin1") };
  if (tag === der.context(GENERAL_NAME.uri, "primitive")) return { kind: "uri", value: content.toString("latin1") };
  return { kind: "other", value: "" };
}
