/**
 * The port to wherever the root is kept, and the error of everything about a CA that a person has to put right.
 * Knows neither files nor Kubernetes.
 */
import type { PrivateKey } from "./private-key.ts";

/** A root as it is kept, in the fields of OSM's Secret `osm-ca-bundle`: `ca.crt` and `private.key`. Not checked yet. */
export interface StoredRoot {
  /** PEM. The signing root first; more roots behind it are trusted, but do not sign. */
  readonly caCrt: string;
  readonly caKey: PrivateKey;
}

/** Where the root is kept. Both calls throw `CaError` for what a person has to put right. */
export interface SecretStore {
  /** For sentences: "directory /var/lib/heddle/ca", "Secret osm-system/osm-ca-bundle". */
  readonly where: string;
  load(): Promise<StoredRoot | undefined>;
  /** Stores the root unless there is one. Whoever comes first wins; everybody is given the winner's. */
  createIfAbsent(root: StoredRoot): Promise<StoredRoot>;
}

/** A mistake in the CA's settings, files or Secret. The message is a whole sentence for the user; no stack need be shown. */
export class CaError extends Error {
  override readonly name = "CaError";
}
