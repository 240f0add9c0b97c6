/**
 * The words of `heddle why` → a call, and the names in them looked up in a mesh. Whoever writes a name that is not there is told a near one.
 */
import type { Call } from "../analysis/explain.ts";
import type { Request } from "../analysis/request.ts";
import type { Client, Destination } from "../analysis/ways.ts";
import { identity, podName, serviceName, type Identity, type PodName } from "../world/names.ts";
import type { World } from "../world/world.ts";
import type { View } from "./load.ts";
import { EXIT, UserError } from "./errors.ts";
import { nearest } from "./text.ts";

/** As typed. */
export interface Words {
  readonly from: string;
  readonly to: string;
  readonly method?: string;
  readonly path?: string;
  /** `name: value`. */
  readonly headers: readonly string[];
}

const wrong = (message: string): UserError => new UserError(message, EXIT.usage);

/** Throws a `UserError` (exit code 2) that says what there is. */
export function callOf(view: View, words: Words): Call {
  const request = requestOf(words);
  const client = clientOf(view, words.from);
  const destination = destinationOf(view, words.to, request !== undefined);
  return { client, destination, ...(request ? { request } : {}) };
}

/** RFC 9110's token. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

function requestOf({ method, path, headers }: Words): Request | undefined {
  if (method === undefined) {
    if (headers.length > 0) throw wrong("Headers belong to an HTTP request: give METHOD and PATH too.");
    return undefined;
  }
  if (path === undefined)
    throw wrong(
      method.startsWith("/")
        ? `Give the method before the path: GET ${method}`
        : `Give a path behind the method: ${method} /`,
    );
  if (!TOKEN.test(method)) throw wrong(`"${method}" cannot be a method. Write one such as GET.`);
  if (!path.startsWith("/")) throw wrong(`"${path}" is no path: it must begin with "/".`);
  // oxlint-disable-next-line no-control-regex -- that is what is looked for
  if (/[\x00-\x20\x7f]/.test(path)) throw wrong(`No path has a blank or a control character: write %20 for a blank.`);
  return { method, path, headers: headers.map(headerOf) };
}

function headerOf(text: string): readonly [string, string] {
  const colon = text.indexOf(":", 1);
  const name = text.slice(0, Math.max(0, colon)).trim();
  if (!TOKEN.test(name.replace(/^:/, ""))) throw wrong(`"${text}" is no header. Write it as "name: value".`);
  return [name, text.slice(colon + 1).trim()];
}

function clientOf(view: View, text: string): Client {
  if (text === "outside") return { kind: "outside" };
  const parts = text.split("/");
  const [namespace = "", name = "", more] = parts;
  if (parts.length === 3 && name === "pod") {
    const pod = view.world.tables.Pod.get(namespace)?.get(podOf(view.world, namespace, more ?? ""));
    if (!pod || !view.mesh.groupOf.has(pod.workload.key)) return { kind: "outside" };
    return { kind: "account", identity: pod.workload.identity };
  }
  if (parts.length !== 2 || namespace === "" || name === "")
    throw wrong(`FROM is NAMESPACE/SERVICEACCOUNT, NAMESPACE/pod/NAME or outside, and not "${text}".`);
  const id = identity(namespace, name);
  const { meshed, others } = accountsOf(view);
  if (meshed.has(id)) return { kind: "account", identity: id };
  if (others.has(id)) return { kind: "outside" };
  throw wrong(
    unknown("ServiceAccount", text, [...meshed, ...others], "No pod runs as it and no TrafficTarget names it."),
  );
}

const accounts = new WeakMap<View, { meshed: ReadonlySet<Identity>; others: ReadonlySet<Identity> }>();

/** Accounts of pods with a sidecar and those that TrafficTargets let in, be there a pod or not; and those whose pods have no sidecar. */
function accountsOf(view: View): { meshed: ReadonlySet<Identity>; others: ReadonlySet<Identity> } {
  let known = accounts.get(view);
  if (known) return known;
  const others = new Set<Identity>();
  for (const workloads of view.world.workloads.values())
    for (const workload of workloads.values()) others.add(workload.identity);
  const meshed = new Set([...view.mesh.groups.values()].map((policy) => policy.identity));
  for (const targets of view.world.tables.TrafficTarget.values())
    for (const { sources, destination } of targets.values())
      for (const { namespace, name } of [...sources, destination]) {
        const id = identity(namespace, name);
        if (namespace !== "" && name !== "" && !others.has(id)) meshed.add(id);
      }
  for (const id of meshed) others.delete(id);
  accounts.set(view, (known = { meshed, others }));
  return known;
}

