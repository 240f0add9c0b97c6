/**
 * Envoy resources as the JSON that Envoy itself reads and dumps, nested messages expanded. Keys never appear; certificates are text.
 */
import "../xds/build.ts";
import { messageTypeRegistry } from "../../gen/typeRegistry.ts";
import { plain, REDACTED } from "../dashboard/plain.ts";
import { TYPE_URLS, TYPES, type Resource, type Resources, type Type } from "../xds/resource.ts";

/** One resource. The message's type is known because whoever builds resources has imported it. */
export function resourceJson({ type, bytes }: Pick<Resource, "type" | "bytes">): unknown {
  const name = TYPE_URLS[type].slice(TYPE_URLS[type].lastIndexOf("/") + 1);
  const message = messageTypeRegistry.get(name);
  if (!message) throw new Error(`no such message: ${name}`);
  return plain(readable(message.toJSON(message.decode(bytes))));
}

export const resourcesJson = (resources: Resources): { readonly [T in Type]: readonly unknown[] } =>
  Object.fromEntries(TYPES.map((type) => [type, [...resources[type].values()].map(resourceJson)])) as unknown as { readonly [T in Type]: readonly unknown[] };

/** Certificates, which are text, as `inlineString` instead of base64. */
function readable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(readable);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      if (key !== "inlineBytes" || typeof item !== "string") return [key, readable(item)];
      const text = Buffer.from(item, "base64").toString();
      return text.includes("PRIVATE KEY") ? ["inlineString", REDACTED] : text.includes("\uFFFD") ? [key, item] : ["inlineString", text];
    }),
  );
}
