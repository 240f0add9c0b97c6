/**
 * A fake API server that can be made to fail in every way that a real one, or the network before it, does: drops, stalls, lies, says 410,
 * sends garbage, closes again and again. Its good behaviour is checked against a real one by the contract test.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { KINDS } from "../../src/manifest/kinds.ts";
import {
  Collection,
  keyOf,
  metadata,
  Refused,
  Revision,
  type CollectionSpec,
  type Event,
  type Json,
} from "./fake-api-objects.ts";
import { aggregated, bodyOf, groupList, isOwn, line, selection, statusOf, untyped } from "./fake-api-wire.ts";

/** What happens to one request. `cut` sends half of the answer and breaks off; `early` ends a watch cleanly before all was sent. */
export type Fault =
  | { readonly status: number; readonly retryAfter?: number }
  | "reset"
  | "hang"
  | "html"
  | "cut"
  | "early"
  | "text404";

/** What happens to a watch that is open. `stall`: it goes on for ever and says nothing more. */
export type WatchFault = "close" | "reset" | "stall" | "garbage" | "half" | "gone" | "error" | "nameless" | "huge";
export const WATCH_FAULTS: readonly WatchFault[] = [
  "close",
  "reset",
  "stall",
  "garbage",
  "half",
  "gone",
  "error",
  "nameless",
  "huge",
];

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly watch: boolean;
  readonly headers: IncomingMessage["headers"];
}

export interface FakeOptions {
  /** Whether watches can send what is there first; true when absent. */
  readonly watchList?: boolean;
  /** Whether `/apis` answers for all groups at once; true when absent. */
  readonly aggregated?: boolean;
  readonly tls?: { readonly cert: string; readonly key: string };
}

interface OpenWatch {
  readonly collection: Collection;
  readonly version: string;
  readonly selects: (object: Json) => boolean;
  readonly response: ServerResponse;
  stalled: boolean;
}

const BUILT_IN: readonly CollectionSpec[] = [
  { group: "coordination.k8s.io", versions: ["v1"], plural: "leases", kind: "Lease", namespaced: true },
  { group: "", versions: ["v1"], plural: "secrets", kind: "Secret", namespaced: true },
  { group: "", versions: ["v1"], plural: "configmaps", kind: "ConfigMap", namespaced: true },
];

export class FakeApiServer {
  readonly revision = new Revision();
  /** By `group/plural`. */
  readonly collections = new Map<string, Collection>();
  readonly requests: Seen[] = [];
  readonly watches = new Set<OpenWatch>();
  /** Token → what TokenReview says of it. */
  readonly tokens = new Map<string, Json>();
  /** Asked of each request. */
  fault: (seen: Seen) => Fault | undefined = () => undefined;
  /** Asked of each bearer token when set; false is 401. */
  accepts: ((token: string | undefined) => boolean) | undefined;
  readonly #options: FakeOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #pages = new Map<string, { readonly items: readonly Json[]; readonly version: number }>();
  readonly #waiting = new Set<() => void>();

