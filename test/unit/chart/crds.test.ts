/** The CustomResourceDefinitions, read as data: what any API server would say of them is in api.test.ts. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { load } from "js-yaml";
import { describe, expect, test } from "vitest";
import { KINDS } from "../../../src/manifest/kinds.ts";
import { MESH_CONFIG_FIELDS } from "../../../src/manifest/mesh-config.ts";
import { ROOT } from "./helm.ts";

interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema;
  readonly format?: string;
  readonly default?: unknown;
  readonly "x-kubernetes-preserve-unknown-fields"?: boolean;
  readonly "x-kubernetes-int-or-string"?: boolean;
}

interface Crd {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly group: string;
    readonly names: { readonly kind: string; readonly plural: string; readonly shortNames: readonly string[] };
    readonly versions: readonly {
      readonly name: string;
      readonly served: boolean;
      readonly storage: boolean;
      readonly subresources?: { readonly status?: object };
      readonly additionalPrinterColumns?: readonly { readonly name: string }[];
      readonly schema: { readonly openAPIV3Schema: Schema };
    }[];
  };
}

const folder = join(ROOT, "crds");
const crds = readdirSync(folder).map((name) => load(readFileSync(join(folder, name), "utf8")) as Crd);
const served = crds.flatMap((crd) =>
  crd.spec.versions
    .filter((version) => version.served)
    .map((version) => [`${crd.metadata.name} ${version.name}`, version.schema.openAPIV3Schema, version] as const),
);

/** Paths of nodes that are not described, or have no type without saying that they take anything. */
function untyped(schema: Schema, path: string): string[] {
  const anything = schema["x-kubernetes-preserve-unknown-fields"] || schema["x-kubernetes-int-or-string"];
  return [
    ...(schema.type === undefined && !anything ? [path] : []),
    ...(schema.type === "object" && !schema.properties && !schema.additionalProperties && path !== "/metadata"
      ? [path]
      : []),
    ...(schema.type === "array" && !schema.items ? [path] : []),
    ...Object.entries(schema.properties ?? {}).flatMap(([name, child]) => untyped(child, `${path}/${name}`)),
    ...(schema.items ? untyped(schema.items, `${path}[]`) : []),
    ...(schema.additionalProperties ? untyped(schema.additionalProperties, `${path}/*`) : []),
  ];
}

test("are served and stored as OSM's were; TrafficSplit v1alpha4 is served too", () => {
  const table = crds.map(({ metadata, spec }) => [
    metadata.name,
    spec.names.shortNames.join(),
    spec.versions
      .filter((version) => version.served)
      .map((version) => version.name + (version.storage ? "*" : ""))
      .sort()
      .join(" "),
    spec.versions
      .filter((version) => !version.served)
      .map((version) => version.name)
      .sort()
      .join(" "),
  ]);
  expect(table.toSorted((a, b) => ((a[0] ?? "") < (b[0] ?? "") ? -1 : 1))).toEqual([
    ["egresses.policy.openservicemesh.io", "egress", "v1alpha1*", ""],
    ["httproutegroups.specs.smi-spec.io", "htr", "v1alpha4*", "v1alpha1 v1alpha2 v1alpha3"],
    ["ingressbackends.policy.openservicemesh.io", "ingressbackend", "v1alpha1*", ""],
    ["meshconfigs.config.openservicemesh.io", "meshconfig", "v1alpha1 v1alpha2*", ""],
    ["meshrootcertificates.config.openservicemesh.io", "mrc", "v1alpha2*", ""],
    ["retries.policy.openservicemesh.io", "retry", "v1alpha1*", ""],
    ["tcproutes.specs.smi-spec.io", "tr", "v1alpha4*", "v1alpha1 v1alpha2 v1alpha3"],
    ["trafficsplits.split.smi-spec.io", "ts", "v1alpha2* v1alpha4", "v1alpha1 v1alpha3"],
    ["traffictargets.access.smi-spec.io", "tt", "v1alpha3*", "v1alpha1 v1alpha2"],
    ["upstreamtrafficsettings.policy.openservicemesh.io", "upstreamtrafficsetting", "v1alpha1*", ""],
  ]);
});

