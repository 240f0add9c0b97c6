/**
 * How a fake API server's answers look on the wire: lists, events, refusals, selectors and discovery. Holds nothing.
 */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { metadata, type CollectionSpec, type Json } from "./fake-api-objects.ts";

/** As the real one: lists of Kubernetes' own kinds say once for all what their items are. */
export const untyped = ({ apiVersion: _a, kind: _k, ...object }: Json): Json => object;

/** Kubernetes' own kinds, as against those of CRDs. */
export const isOwn = (group: string): boolean => group === "" || !group.includes(".") || group.endsWith(".k8s.io");

export const line = (type: string, object: Json): string => `${JSON.stringify({ type, object })}\n`;

export const statusOf = (code: number, reason: string, message: string, conflicts: readonly string[] = []): Json => ({
  kind: "Status",
  apiVersion: "v1",
  status: "Failure",
  code,
  reason,
  message,
  ...(conflicts.length === 0
    ? {}
    : {
        details: { causes: conflicts.map((field) => ({ reason: "FieldManagerConflict", message: "conflict", field })) },
      }),
});

export async function bodyOf(request: IncomingMessage): Promise<Json> {
  const parts: Buffer[] = [];
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
  const text = Buffer.concat(parts).toString("utf8");
  return text === "" ? {} : (JSON.parse(text) as Json);
}

/** `a`, `a=b` and `metadata.name=x`: what is asked for here. */
export function selection(query: URLSearchParams, namespace: string | undefined): (object: Json) => boolean {
  const wanted = (query.get("labelSelector")?.split(",") ?? []).map((one) => one.split("="));
  const name = query.get("fieldSelector")?.replace("metadata.name=", "");
  return (object) => {
    const labels = (metadata(object)["labels"] ?? {}) as Record<string, string>;
    return (
      (namespace === undefined || metadata(object)["namespace"] === namespace) &&
      (name === undefined || metadata(object)["name"] === name) &&
      wanted.every(([key = "", value]) => key in labels && (value === undefined || labels[key] === value))
    );
  };
}

const versionsOf = (specs: readonly CollectionSpec[]): string[] => [...new Set(specs.flatMap((spec) => spec.versions))];

const groupsOf = (specs: readonly CollectionSpec[]): [string, CollectionSpec[]][] => [
  ...Map.groupBy(
    specs.filter(({ group }) => group !== ""),
    ({ group }) => group,
  ),
];

/** `/apis` as it was before 1.27. */
export const groupList = (specs: readonly CollectionSpec[]): Json => ({
  kind: "APIGroupList",
  apiVersion: "v1",
  groups: groupsOf(specs).map(([name, own]) => ({ name, versions: versionsOf(own).map((version) => ({ version })) })),
});

/** `/apis` with everything in it, and its ETag. */
export function aggregated(specs: readonly CollectionSpec[]): { readonly body: Json; readonly etag: string } {
  const items = groupsOf(specs).map(([name, own]) => ({
    metadata: { name },
    versions: versionsOf(own).map((version) => ({
      version,
      resources: own
        .filter((spec) => spec.versions.includes(version))
        .map(({ plural, kind }) => ({ resource: plural, responseKind: { kind } })),
    })),
  }));
  const etag = `"${createHash("sha256").update(JSON.stringify(items)).digest("hex")}"`;
  return { body: { kind: "APIGroupDiscoveryList", apiVersion: "apidiscovery.k8s.io/v2", items }, etag };
}
