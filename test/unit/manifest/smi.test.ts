/** SMI's kinds, every version: one form, and no mistake that widens. */
import { describe, expect, test } from "vitest";
import { Decoder, type Decoded } from "../../../src/manifest/decode.ts";
import { parseYaml } from "../../../src/sources/files/yaml.ts";

const decode = (yaml: string): Decoded => new Decoder().decode(parseYaml(yaml).documents[0]?.value);
const value = (decoded: Decoded): unknown => decoded.changes[0]?.value;
const said = (decoded: Decoded): string[] => decoded.problems.map((problem) => `${problem.code} ${problem.path}`);

const smi = (group: string, version: string, kind: string, rest: string): string =>
  `apiVersion: ${group}.smi-spec.io/${version}\nkind: ${kind}\nmetadata: {name: x, namespace: ns}\n${rest}`;
const target = (rest: string, version = "v1alpha3") => decode(smi("access", version, "TrafficTarget", rest));
const routes = (rest: string, version = "v1alpha4") => decode(smi("specs", version, "HTTPRouteGroup", rest));
const tcp = (rest: string, version = "v1alpha4") => decode(smi("specs", version, "TCPRoute", rest));
const split = (rest: string, version = "v1alpha2") => decode(smi("split", version, "TrafficSplit", rest));

const SA = "{kind: ServiceAccount, name: a, namespace: ns}";

describe("TrafficTarget", () => {
  const form = {
    namespace: "ns",
    name: "x",
    destination: { kind: "ServiceAccount", name: "a", namespace: "ns" },
    sources: [{ kind: "ServiceAccount", name: "a", namespace: "ns" }],
    rules: [{ kind: "HTTPRouteGroup", name: "r", matches: ["m"] }],
  };

  test("every version has one form", () => {
    const rules = "[{kind: HTTPRouteGroup, name: r, matches: [m]}]";
    expect(
      value(
        target(
          `destination: {kind: ServiceAccount, name: a, namespace: ns, port: 80}\nsources: [${SA}]\nspecs: ${rules}`,
          "v1alpha1",
        ),
      ),
    ).toEqual({ ...form, port: 80 });
    expect(
      value(
        target(
          `spec: {destination: {kind: ServiceAccount, name: a, namespace: ns, port: "80"}, sources: [${SA}], rules: ${rules}}`,
          "v1alpha2",
        ),
      ),
    ).toEqual({ ...form, port: 80 });
    expect(value(target(`spec: {destination: ${SA}, sources: [${SA}], rules: ${rules}}`))).toEqual(form);
  });

  test.for([
    [
      "a port where there is none",
      `spec: {destination: {kind: ServiceAccount, name: a, namespace: ns, port: 80}, sources: [${SA}], rules: []}`,
      "unknown-field spec.destination.port",
    ],
    [
      "a field that may have been a restriction",
      `spec: {destination: ${SA}, sources: [${SA}], rules: [], when: night}`,
      "unknown-field spec.when",
    ],
    [
      "a destination that is no map",
      `spec: {destination: a, sources: [${SA}], rules: []}`,
      "bad-field spec.destination",
    ],
    ["no spec", "", "missing-field spec"],
    ["fields beside the spec", `spec: {destination: ${SA}, rules: []}\nsources: [${SA}]`, "unknown-field sources"],
  ])("%s: the target is not used, and its former meaning is withdrawn", ([, rest, problem]) => {
    const decoded = target(rest ?? "");
    expect(decoded.changes).toEqual([{ kind: "TrafficTarget", namespace: "ns", name: "x", value: undefined }]);
    expect(said(decoded)).toEqual([problem]);
  });

  test.for([
    [
      "a rule whose matches are no list",
      "{kind: HTTPRouteGroup, name: r, matches: m}",
      "bad-field spec.rules[0].matches",
    ],
    [
      "a rule whose only match has no name",
      "{kind: HTTPRouteGroup, name: r, matches: [5]}",
      "bad-field spec.rules[0].matches[0]",
    ],
    [
      "a rule whose matches are empty (null)",
      "{kind: HTTPRouteGroup, name: r, matches: }",
      "bad-field spec.rules[0].matches",
    ],
    ["a misspelt matches", "{kind: HTTPRouteGroup, name: r, match: [m]}", "unknown-field spec.rules[0].match"],
    ["a rule of an unknown kind", "{kind: GRPCRoute, name: r}", "bad-field spec.rules[0].kind"],
    ["a rule without a name", "{kind: TCPRoute}", "missing-field spec.rules[0].name"],
  ])("%s opens nothing; the rule beside it stands", ([, rule, problem]) => {
    const decoded = target(`spec: {destination: ${SA}, sources: [${SA}], rules: [${rule}, {kind: TCPRoute, name: t}]}`);
    // It stays as a rule that opens nothing: without it, the TCPRoute alone would open every HTTP request.
    expect(value(decoded)).toMatchObject({ rules: [{ broken: true }, { kind: "TCPRoute", name: "t", matches: [] }] });
    expect(said(decoded)).toEqual([problem]);
  });

  test("a wrong name among good ones narrows only itself", () => {
    const decoded = target(
      `spec: {destination: ${SA}, sources: [${SA}, 5, {kind: [], name: a}], rules: [{kind: HTTPRouteGroup, name: r, matches: [m, 5]}]}`,
    );
    expect(value(decoded)).toEqual({ ...form, rules: [{ kind: "HTTPRouteGroup", name: "r", matches: ["m"] }] });
    expect(said(decoded)).toEqual([
      "bad-field spec.sources[1]",
      "bad-field spec.sources[2].kind",
      "bad-field spec.rules[0].matches[1]",
    ]);
  });

  test("rules above the limit are not read, and a rule that opens nothing stands for them", () => {
    const many = Array.from({ length: 1001 }, () => "{kind: TCPRoute, name: t}").join(", ");
    const decoded = target(`spec: {destination: ${SA}, sources: [${SA}], rules: [${many}]}`);
    expect(said(decoded)).toEqual(["too-large spec.rules"]);
    const { rules } = value(decoded) as { rules: readonly object[] };
    expect(rules).toHaveLength(1001);
    expect(rules.at(-1)).toEqual({ kind: "unknown", name: "", matches: [], broken: true });
  });

  test("row 2: an incomplete reference is left for policy to judge", () => {
    const decoded = target("spec: {destination: {name: a}, sources: [{kind: Group, name: b}], rules: []}");
    expect(said(decoded)).toEqual([]);
    expect(value(decoded)).toMatchObject({
      destination: { kind: "", name: "a", namespace: "" },
      sources: [{ kind: "Group", name: "b", namespace: "" }],
    });
  });
});

