/** What must hold after, and during, any sequence of changes, answers, rejections, delays and reconnects. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { decodeRequest } from "../../../src/ads/codec.ts";
import { Envelope } from "../../../src/ads/envelope.ts";
import { Stream } from "../../../src/ads/stream.ts";
import type { Protocol } from "../../../src/ads/subscription.ts";
import { silent } from "../../../src/telemetry/log.ts";
import { createMetrics } from "../../../src/telemetry/metrics.ts";
import { TYPES, type Resource, type Resources } from "../../../src/xds/resource.ts";
import { ProxyModel } from "../../support/ads-client.ts";
import { fake, read, resources } from "./fixtures.ts";
import { FakeClock } from "../../support/clock.ts";

/** A server's stream and a proxy with a wire between them on which everything may linger. */
class Wire {
  readonly model: ProxyModel;
  readonly clock = new FakeClock();
  #stream: Stream | undefined;
  #up: Buffer[] = [];
  #down: Buffer[] = [];
  readonly #envelope = new Envelope();
  readonly #metrics = createMetrics();
  readonly #protocol: Protocol;
  #target: Resources;
  #rejects = new Set<string>();

  constructor(protocol: Protocol, target: Resources) {
    this.#protocol = protocol;
    this.#target = target;
    this.model = new ProxyModel({
      protocol,
      read,
      follow: true,
      reject: (type, _names, held) => {
        // Nobody rejects what he has accepted.
        const has = (name: string, bytes: Uint8Array) =>
          Buffer.compare(this.model.held[type].get(name)?.bytes ?? bytes.subarray(1), bytes) === 0;
        const bad = [...held].find(([name, { bytes }]) => this.#rejects.has(key(type, bytes)) && !has(name, bytes));
        return bad && `${bad[0]} is bad`;
      },
      send: (request) => this.#up.push(request),
    });
    this.connect();
  }

  connect(): void {
    this.#stream?.close();
    this.#up = [];
    this.#down = [];
    this.#stream = new Stream({
      protocol: this.#protocol,
      proxy: "p",
      envelope: this.#envelope,
      metrics: this.#metrics,
      log: silent,
      clock: this.clock,
      write: (bytes) => {
        this.#down.push(bytes);
        return true;
      },
    });
    this.#stream.secrets([]);
    this.#stream.resources(this.#target);
    this.model.connect();
  }

  change(target: Resources): void {
    this.#target = target;
    this.#stream!.resources(target);
  }

  /** From now on this very content is rejected. */
  spoil(bad: Resource): void {
    this.#rejects.add(key(bad.type, bad.bytes));
  }

  /** One request arrives at the server. */
  rise(): boolean {
    const bytes = this.#up.shift();
    if (bytes) expect(this.#stream!.receive(decodeRequest(this.#protocol, bytes))).toBeUndefined();
    return bytes !== undefined;
  }

  /** One response arrives at the proxy. */
  fall(): boolean {
    const bytes = this.#down.shift();
    if (bytes) this.model.receive(bytes);
    return bytes !== undefined;
  }

  /** Until nobody has anything to say. */
  settle(check = () => {}): void {
    for (let i = 0; this.rise() || this.fall(); i++) {
      check();
      if (i > 20_000) throw new Error("they never stop talking");
    }
  }

  get status() {
    return this.#stream!.status();
  }
  get settled() {
    return this.#stream!.settled;
  }
}

const key = (type: string, bytes: Uint8Array): string => `${type} ${Buffer.from(bytes).toString()}`;

/** A small mesh: which clusters there are and of which content, and which clusters each route uses. */
interface Mesh {
  readonly clusters: readonly { readonly name: number; readonly content: number; readonly endpoints: number }[];
  readonly routes: readonly { readonly name: number; readonly uses: readonly number[]; readonly content: number }[];
  readonly tcp: readonly number[];
}

const mesh: fc.Arbitrary<Mesh> = fc.record({
  clusters: fc.uniqueArray(fc.record({ name: fc.nat(4), content: fc.nat(1), endpoints: fc.nat(2) }), {
    selector: (c) => c.name,
    maxLength: 5,
  }),
  routes: fc.uniqueArray(
    fc.record({ name: fc.nat(2), uses: fc.uniqueArray(fc.nat(4), { maxLength: 3 }), content: fc.nat(1) }),
    { selector: (r) => r.name, maxLength: 3 },
  ),
  tcp: fc.uniqueArray(fc.nat(4), { maxLength: 2 }),
});

