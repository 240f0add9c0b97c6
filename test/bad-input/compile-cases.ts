/** Folders whose objects are well written but cannot be honoured: reading is content, policy says it. */
import { ACCESS, type BadInput, routes, split, target } from "./input.ts";

export const COMPILE: readonly BadInput[] = [
  {
    name: "a rule that names a route which does not exist",
    stage: "compile",
    files: { "dangling.yaml": target("dangling", `${ACCESS}  rules: [{kind: HTTPRouteGroup, name: nowhere}]\n`) },
    problems: [
      {
        code: "unknown-route",
        file: "dangling.yaml",
        line: 9,
        path: "spec.rules[0].name",
        message: 'there is no HTTPRouteGroup "nowhere" in namespace good: the rule opens nothing.',
      },
    ],
  },
  {
    name: "a rule that names a match which the group does not have",
    stage: "compile",
    files: {
      "match.yaml": target("match", `${ACCESS}  rules: [{kind: HTTPRouteGroup, name: routes, matches: [nothing]}]\n`),
    },
    problems: [
      {
        code: "unknown-match",
        file: "match.yaml",
        line: 9,
        path: "spec.rules[0].matches[0]",
        message: 'HTTPRouteGroup "routes" has no match "nothing": this name opens nothing.',
      },
    ],
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
    problems: [
      {
        code: "bad-regex",
        file: "regex.yaml",
        line: 9,
        path: "spec.matches[0].pathRegex",
        message:
          '"/(?=x)" is not a regular expression of RE2 (invalid or unsupported Perl syntax: `(?=`); match "bad" opens nothing. Write it in RE2\'s syntax.',
      },
    ],
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
    problems: [
      {
        code: "nobody-allowed",
        file: "nobody.yaml",
        path: "spec.sources",
        message: "the target has no sources: it allows nobody. Name at least one ServiceAccount.",
      },
    ],
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
    problems: [
      {
        code: "wrong-namespace",
        file: "elsewhere.yaml",
        path: "spec.destination.namespace",
        message:
          "the target is in namespace elsewhere and its destination in good: only who owns the destination may open it. Move the target to namespace good.",
      },
    ],
  },
  {
    name: "a split whose root is nowhere",
    stage: "compile",
    files: { "root.yaml": split("spec:\n  service: nowhere\n  backends:\n  - {service: server, weight: 1}\n") },
    problems: [
      {
        code: "bad-root",
        file: "root.yaml",
        line: 5,
        path: "spec.service",
        message: 'there is no Service "nowhere" in namespace good: the split is not used until there is one.',
      },
    ],
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
      {
        code: "self-backend",
        file: "backend.yaml",
        line: 7,
        path: "spec.backends[0].service",
        message:
          "the root Service is one of its own backends: its endpoints may be those of the other backends as well.",
      },
      {
        code: "bad-backend",
        file: "backend.yaml",
        line: 8,
        path: "spec.backends[1].service",
        message: 'there is no Service "nowhere" in namespace good: the backend is left out.',
      },
    ],
  },
];
