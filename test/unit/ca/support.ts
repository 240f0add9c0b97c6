/** What the CA's tests share: a clock that stands still, a store in memory, openssl, and a directory that goes away. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test } from "vitest";
import { Authority, type AuthorityParts, type AuthoritySettings } from "../../../src/ca/authority.ts";
import type { SecretStore, StoredRoot } from "../../../src/ca/store.ts";

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const UUID = "0f1e2d3c-4b5a-4678-9abc-def012345678";

export function memoryStore(kept?: StoredRoot): SecretStore & { kept: StoredRoot | undefined } {
  return {
    kept,
    where: "the test's memory",
    async load() {
      return this.kept;
    },
    async createIfAbsent(root) {
      return (this.kept ??= root);
    },
  };
}

/** An authority that ends with the test. */
export function startAuthority(
  settings: Partial<AuthoritySettings> = {},
  parts: Partial<AuthorityParts> = {},
): Promise<Authority> {
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  return Authority.start(
    { trustDomain: "cluster.local", ...settings },
    { store: memoryStore(), ...parts },
    stop.signal,
  );
}

/** A signal that is aborted when the test is over. */
export function testSignal(): AbortSignal {
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  return stop.signal;
}

/** A directory that is removed when the test is over. */
export function testDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), "heddle-ca-test-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

export function file(directory: string, name: string, content: string): string {
  const path = join(directory, name);
  writeFileSync(path, content, { mode: 0o600 });
  return path;
}

export function openssl(...args: string[]): string {
  return execFileSync("openssl", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

const present = spawnSync("openssl", ["version"]).status === 0;
if (!present && process.env.CI) throw new Error("openssl is missing, and CI must not go without it");
if (!present)
  console.warn(
    "\n*** SKIPPED: openssl is missing, so certificates are not checked against it. Install it: apt-get install openssl\n",
  );

/** A test with openssl as its oracle: skipped loudly where there is none, a failure in CI. */
export const opensslTest = test.skipIf(!present);

/** A root as OSM v1.2 makes it, made by openssl. */
export function osmRoot(directory: string, ...more: string[]): { caCrt: string; caKey: string } {
  const key = join(directory, "osm.key");
  const crt = join(directory, "osm.crt");
  const subject = "/C=US/L=CA/O=Open Service Mesh/CN=osm-ca.openservicemesh.io";
  // prettier-ignore
  openssl(
    "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "3650", "-subj", subject,
    "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    ...more, "-keyout", key, "-out", crt,
  );
  return { caCrt: crt, caKey: key };
}
