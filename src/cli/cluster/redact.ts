/**
 * Objects without what must not leave a cluster: values of variables, arguments of nobody else's business, Secrets' data. Pure.
 */
import { isRaw } from "../../manifest/reader.ts";
import type { Raw } from "./objects.ts";

const REDACTED = "[redacted]";
/** Holds the whole object as it was applied, values included. */
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

/** A copy. Names of variables stay, as do references to where their values come from. */
export function withoutSecrets(object: Raw): Raw {
  const secret = object["kind"] === "Secret";
  return cleaned(object, secret) as Raw;
}

function cleaned(value: unknown, secret: boolean): unknown {
  if (Array.isArray(value)) return value.map((one) => cleaned(one, secret));
  if (!isRaw(value)) return value;
  const copy: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(value)) {
    if (key === "managedFields" || key === LAST_APPLIED) continue;
    if (key === "env" && Array.isArray(field)) copy[key] = field.map(variable);
    else if (secret && (key === "data" || key === "stringData")) copy[key] = REDACTED;
    else copy[key] = cleaned(field, secret);
  }
  return copy;
}

const variable = (one: unknown): unknown => (isRaw(one) && "value" in one ? { ...one, value: REDACTED } : one);
