/** The sidecar's bootstrap: what it says, and that Envoy takes it and finds nothing in it that will be gone. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bootstrap, bootstrapText, sdsFiles, SIDECAR_FILES, type Sidecar } from "../../../src/injector/bootstrap.ts";
import { DRAIN_SECONDS, envoyArguments } from "../../../src/injector/envoy-arguments.ts";
import { EnvoyMissing, findEnvoy } from "../../../src/local/envoy.ts";

const sidecar = (over: Partial<Sidecar["controlPlane"]> = {}, directory = "/etc/envoy"): Sidecar => ({
  nodeId: "0a1b.sidecar.bookbuyer.shop.cluster.local",
  serviceAccount: "bookbuyer",
  namespace: "shop",
  directory,
  controlPlane: { host: "10.0.0.1", name: "osm-controller.osm-system.cluster.local", ...over },
});

// oxlint-disable-next-line typescript/no-explicit-any -- reads into a plain object
const parsed = (of: Sidecar): any => JSON.parse(bootstrapText(of));

test("the text is the object, and says who the sidecar is", () => {
  const read = parsed(sidecar());
  expect(read).toEqual(bootstrap(sidecar()));
  expect(read.node).toEqual({ id: "0a1b.sidecar.bookbuyer.shop.cluster.local", cluster: "bookbuyer.shop" });
  expect(read.admin.address.socket_address).toEqual({ address: "127.0.0.1", port_value: 15000 });
});

test("everything else is asked of the control plane, over delta ADS", () => {
  expect(parsed(sidecar()).dynamic_resources).toMatchObject({
    ads_config: { api_type: "DELTA_GRPC", transport_api_version: "V3", set_node_on_first_message_only: true },
    cds_config: { ads: {}, resource_api_version: "V3" },
    lds_config: { ads: {}, resource_api_version: "V3" },
  });
});

test.each([
  ["10.0.0.1", "STATIC"],
  ["fd00::1", "STATIC"],
  ["osm-controller.osm-system.svc.cluster.local", "STRICT_DNS"],
])("a control plane at %s is a %s cluster", (host, type) => {
  const [cluster] = parsed(sidecar({ host })).static_resources.clusters;
  expect(cluster).toMatchObject({ name: "osm-controller", type });
  expect(cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address).toEqual({
    address: host,
    port_value: 15128,
  });
});

test("the control plane must have its own name in its certificate, and TLS below 1.2 is not spoken", () => {
  const context = parsed(sidecar()).static_resources.clusters[0].transport_socket.typed_config.common_tls_context;
  expect(context.tls_params.tls_minimum_protocol_version).toBe("TLSv1_2");
  expect(context.combined_validation_context.default_validation_context.match_typed_subject_alt_names).toEqual([
    { san_type: "DNS", matcher: { exact: "osm-controller.osm-system.cluster.local" } },
  ]);
});

test("the SDS files name the files of the directory, or those that they are given", () => {
  expect(sdsFiles("/etc/envoy").certificateSds).toContain('"filename": "/etc/envoy/sds_cert.pem"');
  expect(sdsFiles("/etc/envoy", { key: "key-2.pem" }).certificateSds).toContain('"filename": "/etc/envoy/key-2.pem"');
  expect(sdsFiles("/etc/envoy").validationSds).toContain('"filename": "/etc/envoy/cacert.pem"');
});

test("Envoy's arguments", () => {
  expect(
    envoyArguments({ serviceAccount: "bookbuyer", namespace: "shop", directory: "/etc/envoy", logLevel: "error" }).join(
      " ",
    ),
  ).toBe(
    "--config-path /etc/envoy/bootstrap.yaml --log-level error --service-cluster bookbuyer.shop --concurrency 2 --drain-time-s 3 --drain-strategy immediate --disable-hot-restart",
  );
  // A TCP connection that is no longer allowed is closed within 5 s of the change.
  expect(DRAIN_SECONDS).toBeLessThan(5);
});

describe("real Envoy", async () => {
  const required = process.env["CI"] === "true";
  const envoy = await findEnvoy({ env: process.env, say: console.warn }).catch((error: unknown) => {
    if (required || !(error instanceof EnvoyMissing)) throw error;
    console.warn(`SKIPPED: the bootstrap is not shown to Envoy. ${error.message}`);
    return undefined;
  });
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "heddle-bootstrap-"));
    const [key, certificate] = [join(directory, SIDECAR_FILES.key), join(directory, SIDECAR_FILES.certificate)];
    const request = [
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-days",
      "1",
      "-subj",
      "/CN=test",
    ];
    execFileSync("openssl", ["req", ...request, "-keyout", key, "-out", certificate], { stdio: "ignore" });
    execFileSync("cp", [certificate, join(directory, SIDECAR_FILES.ca)]);
    const { certificateSds, validationSds } = sdsFiles(directory);
    writeFileSync(join(directory, SIDECAR_FILES.certificateSds), certificateSds);
    writeFileSync(join(directory, SIDECAR_FILES.validationSds), validationSds);
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  const validate = (text: string) => {
    writeFileSync(join(directory, SIDECAR_FILES.bootstrap), text);
    const line = envoyArguments({ serviceAccount: "bookbuyer", namespace: "shop", directory, logLevel: "warning" });
    const { status, stdout, stderr } = spawnSync(envoy!.path, [...line, "--mode", "validate"], { encoding: "utf8" });
    return { status, said: stdout + stderr };
  };

  test.skipIf(!envoy).each(["10.0.0.1", "fd00::1", "osm-controller.osm-system.svc.cluster.local"])(
    "accepts it without a warning: %s",
    (host) => {
      const { status, said } = validate(bootstrapText(sidecar({ host }, directory)));
      expect(said).not.toMatch(/deprecated/i);
      expect(said).not.toMatch(/\]\[warning\]/);
      expect(status, said).toBe(0);
    },
  );

  test.skipIf(!envoy)("says what is deprecated when there is something, so the test above can fail", () => {
    const config = parsed(sidecar({}, directory));
    config.static_resources.clusters[0].respect_dns_ttl = true;
    expect(validate(JSON.stringify(config)).said).toMatch(/Deprecated field/);
  });

  test.skipIf(!envoy)("takes long regular expressions only because of the runtime layer", () => {
    const regex = Array.from({ length: 60 }, (_, i) => `/path-${i}/[a-z]+`).join("|");
    const config = parsed(sidecar({}, directory));
    config.static_resources.listeners = [listenerWithRoute(regex)];
    expect(validate(JSON.stringify(config))).toMatchObject({ status: 0 });
    delete config.layered_runtime;
    const { status, said } = validate(JSON.stringify(config));
    expect(status, said).not.toBe(0);
    expect(said).toMatch(/program size/);
  });
});

const listenerWithRoute = (regex: string) => ({
  name: "test",
  address: { socket_address: { address: "127.0.0.1", port_value: 0 } },
  filter_chains: [
    {
      filters: [
        {
          name: "http",
          typed_config: {
            "@type":
              "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix: "test",
            http_filters: [
              {
                name: "router",
                typed_config: { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
              },
            ],
            route_config: {
              virtual_hosts: [
                {
                  name: "test",
                  domains: ["*"],
                  routes: [{ match: { safe_regex: { regex } }, direct_response: { status: 200 } }],
                },
              ],
            },
          },
        },
      ],
    },
  ],
});
