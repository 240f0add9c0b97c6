/**
 * What a verification found, as a tree, and how OSM prints it. Pure.
 */
import type { Terminal } from "../terminal.ts";

export type Status = "Success" | "Failure" | "Unknown";

export interface Result {
  readonly context: string;
  readonly status: Status;
  readonly reason?: string;
  readonly suggestion?: string;
  readonly nested?: readonly Result[];
}

export const success = (context: string): Result => ({ context, status: "Success" });
export const failure = (context: string, reason: string, suggestion: string): Result => ({
  context,
  status: "Failure",
  reason,
  suggestion,
});
export const unknown = (context: string, reason: string, suggestion: string): Result => ({
  context,
  status: "Unknown",
  reason,
  suggestion,
});

/** Fails when a part fails; is unknown when none fails and one is unknown. */
export function together(context: string, nested: readonly Result[]): Result {
  if (nested.some((one) => one.status === "Failure"))
    return {
      context,
      status: "Failure",
      reason: "A verification step failed",
      suggestion: "Please follow the suggestions listed in the failed steps below to resolve the issue",
      nested,
    };
  if (nested.some((one) => one.status === "Unknown"))
    return {
      context,
      status: "Unknown",
      reason: "A verification step could not be completed",
      suggestion: "Please follow the suggestions listed in the steps below, then run this again",
      nested,
    };
  return { context, status: "Success", nested };
}

const RULE = "---------------------------------------------";
const COLORS = { Success: "green", Failure: "red", Unknown: "yellow" } as const;

/** OSM's form. Of what succeeded the parts are not shown. */
export const resultLines = (result: Result, paint: Terminal["paint"]): string[] => [
  RULE,
  ...lines(result, paint, 0),
  RULE,
];

function lines(result: Result, paint: Terminal["paint"], depth: number): string[] {
  const { context, status, reason, suggestion, nested = [] } = result;
  const indent = "  ".repeat(depth);
  const own = [
    `${indent}[+] Context: ${context}`,
    `${indent}Status: ${paint(COLORS[status], status)}`,
    ...(reason === undefined ? [] : [`${indent}Reason: ${reason}`]),
    ...(suggestion === undefined ? [] : [`${indent}Suggestion: ${suggestion}`]),
    "",
  ];
  if (status === "Success") return own;
  return [...own, ...nested.filter((one) => one.status !== "Success").flatMap((one) => lines(one, paint, depth + 1))];
}
