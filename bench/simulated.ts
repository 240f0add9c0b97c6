/**
 * Changes in a mesh of a thousand Services with a thousand proxies on mTLS delta streams: from the write to the last ACK, beside the
 * floor, which pushes the same bytes to the same streams in the same run.
 */
import { join } from "node:path";
import { Peer } from "./rpc.ts";
import type { FloorSubject, Heddle } from "./subject.ts";
import { p50, p99, print, rounded, type Row } from "./table.ts";

const SERVICES = 1_000;
const WATCHED = 250;
const WARM = 20;

export async function simulated(rounds: number): Promise<void> {
  const subject = join(import.meta.dirname, "subject.ts");
  const size = [`${SERVICES}`, `${WATCHED}`];
  const flags = (process.env["HEDDLE_BENCH_FLAGS"] ?? "").split(" ").filter(Boolean);
  const heddle = new Peer<Heddle>(subject, ["heddle", ...size], flags);
  const floor = new Peer<FloorSubject>(subject, ["floor", ...size]);
  const rows: Row[] = [];
  try {
    await heddle.ask("prepare", undefined);
    const { ms: connected } = await heddle.ask("connect", undefined);
    await floor.ask("prepare", undefined);
    await floor.ask("connect", undefined);
    const names = await heddle.ask("edits", undefined);
    for (const [edit, name] of names.entries()) rows.push(await measure(heddle, floor, edit, name, rounds));
    print(`${SERVICES} Services, ${WATCHED * 4} proxies on mTLS delta streams: write to last ACK, ms`, rows, [
      "settled: without the time that a policy change waits on purpose; publish: of it, compiling and building",
      "floor: a bare grpc-js server that writes the same bytes to the same streams; goal: settled p99 within 2 times its p99",
      `all ${WATCHED * 4} proxies connected and configured in ${Math.round(connected)} ms`,
    ]);
  } finally {
    await heddle.end();
    await floor.end();
  }
}

async function measure(
  heddle: Peer<Heddle>,
  floor: Peer<FloorSubject>,
  edit: number,
  name: string,
  rounds: number,
): Promise<Row> {
  const streams = new Set<string>();
  const types = new Set<string>();
  let bytes = 0;
  // Round 1 changes, round 2 takes it back; what comes later repeats them.
  for (const round of [1, 2]) {
    const sent = await heddle.ask("note", { edit, round });
    await floor.ask("plan", { edit, round, sent });
    for (const { proxy, type } of sent) {
      streams.add(proxy);
      types.add(type);
    }
    bytes += sent.reduce((sum, response) => sum + response.bytes.length, 0) / 2;
  }
  const all: number[] = [];
  const settled: number[] = [];
  const publish: number[] = [];
  const bare: number[] = [];
  // What reaches everybody takes long enough to be measured fewer times.
  const count = streams.size > 100 ? Math.round(rounds / 3) : rounds;
  for (let round = 3; round < 3 + WARM + count; round++) {
    const timing = await heddle.ask("round", { edit, round });
    const least = await floor.ask("round", { edit, round });
    if (round < 3 + WARM) continue;
    all.push(timing.all);
    settled.push(timing.all - timing.settled);
    publish.push(timing.publish);
    bare.push(least);
  }
  return {
    change: name,
    rounds: count,
    streams: streams.size,
    types: [...types].join(" "),
    kB: rounded(bytes / 1000),
    p50: rounded(p50(all)),
    p99: rounded(p99(all)),
    "settled p50": rounded(p50(settled)),
    "settled p99": rounded(p99(settled)),
    "publish p50": rounded(p50(publish)),
    "floor p50": rounded(p50(bare)),
    "floor p99": rounded(p99(bare)),
    "p99 / floor": rounded(p99(settled) / p99(bare)),
  };
}
