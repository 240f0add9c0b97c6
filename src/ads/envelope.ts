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

/** What goes before `size` more bytes to make them, behind `head`, field 2 of whatever holds it. */
const within = (head: Uint8Array, size: number): Uint8Array =>
  new BinaryWriter()
    .uint32(tag(2))
    .uint32(head.length + size)
    .raw(head)
    .finish();

/** What goes before a resource's bytes to make it a google.protobuf.Any {type_url = 1, value = 2}: both protocols have it in a field 2. */
function anyHead({ type, bytes }: Resource): Uint8Array {
  const head = new BinaryWriter().uint32(tag(1)).string(TYPE_URLS[type]).uint32(tag(2)).uint32(bytes.length).finish();
  return within(head, bytes.length);
}

/** The same for DeltaDiscoveryResponse.resources = 2: Resource {version = 1, resource = 2, name = 3}, the name before the resource. */
function deltaHead(resource: Resource): Uint8Array {
  const { version, name, bytes } = resource;
  const head = new BinaryWriter().uint32(tag(1)).string(version).uint32(tag(3)).string(name);
  return within(head.raw(anyHead(resource)).finish(), bytes.length);
}

/** Encodes for all streams of a server. Of a resource it keeps the few bytes that go before it, of a response nothing once `shared` is gone. */
export class Envelope {
  readonly #heads = { delta: new WeakMap<Resource, Uint8Array>(), sotw: new WeakMap<Resource, Uint8Array>() };
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
    for (const resource of response.resources) parts.push(this.#head(protocol, resource), resource.bytes);
    parts.push(typeUrls[response.type]);
    if (protocol === "delta") for (const name of response.removed) parts.push(text(6, name));
    parts.push(text(5, response.nonce));
    const bytes = Buffer.concat(parts);
    this.#spliced++;
    if (shared) this.#responses[protocol].set(shared, bytes);
    return bytes;
  }

  #head(protocol: Protocol, resource: Resource): Uint8Array {
    let head = this.#heads[protocol].get(resource);
    if (!head) {
      head = protocol === "delta" ? deltaHead(resource) : anyHead(resource);
      this.#heads[protocol].set(resource, head);
      this.#wrapped++;
    }
    return head;
  }
}
