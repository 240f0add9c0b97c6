/** The table of versions in docs/smi.md: each kind in each version, written as that version writes it, is one internal form. */
import { describe, expect, test } from "vitest";
import { Decoder } from "../../../src/manifest/decode.ts";
import { KINDS } from "../../../src/manifest/kinds.ts";
import { parseYaml } from "../../../src/sources/files/yaml.ts";

type Version = "v1alpha1" | "v1alpha2" | "v1alpha3" | "v1alpha4";
const VERSIONS: readonly Version[] = ["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"];

interface Row {
  readonly kind: string;
  readonly group: string;
  /** What stands below the metadata in this version, and what it is read as. */
  readonly forms: Readonly<Record<Version, readonly [written: string, form: object]>>;
  /** What only other versions have: the object opens nothing, and the field is named. */
  readonly foreign: Readonly<Record<Version, readonly (readonly [written: string, said: string])[]>>;
}

const SA = "{kind: ServiceAccount, name: api, namespace: ns}";
const SOURCES = "[{kind: ServiceAccount, name: web, namespace: other}]";
const RULES = "[{kind: HTTPRouteGroup, name: r, matches: [m]}, {kind: TCPRoute, name: t}]";
const TO = "destination: {kind: ServiceAccount, name: api, namespace: ns";
const targetForm = {
  namespace: "ns",
  name: "x",
  destination: { kind: "ServiceAccount", name: "api", namespace: "ns" },
  sources: [{ kind: "ServiceAccount", name: "web", namespace: "other" }],
  rules: [
    { kind: "HTTPRouteGroup", name: "r", matches: ["m"] },
    { kind: "TCPRoute", name: "t", matches: [] },
  ],
};
const inSpec = `spec: {destination: ${SA}, sources: ${SOURCES}, rules: ${RULES}}`;

const plain = "{name: m, pathRegex: /a, methods: [GET]}";
const plainForm = { name: "m", where: "matches[0]", pathRegex: "/a", methods: ["GET"], headers: [] };
const withHeaders =
  "[{name: m, headers: {User-Agent: .*Android.*, cookie: b}}, {name: n, headers: [{X-b: y}, {x-a: z}]}]";
const headersForm = (matches: string) => ({
  namespace: "ns",
  name: "x",
  matches: [
    {
      name: "m",
      where: `${matches}[0]`,
      methods: [],
      headers: [
        { name: "cookie", regex: "b" },
        { name: "user-agent", regex: ".*Android.*" },
      ],
    },
    {
      name: "n",
      where: `${matches}[1]`,
      methods: [],
      headers: [
        { name: "x-a", regex: "z" },
        { name: "x-b", regex: "y" },
      ],
    },
  ],
});

const all = { namespace: "ns", name: "x", ports: [] };
const anyPort: readonly [string, object][] = [
  ["", all],
  ["", all],
  ["spec: {}", all],
];
const noPorts = [["spec: {matches: {ports: [80]}}", "unknown-field spec.matches"]] as const;

