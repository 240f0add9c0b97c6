/**
 * What every role in a cluster needs: the API server, as the pod's own ServiceAccount or (outside of a pod) by a kubeconfig.
 */
import { networkInterfaces } from "node:os";
import { KubernetesClient } from "../sources/kubernetes/client.ts";
import { inClusterConfig } from "../sources/kubernetes/cluster-config.ts";
import { kubeconfig } from "../sources/kubernetes/kubeconfig.ts";
import type { Resource } from "../sources/kubernetes/resource.ts";

/** `$KUBECONFIG` wins, so that a role can be run by hand. */
export async function connect(env: Readonly<Record<string, string | undefined>>): Promise<KubernetesClient> {
  const path = env["KUBECONFIG"];
  return new KubernetesClient({ config: path ? await kubeconfig(path) : await inClusterConfig(env) });
}

const webhooks = (plural: string): Resource => ({ group: "admissionregistration.k8s.io", version: "v1", plural });
export const MUTATING = webhooks("mutatingwebhookconfigurations");
export const VALIDATING = webhooks("validatingwebhookconfigurations");
export const CONFIG_MAPS: Resource = { group: "", version: "v1", plural: "configmaps" };

/** Where roles listen: all addresses of the pod. `::` is both families, and cannot be had where the kernel has no IPv6. */
export function allAddresses(interfaces: ReturnType<typeof networkInterfaces> = networkInterfaces()): string {
  const all = Object.values(interfaces).flatMap((list) => list ?? []);
  return all.some((one) => one.family === "IPv6" && !one.internal && one.scopeid === 0) ? "::" : "0.0.0.0";
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
