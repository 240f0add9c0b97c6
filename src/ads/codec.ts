/**
 * Discovery requests of both protocols as one plain form. Knows the messages and no stream. What a proxy says of itself decides
 * nothing: it is who its certificate or token says.
 */
import { DeltaDiscoveryRequest, DiscoveryRequest } from "../../gen/envoy/service/discovery/v3/discovery.ts";
import type { Status } from "../../gen/google/rpc/status.ts";
import type { Protocol, Request } from "./subscription.ts";

export interface Decoded {
  readonly typeUrl: string;
  /** What the proxy calls itself; "" in all requests but its first one. */
  readonly node: string;
  readonly request: Request;
}

const NOTHING: ReadonlyMap<string, string> = new Map();

/** Longest message of a rejection that is kept: characters. */
const LONGEST = 4_000;

const messageOf = ({ message = "" }: Status): string => message.trim().slice(0, LONGEST);

/** Throws when the bytes are no such message. */
export function decodeRequest(protocol: Protocol, bytes: Uint8Array): Decoded {
  if (protocol === "sotw") {
    const message = DiscoveryRequest.decode(bytes);
    const request: Request = {
      subscribe: message.resourceNames ?? [],
      unsubscribe: [],
      initial: NOTHING,
      version: message.versionInfo ?? "",
      nonce: message.responseNonce ?? "",
      error: message.errorDetail && messageOf(message.errorDetail),
    };
    return { typeUrl: message.typeUrl ?? "", node: message.node?.id ?? "", request };
  }
  const message = DeltaDiscoveryRequest.decode(bytes);
  const request: Request = {
    subscribe: message.resourceNamesSubscribe ?? [],
    unsubscribe: message.resourceNamesUnsubscribe ?? [],
    initial: new Map(Object.entries(message.initialResourceVersions ?? {})),
    version: "",
    nonce: message.responseNonce ?? "",
    error: message.errorDetail && messageOf(message.errorDetail),
  };
  return { typeUrl: message.typeUrl ?? "", node: message.node?.id ?? "", request };
}
