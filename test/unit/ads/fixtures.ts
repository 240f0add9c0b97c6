/** What the tests of `ads/` are made of: resources whose bytes say their name and references, a clock that is moved by hand. */
import type { Clock } from "../../../src/lib/settle.ts";
import { resource, type Reference, type Resource, type Resources, type Type } from "../../../src/xds/resource.ts";
import type { Request } from "../../../src/ads/subscription.ts";

/** `refs` as `TYPE/name`. `content` makes another version. */
export function fake(type: Type, name: string, content: number | string = 1, refs: readonly string[] = []): Resource {
  const references = refs.map(reference);
  return resource(type, name, Buffer.from(JSON.stringify({ name, content, refs })), references);
}

const reference = (text: string): Reference => ({
  type: text.slice(0, 3) as Type,
  name: text.slice(4),
});

/** The other way round. */
export function read(_type: Type, bytes: Uint8Array): { name: string; refs: readonly Reference[] } {
  const { name, refs } = JSON.parse(Buffer.from(bytes).toString()) as { name: string; refs: string[] };
  return { name, refs: refs.map(reference) };
}

export const mapOf = (...resources: readonly Resource[]): ReadonlyMap<string, Resource> =>
  new Map(resources.map((r) => [r.name, r]));

export function resources(...all: readonly Resource[]): Resources {
  const of = (type: Type) => mapOf(...all.filter((r) => r.type === type));
  return { CDS: of("CDS"), EDS: of("EDS"), SDS: of("SDS"), LDS: of("LDS"), RDS: of("RDS") };
}

export const request = (fields: Partial<Request> = {}): Request => ({
  subscribe: [],
  unsubscribe: [],
  initial: new Map(),
  version: "",
  nonce: "",
  error: undefined,
  ...fields,
});

/** Time that passes only when told to. */
export class HandClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ at: number; run: () => void }>();

  now(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + ms, run };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** Runs what falls due, in order. */
  pass(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const next = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers.delete(next);
      this.#now = next.at;
      next.run();
    }
    this.#now = end;
  }

  get timers(): number {
    return this.#timers.size;
  }
}
