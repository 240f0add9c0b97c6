/**
 * One line of JSON per request or connection on the sidecar's standard output: OSM's fields, and who called.
 */
import type { AccessLog } from "../../gen/envoy/config/accesslog/v3/accesslog.ts";
import { StdoutAccessLog } from "../../gen/envoy/extensions/access_loggers/stream/v3/stream.ts";
import { any } from "./message.ts";

const FIELDS = {
  authority: "%REQ(:AUTHORITY)%",
  bytes_received: "%BYTES_RECEIVED%",
  bytes_sent: "%BYTES_SENT%",
  duration: "%DURATION%",
  method: "%REQ(:METHOD)%",
  path: "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
  peer: "%DOWNSTREAM_PEER_URI_SAN%",
  protocol: "%PROTOCOL%",
  request_id: "%REQ(X-REQUEST-ID)%",
  requested_server_name: "%REQUESTED_SERVER_NAME%",
  response_code: "%RESPONSE_CODE%",
  response_code_details: "%RESPONSE_CODE_DETAILS%",
  response_flags: "%RESPONSE_FLAGS%",
  start_time: "%START_TIME%",
  time_to_first_byte: "%RESPONSE_DURATION%",
  upstream_cluster: "%UPSTREAM_CLUSTER_RAW%",
  upstream_host: "%UPSTREAM_HOST%",
  upstream_service_time: "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
  user_agent: "%REQ(USER-AGENT)%",
  x_forwarded_for: "%REQ(X-FORWARDED-FOR)%",
};

const make = (reporter: "source" | "destination"): AccessLog[] => [
  {
    name: "envoy.access_loggers.stdout",
    configType: {
      $case: "typedConfig",
      value: any(StdoutAccessLog, {
        accessLogFormat: {
          $case: "logFormat",
          value: { format: { $case: "jsonFormat", value: { reporter, ...FIELDS } } },
        },
      }),
    },
  },
];

/** Calls that this pod makes. */
export const SOURCE_LOG = make("source");
/** Calls that this pod gets. */
export const DESTINATION_LOG = make("destination");
