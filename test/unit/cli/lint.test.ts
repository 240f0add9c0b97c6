/** `heddle lint`: what it prints, in which form, and how it ends. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { lintFolder } from "../../../src/cli/lint.ts";
import { sarif } from "../../../src/cli/sarif.ts";
import type { Problem } from "../../../src/world/types.ts";
import { files } from "./folder.ts";

const UNUSED = `apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata:
  name: unused
  namespace: shop
spec:
  matches:
  - name: fine
`;
const EMPTY = `${UNUSED}  - name: never
    pathRegex: items
`;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "heddle-lint-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Runs it with what it prints. */
async function linted(folder: string, options: { output?: string; strict?: boolean } = {}) {
  let out = "";
  const write = vi.spyOn(process.stdout, "write").mockImplementation(((text: string, done: () => void) => {
    out += text;
    done();
    return true;
  }) as typeof process.stdout.write);
  try {
    const code = await lintFolder(folder, { output: "text", ...options });
    return { code, out };
  } finally {
    write.mockRestore();
  }
}

function lint(more: Readonly<Record<string, string>>, options: { output?: string; strict?: boolean } = {}) {
  for (const [name, text] of Object.entries({ ...files(), ...more })) writeFileSync(join(dir, name), text);
  return linted(dir, options);
}

describe("heddle lint", () => {
  test("a folder without problems", async () => {
    expect(await lint({})).toEqual({ code: 0, out: "No problems.\n" });
  });

  test("hints do not fail, unless they are to", async () => {
    const { code, out } = await lint({ "unused.yaml": UNUSED });
    expect(code).toBe(0);
    expect(out.replaceAll(dir, "DIR")).toBe(
      "DIR/unused.yaml:1: hint: HTTPRouteGroup shop/unused: no TrafficTarget or TrafficSplit of namespace shop names it, and by itself it allows nothing. Name it, or remove it. [unused-route]\n1 hint. What they mean: docs/problems.md\n",
    );
    expect((await lint({ "unused.yaml": UNUSED }, { strict: true })).code).toBe(3);
    expect((await lint({ "unused.yaml": "" }, { strict: true })).code).toBe(0);
  });

  test("errors fail; problems of reading, compiling and comparing stand together, in order of file and line", async () => {
    const { code, out } = await lint({
      "a.yaml": "kind: [\n",
      "empty.yaml": EMPTY,
      "z.yaml": `apiVersion: v1
kind: Service
metadata: {name: lonely, namespace: shop}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80}]}
`,
    });
    expect(code).toBe(3);
    const lines = out.trimEnd().split("\n");
    expect(
      lines.map((line) => /^(?:.*\/)?(\w+\.yaml:\d+: \w+): .* (\[[\w-]+\])$/.exec(line)?.slice(1).join(" ")),
    ).toEqual([
      expect.stringMatching(/^a\.yaml:\d: error \[bad-yaml\]$/),
      "empty.yaml:1: hint [unused-route]",
      "empty.yaml:10: error [empty-match]",
      "z.yaml:4: hint [no-endpoints]",
      undefined,
    ]);
    expect(lines.at(-1)).toBe("2 errors and 2 hints. What they mean: docs/problems.md");
  });

  test.each([
    ["v1alpha4", "spec:\n  matches:", 13],
    ["v1alpha2", "matches:", 12],
  ])("after a match that could not be read, a Problem stands at its own match (%s)", async (version, matches, line) => {
    const text = `apiVersion: specs.smi-spec.io/${version}
kind: HTTPRouteGroup
metadata:
  name: unused
  namespace: shop
${matches}
  - name: odd
    pathregex: /a
  - name: twice
  - name: twice
    methods: [get]
    pathRegex: (
`;
    const { out } = await lint({ "odd.yaml": text }, { output: "json" });
    const path = (end: string) => `${matches.startsWith("spec") ? "spec." : ""}matches[${end}`;
    expect(JSON.parse(out)).toEqual(
      [
        ["unused-route", "", 1],
        ["unknown-field", path("0].pathregex"), line - 4],
        ["duplicate", path("1].name"), line - 3],
        ["lowercase-method", path("2].methods[0]"), line - 1],
        ["bad-regex", path("2].pathRegex"), line],
      ].map(([code, where, number]) => expect.objectContaining({ code, path: where, line: number }) as unknown),
    );
    expect(out).toContain(`${path("2]")} has the name`);
  });

  test("as JSON: the Problems themselves", async () => {
    const { code, out } = await lint({ "empty.yaml": EMPTY }, { output: "json" });
    expect(code).toBe(3);
    expect(JSON.parse(out)).toEqual([
      expect.objectContaining({ code: "unused-route", severity: "hint" }),
      {
        code: "empty-match",
        severity: "error",
        object: { kind: "HTTPRouteGroup", namespace: "shop", name: "unused" },
        path: "spec.matches[1].pathRegex",
        message: expect.stringContaining('begins with "/"') as string,
        file: join(dir, "empty.yaml"),
        line: 10,
      },
    ]);
  });

  test("an unknown format is a usage error, a missing folder a failure", async () => {
    await expect(lint({}, { output: "xml" })).rejects.toMatchObject({ exitCode: 2 });
    await expect(lintFolder(join(dir, "nowhere"), { output: "text" })).rejects.toMatchObject({ exitCode: 1 });
  });
});

