/**
 * Which pod a user means: `namespace/name`, a name, or the beginning of one, as long as it is clear. Pure.
 */
import { UserError } from "./errors.ts";
import { nearest } from "./text.ts";

export interface Named {
  readonly namespace: string;
  readonly name: string;
}

const full = (pod: Named): string => `${pod.namespace}/${pod.name}`;

/** A name that is whole wins over beginnings of names. Throws a `UserError` that says what there is. */
export function findPod<P extends Named>(pods: readonly P[], wanted: string, namespace?: string): P {
  const text = wanted.replace(/^pods?\//, "");
  const slash = text.indexOf("/");
  const name = text.slice(slash + 1);
  const ns = slash < 0 ? namespace : text.slice(0, slash);
  const inside = pods.filter((pod) => ns === undefined || pod.namespace === ns);
  const exact = inside.filter((pod) => pod.name === name);
  const found = exact.length > 0 ? exact : inside.filter((pod) => name !== "" && pod.name.startsWith(name));
  const [only, ...more] = found;
  if (only && more.length === 0) return only;
  if (only) {
    throw new UserError(`"${wanted}" may be any of these pods: ${some(found)}. Write the whole name.`);
  }
  if (pods.length === 0) throw new UserError(`There is no pod "${wanted}": the mesh has no pods.`);
  if (inside.length === 0)
    throw new UserError(`There is no pod "${wanted}": namespace ${ns} has no pods. There are: ${some(pods)}.`);
  const near = nearest(
    name,
    inside.flatMap((pod) => [pod.name, ...stems(pod.name)]),
  );
  const meant = near === undefined ? undefined : inside.find((pod) => pod.name.startsWith(near));
  throw new UserError(
    `There is no pod "${wanted}".${meant ? ` Did you mean ${full(meant)}?` : ` There are: ${some(inside)}.`}`,
  );
}

/** `bookbuyer-6c9f-x2x4z` also goes by `bookbuyer-6c9f` and `bookbuyer`. */
function stems(name: string): string[] {
  const parts = name.split("-");
  return parts.slice(0, -1).map((_, i) => parts.slice(0, i + 1).join("-"));
}

function some(pods: readonly Named[]): string {
  const names = pods.map(full).sort();
  return names.length > 8 ? `${names.slice(0, 8).join(", ")} and ${names.length - 8} more` : names.join(", ");
}
