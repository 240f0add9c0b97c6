/** The command as users start it: exit codes, sentences, and what goes to which stream. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, expect, test } from "vitest";
import { folder } from "./folder.ts";

const BIN = resolve(import.meta.dirname, "../../../bin/heddle");
const { dir, remove } = folder({ weights: [90, 10] });
const home = mkdtempSync(join(tmpdir(), "heddle-home-"));
afterAll(() => {
  remove();
  rmSync(home, { recursive: true, force: true });
});

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const heddle = (args: readonly string[], bin = BIN): Promise<Outcome> =>
  new Promise((done) => {
    const env = { PATH: process.env["PATH"], HOME: home };
    const child = execFile(bin, [...args], { env, maxBuffer: 64 << 20 }, (_, out, err) =>
      done({ code: child.exitCode ?? -1, out, err }),
    );
  });

test.each([
  [["version"], 0],
  [["--help"], 0],
  [["help", "up"], 0],
  [[], 0],
  [["vresion"], 2],
  [["get", "pdos"], 2],
  [["translate"], 2],
  [["translate", dir, "--bogus"], 2],
  [["translate", dir, "--stage", "soup"], 2],
  [["translate", dir, "-o", "table"], 2],
  [["translate", join(dir, "nowhere")], 1],
  [["translate", join(dir, "pods.yaml")], 0],
  [["translate", dir, "--proxy", "nobody"], 1],
  [["lint", dir], 0],
  [["lint", dir, "--sarif"], 0],
  [["lint"], 2],
  [["lint", dir, "-o", "yaml"], 2],
  [["lint", join(dir, "nowhere")], 1],
  [["get", "pods", "--mesh", "nosuch"], 1],
  [["proxy", "status", "--mesh", "nosuch"], 1],
  [["exec", "x", "--mesh", "nosuch", "--", "true"], 1],
  [["logs", "x", "--mesh", "nosuch"], 1],
  [["up", join(dir, "nowhere")], 1],
  [["up", dir, "--port", "http"], 2],
])("heddle %j ends with %i, without a stack", async (args, code) => {
  const outcome = await heddle(args);
  expect(outcome.code, outcome.err).toBe(code);
  expect(outcome.err).not.toMatch(/^\s+at /m);
  expect(code === 0 ? outcome.err : outcome.out).toBe("");
  if (code !== 0) expect(outcome.err).toMatch(/^(heddle|error): ./);
});

test("an unknown command suggests the nearest one, an option too", async () => {
  expect((await heddle(["vresion"])).err).toContain("Did you mean version?");
  expect((await heddle(["get", "pdos"])).err).toContain("Did you mean pods?");
  expect((await heddle(["translate", dir, "--stag", "ir"])).err).toContain("Did you mean --stage?");
});

test.each(["up", "exec", "logs", "get pods", "translate", "lint", "proxy status", "version"])(
  "help of %s has examples",
  async (command) => {
    const { out } = await heddle([...command.split(" "), "--help"]);
    expect(out).toMatch(/\nExamples:\n {2}heddle /);
  },
);

test("a symlink to the command works from anywhere", async () => {
  const link = join(home, "h");
  symlinkSync(BIN, link);
  expect((await heddle(["version", "-o", "json"], link)).out).toContain('"heddle"');
});

test("a reader that ends early is no failure", async () => {
  const outcome = await new Promise<Outcome>((done) => {
    const env = { PATH: process.env["PATH"], HOME: home };
    execFile(
      "bash",
      ["-c", `"${BIN}" translate "${dir}" -o json | head -1; echo "\${PIPESTATUS[0]}"`],
      { env },
      (_, out, err) => done({ code: 0, out, err }),
    );
  });
  expect(outcome.out).toBe("[\n0\n");
  expect(outcome.err).toBe("");
});

test("the same folder gives the same translation, and keys are not in it", async () => {
  const [a, b] = await Promise.all([
    heddle(["translate", dir, "-o", "json"]),
    heddle(["translate", dir, "-o", "json"]),
  ]);
  expect(a).toEqual(b);
  expect(a.code).toBe(0);
  const proxies = JSON.parse(a.out) as {
    identity: string;
    pods: string[];
    resources: Record<string, { name: string }[]>;
  }[];
  expect(proxies.map((p) => p.identity).sort()).toEqual(["shop/buyer", "shop/store-v1", "shop/store-v2"]);
  const buyer = proxies.find((p) => p.identity === "shop/buyer")!;
  expect(buyer.pods).toEqual(["shop/buyer-0"]);
  expect(Object.keys(buyer.resources).sort()).toEqual(["CDS", "EDS", "LDS", "RDS", "SDS"]);
  expect(JSON.stringify(buyer.resources["RDS"])).toContain('"weightedClusters"');
  expect(JSON.stringify(buyer.resources["LDS"])).toContain(
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
  );
  expect(JSON.stringify(buyer.resources["SDS"])).toContain('"privateKey":{"inlineString":"[redacted]"}');
});

test.each(["shop/store-v1", "shop/store-v1-0", "store-v1-0"])("--proxy %s", async (name) => {
  const { out, code } = await heddle(["translate", dir, "--stage", "ir", "--proxy", name, "-o", "json"]);
  expect(code).toBe(0);
  const [policy, ...more] = JSON.parse(out) as { identity: string; inbound: { access: { sources: string[] }[] }[] }[];
  expect(more).toEqual([]);
  expect(policy).toMatchObject({
    identity: "shop/store-v1",
    inbound: [{ port: 80, access: [{ target: "shop/buy", sources: ["shop/buyer"] }] }],
  });
});

test("the world as YAML", async () => {
  const { out } = await heddle(["translate", dir, "--stage", "world"]);
  expect(out).toMatch(/^Namespace:/m);
  expect(out).toContain("weight: 90");
});

test("a folder with errors is translated, the errors go to standard error, and the code says so", async () => {
  const bad = folder();
  writeFileSync(join(bad.dir, "bad.yaml"), "kind: [\n");
  try {
    const { code, out, err } = await heddle(["translate", bad.dir, "--stage", "ir"]);
    expect(code).toBe(3);
    expect(out).toContain("shop/store:");
    expect(err).toMatch(/bad\.yaml:\d+: error: /);
  } finally {
    bad.remove();
  }
});