/** SARIF 2.1.0's schema for the objects that are used: required properties, and all that are allowed (none of these objects takes others). */
const SHAPES: Readonly<Record<string, { required: readonly string[]; allowed: readonly string[] }>> = {
  log: {
    required: ["version", "runs"],
    allowed: ["$schema", "version", "runs", "inlineExternalProperties", "properties"],
  },
  run: {
    required: ["tool"],
    allowed: ["tool", "results", "columnKind", "artifacts", "invocations", "originalUriBaseIds"],
  },
  tool: { required: ["driver"], allowed: ["driver", "extensions", "properties"] },
  driver: {
    required: ["name"],
    allowed: ["name", "version", "semanticVersion", "informationUri", "rules", "organization", "fullName"],
  },
  rule: {
    required: ["id"],
    allowed: ["id", "name", "shortDescription", "fullDescription", "help", "helpUri", "defaultConfiguration"],
  },
  result: {
    required: ["message"],
    allowed: ["ruleId", "ruleIndex", "level", "kind", "message", "locations", "partialFingerprints", "properties"],
  },
  location: { required: [], allowed: ["id", "physicalLocation", "logicalLocations", "message"] },
  physical: { required: ["artifactLocation"], allowed: ["artifactLocation", "region", "contextRegion", "address"] },
  artifact: { required: ["uri"], allowed: ["uri", "uriBaseId", "index", "description"] },
  region: { required: ["startLine"], allowed: ["startLine", "startColumn", "endLine", "endColumn"] },
  logical: { required: [], allowed: ["name", "index", "fullyQualifiedName", "decoratedName", "parentIndex", "kind"] },
  message: { required: ["text"], allowed: ["text", "markdown", "id", "arguments"] },
};

type Node = Record<string, unknown>;

function shape(name: string, value: unknown): Node {
  const { required, allowed } = SHAPES[name] as (typeof SHAPES)[string];
  const keys = Object.keys(value as Node);
  expect(keys, name).toEqual(expect.arrayContaining([...required]));
  expect(
    keys.filter((key) => !allowed.includes(key)),
    name,
  ).toEqual([]);
  return value as Node;
}

