/**
 * Certificates per second, and what a reconnect storm of 1,000 streams does to the event loop. Run: node bench/ca.ts
 */
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { Authority, type AuthoritySettings } from "../src/ca/authority.ts";
import type { SecretStore, StoredRoot } from "../src/ca/store.ts";
import { identity } from "../src/world/names.ts";

const COUNT = 1_000;

function memoryStore(): SecretStore {
  let kept: StoredRoot | undefined;
  return {
    where: "memory",
    load: async () => kept,
    createIfAbsent: async (root) => (kept ??= root),
  };
}

// The histogram counts its own 1 ms of resolution; what is above that is delay.
const ms = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - 1).toFixed(1);

async function storm(label: string, settings: Partial<AuthoritySettings>, count: number): Promise<void> {
  const stop = new AbortController();
  const parts = { store: memoryStore() };
  const authority = await Authority.start({ trustDomain: "cluster.local", ...settings }, parts, stop.signal);
  await authority.issueWorkload(identity("warm", "up"));
  const streams = Array.from({ length: count }, () => new AbortController());
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const before = process.memoryUsage().rss;
  delay.enable();
  const start = performance.now();
  const leaves = await Promise.all(
    streams.map((stream, index) => authority.leaf(identity("bench", `sa-${index}`), stream.signal)),
  );
  const seconds = (performance.now() - start) / 1000;
  delay.disable();
  const rss = (process.memoryUsage().rss - before) / 1024 / leaves.length;
  console.log(
    `${label.padEnd(44)} ${(count / seconds).toFixed(0).padStart(6)} certs/s   event loop delay p50 ${ms(delay.percentile(50))}` +
      ` p99 ${ms(delay.percentile(99))} max ${ms(delay.max)} ms   ${rss.toFixed(1)} kB RSS each`,
  );
  for (const stream of streams) stream.abort();
  stop.abort();
}

const concurrencies = [1, 2, 4, 32] as const;
for (const concurrency of concurrencies)
  await storm(`${COUNT} leaves, ECDSA P-256, ${concurrency} at a time`, { concurrency }, COUNT);
await storm("10000 leaves, ECDSA P-256, default", {}, 10_000);
await storm("20 leaves, RSA 2048, default", { keys: "rsa-2048" }, 20);
