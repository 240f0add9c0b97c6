/**
 * The listener that Prometheus scrapes: Envoy's statistics and nothing else of its admin interface.
 */
import { Listener } from "../../gen/envoy/config/listener/v3/listener.ts";
import { httpConnectionManager } from "./http.ts";
import { tcpAddress } from "./message.ts";
import { METRICS_CLUSTER, PROMETHEUS_LISTENER, PROMETHEUS_PORT } from "./names.ts";
import { resource, type Resource } from "./resource.ts";

export function prometheusListener(): Resource {
  const filter = httpConnectionManager({
    direction: "outbound",
    statPrefix: "prometheus-http-conn-manager",
    log: [],
    refusal: "only /stats/prometheus is served here",
    routes: {
      inline: {
        name: "prometheus-inbound-route",
        virtualHosts: [
          {
            name: "prometheus-inbound-virtual-host",
            domains: ["*"],
            routes: [
              {
                match: { pathSpecifier: { $case: "path", value: "/stats/prometheus" } },
                action: { $case: "route", value: { clusterSpecifier: { $case: "cluster", value: METRICS_CLUSTER } } },
              },
            ],
          },
        ],
      },
    },
  });
  const listener: Listener = {
    name: PROMETHEUS_LISTENER,
    address: tcpAddress("0.0.0.0", PROMETHEUS_PORT),
    filterChains: [{ filters: [filter] }],
  };
  return resource("LDS", PROMETHEUS_LISTENER, Listener.encode(listener).finish(), [
    { type: "CDS", name: METRICS_CLUSTER },
  ]);
}
