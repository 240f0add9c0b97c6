/**
 * Kubeconfig files → where the API server is and how to prove who asks, credential plugins included. Makes no request;
 * a plugin is run only when it is needed.
 */
import { readFileSync } from "node:fs";
import { inClusterConfig, type ClusterConfig } from "../../sources/kubernetes/cluster-config.ts";
import { kubeconfig } from "../../sources/kubernetes/kubeconfig.ts";
import { UserError } from "../errors.ts";
import { isRaw } from "../../lib/json.ts";
import { listAt, mapAt, stringAt } from "./objects.ts";
import type { Settings } from "./settings.ts";

type KubeConfig = import("@kubernetes/client-node").KubeConfig;

/** A cluster's address, and what it is called in sentences. */
export interface Target {
  readonly config: ClusterConfig;
  /** The kubeconfig's context; "in this pod" without one. */
  readonly context: string;
}

export async function targetOf(settings: Settings): Promise<Target> {
  const { kubeconfigs, context, environment } = settings;
  const [file, ...more] = kubeconfigs;
  if (file === undefined) {
    if (environment["KUBERNETES_SERVICE_HOST"])
      return { config: await inClusterConfig(environment), context: "of this pod" };
    throw new UserError(
      "No cluster is known: there is no kubeconfig. Give --kubeconfig FILE, set KUBECONFIG, or put it at ~/.kube/config.",
    );
  }
  const plain = more.length === 0 ? await withoutPlugin(file, context) : undefined;
  return plain ?? (await withClientNode(kubeconfigs, context));
}

/** Undefined when what the context names takes more than our small reader knows. */
async function withoutPlugin(file: string, context: string | undefined): Promise<Target | undefined> {
  const { load } = await import("js-yaml");
  let read: unknown;
  try {
    read = load(readFileSync(file, "utf8"));
  } catch {
    // Our reader says what is wrong with it.
    read = undefined;
  }
  const name = context ?? stringAt(read, "current-context");
  const chosen = listAt(read, "contexts").find((one) => one["name"] === name);
  const userName = stringAt(chosen, "context", "user");
  const user = mapAt(
    listAt(read, "users").find((one) => one["name"] === userName),
    "user",
  );
  const cluster = mapAt(
    listAt(read, "clusters").find((one) => one["name"] === stringAt(chosen, "context", "cluster")),
    "cluster",
  );
  refuseProxy(stringAt(cluster, "proxy-url"), file);
  if (isRaw(user["exec"]) || isRaw(user["auth-provider"])) return undefined;
  for (const key of ["as", "username"]) if (user[key] !== undefined) throw unsupported(file, userName, key);
  return { config: await kubeconfig(file, context), context: name };
}

const unsupported = (file: string, user: string, key: string): UserError =>
  new UserError(
    `The kubeconfig ${file} cannot be used: user "${user}" has "${key}", which is not supported. Use a token, a client certificate or a credential plugin.`,
  );

function refuseProxy(url: string | undefined, file: string): void {
  if (url)
    throw new UserError(
      `The kubeconfig ${file} cannot be used: proxy-url is not supported. Choose another context with --context.`,
    );
}

/** Several files, or credentials from a plugin. */
async function withClientNode(files: readonly string[], context: string | undefined): Promise<Target> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const merged = new KubeConfig();
  merged.loadFromOptions({ clusters: [], users: [], contexts: [], currentContext: "" });
  for (const file of files) mergeInto(merged, new KubeConfig(), file);
  if (context !== undefined) merged.setCurrentContext(context);
  const named = files.join(", ");
  const name = merged.getCurrentContext();
  if (!name)
    throw new UserError(`The kubeconfig ${named} names no current-context. Run: kubectl config use-context NAME`);
  const chosen = merged.getContextObject(name);
  const cluster = merged.getCurrentCluster();
  if (!chosen || !cluster)
    throw new UserError(
      `The kubeconfig ${named} has no ${chosen ? `cluster "${chosen.cluster}"` : `context "${name}"`}. There are the contexts ${merged.contexts.map((one) => one.name).join(", ") || "none"}.`,
    );
  refuseProxy(cluster.proxyUrl, named);
  return { config: await configOf(merged, chosen.namespace), context: name };
}

/** As kubectl merges: the first file that says something wins. */
function mergeInto(merged: KubeConfig, one: KubeConfig, file: string): void {
  try {
    one.loadFromFile(file);
  } catch (error) {
    throw new UserError(`The kubeconfig ${file} cannot be used: ${(error as Error).message.split("\n")[0]}.`);
  }
  for (const cluster of one.clusters) if (!merged.getCluster(cluster.name)) merged.addCluster(cluster);
  for (const user of one.users) if (!merged.getUser(user.name)) merged.addUser(user);
  for (const context of one.contexts) if (!merged.getContextObject(context.name)) merged.addContext(context);
  if (!merged.getCurrentContext() && one.currentContext) merged.setCurrentContext(one.currentContext);
}

interface Credentials {
  readonly token: string | undefined;
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

async function configOf(kubeConfig: KubeConfig, namespace: string | undefined): Promise<ClusterConfig> {
  const cluster = kubeConfig.getCurrentCluster();
  const ask = async (): Promise<Credentials> => {
    const options: Record<string, unknown> = {};
    try {
      await kubeConfig.applyToHTTPSOptions(options);
    } catch (error) {
      const command = kubeConfig.getCurrentUser()?.exec?.command as string | undefined;
      const said = (error as Error).message.trim() || "it said nothing and ended with an error";
      throw new UserError(
        `The credential plugin ${command === undefined ? "" : `${command} `}of the kubeconfig failed: ${said.replace(/\.$/, "")}. Run: kubectl version, which says more.`,
      );
    }
    const authorization = stringAt(options, "headers", "Authorization");
    const pem = (key: string) => {
      const value = options[key];
      if (Buffer.isBuffer(value)) return value.toString("utf8");
      return typeof value === "string" ? value : undefined;
    };
    return {
      token: /^Bearer (.*)$/.exec(authorization)?.[1],
      ca: pem("ca"),
      cert: pem("cert"),
      key: pem("key"),
    };
  };
  const first = await ask();
  const { ca, cert, key } = first;
  let asked: Promise<Credentials> | undefined = Promise.resolve(first);
  return {
    server: cluster?.server ?? "",
    namespace: namespace || "default",
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { clientCertificate: cert, clientKey: key }),
    ...(first.token === undefined
      ? {}
      : {
          token: {
            current: async () => (await (asked ??= ask())).token ?? "",
            rejected: () => {
              asked = undefined;
            },
          },
        }),
    ...(cluster?.tlsServerName ? { serverName: cluster.tlsServerName } : {}),
    ...(cluster?.skipTLSVerify ? { insecureSkipTlsVerify: true } : {}),
  };
}