describe("HTTPRouteGroup", () => {
  test("the names of matches that cannot be read are kept", () => {
    const decoded = routes("spec: {matches: [{name: a, pathRegexp: /x}, {name: b}, {name: a, methods: [GET]}, 5]}");
    expect(value(decoded)).toMatchObject({ matches: [{ name: "b" }, { name: "a" }], unreadable: ["a"] });
  });

  test("row 13: every version has one form; headers as a map or a list of maps", () => {
    const match = { name: "m", pathRegex: "/a", methods: ["GET"], headers: [] };
    const headers = [
      { name: "a", regex: "1" },
      { name: "b", regex: "2" },
    ];
    expect(value(routes("matches: [{name: m, pathRegex: /a, methods: [GET]}]", "v1alpha1"))).toMatchObject({
      matches: [match],
    });
    expect(
      value(routes('matches: [{name: m, pathRegex: /a, methods: [GET], headers: {B: "2", a: "1"}}]', "v1alpha2")),
    ).toMatchObject({ matches: [{ ...match, headers }] });
    for (const version of ["v1alpha3", "v1alpha4"]) {
      expect(
        value(
          routes('spec: {matches: [{name: m, pathRegex: /a, methods: [GET], headers: [{B: "2"}, {a: "1"}]}]}', version),
        ),
      ).toMatchObject({ matches: [{ ...match, headers }] });
    }
  });

  test("row 12: what is left out, or empty, is no restriction", () => {
    expect(value(routes('spec: {matches: [{name: m}, {name: n, pathRegex: "", methods: []}]}'))).toMatchObject({
      matches: [
        { name: "m", where: "spec.matches[0]", methods: [], headers: [] },
        { name: "n", where: "spec.matches[1]", methods: [], headers: [] },
      ],
    });
  });

  test.for([
    ["pathRegex: 5", "bad-field spec.matches[0].pathRegex"],
    ["pathRegex: ", "bad-field spec.matches[0].pathRegex"],
    ["pathRegex: [/a]", "bad-field spec.matches[0].pathRegex"],
    ["methods: GET", "bad-field spec.matches[0].methods"],
    ["methods: [7]", "bad-field spec.matches[0].methods[0]"],
    ["headers: {a: 1}", "bad-field spec.matches[0].headers.a"],
    ["headers: [a]", "bad-field spec.matches[0].headers[0]"],
    ['headers: {"a b": x}', 'bad-field spec.matches[0].headers["a b"]'],
    ["headers: a", "bad-field spec.matches[0].headers"],
    ["path: /a", "unknown-field spec.matches[0].path"],
  ])("%s never widens: the match opens nothing, the next one stands", ([field, problem]) => {
    const decoded = routes(`spec: {matches: [{name: m, ${field}}, {name: fine}]}`);
    expect(said(decoded)).toEqual([problem]);
    // It is still the second one of the group.
    expect(value(decoded)).toMatchObject({ matches: [{ name: "fine", where: "spec.matches[1]" }] });
  });

  test("before v1alpha3 matches stand at the top", () => {
    expect(value(routes("matches: [{name: m, x: 1}, {name: fine}]", "v1alpha2"))).toMatchObject({
      matches: [{ name: "fine", where: "matches[1]" }],
    });
  });

  test("headers of v1alpha1 did not exist", () => {
    expect(said(routes("matches: [{name: m, headers: {a: b}}]", "v1alpha1"))).toEqual([
      "unknown-field matches[0].headers",
    ]);
  });
});