const TABLE: readonly Row[] = [
  {
    kind: "TrafficTarget",
    group: "access",
    forms: {
      v1alpha1: [`${TO}, port: 8080}\nsources: ${SOURCES}\nspecs: ${RULES}`, { ...targetForm, port: 8080 }],
      v1alpha2: [`spec: {${TO}, port: 8080}, sources: ${SOURCES}, rules: ${RULES}}`, { ...targetForm, port: 8080 }],
      v1alpha3: [inSpec, targetForm],
      v1alpha4: [inSpec, targetForm],
    },
    foreign: {
      v1alpha1: [
        [inSpec, "unknown-field spec"],
        [`destination: ${SA}\nsources: ${SOURCES}\nrules: ${RULES}`, "unknown-field rules"],
      ],
      v1alpha2: [
        [`destination: ${SA}\nsources: ${SOURCES}\nspecs: ${RULES}`, "unknown-field destination"],
        [`spec: {destination: ${SA}, sources: ${SOURCES}, specs: ${RULES}}`, "unknown-field spec.specs"],
      ],
      v1alpha3: [
        [`spec: {${TO}, port: 8080}, sources: ${SOURCES}, rules: ${RULES}}`, "unknown-field spec.destination.port"],
        [`spec: {${TO}, group: g}, sources: ${SOURCES}, rules: ${RULES}}`, "unknown-field spec.destination.group"],
      ],
      v1alpha4: [
        [`spec: {${TO}, port: 8080}, sources: ${SOURCES}, rules: ${RULES}}`, "unknown-field spec.destination.port"],
      ],
    },
  },
  {
    kind: "HTTPRouteGroup",
    group: "specs",
    forms: {
      v1alpha1: [`matches: [${plain}]`, { namespace: "ns", name: "x", matches: [plainForm] }],
      v1alpha2: [`matches: ${withHeaders}`, headersForm("matches")],
      v1alpha3: [`spec: {matches: ${withHeaders}}`, headersForm("spec.matches")],
      v1alpha4: [`spec: {matches: ${withHeaders}}`, headersForm("spec.matches")],
    },
    foreign: {
      v1alpha1: [[`spec: {matches: [${plain}]}`, "unknown-field spec"]],
      v1alpha2: [[`spec: {matches: [${plain}]}`, "unknown-field spec"]],
      v1alpha3: [[`matches: [${plain}]`, "unknown-field matches"]],
      v1alpha4: [[`matches: [${plain}]`, "unknown-field matches"]],
    },
  },
  {
    kind: "TCPRoute",
    group: "specs",
    forms: {
      v1alpha1: anyPort[0] as [string, object],
      v1alpha2: anyPort[1] as [string, object],
      v1alpha3: anyPort[2] as [string, object],
      v1alpha4: ["spec: {matches: {ports: [3306, 6446]}}", { ...all, ports: [3306, 6446] }],
    },
    foreign: {
      v1alpha1: noPorts,
      v1alpha2: noPorts,
      v1alpha3: noPorts,
      v1alpha4: [["spec: {ports: [80]}", "unknown-field spec.ports"]],
    },
  },
  {
    kind: "UDPRoute",
    group: "specs",
    forms: {
      v1alpha1: ["", { namespace: "ns", name: "x" }],
      v1alpha2: ["", { namespace: "ns", name: "x" }],
      v1alpha3: ["spec: {}", { namespace: "ns", name: "x" }],
      v1alpha4: ["spec: {matches: {ports: [989, 990]}}", { namespace: "ns", name: "x" }],
    },
    foreign: {
      v1alpha1: noPorts,
      v1alpha2: noPorts,
      v1alpha3: noPorts,
      v1alpha4: [["spec: {ports: [80]}", "unknown-field spec.ports"]],
    },
  },
  {
    kind: "TrafficSplit",
    group: "split",
    forms: {
      v1alpha1: [splitOf("500m", "1500m"), splitForm(1, 3)],
      v1alpha2: [splitOf("100", "900"), splitForm(100, 900)],
      v1alpha3: [
        splitOf("100", "900", "[{kind: HTTPRouteGroup, name: r}]"),
        { ...splitForm(100, 900), matches: ["r"] },
      ],
      v1alpha4: [
        splitOf("100", "900", "[{kind: HTTPRouteGroup, name: r}]"),
        { ...splitForm(100, 900), matches: ["r"] },
      ],
    },
    foreign: {
      v1alpha1: [[splitOf("1", "1", "[{kind: HTTPRouteGroup, name: r}]"), "unknown-field spec.matches"]],
      v1alpha2: [
        [splitOf("1", "1", "[{kind: HTTPRouteGroup, name: r}]"), "unknown-field spec.matches"],
        [splitOf("500m", "1500m"), "bad-weight spec.backends[0].weight"],
      ],
      v1alpha3: [[splitOf("500m", "1500m"), "bad-weight spec.backends[0].weight"]],
      v1alpha4: [[splitOf("500m", "1500m"), "bad-weight spec.backends[0].weight"]],
    },
  },
];

function splitOf(one: string, two: string, matches?: string): string {
  return `spec: {service: web, backends: [{service: a, weight: ${one}}, {service: b, weight: ${two}}]${matches ? `, matches: ${matches}` : ""}}`;
}

function splitForm(one: number, two: number): object {
  const backends = [
    { service: "a", weight: one },
    { service: "b", weight: two },
  ];
  return { namespace: "ns", name: "x", service: "web", backends, created: "" };
}

const decode = ({ kind, group }: Row, version: Version, rest: string) =>
  new Decoder().decode(
    parseYaml(`apiVersion: ${group}.smi-spec.io/${version}\nkind: ${kind}\nmetadata: {name: x, namespace: ns}\n${rest}`)
      .documents[0]?.value,
  );

const cells = TABLE.flatMap((row) => VERSIONS.map((version) => ({ row, version, kind: row.kind })));

describe("versions: one internal form", () => {
  test.each(cells)("$kind $version", ({ row, version }) => {
    const [written, form] = row.forms[version];
    const { changes, problems } = decode(row, version, written);
    expect(problems).toEqual([]);
    expect(changes.map((change) => change.value)).toEqual([form]);
  });

  test.each(cells)("$kind $version does not take what only other versions have", ({ row, version }) => {
    for (const [written, said] of row.foreign[version]) {
      const { changes, problems } = decode(row, version, written);
      expect(problems.map(({ code, path }) => `${code} ${path}`)[0], written).toBe(said);
      expect(
        changes.map((change) => change.value),
        written,
      ).toEqual([undefined]);
    }
  });

  test("each kind of SMI's is read in each version", () => {
    const smi = KINDS.filter(({ group }) => group.endsWith(".smi-spec.io"));
    expect(smi.map(({ kind }) => kind).sort()).toEqual(TABLE.map(({ kind }) => kind).sort());
    for (const { versions } of smi) expect(versions).toEqual(VERSIONS);
  });
});

describe("TrafficTarget v1alpha4", () => {
  test("an IdentityBinding is read as what it is, for policy to say that it is no ServiceAccount", () => {
    const row = TABLE[0] as Row;
    const binding = "{kind: IdentityBinding, group: access.smi-spec.io, name: web, namespace: ns}";
    const { changes, problems } = decode(
      row,
      "v1alpha4",
      `spec: {destination: ${SA}, sources: [${binding}], rules: ${RULES}}`,
    );
    expect(problems).toEqual([]);
    expect(changes[0]?.value).toMatchObject({ sources: [{ kind: "IdentityBinding", name: "web", namespace: "ns" }] });
  });
});
