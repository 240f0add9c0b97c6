/**
 * Reads fields of raw objects: each wrong type becomes a Problem that says what is wrong, what follows and what to do.
 * Knows no kind, and never substitutes a value: who asks decides what a missing piece means.
 */
import { isRaw, type Raw } from "../lib/json.ts";
import type { ObjectRef, Problem, ProblemCode } from "../world/types.ts";
import { LIMITS } from "./limits.ts";

/** Kubernetes' names of objects, DNS-1123 subdomains. No `/` can get into a branded name. */
const NAME = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;

/** What `isName` asks for, in words. */
export const NAME_WANTED = "a name (lower-case letters, digits, - and .)";

export const isName = (value: string): boolean => value.length <= LIMITS.name && NAME.test(value);

/** One step deeper: `spec` + `rules`, or a key that needs quotes. */
export const at = (path: string, key: string | number): string => {
  if (typeof key === "number") return `${path}[${key}]`;
  if (!/^[A-Za-z_][A-Za-z0-9_-]*$/.test(key)) return `${path}[${JSON.stringify(key.slice(0, 100))}]`;
  return path === "" ? key : `${path}.${key}`;
};

/** A value in words, short: `the number 5`, `a list`. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return "empty";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a map";
  if (typeof value === "string")
    return `the text ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`;
  if (typeof value === "bigint" || typeof value === "number") return `the number ${value}`;
  if (typeof value === "boolean") return String(value);
  return `a ${typeof value}`;
}

/**
 * Collects the Problems of one object while its fields are read. Every `then` is the clause that says what follows,
 * as `this match opens nothing`. Every method answers undefined where it reported.
 */
export class Reader {
  readonly ref: ObjectRef;
  readonly problems: Problem[] = [];

  constructor(ref: ObjectRef) {
    this.ref = ref;
  }

  report(code: ProblemCode, path: string, message: string, severity: Problem["severity"] = "error"): undefined {
    this.problems.push({ code, severity, object: this.ref, path, message });
    return undefined;
  }

  missing(path: string, then: string): undefined {
    return this.report("missing-field", path, `${path} is missing, so ${then}; add it.`);
  }

  /** `wanted` with its article, as `a list`. */
  wrong(value: unknown, path: string, wanted: string, then: string): undefined {
    return this.report(
      "bad-field",
      path,
      `${path} is ${describe(value)} where ${wanted} is needed, so ${then}; write ${wanted}.`,
    );
  }

  string(value: unknown, path: string, then: string, limit: number = LIMITS.text): string | undefined {
    if (typeof value !== "string") return this.wrong(value, path, "a string", then);
    if (value.length <= limit) return value;
    return this.report(
      "too-large",
      path,
      `${path} has ${value.length} characters where at most ${limit} are read, so ${then}; shorten it.`,
    );
  }

  boolean(value: unknown, path: string, then: string): boolean | undefined {
    return typeof value === "boolean" ? value : this.wrong(value, path, "true or false", then);
  }

  integer(value: unknown, path: string, then: string, min = 0, max = Number.MAX_SAFE_INTEGER): number | undefined {
    if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
    return this.wrong(
      value,
      path,
      max === Number.MAX_SAFE_INTEGER ? `a whole number from ${min}` : `a whole number from ${min} to ${max}`,
      then,
    );
  }

  port(value: unknown, path: string, then: string): number | undefined {
    return this.integer(value, path, then, 1, 65_535);
  }

  oneOf<T extends string>(value: unknown, path: string, allowed: readonly T[], then: string): T | undefined {
    return allowed.find((one) => one === value) ?? this.wrong(value, path, `one of ${allowed.join(", ")}`, then);
  }

  map(value: unknown, path: string, then: string): Raw | undefined {
    return isRaw(value) ? value : this.wrong(value, path, "a map", then);
  }

  /** At most `limit` entries: more are reported, and cut off (`cut`) or make the whole list unusable. */
  list(value: unknown, path: string, then: string, limit: number, cut = true): readonly unknown[] | undefined {
    if (!Array.isArray(value)) return this.wrong(value, path, "a list", then);
    if (value.length <= limit) return value;
    const follows = cut ? "the rest is not used" : then;
    this.report(
      "too-large",
      path,
      `${path} has ${value.length} entries where at most ${limit} are read, so ${follows}; split it up.`,
    );
    return cut ? value.slice(0, limit) : undefined;
  }

  /** Strings of a map, as labels: an entry of another type is reported and left out. */
  strings(
    value: unknown,
    path: string,
    then: string,
    limit: number = LIMITS.labels,
  ): Record<string, string> | undefined {
    const raw = this.map(value, path, then);
    if (!raw) return undefined;
    const keys = Object.keys(raw);
    if (keys.length > limit) {
      return this.report(
        "too-large",
        path,
        `${path} has ${keys.length} entries where at most ${limit} are read, so ${then}; split it up.`,
      );
    }
    const out: Record<string, string> = {};
    for (const key of keys.sort()) {
      const text = this.string(raw[key], at(path, key), then, LIMITS.value);
      if (text !== undefined) set(out, key, text);
    }
    return out;
  }

  /**
   * Reports fields that nothing reads, and answers whether there were any. As an error where a misspelt field may have been
   * meant as a restriction: then who holds it must open nothing.
   */
  unknown(
    raw: Raw,
    path: string,
    known: readonly string[],
    then: string,
    severity: Problem["severity"] = "error",
  ): boolean {
    let any = false;
    for (const key of Object.keys(raw)) {
      if (known.includes(key)) continue;
      any = true;
      const near = known.find((name) => isNear(name, key));
      const todo = near ? `did you mean ${near}?` : "remove it.";
      const where = at(path, key);
      this.report(
        "unknown-field",
        where,
        `${where} is not a field of this version of ${this.ref.kind}, so ${then}; ${todo}`,
        severity,
      );
      if (this.problems.length > 1_000) return true;
    }
    return any;
  }
}

/** Sets an own property whatever its name: `__proto__` is a key like others here. */
export function set(target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, enumerable: true, writable: true, configurable: true });
}

/** One letter changed, missing or too many, or one is the other's beginning; without regard to case. */
export function isNear(x: string, y: string): boolean {
  const [a, b] = [x.toLowerCase(), y.toLowerCase()];
  if (a === b || (b.length > 2 && a.startsWith(b)) || (a.length > 2 && b.startsWith(a))) return true;
  if (Math.abs(a.length - b.length) > 1) return false;
  let start = 0;
  while (start < a.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a.at(-1 - end) === b.at(-1 - end)) end++;
  return Math.max(a.length, b.length) - start - end <= 1 && a.length > 2;
}
