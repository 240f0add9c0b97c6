/**
 * `heddle support error-info`: what codes mean, Heddle's Problems and OSM's errors alike.
 */
import { PROBLEM_CODES } from "../../world/types.ts";
import { EXIT, UserError } from "../errors.ts";
import { nearest, table } from "../text.ts";
import { OSM_ERRORS } from "./error-codes.ts";
import type { Terminal } from "./terminal.ts";

/** Heddle's codes first. Pure. */
export const ERRORS: ReadonlyMap<string, string> = new Map([...Object.entries(PROBLEM_CODES), ...OSM_ERRORS]);

export async function errorInfo(
  { terminal }: { readonly terminal: Terminal },
  code: string | undefined,
): Promise<number> {
  await terminal.out(errorTable(code).join("\n"));
  return 0;
}

/** Throws a `UserError` for a code that is none. */
export function errorTable(code: string | undefined): string[] {
  const head = ["ERROR CODE", "DESCRIPTION"];
  if (code === undefined) return table(head, [...ERRORS]);
  const wanted = /^e?\d+$/i.test(code) ? `E${code.replace(/^e/i, "")}` : code.toLowerCase();
  const description = ERRORS.get(wanted);
  if (description !== undefined) return table(head, [[wanted, description]]);
  const near = nearest(wanted, ERRORS.keys());
  throw new UserError(
    `error code '${code}' is not a valid error code recognized by OSM or Heddle.${near ? ` Did you mean ${near}?` : ""} All of them: heddle support error-info`,
    EXIT.usage,
  );
}
