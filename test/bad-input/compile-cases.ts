/** Folders whose objects are well written but cannot be honoured: reading is content, policy says it. */
import { ACCESS, type BadInput, routes, split, target } from "./input.ts";

export const COMPILE: readonly BadInput[] = [
  {
    name: "a rule that names a route which does not exist",
    stage: "compile",
    files: { "dangling.yaml": target("dangling", `${ACCESS}  rules: [{kind: HTTPRouteGroup, name: nowhere}]\n`) },
    problems: [{ code: "unknown-route", file: "dangling.yaml", line: 9, path: "spec.rules[0].name" }],
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
    problems: [{ code: "nobody-allowed", file: "nobody.yaml", path: "spec.sources" }],
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
    problems: [{ code: "wrong-namespace", file: "elsewhere.yaml", path: "spec.destination.namespace" }],
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
    problems: [
      { code: "self-backend", file: "backend.yaml", line: 7, path: "spec.backends[0].service" },
      { code: "bad-backend", file: "backend.yaml", line: 8, path: "spec.backends[1].service" },
    ],
  },
];
