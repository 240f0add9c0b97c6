/**
 * A folder on disk → parsed files, each read again only when it changed. Knows YAML, not what stands in it; every failure is
 * a Problem that names the file.
 */
import { closeSync, constants, fstatSync, openSync, readSync, statSync, type Dirent } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import type { Problem, ProblemCode } from "../../world/types.ts";
import { parseYaml, type Document } from "./yaml.ts";

export const FOLDER_LIMITS = { fileBytes: 4 * 1024 * 1024, files: 10_000, depth: 32 } as const;
/** What maps images to commands; it lies beside the manifests and is none. */
const NOT_A_MANIFEST = "images.yaml";
/** A file emptied this short ago is about to be written: milliseconds. */
const WRITE_PAUSE = 200;

export interface FileEntry {
  /** Below the folder, with `/`. */
  readonly path: string;
  readonly signature: string;
  readonly documents: readonly Document[];
  readonly problems: readonly Problem[];
}

/** A directory to watch. */
export interface Watched {
  /** Another one in its place has another. */
  readonly id: string;
  /** The one name in it that matters; all when absent. */
  readonly only?: string;
}

export interface Folder {
  /** In order of path. */
  readonly files: ReadonlyMap<string, FileEntry>;
  /** Of files and folders that could not be read at all. */
  readonly problems: readonly Problem[];
  /** Directories that say when something changes, with what identifies each. */
  readonly directories: ReadonlyMap<string, Watched>;
  /** Milliseconds after which it must be read again whatever happens: somebody was in the middle of writing. */
  readonly again?: number;
}

/** Who reads two folders that are mostly the same gives one that remembers. */
export type Parse = typeof parseYaml;

/** The bytes of a file, or why not; tests put their own in its place. */
export type ReadFile = (path: string) => Promise<Buffer | { readonly code: ProblemCode; readonly why: string }>;

interface Walk {
  readonly dir: string;
  readonly before: ReadonlyMap<string, FileEntry>;
  readonly read: ReadFile;
  readonly parse: Parse;
  readonly files: Map<string, FileEntry>;
  readonly problems: Problem[];
  readonly directories: Map<string, Watched>;
  again?: number;
}

/** Never rejects. */
export async function readFolder(
  dir: string,
  before: ReadonlyMap<string, FileEntry> = new Map(),
  read: ReadFile = readBounded,
  parse: Parse = parseYaml,
): Promise<Folder> {
  const walk: Walk = { dir, before, read, parse, files: new Map(), problems: [], directories: new Map() };
  await walkDirectory(walk, "", new Set());
  const files = new Map([...walk.files].sort(([a], [b]) => (a < b ? -1 : 1)));
  return {
    files,
    problems: walk.problems,
    directories: walk.directories,
    ...(walk.again === undefined ? {} : { again: walk.again }),
  };
}

function problemOf(dir: string, path: string, code: ProblemCode, message: string, line?: number): Problem {
  const object = { kind: "File", namespace: "", name: path || "." };
  return {
    code,
    severity: "error",
    object,
    path: "",
    message,
    file: join(dir, path),
    ...(line === undefined ? {} : { line }),
  };
}

