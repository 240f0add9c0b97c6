/** What real helm 3 and 4 make of the chart, without a cluster. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { load } from "js-yaml";
import { describe, expect, test } from "vitest";
import { chartFiles } from "../../../scripts/chart.ts";
import { KINDS } from "../../../src/manifest/kinds.ts";
import { createMetrics } from "../../../src/telemetry/metrics.ts";
import { at, CHART, MAJORS, notes, one, render, ROOT, runHelm, template, type Manifest } from "./helm.ts";
import { OSM_VALUES, VARIANTS } from "./values.ts";

const KUBERNETES = Array.from({ length: 10 }, (_, i) => `1.${28 + i}.0`);
const variants = Object.entries(VARIANTS);
const withoutCrds = (objects: readonly Manifest[]) => objects.filter(({ kind }) => kind !== "CustomResourceDefinition");
const nameOf = ({ apiVersion, kind, metadata }: Manifest): string =>
  `${apiVersion} ${kind} ${metadata.namespace ?? ""}/${metadata.name}`;

describe.each(MAJORS)("helm %i", (major) => {
  test.each(variants)("lints with %s", async (_name, values) => {
    const { code, out, err } = await runHelm(
      major,
      ["lint", CHART, "--strict", "--values", "-"],
      JSON.stringify(values),
    );
    expect([code, out.match(/\[(WARNING|ERROR)\].*/g), err]).toEqual([0, null, ""]);
  });

  test("renders the same for Kubernetes 1.28 to 1.37", async () => {
    const first = await render({ major, kubeVersion: KUBERNETES[0]! });
    for (const kubeVersion of KUBERNETES.slice(1)) expect(await render({ major, kubeVersion })).toEqual(first);
  });

  test("says what is too old", async () => {
    const { code, err } = await template({ major, kubeVersion: "1.27.9" });
    expect(code).not.toBe(0);
    expect(err).toMatch(/requires kubeVersion: >=1\.28\.0-0/);
  });

  test.each([
    ["a wrong type", { controller: { replicas: "two" } }, /controller[./]replicas.*(string.*integer|integer.*string)/s],
    ["a word for a switch", { sidecar: { native: "sometimes" } }, /sidecar[./]native/],
    ["a misspelt key", { controler: {} }, /[Aa]dditional propert.*controler/],
    ["a misspelt key of MeshConfig", { meshConfig: { traffic: { enableEgres: true } } }, /enableEgres/],
    ["a wrong type in OSM's values", { osm: { enableEgress: "yes" } }, /osm[./]enableEgress.*boolean/s],
    [
      "another root of trust",
      { osm: { certificateProvider: { kind: "vault" } } },
      /kind is vault, but certificates can only/,
    ],
  ])("refuses %s in words", async (_name, values, sentence) => {
    const { code, err } = await template({ major, values });
    expect(code).not.toBe(0);
    expect(err).toMatch(sentence);
  });
});

