/**
 * Where a verb prints and asks: the process's streams, or a test's lists. Knows no verb.
 */
import { styleText } from "node:util";
import type { Config } from "../../config.ts";
import { print, yaml } from "../output.ts";
import { printable } from "../text.ts";

export interface Terminal {
  /** What was asked for: standard output. */
  out(text: string): Promise<void>;
  /** What is said beside it: progress, hints, warnings. A line each. */
  note(line: string): void;
  /** A line that takes the place of the last one where that can be; the empty line ends it. */
  progress(line: string): void;
  /** A line that was typed; undefined when nobody can type one. */
  ask(question: string): Promise<string | undefined>;
  readonly paint: (color: "green" | "red" | "yellow", text: string) => string;
}

export function processTerminal(config: Config): Terminal {
  const live = process.stderr.isTTY && config.color;
  let last = "";
  return {
    out: print,
    note: (line) => process.stderr.write(`${line}\n`),
    progress(line) {
      if (line === last) return;
      last = line;
      if (live) process.stderr.write(`\r\x1b[K${printable(line).slice(0, (process.stderr.columns ?? 80) - 1)}`);
      else if (line !== "") process.stderr.write(`${printable(line)}\n`);
    },
    async ask(question) {
      const { createInterface } = await import("node:readline/promises");
      const reader = createInterface({ input: process.stdin, output: process.stdout });
      const ended = new AbortController();
      reader.once("close", () => ended.abort());
      try {
        return await reader.question(question, { signal: ended.signal });
      } catch (error) {
        if (ended.signal.aborted) return undefined;
        throw error;
      } finally {
        reader.close();
      }
    },
    paint: (color, text) =>
      config.color && process.stdout.isTTY ? styleText(color, text, { validateStream: false }) : text,
  };
}

/** As JSON or YAML, for scripts. */
export const outData = async (terminal: Terminal, format: "json" | "yaml", data: unknown): Promise<void> =>
  terminal.out(format === "json" ? JSON.stringify(data, undefined, 2) : await yaml(data));

/** Asks up to three times; anything but yes is no. */
export async function confirm(terminal: Terminal, question: string): Promise<boolean> {
  for (let tries = 3; tries > 0; tries--) {
    const answer = await terminal.ask(`${question} [y/n]: `);
    if (answer === undefined) return false;
    const word = answer.trim().toLowerCase();
    if (word === "y" || word === "yes") return true;
    if (word === "n" || word === "no") return false;
  }
  return false;
}
