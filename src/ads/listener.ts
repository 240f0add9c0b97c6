/**
 * A TLS port that hands over connections whose handshake and client certificate are good. Knows no gRPC and no proxy.
 */
import { constants } from "node:crypto";
import { createSecureContext, createServer, type TLSSocket } from "node:tls";
import { createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";

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
  /** Connections of one address that have proved nothing: so that nobody takes all that there are. */
  readonly maxUnproven: number;
  /** Milliseconds for a handshake. */
  readonly handshakeTimeout: number;
  /** A connection with a handshake that succeeded, over HTTP/2. `proved` tells whether a peer has proved who it is; at first, none has. */
  readonly accept: (socket: TLSSocket, proved: (proved: boolean) => void) => void;
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
  const unproven = new Unproven();
  const tls = createServer({
    ...context(options.credentials),
    minVersion: "TLSv1.2",
    ALPNProtocols: ["h2"],
    requestCert: demands,
    rejectUnauthorized: demands,
    handshakeTimeout: options.handshakeTimeout,
    // A resumed session is not verified again: a certificate that has expired meanwhile would still be good.
    secureOptions: constants.SSL_OP_NO_TICKET,
  });
  // The port itself: who comes too often costs no handshake.
  const server = createTcpServer((socket) => {
    const { remoteAddress: address = "unknown" } = socket;
    if (unproven.of(address) >= options.maxUnproven) {
      options.refuse(`${options.maxUnproven} connections of its address have proved nothing yet`, address);
      socket.destroy();
      return;
    }
    sockets.add(socket);
    unproven.add(socket);
    socket.setNoDelay(true);
    socket.once("close", () => sockets.delete(socket));
    tls.emit("connection", socket);
  });
  server.maxConnections = options.maxConnections;
  server.on("drop", (data) =>
    options.refuse(`more than ${options.maxConnections} connections`, data?.remoteAddress ?? "unknown"),
  );
  tls.on("tlsClientError", (error, socket) => {
    // Node tells why it did not trust a certificate here only; the error itself says that the socket hung up.
    const untrusted: unknown = socket.authorizationError;
    options.refuse(typeof untrusted === "string" ? untrusted : error.message, socket.remoteAddress ?? "unknown");
  });
  tls.on("secureConnection", (socket) => {
    socket.on("error", () => socket.destroy());
    if (socket.alpnProtocol !== "h2") {
      options.refuse("it does not speak HTTP/2", socket.remoteAddress ?? "unknown");
      socket.destroy();
      return;
    }
    const proved = unproven.find(socket);
    // None: it has been closed meanwhile.
    if (proved) options.accept(socket, proved);
    else socket.destroy();
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
      tls.setSecureContext({
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

/** How many connections of each address have proved nothing. */
class Unproven {
  readonly #counts = new Map<string, number>();
  /** Of connections that are open: a connection and the TLS over it have the same address and port. */
  readonly #open = new Map<string, (proved: boolean) => void>();

  of(address: string): number {
    return this.#counts.get(address) ?? 0;
  }

  find({ remoteAddress, remotePort }: Socket): ((proved: boolean) => void) | undefined {
    return this.#open.get(`${remoteAddress}:${remotePort}`);
  }

  add(socket: Socket): void {
    const { remoteAddress: address = "unknown", remotePort } = socket;
    const peer = `${address}:${remotePort}`;
    let counted = false;
    const count = (counts: boolean) => {
      if (counts === counted) return;
      counted = counts;
      const left = this.of(address) + (counts ? 1 : -1);
      if (left > 0) this.#counts.set(address, left);
      else this.#counts.delete(address);
    };
    const proved = (yes: boolean) => count(!yes && !socket.destroyed);
    count(true);
    this.#open.set(peer, proved);
    socket.once("close", () => {
      count(false);
      if (this.#open.get(peer) === proved) this.#open.delete(peer);
    });
  }
}

const context = ({ certificate, privateKey, clientRoots }: ListenerCredentials) => ({
  cert: certificate,
  key: privateKey,
  ...(clientRoots !== undefined && {
    ca: typeof clientRoots === "string" || Buffer.isBuffer(clientRoots) ? clientRoots : [...clientRoots],
  }),
});