describe.each(variants)("with %s", (_name, values) => {
  test("helm 3 and 4 agree, and no object comes twice", async () => {
    const [three, four] = [await render({ major: 3, values }), await render({ major: 4, values })];
    expect(three).toEqual(four);
    const names = four.map(nameOf);
    expect(names.length).toBeGreaterThan(10);
    expect(new Set(names).size).toBe(names.length);
  });

  test("every pod is what Pod Security calls restricted", async () => {
    const objects = await render({ values });
    const pods = objects.map((object) => at(object, "spec", "template", "spec")).filter(Boolean);
    expect(pods.length).toBeGreaterThanOrEqual(2);
    for (const pod of pods) {
      expect(at(pod, "securityContext")).toMatchObject({
        runAsNonRoot: true,
        runAsUser: 1000,
        seccompProfile: { type: "RuntimeDefault" },
      });
      for (const field of ["hostNetwork", "hostPID", "hostIPC", "volumes"]) expect(at(pod, field)).toBeUndefined();
      for (const container of at(pod, "containers") as unknown[]) {
        expect(at(container, "securityContext")).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ["ALL"] },
        });
        expect(at(container, "resources", "limits", "memory")).toBeTruthy();
        for (const { hostPort } of (at(container, "ports") ?? []) as { hostPort?: number }[])
          expect(hostPort).toBeUndefined();
      }
    }
  });

  test("an outage holds up nothing outside of the mesh", async () => {
    const objects = await render({ values });
    const hooks = objects.filter(({ kind }) => kind.endsWith("WebhookConfiguration"));
    expect(hooks.length).toBeGreaterThan(0);
    for (const hook of hooks.flatMap((object) => object["webhooks"] as Record<string, unknown>[])) {
      const labels = at(hook, "namespaceSelector", "matchLabels") as Record<string, string>;
      if (hook["failurePolicy"] === "Fail") expect(labels).toHaveProperty(["openservicemesh.io/monitored-by"]);
      else expect(Object.keys(labels)).toHaveLength(1);
      expect(hook["timeoutSeconds"]).toBeLessThanOrEqual(20);
    }
  });

  test("selectors find their pods, and targets their ports", async () => {
    const objects = await render({ values });
    const templates = objects
      .filter(({ kind }) => kind === "Deployment")
      .map((object) => at(object, "spec", "template"));
    for (const service of objects.filter(({ kind }) => kind === "Service")) {
      const app = at(service, "spec", "selector", "app");
      const found = templates.find((pod) => at(pod, "metadata", "labels", "app") === app);
      const open = (at(found, "spec", "containers", 0, "ports") as { name: string }[]).map((port) => port.name);
      for (const { targetPort } of at(service, "spec", "ports") as { targetPort: string }[])
        expect(open).toContain(targetPort);
    }
  });
});

test.each(["osm-controller", "osm-injector"])(
  "pods of %s serve on for a while after they began to end, and have the time to end in order",
  async (name) => {
    const drainSeconds = 40;
    const objects = await render({ values: { controller: { drainSeconds } } });
    const pod = at(one(objects, "Deployment", name), "spec", "template", "spec");
    const [, seconds] = at(pod, "containers", 0, "lifecycle", "preStop", "exec", "command") as [string, string];
    expect(Number(seconds)).toBeGreaterThan(0);
    const drained = name === "osm-controller" ? drainSeconds : 0;
    // What serves is closed within 10 s.
    expect(at(pod, "terminationGracePeriodSeconds")).toBeGreaterThan(Number(seconds) + drained + 10);
  },
);

test("names are OSM's, so that its sidecars and scripts find the control plane", async () => {
  const objects = await render({ values: {} });
  const services = objects.filter(({ kind }) => kind === "Service");
  const ports = services.map(({ metadata, spec }) => [
    metadata.name,
    ...(at(spec, "ports") as { port: number }[]).map(({ port }) => port),
  ]);
  expect(ports).toEqual([
    ["osm-controller", 15128, 15129, 9091],
    ["osm-injector", 9090, 9091],
    ["osm-validator", 9093],
  ]);
  expect(one(objects, "Deployment", "osm-controller").metadata.labels).toMatchObject({
    app: "osm-controller",
    meshName: "osm",
    enforceSingleMesh: "true",
    "app.kubernetes.io/name": "openservicemesh.io",
    "app.kubernetes.io/instance": "osm",
    "app.kubernetes.io/version": "0.1.0",
  });
  const mutating = one(objects, "MutatingWebhookConfiguration", "osm-webhook-osm");
  expect(at(mutating, "webhooks", 0)).toMatchObject({
    name: "osm-inject.k8s.io",
    failurePolicy: "Fail",
    clientConfig: { service: { name: "osm-injector", port: 9090, path: "/mutate-pod-creation" } },
    namespaceSelector: {
      matchLabels: { "openservicemesh.io/monitored-by": "osm" },
      matchExpressions: expect.arrayContaining([
        { key: "openservicemesh.io/ignore", operator: "DoesNotExist" },
        {
          key: "kubernetes.io/metadata.name",
          operator: "NotIn",
          values: ["heddle-system", "kube-system", "kube-public"],
        },
      ]),
    },
  });
  const validating = one(objects, "ValidatingWebhookConfiguration", "osm-validator-mesh-osm");
  expect(at(validating, "webhooks", 0, "failurePolicy")).toBe("Ignore");
});

