/**
 * The HTTP connection manager: one way to build it, and the order of its filters in one table.
 */
import type { AccessLog } from "../../gen/envoy/config/accesslog/v3/accesslog.ts";
import { ComparisonFilter_Op } from "../../gen/envoy/config/accesslog/v3/accesslog.ts";
import type { Filter } from "../../gen/envoy/config/listener/v3/listener_components.ts";
import type { RouteConfiguration } from "../../gen/envoy/config/route/v3/route.ts";
import { RBAC } from "../../gen/envoy/extensions/filters/http/rbac/v3/rbac.ts";
import { Router } from "../../gen/envoy/extensions/filters/http/router/v3/router.ts";
import {
  HttpConnectionManager,
  HttpConnectionManager_PathWithEscapedSlashesAction,
  HttpConnectionManager_ServerHeaderTransformation,
  type HttpFilter,
  type ResponseMapper,
} from "../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { ADS, any, seconds } from "./message.ts";
import { UNPROCESSED_HEADER } from "./names.ts";
import { DENY_ALL } from "./rbac.ts";

export const HTTP_RBAC = "envoy.filters.http.rbac";

/** In the order in which requests pass. */
const FILTERS: readonly { readonly filter: HttpFilter; readonly on: "inbound" | "both"; readonly why: string }[] = [
  {
    filter: { name: HTTP_RBAC, configType: { $case: "typedConfig", value: any(RBAC, { rules: DENY_ALL }) } },
    on: "inbound",
    why: "first, so that nothing else works for who is refused; denies all, so that a route configuration without rules opens nothing",
  },
  {
    filter: { name: "envoy.filters.http.router", configType: { $case: "typedConfig", value: any(Router, {}) } },
    on: "both",
    why: "last by Envoy's demand: it ends the chain",
  },
];

export interface HttpOptions {
  readonly direction: "inbound" | "outbound";
  readonly statPrefix: string;
  readonly routes: { readonly rds: string } | { readonly inline: RouteConfiguration };
  readonly log: AccessLog[];
  /** What a client reads when it is refused here: Envoy's format string, one line. */
  readonly refusal: string;
}

export function httpConnectionManager({ direction, statPrefix, routes, log, refusal }: HttpOptions): Filter {
  const manager: HttpConnectionManager = {
    statPrefix,
    routeSpecifier:
      "rds" in routes
        ? { $case: "rds", value: { routeConfigName: routes.rds, configSource: ADS } }
        : { $case: "routeConfig", value: routes.inline },
    httpFilters: FILTERS.filter((f) => f.on === "both" || f.on === direction).map((f) => f.filter),
    accessLog: log,
    upgradeConfigs: [{ upgradeType: "websocket" }],
    // smi-semantics, row 11: paths are matched in normal form. Escaped slashes are refused by a route, where a policy
    // asks for it, because that changes without closing connections.
    normalizePath: true,
    mergeSlashes: true,
    pathWithEscapedSlashesAction: HttpConnectionManager_PathWithEscapedSlashesAction.KEEP_UNCHANGED,
    // `svc.ns.svc.cluster.local.` is the same name, spelled so that resolvers need not search.
    stripTrailingHostDot: true,
    // Proxies in front of applications may still speak it: nginx does unless told otherwise.
    httpProtocolOptions: { acceptHttp10: true },
    serverHeaderTransformation: HttpConnectionManager_ServerHeaderTransformation.PASS_THROUGH,
    // Streams may be silent as long as their ends like.
    streamIdleTimeout: seconds(0),
    localReplyConfig: { mappers: [refused(refusal), ...(direction === "inbound" ? [unprocessed] : [])] },
  };
  return {
    name: "envoy.filters.network.http_connection_manager",
    configType: { $case: "typedConfig", value: any(HttpConnectionManager, manager) },
  };
}

const refused = (text: string): ResponseMapper => ({
  filter: {
    filterSpecifier: {
      $case: "statusCodeFilter",
      value: { comparison: { op: ComparisonFilter_Op.EQ, value: { defaultValue: 403, runtimeKey: "heddle.refused" } } },
    },
  },
  bodyFormatOverride: {
    format: { $case: "textFormatSource", value: { specifier: { $case: "inlineString", value: `heddle: ${text}\n` } } },
    contentType: "text/plain",
  },
});

/** The application took no connection, so nobody has processed the request: the client's Envoy may send it elsewhere. */
const unprocessed: ResponseMapper = {
  filter: { filterSpecifier: { $case: "responseFlagFilter", value: { flags: ["UF"] } } },
  headersToAdd: [{ header: { key: UNPROCESSED_HEADER, value: "true" } }],
};
