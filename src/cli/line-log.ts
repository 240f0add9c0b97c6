/**
 * The log as lines for a person who watches: time, level where it matters, message, and the fields that say more.
 */
import type { Fields, Log, LogLevel } from "../telemetry/log.ts";
import { printable } from "./text.ts";

const LEVELS = ["debug", "info", "warn", "error"] as const;

export function lineLog(
  level: LogLevel,
  write: (level: (typeof LEVELS)[number], line: string) => void,
  always: Fields = {},
): Log {
  const least = level === "silent" ? LEVELS.length : LEVELS.indexOf(level);
  const at =
    (own: (typeof LEVELS)[number]) =>
    (message: string, fields: Fields = {}) => {
      if (LEVELS.indexOf(own) < least) return;
      const rest = Object.entries({ ...always, ...fields }).filter(
        ([key, value]) => value !== undefined && key !== "stack",
      );
      const more = rest.map(([key, value]) => `${key}=${shown(value)}`).join(" ");
      write(own, printable(more === "" ? message : `${message} (${more})`));
    };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: (fields) => lineLog(level, write, { ...always, ...fields }),
  };
}

function shown(value: unknown): string {
  if (value instanceof Error) return value.message;
  return typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
}
