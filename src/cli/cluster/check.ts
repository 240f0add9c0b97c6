/**
 * `heddle check --pre`: whether a cluster can take a mesh, before anything is installed. Verdicts are pure; the asking is below them.
 */
import { isNotFound } from "../../sources/kubernetes/errors.ts";
import { EXIT } from "../errors.ts";
import type { Api, Permission } from "./api.ts";
import type { Context } from "./connection.ts";
import { listMeshes, type MeshInfo } from "./meshes.ts";
import { isForbidden, labelOf, listAt, mapAt, nameOf, stringAt, type Raw } from "./objects.ts";
import { CRDS, MUTATING_WEBHOOKS, NAMESPACES, NODES, PODS } from "./resources.ts";
import { errorOf } from "./sentences.ts";
import type { Terminal } from "./terminal.ts";
import { OSM_CRDS } from "./uninstall.ts";

/** `fail`: the mesh will not work. `warn`: somebody should look. */
export interface Finding {
  readonly outcome: "ok" | "warn" | "fail";
  readonly says: string;
  readonly todo?: string;
}

const ok = (says: string): Finding => ({ outcome: "ok", says });
const warn = (says: string, todo: string): Finding => ({ outcome: "warn", says, todo });
const fail = (says: string, todo: string): Finding => ({ outcome: "fail", says, todo });

/** Minor versions of Kubernetes 1: the least that is supported, the latest that was tried, the first with native sidecars. */
const LEAST = 28;
const LATEST = 37;
const NATIVE_SIDECARS = 29;
/** The first with the sleep action of hooks. */
const SLEEP_ACTION = 30;

export function kubernetesVersion(answer: unknown): Finding[] {
  const version = stringAt(answer, "gitVersion");
  const [, major, minor] = /^v?(\d+)\.(\d+)/.exec(version) ?? [];
  if (major === undefined || minor === undefined)
    return [
      warn(`The version of Kubernetes cannot be told from "${version}"`, `Kubernetes 1.${LEAST} or newer is needed.`),
    ];
  const number = Number(minor);
  if (Number(major) === 1 && number < LEAST)
    return [fail(`Kubernetes is ${version}, which is too old`, `Upgrade it to 1.${LEAST} or newer.`)];
  const supported =
    Number(major) > 1 || number > LATEST
      ? warn(
          `Kubernetes ${version} is newer than what was tried (1.${LATEST})`,
          "It should work; look at the release notes.",
        )
      : ok(`Kubernetes ${version} is supported (1.${LEAST} to 1.${LATEST})`);
  const native =
    number >= NATIVE_SIDECARS || Number(major) > 1
      ? ok("The cluster has native sidecars: Jobs end, and applications start behind their Envoy")
      : warn(
          `Kubernetes ${version} has no native sidecars`,
          `Sidecars are ordinary containers then: a Job's pods do not end by themselves. Upgrade to 1.${NATIVE_SIDECARS} or newer.`,
        );
  return [supported, native];
}

/** API groups that are needed, as `/apis` lists them. */
export function apiGroups(answer: unknown): Finding {
  const needed = [
    "admissionregistration.k8s.io/v1",
    "apiextensions.k8s.io/v1",
    "authentication.k8s.io/v1",
    "authorization.k8s.io/v1",
    "coordination.k8s.io/v1",
    "discovery.k8s.io/v1",
  ];
  const served = new Set(
    listAt(answer, "groups").flatMap((group) => listAt(group, "versions").map((one) => stringAt(one, "groupVersion"))),
  );
  const missing = needed.filter((one) => !served.has(one));
  return missing.length === 0
    ? ok("The API server serves webhooks, leases and endpoint slices")
    : fail(
        `The API server does not serve ${missing.join(", ")}`,
        "Enable these APIs (kube-apiserver --runtime-config).",
      );
}

/** What helm does in the name of whoever installs. */
export const neededPermissions = (namespace: string): Permission[] => [
  { verb: "create", group: "", resource: "namespaces" },
  { verb: "create", group: "apiextensions.k8s.io", resource: "customresourcedefinitions" },
  { verb: "create", group: "rbac.authorization.k8s.io", resource: "clusterroles" },
  { verb: "create", group: "rbac.authorization.k8s.io", resource: "clusterrolebindings" },
  { verb: "create", group: "admissionregistration.k8s.io", resource: "mutatingwebhookconfigurations" },
  { verb: "create", group: "admissionregistration.k8s.io", resource: "validatingwebhookconfigurations" },
  { verb: "patch", group: "", resource: "namespaces" },
  { verb: "create", group: "apps", resource: "deployments", namespace },
  { verb: "create", group: "", resource: "services", namespace },
  { verb: "create", group: "", resource: "serviceaccounts", namespace },
  { verb: "create", group: "", resource: "configmaps", namespace },
  { verb: "create", group: "", resource: "secrets", namespace },
  { verb: "create", group: "rbac.authorization.k8s.io", resource: "roles", namespace },
  { verb: "create", group: "rbac.authorization.k8s.io", resource: "rolebindings", namespace },
];

