/**
 * The structured logger: an interface that rooms are given, and pino behind it. Knows no domain word.
 */
import { pino } from "pino";

export type Fields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
  /** A logger whose every line has these fields too. */
  child(fields: Fields): Log;
}

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";

/** JSON lines to `write` (standard error when absent). */
export function createLog(level: LogLevel, write?: (line: string) => void): Log {
  const destination = write ? { write } : pino.destination({ dest: 2, sync: true });
  return wrap(pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination));
}

function wrap(logger: pino.Logger): Log {
  const at = (level: "debug" | "info" | "warn" | "error") => (message: string, fields?: Fields) => {
    logger[level](fields ?? {}, message);
  };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: (fields) => wrap(logger.child(fields)),
  };
}

/** For tests, and for commands that print their own lines. */
export const silent: Log = createLog("silent", () => {});