/** References are always whole, as the publisher checks. */
function build({ clusters, routes, tcp }: Mesh): Resources {
  const there = new Set(clusters.map(({ name }) => name));
  return resources(
    fake("SDS", "root"),
    ...clusters.map(({ name, content }) => fake("CDS", `c${name}`, content, [`EDS/e${name}`, "SDS/root"])),
    ...clusters.map(({ name, endpoints }) => fake("EDS", `e${name}`, endpoints)),
    fake("LDS", "out", 1, [
      ...routes.map(({ name }) => `RDS/r${name}`),
      ...tcp.filter((c) => there.has(c)).map((c) => `CDS/c${c}`),
    ]),
    ...routes.map(({ name, uses, content }) =>
      fake(
        "RDS",
        `r${name}`,
        content,
        uses.filter((c) => there.has(c)).map((c) => `CDS/c${c}`),
      ),
    ),
  );
}

type Step =
  | { readonly kind: "change"; readonly mesh: Mesh }
  | { readonly kind: "rise" | "fall" | "settle" | "reconnect" }
  | { readonly kind: "endpoints"; readonly content: number }
  | { readonly kind: "spoil"; readonly pick: number };

const lively: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: mesh.map((m) => ({ kind: "change", mesh: m }) as const) },
  { weight: 1, arbitrary: fc.nat(9).map((content) => ({ kind: "endpoints", content }) as const) },
  { weight: 6, arbitrary: fc.constant({ kind: "rise" } as const) },
  { weight: 6, arbitrary: fc.constant({ kind: "fall" } as const) },
  { weight: 1, arbitrary: fc.constant({ kind: "settle" } as const) },
);
const rough: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: lively },
  { weight: 1, arbitrary: fc.constant({ kind: "reconnect" } as const) },
  { weight: 1, arbitrary: fc.nat(20).map((pick) => ({ kind: "spoil", pick }) as const) },
);

/** The latest target, once all steps are done. */
function run(wire: Wire, start: Resources, steps: readonly Step[], check = () => {}): Resources {
  let target = start;
  for (const step of steps) {
    switch (step.kind) {
      case "change":
        wire.change((target = build(step.mesh)));
        break;
      case "endpoints": {
        const EDS = new Map(
          [...target.EDS.keys()].map((name) => [name, fake("EDS", name, `n${step.content}`)] as const),
        );
        wire.change((target = { ...target, EDS }));
        break;
      }
      case "spoil": {
        const all = TYPES.flatMap((type) => [...target[type].values()]);
        const bad = all[step.pick % Math.max(1, all.length)];
        if (bad) wire.spoil(bad);
        break;
      }
      case "settle":
        wire.settle(check);
        break;
      case "reconnect":
        wire.connect();
        break;
      default:
        wire[step.kind]();
    }
    check();
  }
  return target;
}

/** What a proxy holds, by type and name. */
const contents = (wire: Wire) =>
  TYPES.flatMap((type) =>
    [...wire.model.held[type]].map(([name, { bytes }]) => `${type} ${name} ${Buffer.from(bytes).toString()}`),
  ).toSorted();

for (const protocol of ["delta", "sotw"] as const) {
  test(`${protocol}: no route ever leads to a cluster that does not serve, and all arrives without waiting`, () => {
    fc.assert(
      fc.property(mesh, fc.array(lively, { maxLength: 60 }), (first, steps) => {
        const start = build(first);
        const wire = new Wire(protocol, start);
        const check = () => expect(wire.model.broken()).toEqual([]);
        const target = run(wire, start, steps, check);
        wire.settle(check);
        expect(wire.settled).toBe(true);
        expect(wire.model.warming()).toEqual([]);
        expect(wire.clock.now()).toBe(0);
        expect(wire.model.held.CDS.size).toBe(target.CDS.size);
        expectLatest(wire, target);
      }),
      { numRuns: 300 },
    );
  });
}