test("every policy kind that is read is validated", async () => {
  const validating = one(await render(), "ValidatingWebhookConfiguration", "osm-validator-mesh-osm");
  const rules = (validating["webhooks"] as { rules: { apiGroups: string[]; resources: string[] }[] }[]).flatMap(
    (hook) => hook.rules,
  );
  const validated = rules.flatMap((rule) => rule.resources.map((resource) => `${resource}.${rule.apiGroups[0]}`));
  const policies = KINDS.filter(({ group }) => group.includes(".") && !group.endsWith("k8s.io"));
  for (const { plural, group } of policies) expect(validated).toContain(`${plural}.${group}`);
});

test("the chart's copies are up to date (else: node scripts/chart.ts)", () => {
  const wanted = chartFiles();
  for (const [path, content] of wanted) expect(readFileSync(join(CHART, "files", path), "utf8"), path).toBe(content);
  const crds = readdirSync(join(CHART, "files/crds")).map((name) => `crds/${name}`);
  expect(crds.toSorted()).toEqual([...wanted.keys()].filter((path) => path.startsWith("crds/")).toSorted());
});

test("difference 7: the controller may read what the table of kinds lists, write the status of policies, and nothing else of them; nobody reads Secrets everywhere", async () => {
  const objects = await render();
  const rules = (one(objects, "ClusterRole", "heddle-osm-controller")["rules"] ?? []) as {
    apiGroups: string[];
    resources: string[];
    resourceNames?: string[];
    verbs: string[];
  }[];
  const rights = (rule: (typeof rules)[number]) =>
    rule.apiGroups.flatMap((group) =>
      rule.resources.flatMap((resource) => rule.verbs.map((verb) => `${verb} ${resource}.${group}`)),
    );
  const free = rules.filter((rule) => !rule.resourceNames).flatMap(rights);
  const policy = ({ group }: { group: string }) => group !== "" && group !== "discovery.k8s.io";
  expect(free.toSorted()).toEqual(
    [
      ...KINDS.flatMap(({ plural, group }) => ["get", "list", "watch"].map((verb) => `${verb} ${plural}.${group}`)),
      ...KINDS.filter(policy).map(({ plural, group }) => `patch ${plural}/status.${group}`),
      "create tokenreviews.authentication.k8s.io",
      "create events.",
    ].toSorted(),
  );
  expect(
    rules.filter((rule) => rule.resourceNames).map(({ resources, resourceNames }) => [resources, resourceNames]),
  ).toEqual([
    [["configmaps"], ["heddle-ca"]],
    [["validatingwebhookconfigurations"], ["osm-validator-mesh-osm"]],
  ]);
  const everywhere = objects
    .filter(({ kind }) => kind === "ClusterRole")
    .flatMap(({ rules: all }) => all as typeof rules);
  expect(everywhere.flatMap(({ resources }) => resources)).not.toContain("secrets");
  expect(everywhere.flatMap(({ verbs }) => verbs)).not.toContain("*");
});

test.each([
  [undefined, "auto"],
  [true, "true"],
  [false, "false"],
])("sidecar.native %o is what the injector is told", async (native, told) => {
  const objects = await render({ values: native === undefined ? {} : { sidecar: { native } } });
  const args = at(one(objects, "Deployment", "osm-injector"), "spec", "template", "spec", "containers", 0, "args");
  expect(args).toContain(`--native-sidecars=${told}`);
});

