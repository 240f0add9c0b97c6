/** The webhooks as the real API server calls them: what they make of any pod, and the certificate by which they are trusted. */
import { connect } from "node:tls";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { Authority } from "../../src/ca/authority.ts";
import { openWebhook } from "../../src/roles/webhook.ts";
import type { Raw, Resource } from "../../src/sources/kubernetes/resource.ts";
import { silent } from "../../src/telemetry/log.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { until } from "../support/live-mesh.ts";
import { FakeClock } from "../support/clock.ts";
import { DAY, memoryStore } from "../unit/ca/support.ts";
import { OUTSIDE, pki, SHOP, type Market } from "./market.ts";

const PODS = 150;

/** Pods as people write them, most of them right. */
const port = fc.constantFrom<number | string>(8080, 9090, "web");
const handler = fc.oneof(
  fc.record({
    httpGet: fc.record(
      { path: fc.constantFrom("/", "/health?full=1", "/a b"), port, scheme: fc.constantFrom("HTTP", "HTTPS") },
      { requiredKeys: ["port"] },
    ),
  }),
  fc.record({ tcpSocket: fc.record({ port }) }),
  fc.record({
    grpc: fc.record({ port: fc.constantFrom(8080, 9090), service: fc.constant("a.B") }, { requiredKeys: ["port"] }),
  }),
  fc.record({ exec: fc.constant({ command: ["true"] }) }),
);
const probe = fc
  .tuple(
    handler,
    fc.record(
      { timeoutSeconds: fc.integer({ min: 1, max: 60 }), periodSeconds: fc.integer({ min: 1, max: 60 }) },
      { requiredKeys: [] },
    ),
  )
  .map(([how, times]) => ({ ...how, ...times }));
const hook = fc.oneof(
  fc.record({ exec: fc.constant({ command: ["true"] }) }),
  fc.record({ httpGet: fc.record({ path: fc.constant("/stop"), port }) }),
);
const container = fc.record(
  {
    image: fc.constant("app:1"),
    ports: fc.constant([{ name: "web", containerPort: 8080 }, { containerPort: 9090 }]),
    livenessProbe: probe,
    readinessProbe: probe,
    startupProbe: probe,
    lifecycle: fc.record({ postStart: hook, preStop: hook }, { requiredKeys: [] }),
    resources: fc.constant({ requests: { cpu: "10m" }, limits: { memory: "64Mi" } }),
    securityContext: fc.constantFrom({ runAsUser: 1000 }, { readOnlyRootFilesystem: true }, { runAsNonRoot: true }),
    env: fc.constant([{ name: "A", value: "$(B)" }]),
    volumeMounts: fc.constant([{ name: "data", mountPath: "/data" }]),
  },
  { requiredKeys: ["image", "ports"] },
);
const init = fc.record({ image: fc.constant("init:1"), command: fc.constant(["true"]) });
const named = (prefix: string) => (list: readonly object[]) =>
  list.map((one, i) => ({ ...one, name: `${prefix}${i}` }));
const pod = fc
  .tuple(
    fc.array(container, { minLength: 1, maxLength: 3 }).map(named("c")),
    fc.array(init, { maxLength: 2 }).map(named("i")),
    fc.record(
      {
        terminationGracePeriodSeconds: fc.integer({ min: 0, max: 60 }),
        restartPolicy: fc.constantFrom("Always", "Never", "OnFailure"),
        hostNetwork: fc.constant(false),
        enableServiceLinks: fc.boolean(),
        securityContext: fc.constantFrom({ runAsUser: 1000, fsGroup: 2000 }, { runAsNonRoot: true }, {}),
        shareProcessNamespace: fc.boolean(),
      },
      { requiredKeys: [] },
    ),
    fc.record(
      {
        "openservicemesh.io/inbound-port-exclusion-list": fc.constantFrom("8080", "1,2"),
        "openservicemesh.io/sidecar-injection": fc.constantFrom("enabled", "yes", "disabled"),
        "a.b/c_d": fc.constant("x"),
      },
      { requiredKeys: [] },
    ),
    fc.record({ app: fc.constant("any"), "a.b/c": fc.constant("d") }, { requiredKeys: [] }),
  )
  .map(([containers, initContainers, rest, annotations, labels]) => ({
    metadata: { generateName: "any-", labels, annotations },
    spec: {
      ...rest,
      serviceAccountName: "default",
      containers,
      ...(initContainers.length > 0 ? { initContainers } : {}),
      volumes: [{ name: "data", emptyDir: {} }],
    },
  }));

