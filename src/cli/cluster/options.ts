/**
 * Options that the cluster's verbs share, in OSM's spelling, and how help shows them. Loads nothing that takes time.
 */
import { Help, InvalidArgumentError, Option, type Command } from "commander";
import { DEFAULT_MESH } from "./resources.ts";

export const examples = (...lines: readonly [command: string, says: string][]): string => {
  const width = Math.max(...lines.map(([command]) => command.length));
  return `\nExamples:\n${lines.map(([command, says]) => `  ${command.padEnd(width)}   # ${says}`).join("\n")}\n`;
};

/** Flags of every verb about a cluster; they may stand before the verb too, as OSM's. */
export const clusterOptions = (): Option[] => [
  new Option("--kubeconfig <file>", "the kubeconfig (or $KUBECONFIG; default: ~/.kube/config)"),
  new Option("--context <name>", "the kubeconfig's context (default: its current one)"),
  new Option(
    "--osm-namespace <namespace>",
    "the control plane's namespace (default: where it is found; to install: OSM's configuration file, else osm-system)",
  ),
];

const FLAGS = new Set(clusterOptions().map((option) => option.long));
/** Verbs that are about this machine only. */
const LOCAL = new Set(["up", "exec", "logs", "get", "translate", "completion", "help"]);

const topOf = (command: Command): Command => {
  let top = command;
  while (top.parent?.parent) top = top.parent;
  return top;
};
export const isLocal = (command: Command): boolean => command.parent !== null && LOCAL.has(topOf(command).name());

/** For `configureHelp`: verbs about this machine do not show the flags that say which cluster. */
export const visibleGlobalOptions = (command: Command): Option[] => {
  const options = Object.assign(new Help(), { showGlobalOptions: true }).visibleGlobalOptions(command);
  return isLocal(command) ? options.filter((option) => !FLAGS.has(option.long)) : options;
};

export const meshName = (): Option => new Option("--mesh-name <name>", "name of the mesh").default(DEFAULT_MESH);
export const anyMeshName = (says = "name of the mesh, when there are several"): Option =>
  new Option("--mesh-name <name>", says);

/** `a,b` and repeated, as Go's string slices. */
export const list = (flags: string, says: string): Option =>
  new Option(flags, says)
    .argParser((value: string, before: string[] | undefined) => [
      ...(before ?? []),
      ...value
        .split(",")
        .map((one) => one.trim())
        .filter(Boolean),
    ])
    .default([], "none");

/** Repeated, each as it is. */
export const repeated = (flags: string, says: string): Option =>
  new Option(flags, says)
    .argParser((value: string, before: string[] | undefined) => [...(before ?? []), value])
    .default([], "none");

/** `--flag`, `--flag=true`, `--flag=false`: Go's form. Only for verbs without arguments, since a word behind it is its value. */
export const toggle = (flag: string, says: string, fallback: boolean): Option =>
  new Option(`${flag} [bool]`, says)
    .preset("true")
    .argParser((value: string) => {
      if (/^(true|t|1)$/i.test(value)) return true;
      if (/^(false|f|0)$/i.test(value)) return false;
      throw new InvalidArgumentError("It is true or false.");
    })
    .default(fallback);

/** Go's durations: what helm takes. */
export const timeout = (): Option =>
  new Option("--timeout <duration>", "how long to wait until everything is ready, as 90s or 5m")
    .argParser((value: string) => {
      if (!/^(\d+(\.\d+)?(h|m|s|ms))+$/.test(value)) throw new InvalidArgumentError("Write it as 90s, 5m or 1h30m.");
      return value;
    })
    .default("5m");

/** OSM opened a port here. We need none, and scripts that name one go on working. */
export const localPort = (): Option =>
  new Option("-p, --local-port <port>", "taken for OSM's sake: no port of this machine is needed");
