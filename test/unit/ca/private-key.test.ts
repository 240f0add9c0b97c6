import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { makeKeyPair, KEY_KINDS } from "../../../src/ca/keys.ts";
import { PrivateKey } from "../../../src/ca/private-key.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { identity } from "../../../src/world/names.ts";
import { opensslTest, openssl, startAuthority, testDirectory, file } from "./support.ts";

const SECRET = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
const key = new PrivateKey(SECRET);

describe("a private key cannot be printed", () => {
  test.each<[string, () => string]>([
    ["template string", () => `${key as unknown as string}`],
    ["concatenation", () => "" + (key as unknown as string)],
    ["String", () => String(key)],
    ["JSON", () => JSON.stringify({ deep: [key] })],
    ["inspect", () => inspect({ deep: { key } }, { depth: 9, showHidden: true })],
    ["inspect without custom functions", () => inspect(key, { customInspect: false, showHidden: true })],
    ["structuredClone", () => inspect(structuredClone(key), { showHidden: true })],
    ["own keys", () => Reflect.ownKeys(key).join()],
    ["spread", () => JSON.stringify(Object.assign({}, key))],
  ])("by %s", (_, print) => {
    expect(print()).not.toMatch(/c2VjcmV0|BEGIN/);
  });

  test("says so in string, JSON and inspection", () => {
    expect(`${key as unknown as string}`).toBe("[redacted]");
    expect(JSON.stringify({ key })).toBe('{"key":"[redacted]"}');
    expect(inspect({ key })).toBe("{ key: [redacted] }");
  });

  test("by the log", async () => {
    const lines: string[] = [];
    const log = createLog("debug", (line) => lines.push(line));
    const issued = await (await startAuthority({}, { log })).issueWorkload(identity("ns", "sa"));
    log.info("issued", { issued, key: issued.privateKey });
    expect(lines.join("")).toContain("[redacted]");
    const secret = issued.privateKey.revealPem().split("\n")[1]!;
    expect(lines.join("")).not.toContain(secret);
  });

  test("nor by the error about a key that cannot be read", () => {
    expect(() => key.toKeyObject()).toThrow(/^not a readable private key in PEM without a passphrase$/);
  });

  test("but is handed out when asked for by name", () => {
    expect(key.revealPem()).toBe(SECRET);
  });
});

opensslTest.each(KEY_KINDS)("openssl reads a key pair of the kind %s and finds it sound", async (kind) => {
  const pair = await makeKeyPair(kind);
  const directory = testDirectory();
  const path = file(directory, "key.pem", pair.privateKey.revealPem());
  expect(openssl("pkey", "-in", path, "-check", "-noout")).toMatch(/Key is valid/);
  const publicKey = openssl("pkey", "-in", path, "-pubout").replace(/-----[^-]+-----|\s/g, "");
  expect(pair.publicKey.toString("base64")).toBe(publicKey);
});
