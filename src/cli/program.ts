/**
 * The command line: every command with its options, help and examples. What a command does is loaded when it is called, so that
 * `heddle version` does not wait for Envoy's vocabulary.
 */
import { Command, Option } from "commander";
import type { Config } from "../config.ts";
import { anyMeshName, visibleGlobalOptions } from "./cluster/options.ts";
import { clusterVerbs, type Outside } from "./cluster/program.ts";
import { EXIT_CODES } from "./errors.ts";
import { graphCommand } from "./graph-program.ts";
import { lintCommand } from "./lint-program.ts";
import { addPlan, addProve } from "./plan-commands.ts";
import { roleCommands } from "./roles.ts";
import { addWhy } from "./why-command.ts";

/** Gets the exit code of the command that ran. */
export type Done = (code: number) => void;

const examples = (...lines: readonly [command: string, says: string][]): string => {
  const width = Math.max(...lines.map(([command]) => command.length));
  return `\nExamples:\n${lines.map(([command, says]) => `  ${command.padEnd(width)}   # ${says}`).join("\n")}\n`;
};

const output = (formats: string, fallback: string): Option =>
  new Option("-o, --output <format>", formats).default(fallback);
const namespace = (): Option => new Option("-n, --namespace <namespace>", "pods of this namespace only");
const container = (): Option => new Option("-c, --container <container>", "the container; the pod's first when absent");

