/**
 * Broken folders, each with the sentences that it must produce and what must stand all the same: one table, read by the tests of
 * the source (`stage: "source"`) and of the whole pipeline (both stages).
 */
import { execFileSync } from "node:child_process";
import { chmodSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ReadFile } from "../../src/sources/files/folder.ts";
import { readBounded } from "../../src/sources/files/folder.ts";
import type { ProblemCode } from "../../src/world/types.ts";

export interface ExpectedProblem {
  readonly code: ProblemCode;
  /** Below the folder. */
  readonly file: string;
  readonly line?: number;
  /** Where in the object. */
  readonly path?: string;
  /** The exact sentence, with `DIR` for the folder; left out where another room words it. */
  readonly message?: string;
}

export interface BadInput {
  readonly name: string;
  /** `source`: reading says it. `compile`: reading is content, policy says it. */
  readonly stage: "source" | "compile";
  /** Path → text. `good.yaml` is laid beside them by whoever runs the case. */
  readonly files: Readonly<Record<string, string>>;
  /** What no text can be: links, pipes. */
  readonly make?: (dir: string) => void;
  /** Something that happens while a file is read. */
  readonly read?: ReadFile;
  /** All Problems of this stage, in order of file and line. */
  readonly problems: readonly ExpectedProblem[];
  /** Objects of these files that must be in force, as `Kind namespace/name`, beside those of `good.yaml`. */
  readonly stands?: readonly string[];
  /** Objects that must not be. */
  readonly falls?: readonly string[];
  /** Why it cannot be run here. */
  readonly unless?: () => string | undefined;
}

/** A good mesh of one client and one server; it must be in force beside every broken thing. */
export const GOOD = `apiVersion: v1
kind: Service
metadata: {name: server, namespace: good}
spec: {selector: {app: server}, ports: [{name: http-web, port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: good, labels: {app: server}}
spec:
  serviceAccountName: server
  containers: [{name: web, image: web, ports: [{name: web, containerPort: 8080}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: good, labels: {app: client}}
spec:
  serviceAccountName: client
  containers: [{name: client, image: client}]
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {name: routes, namespace: good}
spec: {matches: [{name: all, pathRegex: "/.*", methods: [GET]}]}
---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: {name: server, namespace: good}
spec:
  destination: {kind: ServiceAccount, name: server, namespace: good}
  rules: [{kind: HTTPRouteGroup, name: routes}]
  sources: [{kind: ServiceAccount, name: client, namespace: good}]
`;

export const GOOD_STANDS = [
  "Service good/server",
  "Pod good/server",
  "Pod good/client",
  "HTTPRouteGroup good/routes",
  "TrafficTarget good/server",
] as const;

const target = (name: string, spec: string): string => `apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata:
  name: ${name}
  namespace: good
${spec}`;

const routes = (name: string, spec: string): string => `apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata:
  name: ${name}
  namespace: good
${spec}`;

const split = (spec: string): string => `apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {name: split, namespace: good}
${spec}`;

const ACCESS = `spec:
  destination: {kind: ServiceAccount, name: server, namespace: good}
  sources: [{kind: ServiceAccount, name: client, namespace: good}]
`;

/** Nine levels of nine: 387 million values from under a kilobyte. */
const LAUGHS = `a: &a [x, x, x, x, x, x, x, x, x]\n${"bcdefghij"
  .split("")
  .map((c, i) => {
    const before = "abcdefghij"[i];
    return `${c}: &${c} [${Array.from({ length: 9 }, () => `*${before}`).join(", ")}]`;
  })
  .join("\n")}\n`;

