/** What the tests of `policy/` ask of a compiled world. */
import { compile } from "../../../src/policy/compile.ts";
import type { InboundPort, Mesh, ProxyPolicy, Rule } from "../../../src/policy/ir.ts";
import type { ObjectRef, Problem, ProblemCode } from "../../../src/world/types.ts";
import { account, namespace, pods, serviceRef, workload, world, type Changes } from "../../support/build.ts";

/** The mesh of these objects, with the namespaces `a` and `b` and clients `a/web` and `b/web` in it. */
export function meshOf(...changes: readonly Changes[]) {
  const clients = [...pods(workload("a/web")), ...pods(workload("b/web"))];
  const { mesh, problems } = compile(world(namespace("a"), namespace("b"), clients, ...changes));
  return new Compiled(mesh, problems);
}

export class Compiled {
  readonly mesh: Mesh;
  readonly problems: readonly Problem[];

  constructor(mesh: Mesh, problems: readonly Problem[]) {
    this.mesh = mesh;
    this.problems = problems;
  }

  policy(of: string): ProxyPolicy {
    const found = [...this.mesh.groups.values()].filter((p) => p.identity === account(of));
    if (found.length !== 1 || !found[0]) throw new Error(`${of} has ${found.length} groups`);
    return found[0];
  }

  port(of: string, port: number): InboundPort {
    const found = this.policy(of).inbound.find((p) => p.port === port);
    if (!found) throw new Error(`${of} has no port ${port}`);
    return found;
  }

  access(of: string, port: number): readonly Rule[] {
    return this.port(of, port).access;
  }

  /** Who may do what on a port: `source: all`, or `source: match match`, sorted. */
  allowed(of: string, port: number): string[] {
    return this.access(of, port)
      .flatMap((rule) =>
        (rule.sources ?? ["everybody"]).map((s) => `${s}: ${rule.matches?.map((m) => m.name).join(" ") ?? "all"}`),
      )
      .sort();
  }

  /** Where calls to one of a Service's ports go: `backend|port*weight, … if match`. */
  routes(of: string, port: number): string[] | undefined {
    return this.mesh.services
      .get(serviceRef(of))
      ?.ports.find((p) => p.port === port)
      ?.routes.map((r) => {
        const to = r.backends.map((b) => `${b.service}|${b.targetPort}*${b.weight}`).join(", ") || "nowhere";
        return r.matches ? `${to} if ${r.matches.map((m) => m.name).join(" or ")}` : to;
      });
  }

  reach(of: string): string[] {
    return this.policy(of).outbound.services.map((s) => s.name);
  }

  /** `code path` of what is said of one object, in order. */
  said(kind: string, of: string): string[] {
    return this.about(kind, of).map((p) => `${p.severity} ${p.code} ${p.path}`.trimEnd());
  }

  about(kind: string, of: string): readonly Problem[] {
    return this.problems.filter(({ object }) => object.kind === kind && refText(object) === of);
  }

  get codes(): ProblemCode[] {
    return [...new Set(this.problems.map((p) => p.code))].sort();
  }
}

const refText = ({ namespace: ns, name }: ObjectRef) => `${ns}/${name}`;
