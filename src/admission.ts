/**
 * The webhook server: turns the API server's AdmissionReviews into calls of functions that it is given, and always answers.
 * Knows HTTPS and the form of a review; nothing of sidecars and policies.
 */
import { createSecureContext } from "node:tls";
import { createServer, type Server } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Arriving } from "./lib/arriving.ts";
import { isRaw } from "./lib/json.ts";
import { limitPerAddress } from "./lib/per-address.ts";
import { realClock, type Clock } from "./lib/settle.ts";
import type { Log } from "./telemetry/log.ts";

/** What the API server asks. */
export interface AdmissionRequest {
  readonly uid: string;
  readonly operation: "CREATE" | "UPDATE" | "DELETE" | "CONNECT";
  readonly kind: { readonly group: string; readonly version: string; readonly kind: string };
  /** "" where there is none. */
  readonly namespace: string;
  readonly name: string;
  readonly object: unknown;
  readonly oldObject: unknown;
  /** Then nothing may be written anywhere for it. */
  readonly dryRun: boolean;
}

export interface AdmissionAnswer {
  readonly allowed: boolean;
  /** For who is refused. */
  readonly message?: string;
  /** HTTP status for who is refused; 403 when absent. */
  readonly code?: number;
  /** Sentences. Long ones are cut, as Kubernetes asks. */
  readonly warnings?: readonly string[];
  /** RFC 6902. Empty: nothing is changed. */
  readonly patch?: readonly unknown[];
}

export interface Webhook {
  /** Of the URL, as `/validate`. */
  readonly path: string;
  readonly answer: (request: AdmissionRequest) => AdmissionAnswer | Promise<AdmissionAnswer>;
  /** What becomes of an object when `answer` fails or takes too long: a fault of ours. */
  readonly otherwise: "allow" | "refuse";
}

/** PEM. May be replaced while the port is open. */
export interface AdmissionCredentials {
  readonly certificate: string | Buffer;
  readonly privateKey: string | Buffer;
}

export interface AdmissionLimits {
  /** Bytes of a review. Kubernetes' own limit of an object is 1.5 MiB, and an update holds two. */
  readonly body: number;
  /** Reviews that are worked on at once; others wait in line. */
  readonly concurrent: number;
  /** Reviews that wait in line; others are told to come again. */
  readonly waiting: number;
  /** Milliseconds in which a review has to arrive. */
  readonly arrival: number;
  /** Milliseconds for a review in all, also when the API server would wait longer. */
  readonly time: number;
}

export interface AdmissionOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly credentials: AdmissionCredentials;
  readonly webhooks: readonly Webhook[];
  readonly log: Log;
  /** Called for each review: `osm_admission_webhook_response_total`. `kind` is one of a bounded number. */
  readonly counted?: (kind: string, success: boolean, seconds: number) => void;
  readonly limits?: Partial<AdmissionLimits>;
  /** The process has other work: reviews are looked at one by one, and after each it has for that work as long as the review took. */
  readonly besides?: boolean;
  /** For the pauses of `besides`. */
  readonly clock?: Clock;
}

export interface AdmissionListener {
  readonly port: number;
  /** New connections see the new certificate; open ones go on. Throws when certificate and key do not fit: the old ones stay. */
  rotate(credentials: AdmissionCredentials): void;
  /** Accepts no more, and resolves when what is being answered is answered, at the latest after so many milliseconds. */
  close(graceMs: number): Promise<void>;
}

const LIMITS: AdmissionLimits = { body: 3 * 1024 * 1024, concurrent: 64, waiting: 2048, arrival: 2_000, time: 10_000 };
/** The API server is one address with some hundreds at most; whoever else comes must leave it room. */
const MAX_CONNECTIONS = 1_600;
const PER_ADDRESS = 400;
/** Bytes of reviews that are not answered yet, from everybody and from one address. */
const ARRIVING = 128 * 1024 * 1024;
const ARRIVING_PER_ADDRESS = 64 * 1024 * 1024;
/** Milliseconds that the answer needs to get there. */
const MARGIN = 300;
/** The API server keeps idle connections for 90 s and takes one that we just close for a failure. */
const KEEP_ALIVE = 300_000;
/** Kubernetes: characters of one warning, and warnings that may be read. */
const WARNING_LENGTH = 250;
const WARNINGS = 15;
const MAX_KINDS = 50;

