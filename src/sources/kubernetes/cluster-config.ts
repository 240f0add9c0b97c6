/**
 * Where the API server is and how to prove who asks, read from a pod's ServiceAccount mount. Makes no request.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "./errors.ts";

export interface ClusterConfig {
  /** `https://host:port`, with a path when the server has one. */
  readonly server: string;
  /** PEM; the system's roots when absent. */
  readonly ca?: string;
  /** PEM, both or none. */
  readonly clientCertificate?: string;
  readonly clientKey?: string;
  /** The bearer token of now; called before each request. */
  readonly token?: Token;
  /** The name in the server's certificate, when it is not the host's. */
  readonly serverName?: string;
  readonly insecureSkipTlsVerify?: boolean;
  /** Where objects without a namespace go. */
  readonly namespace: string;
}

export interface Token {
  current(): Promise<string>;
  /** The server did not accept it: whatever is cached is not to be used again. */
  rejected(): void;
}

/** Where Kubernetes mounts a pod's ServiceAccount. */
export const MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/** How long a token is used before its file is read again, in milliseconds: client-go's minute; the kubelet rotates it at 80 % of its life. */
const FRESH = 60_000;

/** A token in a file that somebody else replaces. Concurrent calls share one reading; a failed one keeps the last token. */
export function fileToken(path: string, now: () => number = () => performance.now()): Token {
  let kept: { readonly token: string; readonly until: number } | undefined;
  let reading: Promise<string> | undefined;
  const read = async (): Promise<string> => {
    try {
      const token = (await readFile(path, "utf8")).trim();
      if (token === "") throw new Error("it is empty");
      kept = { token, until: now() + FRESH };
      return token;
    } catch (error) {
      if (kept) return kept.token;
      throw new ConfigError(`The token ${path} cannot be read: ${(error as Error).message}.`, { cause: error });
    } finally {
      reading = undefined;
    }
  };
  return {
    current: () => (kept && kept.until > now() ? Promise.resolve(kept.token) : (reading ??= read())),
    rejected: () => {
      if (kept) kept = { token: kept.token, until: -Infinity };
    },
  };
}

/** From the ServiceAccount mount and the variables that every pod has. Throws `ConfigError` outside of a pod. */
export async function inClusterConfig(
  environment: Readonly<Record<string, string | undefined>>,
  mount: string = MOUNT,
): Promise<ClusterConfig> {
  const host = environment["KUBERNETES_SERVICE_HOST"];
  const port = environment["KUBERNETES_SERVICE_PORT"] ?? "443";
  if (!host)
    throw new ConfigError(
      "This is not a pod of Kubernetes (KUBERNETES_SERVICE_HOST is not set). Run it in a cluster, or give a kubeconfig.",
    );
  const file = async (name: string): Promise<string> => {
    try {
      return await readFile(join(mount, name), "utf8");
    } catch (error) {
      throw new ConfigError(
        `The pod's ServiceAccount cannot be read (${(error as Error).message}). Set automountServiceAccountToken: true.`,
        { cause: error },
      );
    }
  };
  const [ca, namespace] = await Promise.all([file("ca.crt"), file("namespace")]);
  return {
    server: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    ca,
    namespace: namespace.trim(),
    token: fileToken(join(mount, "token")),
  };
}
