/**
 * How `heddle lint` stands in the command line: its options, help and examples. What it does is loaded when it is called.
 */
import { type Command, Option } from "commander";
import { examples } from "./cluster/options.ts";

export function lintCommand(program: Command, done: (code: number) => void): void {
  program
    .command("lint")
    .summary("every mistake in a folder of manifests")
    .description(
      "Lists every mistake in a folder of manifests, with file and line: what a running mesh would say, and what only a comparison of all\nrequests shows (matches that none has, or that another one contains; splits that come too late). Starts nothing, needs no root.\nEach code stands in docs/problems.md with an example and what to do.",
    )
    .argument("<dir>", "the folder, or a file")
    .addOption(new Option("-o, --output <format>", "text, json or sarif").default("text"))
    .addOption(new Option("--sarif", "SARIF 2.1.0, for code hosts: the same as -o sarif").implies({ output: "sarif" }))
    .option("--strict", "hints fail too")
    .addHelpText(
      "after",
      examples(
        ["heddle lint manifests/", "errors and hints; ends with 3 when there are errors"],
        ["heddle lint manifests/ --strict", "for a pipeline that wants none of either"],
        ["heddle lint manifests/ --sarif > lint.sarif", "shown beside the lines by code hosts"],
      ),
    )
    .action(async (dir: string, options) => done(await (await import("./lint.ts")).lintFolder(dir, options)));
}