function valid(log: Node): readonly Node[] {
  shape("log", log);
  expect(log["version"]).toBe("2.1.0");
  return (log["runs"] as Node[]).flatMap((run) => {
    const driver = shape("driver", shape("tool", shape("run", run)["tool"])["driver"]);
    expect(["utf16CodeUnits", "unicodeCodePoints"]).toContain(run["columnKind"]);
    const rules = driver["rules"] as Node[];
    expect(new Set(rules.map((rule) => rule["id"])).size).toBe(rules.length);
    for (const rule of rules) {
      shape("rule", rule);
      shape("message", rule["shortDescription"]);
      shape("message", rule["help"]);
      expect(() => new URL(rule["helpUri"] as string)).not.toThrow();
    }
    return (run["results"] as Node[]).map((result) => {
      shape("message", shape("result", result)["message"]);
      expect(["none", "note", "warning", "error"]).toContain(result["level"]);
      expect(rules[result["ruleIndex"] as number]?.["id"]).toBe(result["ruleId"]);
      for (const location of result["locations"] as Node[]) {
        shape("location", location);
        for (const logical of (location["logicalLocations"] ?? []) as Node[]) shape("logical", logical);
        if (!location["physicalLocation"]) continue;
        const { artifactLocation, region } = shape("physical", location["physicalLocation"]);
        shape("artifact", artifactLocation);
        if (region) expect(shape("region", region)["startLine"]).toBeGreaterThan(0);
      }
      return result;
    });
  });
}

describe("SARIF", () => {
  test("is valid, with rule, level, file and line, and a page that has the rule", async () => {
    const { code, out } = await lint({ "empty.yaml": EMPTY }, { output: "sarif" });
    expect(code).toBe(3);
    const log = JSON.parse(out) as Node;
    const results = valid(log);
    expect(results.map((r) => [r["ruleId"], r["level"]])).toEqual([
      ["unused-route", "note"],
      ["empty-match", "error"],
    ]);
    expect(results[1]?.["locations"]).toEqual([
      {
        physicalLocation: {
          artifactLocation: { uri: `file://${join(dir, "empty.yaml")}` },
          region: { startLine: 10 },
        },
        logicalLocations: [
          { fullyQualifiedName: "HTTPRouteGroup/shop/unused/spec.matches[1].pathRegex", kind: "object" },
        ],
      },
    ]);
    const [run] = log["runs"] as [{ tool: { driver: { rules: { id: string; helpUri: string }[] } } }];
    for (const { id, helpUri } of run.tool.driver.rules) {
      const page = new URL(helpUri);
      expect(page.hash).toBe(`#${id}`);
      page.hash = "";
      expect(readFileSync(fileURLToPath(page), "utf8")).toContain(`### ${id}\n`);
    }
  });

  test("places below the source's root are relative to it, and escaped", () => {
    const problem: Problem = {
      code: "bad-yaml",
      severity: "error",
      object: { kind: "", namespace: "", name: "" },
      path: "",
      message: "…",
      file: resolve("/src/deploy/my files/a#b.yaml"),
    };
    const log = sarif([problem, { ...problem, file: "deploy/x.yaml", line: 3 }], { version: "1.0.0", here: "/src" });
    const [one, two] = valid(log as Node);
    expect(one?.["locations"]).toEqual([
      {
        physicalLocation: { artifactLocation: { uri: "deploy/my%20files/a%23b.yaml", uriBaseId: "%SRCROOT%" } },
      },
    ]);
    expect(two?.["locations"]).toEqual([
      {
        physicalLocation: {
          artifactLocation: { uri: "deploy/x.yaml", uriBaseId: "%SRCROOT%" },
          region: { startLine: 3 },
        },
      },
    ]);
  });

  test("without problems it is valid too", () => {
    expect(valid(sarif([], { version: "1.0.0", here: "/" }) as Node)).toEqual([]);
  });
});

test("examples/bookstore has no problem", async () => {
  const bookstore = resolve(import.meta.dirname, "../../../examples/bookstore");
  expect(await linted(bookstore, { strict: true })).toEqual({ code: 0, out: "No problems.\n" });
});
