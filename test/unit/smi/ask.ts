/** SMI manifests with the workloads that they speak of, and what the mesh says of a call. */
import { RE2JS } from "re2js";
import { compile } from "../../../src/policy/compile.ts";
import type { Backend, Mesh, Rule } from "../../../src/policy/ir.ts";
import { catalogOf } from "../../../src/sources/files/catalog.ts";
import { Cluster } from "../../../src/sources/files/cluster.ts";
import { parseYaml } from "../../../src/sources/files/yaml.ts";
import { identity, serviceName, type Identity } from "../../../src/world/names.ts";
import type { HTTPMatch, Problem } from "../../../src/world/types.ts";
import { apply, EMPTY_WORLD } from "../../../src/world/world.ts";

/** `name` or `name: port` with `Service port → pods' port`, as `api 80:8080 tcp-db=5432`: a pod of that account and a Service before it. */
function workload(text: string): string {
  const [name, ...ports] = text.split(" ");
  const pod = `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, namespace: default, labels: {app: ${name}}}\nspec: {serviceAccountName: ${name}, containers: [{name: app, image: app}]}`;
  if (ports.length === 0) return pod;
  const list = ports.map((port) => {
    const [numbers = "", portName = `p${port}`] = port.split("=").reverse();
    const [from, to = from] = numbers.split(":");
    return `{name: ${portName}, port: ${from}, targetPort: ${to}}`;
  });
  return `${pod}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: default}\nspec: {selector: {app: ${name}}, ports: [${list.join(", ")}]}`;
}

export interface Request {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

export class Example {
  readonly mesh: Mesh;
  readonly #problems: readonly Problem[];

  /** @param workloads - in namespace `default`: `name`, or `name PORT … NAME=PORT:TARGET …` */
  constructor(workloads: readonly string[], manifests: string) {
    const { documents, errors } = parseYaml([...workloads.map(workload), manifests].join("\n---\n"));
    if (errors.length > 0) throw new Error(JSON.stringify(errors));
    const catalog = catalogOf([{ path: "x.yaml", signature: "", documents, problems: [] }], (path) => path);
    const derived = new Cluster({ pods: "10.2.0.0/16", services: "10.1.0.0/16" }).derive(
      catalog.entries,
      "assume-ready",
    );
    const { mesh, problems } = compile(apply(EMPTY_WORLD, derived.changes));
    this.mesh = mesh;
    this.#problems = [...catalog.problems, ...derived.problems, ...problems];
  }

  /** `severity code Kind/name path`, in order. */
  get said(): string[] {
    return this.#problems.map(
      ({ severity, code, object, path }) => `${severity} ${code} ${object.kind}/${object.name} ${path}`,
    );
  }

  /**
   * What becomes of a call, as `allowed`, `allowed v1 90, v2 10` where other Services than the one that is called may get it
   * (percent of those that let it through), or `denied`.
   * @param call - `from to:port METHOD path Header: value; Header: value`, or `from to:port` for a TCP connection
   */
  verdict(call: string): string {
    const [, from = "", to = "", port = "", method, path = "", rest = ""] =
      /^(\S+) (\S+?):(\d+)(?: (\S+) (\S+)(?: (.*))?)?$/.exec(call) ?? [];
    if (!from) throw new Error(`no call: ${call}`);
    const headers = Object.fromEntries(
      rest
        .split("; ")
        .filter(Boolean)
        .map((header) => [
          header.slice(0, header.indexOf(":")).toLowerCase(),
          header.slice(header.indexOf(":") + 1).trim(),
        ]),
    );
    const request = method === undefined ? undefined : { method, path, headers };
    const service = this.mesh.services.get(serviceName("default", to));
    const found = service?.ports.find((p) => p.port === Number(port));
    const route = found?.routes.find((r) => !r.matches || (request && r.matches.some((m) => takes(m, request))));
    const sum = route?.backends.reduce((all, b) => all + b.weight, 0) ?? 0;
    const open = route?.backends.filter((b) => this.#lets(identity("default", from), b, request)) ?? [];
    if (open.length === 0) return "denied";
    if (open.length === 1 && open[0]?.service === service?.name) return "allowed";
    return `allowed ${open.map((b) => `${b.service.slice("default/".length)} ${Math.round((b.weight / sum) * 100)}`).join(", ")}`;
  }

  #lets(client: Identity, { service, targetPort }: Backend, request: Request | undefined): boolean {
    const accounts = this.mesh.services.get(service)?.identities ?? [];
    const ports = [...this.mesh.groups.values()].filter((g) => accounts.includes(g.identity)).flatMap((g) => g.inbound);
    const allows = (rule: Rule) =>
      (rule.sources?.includes(client) ?? true) &&
      (!rule.matches || (request && rule.matches.some((m) => takes(m, request))));
    return ports.some(
      (port) => port.port === targetPort && port.services.includes(service) && port.access.some(allows),
    );
  }
}

function takes({ pathRegex, methods, headers }: HTTPMatch, request: Request): boolean {
  const whole = (pattern: string, text: string) => RE2JS.compile(pattern).matches(text);
  if (pathRegex !== undefined && !whole(pathRegex, request.path.replace(/\?.*/, ""))) return false;
  if (methods.length > 0 && !methods.includes("*") && !methods.includes(request.method)) return false;
  return headers.every(({ name, regex }) => {
    const value = request.headers[name];
    return value !== undefined && whole(regex, value);
  });
}
