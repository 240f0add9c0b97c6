/**
 * JSON Patch (RFC 6902), as far as injection needs it: `add` and `replace`. Knows no Kubernetes.
 */
import { isRaw } from "../lib/json.ts";

export interface Operation {
  readonly op: "add" | "replace";
  /** JSON pointer (RFC 6901). */
  readonly path: string;
  readonly value: unknown;
}

/** The pointer of these steps. */
export const pointer = (...steps: readonly (string | number)[]): string =>
  steps.map((step) => `/${String(step).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");

/**
 * The document with the patch applied; the document itself is not touched.
 * @throws RangeError when a path leads nowhere: patches are made for the document that they are applied to.
 */
export function applyPatch(document: unknown, patch: readonly Operation[]): unknown {
  let result = structuredClone(document);
  for (const { op, path, value } of patch) {
    const fresh = structuredClone(value);
    if (path === "") {
      result = fresh;
      continue;
    }
    const steps = path
      .split("/")
      .slice(1)
      .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
    const last = steps.pop() ?? "";
    let holder: unknown = result;
    for (const step of steps) holder = child(holder, step, path);
    if (Array.isArray(holder)) {
      const index = last === "-" ? holder.length : indexOf(last, holder.length, path);
      if (op === "replace" && index >= holder.length) throw new RangeError(`${path} is not there`);
      holder.splice(index, op === "replace" ? 1 : 0, fresh);
    } else if (isRaw(holder)) {
      if (op === "replace" && !Object.hasOwn(holder, last)) throw new RangeError(`${path} is not there`);
      Object.defineProperty(holder, last, { value: fresh, enumerable: true, writable: true, configurable: true });
    } else throw new RangeError(`${path} is not there`);
  }
  return result;
}

function child(holder: unknown, step: string, path: string): unknown {
  if (Array.isArray(holder)) {
    const index = indexOf(step, holder.length, path);
    if (index < holder.length) return holder[index];
  } else if (isRaw(holder) && Object.hasOwn(holder, step)) return holder[step];
  throw new RangeError(`${path} is not there`);
}

function indexOf(step: string, length: number, path: string): number {
  const index = /^(0|[1-9]\d*)$/.test(step) ? Number(step) : Number.NaN;
  if (index <= length) return index;
  throw new RangeError(`${path} is not there`);
}
