/**
 * The name server of a run: `names.ts` behind UDP and TCP port 53 of the host's address in the run.
 */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Server, type Socket as Stream } from "node:net";
import {
  AUTHORITATIVE_ANSWER,
  decode,
  encode,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  TRUNCATED_RESPONSE,
  type OptAnswer,
} from "dns-packet";
import { LocalError } from "./errors.ts";
import { answer, nameTable, type NamedService, type NameTable } from "./names.ts";

/** What fits into a UDP answer for a client that does not say otherwise (RFC 1035), and what we send at most (RFC 9715). */
const UDP_SIZE = 512;
const UDP_SIZE_MAX = 1232;
const OPT: OptAnswer = {
  type: "OPT",
  name: ".",
  udpPayloadSize: UDP_SIZE_MAX,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
};
const NXDOMAIN = 3;
const FORMAT_ERROR = 1;
/** Connections that ask nothing are closed after so many milliseconds. */
const TCP_IDLE = 10_000;

export class NameServer {
  #table: NameTable = nameTable([]);
  #udp: Socket | undefined;
  #tcp: Server | undefined;
  readonly #streams = new Set<Stream>();

  /** From now on these names are answered. */
  setNames(services: readonly NamedService[]): void {
    this.#table = nameTable(services);
  }

  /** Listens. Throws a `LocalError` when somebody else has the port; the answer is the port (for `port` 0). */
  async start(address: string, port = 53): Promise<number> {
    try {
      const tcp = createServer((stream) => this.#serve(stream));
      this.#tcp = tcp;
      tcp.listen(port, address);
      await once(tcp, "listening");
      const bound = (tcp.address() as { port: number }).port;
      const udp = createSocket("udp4");
      this.#udp = udp;
      udp.bind(bound, address);
      await once(udp, "listening");
      udp.on("message", (message, from) => {
        const reply = this.#reply(message, true);
        if (reply) udp.send(reply, from.port, from.address, () => {});
      });
      // A client that is gone (ICMP) is not our trouble.
      udp.on("error", () => {});
      return bound;
    } catch (error) {
      await this.stop();
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
      throw new LocalError(
        "port-taken",
        `Port ${port} of ${address} is taken: another name server listens on all addresses of this machine. ` +
          `See which one with: ss -lntup 'sport = :${port}'; let it listen on its own addresses only, or stop it.`,
      );
    }
  }

  async stop(): Promise<void> {
    for (const stream of this.#streams) stream.destroy();
    const { tcp, udp } = { tcp: this.#tcp, udp: this.#udp };
    this.#tcp = this.#udp = undefined;
    await Promise.all([
      tcp?.listening && new Promise((done) => tcp.close(done)),
      udp && new Promise<void>((done) => udp.close(done)),
    ]);
  }

  #serve(stream: Stream): void {
    this.#streams.add(stream);
    let buffer = Buffer.alloc(0);
    stream.setTimeout(TCP_IDLE, () => stream.destroy());
    stream.on("error", () => stream.destroy());
    stream.on("close", () => this.#streams.delete(stream));
    stream.on("data", (data) => {
      buffer = Buffer.concat([buffer, data]);
      // Two bytes of length before each message.
      while (buffer.length >= 2 && buffer.length >= 2 + buffer.readUInt16BE(0)) {
        const end = 2 + buffer.readUInt16BE(0);
        const reply = this.#reply(buffer.subarray(2, end), false);
        buffer = buffer.subarray(end);
        if (!reply) return stream.destroy();
        const length = Buffer.alloc(2);
        length.writeUInt16BE(reply.length);
        stream.write(Buffer.concat([length, reply]));
      }
      return undefined;
    });
  }

  /** The reply to a message, or undefined when it is not a question. */
  #reply(message: Buffer, udp: boolean): Buffer | undefined {
    let query;
    try {
      query = decode(message);
    } catch {
      if (message.length < 12 || (message[2]! & 0x80) !== 0) return undefined;
      return encode({ type: "response", id: message.readUInt16BE(0), flags: FORMAT_ERROR, questions: [] });
    }
    const question = query.questions?.[0];
    if (query.type !== "query" || !question) return undefined;
    const { code, answers } = answer(this.#table, question);
    const asked = query.additionals?.find((record) => record.type === "OPT");
    const flags =
      AUTHORITATIVE_ANSWER |
      RECURSION_AVAILABLE |
      (query.flags! & RECURSION_DESIRED) |
      (code === "NXDOMAIN" ? NXDOMAIN : 0);
    const reply = {
      type: "response" as const,
      id: query.id!,
      questions: [question],
      additionals: asked ? [OPT] : [],
    };
    const whole = encode({ ...reply, flags, answers: [...answers] });
    const limit = Math.min(
      UDP_SIZE_MAX,
      Math.max(UDP_SIZE, asked && "udpPayloadSize" in asked ? asked.udpPayloadSize : 0),
    );
    if (!udp || whole.length <= limit) return whole;
    return encode({ ...reply, flags: flags | TRUNCATED_RESPONSE, answers: [] });
  }
}
