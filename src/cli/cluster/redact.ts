/**
 * Objects without what must not leave a cluster: values of variables, Secrets' data, commands and arguments of others' containers, headers of
 * their probes and hooks, annotations that are nobody's business. Pure.
 */
import { ENVOY_CONTAINER, HOLD_CONTAINER, INIT_CONTAINER } from "../../injector/settings.ts";
import { isRaw } from "../../lib/json.ts";
import type { Raw } from "./objects.ts";
import { CONTROLLER, INJECTOR } from "./resources.ts";

const REDACTED = "[redacted]";
/** Holds the whole object as it was applied, values included. */
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";
/** Containers that are the mesh's own: what they are told explains what they do. */
const OURS: readonly unknown[] = [ENVOY_CONTAINER, INIT_CONTAINER, HOLD_CONTAINER, CONTROLLER, INJECTOR];
/** Domains of annotations that say what the mesh, Kubernetes and helm do. */
const KNOWN_ANNOTATION = /^([a-z0-9.-]+\.)?(openservicemesh|kubernetes|k8s|helm|smi-spec|prometheus)\.(io|sh)\//;

/** A copy. Names of variables stay, as do references to where their values come from. */
export function withoutSecrets(object: Raw): Raw {
  return cleaned(object, { secret: object["kind"] === "Secret", ours: false }) as Raw;
}

interface Within {
  readonly secret: boolean;
  readonly ours: boolean;
}

function cleaned(value: unknown, within: Within): unknown {
  if (Array.isArray(value)) return value.map((one) => cleaned(one, within));
  if (!isRaw(value)) return value;
  const inside = { ...within, ours: within.ours || OURS.includes(value["name"]) };
  const copy: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(value)) {
    if (key === "managedFields" || key === LAST_APPLIED) continue;
    copy[key] = isSecret(key, field, inside) ? redacted(field) : cleaned(field, inside);
  }
  return copy;
}

function isSecret(key: string, field: unknown, { secret, ours }: Within): boolean {
  if (key === "data" || key === "stringData") return secret;
  if (key === "env" || key === "httpHeaders") return Array.isArray(field);
  if (key === "args" || key === "command") return !ours;
  return key === "annotations" && isRaw(field);
}

/** Names stay, and how many there are. */
function redacted(field: unknown): unknown {
  if (Array.isArray(field))
    return field.map((one) => (!isRaw(one) ? REDACTED : "value" in one ? { ...one, value: REDACTED } : one));
  if (!isRaw(field)) return REDACTED;
  return Object.fromEntries(
    Object.entries(field)
      .filter(([key]) => key !== LAST_APPLIED)
      .map(([key, value]) => [key, KNOWN_ANNOTATION.test(key) ? value : REDACTED]),
  );
}
