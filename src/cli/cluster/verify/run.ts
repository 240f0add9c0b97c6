/**
 * `heddle verify connectivity | ingress | control-plane-health`: asks the cluster what the steps need, and prints what they found.
 */
import { ADMIN_PORT } from "../../../xds/names.ts";
import { isNotFound } from "../../../sources/kubernetes/errors.ts";
import { EXIT, UserError } from "../../errors.ts";
import type { Cluster, Context } from "../connection.ts";
import { findMesh, type MeshInfo } from "../meshes.ts";
import { byName, fullName, mapAt, namespacedName, nameOf, stringAt, type Raw } from "../objects.ts";
import { podVerdict } from "../policy.ts";
import {
  CONTROLLER,
  CONTROLLER_HTTP_PORT,
  INGRESS_BACKENDS,
  INJECTOR,
  LABEL_APP,
  NAMESPACES,
  PODS,
  SERVICES,
} from "../resources.ts";
import { errorOf } from "../sentences.ts";
import { listKind, worldOf, type Compilation } from "../world.ts";
import * as checks from "./checks.ts";
import { clientConfig, egressConfig, envoyConfig, serverConfig, type Destination, type EnvoyConfig } from "./envoy.ts";
import { failure, resultLines, success, together, unknown, type Result } from "./result.ts";

interface Place {
  readonly namespace: string;
  readonly name: string;
}

export interface ConnectivityOptions {
  readonly fromPod: string;
  readonly toPod?: string;
  readonly toService?: string;
  readonly toExtPort?: string;
  readonly toExtHost?: string;
  readonly appProtocol: string;
  readonly meshName?: string;
}

export interface IngressOptions {
  readonly fromService: string;
  readonly toPod: string;
  readonly toService: string;
  readonly ingressBackend: string;
  readonly toPort: string;
  readonly appProtocol: string;
  readonly meshName?: string;
}

const place = (flag: string, text: string): Place => {
  const found = namespacedName(text);
  if (found) return found;
  throw new UserError(`${flag} must be a namespaced name of the form <namespace>/<name>, got ${text}.`, EXIT.usage);
};

/** The Service's name, in the pod's namespace. `ns/name` is taken too, since pods are named so. */
function serviceOf(text: string, { namespace }: Place): string {
  const found = namespacedName(text);
  if (!text.includes("/")) return text;
  if (found?.namespace === namespace) return found.name;
  throw new UserError(
    `--to-service must be the name of a Service in the pod's namespace ${namespace}, got ${text}.`,
    EXIT.usage,
  );
}

async function show({ terminal }: Context, result: Result): Promise<number> {
  await terminal.out(resultLines(result, terminal.paint).join("\n"));
  return result.status === "Success" ? EXIT.ok : EXIT.failure;
}

export async function verifyConnectivity(context: Context, options: ConnectivityOptions): Promise<number> {
  const { fromPod, toPod, toService, toExtPort, toExtHost } = options;
  const source = place("--from-pod", fromPod);
  if (toPod === undefined && toExtPort === undefined)
    throw new UserError("one of --to-pod|--to-ext-port must be set.", EXIT.usage);
  if (toPod !== undefined && toExtPort !== undefined)
    throw new UserError("--to-pod cannot be set with --to-ext-port.", EXIT.usage);
  const cluster = await context.cluster();
  const mesh = await findMesh(cluster.api, context.settings, options.meshName);
  if (toPod === undefined) return show(context, await egress(cluster, mesh, source, `${toExtHost ?? ""}:${toExtPort}`));
  const destination = place("--to-pod", toPod);
  if (toService === undefined) throw new UserError("--to-service must be set with --to-pod.", EXIT.usage);
  const service = serviceOf(toService, destination);
  return show(context, await podToPod(cluster, mesh, { source, destination, service }));
}

