/**
 * `heddle controller`: the control plane in a cluster. Every replica serves xDS and validates; the one that leads also writes: conditions,
 * Events, and the CA's certificate into the mesh's namespaces.
 */
import { startDashboard } from "../dashboard/server.ts";
import { readableResources } from "../cli/xds-json.ts";
import { proxyRows } from "../cli/rows.ts";
import { VERSION } from "../cli/version.ts";
import { Settle } from "../lib/settle.ts";
import { serve, type ControlPlane } from "../serve.ts";
import type { KubernetesClient } from "../sources/kubernetes/client.ts";
import { Leadership } from "../sources/kubernetes/lease.ts";
import { KubernetesSource } from "../sources/kubernetes/source.ts";
import type { Log } from "../telemetry/log.ts";
import { createMetrics, type Metrics } from "../telemetry/metrics.ts";
import { reviewObject } from "../validator/review.ts";
import { Validator } from "../validator/validate.ts";
import { controlPlaneDnsName } from "../world/names.ts";
import type { Kind } from "../world/types.ts";
import { spreadCa } from "./ca-spread.ts";
import { aborted, allAddresses, VALIDATING } from "./cluster.ts";
import { followPreset, MESH_CONFIG } from "./mesh-config.ts";
import { secretStore } from "./secret-store.ts";
import { LATER, StatusWriter } from "./status-writer.ts";
import { subjectsOf } from "./subjects.ts";
import { Tokens } from "./tokens.ts";
import { openWebhook } from "./webhook.ts";

export interface ControllerOptions {
  readonly client: KubernetesClient;
  readonly log: Log;
  readonly namespace: string;
  readonly meshName: string;
  readonly trustDomain: string;
  readonly clusterDomain: string;
  readonly caSecret: string;
  readonly caConfigMap: string;
  /** Of sidecars' tokens, the injector's. */
  readonly audience: string;
  readonly presetConfigMap: string;
  readonly xdsPort: number;
  readonly tokenPort: number;
  readonly httpPort: number;
  /** Absent: no validating webhook. */
  readonly validator?: { readonly port: number; readonly webhook: string };
  readonly drainSeconds: number;
  /** Of this replica: its pod's name and uid. */
  readonly identity: string;
}

const MANAGER = "heddle-controller";
/** What OSM's command asks for, in OSM's words. */
const SMI_VERSIONS = {
  HTTPRouteGroup: "specs.smi-spec.io/v1alpha4",
  TCPRoute: "specs.smi-spec.io/v1alpha4",
  TrafficSplit: "split.smi-spec.io/v1alpha4",
  TrafficTarget: "access.smi-spec.io/v1alpha3",
};

/** Runs until the signal, then drains. Rejects when it cannot start. */
export async function controller(options: ControllerOptions, signal: AbortSignal): Promise<void> {
  const { client, log, namespace, trustDomain, clusterDomain } = options;
  const metrics = createMetrics();
  const ending = new AbortController();
  await followPreset({ client, log, namespace, preset: options.presetConfigMap }, ending.signal);
  const source = new KubernetesSource({
    client,
    log,
    scope: { meshConfigNamespace: namespace, meshName: options.meshName },
    ended: (kind, end) => metrics.watchEnds.inc({ kind, end }),
  });
  const store = secretStore({ client, namespace, name: options.caSecret, signal: ending.signal });
  const tokens = new Tokens({
    reviewer: client,
    audience: options.audience,
    proxyOf: (ns, name) => {
      const pod = plane?.store.world.tables.Pod.get(ns)?.get(name);
      return pod?.workload.meshed ? { id: pod.proxyId, identity: pod.workload.identity } : undefined;
    },
  });
  let plane: ControlPlane | undefined;
  plane = await serve({
    source,
    rootStore: store,
    listen: { host: allAddresses(), port: options.xdsPort },
    tokens: {
      host: allAddresses(),
      port: options.tokenPort,
      authenticate: (authorization, stop) => tokens.authenticate(authorization, stop),
    },
    serverNames: serverNames("osm-controller", namespace, clusterDomain, trustDomain),
    log,
    metrics,
    trustDomain,
  });
  const served = plane;
  const dashboard = await startDashboard({
    shown: {
      pipeline: served.pipeline,
      metrics,
      notReady: () => (served.ready() ? undefined : "the cluster has not been read to the end yet"),
      problems: () => served.problems(),
      pods: () => [],
      proxies: () => proxyRows(served.proxies(), served.store.world),
      decode: readableResources,
      facts: { "/version": { version: VERSION, gitCommit: "", buildDate: "" }, "/smi/version": SMI_VERSIONS },
    },
    open: { host: allAddresses(), port: options.httpPort },
    listen: { port: options.httpPort + 1 },
    log,
  });
  const closeValidator = await startValidator(options, served, metrics, ending.signal);
  watchSilence(source, metrics, ending.signal);
  const leadership = lead(options, served, source, metrics);
  const led = leadership.start(ending.signal);

  const told = aborted(signal);
  await Promise.race([served.started, told]);
  if (!signal.aborted) log.info("serving", { xds: served.port, revision: served.store.revision });
  await told;
  log.info("draining", { seconds: options.drainSeconds });
  ending.abort();
  await Promise.all([led, closeValidator(), served.stop(options.drainSeconds * 1000)]);
  await dashboard.close();
  client.close();
}

