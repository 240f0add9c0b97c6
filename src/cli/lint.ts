/**
 * `heddle lint DIR`: every Problem of a folder, those of reading and compiling and those that only `analysis/` sees. Decides nothing itself.
 */
import { relative, resolve, sep } from "node:path";
import { lint } from "../analysis/lint.ts";
import type { Problem } from "../world/types.ts";
import { EXIT } from "./errors.ts";
import { loadFiles } from "./load.ts";
import { formatOf, print, printData } from "./output.ts";
import { problemLine } from "./problem-line.ts";
import { sarif } from "./sarif.ts";
import { VERSION } from "./version.ts";

export interface LintOptions {
  readonly output: string;
  readonly strict?: boolean;
}

export async function lintFolder(dir: string, options: LintOptions): Promise<number> {
  const format = formatOf(options.output, ["text", "json", "sarif"]);
  const view = await loadFiles(dir);
  const found = lint(view).map((problem): Problem => {
    const place = view.place(problem.object, problem.path);
    return place?.file === undefined ? problem : { ...problem, file: place.file, line: place.line };
  });
  const problems = inOrder([...view.problems, ...found]);
  if (format === "json") await printData("json", problems);
  else if (format === "sarif") await printData("json", sarif(problems, { version: VERSION, here: process.cwd() }));
  else await print([...problems.map((p) => `${problemLine(p)} [${p.code}]`), summary(problems)].join("\n"));
  const failing = problems.filter((p) => p.severity === "error" || options.strict);
  return failing.length > 0 ? EXIT.problems : EXIT.ok;
}

/** As a reader goes through the folder; within a line, as they were found. */
function inOrder(problems: readonly Problem[]): Problem[] {
  const key = ({ file = "", line = 0 }: Problem) => `${shown(file)}\0${String(line).padStart(9, "0")}`;
  return problems.toSorted((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
}

const shown = (file: string): string => relative("", resolve(file)).split(sep).join("/");

function summary(problems: readonly Problem[]): string {
  if (problems.length === 0) return "No problems.";
  const count = (severity: Problem["severity"], one: string) => {
    const n = problems.filter((p) => p.severity === severity).length;
    return n === 0 ? [] : [`${n} ${one}${n === 1 ? "" : "s"}`];
  };
  return `${[...count("error", "error"), ...count("hint", "hint")].join(" and ")}. What they mean: docs/problems.md`;
}
