/**
 * Leads the kubelet's probes and HTTP hooks through the sidecar: what the pod says afterwards, and what the sidecar must serve for it.
 * Knows no Envoy.
 *
 * The application's own ports take the mesh's TLS only, which the kubelet does not speak. The ports and the form of the paths are
 * OSM's (pkg/injector/health_probes.go). Unlike OSM's: timeouts are kept; each container has its own https and gRPC probes;
 * an https probe reaches the sidecar as http, and the sidecar speaks TLS to the application without verifying it, as the kubelet does.
 */
import { isRaw, type Raw } from "../lib/json.ts";
import { at, given, listAt, mapAt, quote, textAt } from "./json.ts";
import { pointer, type Operation } from "./json-patch.ts";

/** Served for the sidecar itself, for hooks, and in OSM for TCP probes. */
export const HEALTH_PORT = 15904;
/** gRPC probes have no path: a second port of one kind takes a port of its own, from here on. */
export const FIRST_EXTRA_PORT = 15905;
const LAST_EXTRA_PORT = 15999;

const PROBES = [
  { field: "livenessProbe", type: "liveness", port: 15901 },
  { field: "readinessProbe", type: "readiness", port: 15902 },
  { field: "startupProbe", type: "startup", port: 15903 },
] as const;
const HOOKS = [
  { field: "postStart", type: "post-start" },
  { field: "preStop", type: "pre-stop" },
] as const;

/** One thing that the sidecar answers by asking the application. */
export interface ProbeRoute {
  /** Unique in the pod. */
  readonly name: string;
  /** The sidecar's port. */
  readonly listen: number;
  /** What the kubelet asks for, without query; undefined for gRPC, of which a port has one. */
  readonly path?: string;
  /** What follows the path in the kubelet's question, with the question mark. */
  readonly query: string;
  readonly kind: "http" | "https" | "tcp" | "grpc";
  /** The application's. */
  readonly port: number;
  /** What the application is asked for, without query. "" for tcp and grpc. */
  readonly appPath: string;
  /** Seconds; 0: as long as it takes. */
  readonly timeout: number;
}

export interface RewrittenProbes {
  readonly operations: readonly Operation[];
  readonly routes: readonly ProbeRoute[];
  /** Ports beyond OSM's that the sidecar serves and that must not be redirected. */
  readonly extraPorts: readonly number[];
  readonly warnings: readonly string[];
}

/**
 * @param spec - of the pod, with containers that have names
 * @param direct - the application's ports that are reached without the sidecar: their probes stay as they are
 * @param taken - ports that the application has declared
 * @param secret - part of hooks' paths: who has not read the pod cannot run its hooks
 */
