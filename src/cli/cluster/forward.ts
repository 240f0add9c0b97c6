/**
 * HTTP to a port of a pod, through the API server's port-forward: no port is opened on this machine. Knows no verb.
 */
import { Duplex, PassThrough, Writable } from "node:stream";
import { request } from "node:http";
import type { ClusterConfig } from "../../sources/kubernetes/cluster-config.ts";
import { UserError } from "../errors.ts";
import { cut } from "../text.ts";

/** A port of a pod. */
export interface PodPort {
  readonly namespace: string;
  readonly pod: string;
  readonly port: number;
}

export interface Reply {
  readonly status: number;
  readonly body: Buffer;
}

const TIMEOUT = 20_000;
/** Of an answer: a config dump of a large mesh. */
const MAX_BYTES = 256 << 20;

/** Asks the pod's port as from inside the pod. Throws a `UserError` that says what failed. */
export async function ask(
  config: ClusterConfig,
  { namespace, pod, port }: PodPort,
  path: string,
  signal: AbortSignal,
): Promise<Reply> {
  const where = `port ${port} of pod ${namespace}/${pod}`;
  const tunnel = await open(config, { namespace, pod, port }, where, signal);
  try {
    return await new Promise<Reply>((resolve, reject) => {
      const fail = (error: Error) =>
        reject(new UserError(`${where} does not answer: ${tunnel.said() || error.message}. Is the pod running?`));
      tunnel.stream.on("error", fail);
      // The kubelet may have said no before anybody listened.
      if (tunnel.said() !== "") return fail(new Error(tunnel.said()));
      const call = request(
        {
          path: path.startsWith("/") ? path : `/${path}`,
          headers: { host: `localhost:${port}`, connection: "close" },
          createConnection: () => tunnel.stream,
          timeout: TIMEOUT,
          signal,
        },
        (response) => {
          const parts: Buffer[] = [];
          let size = 0;
          response.on("data", (chunk: Buffer) => {
            size += chunk.length;
            if (size > MAX_BYTES) response.destroy(new Error("its answer is too large"));
            else parts.push(chunk);
          });
          response.on("error", fail);
          response.on("end", () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts) }));
        },
      );
      const late = setTimeout(() => call.destroy(new Error(`nothing came within ${TIMEOUT / 1000} s`)), TIMEOUT);
      call.on("close", () => clearTimeout(late));
      call.on("error", fail);
      call.end();
    });
  } finally {
    tunnel.close();
  }
}

/** The container runtime tells its whole story; who asks wants its end. */
const sentence = (said: string): string =>
  said.includes("connection refused") ? "nothing listens on it (connection refused)" : cut(said, 300);

interface Tunnel {
  readonly stream: Duplex;
  /** What the API server said on the tunnel's channel for errors. */
  readonly said: () => string;
  readonly close: () => void;
}

async function open(
  config: ClusterConfig,
  { namespace, pod, port }: PodPort,
  where: string,
  signal: AbortSignal,
): Promise<Tunnel> {
  const { KubeConfig, PortForward } = await import("@kubernetes/client-node");
  const kubeConfig = new KubeConfig();
  const encoded = (pem: string) => Buffer.from(pem).toString("base64");
  const { server, ca, clientCertificate, clientKey, serverName, insecureSkipTlsVerify } = config;
  const token = await config.token?.current();
  kubeConfig.loadFromClusterAndUser(
    {
      name: "cluster",
      server,
      // The library refuses plain HTTP unless told that TLS does not matter.
      skipTLSVerify: insecureSkipTlsVerify === true || server.startsWith("http:"),
      ...(ca === undefined ? {} : { caData: encoded(ca) }),
      ...(serverName === undefined ? {} : { tlsServerName: serverName }),
    },
    {
      name: "user",
      ...(token === undefined ? {} : { token }),
      ...(clientCertificate === undefined ? {} : { certData: encoded(clientCertificate) }),
      ...(clientKey === undefined ? {} : { keyData: encoded(clientKey) }),
    },
  );
  let said = "";
  const errors = new Writable({
    write(chunk: Buffer, _encoding, done) {
      said += chunk.toString("utf8");
      // The kubelet speaks here only when the port could not be reached.
      if (said.trim() !== "") stream.destroy(new Error(said.trim()));
      done();
    },
  });
  // The library writes what the pod sends to `output`, and sends what it reads from `input`.
  const input = new PassThrough();
  const stream: Duplex = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      input.write(chunk, done);
    },
  });
  const output = new Writable({
    write(chunk: Buffer, _encoding, done) {
      stream.push(chunk);
      done();
    },
  });
  stream.on("error", () => {});
  interface Socket {
    close(): void;
    addEventListener(type: "close", listener: () => void): void;
  }
  const limit = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]);
  const opening = new PortForward(kubeConfig).portForward(namespace, pod, [port], output, errors, input);
  const socket = await new Promise<Socket>((resolve, reject) => {
    const refused = (why: string) =>
      reject(
        new UserError(
          `${where} cannot be reached through the API server: ${why}. Grant "create" on pods/portforward, and check that the pod is running.`,
        ),
      );
    limit.addEventListener("abort", () => {
      if (signal.aborted) reject(signal.reason as Error);
      else refused(`it did not answer within ${TIMEOUT / 1000} s`);
    });
    opening.then(
      (opened) => {
        if (limit.aborted) (opened as Socket).close();
        else resolve(opened as Socket);
      },
      (error: { readonly message?: string }) => refused(error.message || "it refused the port-forward"),
    );
  });
  socket.addEventListener("close", () => stream.push(null));
  return {
    stream,
    said: () => sentence(said.trim()),
    close: () => {
      stream.destroy();
      socket.close();
    },
  };
}