test("the newest that is served is one that is read", () => {
  for (const { plural, group, versions } of KINDS) {
    const crd = crds.find(({ spec }) => spec.group === group && spec.names.plural === plural);
    for (const version of crd?.spec.versions ?? []) if (version.served) expect(versions).toContain(version.name);
  }
});

describe.each(served)("%s", (_name, schema, version) => {
  test("has a type for every field", () => {
    expect(untyped(schema, "").filter((path) => !path.endsWith("/remoteAddress"))).toEqual([]);
  });

  test("says of every field what it is", () => {
    const spec = schema.properties?.["spec"];
    const silent = (node: Schema, path: string): string[] => [
      ...(node.description ? [] : [path]),
      ...Object.entries(node.properties ?? {}).flatMap(([name, child]) => silent(child, `${path}.${name}`)),
      ...(node.items ? silent(node.items, `${path}[]`) : []),
    ];
    expect(spec && silent(spec, "spec")).toEqual([]);
  });

  test("has a status with conditions that several writers can apply to", () => {
    const conditions = schema.properties?.["status"]?.properties?.["conditions"];
    expect(version.subresources?.status).toEqual({});
    expect(Object.keys(conditions?.items?.properties ?? {}).toSorted()).toEqual([
      "lastTransitionTime",
      "message",
      "observedGeneration",
      "reason",
      "status",
      "type",
    ]);
    expect(conditions).toMatchObject({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] });
    expect(version.additionalPrinterColumns?.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["Accepted", "Age"]),
    );
  });

  test("keeps what it does not know, so that a misspelt restriction is reported and not dropped", () => {
    const dropping = (node: Schema, path: string): string[] => [
      ...(node.properties && !node["x-kubernetes-preserve-unknown-fields"] ? [path] : []),
      ...Object.entries(node.properties ?? {}).flatMap(([name, child]) => dropping(child, `${path}.${name}`)),
      ...(node.items ? dropping(node.items, `${path}[]`) : []),
    ];
    const { spec } = schema.properties ?? {};
    expect(schema["x-kubernetes-preserve-unknown-fields"]).toBe(true);
    expect(spec && dropping(spec, "spec")).toEqual([]);
  });
});

describe("MeshConfig", () => {
  const TYPES: Readonly<Record<string, string>> = {
    boolean: "boolean",
    integer: "integer",
    port: "integer",
    map: "object",
    strings: "array",
    ranges: "array",
    interfaces: "array",
    ports: "array",
  };
  const specs = crds
    .filter(({ spec }) => spec.names.kind === "MeshConfig")
    .flatMap(({ spec }) =>
      spec.versions.map(({ name, schema }) => [name, schema.openAPIV3Schema.properties?.["spec"]] as const),
    );

  test.each(specs)("%s has every field that is read, with its type", (_version, spec) => {
    for (const [path, { type }] of Object.entries(MESH_CONFIG_FIELDS)) {
      const field = path.split(".").reduce<Schema | undefined>((node, key) => node?.properties?.[key], spec);
      expect(field?.type, path).toBe(TYPES[type] ?? "string");
    }
  });

  test.each(specs)("%s has OSM's defaults", (_version, spec) => {
    const defaults = (node: Schema, path: string): [string, unknown][] => [
      ...(node.default === undefined ? [] : [[path, node.default] as [string, unknown]]),
      ...Object.entries(node.properties ?? {}).flatMap(([name, child]) => defaults(child, `${path}.${name}`)),
    ];
    expect(Object.fromEntries(spec ? defaults(spec, "") : [])).toEqual({
      ".sidecar.tlsMinProtocolVersion": "TLSv1_2",
      ".sidecar.tlsMaxProtocolVersion": "TLSv1_3",
      ".sidecar.localProxyMode": "Localhost",
      ".traffic.inboundExternalAuthorization.statPrefix": "inboundExtAuthz",
      ".traffic.inboundExternalAuthorization.timeout": "1s",
    });
  });
});
