/**
 * A kubeconfig file → where the API server is and how to prove who asks: tokens and client certificates. Runs no plugin.
 */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { load } from "js-yaml";
import { isRaw, type Raw } from "../../lib/json.ts";
import { fileToken, type ClusterConfig, type Token } from "./cluster-config.ts";
import { ConfigError } from "./errors.ts";

const fields = (value: unknown): Raw => (isRaw(value) ? value : {});
const string = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);

/** The cluster of a context, the current one unless named. Throws `ConfigError` with what to put right. */
export async function kubeconfig(path: string, context?: string): Promise<ClusterConfig> {
  const fail = (what: string): never => {
    throw new ConfigError(`The kubeconfig ${path} cannot be used: ${what}.`);
  };
  let config: Raw;
  try {
    config = fields(load(await readFile(path, "utf8")));
  } catch (error) {
    return fail((error as Error).message.split("\n")[0] ?? "it cannot be read");
  }
  const named = (list: string, key: string, name: string): Raw => {
    const entries = config[list];
    const found = (Array.isArray(entries) ? entries : []).map(fields).find((one) => one["name"] === name);
    return found ? fields(found[key]) : fail(`it has no ${key} "${name}"`);
  };
  const name = context ?? string(config["current-context"]);
  if (name === undefined) return fail("it names no current-context; run: kubectl config use-context NAME");
  const chosen = named("contexts", "context", name);
  const cluster = named("clusters", "cluster", string(chosen["cluster"]) ?? "");
  const user = string(chosen["user"]) === undefined ? {} : named("users", "user", String(chosen["user"]));
  const server = string(cluster["server"]);
  if (server === undefined || !URL.canParse(server)) return fail("its cluster has no server that is a URL");
  if (user["exec"] !== undefined || user["auth-provider"] !== undefined)
    return fail(
      `user "${String(chosen["user"])}" takes its credentials from a plugin; give it a token or a client certificate`,
    );

  /** The content of `key-data` (base64), or of the file that `key` names. */
  const pem = async (from: Raw, key: string): Promise<string | undefined> => {
    const data = string(from[`${key}-data`]);
    if (data !== undefined) return Buffer.from(data, "base64").toString("utf8");
    const file = string(from[key]);
    if (file === undefined) return undefined;
    try {
      return await readFile(resolve(dirname(path), file), "utf8");
    } catch (error) {
      return fail(`${key}: ${(error as Error).message}`);
    }
  };
  const [ca, clientCertificate, clientKey] = await Promise.all([
    pem(cluster, "certificate-authority"),
    pem(user, "client-certificate"),
    pem(user, "client-key"),
  ]);
  const token = tokenOf(user, dirname(path));
  const serverName = string(cluster["tls-server-name"]);
  return {
    server,
    namespace: string(chosen["namespace"]) ?? "default",
    ...(ca === undefined ? {} : { ca }),
    ...(clientCertificate === undefined || clientKey === undefined ? {} : { clientCertificate, clientKey }),
    ...(token ? { token } : {}),
    ...(serverName === undefined ? {} : { serverName }),
    ...(cluster["insecure-skip-tls-verify"] === true ? { insecureSkipTlsVerify: true } : {}),
  };
}

function tokenOf(user: Raw, base: string): Token | undefined {
  const file = string(user["tokenFile"]);
  if (file !== undefined) return fileToken(resolve(base, file));
  const token = string(user["token"]);
  return token === undefined ? undefined : { current: () => Promise.resolve(token), rejected: () => {} };
}
