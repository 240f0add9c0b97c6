/**
 * What `heddle proxy status` shows of a stream, as plain data. Knows no time but the numbers that it is given.
 */
import type { Resource, Type } from "../xds/resource.ts";
import { setVersion } from "./changes.ts";
import type { KnownMap, Protocol, Subscription } from "./subscription.ts";

export interface TypeStatus {
  /** Hash of all that the proxy holds once it accepts what was sent last. */
  readonly sent: string;
  /** Hash of all that it has confirmed. */
  readonly acked: string;
  /** Hash of all that it would hold had it not rejected; absent when it rejects nothing. */
  readonly nacked?: string;
  /** Envoy's message of the last rejection that still holds. */
  readonly message?: string;
  /** Names that it rejects. */
  readonly rejected?: readonly string[];
  /** Resources that it has confirmed. */
  readonly resources: number;
  /** Milliseconds for which it has not answered the last response. */
  readonly pendingMs?: number;
}

export interface ProxyStatus {
  readonly id: string;
  readonly identity: string;
  readonly group: string | undefined;
  readonly protocol: Protocol;
  /** ISO 8601. */
  readonly connectedSince: string;
  readonly address: string;
  readonly types: { readonly [T in Type]?: TypeStatus };
}

/** `pendingMs`: how long its response has been pending, if one is. */
export function typeStatus(sub: Subscription, pendingMs: number | undefined): TypeStatus {
  const { known, pending, nack } = sub;
  return {
    sent: setVersion(pending ? (pending.after ?? applied(known, pending.sent, pending.removed)) : known),
    acked: setVersion(known),
    ...(nack && {
      nacked: setVersion(applied(known, nack.sent, nack.removed)),
      message: nack.message,
      rejected: [...nack.sent.keys(), ...nack.removed].sort(),
    }),
    resources: known.size,
    ...(pendingMs !== undefined && { pendingMs }),
  };
}

function applied(known: KnownMap, sent: ReadonlyMap<string, Resource>, removed: ReadonlySet<string>): KnownMap {
  const next = new Map([...known, ...sent]);
  for (const name of removed) next.delete(name);
  return next;
}
