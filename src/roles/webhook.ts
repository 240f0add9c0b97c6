/**
 * A webhook of the control plane as the API server sees it: its port, its certificate, and the configuration that leads to it.
 * Knows nothing of what it answers.
 */
import { openAdmission, type AdmissionListener, type Webhook } from "../admission.ts";
import type { Authority } from "../ca/authority.ts";
import type { KubernetesClient } from "../sources/kubernetes/client.ts";
import type { Resource } from "../sources/kubernetes/resource.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { keepCaBundle } from "./ca-bundle.ts";

export interface WebhookOptions {
  readonly client: KubernetesClient;
  readonly authority: Authority;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly host: string;
  readonly port: number;
  /** DNS names by which the API server calls it. */
  readonly names: readonly string[];
  readonly webhooks: readonly Webhook[];
  /** The process has other work (see `AdmissionOptions`). */
  readonly besides?: boolean;
  /** Whose caBundle is kept right. */
  readonly configuration: { readonly resource: Resource; readonly kind: string; readonly name: string };
}

/** Resolves when the port is open. Until the signal its certificate is renewed, without a restart, and its caBundle kept right. */
export async function openWebhook(options: WebhookOptions, signal: AbortSignal): Promise<AdmissionListener> {
  const { client, authority, log, metrics, host, port, names, webhooks, besides = false, configuration } = options;
  const certificate = await authority.server(names, signal);
  const credentials = () => ({
    certificate: certificate.current.chainPem,
    privateKey: certificate.current.privateKey.revealPem(),
  });
  const admission = await openAdmission({
    host,
    port,
    credentials: credentials(),
    log,
    webhooks,
    besides,
    counted: (kind, success) => metrics.admissions.inc({ kind, success: String(success) }),
  });
  certificate.onNext(() => admission.rotate(credentials()));
  void keepCaBundle({ client, ...configuration, bundle: authority.bundle.pem, log }, signal);
  return admission;
}
