/**
 * Small worlds, from manifests to Envoy's messages. `GOLDEN_UPDATE=1` writes anew what is compared here; read the difference.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { dump } from "js-yaml";
import { expect, test } from "vitest";
import { TYPES, type Resources } from "../../src/xds/resource.ts";
import { jsonOf } from "../support/envoy-json.ts";
import { CASES, GOLDEN, readCase, type Case } from "../support/golden.ts";

const UPDATE = process.env["GOLDEN_UPDATE"] === "1";
const TRUST = { bundle: "the roots\n", trustDomain: "cluster.local" };

/** Maps become objects; bytes that are text are shown as text. */
const plain = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (key, v: unknown) => {
      if (v instanceof Map) return Object.fromEntries(v);
      if (key === "inlineBytes" && typeof v === "string") return Buffer.from(v, "base64").toString();
      if (key === "accessLog" && Array.isArray(v)) return v.length > 0 ? "as everywhere" : v;
      return v;
    }),
  );

const yaml = (value: unknown): string => dump(plain(value), { noRefs: true, lineWidth: 160 });

const irOf = ({ mesh, problems }: Case): string => {
  const { services, groups, groupOf: _, ...rest } = mesh;
  const short = [...groups.values()].map(({ outbound, ...policy }) => ({ ...policy, outbound: { services: outbound.services.map((s) => s.name), backends: outbound.backends.map((s) => s.name) } }));
  return yaml({ ...rest, services: [...services.values()], groups: short, problems });
};

const xdsOf = (resources: Resources): string => yaml(Object.fromEntries(TYPES.map((type) => [type, [...resources[type].values()].map(jsonOf)])));

/** `ns/account/hash` → `ns-account-hash`. */
const fileOf = (group: string): string => `xds/${group.replaceAll("/", "-")}.yaml`;

test("snapshots stay few and small", () => {
  const files = readdirSync(GOLDEN, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && entry.name.endsWith(".yaml"));
  expect(files.length).toBeLessThanOrEqual(60);
  for (const { parentPath, name } of files) expect(readFileSync(join(parentPath, name), "utf8").split("\n").length, name).toBeLessThanOrEqual(700);
});

test.each(CASES)("golden %s", (name) => {
  const folder = join(GOLDEN, name);
  const found = readCase(name, TRUST);
  const wanted = new Map([["ir.yaml", irOf(found)], ...[...found.groups].map(([group, resources]) => [fileOf(group), xdsOf(resources)] as const)]);
  if (UPDATE) {
    rmSync(join(folder, "xds"), { recursive: true, force: true });
    for (const [path, text] of wanted) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
  }
  const there = existsSync(join(folder, "xds")) ? readdirSync(join(folder, "xds")).map((file) => `xds/${file}`) : [];
  expect(["ir.yaml", ...there].sort()).toEqual([...wanted.keys()].sort());
  for (const [path, text] of wanted) expect(readFileSync(join(folder, path), "utf8"), `${name}/${path}`).toBe(text);
});
