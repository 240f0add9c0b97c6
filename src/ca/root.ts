/**
 * The root that signs: made new, or taken from a store and checked until nothing about it can fail later but its age.
 * Knows neither files nor who gets certificates.
 */
import { X509Certificate } from "node:crypto";
import { makeKeyPair, signerOf, type KeyKind, type Signer } from "./keys.ts";
import { CaError, type StoredRoot } from "./store.ts";
import { readBundle } from "./trust-bundle.ts";
import { encodeName, keyIdOf, readCertificate, signCertificate } from "./x509.ts";

/**
 * Certificates begin this long before they are made, in milliseconds, because the clocks of nodes differ.
 * Five minutes is what Kerberos and Active Directory allow, so machines that work otherwise stay within it.
 */
export const BACKDATE = 5 * 60_000;

/** A root that may sign. */
export interface Root {
  /** Subject, DER, byte by byte as in the certificate. */
  readonly subject: Buffer;
  readonly keyId: Buffer;
  readonly signer: Signer;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
  /** What the store holds: the signing root first, then whatever else is trusted. */
  readonly trusted: readonly X509Certificate[];
}

/** Makes a self-signed root that may sign leaves and nothing else. */
export async function makeRoot(kind: KeyKind, validity: number, now: number): Promise<StoredRoot> {
  const { publicKey, privateKey } = await makeKeyPair(kind);
  const signer = signerOf(privateKey.toKeyObject());
  if ("refused" in signer) throw new Error(`a fresh ${kind} key cannot sign: ${signer.refused}`);
  // The key's id in the name: in a bundle of two roots a verifier finds the right one by the issuer's name.
  const id = keyIdOf(publicKey).toString("hex").slice(0, 8);
  const name = encodeName({ organization: "Heddle", commonName: `Heddle root ${id}` });
  const certificate = await signCertificate(
    {
      issuer: name,
      subject: name,
      publicKey,
      notBefore: now - BACKDATE,
      notAfter: now + validity,
      ca: true,
      keyUsage: ["keyCertSign", "cRLSign"],
      extendedKeyUsage: [],
      altNames: [],
    },
    signer,
  );
  return { caCrt: certificate.pem, caKey: privateKey };
}

/** Checks what a store gave. Throws `CaError`: what is wrong, where, and what to do. */
export function readRoot(stored: StoredRoot, where: string, now: number): Root {
  const fail = (what: string): never => {
    throw new CaError(
      `The root certificate in ${where} cannot be used: ${what}. Put a matching pair of ca.crt and private.key there, ` +
        "or remove both to have a new root made (running proxies trust a new root only after they have been restarted).",
    );
  };
  const bundle = readBundle(stored.caCrt);
  if ("refused" in bundle) return fail(`ca.crt ${bundle.refused}`);
  const certificate = bundle.roots[0]!;
  let key;
  try {
    key = stored.caKey.toKeyObject();
  } catch (error) {
    return fail(`private.key is ${(error as Error).message}`);
  }
  if (!certificate.checkPrivateKey(key)) return fail("private.key is not the key of the certificate in ca.crt");
  if (!certificate.checkIssued(certificate) || !certificate.verify(certificate.publicKey))
    return fail("the first certificate in ca.crt is not self-signed, and intermediate CAs are not supported");
  const notBefore = Date.parse(certificate.validFrom);
  const notAfter = Date.parse(certificate.validTo);
  if (now >= notAfter) return fail(`it expired on ${new Date(notAfter).toISOString()}`);
  if (now < notBefore)
    return fail(`it is only valid from ${new Date(notBefore).toISOString()} on (is this machine's clock right?)`);
  const signer = signerOf(key);
  if ("refused" in signer) return fail(`private.key cannot sign certificates: ${signer.refused}`);
  const { subject, keyId } = readCertificate(certificate.raw);
  return { subject, keyId, signer, notAfter, trusted: bundle.roots };
}
