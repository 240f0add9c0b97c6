/**
 * Problems as a log in SARIF 2.1.0 (OASIS), the form in which code hosts take findings. Pure but for the place of our own page.
 */
import { isAbsolute, relative, resolve, sep } from "node:path";
import { pathToFileURL } from "node:url";
import { PROBLEM_CODES, type Problem, type ProblemCode } from "../world/types.ts";

const SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/** The page that explains each code, as it came with this program. */
const PAGE = new URL("../../docs/problems.md", import.meta.url).href;

/** @param here - the folder that places are relative to: where a pipeline has checked the repository out */
export function sarif(problems: readonly Problem[], { version, here }: { version: string; here: string }): object {
  const codes = [...new Set(problems.map((p) => p.code))].sort();
  return {
    $schema: SCHEMA,
    version: "2.1.0",
    runs: [
      {
        tool: { driver: { name: "heddle", semanticVersion: version, rules: codes.map(ruleOf) } },
        columnKind: "utf16CodeUnits",
        results: problems.map((problem) => ({
          ruleId: problem.code,
          ruleIndex: codes.indexOf(problem.code),
          level: LEVELS[problem.severity],
          message: { text: problem.message },
          locations: [location(problem, here)],
        })),
      },
    ],
  };
}

const LEVELS = { error: "error", hint: "note" } as const;

const ruleOf = (code: ProblemCode) => ({
  id: code,
  shortDescription: { text: PROBLEM_CODES[code] },
  help: { text: `${PROBLEM_CODES[code]}. An example, and what to do: docs/problems.md#${code}` },
  helpUri: `${PAGE}#${code}`,
});

function location({ object, path, file, line }: Problem, here: string) {
  const { kind, namespace, name } = object;
  const logical = [kind, namespace, name, path].filter((part) => part !== "").join("/");
  return {
    ...(file === undefined
      ? {}
      : {
          physicalLocation: {
            artifactLocation: artifact(file, here),
            ...(line === undefined ? {} : { region: { startLine: line } }),
          },
        }),
    ...(logical === "" ? {} : { logicalLocations: [{ fullyQualifiedName: logical, kind: "object" }] }),
  };
}

/** Relative to the root of the source where it is below it, as hosts want it. */
function artifact(file: string, here: string): { readonly uri: string; readonly uriBaseId?: string } {
  const below = relative(here, resolve(here, file));
  if (below.startsWith("..") || isAbsolute(below)) return { uri: pathToFileURL(resolve(here, file)).href };
  return { uri: below.split(sep).map(encodeURIComponent).join("/"), uriBaseId: "%SRCROOT%" };
}
