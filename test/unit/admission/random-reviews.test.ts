/** The whole way of 10,000 reviews that nobody would send: HTTPS, injection and validation as they are put together in a cluster. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { Agent, request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openAdmission, type AdmissionListener } from "../../../src/admission.ts";
import { reviewPod } from "../../../src/injector/review.ts";
import { Decoder } from "../../../src/manifest/decode.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { reviewObject } from "../../../src/validator/review.ts";
import { Validator } from "../../../src/validator/validate.ts";
import { apply as applyChanges, EMPTY_WORLD } from "../../../src/world/world.ts";
import { anyPod } from "../injector/arbitrary.ts";
import { apply, settings, shop, SECRET, UUID, type Loose } from "../injector/pods.ts";

const REVIEWS = 10_000;

const odd = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom<unknown>(null, "", -1, 1.5, [], {}, "__proto__", "\ud800", "(", "a".repeat(5000)),
);
const mostly = (arbitrary: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 15, arbitrary }, { weight: 1, arbitrary: odd });
const some = (fields: Record<string, fc.Arbitrary<unknown>>) => fc.record(fields, { requiredKeys: [] });
const name = mostly(fc.constantFrom("routes", "target", "store", "store-v1", "split"));
const namespace = mostly(fc.constantFrom("shop", "shop", "other"));
const subject = some({ kind: mostly(fc.constant("ServiceAccount")), name, namespace });
const version = (newest: number) =>
  mostly(fc.integer({ min: 1, max: newest }).map((n) => `v1alpha${n}`)).map((v) => (typeof v === "string" ? v : "v1"));
const object = (group: string, kind: string, newest: number, spec: fc.Arbitrary<unknown>) =>
  fc
    .tuple(
      version(newest),
      mostly(some({ name, namespace, labels: mostly(fc.constant({})), generateName: fc.constant("a-") })),
      mostly(spec),
      fc.boolean(),
    )
    .map(([v, metadata, body, wrapped]) => ({
      apiVersion: `${group}/${v}`,
      kind,
      metadata,
      ...(wrapped ? { spec: body } : (body as object)),
    }));
const anyObject: fc.Arbitrary<unknown> = fc.oneof(
  object(
    "access.smi-spec.io",
    "TrafficTarget",
    3,
    some({
      destination: mostly(subject),
      sources: mostly(fc.array(mostly(subject), { maxLength: 3 })),
      rules: mostly(
        fc.array(
          mostly(
            some({
              kind: mostly(fc.constantFrom("HTTPRouteGroup", "TCPRoute", "UDPRoute")),
              name,
              matches: mostly(fc.array(name, { maxLength: 2 })),
            }),
          ),
          { maxLength: 3 },
        ),
      ),
    }),
  ),
  object(
    "specs.smi-spec.io",
    "HTTPRouteGroup",
    4,
    some({
      matches: mostly(
        fc.array(
          mostly(
            some({
              name,
              pathRegex: mostly(fc.oneof(fc.string(), fc.constantFrom("/a", ".*", "(?=x)"))),
              methods: mostly(fc.array(mostly(fc.constantFrom("GET", "get", "*")))),
              headers: mostly(fc.dictionary(fc.string(), fc.string())),
            }),
          ),
          { maxLength: 3 },
        ),
      ),
    }),
  ),
  object(
    "specs.smi-spec.io",
    "TCPRoute",
    4,
    some({ matches: mostly(some({ ports: mostly(fc.array(mostly(fc.integer({ min: -1, max: 70000 })))) })) }),
  ),
  object(
    "split.smi-spec.io",
    "TrafficSplit",
    4,
    some({
      service: name,
      backends: mostly(
        fc.array(
          mostly(
            some({
              service: name,
              weight: mostly(fc.oneof(fc.integer({ min: -5, max: 100 }), fc.constantFrom("500m", "1"))),
            }),
          ),
          { maxLength: 3 },
        ),
      ),
      matches: mostly(fc.array(mostly(some({ kind: fc.constant("HTTPRouteGroup"), name })))),
    }),
  ),
  object(
    "config.openservicemesh.io",
    "MeshConfig",
    3,
    some({
      sidecar: mostly(some({ logLevel: mostly(fc.constant("debug")) })),
      traffic: mostly(some({ enableEgress: mostly(fc.boolean()) })),
    }),
  ),
  odd,
);
const operation = fc.constantFrom("CREATE", "CREATE", "CREATE", "UPDATE", "DELETE");
const review = fc.oneof(
  fc.record({
    path: fc.constant("/mutate-pod-creation"),
    operation,
    object: anyPod,
    oldObject: fc.constant(null),
    known: fc.integer({ min: 0, max: 20 }),
  }),
  fc.record({
    path: fc.constant("/validate"),
    operation,
    object: anyObject,
    oldObject: anyObject,
    known: fc.constant(1),
  }),
);

let listener: AdmissionListener;
let agent: Agent;
const faults: string[] = [];
const counted = { true: 0, false: 0 };
beforeAll(async () => {
  const directory = mkdtempSync(join(tmpdir(), "heddle-reviews-"));
  const line = [
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-days",
    "1",
    "-subj",
    "/CN=x",
  ];
  execFileSync("openssl", [...line, "-keyout", "k", "-out", "c"], { cwd: directory, stdio: "ignore" });
  const credentials = {
    certificate: readFileSync(join(directory, "c")),
    privateKey: readFileSync(join(directory, "k")),
  };
  rmSync(directory, { recursive: true });
  const decoder = new Decoder();
  const labels = { "openservicemesh.io/monitored-by": "osm" };
  const known = [
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop", labels } },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "store", namespace: "shop" },
      spec: { selector: { app: "store" }, ports: [{ port: 80 }] },
    },
    {
      apiVersion: "specs.smi-spec.io/v1alpha4",
      kind: "HTTPRouteGroup",
      metadata: { name: "routes", namespace: "shop" },
      spec: { matches: [{ name: "store", pathRegex: "/" }] },
    },
  ];
  const world = applyChanges(
    EMPTY_WORLD,
    known.flatMap((one) => decoder.decode(one).changes),
  );
  const validator = new Validator();
  listener = await openAdmission({
    host: "127.0.0.1",
    port: 0,
    credentials,
    log: createLog("error", (text) => faults.push(text)),
    counted: (_kind, success) => counted[`${success}`]++,
    webhooks: [
      {
        path: "/mutate-pod-creation",
        otherwise: "refuse",
        answer: (request) =>
          reviewPod(request, {
            settings: settings(),
            namespace: request.name === "unknown" ? undefined : shop({ metrics: true }),
            uuid: UUID,
            secret: SECRET,
          }),
      },
      { path: "/validate", otherwise: "allow", answer: (request) => reviewObject(request, world, validator) },
    ],
  });
  agent = new Agent({ keepAlive: true, maxSockets: 8, rejectUnauthorized: false });
});
afterAll(async () => {
  agent.destroy();
  await listener.close(0);
});

const post = (path: string, body: string): Promise<{ status: number | undefined; text: string }> =>
  new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json" };
    const sent = httpsRequest(
      { host: "127.0.0.1", port: listener.port, path, method: "POST", agent, headers },
      (response) => {
        let text = "";
        response.on("data", (chunk) => (text += chunk)).on("end", () => resolve({ status: response.statusCode, text }));
      },
    );
    sent.on("error", reject).end(body);
  });

test("each is answered, no fault of ours among them, and every patch applies", { timeout: 120_000 }, async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const reviews = fc.sample(review, { numRuns: REVIEWS, seed });
  const outcomes = { patched: 0, refused: 0, passed: 0 };
  const one = async (i: number): Promise<void> => {
    const { path, known, ...request } = reviews[i]!;
    const kind =
      path === "/validate" ? { group: "x", version: "v1", kind: "Object" } : { group: "", version: "v1", kind: "Pod" };
    const body = { uid: `uid-${i}`, kind, namespace: "shop", name: known === 0 ? "unknown" : "", ...request };
    const sent = JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request: body });
    const { status, text } = await post(`${path}?timeout=10s`, sent);
    expect(status, text).toBe(200);
    const { response } = JSON.parse(text);
    expect(response.uid).toBe(`uid-${i}`);
    if (!response.allowed) {
      outcomes.refused++;
      expect(response.status.message.length).toBeGreaterThan(20);
      expect(response.patch).toBeUndefined();
    } else if (response.patch) {
      outcomes.patched++;
      const done: Loose = apply(
        JSON.parse(sent).request.object,
        JSON.parse(Buffer.from(response.patch, "base64").toString()),
      );
      expect(done.metadata.labels["osm-proxy-uuid"]).toBe(UUID);
    } else outcomes.passed++;
  };
  let next = 0;
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      while (next < REVIEWS) {
        const i = next++;
        await one(i).catch((cause: unknown) => {
          throw new Error(`review ${i} of seed ${seed}`, { cause });
        });
      }
    }),
  );
  expect(faults).toEqual([]);
  expect(counted.true + counted.false).toBe(REVIEWS);
  for (const count of Object.values(outcomes)) expect(count).toBeGreaterThan(REVIEWS / 50);
});
