/**
 * A process that serves a thousand proxies of a large mesh: the control plane as it is (`heddle`), or the floor beside it (`floor`).
 * Its proxies have another process, so time and memory are the server's own.
 */
import { join } from "node:path";
import { Envelope } from "../src/ads/envelope.ts";
import type { Response } from "../src/ads/subscription.ts";
import { Authority } from "../src/ca/authority.ts";
import type { SecretStore, StoredRoot } from "../src/ca/store.ts";
import { serve, SERVER_NAMES } from "../src/serve.ts";
import type { Sink } from "../src/sources/sink.ts";
import { silent } from "../src/telemetry/log.ts";
import { createMetrics } from "../src/telemetry/metrics.ts";
import type { Identity } from "../src/world/names.ts";
import { resource } from "../src/xds/resource.ts";
import { startFloor } from "./floor.ts";
import { benchMesh, type BenchMesh } from "./mesh.ts";
import type { Connect, Proxies, Sent } from "./proxies.ts";
import { answer, collect, Peer } from "./rpc.ts";

/** Milliseconds without a message after which everything is taken as said. */
const QUIET = 300;
/** Milliseconds after which a change that is not confirmed is a fault. */
const LATE = 30_000;

export interface Size {
  readonly services: number;
  /** Applications with proxies that connect, four each. */
  readonly watched: number;
}

