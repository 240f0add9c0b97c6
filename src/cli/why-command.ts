/**
 * The words and options of `heddle why`. Loads nothing of what it does.
 */
import { Option, type Command } from "commander";
import { anyMeshName, examples, repeated } from "./cluster/options.ts";
import type { ClusterVerbs } from "./cluster/program.ts";
import { sentenceOf, UserError } from "./errors.ts";
import type { Typed, WhyOptions } from "./why.ts";
import type { Wanted } from "./load.ts";

export function addWhy(program: Command, mesh: Option, verbs: ClusterVerbs, done: (code: number) => void): void {
  program
    .command("why")
    .summary("whether a call is allowed, and why")
    .description(
      "Says whether one call is allowed, which backends may get it, and which objects decided; of one that is not, which rule comes nearest.\nFROM: NAMESPACE/SERVICEACCOUNT, NAMESPACE/pod/NAME, or outside (no sidecar). TO: NAMESPACE/SERVICE[:PORT] or NAMESPACE/pod/NAME:PORT.\nWithout METHOD and PATH it is a TCP connection. Asks a folder (-f), the mesh that runs on this machine, or the kubeconfig's cluster.",
    )
    .argument("[from]", "who calls")
    .argument("[to]", "whom")
    .argument("[method]", "of an HTTP request")
    .argument("[path]", "of an HTTP request, with its query if it has one")
    .addOption(repeated("-H, --header <header>", 'a header of the request, as "name: value"; may be repeated'))
    .option("-f, --file <path>", "a folder or file of manifests, as if every pod were ready")
    .option(
      "--calls <file>",
      "many calls, one a line, as FROM TO [METHOD PATH] [-H …]; - reads them from standard input",
    )
    .option("--each-pod", "what each pod's sidecar says")
    .addOption(new Option("-o, --output <format>", "text or json").default("text"))
    .addOption(mesh)
    .addOption(anyMeshName("name of the cluster's mesh, when there are several"))
    .addHelpText(
      "after",
      `${examples(
        [
          "heddle why bookthief/bookthief bookstore/bookstore:14001 GET /buy-a-book/new -f examples/bookstore",
          "before it is applied",
        ],
        ["heddle why bookbuyer/bookbuyer bookstore/bookstore GET /buy-a-book/new -H 'client-app: x'", "of what runs"],
        ["heddle why bookstore/bookstore bookwarehouse/mysql:3306", "a TCP connection"],
        ["heddle why --calls calls.txt -f manifests/ -o json", "many, for a pipeline"],
      )}\nExit codes: 0 allowed, 1 not allowed, 2 could not tell (as for unknown names). With --calls: the highest of all calls.\n`,
    )
    .action(
      async (
        from: string | undefined,
        to: string | undefined,
        method: string | undefined,
        path: string | undefined,
        options: WhyOptions & Wanted,
        command: Command,
      ) => {
        const typed: Typed = {
          ...(from === undefined ? {} : { from }),
          ...(to === undefined ? {} : { to }),
          ...(method === undefined ? {} : { method }),
          ...(path === undefined ? {} : { path }),
        };
        const { checkWhy, why, WHY } = await import("./why.ts");
        checkWhy(typed, options);
        const { withView } = await import("./load.ts");
        const typedMesh = command.getOptionValueSource("mesh") === "cli";
        try {
          const code = await withView(options, typedMesh, verbs, (view) => why(view, typed, options));
          if (code !== undefined) done(code);
        } catch (error) {
          // Code 1 is an answer here: what keeps us from giving one is 2.
          const sentence = sentenceOf(error);
          throw sentence === undefined ? error : new UserError(sentence, WHY.unknown);
        }
      },
    );
}
