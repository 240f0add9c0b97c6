/**
 * `heddle plan` and `heddle prove` in the tree of commands: their options, help and examples. What they do is loaded when they are called.
 */
import { Option, type Command } from "commander";
import { anyMeshName, examples, list, repeated } from "./cluster/options.ts";
import type { ClusterVerbs, Done } from "./cluster/program.ts";
import { sentenceOf, UserError } from "./errors.ts";

const formats = (): Option => new Option("-o, --output <format>", "text, json or yaml").default("text");
const typedMesh = (command: Command): boolean => command.getOptionValueSource("mesh") === "cli";

/** Errors end with this code: the code that an answer would have is not theirs. */
async function ending(code: number, done: Done, run: () => Promise<number | undefined>): Promise<void> {
  try {
    const result = await run();
    if (result !== undefined) done(result);
  } catch (error) {
    const sentence = sentenceOf(error);
    if (sentence === undefined) throw Object.assign(error as Error, { exitCode: code });
    throw new UserError(sentence, code);
  }
}

/** @param mesh - the option that names a mesh on this machine */
export function addPlan(program: Command, verbs: ClusterVerbs, done: Done, mesh: () => Option): void {
  program
    .command("plan")
    .summary("what a change would allow, deny and send, before it is applied")
    .description(
      "Shows what a change of manifests would mean: calls that become allowed or denied (exactly, over all requests, each with one that shows it), where calls go, identities, what sidecars would be sent, and problems.\nAgainst a folder, a folder is the whole wanted state; a file, or anything against a mesh that runs, is laid over what is there, as kubectl diff -f.\nEnds with 0 when nothing changes, 2 when something does, 1 on an error or on access that is forbidden.",
    )
    .addOption(repeated("-f, --file <path>", "the wanted manifests: a folder or a file; may be repeated"))
    .addOption(
      new Option(
        "--against <what>",
        "a folder or file, or live: the mesh that runs on this machine or in the cluster",
      ).default("live"),
    )
    .addOption(
      list(
        "--forbid-new-access <services>",
        "end with 1 when anything new is let through by pods behind these (ns/service,… or ns/*)",
      ).default(undefined),
    )
    .addOption(formats())
    .addOption(mesh())
    .addOption(anyMeshName())
    .addHelpText(
      "after",
      examples(
        ["heddle plan -f new/ --against manifests/", "one folder and another"],
        ["heddle plan -f access.yaml", "what kubectl apply -f access.yaml would change"],
        ["heddle plan -f new/ --against manifests/ --forbid-new-access bookstore/bookstore", "a pipeline's gate"],
        [
          "heddle plan -f new/ --against manifests/ -o json | jq '.calls[] | select(.change == \"allowed\")'",
          "for scripts",
        ],
      ),
    )
    .action(async (options, command: Command) =>
      ending(1, done, async () => (await import("./plan.ts")).plan(options, typedMesh(command), verbs)),
    );
}

/** What commander was given; its types do not say so. */
const argvOf = (program: Command): readonly string[] => (program as unknown as { readonly rawArgs: string[] }).rawArgs;

export function addProve(program: Command, verbs: ClusterVerbs, done: Done, mesh: () => Option): void {
  program
    .command("prove")
    .summary("prove what can never happen, and what always works")
    .description(
      "Proves invariants of a mesh for all requests, or refutes them with a call that breaks them and the rules that allow it.\nFROM is NAMESPACE/SERVICEACCOUNT, TO is NAMESPACE/SERVICE[:PORT] and means the pods behind it, whatever way leads there; both take NAMESPACE/* and *.\nWithout METHODS and PATHREGEX an invariant is about all requests, and about connections to TCP ports.\nEnds with 0 when all are proved, 1 when one is refuted, 2 when one could not be told.",
    )
    .argument("[invariants...]", "files of invariants, before the options below")
    .option(
      "-f, --file <path>",
      "of this folder or file (default: the mesh that runs on this machine or in the cluster)",
    )
    .option("--never <from to methods path...>", "FROM TO [METHODS PATHREGEX]: never allowed; may be repeated")
    .option("--only <from to methods path...>", "FROM,… TO [METHODS PATHREGEX]: allowed to nobody else")
    .option("--always <from to method path...>", "FROM TO METHOD PATH: allowed by everybody who may get it")
    .addOption(formats())
    .addOption(mesh())
    .addOption(anyMeshName())
    .addHelpText(
      "after",
      examples(
        [
          "heddle prove -f manifests/ --never bookthief/bookthief bookstore/bookstore '* /buy-a-book/.*'",
          "no book for the thief",
        ],
        [
          "heddle prove -f manifests/ --only bookwarehouse/bookwarehouse bookwarehouse/mysql",
          "nobody else at the database",
        ],
        ["heddle prove invariants.yaml -f manifests/", "many, from a file"],
        ["heddle prove invariants.yaml", "of the mesh that runs"],
      ),
    )
    .action(async (files: string[], options, command: Command) =>
      ending(2, done, async () =>
        (await import("./prove.ts")).prove(files, options, argvOf(program), typedMesh(command), verbs),
      ),
    );
}
