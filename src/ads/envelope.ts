/**
 * Bytes of responses, put together from parts that are made once: each resource is wrapped once a protocol and shared by all
 * streams, and so is a whole response that many streams get. Knows Envoy's discovery messages and no resource's content.
 */
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { TYPE_URLS, type Resource, type Type } from "../xds/resource.ts";
import type { Protocol, Response } from "./subscription.ts";

/** Protobuf tag of a length-delimited field. */
const tag = (field: number): number => (field << 3) | 2;

const text = (field: number, value: string): Uint8Array => new BinaryWriter().uint32(tag(field)).string(value).finish();

const typeUrls = Object.fromEntries(Object.entries(TYPE_URLS).map(([type, url]) => [type, text(4, url)])) as {
  [T in Type]: Uint8Array;
};

/** google.protobuf.Any {type_url = 1, value = 2}, as field 2 of whatever holds it: both protocols use that number. */
function any(resource: Resource): Uint8Array {
  const inner = new BinaryWriter()
    .uint32(tag(1))
    .string(TYPE_URLS[resource.type])
    .uint32(tag(2))
    .bytes(resource.bytes)
    .finish();
  return new BinaryWriter().uint32(tag(2)).bytes(inner).finish();
}

/** DeltaDiscoveryResponse.resources = 2: Resource {version = 1, resource = 2, name = 3}. */
function deltaResource(resource: Resource): Uint8Array {
  const inner = new BinaryWriter()
    .uint32(tag(1))
    .string(resource.version)
    .raw(any(resource))
    .uint32(tag(3))
    .string(resource.name)
    .finish();
  return new BinaryWriter().uint32(tag(2)).bytes(inner).finish();
}

/** Encodes for all streams of a server. Keeps nothing longer than the resources themselves live. */
export class Envelope {
  readonly #resources = { delta: new WeakMap<Resource, Uint8Array>(), sotw: new WeakMap<Resource, Uint8Array>() };
  readonly #responses = { delta: new WeakMap<object, Buffer>(), sotw: new WeakMap<object, Buffer>() };
  #wrapped = 0;
  #spliced = 0;

  /** Resources wrapped so far: at most one a resource and protocol. */
  get wrapped(): number {
    return this.#wrapped;
  }

  /** Responses put together so far: streams that get the same bytes share one. */
  get spliced(): number {
    return this.#spliced;
  }

  encode(protocol: Protocol, response: Response): Buffer {
    const { shared } = response;
    const ready = shared && this.#responses[protocol].get(shared);
    if (ready) return ready;
    const parts: Uint8Array[] = protocol === "sotw" ? [text(1, response.version)] : [];
    for (const resource of response.resources) parts.push(this.#wrap(protocol, resource));
    parts.push(typeUrls[response.type]);
    if (protocol === "delta") for (const name of response.removed) parts.push(text(6, name));
    parts.push(text(5, response.nonce));
    const bytes = Buffer.concat(parts);
    this.#spliced++;
    if (shared) this.#responses[protocol].set(shared, bytes);
    return bytes;
  }

  #wrap(protocol: Protocol, resource: Resource): Uint8Array {
    let bytes = this.#resources[protocol].get(resource);
    if (!bytes) {
      bytes = protocol === "delta" ? deltaResource(resource) : any(resource);
      this.#resources[protocol].set(resource, bytes);
      this.#wrapped++;
    }
    return bytes;
  }
}
