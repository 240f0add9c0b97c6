/**
 * The verbs about a cluster, OSM's names and flags, put into the tree of commands. What a verb does is loaded when it is called.
 */
import { Option, type Command } from "commander";
import type { Config } from "../../config.ts";
import { EXIT, UserError } from "../errors.ts";
import type { Context } from "./connection.ts";
import { addPolicy, addSupport, addTools, addVerify } from "./inspect-commands.ts";
import {
  anyMeshName,
  clusterOptions,
  examples,
  isLocal,
  list,
  localPort,
  meshName,
  repeated,
  timeout,
  toggle,
} from "./options.ts";
import { DEFAULT_CA_SECRET } from "./resources.ts";
import { readSettings, type ClusterFlags, type Environment } from "./settings.ts";
import { processTerminal, type Terminal } from "./terminal.ts";

export type Done = (code: number) => void;

/** What verbs take from the outside; a test gives its own. */
export interface Outside {
  readonly terminal?: Terminal;
  readonly environment?: Environment;
}

/** Runs one verb. Errors of the API server and of kubeconfigs leave it as sentences. */
export type Run = (verb: (context: Context) => Promise<number>) => Promise<void>;

export interface ClusterVerbs {
  readonly flags: () => ClusterFlags;
  readonly environment: Environment;
  readonly terminal: Terminal;
  readonly run: Run;
  /** Puts the verbs below `program`; `proxy` is the command that `proxy get` goes to. */
  add(proxy: Command): void;
}

export function clusterVerbs(program: Command, config: Config, done: Done, outside: Outside = {}): ClusterVerbs {
  const { terminal = processTerminal(config), environment = process.env } = outside;
  const flags = () => program.opts<ClusterFlags>();
  for (const option of clusterOptions()) program.addOption(option);
  program.hook("preAction", (_, action) => {
    const given = Object.entries({ ...flags() }).find(([key]) =>
      ["kubeconfig", "context", "osmNamespace"].includes(key),
    );
    if (given && isLocal(action))
      throw new UserError(
        `This verb is about this machine: it takes no ${given[0] === "osmNamespace" ? "--osm-namespace" : `--${given[0]}`}.`,
        EXIT.usage,
      );
  });

  const run: Run = async (verb) => {
    const [{ contextOf }, { worded }] = await Promise.all([import("./connection.ts"), import("./sentences.ts")]);
    const ending = new AbortController();
    const interrupt = () => ending.abort(new UserError("Interrupted.", EXIT.interrupted));
    process.once("SIGINT", interrupt);
    const context = contextOf(await readSettings(flags(), environment), terminal, ending.signal);
    try {
      done(await verb(context));
    } catch (error) {
      throw worded(ending.signal.aborted ? ending.signal.reason : error);
    } finally {
      process.off("SIGINT", interrupt);
      context.close();
    }
  };
  return {
    flags,
    environment,
    terminal,
    run,
    add(proxy) {
      addInstall(program, run);
      addMesh(program, run);
      addNamespace(program, run);
      addMetrics(program, run);
      addProxy(proxy, run);
      addPolicy(program, run);
      addVerify(program, run);
      addSupport(program, run);
      addTools(program, run, (text) => terminal.out(text).then(() => done(EXIT.ok)));
    },
  };
}

