/**
 * `heddle why`: whether one call, or each of many, is allowed, and by what. Loads a mesh, asks `analysis/`, prints.
 */
import { open } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { styleText } from "node:util";
import { callOf, wordsOf, type Words } from "./call.ts";
import { EXIT, UserError } from "./errors.ts";
import type { View } from "./load.ts";
import { formatOf, print } from "./output.ts";
import { answerLine, answerText, type Paint } from "./why-text.ts";
import { answerOf, type Answer } from "./why-answer.ts";

export interface WhyOptions {
  readonly header: readonly string[];
  readonly output: string;
  readonly eachPod?: boolean;
  /** A file of calls; `-`: standard input. */
  readonly calls?: string;
}

/** Allowed; it is not; it could not be told. */
export const WHY = { allowed: 0, refused: 1, unknown: 2 } as const;

export interface Typed {
  readonly from?: string;
  readonly to?: string;
  readonly method?: string;
  readonly path?: string;
}

/** Throws a `UserError` for a command line that cannot be meant, before anything is loaded. */
export function checkWhy({ from, to }: Typed, options: WhyOptions): void {
  formatOf(options.output, ["text", "json"]);
  if (options.calls !== undefined) {
    if (from !== undefined || options.header.length > 0)
      throw new UserError("--calls reads the calls from a file: give none on the command line.", EXIT.usage);
    if (options.eachPod) throw new UserError("--each-pod is about one call: it does not go with --calls.", EXIT.usage);
    return;
  }
  if (from === undefined || to === undefined)
    throw new UserError("Who calls, and whom? heddle why FROM TO [METHOD PATH], or --calls FILE", EXIT.usage);
}

export async function why(view: View, typed: Typed, options: WhyOptions): Promise<number> {
  const json = options.output === "json";
  if (options.calls !== undefined) return whyMany(remembering(view), options.calls, json);
  const words: Words = { ...typed, from: typed.from ?? "", to: typed.to ?? "", headers: options.header };
  const answer = answered(view, words, options.eachPod ?? false);
  await print(json ? JSON.stringify(answer, undefined, 2) : answerText(answer, paint));
  return codeOf(answer);
}

const answered = (view: View, words: Words, eachPod: boolean): Answer =>
  answerOf(view, { from: words.from, to: words.to, call: callOf(view, words) }, eachPod);

const codeOf = ({ verdict }: Answer): number => (verdict === "allowed" ? WHY.allowed : WHY.refused);

/** A line for each call, as they come. The code is the worst: 2 before 1 before 0. */
async function whyMany(view: View, file: string, json: boolean): Promise<number> {
  let worst: number = WHY.allowed;
  let number = 0;
  let out: string[] = [];
  const flush = async () => {
    await print(out.join(""));
    out = [];
  };
  for await (const line of createInterface({ input: file === "-" ? process.stdin : await opened(file) })) {
    number++;
    if (/^\s*(#.*)?$/.test(line)) continue;
    let code: number;
    try {
      const answer = answered(view, wordsOf(line), false);
      code = codeOf(answer);
      out.push(`${json ? JSON.stringify(answer) : answerLine(answer, paint)}\n`);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      code = WHY.unknown;
      const where = `${file === "-" ? "line " : `${file}:`}${number}`;
      out.push(json ? `${JSON.stringify({ call: line.trim(), line: number, error: error.message })}\n` : "");
      if (!json) process.stderr.write(`heddle: ${where}: ${error.message}\n`);
    }
    worst = Math.max(worst, code);
    if (out.length >= 256) await flush();
  }
  await flush();
  return worst;
}

/** Throws a `UserError` that names the file and says what is expected. */
async function opened(file: string): Promise<Readable> {
  const unreadable = (why: string) =>
    new UserError(
      `--calls ${file === "" ? '""' : file}: ${why}. Give a file with a call on each line, as FROM TO [METHOD PATH] [-H 'name: value']; manifests are named by -f.`,
      WHY.unknown,
    );
  const handle = await open(file).catch((error: NodeJS.ErrnoException) => {
    throw unreadable(error.code === "ENOENT" ? "there is no such file" : `it cannot be read (${error.code})`);
  });
  if (!(await handle.stat()).isDirectory()) return handle.createReadStream();
  await handle.close();
  throw unreadable("this is a folder");
}

/** Finding a line in a large file takes longer than the whole answer: once for each field. */
function remembering(view: View): View {
  const places = new Map<string, ReturnType<View["place"]>>();
  return {
    ...view,
    place: (object, path) => {
      const key = `${object.kind} ${object.namespace}/${object.name} ${path}`;
      if (!places.has(key)) places.set(key, view.place(object, path));
      return places.get(key);
    },
  };
}

const paint: Paint = (style, text) =>
  process.stdout.isTTY && !process.env["NO_COLOR"] ? styleText(style, text, { stream: process.stdout }) : text;