export function rewriteProbes(
  spec: Raw,
  direct: ReadonlySet<number>,
  taken: ReadonlySet<number>,
  secret: string,
): RewrittenProbes {
  const operations: Operation[] = [];
  const routes: ProbeRoute[] = [];
  const extraPorts: number[] = [];
  const warnings: string[] = [];

  const http = (container: Raw, handler: Raw, type: string, listen: number, path: string, timeout: number) => {
    const where = `${type} of container ${textAt(container, "name")}`;
    if (textAt(handler, "host") !== "") {
      warnings.push(`${where} asks host ${quote(textAt(handler, "host"))} and not the pod: it is left as it is.`);
      return undefined;
    }
    const port = resolvePort(container, handler, where, warnings);
    if (port === undefined || direct.has(port)) return undefined;
    const https = textAt(handler, "scheme").toUpperCase() === "HTTPS";
    const [appPath, query] = splitPath(textAt(handler, "path"));
    const name = `${textAt(container, "name")}_${type.replaceAll("-", "_")}_cluster`;
    routes.push({ name, listen, path, query, kind: https ? "https" : "http", port, appPath, timeout });
    return { ...handler, path: path + query, port: listen, scheme: "HTTP" };
  };

  /** The sidecar's port for gRPC probes of this kind at this port of the application. */
  const grpc = (container: Raw, type: string, usual: number, port: number, timeout: number): number | undefined => {
    const mine = routes.find((r) => r.kind === "grpc" && r.listen === usual);
    if (mine?.port === port && mine.timeout >= timeout) return usual;
    const shared = routes.find((r) => r.kind === "grpc" && r.listen >= FIRST_EXTRA_PORT && r.port === port);
    if (mine && shared && shared.timeout >= timeout) return shared.listen;
    let listen: number = usual;
    if (mine) {
      listen = FIRST_EXTRA_PORT;
      while (extraPorts.includes(listen) || taken.has(listen)) listen++;
      if (listen > LAST_EXTRA_PORT) {
        warnings.push(
          `${type} of container ${textAt(container, "name")}: the pod has too many gRPC probes, so this one is left as it is and will fail.`,
        );
        return undefined;
      }
      extraPorts.push(listen);
    }
    routes.push({
      name: `${textAt(container, "name")}_${type}_cluster`,
      listen,
      query: "",
      kind: "grpc",
      port,
      appPath: "",
      timeout,
    });
    return listen;
  };

  const probe = (container: Raw, field: string, type: string, listen: number): unknown => {
    const old = at(container, field);
    if (!isRaw(old)) return undefined;
    const seconds = at(old, "timeoutSeconds");
    // Kubernetes: 1 s when absent.
    const timeout =
      typeof seconds === "number" && Number.isInteger(seconds) && seconds > 0 ? Math.min(seconds, 86_400) : 1;
    const name = textAt(container, "name");
    const path = `/osm-${type}-probe/${name}`;
    if (isRaw(at(old, "httpGet"))) {
      const httpGet = http(container, mapAt(old, "httpGet"), type, listen, path, timeout);
      return httpGet && { ...old, httpGet };
    }
    if (isRaw(at(old, "tcpSocket"))) {
      const { tcpSocket: handler, ...rest } = old;
      const where = `${type} of container ${name}`;
      if (textAt(handler, "host") !== "") {
        warnings.push(`${where} asks host ${quote(textAt(handler, "host"))} and not the pod: it is left as it is.`);
        return undefined;
      }
      const port = resolvePort(container, mapAt(old, "tcpSocket"), where, warnings);
      if (port === undefined || direct.has(port)) return undefined;
      routes.push({
        name: `${name}_${type}_cluster`,
        listen,
        path,
        query: "",
        kind: "tcp",
        port,
        appPath: "",
        timeout,
      });
      return { ...rest, httpGet: { path, port: listen, scheme: "HTTP" } };
    }
    if (isRaw(at(old, "grpc"))) {
      const port = at(at(old, "grpc"), "port");
      if (!isPort(port) || direct.has(port)) return undefined;
      const own = grpc(container, type, listen, port, timeout);
      return own && { ...old, grpc: { ...mapAt(old, "grpc"), port: own } };
    }
    return undefined;
  };

  for (const list of ["initContainers", "containers"]) {
    for (const [i, container] of listAt(spec, list).entries()) {
      if (!isRaw(container)) continue;
      for (const { field, type, port } of PROBES) {
        const value = probe(container, field, type, port);
        if (value) operations.push({ op: "replace", path: pointer("spec", list, i, field), value });
      }
      for (const { field, type } of HOOKS) {
        const handler = at(at(at(container, "lifecycle"), field), "httpGet");
        if (!isRaw(handler)) continue;
        const path = `/osm-${type}-hook/${textAt(container, "name")}/${secret}`;
        const value = http(container, handler, type, HEALTH_PORT, path, 0);
        if (value)
          operations.push({ op: "replace", path: pointer("spec", list, i, "lifecycle", field, "httpGet"), value });
      }
    }
  }
  return { operations, routes, extraPorts, warnings };
}

const isPort = (value: unknown): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 65_535;

/** The kubelet's way: a number, the name of one of the container's ports, or a number written as text. */
function resolvePort(container: Raw, handler: Raw, where: string, warnings: string[]): number | undefined {
  const port = at(handler, "port");
  if (isPort(port)) return port;
  if (typeof port === "string") {
    const named = listAt(container, "ports").find((one) => textAt(one, "name") === port && port !== "");
    const number = named === undefined ? Number(/^\d{1,5}$/.test(port) ? port : 0) : at(named, "containerPort");
    if (isPort(number)) return number;
  }
  const shown = typeof port === "string" ? quote(port) : given(port) ? "no port number" : "missing";
  warnings.push(`${where}: its port is ${shown}, which no port of the container is: it is left as it is.`);
  return undefined;
}

/**
 * The path as the kubelet asks for it, and its query with the question mark. The query stays in what the kubelet asks: the sidecar
 * replaces the path only.
 */
function splitPath(text: string): [path: string, query: string] {
  const [whole = ""] = text.split("#", 1);
  const mark = whole.indexOf("?");
  const [path, query] = mark < 0 ? [whole, ""] : [whole.slice(0, mark), whole.slice(mark)];
  return [printable(path.startsWith("/") ? path : `/${path}`), printable(query)];
}

const printable = (text: string): string =>
  text.toWellFormed().replaceAll(/[^\x21-\x7e]+/g, (odd) => encodeURIComponent(odd));