/** `outside`: what verbs about a cluster take from the machine, when it is not the process's. */
export function buildProgram(config: Config, done: Done, outside?: Outside): Command {
  const program = new Command("heddle");
  const mesh = (): Option => {
    const option = new Option("--mesh <id>", "the mesh, when several run (or $HEDDLE_MESH)");
    return config.mesh === undefined ? option : option.default(config.mesh);
  };

  program
    .description("A service mesh for Kubernetes: SMI policies in, Envoy configuration out, exact and explainable.")
    .configureHelp({ showGlobalOptions: true, visibleGlobalOptions })
    .showHelpAfterError("(add --help for what there is)")
    .option("--verbose", "show the stack of a fault, and debug log lines (or DEBUG=1)")
    .addHelpText(
      "after",
      `${examples(
        ["heddle up examples/bookstore", "a live mesh on this machine; Ctrl-C removes it"],
        [
          "heddle exec bookbuyer -- curl -s http://bookstore.bookstore:14001/books-bought",
          "call a Service as bookbuyer",
        ],
        ["heddle translate manifests/ --stage ir", "what the policies mean"],
        ["heddle why bookbuyer/bookbuyer bookstore/bookstore GET /buy-a-book/new", "is it allowed, and by what?"],
        ["heddle install", "a mesh in the cluster of your kubeconfig"],
      )}\n${EXIT_CODES}\n`,
    );
  const cluster = clusterVerbs(program, config, done, outside);
  roleCommands(program, config, done);

  program
    .command("up")
    .summary("bring a folder of manifests alive on this machine")
    .description(
      "Brings a folder of manifests alive: its pods run in network namespaces of their own, each with a real Envoy, and its SMI policies hold.\nShows who calls whom until Ctrl-C, which removes everything again. Edits in the folder take effect at once. Needs Linux and root.",
    )
    .argument("<dir>", "the folder")
    .option("--images <file>", "which local command stands for which image (default: images.yaml in the folder)")
    .option("--id <id>", "name of this mesh: 1 to 8 of a-z and 0-9 (default: random)")
    .option("--port <port>", "port of health, metrics and debug pages on 127.0.0.1 (0: any)", "0")
    .option("--once-ready", "stop again as soon as every pod is ready")
    .addHelpText(
      "after",
      examples(
        ["heddle up examples/bookstore", "OSM's bookstore, live"],
        ["heddle up manifests/ --images my-images.yaml", "with commands of your own for images"],
        ["heddle up manifests/ --once-ready", "does everything come up? For scripts"],
        ["heddle up examples/bookstore | cat", "plain lines instead of a live table"],
      ),
    )
    .action(async (dir: string, options) =>
      done(await (await import("./up.ts")).up(dir, options, withFlags(config, program))),
    );

  program
    .command("exec")
    .summary("run a command in a pod")
    .description(
      "Runs a command in a pod: in its network, as its application's user, with its environment. Ends with that command's exit code.",
    )
    .argument("<pod>", "namespace/name, or a name or the beginning of one when that is clear")
    .argument("<command...>", "the command, behind --")
    .addOption(container())
    .addOption(namespace())
    .addOption(mesh())
    .usage("[options] <pod> -- <command...>")
    .addHelpText(
      "after",
      examples(
        ["heddle exec bookbuyer -- curl -s http://bookstore.bookstore:14001/buy-a-book", "a call as bookbuyer"],
        ["heddle exec bookbuyer/bookbuyer-6c9f -- sh", "a shell in the pod"],
        ["heddle exec bookbuyer -c envoy -- curl -s localhost:15000/clusters", "as the sidecar"],
      ),
    )
    .action(async (pod: string, command: string[], options) =>
      done(await (await import("./exec.ts")).execute(pod, command, options)),
    );

  program
    .command("logs")
    .summary("what a pod printed")
    .description("Prints what a container of a pod has printed.")
    .argument("<pod>", "namespace/name, or a name or the beginning of one when that is clear")
    .addOption(container())
    .option("-f, --follow", "go on with what it prints from now on")
    .option("--tail <lines>", "only so many lines from the end")
    .addOption(namespace())
    .addOption(mesh())
    .addHelpText(
      "after",
      examples(
        ["heddle logs bookbuyer", "of the application"],
        ["heddle logs bookbuyer -c envoy -f", "of the sidecar: one line of JSON a request, as they come"],
      ),
    )
    .action(async (pod: string, options) => done(await (await import("./logs.ts")).logs(pod, options)));

  const get = program
    .command("get")
    .summary("list objects of a running mesh")
    .description("Lists objects of a mesh that runs on this machine.");
  get
    .command("pods")
    .alias("pod")
    .summary("list pods")
    .description("Lists pods, as kubectl would.")
    .addOption(namespace())
    .addOption(output("table, wide, json or yaml", "table"))
    .addOption(mesh())
    .addHelpText(
      "after",
      examples(
        ["heddle get pods", "all pods"],
        ["heddle get pods -n bookstore -o wide", "with their ServiceAccounts, and why they are not ready"],
      ),
    )
    .action(async (options) => done(await (await import("./get-pods.ts")).getPods(options)));

  program
    .command("translate")
    .summary("what a folder of manifests means, with nothing running")
    .description(
      "Prints what a folder of manifests means, at one of three stages. Starts nothing, needs no root. Problems go to standard error.",
    )
    .argument("<dir>", "the folder, or a file")
    .option("--stage <stage>", "world (objects as read), ir (what policies mean) or xds (what Envoys get)", "xds")
    .option("--proxy <name>", "only this proxy: namespace/pod, namespace/serviceaccount, or a group's name")
    .addOption(output("yaml or json", "yaml"))
    .addHelpText(
      "after",
      examples(
        ["heddle translate manifests/ --stage ir", "who may call whom, and where splits lead"],
        [
          "heddle translate examples/bookstore --proxy bookstore/bookstore",
          "what the sidecars of a ServiceAccount get",
        ],
        ["heddle translate manifests/ -o json | jq '.[].resources.RDS'", "routes of every proxy"],
      ),
    )
    .action(async (dir: string, options) => done(await (await import("./translate.ts")).translate(dir, options)));

  graphCommand(program, done, mesh, cluster);
  addPlan(program, cluster, done, mesh);
  addProve(program, cluster, done, mesh);
  lintCommand(program, done);
  addWhy(program, mesh(), cluster, done);

  const proxy = program
    .command("proxy")
    .summary("look at sidecars of a running mesh")
    .description("Looks at the sidecars of a mesh that runs on this machine or in a cluster.");
  proxy
    .command("status")
    .summary("what each sidecar was sent, has accepted and rejects")
    .description(
      "Shows, for each sidecar and type of resource, the version that was sent, accepted (ACK) and rejected (NACK), and Envoy's message.\nOf the mesh that runs on this machine, else of the kubeconfig's cluster; --mesh, or a flag that names a cluster, decides.",
    )
    .addOption(output("table, json or yaml", "table"))
    .addOption(mesh())
    .addOption(anyMeshName("name of the cluster's mesh, when there are several"))
    .addHelpText(
      "after",
      examples(
        ["heddle proxy status", "every sidecar"],
        ["heddle proxy status -o json | jq '.[] | select(.types[].nacked)'", "those that reject something"],
        ["heddle proxy status --context prod", "of a cluster"],
      ),
    )
    .action(async (options, command: Command) => {
      const { proxyStatusAnywhere } = await import("./cluster/proxy-place.ts");
      const code = await proxyStatusAnywhere(options, command.getOptionValueSource("mesh") === "cli", cluster);
      if (code !== undefined) done(code);
    });
  cluster.add(proxy);

  program
    .command("version")
    .summary("print the version")
    .description(
      "Prints the version of heddle and of the Node that runs it, and of the meshes in the kubeconfig's cluster when it answers soon.",
    )
    .addOption(output("text, json or yaml", "text"))
    .option("--client-only", "do not ask the cluster")
    .option("--version-only", "versions only, no remarks")
    .addHelpText(
      "after",
      examples(["heddle version -o json", "for scripts"], ["heddle version --client-only", "of heddle"]),
    )
    .action(async (options) =>
      done(await (await import("./cluster/version.ts")).version(options, cluster.flags(), cluster)),
    );

  return program;
}

/** `--verbose` is DEBUG for this one run. */
export const withFlags = (config: Config, program: Command): Config =>
  program.opts<{ verbose?: boolean }>().verbose ? { ...config, debug: true, logLevel: "debug" } : config;
