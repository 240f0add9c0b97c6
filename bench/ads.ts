/**
 * `node bench/ads.ts [streams] [rounds]`: one endpoint change for many delta mTLS streams, from the change to the last ACK, beside
 * the floor: a bare grpc-js server that pushes the same bytes over as many streams and waits for as many answers. Asserts nothing.
 * Each server has a process of its own, and its proxies another one, so memory and time are the server's own.
 */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import * as grpc from "@grpc/grpc-js";
import { Cache } from "../src/ads/cache.ts";
import { ADS_SERVICE, AdsServer } from "../src/ads/server.ts";
import { silent } from "../src/telemetry/log.ts";
import { createMetrics } from "../src/telemetry/metrics.ts";
import { resource, type Resources } from "../src/xds/resource.ts";
import { authority } from "../test/unit/ads/certificates.ts";
import { AdsClient, type ClientTls } from "../test/support/ads-client.ts";

const SERVER = "heddle.bench";
const SIZE = 3 * 1024;
const self = fileURLToPath(import.meta.url);

interface Start {
  readonly address: string;
  readonly tls: ClientTls;
  readonly streams: number;
}

/** The child: proxies that ask for one cluster's endpoints and acknowledge whatever comes. */
function runProxies(): void {
  process.once("message", ({ address, tls, streams }: Start) => {
    for (let i = 0; i < streams; i++) {
      const client = new AdsClient({ address, tls, protocol: "delta", metadata: { proxy: `p${i}` } });
      client.model.received.push = () => 0;
      client.connect();
      client.model.subscribe("EDS", "e");
    }
  });
  process.once("disconnect", () => process.exit(0));
}

const content = (round: number): Uint8Array => {
  const bytes = Buffer.alloc(SIZE, 0x61);
  bytes.writeUInt32BE(round);
  return bytes;
};

const memory = (): NodeJS.MemoryUsage => {
  globalThis.gc?.();
  globalThis.gc?.();
  return process.memoryUsage();
};

interface Result {
  readonly name: string;
  /** Milliseconds of each round, change to last ACK. */
  readonly rounds: number[];
  /** Milliseconds of each ACK. */
  readonly acks: number[];
  readonly perStream: number;
  /** Of that, what JavaScript really holds: the rest is TLS, HTTP/2 and room that V8 keeps. */
  readonly heapPerStream: number;
  readonly connected: number;
}

/** What the two servers have in common: how many have answered, and a change for all. */
interface Subject {
  readonly port: number;
  /** All streams have their first answer confirmed. */
  readonly ready: Promise<void>;
  /** Changes for all; `acked` runs for each answer. */
  push(round: number, acked: () => void): void;
  close(): void;
}

async function measure(
  name: string,
  subject: Subject,
  tls: ClientTls,
  streams: number,
  rounds: number,
): Promise<Result> {
  const before = memory();
  const begun = performance.now();
  const child: ChildProcess = fork(self, ["--proxies"], { execArgv: [] });
  child.send({ address: `127.0.0.1:${subject.port}`, tls, streams } satisfies Start);
  await subject.ready;
  const connected = performance.now() - begun;
  const after = memory();
  const result: Result = {
    name,
    rounds: [],
    acks: [],
    perStream: (after.rss - before.rss) / streams,
    heapPerStream: (after.heapUsed - before.heapUsed) / streams,
    connected,
  };
  for (let round = 1; round <= rounds; round++) {
    const start = performance.now();
    await new Promise<void>((resolve) => {
      let left = streams;
      subject.push(round, () => {
        result.acks.push(performance.now() - start);
        if (--left === 0) resolve();
      });
    });
    result.rounds.push(performance.now() - start);
  }
  child.disconnect();
  await new Promise((resolve) => child.once("exit", resolve));
  subject.close();
  return result;
}

type Credentials = { readonly certificate: string; readonly privateKey: string; readonly clientRoots: string };

const target = (round: number): Resources => {
  const none = new Map();
  return { CDS: none, SDS: none, LDS: none, RDS: none, EDS: new Map([["e", resource("EDS", "e", content(round))]]) };
};

async function heddle(credentials: Credentials, streams: number): Promise<Subject> {
  const cache = new Cache();
  const metrics = createMetrics();
  cache.set("all", target(0));
  const server = new AdsServer({
    cache,
    metrics,
    log: silent,
    authenticate: ({ header }) => ({ proxy: { id: header("proxy") ?? "", identity: "bench/bench" } }),
    open(_proxy, sink) {
      sink.secrets([]);
      sink.group("all");
      return () => {};
    },
    // All come at once, and from one address.
    limits: { unproven: 20_000 },
  });
  const ready = Promise.withResolvers<void>();
  let left = streams;
  let acked = () => {
    if (--left === 0) ready.resolve();
  };
  const { acks } = metrics;
  const inc = acks.inc.bind(acks);
  acks.inc = ((...labels: Parameters<typeof inc>) => {
    inc(...labels);
    acked();
  }) as typeof acks.inc;
  const { port } = await server.listen({ host: "127.0.0.1", port: 0, credentials });
  return {
    port,
    ready: ready.promise,
    push(round, each) {
      acked = each;
      cache.set("all", target(round));
    },
    close: () => server.close(),
  };
}

