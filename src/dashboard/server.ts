/**
 * Health, metrics and debug pages over HTTP: one page a stage, read-only. On loopback and on a unix socket only, unless told otherwise.
 * Knows the pipeline by its read-only view; whatever else it shows is given to it as data.
 */
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { chmodSync, rmSync } from "node:fs";
import { isIP, type AddressInfo } from "node:net";
import { limitPerAddress } from "../lib/per-address.ts";
import type { Inspect } from "../pipeline.ts";
import type { Log } from "../telemetry/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { htmlPage, linkList, pre, type Link } from "./page.ts";
import { plain } from "./plain.ts";

type GroupName = Parameters<Inspect["resources"]>[0];
type Resources = NonNullable<ReturnType<Inspect["resources"]>>;

/** What is shown. Everything is read when somebody asks for it. */
export interface Shown {
  readonly pipeline: Inspect;
  readonly metrics: Metrics;
  /** Undefined when ready, else a sentence that says what is missing. */
  readonly notReady: () => string | undefined;
  readonly problems: () => readonly unknown[];
  /** Rows for the command line. */
  readonly pods: () => readonly unknown[];
  /** Rows of connected proxies, for the command line and `/debug/streams`. */
  readonly proxies: () => readonly unknown[];
  /** The folder that the mesh is made of, as a whole path, where it is made of one. */
  readonly folder?: string;
  /** What is told of the program at a path, as `/version`, beside health. */
  readonly facts?: Readonly<Record<string, unknown>>;
  /** A group's resources as Envoy's JSON. */
  readonly decode: (resources: Resources) => unknown;
}

export interface DashboardOptions {
  readonly shown: Shown;
  readonly log: Log;
  /** TCP: 127.0.0.1 when no host is given; port 0 is any. Absent: no TCP. */
  readonly listen?: { readonly host?: string; readonly port: number };
  /** Health and metrics alone, under any name, for probes and scrapers of the cluster. */
  readonly open?: { readonly host: string; readonly port: number };
  /** Path of a unix socket that only this user may use. */
  readonly socket?: string;
}

export interface Dashboard {
  /** `http://127.0.0.1:9091`; undefined without TCP. */
  readonly url: string | undefined;
  /** Ends every connection. */
  close(): Promise<void>;
}

/** Simultaneous connections: people, scrapers and the kubelet, whose probes nobody may shut out. */
const MAX_CONNECTIONS = 1_024;
const PER_ADDRESS = 32;
const TIMEOUT = 10_000;
/** Of a connection on which nothing is asked. */
const IDLE = 2_000;

interface Page extends Link {
  /** What is shown; undefined: there is no such thing. */
  readonly data: (shown: Shown, query: URLSearchParams) => unknown;
}

const PAGES: readonly Page[] = [
  { path: "/debug/world", says: "What is true: every object as it was read", data: ({ pipeline }) => pipeline.world },
  {
    path: "/debug/ir",
    says: "What the policies mean, before anything is Envoy's",
    data: ({ pipeline }) => pipeline.mesh ?? {},
  },
  { path: "/debug/xds", says: "What a group of proxies is given (?group=NAME; without: the groups)", data: xds },
  {
    path: "/debug/streams",
    says: "The proxies that are connected, and what each has accepted",
    data: ({ proxies }) => proxies(),
  },
  { path: "/debug/problems", says: "What is wrong with the objects, and where", data: ({ problems }) => problems() },
  {
    path: "/debug/list",
    says: "The proxies that are connected, by identity",
    data: ({ proxies }) => proxies().map(brief),
  },
  {
    path: "/debug/work",
    says: "What was compiled and encoded since the start",
    data: ({ pipeline }) => ({ published: pipeline.published, ...pipeline.work }),
  },
];

const API: Readonly<Record<string, Page["data"]>> = {
  "/api/pods": ({ pods }) => pods(),
  "/api/proxies": ({ proxies }) => proxies(),
  "/api/services": ({ pipeline }) => [...(pipeline.mesh?.services.keys() ?? [])],
  "/api/problems": ({ problems }) => problems(),
  "/api/folder": ({ folder }) => folder ?? null,
};

function xds({ pipeline, decode }: Shown, query: URLSearchParams): unknown {
  const group = query.get("group");
  const groups = [...(pipeline.mesh?.groups.keys() ?? [])].sort();
  if (group === null)
    return { groups: groups.map((name) => ({ group: name, page: `/debug/xds?group=${encodeURIComponent(name)}` })) };
  const resources = pipeline.resources(group as GroupName);
  return resources && decode(resources);
}

const brief = (row: unknown): unknown => {
  const { id, pod, identity, group, connectedSince } = row as Record<string, unknown>;
  return { id, pod, identity, group, connectedSince };
};

