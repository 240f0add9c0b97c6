/**
 * Every metric that Heddle serves, in one table, with OSM's names where OSM had one. A registry per instance: nothing is global.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";

/** Makes a fresh registry with all metrics. Labels of proxies are bounded by type, never by pod: dead pods leave no series behind. */
export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name, help, labelNames, registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Gauge<L>({ name, help, labelNames, registers });
  return {
    registry,
    streams: gauge("heddle_xds_streams", "ADS streams that are open"),
    streamsRefused: counter("heddle_xds_streams_refused_total", "ADS streams refused", ["reason"]),
    connects: counter("osm_proxy_connect_count", "Proxies that connected since the start"),
    requests: counter("osm_proxy_xds_request_count", "xDS requests received", ["type"]),
    responses: counter("osm_proxy_response_send_success_count", "xDS responses sent", ["type"]),
    resourcesSent: counter("heddle_xds_resources_sent_total", "Resources sent to proxies", ["type"]),
    bytesSent: counter("heddle_xds_bytes_sent_total", "Bytes of xDS responses sent", ["type"]),
    acks: counter("heddle_xds_acks_total", "xDS responses that proxies accepted", ["type"]),
    nacks: counter("heddle_xds_nacks_total", "xDS responses that proxies rejected", ["type"]),
    rejected: gauge("heddle_xds_rejected_resources", "Resources that proxies now reject", ["type"]),
    built: counter("heddle_resources_built_total", "Resources compiled and encoded", ["type"]),
    compiled: counter("heddle_policies_compiled_total", "Parts of the mesh compiled", ["part"]),
    publishes: counter("heddle_publishes_total", "Snapshots published", ["path"]),
    publishFailures: counter(
      "heddle_publish_failures_total",
      "Snapshots refused by the consistency check, last known good kept",
    ),
    publishTime: new Histogram({
      name: "osm_proxy_config_update_time",
      help: "Seconds from a settled change to a published snapshot",
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
      registers,
    }),
    events: counter("osm_k8s_api_event_count", "Changes received from sources", ["kind"]),
    problems: gauge("heddle_problems", "Problems of users' objects", ["code"]),
    admissions: counter("osm_admission_webhook_response_total", "Admission reviews answered", ["kind", "success"]),
    watchSilence: gauge("heddle_watch_silence_seconds", "Seconds since the API server was last heard of a kind", [
      "kind",
    ]),
    watchEnds: counter("heddle_watch_ends_total", "Lists and watches that ended and were begun again", ["kind", "end"]),
    leading: gauge("heddle_leader", "Whether this replica writes"),
    certificates: counter("osm_cert_issued_count", "Certificates issued"),
    rootExpiry: gauge("heddle_ca_root_expiry_timestamp_seconds", "When the root certificate expires, Unix time"),
    restarts: counter("heddle_local_restarts_total", "Processes of local pods restarted"),
  };
}

export type Metrics = ReturnType<typeof createMetrics>;
