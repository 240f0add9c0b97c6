/**
 * Invariants as they are written: words behind `--never`, `--only`, `--always`, and files of YAML. A mistake is a sentence that says where.
 */
import { readFile } from "node:fs/promises";
import { normalPath } from "../analysis/normal-path.ts";
import type { Invariant, Wanted } from "../analysis/prove.ts";
import { asBytes } from "../lib/bytes.ts";
import { isRaw, type Raw } from "../lib/json.ts";
import { at } from "../manifest/reader.ts";
import { regexFault } from "../policy/regex.ts";
import { parseYaml } from "../sources/files/yaml.ts";
import { UserError } from "./errors.ts";
import { nearest } from "./text.ts";

/** An invariant, and how people find it. */
export interface Written {
  readonly invariant: Invariant;
  /** As on a command line: `never bookthief/bookthief bookstore/bookstore * /buy-a-book/.*`. */
  readonly text: string;
  /** Why it is there, in its writer's words. */
  readonly because?: string;
  readonly file?: string;
  readonly line?: number;
}

const KINDS = ["never", "only", "always"] as const;
type Kind = (typeof KINDS)[number];

/** Exit code of whatever keeps an invariant from being judged. */
const CANNOT_TELL = 2;
const mistake = (message: string): UserError => new UserError(message, CANNOT_TELL);

const USAGE: Readonly<Record<Kind, string>> = {
  never: "--never FROM TO [METHODS PATHREGEX]",
  only: "--only FROM,… TO [METHODS PATHREGEX]",
  always: "--always FROM TO METHOD PATH (FROM TO alone for a TCP port)",
};

/**
 * The invariants of a command line, in order. The words behind each option go up to the next option; blanks in a word part it, so that
 * METHODS and PATHREGEX may stand in one pair of quotes.
 * @param argv - all of it: commander does not tell where one `--never` ends and the next begins
 */
export function invariantsOf(argv: readonly string[]): Written[] {
  const found: Written[] = [];
  for (const [i, word] of argv.entries()) {
    const kind = KINDS.find((one) => word === `--${one}`);
    if (!kind) continue;
    const end = argv.findIndex((other, j) => j > i && /^-./.test(other));
    const words = argv.slice(i + 1, end < 0 ? undefined : end).flatMap((one) => one.split(/\s+/).filter(Boolean));
    const [from, to, methods, path, ...more] = words;
    if (from === undefined || to === undefined || more.length > 0 || (methods !== undefined && path === undefined))
      throw mistake(
        `--${kind} ${words.join(" ")}: it is written as ${USAGE[kind]}. Files of invariants go before such options.`,
      );
    const wanted = methods === undefined || path === undefined ? {} : { methods, path };
    found.push(written(kind, { from, to, ...wanted }, (message) => mistake(`--${kind}: ${message}`)));
  }
  return found;
}

/** The invariants of a file. Every mistake in it is told, with its line. */
export async function invariantsIn(file: string): Promise<Written[]> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw mistake(error.code === "ENOENT" ? `There is no file ${file}.` : `${file} cannot be read (${error.code}).`);
  });
  const { documents, errors } = parseYaml(text);
  const mistakes = errors.map(({ line, reason }) => `${file}:${line}: this is not YAML (${reason}).`);
  const found: Written[] = [];
  for (const document of documents) {
    const { value } = document;
    const fault = (path: string, message: string) => mistakes.push(`${file}:${document.lineOf(path)}: ${message}`);
    const list = isRaw(value) ? value["invariants"] : undefined;
    if (!Array.isArray(list)) {
      fault("", 'a file of invariants is a map with the list "invariants".');
      continue;
    }
    for (const other of Object.keys(value as Raw))
      if (other !== "invariants") fault(other, unknownKey(other, ["invariants"]));
    for (const [i, entry] of list.entries()) {
      const path = at("invariants", i);
      const one = entryOf(entry, path, fault);
      if (one) found.push({ ...one, file, line: document.lineOf(path) });
    }
  }
  if (mistakes.length > 0) throw mistake(mistakes.join("\n        "));
  if (found.length === 0) throw mistake(`${file} has no invariant.`);
  return found;
}

