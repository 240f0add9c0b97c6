/** What the tests of `ads/` are made of: resources whose bytes say their name and references, a clock that is moved by hand. */
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
