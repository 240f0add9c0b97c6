/**
 * The roots that are trusted: a list, because while a root is replaced the old and the new one are trusted side by side.
 * Knows nothing of keys.
 */
import { X509Certificate } from "node:crypto";

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** An immutable list of roots, each once, in the order in which they were given. */
export class TrustBundle {
  readonly roots: readonly X509Certificate[];
  /** All roots, PEM. Equal lists give equal text, whatever the text that they came from looked like. */
  readonly pem: string;

  constructor(roots: readonly X509Certificate[]) {
    this.roots = [...new Map(roots.map((root) => [root.fingerprint256, root])).values()];
    this.pem = this.roots.map((root) => root.toString()).join("");
  }

  /** This bundle and those roots. */
  with(roots: readonly X509Certificate[]): TrustBundle {
    return new TrustBundle([...this.roots, ...roots]);
  }
}

/** Reads PEM text of one or more CA certificates; or says why it is none, as the rest of a sentence. */
export function readBundle(pem: string): TrustBundle | { readonly refused: string } {
  const texts = pem.match(CERTIFICATE) ?? [];
  if (texts.length === 0) return { refused: "holds no certificate in PEM" };
  const opened = pem.split("-----BEGIN ").length - 1;
  if (opened !== texts.length) return { refused: "holds something that is not a whole certificate in PEM" };
  const roots: X509Certificate[] = [];
  for (const [index, text] of texts.entries()) {
    const which = texts.length === 1 ? "its certificate" : `its certificate number ${index + 1}`;
    try {
      roots.push(new X509Certificate(text));
    } catch {
      return { refused: `cannot be read: ${which} is broken` };
    }
    // OpenSSL's answer: basicConstraints says CA and keyUsage, where there is one, allows to sign certificates.
    if (!roots.at(-1)!.ca) return { refused: `cannot be trusted: ${which} is not a CA's` };
  }
  return new TrustBundle(roots);
}