/** grpc-js and nothing else: one buffer for all, written to each stream; what comes back is counted and not read. */
async function floor(credentials: Credentials, streams: number): Promise<Subject> {
  const calls: grpc.ServerDuplexStream<Buffer, Buffer>[] = [];
  const ready = Promise.withResolvers<void>();
  const bytes = (round: number): Buffer => {
    const at = resource("EDS", "e", content(round));
    return envelope.encode("delta", {
      type: "EDS",
      nonce: `${round}`,
      version: "",
      resources: [at],
      removed: [],
      shared: undefined,
    });
  };
  const { envelope } = new AdsServer({
    cache: new Cache(),
    metrics: createMetrics(),
    log: silent,
    authenticate: () => ({ refused: "" }),
    open: () => () => {},
  });
  let left = streams;
  let acked = () => {
    if (--left === 0) ready.resolve();
  };
  const server = new grpc.Server({ "grpc.enable_channelz": 0 });
  const handler = (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
    let requests = 0;
    call.on("error", () => {});
    call.on("data", () => {
      if (++requests === 1) {
        calls.push(call);
        call.write(bytes(0));
      } else acked();
    });
  };
  server.addService(ADS_SERVICE, { DeltaAggregatedResources: handler, StreamAggregatedResources: handler });
  const { certificate, privateKey, clientRoots } = credentials;
  const pair = { cert_chain: Buffer.from(certificate), private_key: Buffer.from(privateKey) };
  const tls = grpc.ServerCredentials.createSsl(Buffer.from(clientRoots), [pair], true);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", tls, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  return {
    port,
    ready: ready.promise,
    push(round, each) {
      acked = each;
      const message = bytes(round);
      for (const call of calls) call.write(message);
    },
    close: () => server.forceShutdown(),
  };
}

const quantile = (values: readonly number[], q: number): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;
};

const SUBJECTS = { "bare grpc-js": floor, heddle };

/** One subject in a process of its own, so that nobody's memory is measured for another's. */
async function runSubject(name: keyof typeof SUBJECTS, streams: number, rounds: number): Promise<Result> {
  const ca = await authority("bench");
  const credentials = { ...(await ca.issue(SERVER)), clientRoots: ca.roots };
  const tls: ClientTls = { ...(await ca.issue("proxy")), roots: ca.roots, serverName: SERVER };
  // A few rounds first, so that neither pays for the compiler.
  await measure("warm-up", await SUBJECTS[name](credentials, 20), tls, 20, 50);
  return measure(name, await SUBJECTS[name](credentials, streams), tls, streams, rounds);
}

async function main(): Promise<void> {
  const [streams = "1000", rounds = "50"] = process.argv.slice(2);
  const results: Result[] = [];
  for (const name of Object.keys(SUBJECTS)) {
    const child = fork(self, ["--subject", name, streams, rounds], { execArgv: ["--expose-gc"] });
    results.push(await new Promise<Result>((resolve) => child.once("message", resolve)));
  }
  console.log(
    `${streams} delta streams over mTLS, ${rounds} changes of one resource of ${SIZE} bytes; node ${process.version}`,
  );
  console.table(
    Object.fromEntries(
      results.map(({ name, rounds: all, acks, perStream, heapPerStream, connected }) => [
        name,
        {
          "last ACK p50 ms": Number(quantile(all, 0.5).toFixed(1)),
          "last ACK p99 ms": Number(quantile(all, 0.99).toFixed(1)),
          "any ACK p50 ms": Number(quantile(acks, 0.5).toFixed(1)),
          "any ACK p99 ms": Number(quantile(acks, 0.99).toFixed(1)),
          "all connected ms": Math.round(connected),
          "RSS a stream KiB": Number((perStream / 1024).toFixed(1)),
          "heap a stream KiB": Number((heapPerStream / 1024).toFixed(1)),
        },
      ]),
    ),
  );
}

const [, , role, name = "", streams, rounds] = process.argv;
if (role === "--proxies") runProxies();
else if (role === "--subject")
  process.send!(await runSubject(name as keyof typeof SUBJECTS, Number(streams), Number(rounds)));
else await main();