export function webhooks(open: () => Market): void {
  describe("webhooks", () => {
    let shop: Market;
    beforeAll(() => {
      shop = open();
    });

    test(`of ${PODS} random pods, whatever the API server takes outside of the mesh it takes with a sidecar too`, async () => {
      const seed = Math.floor(Math.random() * 2 ** 31);
      const outcomes = { taken: 0, injected: 0, invalid: 0 };
      const one = async (object: object) => {
        const plain = await shop.ask("POST", `/api/v1/namespaces/${OUTSIDE}/pods?dryRun=All`, object);
        if (plain.status !== 201) return void outcomes.invalid++;
        const meshed = await shop.ask("POST", `/api/v1/namespaces/${SHOP}/pods?dryRun=All`, object);
        expect(meshed.status, `seed ${seed}: ${JSON.stringify(object)}: ${meshed.body}`).toBe(201);
        outcomes.taken++;
        if (meshed.body.includes('"osm-proxy-uuid"')) outcomes.injected++;
      };
      const pods = fc.sample(pod, { numRuns: PODS, seed });
      await Promise.all(
        Array.from({ length: 4 }, async () => {
          for (let next = pods.pop(); next; next = pods.pop()) await one(next);
        }),
      );
      expect(outcomes.taken).toBeGreaterThan(PODS / 2);
      expect(outcomes.injected).toBeGreaterThan(PODS / 3);
    });

    test.each([
      ["mutatingwebhookconfigurations", "osm-webhook-osm"],
      ["validatingwebhookconfigurations", "osm-validator-mesh-osm"],
    ])("an edited caBundle of %s is put right, and pods and policies go on", async (plural, name) => {
      const path = `/apis/admissionregistration.k8s.io/v1/${plural}/${name}`;
      const bundles = async () => {
        const { body } = await shop.ask("GET", path);
        const { webhooks: list } = JSON.parse(body) as { webhooks: { clientConfig: { caBundle: string } }[] };
        return list.map(({ clientConfig }) => clientConfig.caBundle);
      };
      const before = await bundles();
      // Somebody else's CA: the cluster's own.
      const value = Buffer.from(pki(shop.cluster, "ca.crt")).toString("base64");
      const edits = before.map((_, i) => ({ op: "replace", path: `/webhooks/${i}/clientConfig/caBundle`, value }));
      await shop.kubectl("patch", plural, name, "--type=json", "-p", JSON.stringify(edits));
      await until("it is put right", async () => (await bundles()).join() === before.join(), 20_000);
      await until(
        "pods of the mesh are made",
        async () => (await shop.ask("POST", `/api/v1/namespaces/${SHOP}/pods?dryRun=All`, SIMPLE)).status === 201,
        20_000,
      );
      await shop.edit();
    });

    test("a certificate is renewed while the API server calls, and the same caBundle holds for it", async () => {
      const resource: Resource = { group: ADMISSION, version: "v1", plural: "validatingwebhookconfigurations" };
      const host = shop.cluster.addresses.host;
      const ending = new AbortController();
      const { signal } = ending;
      // A month passes for the authority, and ends now.
      const clock = new FakeClock(Date.now() - 29 * DAY);
      const authority = await Authority.start(
        { trustDomain: "cluster.local" },
        { store: memoryStore(), clock },
        signal,
      );
      let asked = 0;
      const admission = await openWebhook(
        {
          client: shop.client,
          authority,
          log: silent,
          metrics: createMetrics(),
          host,
          port: 0,
          names: [`rotating.${OUTSIDE}.svc`],
          webhooks: [{ path: "/ask", otherwise: "refuse", answer: () => ({ allowed: ++asked > 0 }) }],
          configuration: { resource, kind: "ValidatingWebhookConfiguration", name: "rotating" },
        },
        signal,
      );
      await shop.kubectlApply(...rotating(host, admission.port));
      const write = () =>
        shop.ask("POST", `/api/v1/namespaces/${OUTSIDE}/configmaps?dryRun=All`, { metadata: { generateName: "any-" } });
      /** The certificate that a new connection sees, verified as the API server does. */
      const serial = () =>
        new Promise<string>((resolve, reject) => {
          const options = {
            host,
            port: admission.port,
            ca: authority.bundle.pem,
            servername: `rotating.${OUTSIDE}.svc`,
          };
          const socket = connect(options, () => {
            resolve(socket.getPeerCertificate().serialNumber);
            socket.destroy();
          });
          socket.once("error", reject);
        });
      try {
        await until("it is trusted", async () => (await write()).status === 201, 30_000);
        const [before, first] = [asked, await serial()];
        clock.advance(29 * DAY);
        await until("new connections see another certificate", async () => (await serial()) !== first, 20_000);
        const { status, body } = await write();
        expect(status, body).toBe(201);
        expect(asked).toBe(before + 1);
      } finally {
        await shop.client.delete(resource, { name: "rotating" }, shop.signal);
        ending.abort();
        await admission.close(0);
      }
    });
  });
}

const ADMISSION = "admissionregistration.k8s.io";

/** A webhook that this process serves: its Service, where it is, and its configuration, without a caBundle. */
const rotating = (address: string, port: number): Raw[] => [
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "rotating", namespace: OUTSIDE },
    spec: { ports: [{ port: 443, targetPort: port }] },
  },
  {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "rotating", namespace: OUTSIDE, labels: { "kubernetes.io/service-name": "rotating" } },
    addressType: "IPv4",
    ports: [{ port }],
    endpoints: [{ addresses: [address], conditions: { ready: true } }],
  },
  {
    apiVersion: `${ADMISSION}/v1`,
    kind: "ValidatingWebhookConfiguration",
    metadata: { name: "rotating" },
    webhooks: [
      {
        name: "rotating.heddle.test",
        admissionReviewVersions: ["v1"],
        sideEffects: "None",
        failurePolicy: "Fail",
        clientConfig: { service: { name: "rotating", namespace: OUTSIDE, path: "/ask" } },
        namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": OUTSIDE } },
        rules: [{ apiGroups: [""], apiVersions: ["v1"], resources: ["configmaps"], operations: ["CREATE"] }],
      },
    ],
  },
];

const SIMPLE = { metadata: { generateName: "any-" }, spec: { containers: [{ name: "a", image: "a" }] } };
