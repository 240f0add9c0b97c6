/**
 * Images without a registry: built by buildah on a base that debootstrap makes once, and written as archives. Knows nothing of clusters.
 */
import { createHash } from "node:crypto";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { locate } from "../../src/local/command.ts";
import { cacheDirectory } from "./paths.ts";
import { ALONE, ClusterError, exec, flags, TIED, words } from "./exec.ts";
import { binary } from "./binaries.ts";
import { PAUSE_IMAGE } from "./parts.ts";

type Say = (line: string) => void;

/** The name that our Dockerfile builds on; here it is our own build of it. */
export const BASE_IMAGE = "docker.io/library/node:24-bookworm-slim";

/** Part of the base's hash: changes when the recipe below does. */
const RECIPE = 3;
const INCLUDE = "ca-certificates";
const SUITE = "bookworm";
const DAY = 86_400_000;
const WAITING = "waiting for another build of an image";
/** Archives that nobody asked for in so many milliseconds are removed. */
const KEEP = 14 * DAY;

export interface BuildOptions {
  readonly buildArgs?: Readonly<Record<string, string>>;
  /** The stage of the Dockerfile; the last one when not given. */
  readonly target?: string;
  /** Lets RUN use the machine's network. Without it RUN has none. */
  readonly network?: boolean;
}

/**
 * Builds an image; the answer is the path of its archive (as `docker save` writes them), which bears the name `tag`. Unchanged steps
 * and archives are taken from the cache. `FROM node:24-bookworm-slim` is always there; no other image is, but those built before.
 */
export async function buildImage(
  dockerfile: string,
  context: string,
  tag: string,
  options: BuildOptions = {},
  say: Say = () => {},
): Promise<string> {
  await baseImage(say);
  return build(dockerfile, context, tag, options);
}

