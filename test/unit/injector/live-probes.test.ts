/** The injected bootstrap in a real Envoy: it takes every variant without a warning, and probes tell what the application does. */
import { execFileSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import * as http from "node:http";
import * as http2 from "node:http2";
import * as https from "node:https";
import { connect, createServer as tcpServer, type AddressInfo, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { InjectorSettings } from "../../../src/injector/settings.ts";
import { end, envoyPath, freePorts, run, validate } from "./envoys.ts";
import { bootstrapOf, expand, named, patched, pod, VARIABLES, type Loose } from "./pods.ts";

const envoy = await envoyPath("probes are not answered by Envoy");

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "heddle-probes-"));
  const subject = ["-nodes", "-days", "1", "-subj", "/CN=test", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
  execFileSync("openssl", ["req", "-x509", ...subject, "-keyout", "key.pem", "-out", "ca.crt"], {
    cwd: directory,
    stdio: "ignore",
  });
  writeFileSync(join(directory, "token"), "a-token");
});
afterAll(() => rmSync(directory, { recursive: true }));

const everyProbe = (port: number) => ({
  livenessProbe: { httpGet: { path: "/a?b=c d", port } },
  readinessProbe: { tcpSocket: { port } },
  startupProbe: { grpc: { port } },
});

describe("Envoy takes the configuration and says nothing against it", () => {
  const variants: [string, Partial<InjectorSettings>, Loose][] = [
    ["no probes", {}, pod()],
    [
      "every kind of probe",
      {},
      pod({
        containers: [
          { name: "a", ...everyProbe(80) },
          { name: "b", ...everyProbe(81) },
          {
            name: "c",
            livenessProbe: { httpGet: { port: 1, scheme: "HTTPS" } },
            lifecycle: { preStop: { httpGet: { port: 2 } } },
          },
        ],
      }),
    ],
    ["IPv6", { ipv6: true }, pod({ containers: [{ name: "a", ...everyProbe(80) }] })],
    ["no sleep action", { sleepAction: false, nativeSidecars: false }, pod()],
    ["an address for the control plane", { controlPlane: { host: "10.0.0.1", port: 1234, name: "x.y" } }, pod()],
    ["an IPv6 address for the control plane", { controlPlane: { host: "fd00::1", name: "x.y" } }, pod()],
  ];
  test.skipIf(!envoy).each(variants)("%s", (_name, settings, of) => {
    const args = named(patched(of, { settings: { logLevel: "warning", ...settings } }), "envoy").args.map(
      (arg: string) => expand(arg, VARIABLES).replaceAll("/var/run/secrets/heddle", directory),
    );
    const { status, said } = validate(envoy!, args);
    expect(status, said).toBe(0);
    expect(said).not.toMatch(/deprecated|work-in-progress|\]\[warning\]/i);
  });
});

