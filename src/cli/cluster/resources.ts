/**
 * The collections of the API server that the cluster's verbs ask for, and OSM's labels on them. Makes no request.
 */
import type { Resource } from "../../sources/kubernetes/resource.ts";

const core = (plural: string): Resource => ({ group: "", version: "v1", plural });
const of = (group: string, version: string, plural: string): Resource => ({ group, version, plural });

export const NAMESPACES = core("namespaces");
export const PODS = core("pods");
export const SERVICES = core("services");
export const SECRETS = core("secrets");
export const NODES = core("nodes");
export const EVENTS = core("events");
export const DEPLOYMENTS = of("apps", "v1", "deployments");
export const INGRESSES = of("networking.k8s.io", "v1", "ingresses");
export const CRDS = of("apiextensions.k8s.io", "v1", "customresourcedefinitions");
export const MUTATING_WEBHOOKS = of("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations");
export const VALIDATING_WEBHOOKS = of("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations");
export const ACCESS_REVIEWS = of("authorization.k8s.io", "v1", "selfsubjectaccessreviews");
export const MESH_CONFIGS = of("config.openservicemesh.io", "v1alpha2", "meshconfigs");
export const INGRESS_BACKENDS = of("policy.openservicemesh.io", "v1alpha1", "ingressbackends");

/** The one MeshConfig object that OSM makes. */
export const MESH_CONFIG_NAME = "osm-mesh-config";

/** OSM's names, by which scripts and the CLI find the control plane. */
export const CONTROLLER = "osm-controller";
export const INJECTOR = "osm-injector";
export const LABEL_APP = "app";
export const LABEL_MESH = "meshName";
export const LABEL_ENFORCE_SINGLE = "enforceSingleMesh";
export const LABEL_VERSION = "app.kubernetes.io/version";
export const LABEL_NAME = "app.kubernetes.io/name";
export const LABEL_INSTANCE = "app.kubernetes.io/instance";
export const NAME_OF_OSM = "openservicemesh.io";
/** Where helm writes which release an object is of. */
export const ANNOTATION_RELEASE = "meta.helm.sh/release-name";

/** Where a control plane may be when nothing says where: OSM's default, and the chart's. */
export const USUAL_NAMESPACES = ["osm-system", "heddle-system"] as const;
export const DEFAULT_NAMESPACE = USUAL_NAMESPACES[0];
export const DEFAULT_MESH = "osm";
export const DEFAULT_CA_SECRET = "osm-ca-bundle";

/** The controller's port for health and version: OSM's. */
export const CONTROLLER_HTTP_PORT = 9091;
/** Its port for everything else that it shows, open on the pod's loopback only, where a port-forward arrives: OSM's too. */
export const CONTROLLER_DEBUG_PORT = 9092;
