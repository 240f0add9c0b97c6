/**
 * Objects as tests send them to an API server, and what it answers. Knows no test.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { loadAll } from "js-yaml";
import { kindOf, splitApiVersion } from "../../../src/manifest/kinds.ts";
import type { ApiServer, Reply } from "./api-server.ts";
import type { Manifest } from "./helm.ts";

/** The documents of all files of a folder. */
export const folder = (path: string): Manifest[] =>
  readdirSync(path)
    .filter((name) => name.endsWith(".yaml"))
    .flatMap((name) => loadAll(readFileSync(join(path, name), "utf8")) as (Manifest | null | undefined)[])
    .filter((each): each is Manifest => Boolean(each));

/** Where an object of SMI's or OSM's is POSTed. */
export function collection({ apiVersion, kind, metadata }: Manifest): string {
  const { group, version } = splitApiVersion(apiVersion);
  const plural = kindOf(group, kind)?.plural ?? `${kind.toLowerCase()}s`;
  return `/apis/${group}/${version}/namespaces/${metadata.namespace ?? "default"}/${plural}`;
}

export const policy = (apiVersion: string, kind: string, name: string, spec: unknown): Manifest => ({
  apiVersion,
  kind,
  metadata: { name, namespace: "default" },
  spec,
});

/** As strict as kubectl is. */
export const create = (api: ApiServer, object: Manifest, query = ""): Promise<Reply> =>
  api.call("POST", `${collection(object)}?fieldValidation=Strict${query}`, object);

export const makeNamespace = (api: ApiServer, name: string): Promise<Reply> =>
  api.call("POST", "/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name } });

/** The sentence of a refusal; else all of the answer. */
export const messageOf = (reply: Reply): string =>
  typeof reply.json["message"] === "string" ? reply.json["message"] : reply.body;
