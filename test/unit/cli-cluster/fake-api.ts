/** The few endpoints of an API server that the verbs use: objects by path, merge patches, access reviews, logs and port-forwards. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

export type Json = Record<string, unknown>;

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly type: string | undefined;
  readonly token: string | undefined;
  readonly body: unknown;
}

/** What a port of a pod answers; undefined: nobody listens there. */
export type PodAnswer = (path: string) => { readonly status?: number; readonly body: unknown };

const REASON: Record<number, string> = { 403: "Forbidden", 404: "NotFound", 500: "InternalError" };

export class FakeApi {
  /** By the path of a collection, as `/api/v1/namespaces`, in the whole cluster. */
  readonly collections = new Map<string, Json[]>();
  readonly seen: Seen[] = [];
  /** `ns/pod:port` → its answers. */
  readonly ports = new Map<string, PodAnswer>();
  /** Other paths. */
  readonly pages = new Map<string, unknown>();
  /** Paths that are refused, with their status. */
  refuses: (seen: Seen) => number | undefined = () => undefined;
  /** What access reviews say. */
  may: (attributes: Json) => boolean = () => true;
  /** Objects on a page of a list. */
  page = 500;
  readonly #server = createServer((request, response) => void this.#serve(request, response));
  readonly #sockets = new Set<Socket>();

  static async start(): Promise<FakeApi> {
    const fake = new FakeApi();
    fake.#server.on("connection", (socket) => {
      fake.#sockets.add(socket);
      socket.on("close", () => fake.#sockets.delete(socket));
      socket.on("error", () => {});
    });
    fake.#server.on("upgrade", (request: IncomingMessage, socket: Socket) => fake.#forward(request, socket));
    await new Promise<void>((resolve) => fake.#server.listen(0, "127.0.0.1", resolve));
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Puts an object where its apiVersion and kind belong. */
  put(...objects: readonly Json[]): this {
    for (const object of objects) {
      const path = collectionOf(object);
      this.collections.set(path, [...(this.collections.get(path) ?? []), object]);
    }
    return this;
  }

  /** Makes a kind known that has no object. */
  serve(...paths: readonly string[]): this {
    for (const path of paths) if (!this.collections.has(path)) this.collections.set(path, []);
    return this;
  }

  find(path: string, name: string): Json | undefined {
    return this.collections.get(path)?.find((one) => nameOf(one) === name);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) parts.push(chunk);
    const text = Buffer.concat(parts).toString("utf8");
    const url = new URL(request.url ?? "/", "http://fake");
    const seen: Seen = {
      method: request.method ?? "",
      path: url.pathname,
      query: url.searchParams,
      type: request.headers["content-type"],
      token: request.headers.authorization,
      body: text === "" ? undefined : JSON.parse(text),
    };
    this.seen.push(seen);
    const refused = this.refuses(seen);
    if (refused !== undefined) return status(response, refused, `${seen.path} is refused`);
    if (this.pages.has(seen.path)) {
      const page = this.pages.get(seen.path);
      return typeof page === "string" ? void response.end(page) : send(response, 200, page);
    }
    if (seen.path.endsWith("/selfsubjectaccessreviews")) {
      const attributes = (seen.body as { spec: { resourceAttributes: Json } }).spec.resourceAttributes;
      return send(response, 201, { kind: "SelfSubjectAccessReview", status: { allowed: this.may(attributes) } });
    }
    this.#object(seen, response);
  }