describe("TCPRoute and UDPRoute", () => {
  test.for([
    ["spec: {matches: {ports: [80, 81]}}", [80, 81]],
    ["spec: {matches: {ports: []}}", []],
    ["spec: {}", []],
    ["", []],
  ] as const)("%s", ([rest, ports]) => {
    expect(value(tcp(rest))).toEqual({ namespace: "ns", name: "x", ports });
  });

  test.for([
    "spec: {matches: {ports: [0]}}",
    'spec: {matches: {ports: ["80"]}}',
    "spec: {matches: {ports: 80}}",
    "spec: {matches: {port: [80]}}",
    "spec: {ports: [80]}",
    "spec: 5",
    "spec: {matches: [{ports: [80]}]}",
  ])("%s does not become every port", (rest) => {
    const decoded = tcp(rest);
    expect(decoded.changes).toEqual([{ kind: "TCPRoute", namespace: "ns", name: "x", value: undefined }]);
    expect(decoded.problems).toHaveLength(1);
  });

  test("ports above the limit are not read, and known to be missing", () => {
    const decoded = tcp(`spec: {matches: {ports: [${Array.from({ length: 1001 }, (_, i) => i + 1).join(", ")}]}}`);
    expect(said(decoded)).toEqual(["too-large spec.matches.ports"]);
    expect(value(decoded)).toMatchObject({ partial: true });
  });

  test("row 18: a wrong port beside a good one stays closed", () => {
    const decoded = tcp("spec: {matches: {ports: [80, 99999]}}");
    // Which other port was meant is not known: policy lets nothing open wider for that.
    expect(value(decoded)).toEqual({ namespace: "ns", name: "x", ports: [80], partial: true });
    expect(said(decoded)).toEqual(["bad-field spec.matches.ports[1]"]);
  });

  test("before v1alpha4 a route has no ports, so ports there are a mistake", () => {
    expect(value(tcp("", "v1alpha1"))).toMatchObject({ ports: [] });
    expect(said(tcp("spec: {matches: {ports: [80]}}", "v1alpha3"))).toEqual(["unknown-field spec.matches"]);
  });

  test("row 23: UDPRoute is known", () => {
    expect(value(decode(smi("specs", "v1alpha4", "UDPRoute", "spec: {matches: {ports: [53]}}")))).toEqual({
      namespace: "ns",
      name: "x",
    });
  });
});

describe("TrafficSplit", () => {
  test.for([
    [
      ["500m", "1500m"],
      [1, 3],
    ],
    [
      ["1", "500m"],
      [2, 1],
    ],
    [
      ["10m", "0"],
      [1, 0],
    ],
    [
      ["1", "2k"],
      [1, 2000],
    ],
    [
      ["0.5", "1e0"],
      [1, 2],
    ],
    [
      [1000, 500],
      [1000, 500],
    ],
  ] as const)("v1alpha1: %s", ([weights, expected]) => {
    const decoded = split(
      `spec: {service: s, backends: [{service: a, weight: ${weights[0]}}, {service: b, weight: ${weights[1]}}]}`,
      "v1alpha1",
    );
    expect(said(decoded)).toEqual([]);
    expect(value(decoded)).toMatchObject({
      backends: [
        { service: "a", weight: expected[0] },
        { service: "b", weight: expected[1] },
      ],
    });
  });

  test.for([
    ["v1alpha1", "-1"],
    ["v1alpha1", "1x"],
    ["v1alpha1", "[]"],
    ["v1alpha2", "-1"],
    ["v1alpha2", "0.5"],
    ["v1alpha2", "500m"],
    ["v1alpha4", '"5"'],
    ["v1alpha2", "4294967296"],
  ])("row 27: %s weight %s: the split is ignored", ([version, weight]) => {
    const decoded = split(`spec: {service: s, backends: [{service: a, weight: ${weight}}]}`, version);
    expect(value(decoded)).toBeUndefined();
    expect(said(decoded)).toEqual(["bad-weight spec.backends[0].weight"]);
  });

  test("weights whose sum is too large", () => {
    expect(
      said(split("spec: {service: s, backends: [{service: a, weight: 4294967295}, {service: b, weight: 1}]}")),
    ).toEqual(["bad-weight spec.backends"]);
  });

  test("row 30: matches came with v1alpha3, and never become every request by mistake", () => {
    const spec = (matches: string) => `spec: {service: s, backends: [{service: a, weight: 1}], matches: ${matches}}`;
    expect(value(split(spec("[{kind: HTTPRouteGroup, name: r}, {kind: Other, name: t}]"), "v1alpha3"))).toMatchObject({
      matches: ["r"],
    });
    expect(value(split(spec("[{kind: Other, name: t}]"), "v1alpha4"))).toBeUndefined();
    expect(value(split(spec("{kind: HTTPRouteGroup, name: r}"), "v1alpha4"))).toBeUndefined();
    expect(said(split(spec("[{kind: HTTPRouteGroup, name: r}]"), "v1alpha2"))).toEqual(["unknown-field spec.matches"]);
  });
});