export const BAD_INPUT: readonly BadInput[] = [
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
  {
    name: "a document that is not an object",
    stage: "source",
    files: { "list.yaml": "- a\n- b\n---\njust text\n---\nname: no kind\n" },
    problems: [
      {
        code: "not-an-object",
        file: "list.yaml",
        line: 1,
        message:
          "This is a list where a Kubernetes object is needed, so it has no effect; give it apiVersion, kind and metadata.",
      },
      {
        code: "not-an-object",
        file: "list.yaml",
        line: 4,
        message:
          'This is the text "just text" where a Kubernetes object is needed, so it has no effect; give it apiVersion, kind and metadata.',
      },
      {
        code: "not-an-object",
        file: "list.yaml",
        line: 6,
        message:
          "This is a map without apiVersion and kind where a Kubernetes object is needed, so it has no effect; give it apiVersion, kind and metadata.",
      },
    ],
  },
  {
    name: "an unknown kind",
    stage: "source",
    files: { "unknown.yaml": "apiVersion: access.smi-spec.io/v1alpha3\nkind: TraficTarget\nmetadata: {name: x}\n" },
    problems: [
      {
        code: "unknown-kind",
        file: "unknown.yaml",
        line: 2,
        message:
          "access.smi-spec.io/v1alpha3 TraficTarget is not a kind that is read here, so this object has no effect; did you mean TrafficTarget of access.smi-spec.io?",
      },
    ],
  },
  {
    name: "an unknown version",
    stage: "source",
    files: { "version.yaml": target("version", ACCESS).replace("v1alpha3", "v1") },
    problems: [
      {
        code: "unknown-version",
        file: "version.yaml",
        line: 1,
        message:
          'TrafficTarget is not read in version "v1", so this object has no effect; write one of access.smi-spec.io/v1alpha1, access.smi-spec.io/v1alpha2, access.smi-spec.io/v1alpha3.',
      },
    ],
    falls: ["TrafficTarget good/version"],
  },
  {
    name: "no name",
    stage: "source",
    files: {
      "nameless.yaml":
        "apiVersion: v1\nkind: Service\nmetadata:\n  labels: {}\nspec: {}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {}\n",
    },
    problems: [
      {
        code: "missing-field",
        file: "nameless.yaml",
        line: 3,
        message: "metadata.name is missing, so this object has no effect; add it.",
      },
      {
        code: "missing-field",
        file: "nameless.yaml",
        line: 9,
        message: "metadata.name is missing, so no pod is made of it; add it.",
      },
    ],
  },
  {
    name: "a name with a slash",
    stage: "source",
    files: { "slash.yaml": 'apiVersion: v1\nkind: Pod\nmetadata:\n  name: "../server"\n' },
    problems: [
      {
        code: "bad-field",
        file: "slash.yaml",
        line: 4,
        message:
          'metadata.name is the text "../server" where a name (lower-case letters, digits, - and .) is needed, so no pod is made of it; write a name (lower-case letters, digits, - and .).',
      },
    ],
  },
  {
    name: "duplicate names, in two files and in one",
    stage: "source",
    files: {
      "a.yaml": routes("same", "spec: {matches: [{name: first}]}"),
      "b.yaml": `${routes("same", "spec: {matches: [{name: second}]}")}\n---\n${routes("same", "spec: {matches: [{name: third}]}")}`,
    },
    problems: [
      {
        code: "duplicate",
        file: "b.yaml",
        line: 1,
        message:
          "HTTPRouteGroup good/same is at a.yaml:1 and again at b.yaml:1, so the second has no effect; remove one of them.",
      },
      {
        code: "duplicate",
        file: "b.yaml",
        line: 8,
        message:
          "HTTPRouteGroup good/same is at a.yaml:1 and again at b.yaml:8, so the second has no effect; remove one of them.",
      },
    ],
    stands: ["HTTPRouteGroup good/same"],
  },
  {
    name: "wrong types: sources, rules and matches",
    stage: "source",
    files: {
      "types.yaml": `${target("sources", "spec:\n  destination: {kind: ServiceAccount, name: server, namespace: good}\n  rules: [{kind: HTTPRouteGroup, name: routes}]\n  sources: client\n")}---\n${target("rule", `${ACCESS}  rules:\n  - kind: HTTPRouteGroup\n    name: routes\n    matches: all\n`)}`,
    },
    problems: [
      {
        code: "bad-field",
        file: "types.yaml",
        line: 9,
        path: "spec.sources",
        message:
          'spec.sources is the text "client" where a list is needed, so this TrafficTarget opens nothing; write a list.',
      },
      {
        code: "bad-field",
        file: "types.yaml",
        line: 22,
        path: "spec.rules[0].matches",
        message:
          'spec.rules[0].matches is the text "all" where a list is needed, so this rule opens nothing; write a list.',
      },
    ],
    stands: ["TrafficTarget good/sources", "TrafficTarget good/rule"],
  },
  {
    name: "wrong types: a path that is a number does not become any path",
    stage: "source",
    files: {
      "path.yaml": routes(
        "path",
        "spec:\n  matches:\n  - name: number\n    pathRegex: 7\n  - name: fine\n    pathRegex: /fine\n",
      ),
    },
    problems: [
      {
        code: "bad-field",
        file: "path.yaml",
        line: 9,
        path: "spec.matches[0].pathRegex",
        message:
          "spec.matches[0].pathRegex is the number 7 where a string is needed, so this match opens nothing; write a string.",
      },
    ],
    stands: ["HTTPRouteGroup good/path"],
  },
  {
    name: "a misspelt restriction does not become no restriction",
    stage: "source",
    files: {
      "misspelt.yaml": `${target("misspelt", `${ACCESS}  rules:\n  - kind: HTTPRouteGroup\n    name: routes\n    match: [all]\n`)}---\n${routes("misspelt", "spec:\n  matches:\n  - name: a\n    method: [GET]\n")}`,
    },
    problems: [
      {
        code: "unknown-field",
        file: "misspelt.yaml",
        line: 12,
        path: "spec.rules[0].match",
        message:
          "spec.rules[0].match is not a field of this version of TrafficTarget, so this rule opens nothing; did you mean matches?",
      },
      {
        code: "unknown-field",
        file: "misspelt.yaml",
        line: 22,
        path: "spec.matches[0].method",
        message:
          "spec.matches[0].method is not a field of this version of HTTPRouteGroup, so this match opens nothing; did you mean methods?",
      },
    ],
    stands: ["TrafficTarget good/misspelt", "HTTPRouteGroup good/misspelt"],
  },
  {
    name: "a TCPRoute whose only port is wrong does not open every port",
    stage: "source",
    files: {
      "port.yaml":
        "apiVersion: specs.smi-spec.io/v1alpha4\nkind: TCPRoute\nmetadata: {name: port, namespace: good}\nspec:\n  matches:\n    ports:\n    - 99999\n",
    },
    problems: [
      {
        code: "bad-field",
        file: "port.yaml",
        line: 7,
        path: "spec.matches.ports[0]",
        message:
          "spec.matches.ports[0] is the number 99999 where a whole number from 1 to 65535 is needed, so this TCPRoute opens nothing; write a whole number from 1 to 65535.",
      },
    ],
    falls: ["TCPRoute good/port"],
  },
  {
    name: "weights that are negative, broken or text",
    stage: "source",
    files: { "weights.yaml": split("spec:\n  service: server\n  backends:\n  - {service: server, weight: -1}\n") },
    problems: [
      {
        code: "bad-weight",
        file: "weights.yaml",
        line: 7,
        path: "spec.backends[0].weight",
        message:
          "spec.backends[0].weight is the number -1 where a whole number from 0 is needed, so this TrafficSplit is ignored; correct it.",
      },
    ],
    falls: ["TrafficSplit good/split"],
  },
  {
    name: "a Service with a selector that is no map and a port that is none",
    stage: "source",
    files: {
      "service.yaml":
        "apiVersion: v1\nkind: Service\nmetadata: {name: odd, namespace: good}\nspec:\n  selector: {app: 5}\n  ports:\n  - port: eighty\n  - port: 81\n",
    },
    problems: [
      {
        code: "bad-field",
        file: "service.yaml",
        line: 5,
        path: "spec.selector.app",
        message:
          "spec.selector.app is the number 5 where a string is needed, so this Service selects no pod; write a string.",
      },
      {
        code: "bad-field",
        file: "service.yaml",
        line: 7,
        path: "spec.ports[0].port",
        message:
          'spec.ports[0].port is the text "eighty" where a whole number from 1 to 65535 is needed, so this port is not in the mesh; write a whole number from 1 to 65535.',
      },
    ],
    stands: ["Service good/odd"],
  },
  {
    name: "a Deployment without containers, and one whose selector is another's",
    stage: "source",
    files: {
      "deployments.yaml":
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: empty, namespace: good}\nspec:\n  template: {spec: {containers: []}}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: other, namespace: good}\nspec:\n  selector: {matchLabels: {app: other}}\n  template: {metadata: {labels: {app: else}}, spec: {containers: [{name: a, image: a}]}}\n",
    },
    problems: [
      {
        code: "missing-field",
        file: "deployments.yaml",
        line: 5,
        path: "spec.template.spec.containers",
        message: "spec.template.spec.containers has no entry, so no pod is made of it; add a container.",
      },
      {
        code: "bad-field",
        file: "deployments.yaml",
        line: 11,
        path: "spec.selector.matchLabels.app",
        message:
          "spec.selector.matchLabels.app is not a label of spec.template, so no pod is made of it, as Kubernetes refuses it; give both the same label.",
      },
    ],
  },
  {
    name: "a MeshConfig with a text for a switch does not become permissive",
    stage: "source",
    files: {
      "mesh.yaml":
        'apiVersion: config.openservicemesh.io/v1alpha2\nkind: MeshConfig\nmetadata: {name: osm-mesh-config, namespace: osm-system}\nspec:\n  traffic:\n    enablePermissiveTrafficPolicyMode: "true"\n    enableEgres: true\n',
    },
    problems: [
      {
        code: "bad-field",
        file: "mesh.yaml",
        line: 6,
        path: "spec.traffic.enablePermissiveTrafficPolicyMode",
        message:
          'spec.traffic.enablePermissiveTrafficPolicyMode is the text "true" where true or false is needed, so the default holds; write true or false.',
      },
      {
        code: "unknown-field",
        file: "mesh.yaml",
        line: 7,
        path: "spec.traffic.enableEgres",
        message:
          "spec.traffic.enableEgres is not a field of this version of MeshConfig, so it is not read; did you mean enableEgress?",
      },
    ],
    stands: ["MeshConfig osm-system/osm-mesh-config"],
  },
  {
    name: "a List of which one item is bad",
    stage: "source",
    files: {
      "list.yaml":
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: specs.smi-spec.io/v1alpha4\n  kind: TCPRoute\n  metadata: {name: any, namespace: good}\n- apiVersion: specs.smi-spec.io/v1alpha4\n  kind: TCPRoute\n  metadata: {name: Bad_Name, namespace: good}\n",
    },
    problems: [
      {
        code: "bad-field",
        file: "list.yaml",
        line: 9,
        path: "metadata.name",
        message:
          'metadata.name is the text "Bad_Name" where a name (lower-case letters, digits, - and .) is needed, so this object has no effect; write a name (lower-case letters, digits, - and .).',
      },
    ],
    stands: ["TCPRoute good/any"],
  },
  {
    name: "a rule that names a route which does not exist",
    stage: "compile",
    files: { "dangling.yaml": target("dangling", `${ACCESS}  rules: [{kind: HTTPRouteGroup, name: nowhere}]\n`) },
    problems: [{ code: "unknown-route", file: "dangling.yaml", line: 9, path: "spec.rules[0]" }],
  },
  {
    name: "a rule that names a match which the group does not have",
    stage: "compile",
    files: {
      "match.yaml": target("match", `${ACCESS}  rules: [{kind: HTTPRouteGroup, name: routes, matches: [nothing]}]\n`),
    },
    problems: [{ code: "unknown-match", file: "match.yaml", line: 9, path: "spec.rules[0].matches[0]" }],
  },
  {
    name: "a regular expression that RE2 rejects",
    stage: "compile",
    files: {
      "regex.yaml": routes(
        "regex",
        'spec:\n  matches:\n  - name: bad\n    pathRegex: "/(?=x)"\n  - name: fine\n    pathRegex: /fine\n',
      ),
    },
    problems: [{ code: "bad-regex", file: "regex.yaml", line: 9, path: "spec.matches[0].pathRegex" }],
  },
  {
    name: "a TrafficTarget that allows nobody",
    stage: "compile",
    files: {
      "nobody.yaml": target(
        "nobody",
        "spec:\n  destination: {kind: ServiceAccount, name: server, namespace: good}\n  rules: [{kind: HTTPRouteGroup, name: routes}]\n  sources: []\n",
      ),
    },
    problems: [{ code: "nobody-allowed", file: "nobody.yaml" }],
  },
  {
    name: "a TrafficTarget outside of its destination's namespace",
    stage: "compile",
    files: {
      "elsewhere.yaml": target("elsewhere", `${ACCESS}  rules: [{kind: HTTPRouteGroup, name: routes}]\n`).replace(
        "namespace: good\nspec",
        "namespace: elsewhere\nspec",
      ),
    },
    problems: [{ code: "wrong-namespace", file: "elsewhere.yaml" }],
  },
  {
    name: "a split whose root is nowhere",
    stage: "compile",
    files: { "root.yaml": split("spec:\n  service: nowhere\n  backends:\n  - {service: server, weight: 1}\n") },
    problems: [{ code: "bad-root", file: "root.yaml", line: 5, path: "spec.service" }],
  },
  {
    name: "a split with a backend that is nowhere",
    stage: "compile",
    files: {
      "backend.yaml": split(
        "spec:\n  service: server\n  backends:\n  - {service: server, weight: 1}\n  - {service: nowhere, weight: 1}\n",
      ),
    },
    problems: [{ code: "bad-backend", file: "backend.yaml", line: 8, path: "spec.backends[1]" }],
  },
];
