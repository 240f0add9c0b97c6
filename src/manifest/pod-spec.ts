/**
 * A raw pod template → PodSpec: what a pod that is run outside of Kubernetes is made from. Pods that a cluster runs are read in
 * `core.ts`, which asks far less. Knows no controller.
 */
import type { Container, EnvVar, PodSpec, Probe, SecurityContext } from "../world/pod.ts";
import { containerPort } from "./core.ts";
import { LIMITS } from "./limits.ts";
import type { Raw } from "../lib/json.ts";
import { at, isName, type Reader } from "./reader.ts";

const given = (value: unknown): boolean => value !== undefined && value !== null;

/** An object without the keys whose value is undefined, as `exactOptionalPropertyTypes` wants it. */
type Given<T> = { [K in keyof T]: Exclude<T[K], undefined> };
function compact<T extends object>(fields: T): Given<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Given<T>;
}

/** Reads a field if it is there; undefined also where it was reported. */
function maybe<T>(
  raw: Raw,
  key: string,
  path: string,
  read: (value: unknown, path: string) => T | undefined,
): T | undefined {
  return given(raw[key]) ? read(raw[key], at(path, key)) : undefined;
}

/** Undefined when no pod can be made of it: no container, or nobody knows as whom it runs. */
export function podSpec(reader: Reader, value: unknown, path: string): PodSpec | undefined {
  const nothing = "no pod is made of it";
  if (!given(value)) return reader.missing(path, nothing);
  const raw = reader.map(value, path, nothing);
  if (!raw) return undefined;
  const field =
    given(raw["serviceAccountName"]) || !given(raw["serviceAccount"]) ? "serviceAccountName" : "serviceAccount";
  const account = given(raw[field]) && raw[field] !== "" ? raw[field] : "default";
  if (typeof account !== "string" || !isName(account))
    return reader.wrong(account, at(path, field), "the name of a ServiceAccount", nothing);
  const containers = containersOf(reader, raw, path, "containers");
  if (containers.length === 0)
    return given(raw["containers"])
      ? onlyIfSilent(reader, at(path, "containers"), nothing)
      : reader.missing(at(path, "containers"), nothing);
  const initContainers = containersOf(reader, raw, path, "initContainers");
  const text = (v: unknown, p: string) => reader.string(v, p, "it is not used", LIMITS.name);
  return compact({
    serviceAccountName: account,
    containers,
    initContainers: initContainers.length > 0 ? initContainers : undefined,
    hostname: maybe(raw, "hostname", path, text),
    subdomain: maybe(raw, "subdomain", path, text),
    hostNetwork: maybe(raw, "hostNetwork", path, (v, p) => reader.boolean(v, p, "it counts as false")),
    restartPolicy: maybe(raw, "restartPolicy", path, (v, p) =>
      reader.oneOf(v, p, ["Always", "OnFailure", "Never"] as const, "it counts as Always"),
    ),
    terminationGracePeriodSeconds: maybe(raw, "terminationGracePeriodSeconds", path, (v, p) =>
      reader.integer(v, p, "it counts as 30", 0, 86_400),
    ),
    securityContext: maybe(raw, "securityContext", path, (v, p) => securityContext(reader, v, p)),
  });
}

/** A list of containers none of which could be read has said so already; an empty one has not. */
function onlyIfSilent(reader: Reader, path: string, then: string): undefined {
  if (!reader.problems.some((problem) => problem.path.startsWith(path)))
    reader.report("missing-field", path, `${path} has no entry, so ${then}; add a container.`);
  return undefined;
}

function containersOf(reader: Reader, spec: Raw, path: string, key: string): Container[] {
  if (!given(spec[key])) return [];
  const list = reader.list(spec[key], at(path, key), "no pod is made of it", LIMITS.containers) ?? [];
  return list.flatMap((entry, i) => containerOf(reader, entry, at(at(path, key), i)) ?? []);
}

