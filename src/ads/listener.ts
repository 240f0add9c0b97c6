/**
 * A TLS port that hands over connections whose handshake and client certificate are good. Knows no gRPC and no proxy.
 */
import { constants } from "node:crypto";
import { createSecureContext, createServer, type Server, type TLSSocket } from "node:tls";
import type { AddressInfo, Socket } from "node:net";

/** PEM. May be replaced while the port is open. */
export interface ListenerCredentials {
  readonly certificate: string | Buffer;
  readonly privateKey: string | Buffer;
  /** Trust anchors of client certificates. Absent: none is asked for, and whoever connects must prove itself otherwise. */
  readonly clientRoots?: string | Buffer | readonly string[];
}

export interface ListenerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly credentials: ListenerCredentials;
  readonly maxConnections: number;
  /** Milliseconds for a handshake. */
  readonly handshakeTimeout: number;
  /** A connection with a handshake that succeeded, over HTTP/2. */
  readonly accept: (socket: TLSSocket) => void;
  /** A connection that came no further than the handshake: why, for the log. */
  readonly refuse: (reason: string, address: string) => void;
}

export interface Listener {
  readonly port: number;
  /** New connections see the new credentials; open ones go on. Throws when a certificate and its key do not fit: the old ones stay. */
  rotate(credentials: ListenerCredentials): void;
  /** Accepts no more. Open connections go on until `destroy`. */
  close(): void;
  destroy(): void;
}

/** Opens the port; rejects when it is taken. Whether client certificates are demanded is fixed by the first credentials. */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  const demands = options.credentials.clientRoots !== undefined;
  const sockets = new Set<Socket>();
  const server: Server = createServer({
    ...context(options.credentials),
    minVersion: "TLSv1.2",
    ALPNProtocols: ["h2"],
    requestCert: demands,
    rejectUnauthorized: demands,
    handshakeTimeout: options.handshakeTimeout,
    // A resumed session is not verified again: a certificate that has expired meanwhile would still be good.
    secureOptions: constants.SSL_OP_NO_TICKET,
  });
  server.maxConnections = options.maxConnections;
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("drop", (data) =>
    options.refuse(`more than ${options.maxConnections} connections`, data?.remoteAddress ?? "unknown"),
  );
  server.on("tlsClientError", (error, socket) => {
    // Node tells why it did not trust a certificate here only; the error itself says that the socket hung up.
    const untrusted: unknown = socket.authorizationError;
    options.refuse(typeof untrusted === "string" ? untrusted : error.message, socket.remoteAddress ?? "unknown");
  });
  server.on("secureConnection", (socket) => {
    socket.on("error", () => socket.destroy());
    if (socket.alpnProtocol !== "h2") {
      options.refuse("it does not speak HTTP/2", socket.remoteAddress ?? "unknown");
      socket.destroy();
      return;
    }
    options.accept(socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: options.host, port: options.port, backlog: 4096 }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  // Accepting may fail later for want of file descriptors: one connection is lost, not the control plane.
  server.on("error", (error) => options.refuse(error.message, "unknown"));
  return {
    port: (server.address() as AddressInfo).port,
    rotate(credentials) {
      if ((credentials.clientRoots !== undefined) !== demands) {
        throw new Error("a port cannot begin or cease to demand client certificates while it is open");
      }
      createSecureContext(context(credentials));
      server.setSecureContext({
        ...context(credentials),
        minVersion: "TLSv1.2",
        secureOptions: constants.SSL_OP_NO_TICKET,
      });
    },
    close: () => void server.close(),
    destroy() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

const context = ({ certificate, privateKey, clientRoots }: ListenerCredentials) => ({
  cert: certificate,
  key: privateKey,
  ...(clientRoots !== undefined && {
    ca: typeof clientRoots === "string" || Buffer.isBuffer(clientRoots) ? clientRoots : [...clientRoots],
  }),
});
