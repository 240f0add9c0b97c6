/**
 * Small pieces of Envoy's vocabulary that many messages need.
 */
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { MessageType } from "../../gen/typeRegistry.ts";
import type { Address } from "../../gen/envoy/config/core/v3/address.ts";
import { ApiVersion, type ConfigSource } from "../../gen/envoy/config/core/v3/config_source.ts";
import type { StringMatcher } from "../../gen/envoy/type/matcher/v3/string.ts";
import type { Any } from "../../gen/google/protobuf/any.ts";

/** A message as google.protobuf.Any. */
export const any = <T>(type: Pick<MessageType<T>, "$type" | "encode">, message: T): Any => ({
  typeUrl: `type.googleapis.com/${type.$type}`,
  value: type.encode(message).finish(),
});

/** A message as one element of a repeated field: parts of a message in protobuf's encoding, put one behind the other, are the message. */
export const element = <T>(field: number, type: Pick<MessageType<T>, "encode">, message: T): Uint8Array =>
  new BinaryWriter()
    .uint32((field << 3) | 2)
    .bytes(type.encode(message).finish())
    .finish();

/** Parts of a message as one. */
export function spliced(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** "From the stream that this resource came with." */
export const ADS: ConfigSource = {
  configSourceSpecifier: { $case: "ads", value: {} },
  resourceApiVersion: ApiVersion.V3,
};

export const exact = (value: string): StringMatcher => ({ matchPattern: { $case: "exact", value } });
/** RE2, against the whole value. */
export const regex = (value: string): StringMatcher => ({
  matchPattern: { $case: "safeRegex", value: { regex: value } },
});

export const tcpAddress = (address: string, port: number): Address => ({
  address: { $case: "socketAddress", value: { address, portSpecifier: { $case: "portValue", value: port } } },
});

export const seconds = (n: number): { seconds: number; nanos: number } => ({
  seconds: Math.floor(n),
  nanos: Math.round((n % 1) * 1e9),
});
