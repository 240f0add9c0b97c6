/**
 * What the environment says, read once into one frozen value. Knows names and defaults; decides nothing.
 */

export interface Config {
  /** Whether a fault of Heddle's is shown with its stack. */
  readonly debug: boolean;
  /** How much of its log a command prints. */
  readonly logLevel: "debug" | "info" | "warn" | "error" | "silent";
  /** Whether a terminal may be coloured. */
  readonly color: boolean;
  /** The mesh that commands talk to, when several run. */
  readonly mesh: string | undefined;
  /** Where compiled code may be kept between runs: nobody else may write there. Undefined: nowhere. */
  readonly cacheDir: string | undefined;
}

const LEVELS: readonly string[] = ["debug", "info", "warn", "error", "silent"];

/** Unset and empty mean the same; a log level that is none is the default. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const get = (name: string): string | undefined => env[name] || undefined;
  const debug = ["1", "true", "*", "heddle"].includes(get("DEBUG") ?? "");
  const level = get("HEDDLE_LOG")?.toLowerCase() ?? "";
  const cache = get("XDG_CACHE_HOME") ?? (get("HOME") && `${get("HOME")}/.cache`);
  return Object.freeze({
    debug,
    logLevel: (LEVELS.includes(level) ? level : debug ? "debug" : "warn") as Config["logLevel"],
    color: get("NO_COLOR") === undefined && get("TERM") !== "dumb",
    mesh: get("HEDDLE_MESH"),
    cacheDir: cache && `${cache}/heddle`,
  });
}
