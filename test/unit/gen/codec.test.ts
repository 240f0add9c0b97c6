/** The generated Envoy types as the rooms above use them: plain objects in, bytes out, and the JSON that Envoy itself would accept. */
import { expect, test } from "vitest";
import { Cluster, Cluster_DiscoveryType } from "../../../gen/envoy/config/cluster/v3/cluster.ts";
import { Listener } from "../../../gen/envoy/config/listener/v3/listener.ts";
import { StdoutAccessLog } from "../../../gen/envoy/extensions/access_loggers/stream/v3/stream.ts";
import { Router } from "../../../gen/envoy/extensions/filters/http/router/v3/router.ts";
import {
  HttpConnectionManager,
  HttpConnectionManager_PathWithEscapedSlashesAction as EscapedSlashes,
} from "../../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { UpstreamTlsContext } from "../../../gen/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import { SubjectAltNameMatcher_SanType as SanType } from "../../../gen/envoy/extensions/transport_sockets/tls/v3/common.ts";
import { HttpProtocolOptions } from "../../../gen/envoy/extensions/upstreams/http/v3/http_protocol_options.ts";
import { DeltaDiscoveryResponse } from "../../../gen/envoy/service/discovery/v3/discovery.ts";
import type { Any } from "../../../gen/google/protobuf/any.ts";
import { Duration } from "../../../gen/google/protobuf/duration.ts";
import type { MessageType } from "../../../gen/typeRegistry.ts";

/** Packs `message` as Envoy expects it. */
function any<T>(type: Pick<MessageType<T>, "$type" | "encode">, message: T): Any {
  return { typeUrl: `type.googleapis.com/${type.$type}`, value: type.encode(message).finish() };
}

const tls: UpstreamTlsContext = {
  sni: "bookstore.bookstore.svc.cluster.local",
  commonTlsContext: {
    tlsCertificateSdsSecretConfigs: [
      { name: "identity", sdsConfig: { configSourceSpecifier: { $case: "ads", value: {} } } },
    ],
    validationContextType: {
      $case: "combinedValidationContext",
      value: {
        defaultValidationContext: {
          matchTypedSubjectAltNames: [
            {
              sanType: SanType.DNS,
              matcher: {
                matchPattern: { $case: "exact", value: "bookstore.bookstore.cluster.local" },
              },
            },
          ],
        },
        validationContextSdsSecretConfig: { name: "roots" },
      },
    },
  },
};

const cluster: Cluster = {
  name: "bookstore/bookstore|14001",
  clusterDiscoveryType: { $case: "type", value: Cluster_DiscoveryType.EDS },
  edsClusterConfig: { edsConfig: { configSourceSpecifier: { $case: "ads", value: {} } } },
  connectTimeout: { seconds: 1, nanos: 500_000_000 },
  perConnectionBufferLimitBytes: 32_768,
  transportSocket: {
    name: "tls",
    configType: { $case: "typedConfig", value: any(UpstreamTlsContext, tls) },
  },
  typedExtensionProtocolOptions: {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": any<HttpProtocolOptions>(HttpProtocolOptions, {
      upstreamProtocolOptions: {
        $case: "explicitHttpConfig",
        value: {
          protocolConfig: { $case: "http2ProtocolOptions", value: { maxConcurrentStreams: 100 } },
        },
      },
    }),
  },
};

const manager: HttpConnectionManager = {
  statPrefix: "inbound",
  routeSpecifier: { $case: "rds", value: { routeConfigName: "inbound|14001" } },
  normalizePath: true,
  mergeSlashes: true,
  pathWithEscapedSlashesAction: EscapedSlashes.UNESCAPE_AND_REDIRECT,
  localReplyConfig: {
    mappers: [
      {
        filter: { filterSpecifier: { $case: "responseFlagFilter", value: { flags: ["UF"] } } },
        headersToAdd: [{ header: { key: "x-heddle-unreached", value: "1" } }],
        bodyFormatOverride: {
          format: {
            $case: "textFormatSource",
            value: { specifier: { $case: "inlineString", value: "unreached" } },
          },
        },
      },
    ],
  },
  accessLog: [
    {
      name: "stdout",
      configType: {
        $case: "typedConfig",
        value: any(StdoutAccessLog, {
          accessLogFormat: {
            $case: "logFormat",
            value: { format: { $case: "jsonFormat", value: { code: "%RESPONSE_CODE%" } } },
          },
        }),
      },
    },
  ],
  httpFilters: [{ name: "router", configType: { $case: "typedConfig", value: any(Router, {}) } }],
};

