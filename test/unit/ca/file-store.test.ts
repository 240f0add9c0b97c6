import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { fileStore } from "../../../src/ca/file-store.ts";
import { makeRoot } from "../../../src/ca/root.ts";
import { CaError } from "../../../src/ca/store.ts";
import { DAY, startAuthority, testDirectory } from "./support.ts";

const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);
const newRoot = () => makeRoot("ecdsa-p256", DAY, Date.now());

async function filled(): Promise<string> {
  const directory = join(testDirectory(), "ca");
  await fileStore(directory).createIfAbsent(await newRoot());
  return directory;
}

describe("a directory", () => {
  test("is made with a root that only its owner can read, in OSM's file names", async () => {
    const parent = testDirectory();
    const directory = join(parent, "deep", "er", "ca");
    expect(await fileStore(directory).load()).toBeUndefined();
    const root = await newRoot();
    const kept = await fileStore(directory).createIfAbsent(root);
    expect(kept.caCrt).toBe(root.caCrt);
    expect(kept.caKey.revealPem()).toBe(root.caKey.revealPem());
    expect(mode(directory)).toBe("700");
    expect(readdirSync(directory).sort()).toEqual(["ca.crt", "private.key"]);
    for (const name of readdirSync(directory)) expect(mode(join(directory, name))).toBe("600");
    expect(readFileSync(join(directory, "private.key"), "utf8")).toBe(root.caKey.revealPem());
    expect(readdirSync(join(directory, ".."))).toEqual(["ca"]);
  });

  test("keeps its modes under a lax umask, and an empty directory is tightened", async () => {
    const directory = join(testDirectory(), "ca");
    mkdirSync(directory, { mode: 0o777 });
    chmodSync(directory, 0o777);
    const script = `
      process.umask(0);
      const { fileStore } = await import(${JSON.stringify(join(import.meta.dirname, "../../../src/ca/file-store.ts"))});
      const { makeRoot } = await import(${JSON.stringify(join(import.meta.dirname, "../../../src/ca/root.ts"))});
      await fileStore(process.argv[1]).createIfAbsent(await makeRoot("ecdsa-p256", 1e9, Date.now()));`;
    await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script, directory]);
    expect(mode(directory)).toBe("700");
    expect(mode(join(directory, "private.key"))).toBe("600");
    expect(mode(join(directory, "ca.crt"))).toBe("600");
  });

  test("keeps the root that was there first", async () => {
    const directory = await filled();
    const before = await fileStore(directory).load();
    const kept = await fileStore(directory).createIfAbsent(await newRoot());
    expect(kept.caCrt).toBe(before?.caCrt);
    expect(readdirSync(join(directory, ".."))).toEqual(["ca"]);
  });

  test("gives all of many authorities that start at once the same root", async () => {
    const directory = join(testDirectory(), "ca");
    const authorities = await Promise.all(
      Array.from({ length: 12 }, () => startAuthority({}, { store: fileStore(directory) })),
    );
    expect(new Set(authorities.map((authority) => authority.bundle.pem)).size).toBe(1);
    expect(readFileSync(join(directory, "ca.crt"), "utf8")).toBe(authorities[0]!.bundle.pem);
    expect(readdirSync(join(directory, ".."))).toEqual(["ca"]);
  });

  test("gives two processes that start at once the same root", async () => {
    const directory = join(testDirectory(), "ca");
    const room = join(import.meta.dirname, "../../../src/ca");
    const script = `
      const { fileStore } = await import(${JSON.stringify(join(room, "file-store.ts"))});
      const { Authority } = await import(${JSON.stringify(join(room, "authority.ts"))});
      const authority = await Authority.start({ trustDomain: "x" }, { store: fileStore(process.argv[1]) }, new AbortController().signal);
      process.stdout.write(authority.bundle.pem);`;
    const run = () => promisify(execFile)(process.execPath, ["--input-type=module", "-e", script, directory]);
    const [one, two] = await Promise.all([run(), run()]);
    expect(one.stdout).toMatch(/BEGIN CERTIFICATE/);
    expect(two.stdout).toBe(one.stdout);
  });
});

describe("is refused with a sentence that says what to do", () => {
  test.each<[string, (directory: string) => void, RegExp]>([
    [
      "a key that the group can read",
      (directory) => chmodSync(join(directory, "private.key"), 0o640),
      /private\.key can be read by others than its owner, so it cannot be trusted\. Run: chmod 600 .*private\.key$/,
    ],
    [
      "a key that the world can read",
      (directory) => chmodSync(join(directory, "private.key"), 0o604),
      /can be read by others/,
    ],
    [
      "a certificate that others can write",
      (directory) => chmodSync(join(directory, "ca.crt"), 0o622),
      /ca\.crt can be written by others than its owner, .* Run: chmod 600/,
    ],
    ["a directory that others can write to", (directory) => chmodSync(directory, 0o770), /Run: chmod 700 \//],
    ["a certificate alone", (directory) => rmSync(join(directory, "private.key")), /holds ca\.crt alone\. Put/],
    ["a key alone", (directory) => rmSync(join(directory, "ca.crt")), /holds private\.key alone\. Put/],
    [
      "a directory in the key's place",
      (directory) => {
        rmSync(join(directory, "private.key"));
        mkdirSync(join(directory, "private.key"));
      },
      /private\.key is not a file in PEM/,
    ],
    [
      "a file of five megabytes",
      (directory) => writeFileSync(join(directory, "private.key"), Buffer.alloc(5 << 20)),
      /private\.key is not a file in PEM/,
    ],
    [
      "a link that leads nowhere",
      (directory) => {
        rmSync(join(directory, "ca.crt"));
        symlinkSync("nowhere", join(directory, "ca.crt"));
      },
      /cannot be used: ENOENT.* Give a directory that this user owns/,
    ],
    [
      "a broken certificate",
      (directory) => writeFileSync(join(directory, "ca.crt"), "x"),
      /ca\.crt holds no certificate in PEM/,
    ],
    [
      "a broken key",
      (directory) => writeFileSync(join(directory, "private.key"), "x"),
      /private\.key is not a readable private key/,
    ],
  ])("%s", async (_, spoil, sentence) => {
    const directory = await filled();
    spoil(directory);
    const failure = await startAuthority({}, { store: fileStore(directory) }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(CaError);
    expect((failure as Error).message).toMatch(sentence);
    expect((failure as Error).message).toContain(directory);
  });

  test("a directory that holds other things", async () => {
    const directory = testDirectory();
    writeFileSync(join(directory, "notes.txt"), "mine");
    await expect(startAuthority({}, { store: fileStore(directory) })).rejects.toThrow(
      /holds other files, but no ca\.crt and private\.key\. Give an empty directory or a new one\./,
    );
    expect(readdirSync(directory)).toEqual(["notes.txt"]);
  });

  test("a path that is a file, or below one", async () => {
    const path = join(testDirectory(), "file");
    writeFileSync(path, "");
    for (const wrong of [path, join(path, "ca")])
      await expect(startAuthority({}, { store: fileStore(wrong) })).rejects.toThrow(/cannot be used: ENOTDIR/);
  });
});

test("a certificate that everybody can read is no secret", async () => {
  const directory = await filled();
  chmodSync(join(directory, "ca.crt"), 0o644);
  chmodSync(directory, 0o755);
  expect((await startAuthority({}, { store: fileStore(directory) })).bundle.roots).toHaveLength(1);
});
