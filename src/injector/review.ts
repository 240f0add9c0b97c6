/**
 * Injection in the form in which the API server asks: a request and what is known → an answer. Knows no HTTP.
 */
import { ANNOTATION_INJECTION, parseToggle } from "../world/injection.ts";
import type { Namespace } from "../world/types.ts";
import { annotationsOf } from "./annotations.ts";
import { quote } from "./json.ts";
import type { Operation } from "./json-patch.ts";
import { inject } from "./patch.ts";
import type { InjectorSettings } from "./settings.ts";

export interface PodReview {
  readonly operation: string;
  readonly kind: { readonly group: string; readonly kind: string };
  readonly namespace: string;
  readonly object: unknown;
}

export interface PodAnswer {
  readonly allowed: boolean;
  readonly message?: string;
  readonly code?: number;
  readonly warnings?: readonly string[];
  readonly patch?: readonly Operation[];
}

export interface InjectionFacts {
  readonly settings: InjectorSettings;
  /** Of the request; undefined when it is not known here. */
  readonly namespace: Namespace | undefined;
  /** A fresh one. */
  readonly uuid: string;
  /** Another one, which nobody learns who may not read the pod. */
  readonly secret: string;
}

/** Whether the pod itself says that it wants no sidecar: then it gets none, whatever its namespace is. */
export const optsOut = (pod: unknown): boolean => parseToggle(annotationsOf(pod)[ANNOTATION_INJECTION]) === false;

/** What to answer for a pod that is to be created. Anything else passes. */
export function reviewPod(review: PodReview, { settings, namespace, uuid, secret }: InjectionFacts): PodAnswer {
  const { operation, kind, object } = review;
  if (operation !== "CREATE" || kind.group !== "" || kind.kind !== "Pod") return { allowed: true };
  if (optsOut(object)) return { allowed: true };
  if (!namespace) {
    // The API server has asked because of the namespace's label: without a sidecar, the pod would be outside of the mesh for good.
    const message = `Namespace ${quote(review.namespace)} is not known to the mesh yet, so nobody can say whether the pod gets a sidecar; try again.`;
    return { allowed: false, code: 503, message };
  }
  const result = inject({ pod: object, settings, namespace, uuid, secret });
  if ("refused" in result) return { allowed: false, message: result.refused };
  return { allowed: true, warnings: result.warnings, patch: result.patch };
}
