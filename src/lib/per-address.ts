/**
 * How many connections one address may have at a server: so that nobody shuts the others out. Knows no protocol.
 */
import type { Server, Socket } from "node:net";

/** Destroys what comes beyond so many from one address. */
export function limitPerAddress(server: Server, most: number): void {
  const counts = new Map<string, number>();
  server.prependListener("connection", (socket: Socket) => {
    const address = socket.remoteAddress;
    // A unix socket is one user's.
    if (address === undefined) return;
    const count = (counts.get(address) ?? 0) + 1;
    if (count > most) return void socket.destroy();
    counts.set(address, count);
    socket.once("close", () => {
      const left = (counts.get(address) ?? 1) - 1;
      if (left === 0) counts.delete(address);
      else counts.set(address, left);
    });
  });
}
