/**
 * Resources as Envoy's own JSON, for whoever reads them: debug pages, `translate`, goldens. A private key is never among them.
 */
import { Cluster } from "../../gen/envoy/config/cluster/v3/cluster.ts";
import { ClusterLoadAssignment } from "../../gen/envoy/config/endpoint/v3/endpoint.ts";
import { Listener } from "../../gen/envoy/config/listener/v3/listener.ts";
import { RouteConfiguration } from "../../gen/envoy/config/route/v3/route.ts";
import { Secret } from "../../gen/envoy/extensions/transport_sockets/tls/v3/secret.ts";
import { TYPES, type Resource, type Resources, type Type } from "./resource.ts";

const READ: { readonly [T in Type]: (bytes: Uint8Array) => unknown } = {
  CDS: (bytes) => Cluster.toJSON(Cluster.decode(bytes)),
  EDS: (bytes) => ClusterLoadAssignment.toJSON(ClusterLoadAssignment.decode(bytes)),
  LDS: (bytes) => Listener.toJSON(Listener.decode(bytes)),
  RDS: (bytes) => RouteConfiguration.toJSON(RouteConfiguration.decode(bytes)),
  SDS: (bytes) => {
    const secret = Secret.decode(bytes);
    // Certificates are issued for each stream; a resource with a key in it is not for eyes.
    return secret.type?.$case === "tlsCertificate"
      ? { name: secret.name, tlsCertificate: "[redacted]" }
      : Secret.toJSON(secret);
  },
};

/** The message in a resource, with what is packed in it unpacked (`@type`). */
export const resourceJson = ({ type, bytes }: Resource): unknown => READ[type](bytes);

/** By type, in order of name. */
export const resourcesJson = (resources: Resources): { readonly [T in Type]: readonly unknown[] } =>
  Object.fromEntries(TYPES.map((type) => [type, [...resources[type].values()].map(resourceJson)])) as {
    [T in Type]: unknown[];
  };