describe("OSM's values", () => {
  test("mean what they meant", async () => {
    const objects = await render({ values: OSM_VALUES });
    const preset = one(objects, "ConfigMap", "preset-mesh-config");
    expect(JSON.parse(at(preset, "data", "preset-mesh-config.json") as string)).toMatchObject({
      sidecar: { logLevel: "debug", maxDataPlaneConnections: 500 },
      traffic: {
        enablePermissiveTrafficPolicyMode: true,
        enableEgress: true,
        outboundPortExclusionList: [6379],
        outboundIPRangeExclusionList: ["10.1.0.0/16"],
      },
      observability: {
        tracing: { enable: true, address: "jaeger.tracing.svc", port: 9411, endpoint: "/api/v2/spans" },
      },
      certificate: { serviceCertValidityDuration: "1h" },
      featureFlags: { enableRetryPolicy: true, enableIngressBackendPolicy: true },
    });
    const controller = one(objects, "Deployment", "osm-controller");
    expect(controller.metadata.labels).toMatchObject({ meshName: "shop", enforceSingleMesh: "false" });
    const pod = at(controller, "spec", "template");
    expect(at(pod, "metadata", "labels")).toMatchObject({ team: "mesh", app: "osm-controller" });
    expect(at(pod, "spec", "tolerations")).toEqual([{ key: "control", operator: "Exists" }]);
    expect(at(pod, "spec", "imagePullSecrets")).toEqual([{ name: "registry" }]);
    const container = at(pod, "spec", "containers", 0);
    expect(at(container, "imagePullPolicy")).toBe("Always");
    expect(at(container, "image")).toBe("heddle/heddle:0.1.0");
    expect(at(container, "resources", "limits")).toEqual({ cpu: "1.5", memory: "1G" });
    expect(at(container, "args")).toEqual(
      expect.arrayContaining(["--mesh-name=shop", "--ca-secret=my-ca", "--log-level=debug"]),
    );
    expect(at(one(objects, "HorizontalPodAutoscaler", "osm-controller"), "spec")).toMatchObject({
      minReplicas: 2,
      maxReplicas: 7,
    });
    expect(at(one(objects, "MutatingWebhookConfiguration", "shop-webhook-shop"), "webhooks", 0, "timeoutSeconds")).toBe(
      20,
    );
    one(objects, "ValidatingWebhookConfiguration", "shop-validator");
  });

  test("without meaning are named, each once, and no others", async () => {
    const text = await notes({ ...OSM_VALUES, contour: { enabled: true }, osm: { ...OSM_VALUES.osm, bogus: 1 } });
    const named = [...text.slice(text.indexOf("Of OSM's values")).matchAll(/^ {2}([\w.]+): \S/gm)].map(
      ([, name]) => name,
    );
    expect(named).toEqual([
      "contour",
      "osm.bogus",
      "osm.deployPrometheus",
      "osm.featureFlags.enableIngressBackendPolicy",
      "osm.featureFlags.enableRetryPolicy",
      "osm.image",
      "osm.maxDataPlaneConnections",
      "osm.osmBootstrap",
      "osm.prometheus",
      "osm.sidecarImage",
      "osm.tracing.enable",
      "osm.tracing.image",
      "osm.vault",
    ]);
    expect(await notes({})).not.toContain("Of OSM's values");
  });

  test("are documented, each of them", () => {
    const table = load(readFileSync(join(CHART, "files/osm-values.yaml"), "utf8")) as Record<string, { to?: string }>;
    const page = readFileSync(join(ROOT, "docs/helm-values.md"), "utf8");
    for (const [path, { to }] of Object.entries(table)) {
      const line = page.split("\n").find((text) => text.startsWith(`| \`osm.${path}\``));
      expect(line, `docs/helm-values.md has no line for osm.${path}`).toBeDefined();
      if (to !== undefined) expect(line).toContain(`\`${to}\``);
    }
  });
});

test("a change of the mesh's settings starts controllers anew, which put it into MeshConfig; nothing else does", async () => {
  const templates = async (values: object) => {
    const objects = await render({ values });
    return ["osm-controller", "osm-injector"].map((name) => at(one(objects, "Deployment", name), "spec", "template"));
  };
  const [controller, injector] = await templates({});
  const [changed, same] = await templates({ meshConfig: { traffic: { enableEgress: true } } });
  expect(same).toEqual(injector);
  expect(changed).not.toEqual(controller);
  expect(await templates({ prometheusRule: { enabled: true } })).toEqual([controller, injector]);
});

