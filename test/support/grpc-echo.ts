/** A gRPC service for tests, whose messages are bytes. */
import type { ServiceDefinition } from "@grpc/grpc-js";

const pass = (bytes: Buffer): Buffer => bytes;
const method = (name: string, stream: { request?: boolean; response?: boolean }) => ({
  path: `/test.Echo/${name}`,
  requestStream: stream.request ?? false,
  responseStream: stream.response ?? false,
  requestSerialize: pass,
  requestDeserialize: pass,
  responseSerialize: pass,
  responseDeserialize: pass,
});

export const ECHO = {
  Say: method("Say", {}),
  /** Like `Say`; for rules that do not name it. */
  Secret: method("Secret", {}),
  Count: method("Count", { response: true }),
  Talk: method("Talk", { request: true, response: true }),
} satisfies ServiceDefinition;