/** The image of the pods' first container, built from `go/pause`. */
export async function pauseImage(say: Say): Promise<string> {
  const pause = await binary("pause", say);
  const path = join(cacheDirectory("images"), `${pause.split("/").at(-1)}.tar`);
  if (existsSync(path)) return path;
  const context = mkdtempSync(join(cacheDirectory("tmp"), "pause-"));
  try {
    copyFileSync(pause, join(context, "pause"));
    writeFileSync(
      join(context, "Dockerfile"),
      'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n',
    );
    renameSync(await build(join(context, "Dockerfile"), context, PAUSE_IMAGE, {}), path);
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
  return path;
}

/** Which images may be used: all that are there. */
function policy(): string[] {
  const path = join(cacheDirectory("storage"), "policy.json");
  if (!existsSync(path)) writeFileSync(path, '{"default":[{"type":"insecureAcceptAnything"}]}\n');
  return ["--signature-policy", path];
}

async function build(dockerfile: string, context: string, tag: string, options: BuildOptions): Promise<string> {
  const folder = mkdtempSync(join(cacheDirectory("tmp"), "build-"));
  const idFile = join(folder, "id");
  const args = Object.entries(options.buildArgs ?? {}).flatMap(([name, value]) => ["--build-arg", `${name}=${value}`]);
  if (options.target !== undefined) args.push("--target", options.target);
  try {
    const from = ["--iidfile", idFile, "-t", tag, "-f", resolve(dockerfile), resolve(context)];
    const bud = [...words("bud --layers --pull-never --isolation chroot"), ...policy(), ...args, ...from];
    await buildah(bud, { network: options.network, what: `The build of ${tag} from ${dockerfile}` });
    const id = readFileSync(idFile, "utf8").trim().replace("sha256:", "");
    const name = createHash("sha256").update(`${id} ${tag}`).digest("hex").slice(0, 24);
    const path = join(cacheDirectory("images"), `${name}.tar`);
    if (existsSync(path)) utimesSync(path, new Date(), new Date());
    else {
      const partial = `${path}.${process.pid}`;
      rmSync(partial, { force: true });
      await buildah(["push", ...policy(), id, `docker-archive:${partial}:${tag}`]);
      renameSync(partial, path);
      removeOld();
    }
    return path;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Holds the file $0 locked while it runs the command, and says when it must wait for that. */
const ONE_AT_A_TIME = `exec 9>"$0"; flock --nonblock 9 || { echo "${WAITING}" >&2; flock 9; }; "$@"`;

/** buildah with a storage of our own, one at a time, in namespaces that end and unmount with it. */
function buildah(
  argv: readonly string[],
  { network = false, say = () => {}, what }: { network?: boolean | undefined; say?: Say; what?: string } = {},
): Promise<string> {
  const storage = cacheDirectory("storage");
  const registries = join(storage, "registries.conf");
  if (!existsSync(registries)) writeFileSync(registries, 'unqualified-search-registries = ["docker.io"]\n');
  const settings = join(storage, "containers.conf");
  // Its default lies in /etc.
  if (!existsSync(settings)) writeFileSync(settings, `[network]\nnetwork_config_dir = "${join(storage, "network")}"\n`);
  const options = flags({
    root: join(storage, "graph"),
    runroot: join(storage, "run"),
    "storage-driver": "overlay",
    "registries-conf": registries,
  });
  const locked = [...TIED, "sh", "-c", ONE_AT_A_TIME, join(storage, "lock")];
  const alone = network ? ALONE : [...ALONE, "unshare", "--net", "--"];
  return exec([...locked, ...alone, "buildah", ...options, ...argv], {
    timeout: 1_800_000,
    env: { TMPDIR: cacheDirectory("tmp"), CONTAINERS_CONF: settings },
    onLine: (line) => line === WAITING && say(line),
    what: what ?? `buildah ${argv[0]}`,
  });
}

/** Sees to it that the base image is in the storage. */
async function baseImage(say: Say): Promise<void> {
  const { node, version } = pinnedNode();
  const made = createHash("sha256").update([RECIPE, SUITE, INCLUDE, process.arch, version].join(" "));
  const name = `localhost/heddle-base:${made.digest("hex").slice(0, 16)}`;
  const have = await buildah(["images", "--quiet", "--no-trunc", name], { say }).catch(() => "");
  if (have.trim() !== "") {
    await buildah(["tag", name, BASE_IMAGE]);
    return;
  }
  say(`making the base image with debootstrap (about 1 min, once)`);
  const begin = performance.now();
  const context = mkdtempSync(join(cacheDirectory("tmp"), "base-"));
  try {
    const root = join(context, "root");
    const options = flags({
      variant: "minbase",
      include: INCLUDE,
      keyring: "/usr/share/keyrings/debian-archive-keyring.gpg",
    });
    await exec([...ALONE, "debootstrap", ...options, SUITE, root, await mirror()], { timeout: 1_800_000 });
    await furnish(root, node);
    await exec(["tar", "-C", root, "--numeric-owner", "-cf", join(context, "base.tar"), "."]);
    writeFileSync(
      join(context, "Dockerfile"),
      'FROM scratch\nADD base.tar /\nENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt\nCMD ["node"]\n',
    );
    await buildah(["bud", ...policy(), "-t", name, "-f", join(context, "Dockerfile"), context]);
    await buildah(["tag", name, BASE_IMAGE]);
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
  say(`made the base image in ${Math.round((performance.now() - begin) / 1000)} s`);
}

/** What the published image has over Debian (Node, npm, a user), less what its "slim" variant lacks. */
async function furnish(root: string, node: string): Promise<void> {
  const gone = [
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "var/log",
    "dev",
  ];
  for (const path of gone) {
    rmSync(join(root, path), { recursive: true, force: true });
    mkdirSync(join(root, path));
  }
  mkdirSync(join(root, "usr/local/lib/node_modules"), { recursive: true });
  copyFileSync(node, join(root, "usr/local/bin/node"));
  symlinkSync("node", join(root, "usr/local/bin/nodejs"));
  // Whom this machine trusts, builds trust: registries may be behind a proxy with a CA of its own.
  const roots = "etc/ssl/certs/ca-certificates.crt";
  if (existsSync(`/${roots}`)) copyFileSync(`/${roots}`, join(root, roots));
  // Not `npm root --global`: that is beside the Node that runs this, which is not where npm is installed.
  const command = locate("npm");
  const npm = command === undefined ? "" : dirname(dirname(realpathSync(command)));
  if (!existsSync(join(npm, "bin/npm-cli.js"))) throw new ClusterError("npm is not in PATH: the base image needs it.");
  cpSync(npm, join(root, "usr/local/lib/node_modules/npm"), { recursive: true, dereference: true });
  for (const name of ["npm", "npx"])
    symlinkSync(`../lib/node_modules/npm/bin/${name}-cli.js`, join(root, "usr/local/bin", name));
  await exec(["chroot", root, "groupadd", "--gid", "1000", "node"]);
  await exec([
    "chroot",
    root,
    "useradd",
    "--uid",
    "1000",
    "--gid",
    "node",
    "--shell",
    "/bin/bash",
    "--create-home",
    "node",
  ]);
}

/** The Node that package.json pins, as npm unpacked it. */
function pinnedNode(): { readonly node: string; readonly version: string } {
  const folder = resolve(import.meta.dirname, `../../node_modules/node-linux-${process.arch}`);
  const node = join(folder, "bin/node");
  if (!existsSync(node)) throw new ClusterError(`${node} is missing: run "npm ci" first.`);
  const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { version: string };
  return { node, version };
}

/** The mirror that the machine itself uses, when it is a Debian. */
async function mirror(): Promise<string> {
  const format = "$(ORIGIN)|$(COMPONENT)|$(REPO_URI)";
  const targets = await exec(["apt-get", "indextargets", "--format", format, "Created-By: Packages"]).catch(() => "");
  const own = targets.split("\n").find((line) => line.startsWith("Debian|main|") && !line.includes("security"));
  const mirror = own?.split("|")[2];
  if (mirror === undefined) throw new ClusterError(`apt knows no mirror of Debian ${SUITE}: add one to its sources.`);
  return mirror;
}

/** Removes archives that nobody wants any more, and what an interrupted build left. */
function removeOld(): void {
  for (const [directory, keep] of [
    [cacheDirectory("images"), KEEP],
    [cacheDirectory("tmp"), DAY],
  ] as const)
    for (const name of readdirSync(directory)) {
      const path = join(directory, name);
      const { mtimeMs } = statSync(path, { throwIfNoEntry: false }) ?? { mtimeMs: Infinity };
      if (Date.now() - mtimeMs > keep && !name.startsWith("pause-")) rmSync(path, { recursive: true, force: true });
    }
}