  private constructor(options: FakeOptions) {
    this.#options = options;
    for (const spec of [...KINDS, ...BUILT_IN]) this.install(spec);
    const serve = (request: IncomingMessage, response: ServerResponse) => void this.#serve(request, response);
    this.#server = options.tls ? createTlsServer(options.tls, serve) : createServer(serve);
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  static async start(options: FakeOptions = {}): Promise<FakeApiServer> {
    const fake = new FakeApiServer(options);
    await new Promise<void>((resolve) => fake.#server.listen(0, "127.0.0.1", resolve));
    return fake;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }
  get url(): string {
    return `${this.#options.tls ? "https" : "http"}://127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.cutAll();
    await closed;
  }

  /** Every connection breaks. */
  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** As applying a CRD. */
  install(spec: CollectionSpec): void {
    this.collections.set(`${spec.group}/${spec.plural}`, new Collection(spec, this.revision));
  }

  /** As deleting a CRD: its objects go first, then its watches end. */
  uninstall(plural: string, keepTelling = true): void {
    const collection = this.of(plural);
    if (keepTelling) for (const key of collection.objects.keys()) collection.delete(key);
    this.collections.delete(`${collection.spec.group}/${plural}`);
    for (const watch of this.watches) if (watch.collection === collection) watch.response.end();
  }

  of(plural: string): Collection {
    const found = [...this.collections.values()].find((one) => one.spec.plural === plural);
    if (!found) throw new Error(`no collection ${plural}`);
    return found;
  }

  compact(): void {
    this.#pages.clear();
    for (const collection of this.collections.values()) collection.compact();
  }

  /** Tells every open watch how far it is. */
  bookmark(): void {
    for (const watch of this.watches) this.#bookmark(watch);
  }

  disturb(fault: WatchFault, plural?: string): void {
    for (const watch of this.watches) {
      if (plural !== undefined && watch.collection.spec.plural !== plural) continue;
      const { response } = watch;
      if (fault === "close") response.end();
      else if (fault === "reset") (response.socket as Socket).resetAndDestroy();
      else if (fault === "stall") watch.stalled = true;
      else if (fault === "garbage") response.write('{"type":"ADDED","object":{{{\n');
      else if (fault === "half") response.end('{"type":"ADDED","obj');
      else if (fault === "nameless") response.write(line("ADDED", { metadata: {} }));
      else if (fault === "huge") response.write("x".repeat(200_000));
      else {
        const gone = fault === "gone";
        response.end(line("ERROR", statusOf(gone ? 410 : 500, gone ? "Expired" : "InternalError", "fault")));
      }
    }
  }

  /** Resolves when this holds; looked at after each request and watch that begins or ends. */
  until(holds: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (!holds()) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** Open watches of a collection. */
  watching(plural: string): number {
    return [...this.watches].filter((one) => one.collection.spec.plural === plural && !one.stalled).length;
  }

  #look(): void {
    for (const look of this.#waiting) look();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on("error", () => {});
    const url = new URL(request.url ?? "/", "http://fake");
    const seen: Seen = {
      method: request.method ?? "GET",
      path: url.pathname,
      query: url.searchParams,
      watch: url.searchParams.get("watch") === "true",
      headers: request.headers,
    };
    this.requests.push(seen);
    try {
      const body = await bodyOf(request);
      const fault = this.fault(seen);
      const token = request.headers.authorization?.replace(/^Bearer /, "");
      if (fault === "reset") response.socket?.destroy();
      else if (fault === "html") response.writeHead(200, { "content-type": "text/html" }).end("<html>login</html>\n");
      else if (fault === "text404") response.writeHead(404).end("404 page not found\n");
      else if (typeof fault === "object") {
        const headers = fault.retryAfter === undefined ? {} : { "retry-after": String(fault.retryAfter) };
        response.writeHead(fault.status, headers).end(JSON.stringify(statusOf(fault.status, "Fault", "as asked")));
      } else if (fault !== "hang") {
        if (this.accepts && !this.accepts(token)) throw new Refused(401, "Unauthorized");
        this.#answer(seen, body, response, fault);
      }
    } catch (error) {
      const { code, reason, message, fields } =
        error instanceof Refused ? error : new Refused(500, "Bug", String(error));
      response
        .writeHead(code, { "content-type": "application/json" })
        .end(JSON.stringify(statusOf(code, reason, message, fields)));
    }
    this.#look();
  }

  #answer(seen: Seen, body: Json, response: ServerResponse, fault: "cut" | "early" | undefined): void {
    const send = (status: number, value: unknown, headers: Record<string, string> = {}) => {
      const text = JSON.stringify(value);
      response.writeHead(status, {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(text),
        ...headers,
      });
      if (fault !== "cut") return response.end(text);
      response.write(text.slice(0, text.length / 2), () => response.socket?.destroy());
      return undefined;
    };
    if (seen.path === "/version") return void send(200, { major: "1", minor: "36" });
    if (seen.path === "/apis") {
      const specs = [...this.collections.values()].map((one) => one.spec);
      if (this.#options.aggregated === false || !seen.headers.accept?.includes("APIGroupDiscoveryList"))
        return void send(200, groupList(specs));
      const { body: groups, etag } = aggregated(specs);
      if (seen.headers["if-none-match"] === etag) return void response.writeHead(304, { etag }).end();
      return void send(200, groups, { etag });
    }
    if (seen.path.endsWith("/tokenreviews")) return void send(201, this.#review(body));
    const [, prefix, ...rest] = seen.path.split("/");
    const group = prefix === "api" ? "" : (rest.shift() ?? "");
    const version = rest.shift() ?? "";
    if (rest.length === 0) return void send(200, this.#resources(group, version));
    const namespace = rest[0] === "namespaces" && rest.length > 2 ? rest.splice(0, 2)[1] : undefined;
    const [plural = "", name, subresource] = rest;
    const collection = this.collections.get(`${group}/${plural}`);
    if (!collection?.spec.versions.includes(version))
      throw new Refused(404, "NotFound", "could not find the requested resource");
    const { spec } = collection;
    const apiVersion = group === "" ? version : `${group}/${version}`;
    const key = `${namespace ?? ""}/${name ?? ""}`;
    const typed = (object: Json): Json => ({ ...object, apiVersion, kind: spec.kind });
    const given = (): Json => {
      if (!isOwn(group) && (body["kind"] !== spec.kind || body["apiVersion"] !== apiVersion))
        throw new Refused(400, "BadRequest", `the object provided is unrecognized (must be of type ${spec.kind})`);
      return withPlace();
    };
    const withPlace = (): Json => ({ ...body, metadata: { ...metadata(body), ...(namespace ? { namespace } : {}) } });
    if (name === undefined && seen.method === "POST") return void send(201, typed(collection.create(given())));
    if (name === undefined) {
      const selects = selection(seen.query, namespace);
      if (seen.watch) return this.#watch(collection, apiVersion, selects, seen.query, response, fault);
      return void send(200, this.#list(collection, apiVersion, selects, seen.query));
    }
    const object = collection.objects.get(key);
    if (seen.method === "PATCH" && seen.headers["content-type"] === "application/merge-patch+json") {
      if (!object) throw new Refused(404, "NotFound", `${plural} "${name}" not found`);
      const merged = { ...object, ...body, metadata: { ...metadata(object), ...metadata(body) } };
      return void send(200, typed(collection.replace(merged)));
    }
    if (seen.method === "PATCH") {
      const force = seen.query.get("force") === "true";
      const applied = collection.apply(given(), seen.query.get("fieldManager") ?? "", force, subresource);
      return void send(object ? 200 : 201, typed(applied));
    }
    if (!object) throw new Refused(404, "NotFound", `${plural} "${name}" not found`);
    if (seen.method === "PUT") return void send(200, typed(collection.replace(given())));
    if (seen.method !== "DELETE") return void send(200, typed(object));
    collection.delete(key, (body["preconditions"] ?? {}) as Json);
    return void send(200, { kind: "Status", apiVersion: "v1", status: "Success" });
  }

  #list(collection: Collection, apiVersion: string, selects: (object: Json) => boolean, query: URLSearchParams): Json {
    const limit = Number(query.get("limit") ?? 0) || Infinity;
    const token = query.get("continue");
    const page = token === null ? undefined : this.#pages.get(token);
    if (token !== null && !page) throw new Refused(410, "Expired", "The provided continue parameter is too old");
    const sorted = () => [...collection.objects].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
    const all = page?.items ?? sorted().filter(selects);
    const version = page?.version ?? this.revision.now;
    const rest = all.slice(limit);
    const next = rest.length > 0 ? `token-${version}-${rest.length}-${this.#pages.size}` : undefined;
    if (next !== undefined) this.#pages.set(next, { items: rest, version });
    const { kind, group } = collection.spec;

    const items = all
      .slice(0, limit)
      .map((object) => (isOwn(group) ? untyped(object) : { ...object, apiVersion, kind }));
    return { kind: `${kind}List`, apiVersion, metadata: { resourceVersion: String(version), continue: next }, items };
  }

  #watch(
    collection: Collection,
    apiVersion: string,
    selects: (object: Json) => boolean,
    query: URLSearchParams,
    response: ServerResponse,
    fault: "cut" | "early" | undefined,
  ): void {
    const initial = query.get("sendInitialEvents") === "true";
    if (initial && this.#options.watchList === false)
      throw new Refused(
        422,
        "Invalid",
        "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
      );
    const from = Number(query.get("resourceVersion") ?? 0);
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    const watch: OpenWatch = { collection, version: apiVersion, selects, response, stalled: false };
    if (!initial && from < collection.floor)
      return void response.end(line("ERROR", statusOf(410, "Expired", "too old resource version")));
    const typed = (object: Json): Json => ({ ...object, apiVersion, kind: collection.spec.kind });
    const send = (event: Event) => {
      const [was, is] = [event.before !== undefined && selects(event.before), selects(event.object)];
      if (watch.stalled || (!was && !is)) return;
      const type = event.type === "DELETED" || !is ? "DELETED" : was ? "MODIFIED" : "ADDED";
      response.write(line(type, typed(event.object)));
    };
    if (initial) {
      const all = [...collection.objects.values()].filter(selects);
      for (const object of fault ? all.slice(0, all.length / 2) : all) response.write(line("ADDED", typed(object)));
      if (fault === "cut") return void response.socket?.destroy();
      if (fault === "early") return void response.end();
      this.#bookmark(watch, { "k8s.io/initial-events-end": "true" });
    } else for (const event of collection.history) if (event.version > from) send(event);
    if (fault) return void response.end();
    const forget = collection.listen(send);
    this.watches.add(watch);
    response.on("close", () => {
      forget();
      this.watches.delete(watch);
      this.#look();
    });
  }

  #bookmark({ collection, version: apiVersion, response, stalled }: OpenWatch, annotations?: Json): void {
    const { kind } = collection.spec;
    const version = String(this.revision.now);
    if (!stalled)
      response.write(line("BOOKMARK", { apiVersion, kind, metadata: { resourceVersion: version, annotations } }));
  }

  #review(body: Json): Json {
    const { token, audiences } = body["spec"] as { token: string; audiences: string[] };
    const known = this.tokens.get(token);
    const shared = ((known?.["audiences"] ?? []) as string[]).filter((one) => audiences.includes(one));
    const status =
      shared.length > 0 ? { authenticated: true, user: known?.["user"], audiences: shared } : { error: "invalid" };
    return { apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", metadata: {}, status };
  }

  #resources(group: string, version: string): Json {
    const specs = [...this.collections.values()].map((one) => one.spec);
    const own = specs.filter((spec) => spec.group === group && spec.versions.includes(version));
    if (own.length === 0) throw new Refused(404, "NotFound");
    return { kind: "APIResourceList", resources: own.map(({ plural, kind }) => ({ name: plural, kind })) };
  }
}

export { keyOf, type Json };