async function podToPod(
  cluster: Cluster,
  mesh: MeshInfo,
  { source, destination, service }: { readonly source: Place; readonly destination: Place; readonly service: string },
): Promise<Result> {
  const { api } = cluster;
  const from = `${source.namespace}/${source.name}`;
  const to = `${destination.namespace}/${destination.name}`;
  const serviceName = `${destination.namespace}/${service}`;
  const [sourcePod, destinationPod, serviceObject] = await Promise.all([
    api.get(PODS, source),
    api.get(PODS, destination),
    api.get(SERVICES, { namespace: destination.namespace, name: service }),
  ]);
  const steps: Result[] = [];
  for (const namespace of new Set([source.namespace, destination.namespace]))
    steps.push(checks.namespaceMonitored(namespace, await api.get(NAMESPACES, { name: namespace }), mesh.name));
  steps.push(checks.sidecar(from, sourcePod), checks.sidecar(to, destinationPod));
  steps.push(checks.podReady(from, sourcePod), checks.podReady(to, destinationPod));
  steps.push(checks.serviceSelects(serviceName, serviceObject, destinationPod));
  if (sourcePod && destinationPod && serviceObject && steps.every((one) => one.status === "Success")) {
    const compilation = await worldOf(api, destination.namespace, mesh.namespace);
    steps.push(allowed(compilation, sourcePod, destinationPod));
    const wanted = destinationOf(compilation, destination.namespace, service);
    steps.push(await withConfig(cluster, source, (config) => clientConfig(from, config, wanted)));
    steps.push(await withConfig(cluster, destination, (config) => serverConfig(to, config, wanted)));
  }
  return together(`Verify if pod "${from}" can access pod "${to}" for service "${serviceName}"`, steps);
}

/** Pure: whether the policies let the source in. */
function allowed(compilation: Compilation, source: Raw, destination: Raw): Result {
  const context = `Verify if policies allow pod "${fullName(source)}" to call pod "${fullName(destination)}"`;
  const { ports, permissive, problems } = podVerdict(compilation, source, destination);
  if (permissive || ports.length > 0) return success(context);
  const [problem] = problems;
  return failure(
    context,
    problem
      ? `The TrafficTarget that names both opens nothing: ${problem.message}`
      : "missing SMI TrafficTarget policy",
    `Apply a TrafficTarget with destination ServiceAccount ${stringAt(destination, "spec", "serviceAccountName") || "default"} and source ServiceAccount ${stringAt(source, "spec", "serviceAccountName") || "default"}`,
  );
}

function destinationOf({ mesh }: Compilation, namespace: string, service: string): Destination {
  const found = [...mesh.services.values()].find((one) => one.name === `${namespace}/${service}`);
  const ports = (found?.ports ?? []).map(({ port, targetPort, protocol }) => ({
    port,
    targetPort,
    http: protocol === "http",
  }));
  return { namespace, service, ports };
}

async function withConfig(cluster: Cluster, pod: Place, judge: (config: EnvoyConfig) => Result): Promise<Result> {
  const port = { namespace: pod.namespace, pod: pod.name, port: ADMIN_PORT };
  try {
    return judge(envoyConfig(await cluster.askPodJson(port, "/config_dump")));
  } catch (error) {
    return unknown(
      `Verify Envoy configuration of pod "${pod.namespace}/${pod.name}"`,
      errorOf(error),
      "Grant create on pods/portforward, or see whether the sidecar runs",
    );
  }
}

async function egress(cluster: Cluster, mesh: MeshInfo, source: Place, target: string): Promise<Result> {
  const { api } = cluster;
  const from = `${source.namespace}/${source.name}`;
  const pod = await api.get(PODS, source);
  const steps = [
    checks.namespaceMonitored(source.namespace, await api.get(NAMESPACES, { name: source.namespace }), mesh.name),
    checks.sidecar(from, pod),
    checks.podReady(from, pod),
  ];
  if (steps.every((one) => one.status === "Success")) {
    const [config] = await listKind(api, "MeshConfig", mesh.namespace);
    const enabled = mapAt(config, "spec", "traffic")["enableEgress"] === true;
    steps.push(await withConfig(cluster, source, (dump) => egressConfig(from, dump, enabled)));
  }
  return together(`Verify if pod "${from}" can access external service on port "${target}"`, steps);
}