function containerOf(reader: Reader, entry: unknown, path: string): Container | undefined {
  const then = "this container is not run";
  const raw = reader.map(entry, path, then);
  if (!raw) return undefined;
  for (const key of ["name", "image"]) if (!given(raw[key])) return reader.missing(at(path, key), then);
  const name = raw["name"];
  if (typeof name !== "string" || !isName(name))
    return reader.wrong(name, at(path, "name"), "a name of lower-case letters, digits and -", then);
  const image = reader.string(raw["image"], at(path, "image"), then);
  if (image === undefined) return undefined;
  const before = reader.problems.length;
  const command = maybe(raw, "command", path, (v, p) => strings(reader, v, p, then));
  const args = maybe(raw, "args", path, (v, p) => strings(reader, v, p, then));
  // Another command than the one that was written must not be run.
  if (reader.problems.length > before) return undefined;
  const probe = (v: unknown, p: string) => probeOf(reader, v, p);
  return compact({
    name,
    image,
    command,
    args,
    workingDir: maybe(raw, "workingDir", path, (v, p) => reader.string(v, p, "it is not used")),
    env: maybe(raw, "env", path, (v, p) => envOf(reader, v, p)),
    ports: maybe(raw, "ports", path, (v, p) => portsOf(reader, v, p)),
    readinessProbe: maybe(raw, "readinessProbe", path, probe),
    livenessProbe: maybe(raw, "livenessProbe", path, probe),
    startupProbe: maybe(raw, "startupProbe", path, probe),
    restartPolicy: raw["restartPolicy"] === "Always" ? ("Always" as const) : undefined,
    securityContext: maybe(raw, "securityContext", path, (v, p) => securityContext(reader, v, p)),
  });
}

function strings(reader: Reader, value: unknown, path: string, then: string): string[] | undefined {
  const list = reader.list(value, path, then, LIMITS.entries, false);
  return list?.flatMap((entry, i) => reader.string(entry, at(path, i), then, LIMITS.value) ?? []);
}

function portsOf(reader: Reader, value: unknown, path: string): Container["ports"] {
  const list = reader.list(value, path, "its ports are not seen", LIMITS.ports) ?? [];
  return list.flatMap((entry, i) => {
    const port = containerPort(reader, entry, at(path, i));
    return port
      ? [{ containerPort: port.port, ...(port.name ? { name: port.name } : {}), protocol: port.protocol }]
      : [];
  });
}

function envOf(reader: Reader, value: unknown, path: string): EnvVar[] {
  const then = "this variable is not set";
  return (reader.list(value, path, then, LIMITS.entries) ?? []).flatMap((entry, i): EnvVar[] => {
    const where = at(path, i);
    const raw = reader.map(entry, where, then);
    if (!raw) return [];
    if (!given(raw["name"])) return reader.missing(at(where, "name"), then) ?? [];
    const name = reader.string(raw["name"], at(where, "name"), then);
    if (name === undefined) return [];
    if (!given(raw["valueFrom"])) {
      const text = given(raw["value"]) ? reader.string(raw["value"], at(where, "value"), then, LIMITS.value) : "";
      return text === undefined ? [] : [{ name, value: text }];
    }
    const from = reader.map(raw["valueFrom"], at(where, "valueFrom"), then);
    if (!from) return [];
    const source = at(where, "valueFrom");
    if (!given(from["fieldRef"])) {
      reader.report(
        "bad-field",
        source,
        `${source} reads from something that is not there without a cluster, so ${then}; give a value or a fieldRef.`,
        "hint",
      );
      return [];
    }
    const ref = reader.map(from["fieldRef"], at(source, "fieldRef"), then);
    const fieldPath = ref && reader.string(ref["fieldPath"], at(at(source, "fieldRef"), "fieldPath"), then);
    return fieldPath === undefined ? [] : [{ name, valueFrom: { fieldRef: { fieldPath } } }];
  });
}

