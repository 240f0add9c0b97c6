/**
 * A small client of one API server: list, watch, get, create, apply, replace, delete, and TokenReview. Keeps no object.
 */
import { isRaw, type Raw } from "../../lib/json.ts";
import type { Clock } from "../../lib/settle.ts";
import { isNotFound, noAnswer } from "./errors.ts";
import { metadataOf, pathOf, TOKEN_REVIEWS, type Name, type Resource } from "./resource.ts";
import { Transport, type Answer, type TransportOptions } from "./transport.ts";
import { eventsOf, type WatchEvent, type WatchLimits } from "./watch.ts";

/** Which objects of a collection. */
export interface Selection {
  /** All namespaces when absent. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface Page {
  /** As the server sent them: objects of Kubernetes' own kinds have no apiVersion and kind here. */
  readonly items: readonly Raw[];
  /** Of the whole list, the same on each of its pages. */
  readonly resourceVersion: string;
  /** For the next page; "" on the last one. */
  readonly next: string;
}

export interface WatchOptions extends Selection {
  /** What the watcher knows already; undefined asks for all that is there first (WatchList). */
  readonly from: string | undefined;
  /** After so many seconds the server ends the watch. */
  readonly seconds: number;
  readonly limits?: Partial<WatchLimits> | undefined;
  readonly heard?: (() => void) | undefined;
}

export interface ApplyOptions {
  /** Who owns the fields that are applied. */
  readonly manager: string;
  /** Takes fields from other owners; without it that is a conflict (409). */
  readonly force?: boolean;
  readonly subresource?: "status";
}

/** What an object must be for it to be deleted. */
export interface Preconditions {
  readonly uid?: string;
  readonly resourceVersion?: string;
}

/** What the API server says of a token. */
export interface TokenVerdict {
  readonly authenticated: boolean;
  /** `system:serviceaccount:NS:NAME`; "" when not authenticated. */
  readonly username: string;
  /** Those asked for that the token has. */
  readonly audiences: readonly string[];
  /** As `authentication.kubernetes.io/pod-name`. */
  readonly extra: Readonly<Record<string, readonly string[]>>;
  /** Why not; "" when it is. */
  readonly error: string;
}

export class KubernetesClient {
  readonly #transport: Transport;
  readonly #clock: Clock | undefined;

  constructor(options: TransportOptions) {
    this.#transport = new Transport(options);
    this.#clock = options.clock;
  }

  /** Host and port of the API server. */
  get server(): string {
    return this.#transport.server;
  }

  close(): void {
    this.#transport.close();
  }

  /** One page of a consistent list. */
  async list(
    resource: Resource,
    options: Selection & { readonly limit?: number; readonly next?: string },
    signal: AbortSignal,
  ): Promise<Page> {
    const { namespace, labelSelector, fieldSelector, limit, next } = options;
    const path = pathOf(resource, { namespace });
    const query = { labelSelector, fieldSelector, limit, continue: next || undefined };
    const { body } = await this.#transport.ask({ method: "GET", path, query, signal });
    const metadata = isRaw(body) ? body["metadata"] : undefined;
    const items = isRaw(body) ? (body["items"] ?? []) : undefined;
    const resourceVersion = metadataOf(body, "resourceVersion");
    if (!isRaw(metadata) || !Array.isArray(items) || !items.every(isRaw) || resourceVersion === "")
      throw noAnswer(`GET ${path}`, "BadAnswer", "the API server's answer is not a list");
    return { items, resourceVersion, next: typeof metadata["continue"] === "string" ? metadata["continue"] : "" };
  }

