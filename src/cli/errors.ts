/**
 * How a command ends: exit codes, and the one error that is a sentence for the user and never a stack trace.
 */

/** Exit codes of every command; `exec` passes on the code of what it ran. */
export const EXIT = {
  ok: 0,
  /** It could not be done; standard error says why. */
  failure: 1,
  /** The command line is wrong. */
  usage: 2,
  /** Done, but the folder has errors: `translate` lists them on standard error, `lint` is there to list them. */
  problems: 3,
  /** Interrupted a second time while stopping. */
  interrupted: 130,
} as const;

/** Stands in `--help` and in docs/cli.md. */
export const EXIT_CODES = `Exit codes:
  0    done
  1    could not be done; standard error says why
  2    the command line is wrong
  3    translate, lint: done, but the folder has errors
  130  up: interrupted a second time while it was stopping
  exec ends with the code of the command that it ran (128 + n when signal n ended it)
  plan: 0 nothing changes, 2 something does, 1 error or forbidden access
  prove: 0 proved, 1 refuted, 2 could not be told`;

/** A sentence that says what is wrong and what to do about it. */
export class UserError extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode: number = EXIT.failure) {
    super(message);
    this.name = "UserError";
    this.exitCode = exitCode;
  }
}

/** Errors of the system that are somebody's mistake or the machine's state, not a fault of ours. */
const ENVIRONMENT: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "not permitted",
  ENOENT: "no such file or folder",
  ENOTDIR: "not a folder",
  EISDIR: "a folder, not a file",
  EADDRINUSE: "the address is in use",
  EADDRNOTAVAIL: "this machine does not have that address",
  EMFILE: "too many files are open",
  ENOSPC: "no space is left on the device",
  ECONNREFUSED: "nobody answers there",
  ECONNRESET: "the other side ended the connection",
};

/** The sentence for an error that is not ours; undefined for a fault of Heddle's. */
export function sentenceOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  // Rooms below have such errors of their own; their names are their contract.
  if (["UserError", "LocalError", "EnvoyMissing", "CaError", "ConfigError", "ApiError"].includes(error.name))
    return error.message;
  const { code, path, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  const known = code === undefined ? undefined : ENVIRONMENT[code];
  if (known === undefined) return undefined;
  const where = path ?? (address === undefined ? undefined : port === undefined ? address : `${address}:${port}`);
  return `${where ?? (error as NodeJS.ErrnoException).syscall ?? "the system"}: ${known}.`;
}
