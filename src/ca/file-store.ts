/**
 * The root in a directory that only its owner can enter: `ca.crt` and `private.key`, named as in OSM's `osm-ca-bundle`.
 * Knows files and their modes; whether their content is any good is checked elsewhere.
 */
import { mkdir, mkdtemp, open, readdir, rename, rm, stat, type FileHandle } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { PrivateKey } from "./private-key.ts";
import { CaError, type SecretStore, type StoredRoot } from "./store.ts";

const CERTIFICATE = "ca.crt";
const KEY = "private.key";
/** No root is larger, in bytes; a wrong file might be. */
const LARGEST = 1 << 20;

/**
 * A store in this directory, which is made when it is needed. Both files come into being at once: they are written into a
 * directory beside it, which then takes its name; the system lets exactly one of several win.
 */
export function fileStore(path: string): SecretStore {
  const directory = resolve(path);
  const load = () => explained(directory, () => loadFrom(directory));
  return {
    where: `directory ${directory}`,
    load,
    async createIfAbsent(root) {
      await explained(directory, () => create(directory, root));
      const winner = await load();
      if (!winner)
        throw new CaError(
          `The CA's directory ${directory} holds other files, but no ${CERTIFICATE} and ${KEY}. Give an empty directory or a new one.`,
        );
      return winner;
    },
  };
}

async function loadFrom(directory: string): Promise<StoredRoot | undefined> {
  const names = await readdir(directory).catch(missing);
  const present = [CERTIFICATE, KEY].filter((name) => names?.includes(name));
  if (present.length === 0) return undefined;
  if (present.length === 1)
    throw new CaError(
      `The CA's directory ${directory} holds ${present[0]} alone. Put ${CERTIFICATE} and ${KEY} there, or remove it to have a new root made.`,
    );
  if ((await stat(directory)).mode & 0o022)
    throw new CaError(
      `Others than its owner can write to the CA's directory ${directory}, and so could replace the root. Run: chmod 700 ${directory}`,
    );
  // The certificate is public, but who could replace it would be trusted by the whole mesh.
  const caCrt = await readGuarded(join(directory, CERTIFICATE), 0o022, "can be written by others than its owner");
  const caKey = await readGuarded(join(directory, KEY), 0o077, "can be read by others than its owner");
  return { caCrt, caKey: new PrivateKey(caKey) };
}

/** Reads a small file unless it has one of the forbidden mode bits. One handle for both: the file cannot change in between. */
async function readGuarded(path: string, forbidden: number, sentence: string): Promise<string> {
  const file = await open(path, "r");
  try {
    const { mode, size } = await file.stat();
    if ((mode & 0o170000) !== 0o100000 || size > LARGEST) throw new CaError(`${path} is not a file in PEM.`);
    if (mode & forbidden) throw new CaError(`${path} ${sentence}, so it cannot be trusted. Run: chmod 600 ${path}`);
    return await file.readFile("utf8");
  } finally {
    await file.close();
  }
}

async function create(directory: string, root: StoredRoot): Promise<void> {
  await mkdir(dirname(directory), { recursive: true });
  // mkdtemp makes it 0700; that mode moves along with the name.
  const draft = await mkdtemp(join(dirname(directory), `.${basename(directory)}-`));
  try {
    await write(join(draft, CERTIFICATE), root.caCrt);
    await write(join(draft, KEY), root.caKey.revealPem());
    // Replaces an empty directory and nothing else: this is where it is decided who was first.
    await rename(draft, directory);
    await using parent = await opened(dirname(directory));
    await parent.file.sync();
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    if (!["ENOTEMPTY", "EEXIST"].includes(codeOf(error))) throw error;
  }
}

async function write(path: string, content: string): Promise<void> {
  await using target = await opened(path, "wx");
  await target.file.writeFile(content);
  await target.file.sync();
}

async function opened(path: string, flags = "r"): Promise<AsyncDisposable & { file: FileHandle }> {
  const file = await open(path, flags, 0o600);
  return { file, [Symbol.asyncDispose]: () => file.close() };
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? "";

function missing(error: unknown): undefined {
  if (codeOf(error) !== "ENOENT") throw error;
}

/** Turns what the file system says into a sentence. */
async function explained<T>(directory: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof CaError || !codeOf(error).startsWith("E")) throw error;
    throw new CaError(
      `The CA's directory ${directory} cannot be used: ${(error as Error).message}. Give a directory that this user owns.`,
      { cause: error },
    );
  }
}