  /** Events as they come, with bookmarks, until the server ends the watch cleanly; throws `ApiError` for every other end. */
  async *watch(
    resource: Resource,
    options: WatchOptions,
    signal: AbortSignal,
  ): AsyncGenerator<readonly WatchEvent[], void> {
    const { namespace, labelSelector, fieldSelector, from, seconds, limits, heard } = options;
    const path = pathOf(resource, { namespace });
    const initial =
      from === undefined
        ? { sendInitialEvents: true, resourceVersionMatch: "NotOlderThan" }
        : { resourceVersion: from };
    const query = {
      watch: true,
      allowWatchBookmarks: true,
      timeoutSeconds: seconds,
      labelSelector,
      fieldSelector,
      ...initial,
    };
    const response = await this.#transport.open({ method: "GET", path, query, signal });
    heard?.();
    yield* eventsOf(response, { what: `watch of ${path}`, clock: this.#clock, limits, heard });
  }

  /** Undefined when there is none. */
  async get(resource: Resource, name: Name, signal: AbortSignal): Promise<Raw | undefined> {
    try {
      return await this.#object({ method: "GET", path: pathOf(resource, name), signal });
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /**
   * A conflict (409) when it is there already. `part` is for what is created below an object, as the `token` of a ServiceAccount.
   * The object says what it is: servers refuse those of CRDs without apiVersion and kind.
   */
  create(
    resource: Resource,
    object: Raw,
    signal: AbortSignal,
    part?: { readonly name: string; readonly subresource: string },
  ): Promise<Raw> {
    const place = { namespace: metadataOf(object, "namespace"), ...(part ? { name: part.name } : {}) };
    return this.#object({ method: "POST", path: pathOf(resource, place, part?.subresource), body: object, signal });
  }

  /** A conflict (409) when the object has another resourceVersion by now. */
  replace(resource: Resource, object: Raw, signal: AbortSignal): Promise<Raw> {
    return this.#object({ method: "PUT", path: pathOf(resource, nameOf(object)), body: object, signal });
  }

  /** Server-side apply: makes the object, or changes the given fields of it and drops those given before and not now. */
  apply(resource: Resource, object: Raw, options: ApplyOptions, signal: AbortSignal): Promise<Raw> {
    const { manager, force = false, subresource } = options;
    return this.#object({
      method: "PATCH",
      path: pathOf(resource, nameOf(object), subresource),
      query: { fieldManager: manager, force },
      // JSON is YAML, and this is the only type that every version takes.
      contentType: "application/apply-patch+yaml",
      body: object,
      signal,
    });
  }

  /** JSON merge patch: the given fields are replaced, lists as a whole. With a resourceVersion in it, a conflict (409) when it is another. */
  merge(resource: Resource, name: Name, patch: Raw, signal: AbortSignal): Promise<Raw> {
    const path = pathOf(resource, name);
    return this.#object({ method: "PATCH", path, contentType: "application/merge-patch+json", body: patch, signal });
  }

  /** Whether it was there. With `only` that very object, or that version of it, is deleted; another one is a conflict (409). */
  async delete(resource: Resource, name: Name, signal: AbortSignal, only?: Preconditions): Promise<boolean> {
    const body = only === undefined ? undefined : { apiVersion: "v1", kind: "DeleteOptions", preconditions: only };
    try {
      await this.#transport.ask({
        method: "DELETE",
        path: pathOf(resource, name),
        signal,
        ...(body === undefined ? {} : { body }),
      });
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  /** Asks whose token this is. The token stands in no error. */
  async reviewToken(token: string, audiences: readonly string[], signal: AbortSignal): Promise<TokenVerdict> {
    const body = { apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", spec: { token, audiences } };
    const answer = await this.#object({ method: "POST", path: pathOf(TOKEN_REVIEWS), body, signal });
    const status = isRaw(answer["status"]) ? answer["status"] : {};
    const user = isRaw(status["user"]) ? status["user"] : {};
    const extra = isRaw(user["extra"]) ? user["extra"] : {};
    const authenticated = status["authenticated"] === true;
    return {
      authenticated,
      username: authenticated && typeof user["username"] === "string" ? user["username"] : "",
      audiences: authenticated ? strings(status["audiences"]) : [],
      extra: Object.fromEntries(Object.entries(extra).map(([key, value]) => [key, strings(value)])),
      error: typeof status["error"] === "string" ? status["error"] : authenticated ? "" : "not a valid token",
    };
  }

  /** Any other path, as `/apis` or `/version`. Throws `ApiError` for anything but 2xx and 304. */
  ask(path: string, signal: AbortSignal, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    return this.#transport.ask({ method: "GET", path, headers, signal });
  }

  async #object(request: Parameters<Transport["ask"]>[0]): Promise<Raw> {
    const { body } = await this.#transport.ask(request);
    if (isRaw(body)) return body;
    throw noAnswer(`${request.method} ${request.path}`, "BadAnswer", "the API server's answer is not an object");
  }
}

const strings = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((one): one is string => typeof one === "string") : [];

const nameOf = (object: Raw): Name => ({
  namespace: metadataOf(object, "namespace"),
  name: metadataOf(object, "name"),
});
