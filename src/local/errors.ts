/**
 * What stops local pods from running on this machine: a sentence for the user, never a stack trace.
 */

export type LocalErrorCode =
  | "not-linux"
  | "not-root"
  | "missing-tools"
  | "no-subnet"
  | "run-exists"
  | "port-taken"
  | "command-failed";

/** The machine cannot do what is asked; `message` says what, and what to do about it. */
export class LocalError extends Error {
  readonly code: LocalErrorCode;

  constructor(code: LocalErrorCode, message: string) {
    super(message);
    this.name = "LocalError";
    this.code = code;
  }
}
