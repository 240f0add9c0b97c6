/**
 * Private keys that cannot be printed by accident: whoever wants the bytes has to ask for them by name.
 * Knows nothing of certificates.
 */
import { createPrivateKey, type KeyObject } from "node:crypto";
import { inspect } from "node:util";

const REDACTED = "[redacted]";

/**
 * A private key in PEM. String conversion, JSON and inspection (so logs, template strings and error messages too)
 * give `[redacted]`; the bytes are in a private field, which serializers and `structuredClone` do not see.
 */
export class PrivateKey {
  readonly #pem: string;

  /** Takes any PEM text; whether it is a key is only found out by `toKeyObject`. */
  constructor(pem: string) {
    this.#pem = pem;
  }

  /** The PEM text. For the wire and for a store, never for a log. */
  revealPem(): string {
    return this.#pem;
  }

  /** The key for signing. Throws when the PEM cannot be read; the error says nothing of the content. */
  toKeyObject(): KeyObject {
    try {
      return createPrivateKey(this.#pem);
    } catch {
      // node:crypto's own error is dropped: nothing of a secret's content may travel in a message.
      throw new Error("not a readable private key in PEM without a passphrase");
    }
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [Symbol.toPrimitive](): string {
    return REDACTED;
  }

  [inspect.custom](): string {
    return REDACTED;
  }
}
