/**
 * Runs one command line: its exit code, with every error turned into words for the one who typed it.
 */
import { CommanderError } from "commander";
import type { Config } from "../config.ts";
import { EXIT, sentenceOf } from "./errors.ts";
import { endQuietlyWithoutReader, print } from "./output.ts";
import { buildProgram, withFlags } from "./program.ts";

export async function run(argv: readonly string[], config: Config): Promise<number> {
  endQuietlyWithoutReader();
  let code: number = EXIT.ok;
  const program = buildProgram(config, (result) => {
    code = result;
  });
  let usage: number = EXIT.usage;
  for (const command of [program, ...program.commands, ...program.commands.flatMap((c) => c.commands)])
    command.exitOverride((error) => {
      // Of `plan`, 2 says that something changes.
      if (command.name() === "plan") usage = EXIT.failure;
      throw error;
    });
  if (argv.length === 0) {
    await print(program.helpInformation());
    return EXIT.ok;
  }
  try {
    await program.parseAsync(argv, { from: "user" });
    return code;
  } catch (error) {
    // commander has printed it: help and version end with 0, all else is a command line that it does not take.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : usage;
    return complain(error, withFlags(config, program));
  }
}

function complain(error: unknown, config: Config): number {
  const sentence = sentenceOf(error);
  if (sentence !== undefined) {
    process.stderr.write(`heddle: ${sentence}\n`);
    if (config.debug && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    return error instanceof Error && "exitCode" in error ? Number(error.exitCode) : EXIT.failure;
  }
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`heddle: this is a fault of Heddle's, please report it: ${message}\n`);
  if (config.debug && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  else process.stderr.write("(Run it again with --verbose, and put what it prints into the report.)\n");
  return error instanceof Error && "exitCode" in error ? Number(error.exitCode) : EXIT.failure;
}