export function permissions(refused: readonly Permission[]): Finding {
  if (refused.length === 0) return ok("You may create what the mesh consists of");
  const list = refused.map(({ verb, group, resource, namespace }) => {
    const what = `${verb} ${resource}${group === "" ? "" : `.${group}`}`;
    return namespace === undefined ? what : `${what} in namespace ${namespace}`;
  });
  return fail(`You may not ${list.join(", nor ")}`, "Ask for these rights, or let a cluster administrator install.");
}

/** CRDs of OSM and SMI that are there, and what follows. */
export function crds(objects: readonly Raw[]): Finding {
  const known = new Set(OSM_CRDS);
  const found = objects.filter((one) => known.has(nameOf(one)));
  if (found.length === 0) return ok("No CRD of OSM or SMI is there yet: the chart brings them");
  const broken = found.filter((one) => stringAt(one, "spec", "conversion", "strategy") === "Webhook").map(nameOf);
  if (broken.length > 0)
    return fail(
      `These CRDs convert by a webhook of an old OSM: ${broken.join(", ")}`,
      `Without that OSM they cannot be read. Set spec.conversion.strategy to None: kubectl patch crd NAME --type merge -p '{"spec":{"conversion":{"strategy":"None","webhook":null}}}'`,
    );
  return ok(`${found.length} CRDs of OSM and SMI are there: your policies stay, and are read`);
}

export function otherMeshes(
  webhooks: readonly Raw[],
  namespaces: readonly Raw[],
  meshes: readonly MeshInfo[],
): Finding[] {
  const findings = meshes.map(({ name, namespace, version }) =>
    warn(
      `Mesh [${name}] (${version}) is in namespace [${namespace}] already`,
      `Upgrade it (heddle mesh upgrade --mesh-name ${name}), or give the new one another --mesh-name and --osm-namespace.`,
    ),
  );
  const others: [mesh: string, pattern: RegExp][] = [
    ["Istio", /istio/],
    ["Linkerd", /linkerd/],
    ["Consul", /consul/],
    ["Kuma", /kuma/],
  ];
  for (const [mesh, pattern] of others)
    if (webhooks.some((one) => pattern.test(nameOf(one))))
      findings.push(
        warn(`${mesh} is in this cluster`, `A pod takes the sidecar of one mesh only: keep their namespaces apart.`),
      );
  const both = namespaces.filter(
    (one) =>
      labelOf(one, "istio-injection") === "enabled" && labelOf(one, "openservicemesh.io/monitored-by") !== undefined,
  );
  if (both.length > 0)
    findings.push(
      fail(
        `Two meshes inject into ${both.map(nameOf).join(", ")}`,
        "Remove one of the labels istio-injection and openservicemesh.io/monitored-by.",
      ),
    );
  return findings.length > 0 ? findings : [ok("No other mesh is in this cluster")];
}

export function nodes(objects: readonly Raw[]): Finding {
  const fits = (node: Raw) => {
    const { operatingSystem, architecture } = mapAt(node, "status", "nodeInfo");
    return operatingSystem === "linux" && (architecture === "amd64" || architecture === "arm64");
  };
  const good = objects.filter(fits).length;
  if (good === 0) return fail("No node runs Linux on amd64 or arm64", "Add one: the mesh's images are made for these.");
  if (good < objects.length)
    return warn(
      `${objects.length - good} of ${objects.length} nodes run something else than Linux on amd64 or arm64`,
      "Their pods get no sidecar.",
    );
  return ok(`${good} ${good === 1 ? "node runs" : "nodes run"} Linux on amd64 or arm64`);
}

/** Kubelets that do not know what the API server's version promises: their pods would get sidecars that they cannot run, or hooks. */
export function kubelets(objects: readonly Raw[], answer: unknown): Finding[] {
  const minorOf = (version: string) => Number(/^v?1\.(\d+)/.exec(version)?.[1] ?? Number.NaN);
  const needed = Math.min(minorOf(stringAt(answer, "gitVersion")), SLEEP_ACTION);
  if (!(needed >= NATIVE_SIDECARS)) return [];
  const old = objects.filter((node) => minorOf(stringAt(node, "status", "nodeInfo", "kubeletVersion")) < needed);
  if (old.length === 0) return [];
  return [
    warn(
      `The kubelets of ${old.length} of ${objects.length} nodes are older than 1.${needed}, and so than the API server`,
      "Upgrade them, or install with --set sidecar.native=false until they are: they may not know native sidecars or the sleep action.",
    ),
  ];
}