describe("probes", () => {
  const servers: (Server | http2.Http2Server)[] = [];
  const sockets = new Set<Socket>();
  const asked: string[] = [];
  let child: ChildProcess | undefined;
  let at: Map<number, number>;
  let done: Loose;

  const start = async (server: Server | http2.Http2Server, port = 0): Promise<number> => {
    servers.push(server);
    server.on("connection", (socket: Socket) => {
      sockets.add(socket.on("error", () => {}));
      socket.once("close", () => sockets.delete(socket));
    });
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  };
  /** The application ends, with its connections. */
  const stop = async (server: Server | http2.Http2Server): Promise<void> => {
    const closed = once(server, "close");
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };

  const app: http.RequestListener = (request, response) => {
    asked.push(`${request.method} ${request.url} ${String(request.headers["x-probe"] ?? "")}`);
    const code = Number(/code=(\d+)/.exec(request.url ?? "")?.[1] ?? 200);
    response.writeHead(code, code === 302 ? { location: "/elsewhere" } : {}).end("body");
  };
  const plain = http.createServer(app);
  const silent = http.createServer(() => {});
  const mute = tcpServer();
  const banner = tcpServer((socket) => socket.write("5.7.1-log\0\0\0"));
  const tcpData: string[] = [];
  mute.on("connection", (socket) => socket.on("data", (data) => tcpData.push(String(data))));
  let serving = 1;
  const health = http2.createServer();
  health.on("stream", (stream, headers) => {
    asked.push(String(headers[":path"]));
    stream.on("error", () => {});
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end(Buffer.from([0, 0, 0, 0, 2, 8, serving]));
  });

  beforeAll(async () => {
    if (!envoy) return;
    const tls = https.createServer(
      { key: readFileSync(join(directory, "key.pem")), cert: readFileSync(join(directory, "ca.crt")) },
      app,
    );
    const [a, b, c, d, e, f] = [
      await start(plain),
      await start(tls),
      await start(mute),
      await start(banner),
      await start(health),
      await start(silent),
    ];
    const httpHeaders = [{ name: "X-Probe", value: "yes" }];
    done = patched(
      pod({
        containers: [
          {
            name: "a",
            livenessProbe: { httpGet: { path: "/alive?x=1", port: a, httpHeaders } },
            readinessProbe: { httpGet: { path: "/r?code=500", port: a } },
            startupProbe: { httpGet: { path: "/s?code=302", port: a } },
            lifecycle: { preStop: { httpGet: { path: "/quit", port: a } } },
          },
          {
            name: "b",
            livenessProbe: { httpGet: { path: "/tls", port: b, scheme: "HTTPS" } },
            readinessProbe: { httpGet: { path: "/tls?code=503", port: b, scheme: "HTTPS" } },
          },
          { name: "c", livenessProbe: { tcpSocket: { port: c } }, readinessProbe: { tcpSocket: { port: d } } },
          {
            name: "d",
            livenessProbe: { grpc: { port: e } },
            readinessProbe: { httpGet: { port: f }, timeoutSeconds: 1 },
          },
        ],
      }),
      { settings: { sleepAction: false, drainSeconds: 1 } },
    );
    const { dynamic_resources: _, ...config } = bootstrapOf(done);
    const ports = await freePorts(config.static_resources.listeners.length);
    at = new Map();
    for (const [i, listener] of config.static_resources.listeners.entries()) {
      const { socket_address } = listener.address;
      at.set(socket_address.port_value, ports[i]!);
      socket_address.address = "127.0.0.1";
      socket_address.port_value = ports[i];
    }
    config.admin.address.socket_address.port_value = 0;
    const started = run(envoy, config);
    child = started.child;
    await started.serving;
  });
  afterAll(async () => {
    await end(child);
    for (const server of servers) if (server.listening) await stop(server);
  });

  /** As the kubelet asks: a connection of its own, redirects to this host followed, the answer read to its end. */
  const kubelet = async ({ path, port, httpHeaders = [] }: Loose): Promise<number> => {
    const headers = Object.fromEntries(httpHeaders.map((h: Loose) => [h.name, h.value]));
    const answer = await fetch(`http://127.0.0.1:${at.get(port)}${path}`, {
      headers: { connection: "close", ...headers },
    });
    await answer.text();
    return answer.status;
  };
  const probe = (container: string, type: string) => kubelet(named(done, container)[`${type}Probe`].httpGet);
  const grpc = async (container: string): Promise<Buffer | string> => {
    const session = http2.connect(`http://127.0.0.1:${at.get(named(done, container).livenessProbe.grpc.port)}`);
    session.on("error", () => {});
    const stream = session.request({
      ":method": "POST",
      ":path": "/grpc.health.v1.Health/Check",
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.end(Buffer.from([0, 0, 0, 0, 0]));
    let status = "";
    stream.on("response", (headers) => (status ||= String(headers["grpc-status"] ?? "")));
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    session.close();
    return status || Buffer.concat(chunks);
  };

  test.skipIf(!envoy)("http: path, query and headers reach the application; its answer decides", async () => {
    expect(await probe("a", "liveness")).toBe(200);
    expect(asked).toContain("GET /alive?x=1 yes");
    expect(await probe("a", "readiness")).toBe(500);
  });
  test.skipIf(!envoy)("a redirect is answered as one, and nobody follows it past the application", async () => {
    expect(await probe("a", "startup")).toBe(302);
  });
  test.skipIf(!envoy)("https", async () => {
    expect(await probe("b", "liveness")).toBe(200);
    expect(await probe("b", "readiness")).toBe(503);
  });
  test.skipIf(!envoy)("hole: who is not the kubelet reaches nothing through these ports", async () => {
    const before = [...asked];
    const { httpGet } = named(done, "a").livenessProbe;
    const tcp = ["liveness", "readiness"].map((type) => named(done, "c")[`${type}Probe`].httpGet);
    /** Raw, so that nothing is put right on the way. */
    const raw = async (port: number, head: string, body = "") => {
      const socket = connect(at.get(port)!, "127.0.0.1");
      socket.on("error", () => {});
      socket.write(`${head}\r\nhost: x\r\nconnection: close\r\n${body}`);
      let text = "";
      for await (const chunk of socket) text += String(chunk);
      return text.split(" ")[1];
    };
    const flush = "content-length: 9\r\n\r\nFLUSHALL\n";
    const chunked = "transfer-encoding: chunked\r\n\r\n9\r\nFLUSHALL\n\r\n0\r\n\r\n";
    for (const { port, path } of tcp) {
      for (const method of ["POST", "GET"])
        for (const body of [flush, chunked])
          expect(await raw(port, `${method} ${path} HTTP/1.1`, body)).toMatch(/^4(04|13)$/);
    }
    for (const head of [`DELETE ${httpGet.path}`, "GET /osm-liveness-probe/a?drop=all", "GET /osm-liveness-probe/a"])
      expect(await raw(httpGet.port, `${head} HTTP/1.1`, "\r\n"), head).toBe("404");
    // A port with a gRPC probe speaks HTTP/2 too.
    const session = http2.connect(`http://127.0.0.1:${at.get(15901)}`);
    session.on("error", () => {});
    const stream = session.request({ ":method": "GET", ":path": tcp[0].path }, { endStream: false });
    stream.end("FLUSHALL\n");
    const [headers] = (await once(stream, "response")) as [http2.IncomingHttpHeaders & { ":status": number }];
    expect(headers[":status"]).toBe(413);
    session.destroy();
    expect(tcpData).toEqual([]);
    // A hook is run by who has read the pod.
    const hook = named(done, "a").lifecycle.preStop.httpGet;
    expect(await raw(hook.port, "GET /osm-pre-stop-hook/a HTTP/1.1", "\r\n")).toBe("404");
    expect(asked).toEqual(before);
    expect(await kubelet(hook)).toBe(200);
    expect(asked.at(-1)).toBe("GET /quit ");
  });
  test.skipIf(!envoy)("an application that does not answer in the probe's time fails it", async () => {
    expect(await probe("d", "readiness")).toBe(504);
  });
  test.skipIf(!envoy)("difference 12: grpc", async () => {
    expect(await grpc("d")).toEqual(Buffer.from([0, 0, 0, 0, 2, 8, 1]));
    serving = 2;
    expect(await grpc("d")).toEqual(Buffer.from([0, 0, 0, 0, 2, 8, 2]));
    expect(asked).toContain("/grpc.health.v1.Health/Check");
    await stop(health);
    expect(await grpc("d")).toBe("14");
  });
  test.skipIf(!envoy)("tcp: a connection is all that is asked, and one that is refused fails the probe", async () => {
    expect(await probe("c", "liveness")).toBe(200);
    expect(await probe("c", "readiness")).toBe(200);
    expect(tcpData).toEqual([]);
    await stop(mute);
    expect(await probe("c", "liveness")).toBe(503);
    // The other one's is still there.
    expect(await probe("c", "readiness")).toBe(200);
  });
  test.skipIf(!envoy)("an application that has ended fails its probes, and is found again", async () => {
    const { port } = plain.address() as AddressInfo;
    await stop(plain);
    expect(await probe("a", "liveness")).toBe(503);
    await start(plain, port);
    expect(await probe("a", "liveness")).toBe(200);
  });
  test.skipIf(!envoy)("the sidecar answers for itself, at once or after its pause, and for nothing else", async () => {
    expect(await kubelet({ path: "/ready", port: 15904 })).toBe(200);
    const before = performance.now();
    expect(await kubelet({ path: "/osm-drain", port: 15904 })).toBe(200);
    expect(performance.now() - before).toBeGreaterThan(900);
    expect(await kubelet({ path: "/osm-liveness-probe/nobody", port: 15901 })).toBe(404);
    expect(await kubelet({ path: "/config_dump", port: 15904 })).toBe(404);
  });
});