/** An HTTP status and a sentence for who did not send a review. */
class Rejected extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Opens the port; rejects when it is taken or the certificate cannot be used. `GET /healthz` answers 200. */
export async function openAdmission(options: AdmissionOptions): Promise<AdmissionListener> {
  const limits = { ...LIMITS, ...options.limits };
  const { besides = false, clock = realClock } = options;
  const gate = new Gate(besides ? 1 : limits.concurrent, limits.waiting);
  const hooks = new Map(options.webhooks.map((hook) => [hook.path, hook]));
  const kinds = new Set<string>();
  const server: Server = createServer({
    ...context(options.credentials),
    keepAliveTimeout: KEEP_ALIVE,
    requestTimeout: limits.time,
    headersTimeout: Math.min(limits.time, 5_000),
    connectionsCheckingInterval: 1_000,
    handshakeTimeout: 5_000,
  });
  server.maxConnections = MAX_CONNECTIONS;
  limitPerAddress(server, PER_ADDRESS);
  const arriving = new Arriving(ARRIVING, ARRIVING_PER_ADDRESS);
  server.on("request", (request, response) => void respond(request, response));

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const started = performance.now();
    response.on("error", () => {});
    request.on("error", () => {});
    try {
      const { path, timeout } = target(request);
      if (path === "/healthz") return send(response, 200, "text/plain", "ok\n");
      const hook = hooks.get(path);
      if (!hook) throw new Rejected(404, `there is no webhook at ${JSON.stringify(path.slice(0, 100))}`);
      if (request.method !== "POST") throw new Rejected(405, "a webhook takes POST only");
      const deadline = started + Math.min(limits.time, Math.max(timeout - MARGIN, MARGIN));
      // Who lets others wait for his body must not stand in line before them. What has come counts until it is answered.
      const held = arriving.of(request.socket.remoteAddress ?? "");
      try {
        const body = await read(request, limits.body, Math.min(deadline, started + limits.arrival), held.take);
        const leave = await gate.enter(deadline);
        const entered = clock.now();
        try {
          const { review, apiVersion } = parse(body);
          const { answer, success } = await ask(hook, review, deadline, options.log);
          const kind = kinds.size < MAX_KINDS || kinds.has(review.kind.kind) ? review.kind.kind : "other";
          kinds.add(kind);
          options.counted?.(kind, success && answer.allowed, (performance.now() - started) / 1000);
          send(response, 200, "application/json", JSON.stringify(reviewOf(review.uid, apiVersion, answer)));
        } finally {
          if (besides) clock.after(clock.now() - entered, leave);
          else leave();
        }
      } finally {
        held.release();
      }
    } catch (error) {
      const { status, message } = error instanceof Rejected ? error : new Rejected(500, "this is a fault of Heddle's");
      if (!(error instanceof Rejected)) options.log.error("a webhook call failed", { error: String(error) });
      options.counted?.("none", false, (performance.now() - started) / 1000);
      // What was not read would be taken for the next request.
      if (!request.complete) response.setHeader("connection", "close");
      send(response, status, "text/plain", `The review is not answered: ${message}.\n`);
    }
  }

  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: options.host, port: options.port, backlog: 1024 }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.on("error", (error) => options.log.warn("a webhook connection was lost", { error: error.message }));
  return {
    port: (server.address() as AddressInfo).port,
    rotate(credentials) {
      createSecureContext(context(credentials));
      server.setSecureContext(context(credentials));
    },
    async close(graceMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), graceMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

const context = ({ certificate, privateKey }: AdmissionCredentials) =>
  ({ cert: certificate, key: privateKey, minVersion: "TLSv1.2" }) as const;

/** The API server says in the URL how long it waits. Milliseconds. */
function target(request: IncomingMessage): { readonly path: string; readonly timeout: number } {
  const [path = "/", query = ""] = (request.url ?? "/").split("?", 2);
  const seconds = /(?:^|&)timeout=(\d{1,4})s(?:&|$)/.exec(query)?.[1];
  return { path, timeout: seconds === undefined ? Number.POSITIVE_INFINITY : Number(seconds) * 1000 };
}

function read(
  request: IncomingMessage,
  limit: number,
  deadline: number,
  take: (bytes: number) => boolean,
): Promise<Buffer> {
  const tooLarge = () => new Rejected(413, `it is larger than ${limit} bytes`);
  if (Number(request.headers["content-length"] ?? 0) > limit) return Promise.reject(tooLarge());
  // Gone while it stood in line.
  if (request.destroyed) return Promise.reject(new Rejected(400, "it broke off"));
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const timer = setTimeout(() => end(new Rejected(408, "it took too long to arrive")), deadline - performance.now());
    const end = (error?: Rejected): void => {
      clearTimeout(timer);
      request.off("data", data);
      if (error) reject(error);
      else resolve(Buffer.concat(chunks));
    };
    const data = (chunk: Buffer): void => {
      size += chunk.length;
      if (size > limit) return end(tooLarge());
      if (!take(chunk.length)) return end(new Rejected(503, "too much arrives at once; try again"));
      chunks.push(chunk);
    };
    request.on("data", data);
    request.once("end", () => end());
    request.once("close", () => end(request.complete ? undefined : new Rejected(400, "it broke off")));
  });
}