/** What one change took, in milliseconds. */
export interface Timing {
  /** From the write to the last ACK. */
  readonly all: number;
  /** Of it, from the write until the change had settled. */
  readonly settled: number;
  /** Of it, compiling and building. */
  readonly publish: number;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function memoryStore(): SecretStore {
  let kept: StoredRoot | undefined;
  return { where: "memory", load: async () => kept, createIfAbsent: async (root) => (kept ??= root) };
}

/** What the mesh's proxies prove themselves with. */
const certificates = (authority: Authority, mesh: BenchMesh): Promise<Connect["proxies"]> =>
  Promise.all(
    mesh.proxies.map(async ({ account, id }) => {
      const { chainPem, privateKey } = await authority.issueSidecar(account as Identity, id);
      return { id, certificate: chainPem, privateKey: privateKey.revealPem() };
    }),
  );

/** A process of proxies, connected to this port. */
async function connect(
  authority: Authority,
  proxies: Connect["proxies"],
  port: number,
  follow: boolean,
): Promise<Peer<Proxies>> {
  const peer = new Peer<Proxies>(join(import.meta.dirname, "proxies.ts"));
  const roots = authority.bundle.pem;
  await peer.ask("connect", { address: `127.0.0.1:${port}`, roots, serverName: SERVER_NAMES[0], proxies, follow });
  return peer;
}

/** Figures of this process after everything that can be collected has been. */
function memory(): NodeJS.MemoryUsage {
  collect();
  return process.memoryUsage();
}

async function heddle({ services, watched }: Size) {
  const mesh = benchMesh(services, watched);
  const metrics = createMetrics();
  let sink: Sink | undefined;
  let acks = 0;
  let responses = 0;
  let bytes = 0;
  let last = 0;
  let publish = 0;
  let published = 0;
  let acked = (): void => {};
  watch(metrics.acks, "inc", () => {
    acks++;
    last = performance.now();
    acked();
  });
  watch(metrics.responses, "inc", () => responses++);
  watch(metrics.bytesSent, "inc", (...[, count]) => (bytes += Number(count)));
  watch(metrics.publishTime, "observe", (...[seconds]) => {
    publish = Number(seconds) * 1000;
    published = performance.now();
  });
  const plane = await serve({
    source: {
      async start(given) {
        sink = given;
        given.apply(mesh.changes);
        given.synced();
      },
    },
    rootStore: memoryStore(),
    listen: { host: "127.0.0.1", port: 0 },
    // All proxies of a benchmark come at once, and from one address.
    limits: { unproven: 20_000 },
    log: silent,
    metrics,
  });
  await plane.started;

  const quiet = async (): Promise<void> => {
    for (let before = -1; before !== responses || acks < responses;) {
      before = responses;
      await pause(QUIET);
    }
  };
  /** How many ACKs each round of an edit brings, by the round's parity. */
  const expected = new Map<string, number>();
  let peer: Peer<Proxies> | undefined;
  let issued: Connect["proxies"] = [];
  const change = (edit: number, round: number): { name: string; start: number } => {
    const { name, make } = mesh.edits[edit] as BenchMesh["edits"][number];
    const made = make(round);
    const start = performance.now();
    publish = 0;
    sink?.apply([made]);
    return { name, start };
  };
  return {
    edits: () => mesh.edits.map(({ name }) => name),
    memory,
    /** Issues the proxies' certificates, which in a cluster they bring with them. */
    async prepare(): Promise<void> {
      issued = await certificates(plane.authority, mesh);
    },
    /** Resolves when every proxy has all that it may have: after so many milliseconds, with so many bytes to each. */
    async connect(): Promise<{ ms: number; bytes: number }> {
      peer = await connect(plane.authority, issued, plane.port, true);
      const start = performance.now();
      while (plane.proxies().length < mesh.proxies.length) await pause(20);
      await quiet();
      return { ms: last - start, bytes: Math.round(bytes / mesh.proxies.length) };
    },
    /** Makes a change and notes what was sent: rounds of the same parity bring the same. */
    async note({ edit, round }: { edit: number; round: number }): Promise<readonly Sent[]> {
      await quiet();
      const before = acks;
      await peer?.ask("note", undefined);
      const { name } = change(edit, round);
      await quiet();
      expected.set(`${name} ${round % 2}`, acks - before);
      return (await peer?.ask("noted", undefined)) ?? [];
    },
    async round({ edit, round }: { edit: number; round: number }): Promise<Timing> {
      const done = Promise.withResolvers<void>();
      const before = acks;
      let wanted = Infinity;
      acked = () => {
        if (acks - before === wanted) done.resolve();
      };
      const { name, start } = change(edit, round);
      wanted = expected.get(`${name} ${round % 2}`) ?? 0;
      const late = setTimeout(() => {
        done.reject(new Error(`${name}: ${acks - before} of ${wanted} ACKs within ${LATE / 1000} s`));
      }, LATE);
      await done.promise;
      clearTimeout(late);
      const settled = publish === 0 ? 0 : published - publish - start;
      const timing = { all: last - start, settled, publish };
      // The next change must not be taken for part of this one.
      await pause(5);
      return timing;
    },
  };
}
export type Heddle = Awaited<ReturnType<typeof heddle>>;

async function floor({ services, watched }: Size) {
  const mesh = benchMesh(services, watched);
  const signal = new AbortController().signal;
  const authority = await Authority.start({ trustDomain: "cluster.local" }, { store: memoryStore() }, signal);
  const { chainPem, privateKey } = await authority.issueServer(SERVER_NAMES);
  const server = await startFloor({
    certificate: chainPem,
    privateKey: privateKey.revealPem(),
    clientRoots: authority.bundle.pem,
  });
  let issued: Connect["proxies"] = [];
  const plans = new Map<string, readonly Sent[]>();
  return {
    memory,
    async prepare(): Promise<void> {
      issued = await certificates(authority, mesh);
    },
    async connect(): Promise<void> {
      await connect(authority, issued, server.port, false);
      while (server.streams() < mesh.proxies.length) await pause(20);
      await pause(QUIET);
    },
    /** Gives every proxy one response of so many bytes. */
    fill(bytes: number): Promise<number> {
      const filler = resource("CDS", "filler", new Uint8Array(bytes));
      const whole: Response = { type: "CDS", nonce: "1", version: "", resources: [filler], removed: [], shared: {} };
      const response = new Envelope().encode("delta", whole);
      return server.push(mesh.proxies.map(({ id }) => ({ proxy: id, bytes: response })));
    },
    /** What is pushed in rounds of this parity. */
    plan({ edit, round, sent }: { edit: number; round: number; sent: readonly Sent[] }): void {
      plans.set(`${edit} ${round % 2}`, sent);
    },
    round: ({ edit, round }: { edit: number; round: number }): Promise<number> =>
      server.push(plans.get(`${edit} ${round % 2}`) ?? []),
  };
}
export type FloorSubject = Awaited<ReturnType<typeof floor>>;

/** Runs something after each call of a method. */
function watch<K extends string>(
  of: { [key in K]: (...given: never[]) => unknown },
  method: K,
  then: (...given: unknown[]) => void,
): void {
  const before = of[method].bind(of) as (...given: unknown[]) => unknown;
  of[method] = (...given: unknown[]) => {
    const value = before(...given);
    then(...given);
    return value;
  };
}

const [, , role, services, watched] = process.argv;
if (role !== undefined) {
  const size = { services: Number(services), watched: Number(watched) };
  answer(role === "floor" ? await floor(size) : await heddle(size));
}
