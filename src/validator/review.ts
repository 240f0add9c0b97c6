/**
 * Validation in the form in which the API server asks: a request and the world → an answer. Knows no HTTP.
 */
import { isRaw } from "../lib/json.ts";
import type { Problem } from "../world/types.ts";
import type { World } from "../world/world.ts";
import type { Candidate, Validator } from "./validate.ts";

export interface ObjectReview {
  readonly operation: Candidate["operation"];
  readonly namespace: string;
  readonly object: unknown;
  readonly oldObject: unknown;
}

export interface ObjectAnswer {
  readonly allowed: boolean;
  readonly message?: string;
  readonly code?: number;
  readonly warnings?: readonly string[];
}

/** More mistakes than these are not told at once. */
const MAX_TOLD = 10;

/** What to answer for an object that is to be written or removed. */
export function reviewObject(review: ObjectReview, world: World, validator: Validator): ObjectAnswer {
  const { operation, oldObject } = review;
  const object = operation === "DELETE" ? oldObject : review.object;
  const verdict = validator.validate(world, { operation, object, oldObject });
  const warnings = verdict.warnings.map((problem) => sentence(problem, review));
  if (verdict.allowed) return { allowed: true, warnings };
  const told = verdict.problems.slice(0, MAX_TOLD).map((problem) => sentence(problem, review));
  const more = verdict.problems.length - told.length;
  const message = `${told.join(" ")}${more > 0 ? ` And ${more} more.` : ""}`;
  return { allowed: false, code: 422, message, warnings };
}

/** With the place in front, unless the sentence begins with it, and with the object, if it is another one. */
function sentence({ object, path, message }: Problem, review: ObjectReview): string {
  const own = nameOf(review.object ?? review.oldObject);
  const about = own === object.name ? "" : `${object.kind} ${object.namespace}/${object.name}: `;
  return `${about}${path === "" || message.includes(path) ? "" : `${path}: `}${message}`;
}

function nameOf(object: unknown): unknown {
  const metadata = isRaw(object) ? object["metadata"] : undefined;
  return isRaw(metadata) ? metadata["name"] : undefined;
}
