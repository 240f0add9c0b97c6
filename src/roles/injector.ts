/**
 * `heddle injector`: the mutating webhook in a cluster. Knows namespaces and MeshConfig; writes nothing but its own caBundle.
 */
import { randomUUID } from "node:crypto";
import { Authority } from "../ca/authority.ts";
import { startDashboard } from "../dashboard/server.ts";
import { optsOut, reviewPod, type PodReview } from "../injector/review.ts";
import { INJECTOR_DEFAULTS, type InjectorSettings, type Resources } from "../injector/settings.ts";
import { Decoder } from "../manifest/decode.ts";
import type { KubernetesClient } from "../sources/kubernetes/client.ts";
import { KubernetesSource } from "../sources/kubernetes/source.ts";
import type { Log } from "../telemetry/log.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { controlPlaneDnsName } from "../world/names.ts";
import type { Namespace } from "../world/types.ts";
import { Store } from "../world/store.ts";
import { settingsOf, type World } from "../world/world.ts";
import { aborted, allAddresses, MUTATING } from "./cluster.ts";
import { serverNames } from "./controller.ts";
import { secretStore } from "./secret-store.ts";
import { openWebhook } from "./webhook.ts";

export interface InjectorOptions {
  readonly client: KubernetesClient;
  readonly log: Log;
  readonly namespace: string;
  readonly meshName: string;
  readonly trustDomain: string;
  readonly clusterDomain: string;
  readonly caSecret: string;
  readonly caConfigMap: string;
  readonly webhookPort: number;
  readonly webhook: string;
  readonly httpPort: number;
  readonly audience: string;
  readonly tokenSeconds: number;
  readonly envoyImage: string;
  readonly initImage: string;
  readonly initResources?: Resources;
  readonly imagePullPolicy: InjectorSettings["imagePullPolicy"];
  readonly drainSeconds: number;
  /** `auto`: where the API server has them. Kubelets may be older, so people may say. */
  readonly nativeSidecars: "auto" | "true" | "false";
  /** Whether the cluster's first family is IPv6: the kubelet then probes pods there. */
  readonly ipv6: boolean;
}

/** Runs until the signal, then lets what is being answered be answered. Rejects when it cannot start. */
export async function injector(options: InjectorOptions, signal: AbortSignal): Promise<void> {
  const { client, log, namespace, trustDomain, clusterDomain } = options;
  const metrics = createMetrics();
  const ending = new AbortController();
  const store = new Store();
  const source = new KubernetesSource({
    client,
    log,
    scope: { kinds: ["Namespace", "MeshConfig"], meshConfigNamespace: namespace, meshName: options.meshName },
  });
  const authority = await Authority.start(
    { trustDomain },
    {
      store: secretStore({ client, namespace, name: options.caSecret, signal: ending.signal }),
      log,
      issued: () => metrics.certificates.inc(),
    },
    ending.signal,
  );
  metrics.rootExpiry.set(authority.rootNotAfter / 1000);
  const version = await kubernetesVersion(client, ending.signal);
  let synced = false;
  const reading = source.start(
    { apply: (changes) => store.apply(changes), problems: () => {}, synced: () => (synced = true) },
    ending.signal,
  );
  await Promise.race([reading, aborted(signal)]);

  const admission = await openWebhook(
    {
      client,
      authority,
      log,
      metrics,
      host: allAddresses(),
      port: options.webhookPort,
      names: serverNames("osm-injector", namespace, clusterDomain, trustDomain),
      webhooks: [
        {
          path: "/mutate-pod-creation",
          // A pod of the mesh without a sidecar would be outside of it for good.
          otherwise: "refuse",
          answer: async (request) =>
            reviewPod(request, {
              settings: settings(options, store.world, version),
              namespace: await surely(request, store.world.tables.Namespace.get("")?.get(request.namespace), () =>
                lookUp(options, request.namespace, ending.signal),
              ),
              uuid: randomUUID(),
              secret: randomUUID(),
            }),
        },
      ],
      configuration: { resource: MUTATING, kind: "MutatingWebhookConfiguration", name: options.webhook },
    },
    ending.signal,
  );
  const dashboard = await startDashboard({
    shown: {
      pipeline: {
        world: store.world,
        mesh: undefined,
        problems: [],
        published: 0,
        resources: () => undefined,
        work: { compiled: {}, built: {} },
      },
      metrics,
      notReady: () => (synced ? undefined : "the cluster has not been read to the end yet"),
      problems: () => [],
      pods: () => [],
      proxies: () => [],
      decode: () => ({}),
    },
    open: { host: allAddresses(), port: options.httpPort },
    log,
  });
  log.info("injecting", { port: admission.port });
  await aborted(signal);
  await admission.close(10_000);
  ending.abort();
  await dashboard.close();
  client.close();
}

/**
 * The API server asks because the namespace has the mesh's label. What the watch told says that a pod gets a sidecar, or it may be behind: then
 * the namespace is looked at, or the first pods of a new member would be outside of the mesh for good. Not for a pod that wants no sidecar.
 */
export const surely = async (
  { object }: Pick<PodReview, "object">,
  known: Namespace | undefined,
  lookAt: () => Promise<Namespace | undefined>,
): Promise<Namespace | undefined> =>
  (known?.monitored === true && known.inject) || optsOut(object) ? known : lookAt();

/** A namespace as the API server has it now; undefined when there is none. */
async function lookUp(
  { client, meshName }: InjectorOptions,
  name: string,
  signal: AbortSignal,
): Promise<Namespace | undefined> {
  // Without a name it would be a list of all.
  if (name === "") return undefined;
  const object = await client.get({ group: "", version: "v1", plural: "namespaces" }, { name }, signal);
  if (!object) return undefined;
  const [change] = new Decoder({ mesh: meshName }).decode({ apiVersion: "v1", kind: "Namespace", ...object }).changes;
  return change?.kind === "Namespace" ? change.value : undefined;
}

/** As 136 for 1.36. */
async function kubernetesVersion(client: KubernetesClient, signal: AbortSignal): Promise<number> {
  const { body } = await client.ask("/version", signal);
  const { major = "1", minor = "30" } = body as { major?: string; minor?: string };
  return Number(major) * 100 + Number.parseInt(minor, 10);
}

/** How sidecars and their hooks are written. Whoever has kubelets without native sidecars has some without the sleep action too. */
export const formOf = (native: InjectorOptions["nativeSidecars"], version: number) => ({
  nativeSidecars: native === "auto" ? version >= 129 : native === "true",
  sleepAction: native !== "false" && version >= 130,
});

function settings(options: InjectorOptions, world: World, version: number): InjectorSettings {
  const { namespace, clusterDomain, initResources } = options;
  const { sidecar, envoyLogLevel } = settingsOf(world);
  const host = `osm-controller.${namespace}.svc.${clusterDomain}`;
  return {
    ...INJECTOR_DEFAULTS,
    ...sidecar,
    ...formOf(options.nativeSidecars, version),
    envoyImage: options.envoyImage,
    initImage: options.initImage,
    imagePullPolicy: options.imagePullPolicy,
    trustDomain: options.trustDomain,
    controlPlane: { host, name: controlPlaneDnsName(options.trustDomain) },
    audience: options.audience,
    tokenSeconds: options.tokenSeconds,
    caConfigMap: options.caConfigMap,
    logLevel: envoyLogLevel,
    drainSeconds: options.drainSeconds,
    ipv6: options.ipv6,
    ...(initResources === undefined ? {} : { initResources }),
  };
}