const PRIORITY_CLASS = "system-cluster-critical";

/** What became of a pod of the class that the chart gives its own. Undefined: it would be taken. */
export function priority(refusal: unknown): Finding {
  if (refusal === undefined) return ok(`Pods of the priority class ${PRIORITY_CLASS} are taken`);
  // No right to make pods, or a policy about something else: that says nothing about the class. Quota's word comes as a 500.
  if (!/match these scopes|priority ?class/i.test(errorOf(refusal))) throw refusal;
  return warn(
    `Pods of the priority class ${PRIORITY_CLASS} are refused outside of kube-system: ${errorOf(refusal)}`,
    "Install with --set controller.priorityClassName= --set injector.priorityClassName=, or allow it: docs/install.md#priority",
  );
}

const SIGN = { ok: ["green", "√"], warn: ["yellow", "‼"], fail: ["red", "×"] } as const;

export const findingLines = (findings: readonly Finding[], paint: Terminal["paint"]): string[] =>
  findings.flatMap(({ outcome, says, todo }) => {
    const [color, sign] = SIGN[outcome];
    return [`${paint(color, sign)} ${says}`, ...(todo === undefined ? [] : [`    ${todo}`])];
  });

export async function check(context: Context): Promise<number> {
  const { settings, terminal } = context;
  const { api, context: name } = await context.cluster();
  const version = await api.json("/version");
  const findings = [
    ok(`The API server of context ${name} answers (${api.server})`),
    ...kubernetesVersion(version),
    ...(await Promise.all([
      asked("API groups", async () => [apiGroups(await api.json("/apis"))]),
      asked("permissions", async () => [permissions(await refusedOf(api, settings.namespace))]),
      asked("priority class", async () => [priority(await refusalOf(api, settings.namespace))]),
      asked("nodes", async () => {
        const list = await api.list(NODES);
        return [nodes(list), ...kubelets(list, version)];
      }),
      asked("CRDs", async () => [crds(await api.list(CRDS))]),
      asked("other meshes", async () =>
        otherMeshes(await api.list(MUTATING_WEBHOOKS), await api.list(NAMESPACES), await listMeshes(api, settings)),
      ),
    ]).then((lists) => lists.flat())),
  ];
  await terminal.out(findingLines(findings, terminal.paint).join("\n"));
  const failed = findings.filter((one) => one.outcome === "fail").length;
  await terminal.out(
    failed === 0
      ? "\nThe cluster can take the mesh: heddle install"
      : `\n${failed} of ${findings.length} checks failed.`,
  );
  return failed === 0 ? EXIT.ok : EXIT.failure;
}

/** What may not be looked at is not known, and no failure of the cluster's. */
async function asked(what: string, work: () => Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await work();
  } catch (error) {
    const todo = isForbidden(error) ? "Ask somebody who may look, or go on without." : "Try again.";
    return [warn(`Not checked: ${what}: ${errorOf(error)}`, todo)];
  }
}

/** Tries a pod as the control plane's, without making it. A namespace that is not there yet will be as the one that every cluster has. */
async function refusalOf(api: Api, namespace: string): Promise<unknown> {
  const securityContext = {
    runAsNonRoot: true,
    runAsUser: 1000,
    allowPrivilegeEscalation: false,
    capabilities: { drop: ["ALL"] },
    seccompProfile: { type: "RuntimeDefault" },
  };
  const resources = { requests: { cpu: "1m", memory: "1Mi" }, limits: { cpu: "1m", memory: "1Mi" } };
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { generateName: "heddle-check-" },
    spec: {
      priorityClassName: PRIORITY_CLASS,
      containers: [{ name: "check", image: "heddle/heddle", securityContext, resources }],
    },
  };
  const attempt = (place: string) =>
    api.tryCreate(PODS, place, pod).then(
      () => undefined,
      (error: unknown) => error,
    );
  const refusal = await attempt(namespace);
  return isNotFound(refusal) ? attempt("default") : refusal;
}

async function refusedOf(api: Api, namespace: string): Promise<Permission[]> {
  const wanted = neededPermissions(namespace);
  const allowed = await Promise.all(wanted.map((one) => api.may(one)));
  return wanted.filter((_, i) => !allowed[i]);
}
