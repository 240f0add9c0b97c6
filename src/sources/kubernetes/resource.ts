/**
 * Names and paths of the API server's collections and objects. Makes no request.
 */
import { isRaw, type Raw } from "../../lib/json.ts";

/** One collection of objects, as the API server names it. */
export interface Resource {
  /** "" for Kubernetes' core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
}

/** An object; without namespace when it is of the whole cluster. */
export interface Name {
  readonly namespace?: string | undefined;
  readonly name: string;
}

/** `/api/v1/namespaces/NS/pods/NAME/status`; without namespace the collection of the whole cluster. Throws for `.` and `..`. */
export function pathOf(
  { group, version, plural }: Resource,
  { namespace, name }: Partial<Name> = {},
  subresource?: string,
): string {
  const parts = [...(group === "" ? ["api"] : ["apis", group]), version];
  if (namespace) parts.push("namespaces", namespace);
  parts.push(plural);
  if (name) parts.push(name);
  if (subresource) parts.push(subresource);
  // A URL's parser would climb up at these, and no object is called so.
  if (parts.some((part) => part === "." || part === "..")) throw new RangeError("not the name of an object");
  return `/${parts.map(encodeURIComponent).join("/")}`;
}

export const apiVersionOf = ({ group, version }: Resource): string => (group === "" ? version : `${group}/${version}`);

/** A field of an object's metadata; "" where there is none. */
export function metadataOf(object: unknown, key: "name" | "namespace" | "resourceVersion" | "uid"): string {
  const metadata = isRaw(object) ? object["metadata"] : undefined;
  const value = isRaw(metadata) ? metadata[key] : undefined;
  return typeof value === "string" ? value : "";
}

/** Pods, namespaces and such as this room itself asks for. */
export const LEASES: Resource = { group: "coordination.k8s.io", version: "v1", plural: "leases" };
export const SECRETS: Resource = { group: "", version: "v1", plural: "secrets" };
export const TOKEN_REVIEWS: Resource = { group: "authentication.k8s.io", version: "v1", plural: "tokenreviews" };

export type { Raw };
