/**
 * TLS between sidecars: contexts that name secrets, and the secrets. Keys and certificates are values that come from outside.
 */
import {
  CommonTlsContext,
  DownstreamTlsContext,
  UpstreamTlsContext,
} from "../../gen/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import {
  SubjectAltNameMatcher_SanType,
  TlsParameters_TlsProtocol,
  type SubjectAltNameMatcher,
} from "../../gen/envoy/extensions/transport_sockets/tls/v3/common.ts";
import { Secret } from "../../gen/envoy/extensions/transport_sockets/tls/v3/secret.ts";
import type { TransportSocket } from "../../gen/envoy/config/core/v3/base.ts";
import type { StringMatcher } from "../../gen/envoy/type/matcher/v3/string.ts";
import { principalDnsName, type Identity, type ServiceName } from "../world/names.ts";
import { ADS, any, exact } from "./message.ts";
import { INBOUND_VALIDATION, MESH_ALPN, outboundValidationName, OWN_CERTIFICATE } from "./names.ts";
import { resource, type Resource } from "./resource.ts";

/** Whom the mesh trusts. */
export interface Trust {
  /** PEM, one root or several. */
  readonly bundle: string;
  readonly trustDomain: string;
}

const SOCKET = "envoy.transport_sockets.tls";

const context = (validation: string): CommonTlsContext => ({
  tlsParams: {
    tlsMinimumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_2,
    tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
  },
  tlsCertificateSdsSecretConfigs: [{ name: OWN_CERTIFICATE, sdsConfig: ADS }],
  validationContextType: { $case: "validationContextSdsSecretConfig", value: { name: validation, sdsConfig: ADS } },
});

/** How a client speaks to a Service. */
export const upstreamTls = (service: ServiceName, sni: string): TransportSocket => ({
  name: SOCKET,
  configType: {
    $case: "typedConfig",
    value: any(UpstreamTlsContext, {
      sni,
      commonTlsContext: { ...context(outboundValidationName(service)), alpnProtocols: [MESH_ALPN] },
    }),
  },
});

/**
 * How a server is spoken to: only with a client certificate of the mesh. What the client asks for by ALPN finds the filter chain, and
 * nothing is agreed on: Envoy would take a protocol of another name than "h2" for HTTP/1, and HTTP/2 and gRPC would fail.
 */
export const downstreamTls = (): TransportSocket => ({
  name: SOCKET,
  configType: {
    $case: "typedConfig",
    value: any(DownstreamTlsContext, { requireClientCertificate: true, commonTlsContext: context(INBOUND_VALIDATION) }),
  },
});

/** The proxy's own certificate, for one stream. */
export const ownCertificate = (chain: string, key: string): Resource => {
  const inline = (text: string) => ({ specifier: { $case: "inlineBytes" as const, value: Buffer.from(text) } });
  return secret({
    name: OWN_CERTIFICATE,
    type: { $case: "tlsCertificate", value: { certificateChain: inline(chain), privateKey: inline(key) } },
  });
};

/** Any workload of the trust domain: who may do what is RBAC's business. */
export const inboundValidation = (trust: Trust): Resource =>
  validation(INBOUND_VALIDATION, trust, [{ matchPattern: { $case: "suffix", value: `.${trust.trustDomain}` } }]);

/** Exactly the accounts of the Service's pods. No account, then nobody: an empty list of names would be anybody to Envoy. */
export const outboundValidation = (service: ServiceName, accounts: readonly Identity[], trust: Trust): Resource =>
  validation(
    outboundValidationName(service),
    trust,
    accounts.length > 0
      ? accounts.map((id) => exact(principalDnsName(id, trust.trustDomain)))
      : [exact("nobody.invalid")],
  );

function validation(name: string, trust: Trust, names: readonly StringMatcher[]): Resource {
  const matchTypedSubjectAltNames: SubjectAltNameMatcher[] = names.map((matcher) => ({
    sanType: SubjectAltNameMatcher_SanType.DNS,
    matcher,
  }));
  return secret({
    name,
    type: {
      $case: "validationContext",
      value: {
        trustedCa: { specifier: { $case: "inlineBytes", value: Buffer.from(trust.bundle) } },
        matchTypedSubjectAltNames,
      },
    },
  });
}

const secret = (message: Secret & { name: string }): Resource =>
  resource("SDS", message.name, Secret.encode(message).finish());
