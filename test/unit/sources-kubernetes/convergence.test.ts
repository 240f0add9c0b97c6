/** Property: whatever happens to server and network, in whatever order, what was told is what is there, and nothing is told in vain. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { CollectionSpec } from "../../support/fake-api-objects.ts";
import { FakeApiServer, WATCH_FAULTS, type Fault, type WatchFault } from "../../support/fake-api-server.ts";
import { FakeClock } from "../../support/clock.ts";
import { inStep, Mirror, namespaceObject, plain, pod, routes, sourceOf, split, truth } from "./support.ts";

type Step =
  | {
      readonly do: "put" | "delete";
      readonly what: "pod" | "routes" | "split" | "namespace";
      readonly name: string;
      readonly value: number;
    }
  | { readonly do: "disturb"; readonly fault: WatchFault; readonly plural: string | undefined }
  | { readonly do: "fault"; readonly fault: Fault; readonly times: number }
  | { readonly do: "compact" }
  | { readonly do: "bookmark" }
  | { readonly do: "cut" }
  | { readonly do: "uninstall" }
  | { readonly do: "restore" }
  | { readonly do: "pass"; readonly ms: number };

const FAULTS: readonly Fault[] = [
  { status: 500 },
  { status: 503 },
  { status: 429, retryAfter: 1 },
  { status: 410 },
  { status: 401 },
  "reset",
  "hang",
  "html",
  "cut",
  "early",
];

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom("put" as const, "delete" as const),
      what: fc.constantFrom("pod" as const, "routes" as const, "split" as const, "namespace" as const),
      name: fc.constantFrom("a", "b", "c"),
      value: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("disturb" as const),
      fault: fc.constantFrom(...WATCH_FAULTS),
      plural: fc.constantFrom(undefined, "pods", "trafficsplits"),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("fault" as const),
      fault: fc.constantFrom(...FAULTS),
      times: fc.integer({ min: 1, max: 15 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom<Step[]>(
      { do: "compact" },
      { do: "bookmark" },
      { do: "cut" },
      { do: "uninstall" },
      { do: "restore" },
    ),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(1, 100, 3_000, 80_000) }) },
);

const PLURAL = { pod: "pods", routes: "httproutegroups", split: "trafficsplits", namespace: "namespaces" } as const;

async function take(one: Step, server: FakeApiServer, clock: FakeClock, spec: CollectionSpec): Promise<void> {
  const installed = server.collections.has("split.smi-spec.io/trafficsplits");
  if (one.do === "pass") return clock.pass(one.ms);
  if (one.do === "compact") return server.compact();
  if (one.do === "bookmark") return server.bookmark();
  if (one.do === "cut") return server.cutAll();
  if (one.do === "uninstall") return installed ? server.uninstall("trafficsplits") : undefined;
  if (one.do === "restore") return installed ? undefined : server.install(spec);
  if (one.do === "disturb") return server.disturb(one.fault, one.plural);
  if (one.do === "fault") {
    let left = one.times;
    server.fault = () => (left-- > 0 ? one.fault : undefined);
    return undefined;
  }
  if (one.what === "split" && !installed) return undefined;
  const collection = server.of(PLURAL[one.what]);
  const key = one.what === "namespace" ? `/${one.name}` : `ns/${one.name}`;
  if (one.do === "delete") {
    if (collection.objects.has(key)) collection.delete(key);
  } else if (one.what === "pod")
    collection.put(pod("ns", one.name, { ip: `10.0.0.${one.value}`, ready: one.value % 2 === 0 }));
  // One in four is a mistake, so that problems come and go too.
  else if (one.what === "routes")
    collection.put(routes("ns", one.name, one.value === 4 ? (5 as unknown as string) : `/${one.value}`));
  else if (one.what === "split") collection.put(split("ns", one.name, one.value));
  else collection.put(namespaceObject(one.name));
  return undefined;
}

test.each([true, false])(
  "after any faults and changes the sink holds what the server holds (WatchList: %s)",
  async (watchList) => {
    let problems = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), fc.integer(), async (steps, seed) => {
        const server = await FakeApiServer.start({ watchList, aggregated: seed % 2 === 0 });
        const { spec } = server.of("trafficsplits");
        const clock = new FakeClock();
        const mirror = new Mirror();
        const stop = new AbortController();
        let random = Math.abs(seed) % 997;
        const jitter = () => (random = (random * 31 + 7) % 997) / 997;
        const { source, client } = sourceOf(server, clock, {
          page: 2,
          random: jitter,
          limits: { silence: 75_000, event: 100_000 },
        });
        try {
          let started = false;
          void source.start(mirror, stop.signal).then(() => {
            started = true;
          });
          for (const one of steps) await take(one, server, clock, spec);
          await clock.until(() => started && inStep(mirror, server));
          expect(mirror.syncs).toBe(1);
          // And it stays so, however long nothing happens; only what was on its way may still come.
          await clock.pass(100_000);
          const told = mirror.changes.length;
          await clock.pass(100_000);
          expect(plain(mirror.world)).toEqual(plain(truth(server)));
          expect(mirror.changes.length).toBe(told);
          const wrong = server.of("httproutegroups");
          const bad = [...wrong.objects]
            .filter(([, o]) => JSON.stringify(o).includes('"pathRegex":5'))
            .map(([key]) => key);
          expect([...new Set(mirror.list.map((p) => `${p.object.namespace}/${p.object.name}`))]).toEqual(bad.sort());
          problems += bad.length;
        } finally {
          stop.abort();
          client.close();
          await server.stop();
        }
      }),
      {
        numRuns: Number(process.env["FC_RUNS"] ?? 25),
        examples: [[[{ do: "put", what: "routes", name: "a", value: 4 }], 0]],
      },
    );
    expect(problems).toBeGreaterThan(0);
  },
  120_000,
);