function addInstall(program: Command, run: Run): void {
  program
    .command("install")
    .summary("install the mesh into a cluster")
    .description(
      "Installs a control plane by helm, with this version's chart, and waits until it is ready. Needs helm 3.14 or newer in PATH.",
    )
    .addOption(new Option("--chart-path <chart>", "a chart's folder or archive (default: the one of this version)"))
    .addOption(new Option("--osm-chart-path <chart>", "the same, in OSM's spelling"))
    .addOption(meshName())
    .addOption(toggle("--enforce-single-mesh", "allow no second mesh in the cluster", true))
    .addOption(timeout())
    .addOption(repeated("--set <key=value>", "a value of the chart, OSM's below osm. included; may be repeated"))
    .addOption(toggle("--atomic", "remove everything again when it fails", false))
    .addHelpText(
      "after",
      examples(
        ["heddle install", "into namespace osm-system"],
        [
          "heddle install --osm-namespace heddle-system --set osm.image.registry=registry.local/mesh",
          "from your registry",
        ],
        ["heddle check --pre", "can this cluster take it?"],
      ),
    )
    .action((options) =>
      run(async (context) =>
        (await import("./install.ts")).install(context, {
          ...options,
          chartPath: options.chartPath ?? options.osmChartPath,
        }),
      ),
    );

  const uninstall = program
    .command("uninstall")
    .aliases(["delete", "del"])
    .summary("remove a mesh from a cluster")
    .description("Removes parts of a mesh from a cluster.");
  uninstall
    .command("mesh")
    .summary("remove a control plane")
    .description(
      "Removes a control plane and the labels that put namespaces into its mesh. Asks first.\nPods keep their sidecars until they are restarted. CRDs, and policies with them, stay unless told otherwise.",
    )
    .addOption(anyMeshName("name of the mesh (default: asks about each)"))
    .option("-f, --force", "do not ask")
    .option(
      "-a, --delete-cluster-wide-resources",
      "delete CRDs with every policy, webhook configurations and the CA's Secret too",
    )
    .option("--delete-namespace", "delete the control plane's namespace too")
    .addOption(new Option("--ca-bundle-secret-name <name>", "the CA's Secret").default(DEFAULT_CA_SECRET))
    .addOption(localPort())
    .addHelpText(
      "after",
      examples(
        ["heddle uninstall mesh", "asks, then removes the control plane"],
        ["heddle uninstall mesh -f -a --delete-namespace", "leaves nothing behind, policies included"],
      ),
    )
    .action((options) => run(async (context) => (await import("./uninstall.ts")).uninstallMesh(context, options)));
}

function addMesh(program: Command, run: Run): void {
  const mesh = program
    .command("mesh")
    .summary("list and upgrade meshes of a cluster")
    .description("Lists and upgrades the meshes of a cluster.");
  mesh
    .command("list")
    .summary("list control planes")
    .description(
      "Lists the control planes of a cluster, OSM's and Heddle's alike, with their namespaces and the versions of SMI that they read.",
    )
    .addOption(localPort())
    .addHelpText("after", examples(["heddle mesh list", "every mesh of the cluster"]))
    .action(() => run(async (context) => (await import("./mesh-list.ts")).meshList(context)));
  mesh
    .command("upgrade")
    .summary("upgrade a control plane")
    .description(
      "Upgrades a control plane by helm to this version's chart. Values that were given before stay (OSM forgot them).",
    )
    .addOption(anyMeshName())
    .addOption(new Option("--chart-path <chart>", "a chart's folder or archive (default: the one of this version)"))
    .addOption(new Option("--osm-chart-path <chart>", "the same, in OSM's spelling"))
    .addOption(repeated("--set <key=value>", "a value of the chart; may be repeated"))
    .option("--reset-values", "forget the values that were given before")
    .addOption(timeout())
    .addHelpText(
      "after",
      examples(
        ["heddle mesh upgrade", "to this version"],
        ["heddle mesh upgrade --mesh-name osm --set osm.osmController.replicaCount=3", "with another value"],
      ),
    )
    .action((options) =>
      run(async (context) =>
        (await import("./install.ts")).meshUpgrade(context, {
          ...options,
          chartPath: options.chartPath ?? options.osmChartPath,
        }),
      ),
    );
}

