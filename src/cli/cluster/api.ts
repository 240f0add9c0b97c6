/**
 * What the cluster's verbs ask of an API server: whole lists, single objects, merge patches, and plain text. Knows no verb.
 */
import { isRaw, type Raw } from "../../lib/json.ts";
import { isNotFound } from "../../sources/kubernetes/errors.ts";
import { pathOf, type Name, type Resource } from "../../sources/kubernetes/resource.ts";
import { Transport, type TransportOptions } from "../../sources/kubernetes/transport.ts";
import { VERSION } from "../version.ts";
import { ACCESS_REVIEWS } from "./resources.ts";

export interface Selection {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
}

/** What somebody wants to be allowed to do. */
export interface Permission {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly namespace?: string;
}

const PAGE = 500;

export class Api {
  readonly #transport: Transport;
  readonly #signal: AbortSignal;

  constructor(options: TransportOptions, signal: AbortSignal) {
    this.#transport = new Transport({ userAgent: `heddle/${VERSION}`, ...options });
    this.#signal = signal;
  }

  /** Host and port. */
  get server(): string {
    return this.#transport.server;
  }

  close(): void {
    this.#transport.close();
  }

  /** Every object, page by page, with its apiVersion and kind. */
  async list(resource: Resource, { namespace, labelSelector }: Selection = {}): Promise<Raw[]> {
    const found: Raw[] = [];
    let next: string | undefined;
    do {
      const query = { limit: PAGE, labelSelector, continue: next };
      const path = pathOf(resource, { namespace });
      const { body } = await this.#transport.ask({ method: "GET", path, query, signal: this.#signal });
      const kind = isRaw(body) && typeof body["kind"] === "string" ? body["kind"].replace(/List$/, "") : "";
      const apiVersion = isRaw(body) ? body["apiVersion"] : undefined;
      const items = isRaw(body) && Array.isArray(body["items"]) ? body["items"].filter(isRaw) : [];
      for (const item of items) found.push({ apiVersion, kind, ...item });
      const metadata = isRaw(body) ? body["metadata"] : undefined;
      next = isRaw(metadata) && typeof metadata["continue"] === "string" ? metadata["continue"] : undefined;
    } while (next);
    return found;
  }

  /** Undefined when there is none. */
  async get(resource: Resource, name: Name): Promise<Raw | undefined> {
    return this.#maybe(async () => {
      const { body } = await this.#transport.ask({ method: "GET", path: pathOf(resource, name), signal: this.#signal });
      return isRaw(body) ? body : {};
    });
  }

  /** Whether the API server would take it; it is not made. Rejects with the API server's words when it would not. */
  async tryCreate(resource: Resource, namespace: string, object: Raw): Promise<void> {
    await this.#transport.ask({
      method: "POST",
      path: pathOf(resource, { namespace }),
      query: { dryRun: "All" },
      body: object,
      signal: this.#signal,
    });
  }

  /** A JSON merge patch: null removes a key, what is not named stays. */
  async patch(resource: Resource, name: Name, patch: Raw): Promise<void> {
    await this.#transport.ask({
      method: "PATCH",
      path: pathOf(resource, name),
      contentType: "application/merge-patch+json",
      body: patch,
      signal: this.#signal,
    });
  }

  /** Whether it was there. */
  async delete(resource: Resource, name: Name): Promise<boolean> {
    const deleted = await this.#maybe(async () => {
      await this.#transport.ask({ method: "DELETE", path: pathOf(resource, name), signal: this.#signal });
      return true;
    });
    return deleted ?? false;
  }

  /** Whether whoever asks may do this. */
  async may({ verb, group, resource, namespace }: Permission): Promise<boolean> {
    const attributes = { verb, group, resource, ...(namespace === undefined ? {} : { namespace }) };
    const body = {
      apiVersion: "authorization.k8s.io/v1",
      kind: "SelfSubjectAccessReview",
      spec: { resourceAttributes: attributes },
    };
    const path = pathOf(ACCESS_REVIEWS);
    const { body: answer } = await this.#transport.ask({ method: "POST", path, body, signal: this.#signal });
    return isRaw(answer) && isRaw(answer["status"]) && answer["status"]["allowed"] === true;
  }

  /** Any other path that answers with JSON. */
  async json(path: string): Promise<unknown> {
    return (await this.#transport.ask({ method: "GET", path, signal: this.#signal })).body;
  }

  /** A path that answers with text, as logs are: at most so many bytes, from its beginning. */
  async text(path: string, query: Readonly<Record<string, string | number | boolean>>, most: number): Promise<string> {
    const response = await this.#transport.open({ method: "GET", path, query, signal: this.#signal });
    const parts: Buffer[] = [];
    let size = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      parts.push(chunk);
      size += chunk.length;
      if (size >= most) break;
    }
    return Buffer.concat(parts).subarray(0, most).toString("utf8");
  }

  async #maybe<T>(ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask();
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }
}