/** The names under which a Service of the control plane is called, and the one under which sidecars verify it. */
export const serverNames = (
  service: string,
  namespace: string,
  clusterDomain: string,
  trustDomain: string,
): string[] => [
  `${service}.${namespace}.svc.${clusterDomain}`,
  `${service}.${namespace}.svc`,
  `${service}.${namespace}`,
  controlPlaneDnsName(trustDomain),
];

async function startValidator(
  { client, log, namespace, validator, clusterDomain, trustDomain }: ControllerOptions,
  plane: ControlPlane,
  metrics: Metrics,
  signal: AbortSignal,
): Promise<() => Promise<void>> {
  if (!validator) return () => Promise.resolve();
  const judge = new Validator();
  const admission = await openWebhook(
    {
      client,
      authority: plane.authority,
      log,
      metrics,
      host: allAddresses(),
      port: validator.port,
      // Whoever reaches the port could else keep xDS from its work.
      besides: true,
      names: serverNames("osm-validator", namespace, clusterDomain, trustDomain),
      webhooks: [
        { path: "/validate", otherwise: "allow", answer: (request) => reviewObject(request, plane.store.world, judge) },
      ],
      configuration: { resource: VALIDATING, kind: "ValidatingWebhookConfiguration", name: validator.webhook },
    },
    signal,
  );
  return () => admission.close(5_000);
}

function watchSilence(source: KubernetesSource, metrics: Metrics, signal: AbortSignal): void {
  const timer = setInterval(() => {
    for (const [kind, seconds] of source.silence()) metrics.watchSilence.set({ kind }, seconds);
  }, 5_000);
  timer.unref();
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/** What only one replica does. */
function lead(
  { client, log, namespace, meshName, identity, caConfigMap, presetConfigMap }: ControllerOptions,
  plane: ControlPlane,
  source: KubernetesSource,
  metrics: Metrics,
): Leadership {
  const leadership = new Leadership({ client, namespace, name: MANAGER, identity, log });
  leadership.onLeading((term) => {
    metrics.leading.set(1);
    log.info("leading: this replica writes status", { identity });
    const writer = new StatusWriter({ api: client, log, manager: MANAGER });
    let missing = false;
    const write = new Settle({ quiet: 100, max: 1_000 }, () => {
      if (term.aborted || !plane.ready()) return;
      const { world } = plane.pipeline;
      const served = servedOf(source);
      const revisionOf = (kind: Kind, ns: string, name: string) => source.revisionOf(kind, ns, name);
      writer.update(subjectsOf(world, plane.store.world, plane.problems(), served, revisionOf), term);
      // Settings that somebody deleted would else be the defaults, whatever the chart's values say.
      const was = missing;
      missing = served.has("MeshConfig") && !world.tables.MeshConfig.get(namespace)?.has(MESH_CONFIG);
      if (missing && !was) void followPreset({ client, log, namespace, preset: presetConfigMap }, term);
    });
    const unfollow = [plane.pipeline.onPublished(() => write.poke()), plane.onProblems(() => write.poke())];
    write.poke();
    const again = setInterval(() => write.poke(), LATER);
    term.addEventListener("abort", () => {
      clearInterval(again);
      for (const end of unfollow) end();
      write.stop();
    });
    const certificate = plane.authority.bundle.pem;
    void spreadCa(
      {
        client,
        log,
        store: plane.store,
        ready: () => plane.ready(),
        name: caConfigMap,
        meshName,
        manager: MANAGER,
        certificate,
      },
      term,
    );
  });
  leadership.onLost(() => {
    metrics.leading.set(0);
    log.info("leading no more", { identity });
  });
  return leadership;
}

/** The version in which each kind is followed. */
const servedOf = (source: KubernetesSource): ReadonlyMap<Kind, string> =>
  new Map(source.states().flatMap((state) => ("version" in state ? [[state.kind, state.version] as const] : [])));
