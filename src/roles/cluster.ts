/**
 * What every role in a cluster needs: the API server, as the pod's own ServiceAccount or (outside of a pod) by a kubeconfig.
 */
import { realClock } from "../lib/settle.ts";
import { pause } from "../sources/kubernetes/back-off.ts";
import { KubernetesClient } from "../sources/kubernetes/client.ts";
import { inClusterConfig } from "../sources/kubernetes/cluster-config.ts";
import { kubeconfig } from "../sources/kubernetes/kubeconfig.ts";
import { metadataOf, type Resource } from "../sources/kubernetes/resource.ts";
import type { Log } from "../telemetry/log.ts";

/** `$KUBECONFIG` wins, so that a role can be run by hand. */
export async function connect(env: Readonly<Record<string, string | undefined>>): Promise<KubernetesClient> {
  const path = env["KUBECONFIG"];
  return new KubernetesClient({ config: path ? await kubeconfig(path) : await inClusterConfig(env) });
}

const webhooks = (plural: string): Resource => ({ group: "admissionregistration.k8s.io", version: "v1", plural });
export const MUTATING = webhooks("mutatingwebhookconfigurations");
export const VALIDATING = webhooks("validatingwebhookconfigurations");
export const CONFIG_MAPS: Resource = { group: "", version: "v1", plural: "configmaps" };

export interface CaBundleOptions {
  readonly client: KubernetesClient;
  readonly resource: Resource;
  readonly kind: string;
  readonly name: string;
  /** PEM. */
  readonly bundle: string;
  readonly log: Log;
  /** Milliseconds between looks. */
  readonly every?: number;
}

/** Keeps the caBundle of a webhook configuration right until the signal, whoever changes it. */
export async function keepCaBundle(options: CaBundleOptions, signal: AbortSignal): Promise<void> {
  const { client, resource, kind, name, bundle, log, every = 30_000 } = options;
  const caBundle = Buffer.from(bundle).toString("base64");
  let said = "";
  while (!signal.aborted) {
    let soon = false;
    try {
      const found = await client.get(resource, { name }, signal);
      const hooks = (found?.["webhooks"] ?? []) as { name: string; clientConfig?: { caBundle?: string } }[];
      if (hooks.some((hook) => hook.clientConfig?.caBundle !== caBundle)) {
        const webhooks = hooks.map((hook) => ({ ...hook, clientConfig: { ...hook.clientConfig, caBundle } }));
        const metadata = { resourceVersion: metadataOf(found, "resourceVersion") };
        await client.merge(resource, { name }, { metadata, webhooks }, signal);
        log.info("wrote the webhook's caBundle", { kind, name });
      }
      soon = found === undefined;
      said = "";
    } catch (error) {
      if (signal.aborted) return;
      soon = true;
      if (said !== String(error))
        log.warn("could not write the webhook's caBundle, tried again until it can be", {
          kind,
          name,
          error: String(error),
        });
      said = String(error);
    }
    await pause(realClock, soon ? 2_000 : every, signal);
  }
}

/** Resolves when the signal comes. */
export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });

/** A signal that comes with SIGTERM or SIGINT. */
export function untilTold(): AbortSignal {
  const ending = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => ending.abort());
  return ending.signal;
}
