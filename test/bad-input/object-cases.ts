/** Folders whose objects are wrong in themselves. */
import { ACCESS, type BadInput, routes, split, target } from "./input.ts";

export const OBJECTS: readonly BadInput[] = [
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
    name: "a group that every object of the language has",
    stage: "source",
    files: { "odd.yaml": "apiVersion: constructor/v1\nkind: includes\nmetadata: {name: x}\n" },
    problems: [
      {
        code: "unknown-kind",
        file: "odd.yaml",
        line: 2,
        message:
          "constructor/v1 includes is not a kind that is read here, so this object has no effect; remove it, or correct its kind or apiVersion.",
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
          'TrafficTarget is not read in version "v1", so this object has no effect; write one of access.smi-spec.io/v1alpha1, access.smi-spec.io/v1alpha2, access.smi-spec.io/v1alpha3, access.smi-spec.io/v1alpha4.',
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
    name: "a MeshConfig with an IP range and an interface that are none",
    stage: "source",
    files: {
      "mesh.yaml":
        "apiVersion: config.openservicemesh.io/v1alpha2\nkind: MeshConfig\nmetadata: {name: osm-mesh-config, namespace: osm-system}\nspec:\n  traffic:\n    outboundIPRangeExclusionList:\n    - 10.0.0.0\n    networkInterfaceExclusionList:\n    - verylonginterfacename0\n",
    },
    problems: [
      {
        code: "bad-field",
        file: "mesh.yaml",
        line: 7,
        path: "spec.traffic.outboundIPRangeExclusionList[0]",
        message:
          'spec.traffic.outboundIPRangeExclusionList[0] is the text "10.0.0.0" where an IP range such as 10.0.0.0/8 is needed, so it is not used; write an IP range such as 10.0.0.0/8.',
      },
      {
        code: "bad-field",
        file: "mesh.yaml",
        line: 9,
        path: "spec.traffic.networkInterfaceExclusionList[0]",
        message:
          'spec.traffic.networkInterfaceExclusionList[0] is the text "verylonginterfacename0" where the name of a network interface (at most 15 characters) is needed, so it is not used; write the name of a network interface (at most 15 characters).',
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
];