function addNamespace(program: Command, run: Run): void {
  const namespace = program
    .command("namespace")
    .alias("ns")
    .summary("put namespaces into a mesh, and take them out")
    .description("Puts namespaces into a mesh and takes them out, by OSM's label and annotation.");
  namespace
    .command("add")
    .summary("put namespaces into a mesh")
    .description("Puts namespaces into a mesh. Pods that are created from then on get a sidecar.")
    .argument("<namespace...>", "the namespaces")
    .addOption(meshName())
    .option("--disable-sidecar-injection", "observe the namespace, and give its pods no sidecar")
    .addHelpText("after", examples(["heddle namespace add bookstore bookbuyer", "both, with sidecars"]))
    .action((names: string[], options) =>
      run(async (context) => (await import("./namespaces.ts")).namespaceAdd(context, names, options)),
    );
  namespace
    .command("remove")
    .summary("take a namespace out of a mesh")
    .description("Takes a namespace out of a mesh. Its pods keep their sidecars until they are restarted.")
    .argument("<namespace>", "the namespace")
    .addOption(meshName())
    .addHelpText("after", examples(["heddle namespace remove bookstore", "out of mesh osm"]))
    .action((name: string, options) =>
      run(async (context) => (await import("./namespaces.ts")).namespaceRemove(context, name, options)),
    );
  namespace
    .command("list")
    .summary("list namespaces of meshes")
    .description("Lists the namespaces that are in a mesh, and whether their pods get sidecars.")
    .argument("[mesh]", "name of the mesh, as --mesh-name")
    .addOption(anyMeshName("namespaces of this mesh only"))
    .addHelpText("after", examples(["heddle namespace list", "of every mesh"]))
    .action((mesh: string | undefined, options: { meshName?: string }) =>
      run(async (context) => {
        const wanted = mesh ?? options.meshName;
        return (await import("./namespaces.ts")).namespaceList(
          context,
          wanted === undefined ? {} : { meshName: wanted },
        );
      }),
    );
  namespace
    .command("ignore")
    .summary("keep namespaces out of every mesh")
    .description(
      "Keeps namespaces out of every mesh, whatever other labels they have. Sidecars that are there stay until a restart.",
    )
    .argument("<namespace...>", "the namespaces")
    .addHelpText("after", examples(["heddle namespace ignore kube-node-lease", "its pods never get a sidecar"]))
    .action((names: string[]) =>
      run(async (context) => (await import("./namespaces.ts")).namespaceIgnore(context, names)),
    );
}

function addMetrics(program: Command, run: Run): void {
  const metrics = program
    .command("metrics")
    .summary("have Prometheus scrape sidecars, or not")
    .description("Says by annotations whether Prometheus scrapes the sidecars of namespaces.");
  for (const [verb, enable, says] of [
    ["enable", true, "has the sidecars of namespaces scraped, those of running pods included"],
    ["disable", false, "has the sidecars of namespaces not scraped any more"],
  ] as const)
    metrics
      .command(verb)
      .summary(`${enable ? "scrape" : "do not scrape"} the sidecars of namespaces`)
      .description(`${says[0]?.toUpperCase()}${says.slice(1)}.`)
      .addOption(list("--namespace <namespaces>", "the namespaces, with commas between them"))
      .addHelpText("after", examples([`heddle metrics ${verb} --namespace bookstore,bookbuyer`, "both"]))
      .action((options: { namespace: string[] }) =>
        run(async (context) => (await import("./metrics.ts")).metrics(context, enable, options.namespace)),
      );
}

function addProxy(proxy: Command, run: Run): void {
  proxy
    .command("get")
    .summary("ask a sidecar's Envoy in a cluster")
    .description(
      "Prints what the Envoy of a pod answers to a query of its admin interface, as config_dump, clusters, stats or certs. Only reads.",
    )
    .argument("<query>", "the query")
    .argument("<pod>", "the pod")
    .addOption(new Option("-n, --namespace <namespace>", "the pod's namespace").default("default"))
    .addOption(new Option("-f, --file <file>", "write it there"))
    .addOption(localPort())
    .addHelpText(
      "after",
      examples(
        ["heddle proxy get config_dump bookbuyer-5ccf77f46d-rc5mg -n bookbuyer", "all of its configuration"],
        ["heddle proxy get clusters bookbuyer-5ccf77f46d-rc5mg -n bookbuyer -f clusters.txt", "into a file"],
      ),
    )
    .action((query: string, pod: string, options) =>
      run(async (context) => (await import("./proxy.ts")).proxyGet(context, query, pod, options)),
    );
}
