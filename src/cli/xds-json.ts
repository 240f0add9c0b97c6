/**
 * Envoy resources as JSON for people: certificates are text, and keys never appear. Pure.
 */
import { plain, REDACTED } from "../dashboard/plain.ts";
import { resourcesJson } from "../xds/json.ts";
import type { Resources } from "../xds/resource.ts";

export const readableResources = (resources: Resources): ReturnType<typeof resourcesJson> =>
  plain(readable(resourcesJson(resources))) as ReturnType<typeof resourcesJson>;

/** Text as `inlineString` instead of base64. */
function readable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(readable);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      if (key !== "inlineBytes" || typeof item !== "string") return [key, readable(item)];
      const text = Buffer.from(item, "base64").toString();
      return text.includes("PRIVATE KEY")
        ? ["inlineString", REDACTED]
        : text.includes("\uFFFD")
          ? [key, item]
          : ["inlineString", text];
    }),
  );
}
