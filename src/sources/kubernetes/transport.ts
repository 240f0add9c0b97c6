/**
 * HTTP to one API server: kept connections, credentials, time-outs and bounds. Knows no Kubernetes object.
 */
import * as http from "node:http";
import * as https from "node:https";
import { isIP } from "node:net";
import { realClock, type Clock } from "../../lib/settle.ts";
import type { ClusterConfig } from "./cluster-config.ts";
import { ConfigError, noAnswer, refusal } from "./errors.ts";

export interface Request {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Of the body; JSON when absent. */
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Parsed JSON; undefined for an empty body. */
  readonly body: unknown;
}

/** Milliseconds and bytes. */
export interface TransportLimits {
  /** Until an answer begins. */
  readonly answer: number;
  /** Until an answer that is not a watch has been read. */
  readonly whole: number;
  /** Of an answer that is not a watch: a page of 500 objects of 1 MB, which is more than etcd takes, fits in half of it. */
  readonly body: number;
}

export const TRANSPORT_LIMITS: TransportLimits = { answer: 30_000, whole: 60_000, body: 256 << 20 };

export interface TransportOptions {
  readonly config: ClusterConfig;
  readonly clock?: Clock;
  readonly limits?: Partial<TransportLimits>;
  /** For the server's audit log. */
  readonly userAgent?: string;
}

/** After so many quiet milliseconds the kernel asks whether the other side is still there, and gives up ten seconds later. */
const KEEP_ALIVE = 5_000;
/** Idle connections that are kept for the next request. */
const KEPT = 16;

export class Transport {
  readonly #config: ClusterConfig;
  readonly #base: URL;
  readonly #clock: Clock;
  readonly #limits: TransportLimits;
  readonly #agent: http.Agent;
  readonly #userAgent: string;

  constructor(options: TransportOptions) {
    const { config, clock = realClock, limits, userAgent = "heddle" } = options;
    this.#config = config;
    this.#base = serverOf(config.server);
    this.#clock = clock;
    this.#limits = { ...TRANSPORT_LIMITS, ...limits };
    this.#userAgent = userAgent;
    const kept = { keepAlive: true, keepAliveMsecs: KEEP_ALIVE, maxFreeSockets: KEPT };
    this.#agent = this.#base.protocol === "http:" ? new http.Agent(kept) : new https.Agent({ ...kept, ...this.#tls() });
  }

  /** Host and port, for sentences. */
  get server(): string {
    return this.#base.host;
  }

  /** Ends the kept connections; those in use end with their requests. */
  close(): void {
    this.#agent.destroy();
  }

