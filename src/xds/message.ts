/**
 * Small pieces of Envoy's vocabulary that many messages need.
 */
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