function securityContext(reader: Reader, value: unknown, path: string): SecurityContext | undefined {
  const raw = reader.map(value, path, "it is not used");
  if (!raw) return undefined;
  const id = (v: unknown, p: string) => reader.integer(v, p, "the default user holds", 0, 2 ** 31 - 1);
  return compact({ runAsUser: maybe(raw, "runAsUser", path, id), runAsGroup: maybe(raw, "runAsGroup", path, id) });
}

/** A probe of which a part cannot be read is no probe at all: a wrong one would kill the pod or call it ready. */
function probeOf(reader: Reader, value: unknown, path: string): Probe | undefined {
  const then = "this probe is not run";
  const raw = reader.map(value, path, then);
  if (!raw) return undefined;
  const before = reader.problems.length;
  const number = (v: unknown, p: string) => reader.integer(v, p, then, 0, 2 ** 31 - 1);
  const probe = compact({
    httpGet: maybe(raw, "httpGet", path, (v, p) => httpGet(reader, v, p, then)),
    tcpSocket: maybe(raw, "tcpSocket", path, (v, p) => {
      const port = portOf(reader, reader.map(v, p, then), p, then);
      return port === undefined ? undefined : { port };
    }),
    exec: maybe(raw, "exec", path, (v, p) => {
      const map = reader.map(v, p, then);
      const command = map && strings(reader, map["command"], at(p, "command"), then);
      return command && { command };
    }),
    grpc: maybe(raw, "grpc", path, (v, p) => {
      const map = reader.map(v, p, then);
      const port = map && reader.port(map["port"], at(p, "port"), then);
      if (!map || port === undefined) return undefined;
      return compact({ port, service: maybe(map, "service", p, (s, q) => reader.string(s, q, then)) });
    }),
    initialDelaySeconds: maybe(raw, "initialDelaySeconds", path, number),
    periodSeconds: maybe(raw, "periodSeconds", path, number),
    timeoutSeconds: maybe(raw, "timeoutSeconds", path, number),
    successThreshold: maybe(raw, "successThreshold", path, number),
    failureThreshold: maybe(raw, "failureThreshold", path, number),
  });
  if (reader.problems.length > before) return undefined;
  const kinds = [probe.httpGet, probe.tcpSocket, probe.exec, probe.grpc].filter((one) => one !== undefined).length;
  if (kinds === 1) return probe;
  return reader.report(
    "bad-field",
    path,
    `${path} has ${kinds} of httpGet, tcpSocket, exec and grpc where one is needed, so ${then}; write one.`,
  );
}

function httpGet(reader: Reader, value: unknown, path: string, then: string): Probe["httpGet"] {
  const raw = reader.map(value, path, then);
  const port = portOf(reader, raw, path, then);
  if (!raw || port === undefined) return undefined;
  return compact({
    port,
    path: maybe(raw, "path", path, (v, p) => reader.string(v, p, then)),
    scheme: maybe(raw, "scheme", path, (v, p) => reader.oneOf(v, p, ["HTTP", "HTTPS"] as const, then)),
    httpHeaders: maybe(raw, "httpHeaders", path, (v, p) =>
      reader.list(v, p, then, LIMITS.headers)?.flatMap((entry, i) => {
        const header = reader.map(entry, at(p, i), then);
        const name = header && reader.string(header["name"], at(at(p, i), "name"), then);
        const text = header && reader.string(header["value"] ?? "", at(at(p, i), "value"), then);
        return name === undefined || text === undefined ? [] : [{ name, value: text }];
      }),
    ),
  });
}

/** A number, or the name of a container port. */
function portOf(reader: Reader, raw: Raw | undefined, path: string, then: string): number | string | undefined {
  if (!raw) return undefined;
  const port = raw["port"];
  if (port === undefined) return reader.missing(at(path, "port"), then);
  return typeof port === "string"
    ? reader.string(port, at(path, "port"), then, LIMITS.name)
    : reader.port(port, at(path, "port"), then);
}
