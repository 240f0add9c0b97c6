/**
 * `heddle prove`: invariants of a mesh, each proved for all requests or refuted with a call that breaks it.
 */
import { prove as judged, type Counterexample, type Proof } from "../analysis/prove.ts";
import { Requests } from "../analysis/requests.ts";
import { Languages } from "../language/languages.ts";
import { destinationText, requestText, ruleText, whyArguments } from "./call-text.ts";
import type { ClusterVerbs } from "./cluster/program.ts";
import { outData } from "./cluster/terminal.ts";
import { EXIT, UserError } from "./errors.ts";
import { invariantsIn, invariantsOf, type Written } from "./invariants.ts";
import { withView, type View } from "./load.ts";
import { formatOf } from "./output.ts";
import { problemLine } from "./problem-line.ts";
import type { Paint } from "./plan-view.ts";
import { nearest, printable } from "./text.ts";

export interface ProveOptions {
  readonly file?: string;
  readonly output: string;
  readonly mesh?: string;
  readonly meshName?: string;
}

/** Something could not be told; a refuted invariant counts more. */
const CANNOT_TELL = 2;

/**
 * @param argv - the whole command line: see `invariantsOf`
 * @returns undefined when the verb's runner has told the exit code
 */
export async function prove(
  files: readonly string[],
  options: ProveOptions,
  argv: readonly string[],
  typed: boolean,
  verbs: ClusterVerbs,
): Promise<number | undefined> {
  const format = formatOf(options.output, ["text", "json", "yaml"]);
  const invariants = invariantsOf(argv);
  for (const file of files) invariants.push(...(await invariantsIn(file)));
  if (invariants.length === 0)
    throw new UserError(
      "What is to be proved? Give a file of invariants, or --never, --only or --always.",
      CANNOT_TELL,
    );
  const { file, mesh, meshName } = options;
  const wanted = {
    ...(file === undefined ? {} : { file }),
    ...(mesh === undefined ? {} : { mesh }),
    ...(meshName === undefined ? {} : { meshName }),
  };
  return withView(wanted, typed, verbs, async (view) => {
    const results = proofs(view, invariants);
    const { terminal } = verbs;
    if (format === "text") await terminal.out(proofText(view, results, terminal.paint, options));
    else await outData(terminal, format, proofData(results));
    // What could not be read is not proved about.
    for (const problem of view.problems) if (problem.severity === "error") terminal.note(problemLine(problem));
    return exitCode(results.map(({ proof }) => proof));
  });
}

interface Result {
  readonly written: Written;
  readonly proof: Proof;
}

function proofs(view: View, invariants: readonly Written[]): readonly Result[] {
  const requests = new Requests(new Languages());
  return invariants.map((written) => ({ written, proof: judged(requests, view, written.invariant) }));
}

const exitCode = (all: readonly Proof[]): number =>
  all.some((p) => p.result === "refuted")
    ? EXIT.failure
    : all.some((p) => p.result === "unknown")
      ? CANNOT_TELL
      : EXIT.ok;

function proofText(view: View, results: readonly Result[], paint: Paint, options: ProveOptions): string {
  const lines = results.flatMap(({ written, proof }) => {
    const place = written.file === undefined ? "" : `${written.file}:${written.line}: `;
    const said = printable(`${place}${written.text}`);
    const because = written.because === undefined ? [] : [`          because ${printable(written.because)}`];
    switch (proof.result) {
      case "proved":
        return [`${paint("green", "proved ")}   ${said}`];
      case "refuted":
        return [
          `${paint("red", "REFUTED")}   ${said}`,
          ...because,
          ...counterexampleLines(view, written, proof.counterexample, options),
        ];
      case "unknown":
        return [
          `${paint("yellow", "unknown")}   ${said}`,
          ...because,
          `          ${printable(proof.why)}${suggestion(view, proof.why)}`,
        ];
    }
  });
  const n = (result: Proof["result"]) => results.filter(({ proof }) => proof.result === result).length;
  const parts = [
    `${n("proved")} proved for all requests`,
    `${n("refuted")} refuted`,
    `${n("unknown")} could not be told`,
  ];
  return `${lines.join("\n")}\n\n${parts.filter((part) => !part.startsWith("0 ")).join(", ")}.`;
}

function counterexampleLines(
  view: View,
  { invariant }: Written,
  { from, to, request, rules, refusing, verdict, shares }: Counterexample,
  options: ProveOptions,
): string[] {
  const call = `${from} → ${destinationText(to)}: ${requestText(request)}`;
  const lines = [call];
  if (invariant.kind !== "always") lines.push(...rules.map((rule) => `is allowed by ${ruleText(rule, view)}`));
  else {
    const nobody = shares.length === 0 && refusing.length === 0;
    if (refusing.length > 0)
      lines.push(`is refused by ${refusing.slice(0, 4).join(", ")}${refusing.length > 4 ? " …" : ""}`);
    if (verdict !== "allowed") lines.push(`is ${verdict}${nobody ? ": nobody is there to answer it" : ""}`);
  }
  const where = options.file === undefined ? "" : ` -f ${options.file}`;
  lines.push(`heddle why ${whyArguments(from, to, request)}${where}`);
  return lines.map((line) => `          ${printable(line)}`);
}

/** A name that is near the one that is not there. */
function suggestion({ world, mesh }: View, why: string): string {
  const name = why.slice(why.lastIndexOf(" ") + 1);
  const accounts = [...mesh.groups.values()].map((p) => p.identity as string);
  const services = [...world.tables.Service.values()].flatMap((all) => [...all.values()].map((s) => s.name as string));
  const known = why.startsWith("no account") ? accounts : why.startsWith("there is no Service") ? services : [];
  const near = nearest(name, known);
  return near ? `. Did you mean ${near}?` : "";
}

const proofData = (results: readonly Result[]): unknown =>
  results.map(({ written: { invariant, ...written }, proof }) => {
    const more =
      proof.result === "refuted"
        ? { counterexample: dataOf(proof.counterexample) }
        : proof.result === "unknown"
          ? { why: proof.why }
          : {};
    return {
      invariant: written.text,
      kind: invariant.kind,
      ...written,
      text: undefined,
      result: proof.result,
      ...more,
    };
  });

const dataOf = ({ to, shares, ...rest }: Counterexample) => ({
  ...rest,
  to: destinationText(to),
  backends: shares.map(({ service, percent, lets }) => ({ service, weight: percent, lets })),
});
