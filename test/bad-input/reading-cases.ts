/** Folders whose files cannot be read, or are no YAML. */
import { execFileSync } from "node:child_process";
import { chmodSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readBounded } from "../../src/sources/files/folder.ts";
import { ACCESS, type BadInput, routes, target } from "./input.ts";

/** Nine levels of nine: 387 million values from under a kilobyte. */
const LAUGHS = `a: &a [x, x, x, x, x, x, x, x, x]\n${"bcdefghij"
  .split("")
  .map((c, i) => {
    const before = "abcdefghij"[i];
    return `${c}: &${c} [${Array.from({ length: 9 }, () => `*${before}`).join(", ")}]`;
  })
  .join("\n")}\n`;

export const READING: readonly BadInput[] = [
  {
    name: "bad YAML: one document of three",
    stage: "source",
    files: {
      "bad.yaml": `${routes("before", "spec: {matches: [{name: a}]}")}\n---\nkind: [unclosed\n---\n${routes("after", "spec: {matches: [{name: a}]}")}\n`,
    },
    problems: [
      {
        code: "bad-yaml",
        file: "bad.yaml",
        message:
          "bad.yaml is not YAML from line 9 on (deficient indentation), so this document has no effect; correct it.",
      },
    ],
    stands: ["HTTPRouteGroup good/before", "HTTPRouteGroup good/after"],
  },
  {
    name: "bad YAML: a tab as indentation",
    stage: "source",
    files: { "tab.yml": "kind: TrafficTarget\nmetadata:\n\tname: x\n" },
    problems: [
      {
        code: "bad-yaml",
        file: "tab.yml",
        message:
          "tab.yml is not YAML from line 3 on (tab characters must not be used in indentation), so this document has no effect; correct it.",
      },
    ],
  },
  {
    name: "a key that is there twice",
    stage: "source",
    files: {
      "twice.yaml": target("twice", `${ACCESS}  sources: []\n  rules: [{kind: HTTPRouteGroup, name: routes}]\n`),
    },
    problems: [
      {
        code: "bad-yaml",
        file: "twice.yaml",
        message:
          "twice.yaml is not YAML from line 9 on (duplicated mapping key), so this document has no effect; correct it.",
      },
    ],
    falls: ["TrafficTarget good/twice"],
  },
  {
    name: "JSON that is cut off",
    stage: "source",
    files: { "cut.json": `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "cut"` },
    problems: [
      {
        code: "bad-yaml",
        file: "cut.json",
        message:
          "cut.json is not YAML from line 1 on (unexpected end of the stream within a flow collection), so this document has no effect; correct it.",
      },
    ],
  },
  {
    name: "aliases that grow without bound",
    stage: "source",
    files: { "laughs.yaml": LAUGHS },
    problems: [
      {
        code: "bad-yaml",
        file: "laughs.yaml",
        message:
          "laughs.yaml is not YAML from line 1 on (more than 500000 values when its aliases are written out, or an alias within itself), so this document has no effect; correct it.",
      },
    ],
  },
  {
    name: "an alias within itself",
    stage: "source",
    files: { "self.yaml": "apiVersion: v1\nkind: Service\nmetadata: &m {name: self, labels: *m}\n" },
    problems: [
      {
        code: "bad-yaml",
        file: "self.yaml",
        message:
          "self.yaml is not YAML from line 1 on (more than 500000 values when its aliases are written out, or an alias within itself), so this document has no effect; correct it.",
      },
    ],
  },
  {
    name: "nesting without end",
    stage: "source",
    files: { "deep.yaml": "[".repeat(100_000) },
    problems: [
      {
        code: "bad-yaml",
        file: "deep.yaml",
        message:
          "deep.yaml is not YAML from line 1 on (nesting exceeded maxDepth (100)), so this document has no effect; correct it.",
      },
    ],
  },
  {
    name: "a tag that would make an object with behaviour",
    stage: "source",
    files: { "tag.yaml": 'apiVersion: v1\nkind: !!js/function "function () { return 1 }"\n' },
    problems: [
      {
        code: "bad-yaml",
        file: "tag.yaml",
        message:
          "tag.yaml is not YAML from line 2 on (unknown scalar tag !<tag:yaml.org,2002:js/function>), so this document has no effect; correct it.",
      },
    ],
  },
  {
    name: "a binary file",
    stage: "source",
    files: { "binary.yaml": "\u0000\u0001ELF\u0000" },
    problems: [
      {
        code: "bad-yaml",
        file: "binary.yaml",
        message: "binary.yaml is not a text in UTF-8, so nothing in it counts; save it as UTF-8 or remove it.",
      },
    ],
  },
  {
    name: "text that is not UTF-8",
    stage: "source",
    files: {},
    make: (dir) => writeFileSync(join(dir, "latin.yaml"), Buffer.from("kind: Caf\u00e9\n", "latin1")),
    problems: [
      {
        code: "bad-yaml",
        file: "latin.yaml",
        message: "latin.yaml is not a text in UTF-8, so nothing in it counts; save it as UTF-8 or remove it.",
      },
    ],
  },
  {
    name: "a 5 MB object",
    stage: "source",
    files: {
      "large.yaml": routes("large", `spec:\n  matches:\n  - name: a\n    pathRegex: "${"x".repeat(5_000_000)}"\n`),
    },
    problems: [
      {
        code: "too-large",
        file: "large.yaml",
        message: "large.yaml is larger than the 4 MiB that are read, so nothing in it counts; correct or remove it.",
      },
    ],
    falls: ["HTTPRouteGroup good/large"],
  },
  {
    name: "a regular expression that is too long",
    stage: "source",
    files: {
      "long.yaml": routes(
        "long",
        `spec:\n  matches:\n  - name: long\n    pathRegex: "${"x".repeat(5_000)}"\n  - name: short\n`,
      ),
    },
    problems: [
      {
        code: "too-large",
        file: "long.yaml",
        line: 9,
        path: "spec.matches[0].pathRegex",
        message:
          "spec.matches[0].pathRegex has 5000 characters where at most 4096 are read, so this match opens nothing; shorten it.",
      },
    ],
    stands: ["HTTPRouteGroup good/long"],
  },
  {
    name: "a symlink loop of folders",
    stage: "source",
    files: {},
    make: (dir) => symlinkSync(".", join(dir, "loop")),
    problems: [
      {
        code: "unreadable",
        file: "loop",
        message:
          "The folder loop is a link to a folder that it lies in, so nothing in it counts; correct or remove it.",
      },
    ],
  },
  {
    name: "a symlink that leads to itself",
    stage: "source",
    files: {},
    make: (dir) => symlinkSync("self.yaml", join(dir, "self.yaml")),
    problems: [
      {
        code: "unreadable",
        file: "self.yaml",
        message: "self.yaml is a link that leads to itself, so nothing in it counts; correct or remove it.",
      },
    ],
  },
  {
    name: "a symlink to nothing",
    stage: "source",
    files: {},
    make: (dir) => symlinkSync("nowhere", join(dir, "dangling.yaml")),
    problems: [
      {
        code: "unreadable",
        file: "dangling.yaml",
        message:
          "dangling.yaml is not there (removed while it was read, or a link to nothing), so nothing in it counts; correct or remove it.",
      },
    ],
  },
  {
    name: "a named pipe",
    stage: "source",
    files: {},
    make: (dir) => void execFileSync("mkfifo", [join(dir, "pipe.yaml")]),
    problems: [
      {
        code: "unreadable",
        file: "pipe.yaml",
        message: "pipe.yaml is neither a file nor a folder, so nothing in it counts; correct or remove it.",
      },
    ],
  },
  {
    name: "an unreadable file",
    stage: "source",
    files: { "secret.yaml": routes("secret", "spec: {matches: [{name: a}]}") },
    make: (dir) => chmodSync(join(dir, "secret.yaml"), 0),
    unless: () => (process.getuid?.() === 0 ? "root may read every file" : undefined),
    problems: [
      {
        code: "unreadable",
        file: "secret.yaml",
        message: "secret.yaml may not be read by this user, so nothing in it counts; correct or remove it.",
      },
    ],
  },
  {
    name: "a file that may not be read, as the kernel says it",
    stage: "source",
    files: { "denied.yaml": routes("denied", "spec: {matches: [{name: a}]}") },
    read: (path) =>
      path.endsWith("denied.yaml")
        ? Promise.reject(
            Object.assign(new Error("denied"), {
              code: "EACCES",
              message: "denied.yaml may not be read by this user, so nothing in it counts; correct or remove it.",
            }),
          )
        : readBounded(path),
    problems: [
      {
        code: "unreadable",
        file: "denied.yaml",
        message: "denied.yaml may not be read by this user, so nothing in it counts; correct or remove it.",
      },
    ],
    falls: ["HTTPRouteGroup good/denied"],
  },
  {
    name: "a file that is deleted while it is read",
    stage: "source",
    files: { "gone.yaml": routes("gone", "spec: {matches: [{name: a}]}") },
    read: (path) => {
      if (path.endsWith("gone.yaml")) rmSync(path);
      return readBounded(path);
    },
    problems: [
      {
        code: "unreadable",
        file: "gone.yaml",
        message:
          "gone.yaml is not there (removed while it was read, or a link to nothing), so nothing in it counts; correct or remove it.",
      },
    ],
    falls: ["HTTPRouteGroup good/gone"],
  },
];
