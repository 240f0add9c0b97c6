/**
 * The root in a Secret of the control plane's namespace, in the fields of OSM's `osm-ca-bundle`: `ca.crt` and `private.key`.
 * Knows the Secret; whether its content is any good is checked elsewhere.
 */
import { PrivateKey } from "../ca/private-key.ts";
import { CaError, type SecretStore, type StoredRoot } from "../ca/store.ts";
import { isRaw, type Raw } from "../lib/json.ts";
import { realClock, type Clock } from "../lib/settle.ts";
import { BackOff, pause } from "../sources/kubernetes/back-off.ts";
import type { KubernetesClient } from "../sources/kubernetes/client.ts";
import { ApiError, isConflict, isTransient } from "../sources/kubernetes/errors.ts";
import { SECRETS } from "../sources/kubernetes/resource.ts";
import { MADE_HERE } from "./made-here.ts";

const CERTIFICATE = "ca.crt";
const KEY = "private.key";
/** For so long, in milliseconds, an API server may be away that is asked for the root; then a person is told. */
const PATIENCE = 60_000;

export interface SecretStoreOptions {
  readonly client: KubernetesClient;
  readonly namespace: string;
  /** OSM's name when absent, so that its root is adopted. */
  readonly name?: string;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
  /** From 0 up to 1; for jitter. */
  readonly random?: () => number;
}

/** Whoever creates the Secret first wins: the API server takes one of several, and the others load it. */
export function secretStore(options: SecretStoreOptions): SecretStore {
  const { client, namespace, name = "osm-ca-bundle", signal } = options;
  const where = `Secret ${namespace}/${name}`;
  const load = async (): Promise<StoredRoot | undefined> => {
    const secret = await patiently(options, where, "get", () => client.get(SECRETS, { namespace, name }, signal));
    return secret && rootOf(secret, where);
  };
  return {
    where,
    load,
    async createIfAbsent(root) {
      await patiently(options, where, "create", async () => {
        try {
          await client.create(SECRETS, secretOf(root, namespace, name), signal);
        } catch (error) {
          // Somebody else was first, or this is our own whose answer was lost: either way it is there.
          if (!isConflict(error)) throw error;
        }
      });
      const winner = await load();
      if (!winner) throw new CaError(`${where} was deleted while the root was being stored. Start again.`);
      return winner;
    },
  };
}

const base64 = (text: string): string => Buffer.from(text, "utf8").toString("base64");

function secretOf(root: StoredRoot, namespace: string, name: string): Raw {
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { namespace, name, labels: MADE_HERE },
    type: "Opaque",
    data: { [CERTIFICATE]: base64(root.caCrt), [KEY]: base64(root.caKey.revealPem()) },
  };
}

function rootOf(secret: Raw, where: string): StoredRoot {
  const data = isRaw(secret["data"]) ? secret["data"] : {};
  const read = (key: string): string => {
    const value = data[key];
    return typeof value === "string" ? Buffer.from(value, "base64").toString("utf8") : "";
  };
  const [caCrt, key] = [read(CERTIFICATE), read(KEY)];
  if (caCrt === "" || key === "")
    throw new CaError(
      `${where} has no ${caCrt === "" ? CERTIFICATE : KEY}. Put ${CERTIFICATE} and ${KEY} there, or delete the Secret to have a new root made ` +
        "(running proxies trust a new root only after they have been restarted).",
    );
  return { caCrt, caKey: new PrivateKey(key) };
}

/** Tries again while the API server is away; turns what it says otherwise into a sentence about the Secret. */
async function patiently<T>(
  { signal, clock = realClock, random = Math.random }: SecretStoreOptions,
  where: string,
  verb: "get" | "create",
  work: () => Promise<T>,
): Promise<T> {
  const again = new BackOff({ first: 200, most: 5_000, random });
  const until = clock.now() + PATIENCE;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (signal.aborted || !(error instanceof ApiError)) throw error;
      if (!isTransient(error) || clock.now() > until) {
        const todo =
          error.status === 403
            ? ` Allow the control plane's ServiceAccount to ${verb} this Secret (the chart's Role does).`
            : "";
        throw new CaError(`${where} cannot be used: ${error.message}${todo}`, { cause: error });
      }
      await pause(clock, again.next(error.retryAfter), signal);
      signal.throwIfAborted();
    }
  }
}
