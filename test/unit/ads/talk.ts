/** One subscription driven by hand, and resources for it. */
import { offer } from "../../../src/ads/offer.ts";
import {
  receive,
  subscription,
  type Protocol,
  type Request,
  type Response,
  type Subscription,
} from "../../../src/ads/subscription.ts";
import type { Resource, ResourceMap, Type } from "../../../src/xds/resource.ts";
import { fake, mapOf, request } from "./fixtures.ts";

/** One stream and type, driven by hand. */
export class Talk {
  sub: Subscription;
  target: ResourceMap = new Map();
  held = new Set<string>();
  limit = Infinity;

  constructor(type: Type, protocol: Protocol) {
    this.sub = subscription(type, protocol);
  }

  set(...resources: readonly Resource[]): Response | undefined {
    this.target = mapOf(...resources);
    return this.next();
  }

  ask(fields: Partial<Request>): Response | undefined {
    this.sub = receive(this.sub, request(fields));
    return this.next();
  }

  ack(more: Partial<Request> = {}): Response | undefined {
    return this.ask({ nonce: this.sub.nonce, ...this.#again(), ...more });
  }

  nack(error = "no", more: Partial<Request> = {}): Response | undefined {
    return this.ack({ error, ...more });
  }

  next(): Response | undefined {
    const [sub, response] = offer(this.sub, this.target, (name) => this.held.has(name), this.limit);
    this.sub = sub;
    return response;
  }

  /** SotW repeats its names in every request. */
  #again(): Partial<Request> {
    if (this.sub.protocol === "delta") return {};
    return { subscribe: [...(this.sub.wildcard && this.sub.explicit ? ["*"] : []), ...this.sub.names] };
  }
}

export const names = (response: Response | undefined) =>
  response?.resources.map(({ name, version }) => `${name}@${version}`);
export const at = (...all: readonly Resource[]) => all.map(({ name, version }) => `${name}@${version}`);
export const [a1, a2, b1, b2] = [
  fake("CDS", "a", 1),
  fake("CDS", "a", 2),
  fake("CDS", "b", 1),
  fake("CDS", "b", 2),
] as const;
export const [ea1, ea2, eb1, eb2] = [
  fake("EDS", "a", 1),
  fake("EDS", "a", 2),
  fake("EDS", "b", 1),
  fake("EDS", "b", 2),
] as const;
