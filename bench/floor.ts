/**
 * The floor: grpc-js over mTLS and nothing else. It writes given bytes to given streams and counts what comes back without reading it,
 * so no server in this language and library can be faster.
 */
import * as grpc from "@grpc/grpc-js";
import { ADS_SERVICE } from "../src/ads/server.ts";

/** PEM. */
export interface Credentials {
  readonly certificate: string;
  readonly privateKey: string;
  readonly clientRoots: string;
}

export interface Floor {
  readonly port: number;
  /** Streams that have said something. */
  readonly streams: () => number;
  /** Resolves with the milliseconds from the first write to the last answer. */
  push(writes: readonly { readonly proxy: string; readonly bytes: Uint8Array }[]): Promise<number>;
  close(): void;
}

type Call = grpc.ServerDuplexStream<Buffer, Buffer>;

export async function startFloor({ certificate, privateKey, clientRoots }: Credentials): Promise<Floor> {
  const calls = new Map<string, Call>();
  let answered = (): void => {};
  const handler = (call: Call): void => {
    const proxy = String(call.metadata.get("proxy")[0]);
    call.on("error", () => {});
    call.on("data", () => {
      if (calls.has(proxy)) answered();
      else calls.set(proxy, call);
    });
  };
  const server = new grpc.Server({ "grpc.enable_channelz": 0 });
  server.addService(ADS_SERVICE, { DeltaAggregatedResources: handler, StreamAggregatedResources: handler });
  const pair = { cert_chain: Buffer.from(certificate), private_key: Buffer.from(privateKey) };
  const tls = grpc.ServerCredentials.createSsl(Buffer.from(clientRoots), [pair], true);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", tls, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  return {
    port,
    streams: () => calls.size,
    push(writes) {
      const bytes = shared(writes.map((write) => write.bytes));
      return new Promise((resolve) => {
        let left = writes.length;
        const start = performance.now();
        answered = () => {
          if (--left === 0) resolve(performance.now() - start);
        };
        for (const [i, { proxy }] of writes.entries()) calls.get(proxy)?.write(bytes[i] as Buffer);
      });
    },
    close: () => server.forceShutdown(),
  };
}

/** Equal bytes as one buffer. */
function shared(all: readonly Uint8Array[]): Buffer[] {
  const known = new Map<string, Buffer>();
  return all.map((bytes) => {
    const buffer = Buffer.from(bytes);
    const key = buffer.toString("latin1");
    const found = known.get(key) ?? buffer;
    known.set(key, found);
    return found;
  });
}
