/**
 * Key pairs, and how a key signs: made and used on libuv's thread pool, never on the event loop.
 * Knows nothing of certificates.
 */
import { generateKeyPair, sign as signCallback, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { bitString, context, integer, nothing, octetString, oid, sequence, tlv } from "./der.ts";
import { PrivateKey } from "./private-key.ts";

const generate = promisify(generateKeyPair);
const signOnPool = promisify(signCallback);

/** What keys Heddle makes. */
export const KEY_KINDS = ["ecdsa-p256", "rsa-2048", "rsa-3072", "rsa-4096"] as const;
export type KeyKind = (typeof KEY_KINDS)[number];

/** A fresh key pair. */
export interface KeyPair {
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Buffer;
  /** PKCS #8. */
  readonly privateKey: PrivateKey;
  /** RSA keys may also encipher keys (TLS 1.2 without forward secrecy), which their certificate says. */
  readonly type: "ec" | "rsa";
}

/** Makes a key pair. */
export async function makeKeyPair(kind: KeyKind): Promise<KeyPair> {
  if (kind === "ecdsa-p256") return encodeP256((await generate("ec", { namedCurve: "P-256" })).privateKey);
  const pair = await generate("rsa", {
    modulusLength: Number(kind.slice("rsa-".length)),
    publicKeyEncoding: { type: "spki", format: "der" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  return { publicKey: pair.publicKey, privateKey: new PrivateKey(pair.privateKey), type: "rsa" };
}

/** AlgorithmIdentifier of a P-256 key: id-ecPublicKey with prime256v1. */
const P256 = sequence(oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7"));

/**
 * SPKI (RFC 5480) and PKCS #8 (RFC 5958 around RFC 5915) written here from the key's numbers. node:crypto's own exports
 * take 107 us of the event loop for the two, this takes a quarter of that, and in a reconnect storm that is what counts.
 */
function encodeP256(key: KeyObject): KeyPair {
  const { x, y, d } = key.export({ format: "jwk" }) as { x: string; y: string; d: string };
  const point = Buffer.concat([Buffer.from([4]), Buffer.from(x, "base64url"), Buffer.from(y, "base64url")]);
  const ecPrivateKey = sequence(
    integer(1),
    octetString(Buffer.from(d, "base64url")),
    tlv(context(1, "constructed"), bitString(point)),
  );
  return {
    publicKey: sequence(P256, bitString(point)),
    privateKey: new PrivateKey(pem("PRIVATE KEY", sequence(integer(0), P256, octetString(ecPrivateKey)))),
    type: "ec",
  };
}

/** PEM text (RFC 7468) of DER bytes. */
export function pem(label: string, der: Uint8Array): string {
  const text = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString("base64");
  return `-----BEGIN ${label}-----\n${text.replace(/.{1,64}/g, "$&\n")}-----END ${label}-----\n`;
}

/** How a CA's key signs. */
export interface Signer {
  /** AlgorithmIdentifier, DER. */
  readonly algorithm: Buffer;
  sign(data: Uint8Array): Promise<Buffer>;
}

const ECDSA: Readonly<Record<string, readonly [hash: string, oid: string]>> = {
  prime256v1: ["sha256", "1.2.840.10045.4.3.2"],
  secp384r1: ["sha384", "1.2.840.10045.4.3.3"],
};

/** The signer of a CA's private key, or the reason why that key cannot be one. */
export function signerOf(key: KeyObject): Signer | { readonly refused: string } {
  const details = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === "rsa") {
    const bits = details.modulusLength ?? 0;
    if (bits < 2048) return { refused: `it is an RSA key of ${bits} bits, and less than 2048 is not safe` };
    // sha256WithRSAEncryption; its parameters are NULL, not absent (RFC 4055 section 5).
    return signer("sha256", sequence(oid("1.2.840.113549.1.1.11"), nothing()), key);
  }
  const ecdsa = key.asymmetricKeyType === "ec" ? ECDSA[details.namedCurve ?? ""] : undefined;
  if (ecdsa) return signer(ecdsa[0], sequence(oid(ecdsa[1])), key);
  const kind = [key.asymmetricKeyType, details.namedCurve].filter(Boolean).join(" ");
  return {
    refused: `it is a key of the kind ${kind}, and only RSA and ECDSA with P-256 or P-384 are supported`,
  };
}

const signer = (hash: string, algorithm: Buffer, key: KeyObject): Signer => ({
  algorithm,
  sign: (data) => signOnPool(hash, data, key),
});