/** Listens. Rejects when the port is taken. */
export async function startDashboard({ shown, log, listen, open, socket }: DashboardOptions): Promise<Dashboard> {
  const servers: Server[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(
      servers.map((server) => {
        server.closeAllConnections();
        return new Promise<void>((resolve) => server.close(() => resolve()));
      }),
    );
  };
  try {
    let url: string | undefined;
    if (listen) {
      const { host = "127.0.0.1", port } = listen;
      const server = serverFor(answering(shown, log, new Set([host])));
      servers.push(server);
      await listening(server, () => server.listen(port, host));
      const { address, family, port: bound } = server.address() as AddressInfo;
      url = `http://${family === "IPv6" ? `[${address}]` : address}:${bound}`;
    }
    if (open) {
      const server = serverFor((request, response) => void answerOpen(request, response, shown));
      servers.push(server);
      await listening(server, () => server.listen(open.port, open.host));
    }
    if (socket !== undefined) {
      rmSync(socket, { force: true });
      const server = serverFor(answering(shown, log, new Set()));
      servers.push(server);
      await listening(server, () => {
        // Between `listen`, which binds at once, and `chmod` the socket must not be open to others.
        const mask = process.umask(0o177);
        try {
          server.listen(socket);
        } finally {
          process.umask(mask);
        }
      });
      chmodSync(socket, 0o600);
    }
    return { url, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function serverFor(listener: RequestListener): Server {
  const server = createServer(
    {
      maxHeaderSize: 8192,
      requestTimeout: TIMEOUT,
      headersTimeout: IDLE,
      keepAliveTimeout: 5000,
      connectionsCheckingInterval: 500,
    },
    listener,
  );
  server.maxConnections = MAX_CONNECTIONS;
  // Who asks and does not read keeps no place.
  server.setTimeout(TIMEOUT);
  limitPerAddress(server, PER_ADDRESS);
  return server;
}

const listening = (server: Server, listen: () => void): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => {
      server.off("error", reject);
      resolve();
    });
    listen();
  });

/** A page that a name of somebody else's leads to (DNS rebinding) must not be readable by that somebody's scripts. */
function isOurHost(header: string | undefined, ours: ReadonlySet<string>): boolean {
  if (header === undefined) return false;
  const name = header
    .replace(/:\d+$/, "")
    .replace(/^\[|\]$/g, "")
    .toLowerCase();
  return name === "localhost" || isIP(name) > 0 || ours.has(name);
}

const OPEN: ReadonlySet<string> = new Set(["/metrics", "/healthz", "/readyz", "/health/alive", "/health/ready"]);

/** What anybody may ask. OSM's paths of health are kept. */
async function answerOpen(request: IncomingMessage, response: ServerResponse, shown: Shown): Promise<void> {
  request.resume();
  const [path = ""] = (request.url ?? "").split("?");
  const fact = request.method === "GET" ? shown.facts?.[path] : undefined;
  if (fact !== undefined) return send(response, 200, "application/json", `${JSON.stringify(fact)}\n`);
  if (request.method !== "GET" || !OPEN.has(path)) return send(response, 404, "text/plain", "there is no such page\n");
  if (path === "/metrics") {
    const { registry } = shown.metrics;
    return send(response, 200, registry.contentType, await registry.metrics());
  }
  const missing = path.endsWith("ready") || path === "/readyz" ? shown.notReady() : undefined;
  return send(response, missing === undefined ? 200 : 503, "text/plain", `${missing ?? "ok"}\n`);
}

const answering =
  (shown: Shown, log: Log, ours: ReadonlySet<string>): RequestListener =>
  (request, response) => {
    answer(request, response, shown, ours).catch((error: unknown) => {
      log.error("a debug page failed; this is a fault of Heddle's, please report it", {
        path: request.url,
        error: String(error),
        stack: error instanceof Error ? error.stack : undefined,
      });
      if (response.headersSent) response.destroy();
      else send(response, 500, "text/plain", "this page failed; the log says why\n");
    });
  };

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  shown: Shown,
  ours: ReadonlySet<string>,
): Promise<void> {
  // Bodies are not read.
  request.resume();
  if (!isOurHost(request.headers.host, ours))
    return send(response, 403, "text/plain", "this is not a name of this server\n");
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    return send(response, 405, "text/plain", "only GET works here\n");
  }
  if (!URL.canParse(request.url ?? "", "http://heddle")) return send(response, 400, "text/plain", "not a path\n");
  const { pathname, searchParams } = new URL(request.url ?? "", "http://heddle");
  const path = pathname.length > 1 ? pathname.replace(/\/+$/, "") : pathname;
  switch (path) {
    case "/healthz":
      return send(response, 200, "text/plain", "ok\n");
    case "/readyz": {
      const missing = shown.notReady();
      return send(response, missing === undefined ? 200 : 503, "text/plain", `${missing ?? "ready"}\n`);
    }
    case "/metrics":
      return send(response, 200, shown.metrics.registry.contentType, await shown.metrics.registry.metrics());
    case "/":
    case "/debug":
      return index(request, response);
  }
  const api = API[path];
  if (api) return send(response, 200, "application/json", `${JSON.stringify(plain(api(shown, searchParams)))}\n`);
  const page = PAGES.find((p) => p.path === path);
  if (!page) return send(response, 404, "text/plain", `there is no page ${path}; /debug/ lists them\n`);
  const data = page.data(shown, searchParams);
  if (data === undefined) return send(response, 404, "text/plain", "there is no such thing now\n");
  const json = JSON.stringify(plain(data), undefined, 2);
  if (wantsHtml(request)) return send(response, 200, "text/html", htmlPage(path, links, pre(json)));
  return send(response, 200, "application/json", `${json}\n`);
}

const links: readonly Link[] = [
  ...PAGES.map(({ path, says }) => ({ path, says })),
  { path: "/metrics", says: "Figures for Prometheus" },
  { path: "/healthz", says: "Whether the process is alive" },
  { path: "/readyz", says: "Whether a snapshot is published" },
];

function index(request: IncomingMessage, response: ServerResponse): void {
  if (wantsHtml(request)) return send(response, 200, "text/html", htmlPage("heddle", [], linkList(links)));
  send(response, 200, "application/json", `${JSON.stringify({ pages: links }, undefined, 2)}\n`);
}

const wantsHtml = (request: IncomingMessage): boolean => (request.headers.accept ?? "").includes("text/html");

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    "content-type": type.includes("charset") ? type : `${type}; charset=utf-8`,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
  });
  response.end(body);
}