const OPERATIONS = ["CREATE", "UPDATE", "DELETE", "CONNECT"] as const;

/** @throws Rejected when it is no review to which there could be an answer */
function parse(body: Buffer): { readonly review: AdmissionRequest; readonly apiVersion: string } {
  let json: unknown;
  try {
    json = JSON.parse(body.toString("utf8"));
  } catch {
    throw new Rejected(400, "it is not JSON");
  }
  const { apiVersion, kind, request } = isRaw(json) ? json : {};
  if (kind !== "AdmissionReview" || (apiVersion !== "admission.k8s.io/v1" && apiVersion !== "admission.k8s.io/v1beta1"))
    throw new Rejected(400, "it is not an AdmissionReview of admission.k8s.io/v1");
  if (!isRaw(request)) throw new Rejected(400, "it has no request");
  const text = (value: unknown): string => (typeof value === "string" ? value : "");
  const uid = text(request["uid"]);
  if (uid === "") throw new Rejected(400, "its request has no uid");
  const operation = OPERATIONS.find((one) => one === request["operation"]);
  if (!operation) throw new Rejected(400, `its operation is not one of ${OPERATIONS.join(", ")}`);
  const named = isRaw(request["kind"]) ? request["kind"] : {};
  const review: AdmissionRequest = {
    uid,
    operation,
    kind: { group: text(named["group"]), version: text(named["version"]), kind: text(named["kind"]) },
    namespace: text(request["namespace"]),
    name: text(request["name"]),
    object: request["object"],
    oldObject: request["oldObject"],
    dryRun: request["dryRun"] === true,
  };
  return { review, apiVersion };
}

/** The webhook's answer, or what it says to do without one. */
async function ask(
  hook: Webhook,
  review: AdmissionRequest,
  deadline: number,
  log: Log,
): Promise<{ readonly answer: AdmissionAnswer; readonly success: boolean }> {
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("it took too long")), Math.max(0, deadline - performance.now()));
    });
    return { answer: await Promise.race([hook.answer(review), late]), success: true };
  } catch (error) {
    const { kind, namespace, name } = review;
    log.error("a webhook could not answer; this is a fault of Heddle's, please report it", {
      path: hook.path,
      kind: kind.kind,
      namespace,
      name,
      error: String(error),
    });
    const message = `Heddle could not look at this ${kind.kind || "object"}`;
    const answer: AdmissionAnswer =
      hook.otherwise === "allow"
        ? { allowed: true, warnings: [`${message}, so it is not checked; its control plane's log says why.`] }
        : { allowed: false, code: 500, message: `${message}; try again, and see its control plane's log.` };
    return { answer, success: false };
  } finally {
    clearTimeout(timer);
  }
}

function reviewOf(uid: string, apiVersion: string, answer: AdmissionAnswer): unknown {
  const warnings = (answer.warnings ?? []).slice(0, WARNINGS).map(cut);
  const patch = answer.allowed && answer.patch && answer.patch.length > 0 ? answer.patch : undefined;
  return {
    apiVersion,
    kind: "AdmissionReview",
    response: {
      uid,
      allowed: answer.allowed,
      ...(answer.allowed ? {} : { status: { code: answer.code ?? 403, message: answer.message ?? "" } }),
      ...(warnings.length > 0 ? { warnings } : {}),
      ...(patch
        ? { patchType: "JSONPatch", patch: Buffer.from(JSON.stringify(patch), "utf8").toString("base64") }
        : {}),
    },
  };
}

/** On one line, as it becomes an HTTP header. */
const cut = (warning: string): string => {
  const line = warning.replaceAll(/\p{Cc}+/gu, " ");
  return line.length > WARNING_LENGTH ? `${line.slice(0, WARNING_LENGTH - 1).toWellFormed()}…` : line;
};

function send(response: ServerResponse, status: number, type: string, body: string): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body) }).end(body);
}

/** So many may be inside, and so many in line before it. */
class Gate {
  #free: number;
  readonly #waiting: number;
  readonly #line = new Set<() => void>();

  constructor(concurrent: number, waiting: number) {
    this.#free = concurrent;
    this.#waiting = waiting;
  }

  /** Resolves with what to call on leaving. */
  async enter(deadline: number): Promise<() => void> {
    if (this.#free > 0) this.#free--;
    else await this.#wait(deadline);
    return () => {
      const [next] = this.#line;
      if (next) next();
      else this.#free++;
    };
  }

  #wait(deadline: number): Promise<void> {
    if (this.#line.size >= this.#waiting)
      return Promise.reject(new Rejected(503, "too many others wait for an answer"));
    return new Promise((resolve, reject) => {
      const next = (): void => {
        clearTimeout(timer);
        this.#line.delete(next);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#line.delete(next);
        reject(new Rejected(503, "others were before it for too long"));
      }, deadline - performance.now());
      this.#line.add(next);
    });
  }
}
