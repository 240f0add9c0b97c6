/**
 * Which cluster and which control plane a verb is about: flags, the environment and OSM's configuration file, read into one value.
 * Makes no request.
 */
import { existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { EXIT, UserError } from "../errors.ts";
import { DEFAULT_NAMESPACE } from "./resources.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Flags that every verb about a cluster takes. */
export interface ClusterFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly osmNamespace?: string;
}

/** OSM's `install` section. */
export interface InstallConfig {
  readonly kind: "managed" | "self-hosted";
  readonly distribution: string;
  readonly namespace: string;
}

export interface Settings {
  /** Files that exist, in order of precedence. */
  readonly kubeconfigs: readonly string[];
  /** The one that was asked for by flag. */
  readonly kubeconfigFlag: string | undefined;
  readonly context: string | undefined;
  /** The control plane's namespace. */
  readonly namespace: string;
  /** Whether somebody said so: if not, the control plane is looked for. */
  readonly namespaceGiven: boolean;
  readonly install: InstallConfig;
  readonly environment: Environment;
}

/** Whether there is any cluster that could be asked. */
export const hasCluster = (settings: Settings): boolean =>
  settings.kubeconfigs.length > 0 || Boolean(settings.environment["KUBERNETES_SERVICE_HOST"]);

/** Reads what is there; a configuration file is read only where it exists. Throws a `UserError` for a broken one. */
export async function readSettings(flags: ClusterFlags, environment: Environment): Promise<Settings> {
  const home = environment["HOME"];
  const config = await osmConfig(environment, home);
  const namespace = flags.osmNamespace || environment["OSM_NAMESPACE"] || config.namespace;
  return {
    kubeconfigs: kubeconfigFiles(flags.kubeconfig, environment["KUBECONFIG"], home),
    kubeconfigFlag: flags.kubeconfig,
    context: flags.context || undefined,
    namespace: namespace ?? DEFAULT_NAMESPACE,
    namespaceGiven: namespace !== undefined,
    install: { kind: config.kind, distribution: config.distribution, namespace: namespace ?? DEFAULT_NAMESPACE },
    environment,
  };
}

/** kubectl's rules: the flag, else $KUBECONFIG (a list), else ~/.kube/config. */
export function kubeconfigFiles(
  flag: string | undefined,
  variable: string | undefined,
  home: string | undefined,
): string[] {
  if (flag !== undefined) {
    if (!existsSync(flag)) throw new UserError(`There is no kubeconfig ${flag}. Give --kubeconfig a file that exists.`);
    return [flag];
  }
  const files = variable ? variable.split(delimiter).filter(Boolean) : home ? [join(home, ".kube", "config")] : [];
  return files.filter((file) => existsSync(file));
}

async function osmConfig(
  environment: Environment,
  home: string | undefined,
): Promise<{ kind: InstallConfig["kind"]; distribution: string; namespace: string | undefined }> {
  const file = environment["OSM_CONFIG"] || (home ? join(home, ".osm", "config.yaml") : undefined);
  const nothing = { kind: "self-hosted", distribution: "", namespace: undefined } as const;
  if (file === undefined || !existsSync(file)) {
    if (environment["OSM_CONFIG"])
      throw new UserError(`There is no file ${file}, which $OSM_CONFIG names. Correct the variable, or unset it.`);
    return nothing;
  }
  const broken = (why: string) =>
    new UserError(`OSM's configuration file ${file} cannot be used: ${why}.`, EXIT.failure);
  const { load } = await import("js-yaml");
  let read: unknown;
  try {
    read = load(readFileSync(file, "utf8"));
  } catch (error) {
    throw broken((error as Error).message.split("\n")[0] ?? "it cannot be read");
  }
  const section = (read as { install?: unknown } | null | undefined)?.install;
  if (section === undefined || section === null) return nothing;
  if (typeof section !== "object" || Array.isArray(section)) throw broken("install is not a map");
  const { kind = "self-hosted", distribution = "", namespace } = section as Record<string, unknown>;
  if (kind !== "managed" && kind !== "self-hosted") throw broken(`install.kind is neither "managed" nor "self-hosted"`);
  if (namespace !== undefined && typeof namespace !== "string") throw broken("install.namespace is not a string");
  return { kind, distribution: String(distribution), namespace: namespace || undefined };
}