/** The proxy holds the latest of all it asks for, which is what is referred to. */
function expectLatest(wire: Wire, target: Resources): void {
  const referred = new Set(
    TYPES.flatMap((type) => [...target[type].values()]).flatMap((r) => r.refs.map((ref) => `${ref.type} ${ref.name}`)),
  );
  for (const type of TYPES) {
    const wanted = [...target[type].values()].filter(
      (r) => type === "CDS" || type === "LDS" || referred.has(`${type} ${r.name}`),
    );
    const held = [...wire.model.held[type].values()].map(({ bytes }) => Buffer.from(bytes).toString());
    expect(held.sort()).toEqual(wanted.map(({ bytes }) => Buffer.from(bytes).toString()).sort());
  }
}

test("a delta proxy and a SotW proxy hold the same once they have answered, whatever happened to them", () => {
  fc.assert(
    fc.property(mesh, fc.array(rough, { maxLength: 60 }), mesh, (first, steps, last) => {
      const start = build(first);
      const wires = [new Wire("delta", start), new Wire("sotw", start)] as const;
      for (const wire of wires) {
        run(wire, start, steps);
        wire.settle();
        // Every content is another one: whatever was rejected is over.
        const marked = TYPES.map((type) => [
          type,
          new Map(
            [...build(last)[type].values()].map((r) => [
              r.name,
              fake(
                type,
                r.name,
                "last",
                r.refs.map((ref) => `${ref.type}/${ref.name}`),
              ),
            ]),
          ),
        ]);
        const target = Object.fromEntries(marked) as unknown as Resources;
        wire.change(target);
        wire.settle();
        wire.clock.advance(10_000);
        wire.settle();
        expectLatest(wire, target);
        for (const status of Object.values(wire.status)) expect(status.nacked).toBeUndefined();
      }
      expect(contents(wires[0])).toEqual(contents(wires[1]));
    }),
    { numRuns: 300 },
  );
});

test("what is rejected is not sent again until it changes; the proxy keeps what it had, and all else arrives", () => {
  fc.assert(
    fc.property(
      fc.constantFrom<Protocol>("delta", "sotw"),
      mesh,
      fc.nat(20),
      fc.array(fc.nat(9), { maxLength: 5 }),
      (protocol, first, pick, changes) => {
        const start = build(first);
        const wire = new Wire(protocol, start);
        const clusters = [...start.CDS.values()];
        fc.pre(clusters.length > 0);
        wire.settle();
        const victim = clusters[pick % clusters.length]!;
        const bad = fake(
          "CDS",
          victim.name,
          "bad",
          victim.refs.map((ref) => `${ref.type}/${ref.name}`),
        );
        wire.spoil(bad);
        const CDS = new Map([...start.CDS, [bad.name, bad]]);
        wire.change({ ...start, CDS });
        wire.settle();
        const seen = wire.model.received.filter(({ type }) => type === "CDS").length;
        expect(wire.status.CDS!.message).toBe(`${bad.name} is bad`);
        expect(wire.status.CDS!.rejected).toEqual([bad.name]);
        for (const content of changes) {
          const EDS = new Map([...start.EDS.keys()].map((name) => [name, fake("EDS", name, content)] as const));
          wire.change({ ...start, CDS, EDS });
          wire.settle();
          wire.clock.advance(6_000);
          for (const [name, { bytes }] of wire.model.held.EDS) expect(Buffer.from(bytes)).toEqual(EDS.get(name)!.bytes);
        }
        expect(wire.model.received.filter(({ type }) => type === "CDS").length).toBe(seen);
        expect(wire.model.held.CDS.get(bad.name)!.bytes).toEqual(Buffer.from(victim.bytes));
        wire.change(start);
        wire.settle();
        expect(wire.status.CDS!.message).toBeUndefined();
        expect(wire.model.received.filter(({ type }) => type === "CDS").length).toBe(seen + 1);
      },
    ),
    { numRuns: 100 },
  );
});

test("after a reconnect of a proxy that holds the latest, nothing is sent", () => {
  fc.assert(
    fc.property(fc.constantFrom<Protocol>("delta", "sotw"), mesh, (protocol, first) => {
      fc.pre(first.clusters.length > 0);
      const wire = new Wire(protocol, build(first));
      wire.settle();
      const before = wire.model.received.length;
      wire.connect();
      wire.settle();
      expect(wire.model.received.slice(before)).toEqual([]);
    }),
    { numRuns: 100 },
  );
});