  /** A whole answer. Throws `ApiError` for anything but 2xx and 304. */
  async ask(request: Request): Promise<Answer> {
    const what = `${request.method} ${request.path}`;
    const ending = new AbortController();
    const abort = () => ending.abort(request.signal.reason);
    const { whole } = this.#limits;
    const cancel = this.#clock.after(whole, () =>
      ending.abort(noAnswer(what, "Timeout", `the API server did not finish its answer within ${whole / 1_000} s`)),
    );
    request.signal.throwIfAborted();
    request.signal.addEventListener("abort", abort, { once: true });
    try {
      const response = await this.open({ ...request, signal: ending.signal });
      const text = await this.#read(what, response);
      const body = text === "" ? undefined : parse(what, text);
      return { status: response.statusCode ?? 0, headers: response.headers, body };
    } catch (error) {
      // The reason of an abort says more than what the socket says of it.
      if (ending.signal.aborted) throw ending.signal.reason;
      throw error;
    } finally {
      cancel();
      request.signal.removeEventListener("abort", abort);
    }
  }

  /** An answer whose body is still to come; whoever takes it reads it to its end, or destroys it. Throws `ApiError` for a refusal. */
  async open(request: Request): Promise<http.IncomingMessage> {
    const what = `${request.method} ${request.path}`;
    const { token } = this.#config;
    let response = await this.#send(what, request, await token?.current());
    if (response.statusCode === 401 && token) {
      // The kubelet may have replaced it a moment ago.
      response.destroy();
      token.rejected();
      response = await this.#send(what, request, await token.current());
    }
    const status = response.statusCode ?? 0;
    if ((status >= 200 && status < 300) || status === 304) return response;
    const text = await this.#read(what, response);
    throw refusal(what, status, parseOrText(text), response.headers["retry-after"]);
  }

  async #send(what: string, request: Request, token: string | undefined): Promise<http.IncomingMessage> {
    // Asking and applying may be done twice; and a server that went away left as many dead connections as were kept.
    let left = ["GET", "PATCH"].includes(request.method) ? KEPT : 0;
    for (;;) {
      request.signal.throwIfAborted();
      try {
        return await this.#once(what, request, token);
      } catch (error) {
        const stale = (error as { reused?: boolean }).reused === true;
        if (!stale || request.signal.aborted || left-- === 0) throw error;
      }
    }
  }

  #once(what: string, request: Request, token: string | undefined): Promise<http.IncomingMessage> {
    const { method, query = {}, body, contentType = "application/json", headers, signal } = request;
    const url = new URL(this.#base.pathname.replace(/\/$/, "") + request.path, this.#base);
    for (const [key, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(key, String(value));
    const content = body === undefined ? undefined : JSON.stringify(body);
    const options = {
      method,
      agent: this.#agent,
      headers: {
        accept: "application/json",
        "user-agent": this.#userAgent,
        ...(content === undefined ? {} : { "content-type": contentType, "content-length": Buffer.byteLength(content) }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...headers,
      },
    };
    return new Promise((resolve, reject) => {
      let sent: http.ClientRequest;
      try {
        sent = (this.#base.protocol === "http:" ? http : https).request(url, options);
      } catch (error) {
        // A certificate or key that is no PEM, a token with a line break.
        throw new ConfigError(
          `The credentials for the API server at ${this.server} cannot be used: ${(error as Error).message}. Correct the kubeconfig's certificate, key or token.`,
          { cause: error },
        );
      }
      const abort = () => sent.destroy(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
      const { answer } = this.#limits;
      const cancel = this.#clock.after(answer, () =>
        sent.destroy(noAnswer(what, "Timeout", `the API server did not answer within ${answer / 1_000} s`)),
      );
      signal.addEventListener("abort", abort, { once: true });
      sent.on("close", () => {
        cancel();
        signal.removeEventListener("abort", abort);
      });
      sent.on("socket", (socket) => socket.setKeepAlive(true, KEEP_ALIVE));
      sent.on("response", (response) => {
        cancel();
        resolve(response);
      });
      sent.on("error", (error: NodeJS.ErrnoException) => {
        cancel();
        if (signal.aborted) return reject(signal.reason);
        if (error.name === "ApiError") return reject(error);
        const failed = noAnswer(what, error.code ?? "Broken", unreachable(this.#base.host, error), error);
        reject(Object.assign(failed, { reused: sent.reusedSocket && error.code === "ECONNRESET" }));
      });
      sent.end(content);
    });
  }

  async #read(what: string, response: http.IncomingMessage): Promise<string> {
    const parts: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        size += chunk.length;
        if (size > this.#limits.body)
          throw noAnswer(what, "TooLarge", `the API server's answer has more than ${this.#limits.body} bytes`);
        parts.push(chunk);
      }
    } catch (error) {
      if ((error as Error).name === "ApiError") throw error;
      const { code = "Broken", message } = error as NodeJS.ErrnoException;
      throw noAnswer(what, code, `the API server's answer broke off (${message})`, error);
    }
    return Buffer.concat(parts).toString("utf8");
  }

  #tls(): https.AgentOptions {
    const { ca, clientCertificate, clientKey, serverName, insecureSkipTlsVerify } = this.#config;
    if ((clientCertificate === undefined) !== (clientKey === undefined))
      throw new ConfigError("A client certificate and its key are needed together.");
    const servername = serverName ?? (isIP(this.#base.hostname.replace(/^\[|\]$/g, "")) ? "" : this.#base.hostname);
    return {
      ...(ca === undefined ? {} : { ca }),
      ...(clientCertificate === undefined ? {} : { cert: clientCertificate, key: clientKey }),
      servername,
      minVersion: "TLSv1.2",
      rejectUnauthorized: insecureSkipTlsVerify !== true,
    };
  }
}

function parse(what: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw noAnswer(what, "BadAnswer", "the API server's answer is not JSON", error);
  }
}

function parseOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function unreachable(host: string, error: NodeJS.ErrnoException): string {
  return `the API server at ${host} cannot be reached (${error.message || error.code || "no reason given"})`;
}

function serverOf(server: string): URL {
  const url = URL.parse(server);
  if (url?.protocol === "https:" || url?.protocol === "http:") return url;
  throw new ConfigError(`The API server's address ${server} is no https:// address. Correct the kubeconfig's server.`);
}
