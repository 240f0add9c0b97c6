/**
 * How `heddle graph` stands in the command line: its options, help and examples. What it does is loaded when it is called.
 */
import { type Command, Option } from "commander";
import type { ClusterVerbs } from "./cluster/program.ts";
import { anyMeshName, examples } from "./cluster/options.ts";

/** Adds the command. @param mesh - the option that chooses a mesh on this machine */
export function graphCommand(
  program: Command,
  done: (code: number) => void,
  mesh: () => Option,
  cluster: ClusterVerbs,
): void {
  const command = program
    .command("graph")
    .summary("who may call whom, with routes and split weights")
    .description(
      "Shows who may call whom: for each ServiceAccount and Service port what the policies let through, and how splits share it out.\nOf a folder of manifests, as if every pod were ready, or of a mesh that runs. Problems go to standard error.",
    )
    .argument("<where>", "a folder or file, or live: the mesh that runs on this machine, else the kubeconfig's cluster")
    .addOption(new Option("-o, --output <format>", "table, mermaid, dot or json").default("table"))
    .option("-n, --namespace <namespace>", "only calls from or to this namespace")
    .option("--from <account>", "only calls of namespace/serviceaccount; * stands for anything")
    .option("--to <service>", "only calls to namespace/service or namespace/service:port; * stands for anything")
    .addOption(mesh())
    .addOption(anyMeshName("name of the cluster's mesh, when there are several"))
    .addHelpText(
      "after",
      examples(
        ["heddle graph examples/bookstore", "who may call whom"],
        ["heddle graph manifests/ --to bookstore/*", "who may call the Services of a namespace"],
        ["heddle graph live -n bookstore -o mermaid", "a picture for a page of Markdown"],
        ["heddle graph manifests/ -o dot | dot -Tsvg > mesh.svg", "drawn by Graphviz"],
      ),
    )
    .action(async (where: string, options) => {
      const { graph } = await import("./graph.ts");
      const code = await graph(where, options, command.getOptionValueSource("mesh") === "cli", cluster);
      if (code !== undefined) done(code);
    });
}
