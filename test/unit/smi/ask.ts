/** SMI manifests with the workloads that they speak of, and what the mesh says of a call. */
import { explain, lets } from "../../../src/analysis/explain.ts";
import type { Ground } from "../../../src/analysis/ways.ts";
import { compile } from "../../../src/policy/compile.ts";
import { catalogOf } from "../../../src/sources/files/catalog.ts";
import { Cluster } from "../../../src/sources/files/cluster.ts";
import { parseYaml } from "../../../src/sources/files/yaml.ts";
import { identity, localName, serviceName } from "../../../src/world/names.ts";
import type { Problem } from "../../../src/world/types.ts";
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

export class Example {
  readonly #ground: Ground;
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
    const world = apply(EMPTY_WORLD, derived.changes);
    const { mesh, problems } = compile(world);
    this.#ground = { world, mesh };
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
    const headers = rest
      .split("; ")
      .filter(Boolean)
      .map((header) => [header.slice(0, header.indexOf(":")), header.slice(header.indexOf(":") + 1).trim()] as const);
    const { verdict, taken } = explain(this.#ground, {
      client: { kind: "account", identity: identity("default", from) },
      destination: { kind: "service", service: serviceName("default", to), port: Number(port) },
      ...(method === undefined ? {} : { request: { method, path, headers } }),
    });
    const open = taken.flatMap(({ shares }) => shares).filter(lets);
    if (verdict !== "allowed" || (open.length === 1 && open[0]?.service === serviceName("default", to))) return verdict;
    return `allowed ${open.map(({ service, weight }) => `${localName(service)} ${Math.round(weight)}`).join(", ")}`;
  }
}
