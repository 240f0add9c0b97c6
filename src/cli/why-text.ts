/**
 * An answer as text for people. Pure.
 */
import { percent } from "../analysis/trail.ts";
import { problemLine } from "./problem-line.ts";
import { printable, table } from "./text.ts";
import type { Answer, Placed } from "./why-answer.ts";

/** How words are made to stand out; plain where nobody looks at a terminal. */
export type Paint = (style: "green" | "red" | "yellow" | "bold" | "dim", text: string) => string;

const COLOUR = { allowed: "green", denied: "red", "not-routed": "yellow", "not-in-mesh": "yellow" } as const;
/** How many rules that come near are shown; JSON has more. */
const SHOWN = 3;

export function answerText(answer: Answer, paint: Paint): string {
  const { verdict, reason } = answer;
  const lines = [`${paint(COLOUR[verdict], verdict)}   ${paint("bold", callText(answer))}`];
  if (reason !== "") lines.push(`${printable(reason)}.${sees(answer)}`);
  if (answer.backends.length > 0) {
    lines.push("", "BACKENDS");
    const width = Math.max(...answer.backends.map(({ service }) => service.length));
    for (const { service, weight } of answer.backends) lines.push(`  ${service.padEnd(width)}   ${percent(weight)}`);
  }
  if (answer.trail.length > 0) lines.push("", "WHY", ...tree(answer, paint));
  if (answer.nearest.length > 0) lines.push("", "NEAREST", ...misses(answer, paint));
  if (answer.pods) {
    const rows = answer.pods.map(({ pod, service, verdict: one, reason: why }) => [pod, service, one, why]);
    lines.push("", ...table(["POD", "BACKEND", "VERDICT", "WHY"], rows));
  }
  if (answer.problems.length > 0)
    lines.push("", "PROBLEMS", ...answer.problems.map((problem) => `  ${problemLine(problem)}`));
  return lines.join("\n");
}

/** One line, for lists of calls. */
export function answerLine(answer: Answer, paint: Paint): string {
  const { verdict, backends, reason, nearest } = answer;
  const more =
    verdict === "allowed"
      ? backends.map(({ service, weight }) => `${service} ${percent(weight)}`).join(", ")
      : (nearest[0]?.says ?? reason);
  return `${paint(COLOUR[verdict], verdict.padEnd(11))}   ${callText(answer)}   ${paint("dim", printable(more))}`;
}

const callText = ({ from, to, method, path }: Answer): string =>
  printable(`${from} → ${to}${method === undefined ? " (TCP)" : ` ${method} ${path}`}`);

const sees = ({ answer }: Answer): string =>
  answer === undefined ? "" : answer === "closed" ? " The connection is closed." : ` The caller sees ${answer}.`;

/** Splits below their Service, targets below these, and what a target names below it. */
const DEPTH: Readonly<Record<string, number>> = {
  Service: 0,
  TrafficSplit: 1,
  TrafficTarget: 1,
  MeshConfig: 1,
  HTTPRouteGroup: 2,
  TCPRoute: 2,
};

function tree({ trail }: Answer, paint: Paint): string[] {
  const split = trail.some(({ kind }) => kind === "TrafficSplit") ? 1 : 0;
  return trail.map((step) => {
    const depth = (DEPTH[step.kind] ?? 0) + (step.kind === "Service" || step.kind === "TrafficSplit" ? 0 : split);
    const indent = depth === 0 ? "  " : `  ${"  ".repeat(depth - 1)}└ `;
    return `${indent}${step.kind} ${step.namespace}/${step.name}: ${printable(step.says)}${at(step, paint)}`;
  });
}

function misses({ nearest }: Answer, paint: Paint): string[] {
  const shown = nearest.slice(0, SHOWN).flatMap((miss) => [`  ${printable(miss.says)}${at(miss, paint)}`]);
  const more = nearest.length - SHOWN;
  return more > 0 ? [...shown, paint("dim", `  and ${more} more (-o json)`)] : shown;
}

function at({ file, line, resourceVersion }: Placed, paint: Paint): string {
  if (file !== undefined) return `   ${paint("dim", `${file}:${line}`)}`;
  return resourceVersion === undefined ? "" : `   ${paint("dim", `resourceVersion ${resourceVersion}`)}`;
}
