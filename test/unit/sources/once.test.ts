/** Files read once: what stands where. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Readings } from "../../../src/sources/files/once.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "heddle-once-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

test("a folder, and one of its files: the same objects at the same places, also fields of SMI's first versions", async () => {
  const file = join(dir, "a.yaml");
  writeFileSync(
    file,
    "apiVersion: specs.smi-spec.io/v1alpha1\nkind: HTTPRouteGroup\nmetadata: {name: r, namespace: ns}\nmatches:\n- name: m\n  pathRegex: /a\n",
  );
  const readings = new Readings({ pods: "10.64.0.0/16", services: "10.65.0.0/16" });
  for (const path of [dir, file]) {
    const { changes, locate } = readings.outcome(await readings.read(path));
    expect(changes.map(({ kind, name }) => `${kind} ${name}`)).toEqual(["Namespace ns", "HTTPRouteGroup r"]);
    const ref = { kind: "HTTPRouteGroup", namespace: "ns", name: "r" };
    expect(locate(ref, "spec.matches[0].pathRegex")).toEqual({ file, line: 6 });
  }
});