export async function verifyIngress(context: Context, options: IngressOptions): Promise<number> {
  const ingress = place("--from-service", options.fromService);
  const destination = place("--to-pod", options.toPod);
  const port = Number(options.toPort);
  if (!Number.isInteger(port) || port < 1 || port > 65535)
    throw new UserError(`--to-port must be a number from 1 to 65535, got ${options.toPort}.`, EXIT.usage);
  const { appProtocol: protocol } = options;
  const cluster = await context.cluster();
  const { api } = cluster;
  const mesh = await findMesh(api, context.settings, options.meshName);
  const to = `${destination.namespace}/${destination.name}`;
  const title = `Verify if service "${options.fromService}" can access pod "${to}" for app protocol "${protocol}" via ingress`;
  if (protocol !== "http")
    return show(
      context,
      failure(title, 'Ingress verifier only supports the following protocol(s): "http"', "Leave --app-protocol away"),
    );
  const service = await api.get(SERVICES, ingress);
  if (!service)
    return show(
      context,
      failure(
        title,
        `Error retrieving source ingress service ${options.fromService}: there is none`,
        `See what there is: kubectl get services -n ${ingress.namespace}`,
      ),
    );
  const selector = Object.entries(mapAt(service, "spec", "selector")).map(([key, value]) => `${key}=${String(value)}`);
  const pods =
    selector.length === 0
      ? []
      : await api.list(PODS, { namespace: ingress.namespace, labelSelector: selector.join(",") });
  const pod = await api.get(PODS, destination);
  const toService = serviceOf(options.toService, destination);
  const backendService = `${destination.namespace}/${toService}`;
  const steps = [
    checks.namespaceMonitored(
      destination.namespace,
      await api.get(NAMESPACES, { name: destination.namespace }),
      mesh.name,
    ),
    // An ingress that is in the mesh calls by its sidecar's identity, and needs no IngressBackend.
    ...byName(pods).map((one) => checks.sidecar(fullName(one), one, "absent")),
    checks.sidecar(to, pod),
    checks.podReady(to, pod),
    checks.serviceSelects(
      backendService,
      await api.get(SERVICES, { namespace: destination.namespace, name: toService }),
      pod,
    ),
    checks.ingressBackend(await ingressBackendOf(cluster, destination.namespace, options.ingressBackend), {
      name: `${destination.namespace}/${options.ingressBackend}`,
      ingressService: ingress,
      backendService: toService,
      port,
      protocol,
    }),
  ];
  return show(context, together(title, steps));
}

async function ingressBackendOf({ api }: Cluster, namespace: string, name: string): Promise<Raw | undefined> {
  try {
    return await api.get(INGRESS_BACKENDS, { namespace, name });
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

export async function verifyControlPlane(context: Context, meshName?: string): Promise<number> {
  const cluster = await context.cluster();
  const { api } = cluster;
  const { namespace } = await findMesh(api, context.settings, meshName);
  const steps: Result[] = [];
  const controllers: Raw[] = [];
  for (const app of [CONTROLLER, INJECTOR]) {
    const pods = byName(await api.list(PODS, { namespace, labelSelector: `${LABEL_APP}=${app}` }));
    steps.push(checks.appReady(namespace, app, pods));
    if (app === CONTROLLER) controllers.push(...pods);
  }
  for (const pod of controllers) steps.push(await answers(cluster, namespace, nameOf(pod)));
  return show(context, together("Verify the health of OSM control plane", steps));
}

/** Whether a controller says itself that it is ready. */
async function answers(cluster: Cluster, namespace: string, pod: string): Promise<Result> {
  const context = `Verify health probe of pod ${namespace}/${pod}`;
  try {
    const { status, body } = await cluster.askPod({ namespace, pod, port: CONTROLLER_HTTP_PORT }, "/readyz");
    if (status === 200) return success(context);
    return failure(
      context,
      `It answers ${status}: ${body.toString("utf8", 0, 300).trim()}`,
      `See its log: kubectl logs ${pod} -n ${namespace}`,
    );
  } catch (error) {
    return unknown(context, errorOf(error), `See its log: kubectl logs ${pod} -n ${namespace}`);
  }
}