  #object(seen: Seen, response: ServerResponse): void {
    const place = placeOf(seen.path);
    const objects = this.collections.get(place.collection);
    if (!objects) return status(response, 404, "the server could not find the requested resource");
    const mine = objects.filter((one) => place.namespace === undefined || namespaceOf(one) === place.namespace);
    if (place.name === undefined) {
      const selected = mine.filter((one) => selects(seen.query.get("labelSelector"), one));
      const from = Number(seen.query.get("continue") ?? 0);
      const next = from + this.page < selected.length ? String(from + this.page) : undefined;
      const items = selected.slice(from, from + this.page).map(withoutKind);
      const [first] = objects;
      const kind = `${text(first?.["kind"])}List`;
      return send(response, 200, {
        apiVersion: first?.["apiVersion"],
        kind,
        metadata: { resourceVersion: "1", continue: next },
        items,
      });
    }
    const found = mine.find((one) => nameOf(one) === place.name);
    if (!found) return status(response, 404, `"${place.name}" not found`);
    if (seen.method === "PATCH") merge(found, seen.body as Json);
    if (seen.method === "DELETE")
      this.collections.set(
        place.collection,
        objects.filter((one) => one !== found),
      );
    send(response, 200, found);
  }

  /** The kubelet's end of a port-forward: channel 0 carries bytes, channel 1 errors; each begins with the port. */
  #forward(request: IncomingMessage, socket: Socket): void {
    const url = new URL(request.url ?? "/", "http://fake");
    const seen: Seen = {
      method: "FORWARD",
      path: url.pathname,
      query: url.searchParams,
      type: undefined,
      token: request.headers.authorization,
      body: undefined,
    };
    this.seen.push(seen);
    const refused = this.refuses(seen);
    if (refused !== undefined) {
      socket.end(`HTTP/1.1 ${refused} ${REASON[refused]}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
      return;
    }
    const [, , , , namespace = "", , pod = ""] = url.pathname.split("/");
    const port = Number(url.searchParams.get("ports"));
    const accept = createHash("sha1")
      .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest("base64");
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\nsec-websocket-protocol: v4.channel.k8s.io\r\n\r\n`,
    );
    for (const channel of [0, 1]) socket.write(frame(Buffer.from([channel, port & 255, port >> 8])));
    const answer = this.ports.get(`${namespace}/${pod}:${port}`);
    if (!answer) {
      socket.write(frame(Buffer.concat([Buffer.from([1]), Buffer.from(`connection refused: port ${port}`)])));
      return;
    }
    let pending = Buffer.alloc(0);
    let head = "";
    socket.on("data", (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      for (;;) {
        const read = unframe(pending);
        if (!read) return;
        pending = pending.subarray(read.length);
        if (read.opcode === 8) return void socket.end();
        head += read.payload.subarray(1).toString("utf8");
        if (!head.includes("\r\n\r\n")) continue;
        const path = head.split(" ")[1] ?? "/";
        head = "";
        const { status: code = 200, body } = answer(path);
        const text = typeof body === "string" ? body : JSON.stringify(body);
        const bytes = Buffer.from(
          `HTTP/1.1 ${code} X\r\ncontent-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
        );
        for (let at = 0; at < bytes.length; at += 16_000)
          socket.write(frame(Buffer.concat([Buffer.from([0]), bytes.subarray(at, at + 16_000)])));
      }
    });
  }
}

function frame(payload: Buffer): Buffer {
  const { length } = payload;
  const head = length < 126 ? Buffer.from([0x82, length]) : Buffer.from([0x82, 126, (length >> 8) & 255, length & 255]);
  return Buffer.concat([head, payload]);
}

/** Clients mask what they send. */
function unframe(data: Buffer): { opcode: number; payload: Buffer; length: number } | undefined {
  if (data.length < 2) return undefined;
  let size = data[1]! & 127;
  let at = 2;
  if (size === 126) {
    if (data.length < 4) return undefined;
    size = data.readUInt16BE(2);
    at = 4;
  }
  if (data.length < at + 4 + size) return undefined;
  const mask = data.subarray(at, at + 4);
  const payload = Buffer.from(data.subarray(at + 4, at + 4 + size)).map((byte, i) => byte ^ mask[i % 4]!);
  return { opcode: data[0]! & 15, payload: Buffer.from(payload), length: at + 4 + size };
}

const field = (object: unknown, key: string): Json => ((object as Json)[key] ?? {}) as Json;
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const nameOf = (object: Json): string => text(field(object, "metadata")["name"]);
const namespaceOf = (object: Json): string => text(field(object, "metadata")["namespace"]);
/** As a real server lists Kubernetes' own kinds. */
const withoutKind = (object: Json): Json =>
  Object.fromEntries(Object.entries(object).filter(([key]) => key !== "apiVersion" && key !== "kind"));

function selects(selector: string | null, object: Json): boolean {
  if (!selector) return true;
  const labels = field(field(object, "metadata"), "labels");
  return selector.split(",").every((one) => {
    const [key = "", value] = one.split("=");
    return value === undefined ? key in labels : labels[key] === value;
  });
}

function merge(target: Json, patch: Json): void {
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete target[key];
    else if (typeof value === "object" && !Array.isArray(value)) {
      target[key] ??= {};
      merge(target[key] as Json, value as Json);
    } else target[key] = value;
  }
}

function placeOf(path: string): { collection: string; namespace?: string; name?: string } {
  const parts = path.split("/").slice(1).map(decodeURIComponent);
  const base = parts[0] === "api" ? 2 : 3;
  const rest = parts.slice(base);
  const namespaced = rest[0] === "namespaces" && rest.length > 2;
  const [plural, name] = namespaced ? rest.slice(2) : rest;
  return {
    collection: `/${[...parts.slice(0, base), plural].join("/")}`,
    ...(namespaced ? { namespace: rest[1]! } : {}),
    ...(name === undefined ? {} : { name }),
  };
}

const PLURALS: Record<string, string> = { Ingress: "ingresses", Egress: "egresses" };

export function collectionOf(object: Json): string {
  const apiVersion = String(object["apiVersion"]);
  const kind = String(object["kind"]);
  const plural = PLURALS[kind] ?? `${kind.toLowerCase()}s`;
  return `${apiVersion.includes("/") ? "/apis" : "/api"}/${apiVersion}/${plural}`;
}

function send(response: ServerResponse, code: number, body: unknown): void {
  response.writeHead(code, { "content-type": "application/json" }).end(JSON.stringify(body));
}

const status = (response: ServerResponse, code: number, message: string): void =>
  send(response, code, { kind: "Status", status: "Failure", reason: REASON[code], message, code });
