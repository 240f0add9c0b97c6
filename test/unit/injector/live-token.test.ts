/** A real Envoy with an injected pod's bootstrap, and a TLS server that plays the control plane: what it shows, and whom it trusts. */
import { execFileSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import {
  createSecureServer,
  type Http2SecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { connect, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { end, envoyPath, freePorts, run } from "./envoys.ts";
import { bootstrapOf, patched, pod, UUID } from "./pods.ts";

const NAME = "osm-controller.osm-system.svc.cluster.local";
const ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const envoy = await envoyPath("no sidecar shows its token to a control plane");

let directory: string;
let server: Http2SecureServer | undefined;
let sidecar: ChildProcess | undefined;
let sessions: Set<ServerHttp2Session>;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "heddle-token-"));
  sessions = new Set();
  openssl("-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test CA");
});
afterEach(async () => {
  await end(sidecar);
  for (const session of sessions) session.destroy();
  if (server) await new Promise((done) => server?.close(done));
  server = undefined;
  rmSync(directory, { recursive: true });
});

const openssl = (...args: string[]): void => {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"];
  execFileSync("openssl", ["req", "-x509", ...key, ...args], { cwd: directory, stdio: "ignore" });
};
const file = (name: string): Buffer => readFileSync(join(directory, name));

/** The server first, as `answers` must hear it; then Envoy. Answers the port at which Envoy would say that it is ready. */
async function start(serverName: string): Promise<{ readonly ready: number; readonly launch: () => void }> {
  const issuer = ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", `subjectAltName=DNS:${serverName}`];
  openssl("-keyout", "server.key", "-out", "server.pem", "-subj", `/CN=${serverName}`, ...issuer);
  server = createSecureServer({ key: file("server.key"), cert: file("server.pem") });
  const ignore = (): void => {};
  server.on("session", (session: ServerHttp2Session) => sessions.add(session.on("error", ignore)));
  server.on("sessionError", ignore).on("stream", (stream) => stream.on("error", ignore));
  server.on("connection", (socket: Socket) => socket.on("error", ignore));
  server.on("secureConnection", (socket: TLSSocket) => socket.on("error", ignore));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const done = patched(pod(), { settings: { controlPlane: { host: "localhost", port, name: NAME } } });
  const text = JSON.stringify(bootstrapOf(done)).replaceAll("/var/run/secrets/heddle", directory);
  const config = JSON.parse(text);
  const [ready = 0] = await freePorts(1);
  config.static_resources.listeners[0].address.socket_address = { address: "127.0.0.1", port_value: ready };
  config.admin.address.socket_address.port_value = 0;
  const launch = () => (sidecar = run(envoy!, config).child);
  return { ready, launch };
}

const nextStream = async (): Promise<[ServerHttp2Stream, IncomingHttpHeaders]> => {
  const [stream, headers] = await once(server!, "stream");
  return [stream, headers];
};

test.skipIf(!envoy)(
  "it shows its token, a renewed one on its next stream, and is not ready without configuration",
  async () => {
    const { ready, launch } = await start(NAME);
    writeFileSync(join(directory, "token"), "first-token");
    launch();
    const [stream, headers] = await nextStream();
    expect(headers).toMatchObject({ ":path": ADS, authorization: "Bearer first-token" });
    const [request] = await once(stream, "data");
    expect(String(request)).toContain(`${UUID}.sidecar.bookbuyer.shop.cluster.local`);
    const socket = connect(ready, "127.0.0.1");
    const [error] = await once(socket, "error");
    expect(error).toMatchObject({ code: "ECONNREFUSED" });

    // The kubelet exchanges the file by a rename.
    writeFileSync(join(directory, "next"), "second-token");
    renameSync(join(directory, "next"), join(directory, "token"));
    stream.session?.destroy();
    const [, again] = await nextStream();
    expect(again.authorization).toBe("Bearer second-token");
  },
);

test.skipIf(!envoy)("a server of the same CA with another name never sees the token", async () => {
  const { launch } = await start("bookthief.shop.cluster.local");
  writeFileSync(join(directory, "token"), "first-token");
  const streams: unknown[] = [];
  server?.on("stream", (stream) => streams.push(stream));
  // With TLS 1.3 the server may hear of the refusal only after its side of the handshake.
  const gone = () =>
    Promise.race([
      once(server!, "tlsClientError"),
      once(server!, "session").then(([session]) => once(session, "close")),
    ]);
  const first = gone();
  launch();
  await first;
  await gone();
  expect(streams).toEqual([]);
});