async function walkDirectory(walk: Walk, path: string, above: ReadonlySet<string>): Promise<void> {
  const full = join(walk.dir, path);
  const report = (why: string) => {
    walk.problems.push(
      problemOf(
        walk.dir,
        path,
        "unreadable",
        `The folder ${path || walk.dir} ${why}, so nothing in it counts; correct or remove it.`,
      ),
    );
  };
  let entries: Dirent[];
  let id: string;
  try {
    const stats = await stat(full, { bigint: true });
    id = `${stats.dev}:${stats.ino}`;
    if (above.has(id)) return report("is a link to a folder that it lies in");
    if (above.size > FOLDER_LIMITS.depth) return report(`lies more than ${FOLDER_LIMITS.depth} folders deep`);
    walk.directories.set(full, { id });
    entries = (await readdir(full, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    return report(reasonOf(error));
  }
  const here = new Set(above).add(id);
  for (const entry of entries) {
    const { name } = entry;
    if (name.startsWith(".") || (path === "" && name === NOT_A_MANIFEST)) continue;
    if (entry.isSymbolicLink()) await watchTarget(walk, join(full, name));
    await walkEntry(walk, path === "" ? name : `${path}/${name}`, here);
  }
}

/** What a link leads to changes in its own directory. */
async function watchTarget(walk: Walk, link: string): Promise<void> {
  try {
    const target = await realpath(link);
    const directory = dirname(target);
    const stats = await stat(directory, { bigint: true });
    const known = walk.directories.get(directory);
    const id = `${stats.dev}:${stats.ino}`;
    walk.directories.set(directory, known ? { id } : { id, only: basename(target) });
  } catch {
    // A link to nothing: reading it says so.
  }
}

async function walkEntry(walk: Walk, path: string, above: ReadonlySet<string>): Promise<void> {
  const full = join(walk.dir, path);
  const manifest = /\.(ya?ml|json)$/i.test(path);
  const report = (why: string, code: ProblemCode = "unreadable") => {
    walk.problems.push(
      problemOf(walk.dir, path, code, `${path} ${why}, so nothing in it counts; correct or remove it.`),
    );
  };
  try {
    const stats = statSync(full, { bigint: true });
    if (stats.isDirectory()) return await walkDirectory(walk, path, above);
    if (!manifest) return;
    if (!stats.isFile()) return report("is neither a file nor a folder");
    if (walk.files.size >= FOLDER_LIMITS.files)
      return report(`is one file more than the ${FOLDER_LIMITS.files} that are read`, "too-large");
    const before = walk.before.get(path);
    const signature = `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeNs}:${stats.ctimeNs}`;
    if (before?.signature === signature) return void walk.files.set(path, before);
    const age = Date.now() - Number(stats.mtimeMs);
    if (before && before.documents.length > 0 && stats.size === 0n && age < WRITE_PAUSE) {
      walk.again = WRITE_PAUSE;
      return void walk.files.set(path, before);
    }
    // Others have their turn between two files: parsing one is the longest that this keeps the thread.
    await turn();
    const bytes = await walk.read(full);
    if (!Buffer.isBuffer(bytes)) return report(bytes.why, bytes.code);
    // A clock's tick may hold two writes of one size: a file as young as that is read again with the next event.
    walk.files.set(path, entryOf(walk, path, age < 20 ? `${signature}:young` : signature, bytes));
  } catch (error) {
    // A link to nowhere matters only if it looks like a manifest.
    if (manifest) report(reasonOf(error));
  }
}

function entryOf(
  { dir, parse }: Pick<Walk, "dir" | "parse">,
  path: string,
  signature: string,
  bytes: Buffer,
): FileEntry {
  let text: string;
  try {
    if (bytes.includes(0)) throw new TypeError("NUL");
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    const message = `${path} is not a text in UTF-8, so nothing in it counts; save it as UTF-8 or remove it.`;
    return { path, signature, documents: [], problems: [problemOf(dir, path, "bad-yaml", message)] };
  }
  const { documents, errors } = parse(text);
  const problems = errors.map(({ line, reason }) =>
    problemOf(
      dir,
      path,
      "bad-yaml",
      `${path} is not YAML from line ${line} on (${reason}), so this document has no effect; correct it.`,
      line,
    ),
  );
  return { path, signature, documents, problems };
}

/**
 * Opens without waiting (a named pipe would), and reads no more than it may. Synchronous: a manifest's few kilobytes take 15 µs so, and 500
 * through the thread pool, which is most of the time that a folder of a thousand takes.
 */
export const readBounded: ReadFile = async (path) => readNow(path);

function readNow(path: string): Buffer | { readonly code: ProblemCode; readonly why: string } {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(file);
    if (!stats.isFile()) return { code: "unreadable", why: "is neither a file nor a folder" };
    const tooLarge = {
      code: "too-large",
      why: `is larger than the ${FOLDER_LIMITS.fileBytes / 1024 / 1024} MiB that are read`,
    } as const;
    if (stats.size > FOLDER_LIMITS.fileBytes) return tooLarge;
    const buffer = Buffer.alloc(Math.min(FOLDER_LIMITS.fileBytes, stats.size) + 1);
    let length = 0;
    while (length < buffer.length) {
      const count = readSync(file, buffer, length, buffer.length - length, length);
      if (count === 0) break;
      length += count;
    }
    return buffer.subarray(0, length);
  } finally {
    closeSync(file);
  }
}

/** One file, which need not end in .yaml. Rejects with a system error when it cannot be read. */
export async function readOneFile(path: string, parse: Parse = parseYaml): Promise<FileEntry> {
  const bytes = await readBounded(path);
  const name = basename(path);
  const dir = dirname(path);
  if (Buffer.isBuffer(bytes)) return entryOf({ dir, parse }, name, "", bytes);
  const problem = problemOf(dir, name, bytes.code, `${name} ${bytes.why}, so nothing in it counts; correct it.`);
  return { path: name, signature: "", documents: [], problems: [problem] };
}

function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  switch (code) {
    case "ENOENT":
      return "is not there (removed while it was read, or a link to nothing)";
    case "EACCES":
    case "EPERM":
      return "may not be read by this user";
    case "ELOOP":
      return "is a link that leads to itself";
    case "ENOTDIR":
      return "is not a folder";
    default:
      return `could not be read (${code ?? String(error)})`;
  }
}
