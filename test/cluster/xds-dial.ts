/**
 * Opens xDS streams from where it runs (inside the node) and says what becomes of each: JSON in, JSON out. A program of its own.
 */
import { text } from "node:stream/consumers";
import { AdsClient } from "../support/ads-client.ts";

export interface Dial {
  /** `host:port` */
  readonly address: string;
  readonly roots: string;
  readonly serverName: string;
  /** Of the header `authorization`. */
  readonly authorization?: string;
  readonly certificate?: string;
  readonly privateKey?: string;
  /** What the proxy calls itself. */
  readonly node?: string;
}

/** `code`: gRPC's; absent when it was served. */
export interface Outcome {
  readonly served: boolean;
  readonly code?: number;
  readonly details?: string;
}

async function dial({ address, authorization, node, ...tls }: Dial): Promise<Outcome> {
  const client = new AdsClient({
    address,
    tls,
    protocol: "delta",
    ...(node === undefined ? {} : { node }),
    ...(authorization === undefined ? {} : { metadata: { authorization } }),
  }).connect();
  client.model.subscribe("CDS");
  const served = client.until((model) => model.received.length > 0).then((): Outcome => ({ served: true }));
  const ended = client.ended.then((end): Outcome => ({ served: false, ...end }));
  return Promise.race([served, ended]);
}

if (import.meta.main) {
  const dials = JSON.parse(await text(process.stdin)) as readonly Dial[];
  console.log(JSON.stringify(await Promise.all(dials.map(dial))));
  process.exit(0);
}