test("an alert's metrics are those that Heddle serves, and one tells of the root's coming end", async () => {
  const rule = one(await render({ values: { prometheusRule: { enabled: true } } }), "PrometheusRule", "heddle");
  const rules = at(rule, "spec", "groups", 0, "rules") as { alert: string; expr: string }[];
  const served = new Set((await createMetrics().registry.getMetricsAsJSON()).map(({ name }) => name));
  const named = rules.flatMap(({ expr }) => expr.match(/\bheddle_\w+/g) ?? []);
  for (const name of named) expect(served).toContain(name);
  expect(rules.find(({ alert }) => alert === "HeddleRootExpires")?.expr).toContain(
    "heddle_ca_root_expiry_timestamp_seconds",
  );
});

test("the sidecar's image can be pinned by a digest, beside its tag or without one", async () => {
  const digest = `sha256:${"b".repeat(64)}`;
  const argument = async (image: object) => {
    const injector = one(await render({ values: { sidecar: { image } } }), "Deployment", "osm-injector");
    const all = at(injector, "spec", "template", "spec", "containers", 0, "args") as string[];
    return all.find((one) => one.startsWith("--envoy-image="));
  };
  expect(await argument({})).toBe("--envoy-image=envoyproxy/envoy:distroless-v1.40.0");
  expect(await argument({ digest })).toBe(`--envoy-image=envoyproxy/envoy:distroless-v1.40.0@${digest}`);
  expect(await argument({ tag: "", digest })).toBe(`--envoy-image=envoyproxy/envoy@${digest}`);
  const { code, err } = await template({ values: { sidecar: { image: { digest: "sha256:short" } } } });
  expect(code).not.toBe(0);
  expect(err).toMatch(/sidecar[./]image[./]digest/);
});

test("every value is documented", () => {
  const page = readFileSync(join(ROOT, "docs/helm-values.md"), "utf8");
  const values = load(readFileSync(join(CHART, "values.yaml"), "utf8")) as Record<string, object | string | boolean>;
  for (const [key, value] of Object.entries(values)) {
    const names = value !== null && typeof value === "object" && !Array.isArray(value) ? Object.keys(value) : [];
    expect(page).toContain(`\`${key}`);
    if (["osm", "contour", "smi"].includes(key)) continue;
    for (const name of names)
      expect(page, `docs/helm-values.md says nothing of ${key}.${name}`).toContain(`\`${key}.${name}`);
  }
});

test("what was installed is left alone or removed as the values say", async () => {
  const crdsOf = async (values: object) =>
    (await render({ values })).filter(({ kind }) => kind === "CustomResourceDefinition");
  const kept = await crdsOf({});
  expect(kept).toHaveLength(10);
  for (const { metadata } of kept) expect(metadata.annotations).toEqual({ "helm.sh/resource-policy": "keep" });
  for (const { metadata } of await crdsOf({ crds: { keep: false } })) expect(metadata.annotations).toBeUndefined();
  expect(await crdsOf({ crds: { install: false } })).toEqual([]);
  const hooks = withoutCrds(await render()).filter(({ metadata }) => metadata.annotations?.["helm.sh/hook"]);
  expect(new Set(hooks.map(({ metadata }) => metadata.annotations?.["helm.sh/hook"]))).toEqual(
    new Set(["post-delete"]),
  );
  expect(hooks.map(({ kind }) => kind)).toContain("Job");
});

test("the clean-up may read the one Secret of the root of trust, to see whose it is, and no other", async () => {
  const role = one(await render({ values: { caSecretName: "given" } }), "Role", "heddle-cleanup");
  const rules = role["rules"] as { resources: string[] }[];
  expect(rules.filter(({ resources }) => resources.includes("secrets"))).toEqual([
    { apiGroups: [""], resources: ["secrets"], resourceNames: ["given"], verbs: ["get", "delete"] },
  ]);
});

test("who writes and who removes copies of the CA's certificate knows the mesh's name", async () => {
  const objects = await render({ values: { meshName: "second" } });
  for (const [kind, name] of [
    ["Deployment", "osm-controller"],
    ["Job", "heddle-cleanup"],
  ] as const)
    expect(at(one(objects, kind, name), "spec", "template", "spec", "containers", 0, "args"), name).toContain(
      "--mesh-name=second",
    );
});
