/** A real Envoy with the sidecar's bootstrap, and a TLS server that plays the control plane: who is let in, and with what. */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { bootstrap, sdsFiles, SIDECAR_FILES } from "../../../src/injector/bootstrap.ts";
import { envoyArguments } from "../../../src/injector/envoy-arguments.ts";
import { EnvoyMissing, findEnvoy } from "../../../src/local/envoy.ts";

const NAME = "osm-controller.osm-system.cluster.local";
const ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

describe("real Envoy", async () => {
  const required = process.env["CI"] === "true";
  const envoy = await findEnvoy({ env: process.env, say: console.warn }).catch((error: unknown) => {
    if (required || !(error instanceof EnvoyMissing)) throw error;
    console.warn(`SKIPPED: no sidecar connects to a control plane. ${error.message}`);
    return undefined;
  });
  let directory: string;
  let server: Http2SecureServer;
  let sessions: Set<ServerHttp2Session>;
  let sidecar: ChildProcess | undefined;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "heddle-ads-"));
    sessions = new Set();
    openssl(
      "req",
      "-x509",
      ...KEY,
      "-keyout",
      "ca.key",
      "-out",
      SIDECAR_FILES.ca,
      "-subj",
      "/CN=test CA",
      "-days",
      "1",
    );
  });
  afterEach(async () => {
    if (sidecar) {
      const gone = once(sidecar, "exit");
      sidecar.kill("SIGKILL");
      await gone;
      sidecar = undefined;
    }
    for (const session of sessions) session.destroy();
    await new Promise((done) => server.close(done));
    rmSync(directory, { recursive: true });
  });

  const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const openssl = (...args: string[]): void => void execFileSync("openssl", args, { cwd: directory, stdio: "ignore" });
  const issue = (name: string, key: string, certificate: string): void => {
    const issuer = ["-CA", SIDECAR_FILES.ca, "-CAkey", "ca.key"];
    const subject = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`];
    openssl("req", "-x509", ...KEY, "-keyout", key, "-out", certificate, ...issuer, ...subject, "-days", "1");
  };
  const file = (name: string): Buffer => readFileSync(join(directory, name));

  /** Starts both. Sessions and tls errors are waited for with `next`, before they can happen. */
  async function start(serverName: string): Promise<void> {
    issue(serverName, "server.key", "server.pem");
    issue("one.sidecar.bookbuyer.shop.cluster.local", SIDECAR_FILES.key, SIDECAR_FILES.certificate);
    server = createSecureServer({
      key: file("server.key"),
      cert: file("server.pem"),
      ca: file(SIDECAR_FILES.ca),
      requestCert: true,
      rejectUnauthorized: true,
    });
    // Connections of a sidecar that is killed are reset.
    const ignore = (): void => {};
    server.on("session", (session: ServerHttp2Session) => sessions.add(session.on("error", ignore)));
    server.on("sessionError", ignore).on("stream", (stream) => stream.on("error", ignore));
    server.on("connection", (socket: Socket) => socket.on("error", ignore));
    server.on("secureConnection", (socket: TLSSocket) => socket.on("error", ignore));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const config = {
      ...bootstrap({
        nodeId: "one.sidecar.bookbuyer.shop.cluster.local",
        serviceAccount: "bookbuyer",
        namespace: "shop",
        directory,
        controlPlane: { host: "127.0.0.1", port, name: NAME },
      }),
      // Port 15000 may be another's on this machine.
      admin: { address: { socket_address: { address: "127.0.0.1", port_value: 0 } } },
    };
    writeFileSync(join(directory, SIDECAR_FILES.bootstrap), JSON.stringify(config));
    const { certificateSds, validationSds } = sdsFiles(directory);
    writeFileSync(join(directory, SIDECAR_FILES.certificateSds), certificateSds);
    writeFileSync(join(directory, SIDECAR_FILES.validationSds), validationSds);
    const line = envoyArguments({
      serviceAccount: "bookbuyer",
      namespace: "shop",
      directory,
      logLevel: "off",
      concurrency: 1,
    });
    sidecar = spawn(envoy!.path, line, { stdio: "ignore" });
  }

  const nextStream = async (): Promise<{ path: unknown; client: string; session: Http2Session }> => {
    const [stream, headers] = (await once(server, "stream")) as [ServerHttp2Stream, IncomingHttpHeaders];
    const session = stream.session!;
    const client = (session.socket as TLSSocket).getPeerCertificate().subject.CN;
    return { path: headers[":path"], client: String(client), session };
  };

  test.skipIf(!envoy)(
    "it asks over mTLS, comes back quickly, and with a new certificate once that has been put in place",
    async () => {
      await start(NAME);
      const first = await nextStream();
      expect(first).toMatchObject({ path: ADS, client: "one.sidecar.bookbuyer.shop.cluster.local" });

      issue("two.sidecar.bookbuyer.shop.cluster.local", "key-2.pem", "cert-2.pem");
      const { certificateSds } = sdsFiles(directory, { certificate: "cert-2.pem", key: "key-2.pem" });
      writeFileSync(join(directory, "new"), certificateSds);
      renameSync(join(directory, "new"), join(directory, SIDECAR_FILES.certificateSds));
      let { session, client } = first;
      // Envoy sees the rename when it sees it; until then it comes back with the old one.
      while (client.startsWith("one.")) {
        session.destroy();
        ({ session, client } = await nextStream());
      }
      expect(client).toBe("two.sidecar.bookbuyer.shop.cluster.local");
    },
  );

  test.skipIf(!envoy)("it does not speak to a server of the same CA that has another name", async () => {
    await start("bookthief.shop.cluster.local");
    const streams: unknown[] = [];
    server.on("stream", (stream) => streams.push(stream));
    const refused = async () => ((await once(server, "tlsClientError"))[0] as Error).message;
    expect(await refused()).toMatch(/certificate unknown|bad certificate|unknown ca|certificate_unknown/i);
    // And again at the next attempt.
    await refused();
    expect(streams).toEqual([]);
  });
});