function destinationOf(view: View, text: string, http: boolean): Destination {
  const match = /^([^/:]+)\/(?:(pod)\/)?([^/:]+)(?::(.+))?$/.exec(text);
  if (!match) throw wrong(`TO is NAMESPACE/SERVICE[:PORT] or NAMESPACE/pod/NAME:PORT, and not "${text}".`);
  const [, namespace = "", pod, name = "", port] = match;
  if (pod) {
    if (port === undefined || !/^\d+$/.test(port)) throw wrong(`Give the pod's port: ${text.replace(/:.*/, "")}:8080`);
    return { kind: "pod", pod: podName(namespace, podOf(view.world, namespace, name)), port: Number(port) };
  }
  const service = view.world.tables.Service.get(namespace)?.get(name);
  if (!service) {
    const all = [...view.world.tables.Service].flatMap(([ns, services]) =>
      [...services.keys()].map((one) => `${ns}/${one}`),
    );
    throw wrong(unknown("Service", `${namespace}/${name}`, all));
  }
  const listed = service.ports.map((p) => (p.name ? `${p.port} (${p.name})` : String(p.port))).join(", ");
  if (port === undefined) {
    const ports = view.mesh.services.get(service.name)?.ports ?? [];
    const fitting = ports.filter(({ protocol }) => (protocol === "http") === http);
    const [only, ...more] = service.ports.length === 1 ? service.ports : fitting;
    if (only && more.length === 0) return { kind: "service", service: service.name, port: only.port };
    throw wrong(
      service.ports.length === 0
        ? `Service ${namespace}/${name} has no ports.`
        : `Service ${namespace}/${name} has several ports: ${listed}. Say which: ${namespace}/${name}:${service.ports[0]?.port}`,
    );
  }
  const number = /^\d+$/.test(port) ? Number(port) : service.ports.find((p) => p.name === port)?.port;
  if (number === undefined)
    throw wrong(`Service ${namespace}/${name} has no port called "${port}". There are: ${listed}.`);
  return { kind: "service", service: serviceName(namespace, name), port: number };
}

/** A pod's name, or the beginning of one that is clear. */
function podOf(world: World, namespace: string, name: string): PodName {
  const pods = [...(world.tables.Pod.get(namespace)?.keys() ?? [])];
  if (pods.includes(name)) return name as PodName;
  const found = pods.filter((pod) => pod.startsWith(name));
  const [only, ...more] = found;
  if (only !== undefined && more.length === 0) return only as PodName;
  if (only !== undefined)
    throw wrong(`"${name}" may be any of these pods: ${found.sort().slice(0, 8).join(", ")}. Write the whole name.`);
  const all = [...world.tables.Pod].flatMap(([ns, list]) => [...list.keys()].map((pod) => `${ns}/pod/${pod}`));
  throw wrong(unknown("pod", `${namespace}/pod/${name}`, all));
}

function unknown(what: string, name: string, candidates: readonly string[], more = ""): string {
  const near = nearest(name, candidates);
  const some = [...candidates].sort().slice(0, 8).join(", ");
  const there = near
    ? `Did you mean ${near}?`
    : candidates.length > 0
      ? `There are: ${some}${candidates.length > 8 ? " …" : ""}.`
      : "There are none.";
  return `There is no ${what} "${name}". ${more === "" ? "" : `${more} `}${there}`;
}

/** One line of a file of calls: words as a shell takes them apart, with `-H` for headers. */
export function wordsOf(line: string): Words {
  const words: string[] = [];
  const headers: string[] = [];
  const text = line.trim();
  const part = /'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^\s'"\\]+)/gy;
  let i = 0;
  while (i < text.length) {
    while (/\s/.test(text[i] ?? "")) i++;
    if (i >= text.length) break;
    let word = "";
    for (;;) {
      part.lastIndex = i;
      const found = part.exec(text);
      if (!found) break;
      word += found[1] ?? found[2]?.replace(/\\(.)/g, "$1") ?? found[3] ?? found[4] ?? "";
      i = part.lastIndex;
    }
    if (i < text.length && !/\s/.test(text[i] ?? "")) throw wrong(`A quotation mark is not closed: ${text}`);
    words.push(word);
  }
  const plain: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    if (word === "-H" || word === "--header") headers.push(words[++at] ?? "");
    else plain.push(word);
  }
  const [from, to, method, path, ...more] = plain;
  if (from === undefined || to === undefined || more.length > 0)
    throw wrong(`A call is FROM TO [METHOD PATH] [-H 'name: value'], and not "${text}".`);
  return { from, to, headers, ...(method === undefined ? {} : { method }), ...(path === undefined ? {} : { path }) };
}
