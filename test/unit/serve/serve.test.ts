/** A whole control plane, without a cluster: who is let in, and by which names it is known. */
import { X509Certificate } from "node:crypto";
import { connect } from "node:tls";
import { status as Status } from "@grpc/grpc-js";
import { expect, onTestFinished, test } from "vitest";
import { serve } from "../../../src/serve.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import type { Sink } from "../../../src/sources/sink.ts";
import type { Identity } from "../../../src/world/names.ts";
import { AdsClient } from "../../support/ads-client.ts";
import { memoryStore, UUID } from "../ca/support.ts";

const NAME = "ads.cluster.local";

async function plane() {
  const lines: string[] = [];
  let sink: Sink | undefined;
  const made = await serve({
    source: {
      start: async (given) => {
        sink = given;
        given.synced();
      },
    },
    rootStore: memoryStore(),
    listen: { host: "127.0.0.1", port: 0 },
    log: createLog("info", (line) => lines.push(line)),
  });
  onTestFinished(() => made.stop(0));
  await made.started;
  return { ...made, lines, sink: sink as Sink };
}

test("a proxy whose certificate would have the control plane's name is refused with a sentence", async () => {
  const { authority, port, lines, metrics } = await plane();
  const { chainPem, privateKey } = await authority.issueSidecar("svc/osm-controller.osm-system" as Identity, UUID);
  const client = new AdsClient({
    address: `127.0.0.1:${port}`,
    tls: { roots: authority.bundle.pem, serverName: NAME, certificate: chainPem, privateKey: privateKey.revealPem() },
    protocol: "delta",
    read: () => ({ name: "", refs: [] }),
    follow: true,
  }).connect();
  onTestFinished(() => client.close());
  const { code, details } = await client.ended;
  expect(code).toBe(Status.UNAUTHENTICATED);
  expect(details).toContain("its DNS name osm-controller.osm-system.svc.cluster.local has the form of a Service's");
  expect(lines.join("\n")).toContain("osm-controller.osm-system.svc.cluster.local has the form of a Service's");
  expect((await metrics.certificates.get()).values[0]!.value).toBe(2);
});

test("problems that no publication follows are counted at once, and told to who still listens", async () => {
  const made = await plane();
  const { sink, metrics } = made;
  const told = { first: 0, second: 0 };
  const end = made.onProblems(() => told.first++);
  made.onProblems(() => told.second++);
  const object = { kind: "IngressBackend", namespace: "a", name: "i" };
  sink.problems([{ code: "without-effect", severity: "error", object, path: "kind", message: "x" }]);
  expect(await metrics.registry.metrics()).toContain('\nheddle_problems{code="without-effect"} 1\n');
  expect(made.problems().map(({ code }) => code)).toEqual(["without-effect"]);
  end();
  sink.problems([]);
  expect(told).toEqual({ first: 1, second: 2 });
  expect(await metrics.registry.metrics()).not.toContain("without-effect");
});

test("the root's coming end is a metric", async () => {
  const { authority, metrics } = await plane();
  const text = await metrics.registry.metrics();
  expect(text).toContain(`\nheddle_ca_root_expiry_timestamp_seconds ${authority.rootNotAfter / 1000}\n`);
});

test("the control plane has the name that no workload can have, and those by which sidecars of before verify it", async () => {
  const { authority, port } = await plane();
  const { chainPem, privateKey } = await authority.issueSidecar("a/web" as Identity, UUID);
  const socket = connect({
    host: "127.0.0.1",
    port,
    ca: authority.bundle.pem,
    cert: chainPem,
    key: privateKey.revealPem(),
    servername: NAME,
    ALPNProtocols: ["h2"],
  });
  await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
  const certificate = new X509Certificate(socket.getPeerCertificate().raw);
  socket.destroy();
  expect(certificate.subjectAltName).toBe(`DNS:${NAME}, DNS:osm-controller.osm-system.svc.cluster.local`);
});
