import { connect } from "node:tls";
import { test } from "vitest";
import { Authority } from "../../../src/ca/authority.ts";
import { MUTATING } from "../../../src/roles/cluster.ts";
import { openWebhook } from "../../../src/roles/webhook.ts";
import { KubernetesClient } from "../../../src/sources/kubernetes/client.ts";
import { silent } from "../../../src/telemetry/log.ts";
import { createMetrics } from "../../../src/telemetry/metrics.ts";
import { until } from "../../support/live-mesh.ts";
import { FakeApiServer } from "../../support/fake-api-server.ts";
import { FakeClock } from "../../support/clock.ts";
import { DAY, memoryStore } from "../ca/support.ts";

test("a webhook's certificate is renewed while its port is open, and its caBundle still holds for it", async () => {
  const server = await FakeApiServer.start();
  server.install({ ...MUTATING, versions: ["v1"], kind: "MutatingWebhookConfiguration", namespaced: false });
  const hooks = server.of(MUTATING.plural);
  hooks.create({ metadata: { name: "ours" }, webhooks: [{ name: "hook", clientConfig: {} }] });
  const client = new KubernetesClient({ config: { server: server.url, namespace: "default" } });
  const stop = new AbortController();
  const clock = new FakeClock(Date.now() - 29 * DAY);
  const authority = await Authority.start(
    { trustDomain: "cluster.local" },
    { store: memoryStore(), clock },
    stop.signal,
  );
  const admission = await openWebhook(
    {
      client,
      authority,
      log: silent,
      metrics: createMetrics(),
      host: "127.0.0.1",
      port: 0,
      names: ["hook.system.svc"],
      webhooks: [],
      configuration: { resource: MUTATING, kind: "MutatingWebhookConfiguration", name: "ours" },
    },
    stop.signal,
  );
  try {
    const bundle = await until("the caBundle stands there", () => {
      const list = hooks.objects.get("/ours")?.["webhooks"] as { clientConfig: { caBundle?: string } }[] | undefined;
      return list?.[0]?.clientConfig.caBundle;
    });
    /** The serial number of the certificate that a new connection sees, verified as the API server does. */
    const serial = () =>
      new Promise<string>((resolve, reject) => {
        const ca = Buffer.from(bundle, "base64");
        const socket = connect({ host: "127.0.0.1", port: admission.port, ca, servername: "hook.system.svc" }, () => {
          resolve(socket.getPeerCertificate().serialNumber);
          socket.destroy();
        });
        socket.once("error", reject);
      });
    const first = await serial();
    clock.advance(29 * DAY);
    await until("new connections see another certificate", async () => (await serial()) !== first);
  } finally {
    stop.abort();
    await admission.close(0);
    client.close();
    await server.stop();
  }
});