interface Fields {
  readonly from: string;
  readonly to: string;
  readonly methods?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const KEYS = [...KINDS, "to", "methods", "method", "path", "headers", "because"];

function entryOf(entry: unknown, path: string, fault: (path: string, message: string) => void): Written | undefined {
  if (!isRaw(entry)) {
    fault(path, "an invariant is a map, as {never: FROM, to: TO}.");
    return undefined;
  }
  let bad = false;
  const wrong = (key: string, message: string): undefined => {
    bad = true;
    fault(key === "" ? path : at(path, key), message);
  };
  for (const key of Object.keys(entry)) if (!KEYS.includes(key)) wrong(key, unknownKey(key, KEYS));
  const kinds = KINDS.filter((one) => entry[one] !== undefined);
  const [kind] = kinds;
  if (!kind || kinds.length > 1) return wrong("", `an invariant has one of ${KINDS.join(", ")}.`);
  const words = (key: string): string | undefined => {
    const value = entry[key];
    if (value === undefined) return undefined;
    const list = Array.isArray(value) ? (value as unknown[]) : [value];
    if (list.length > 0 && list.every((one) => typeof one === "string" && one !== "")) return list.join(",");
    return wrong(key, `${key} is a word, or a list of words.`);
  };
  const from = words(kind);
  const to =
    words("to") ?? (entry["to"] === undefined ? wrong("to", '"to" is missing: NAMESPACE/SERVICE[:PORT].') : undefined);
  const methodKey = entry["method"] === undefined ? "methods" : "method";
  const methods = words(methodKey);
  const regex = entry["path"];
  if (regex !== undefined && typeof regex !== "string") wrong("path", "path is a text.");
  const because = entry["because"];
  if (because !== undefined && typeof because !== "string") wrong("because", "because is a text.");
  const headers = headersOf(entry["headers"], (message) => wrong("headers", message));
  if (bad || from === undefined || to === undefined) return undefined;
  try {
    const fields = {
      from,
      to,
      ...(methods === undefined ? {} : { methods }),
      ...(typeof regex === "string" ? { path: regex } : {}),
      ...(headers ? { headers } : {}),
    };
    const one = written(kind, fields, (message) => mistake(message));
    return typeof because === "string" ? { ...one, because } : one;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return wrong("", error.message);
  }
}

function headersOf(value: unknown, wrong: (message: string) => undefined): Record<string, string> | undefined {
  if (value === undefined) return undefined;
  if (!isRaw(value) || Object.values(value).some((one) => typeof one !== "string"))
    return wrong("headers is a map of names and values.");
  const odd = Object.keys(value).find((name) => !/^[\w!#$%&'*+.^`|~-]+$/.test(name));
  if (odd !== undefined) return wrong(`"${odd}" is no name of a header; methods and path have fields of their own.`);
  return Object.fromEntries(Object.entries(value).map(([name, text]) => [name.toLowerCase(), text as string]));
}

const unknownKey = (key: string, keys: readonly string[]): string => {
  const near = nearest(key, keys);
  return `"${key}" is not known here${near ? `: did you mean "${near}"?` : `; there are ${keys.join(", ")}.`}`;
};

function written(kind: Kind, fields: Fields, wrong: (message: string) => UserError): Written {
  const { to, methods, path, headers } = fields;
  const from = fields.from.split(",").filter(Boolean);
  for (const name of from)
    if (!/^(\*|[^/*:]+\/(\*|[^/*:]+))$/.test(name))
      throw wrong(`"${name}" is no account: write NAMESPACE/SERVICEACCOUNT, NAMESPACE/* or *.`);
  if (!/^(\*|[^/*:]+\/(\*|[^/*:]+(:\d+)?))$/.test(to))
    throw wrong(`"${to}" is no Service: write NAMESPACE/SERVICE, NAMESPACE/SERVICE:PORT, NAMESPACE/* or *.`);
  if (kind === "always" && (methods === undefined) !== (path === undefined))
    throw wrong("always is about one METHOD and one PATH, or (on a TCP port) about neither.");
  const wanted = wantedOf(kind, fields, wrong);
  const text = [
    kind,
    from.join(","),
    to,
    methods ?? (path === undefined ? undefined : "*"),
    path ?? (methods === undefined ? undefined : ".*"),
  ];
  const named = Object.entries(headers ?? {}).map(([name, value]) => `with ${name}: ${value}`);
  const invariant: Invariant = { kind, from, to, ...(wanted ? { requests: wanted } : {}) };
  return { invariant, text: [...text.filter((word) => word !== undefined), ...named].join(" ") };
}

function wantedOf(
  kind: Kind,
  { methods, path, headers }: Fields,
  wrong: (message: string) => UserError,
): Wanted | undefined {
  if (methods === undefined && path === undefined && headers === undefined) return undefined;
  const list = (methods ?? "*").split(",").filter(Boolean);
  for (const method of list)
    if (method !== "*" && !/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(method))
      throw wrong(`"${method}" is no method: write GET, GET,POST or *.`);
  const named = list.includes("*") ? {} : { methods: list };
  const with_ = headers ? { headers } : {};
  if (path === undefined) return { ...named, ...with_ };
  if (kind !== "always") {
    const fault = regexFault(path);
    if (fault !== undefined) throw wrong(`the path ${JSON.stringify(path)} ${fault}.`);
    return { ...named, pathRegex: path, ...with_ };
  }
  if (list.length !== 1 || list[0] === "*") throw wrong("always is about one method, as GET.");
  const normal = path.includes("?") ? undefined : normalPath(asBytes(path));
  if (normal === undefined)
    throw wrong(`"${path}" is no path of a request: it begins with / and has no query and no #.`);
  return { ...named, path: normal, ...with_ };
}