const listener: Listener = {
  name: "inbound",
  address: {
    address: {
      $case: "socketAddress",
      value: { address: "0.0.0.0", portSpecifier: { $case: "portValue", value: 15003 } },
    },
  },
  filterChains: [
    {
      filterChainMatch: { destinationPort: 14001, transportProtocol: "tls" },
      filters: [
        {
          name: "hcm",
          configType: { $case: "typedConfig", value: any(HttpConnectionManager, manager) },
        },
      ],
    },
  ],
};

test("a cluster survives the wire, and so does the TLS context inside its Any", () => {
  const back = Cluster.decode(Cluster.encode(cluster).finish());
  expect(back).toMatchObject(cluster);
  const socket = back.transportSocket?.configType;
  expect(socket?.value.typeUrl).toBe(
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
  );
  expect(UpstreamTlsContext.decode(socket?.value.value ?? new Uint8Array())).toMatchObject(tls);
});

test("a listener survives the wire, and so does the HTTP connection manager inside its Any", () => {
  const back = Listener.decode(Listener.encode(listener).finish());
  expect(back).toMatchObject(listener);
  const filter = back.filterChains?.[0]?.filters?.[0]?.configType;
  expect(filter?.$case).toBe("typedConfig");
  const bytes = filter?.$case === "typedConfig" ? filter.value.value : undefined;
  expect(HttpConnectionManager.decode(bytes ?? new Uint8Array())).toMatchObject(manager);
});

test("encoding is deterministic and an empty message has no bytes", () => {
  expect(Listener.encode(structuredClone(listener)).finish()).toEqual(Listener.encode(listener).finish());
  expect(Cluster.encode({}).finish()).toHaveLength(0);
});

test("a response carries bytes that were encoded before", () => {
  const resource = any(Cluster, cluster);
  const sent: DeltaDiscoveryResponse = {
    nonce: "1",
    resources: [{ name: "a", version: "v", resource }],
  };
  const got = DeltaDiscoveryResponse.decode(DeltaDiscoveryResponse.encode(sent).finish());
  expect(
    Buffer.compare(got.resources?.[0]?.resource?.value ?? new Uint8Array(), resource.value ?? new Uint8Array()),
  ).toBe(0);
});

test("JSON is what Envoy reads: Any expanded, enums by name, durations as seconds, wrappers bare", () => {
  const json = Cluster.toJSON(cluster);
  expect(json).toMatchObject({
    type: "EDS",
    connectTimeout: "1.500s",
    perConnectionBufferLimitBytes: 32_768,
    transportSocket: {
      typedConfig: {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        commonTlsContext: {
          combinedValidationContext: {
            defaultValidationContext: { matchTypedSubjectAltNames: [{ sanType: "DNS" }] },
          },
        },
      },
    },
  });
  expect(Cluster.encode(Cluster.fromJSON(json)).finish()).toEqual(Cluster.encode(cluster).finish());
  expect(Listener.encode(Listener.fromJSON(Listener.toJSON(listener))).finish()).toEqual(
    Listener.encode(listener).finish(),
  );
});

test.each([
  [{}, "0s"],
  [{ seconds: 5 }, "5s"],
  [{ nanos: 20_000_000 }, "0.020s"],
  [{ seconds: 1, nanos: 1 }, "1.000000001s"],
  [{ seconds: -1, nanos: -250_000 }, "-1.000250s"],
])("the duration %j is written %s", (duration, text) => {
  expect(Duration.toJSON(duration)).toBe(text);
  expect(Duration.encode(Duration.fromJSON(text)).finish()).toEqual(Duration.encode(duration).finish());
});

test("a duration without a unit is refused", () => {
  expect(() => Duration.fromJSON("5")).toThrow("Not a duration: 5");
});
