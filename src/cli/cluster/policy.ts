/**
 * `heddle policy check-pods`: whether one pod may call another, by the compiler that decides it in the controller.
 */
import type { InboundPort, Rule } from "../../policy/ir.ts";
import { identity, podName } from "../../world/names.ts";
import type { Problem } from "../../world/types.ts";
import { EXIT, UserError } from "../errors.ts";
import { problemLine } from "../problem-line.ts";
import type { Api } from "./api.ts";
import type { Context } from "./connection.ts";
import { findMesh } from "./meshes.ts";
import { isMeshed, nameOf, namespaceOf, stringAt, type Raw } from "./objects.ts";
import { CONTROLLER, PODS } from "./resources.ts";
import { worldOf, type Compilation } from "./world.ts";

/** What one pod may do at another. */
export interface PodVerdict {
  readonly permissive: boolean;
  readonly ports: readonly PortVerdict[];
  /** About TrafficTargets that name both pods' accounts: why they may open less than they seem to. */
  readonly problems: readonly Problem[];
}

export interface PortVerdict {
  readonly port: InboundPort;
  readonly rules: readonly Rule[];
}

/** Pure. */
export function podVerdict({ world, mesh, problems }: Compilation, source: Raw, destination: Raw): PodVerdict {
  const from = identity(namespaceOf(source), stringAt(source, "spec", "serviceAccountName") || "default");
  const to = identity(namespaceOf(destination), stringAt(destination, "spec", "serviceAccountName") || "default");
  const wanted = podName(namespaceOf(destination), nameOf(destination));
  const pod = [...(world.tables.Pod.get(namespaceOf(destination))?.values() ?? [])].find((one) => one.name === wanted);
  const group = pod && mesh.groupOf.get(pod.workload.key);
  const inbound = (group && mesh.groups.get(group)?.inbound) ?? [];
  const ports = inbound.flatMap((port): PortVerdict[] => {
    const rules = port.access.filter((rule) => rule.sources === undefined || rule.sources.includes(from));
    return rules.length === 0 ? [] : [{ port, rules }];
  });
  const targets = [...(world.tables.TrafficTarget.get(namespaceOf(destination))?.values() ?? [])].filter(
    (target) =>
      identity(target.destination.namespace, target.destination.name) === to &&
      target.sources.some((one) => identity(one.namespace, one.name) === from),
  );
  const named = new Set(targets.map((target) => target.name));
  return {
    permissive: mesh.settings.permissive,
    ports,
    problems: problems.filter(({ object }) => object.kind === "TrafficTarget" && named.has(object.name)),
  };
}

/** Pure: OSM's lines. */
export function verdictLines(verdict: PodVerdict, source: Raw, destination: Raw, controlPlane: string): string[] {
  const from = `${namespaceOf(source)}/${nameOf(source)}`;
  const to = `${namespaceOf(destination)}/${nameOf(destination)}`;
  if (verdict.permissive)
    return [
      `[+] Permissive mode enabled for mesh operated by ${CONTROLLER} running in '${controlPlane}' namespace`,
      "",
      ` [+] Pod '${from}' is allowed to communicate to pod '${to}'`,
    ];
  const head = [
    `[+] SMI traffic policy mode enabled for mesh operated by ${CONTROLLER} running in ${controlPlane} namespace`,
    "",
  ];
  const targets = new Set(verdict.ports.flatMap(({ rules }) => rules.flatMap((rule) => rule.target ?? [])));
  if (targets.size === 0)
    return [
      ...head,
      `[+] Pod '${from}' is not allowed to communicate to pod '${to}', missing SMI TrafficTarget policy`,
    ];
  return [
    ...head,
    ...[...targets].sort().flatMap((target) => {
      const [namespace, name] = target.split("/");
      return [
        `[+] Pod '${from}' is allowed to communicate to pod '${to}' via the SMI TrafficTarget policy "${name}" in namespace ${namespace}`,
        ...verdict.ports.flatMap((port) => portLines(port, target)),
      ];
    }),
  ];
}

function portLines({ port, rules }: PortVerdict, target: string): string[] {
  return rules
    .filter((rule) => rule.target === target)
    .flatMap((rule) => {
      const where = `    port ${port.port} (${port.protocol})`;
      if (rule.matches === undefined) return [`${where}: everything`];
      return rule.matches.map(({ methods, pathRegex, headers, group, name }) => {
        const method = methods.length === 0 || methods.includes("*") ? "any method" : methods.join(", ");
        const condition = headers.map((one) => ` ${one.name}=${one.regex}`).join("");
        return `${where}: ${method} ${pathRegex ?? "any path"}${condition} (${name} of HTTPRouteGroup ${group})`;
      });
    });
}

export async function checkPods(context: Context, source: string, destination: string): Promise<number> {
  const from = parsePod(source, "source");
  const to = parsePod(destination, "destination");
  const { settings, terminal } = context;
  const { api } = await context.cluster();
  const [sourcePod, destinationPod] = await Promise.all([meshedPod(api, from), meshedPod(api, to)]);
  const { namespace } = await findMesh(api, settings);
  const verdict = podVerdict(await worldOf(api, to.namespace, namespace), sourcePod, destinationPod);
  await terminal.out(verdictLines(verdict, sourcePod, destinationPod, namespace).join("\n"));
  for (const problem of verdict.problems) terminal.note(problemLine(problem));
  return 0;
}

/** `namespace/pod`, or a pod of the default namespace. */
function parsePod(text: string, which: string): { namespace: string; name: string } {
  const [first = "", second, ...rest] = text.split("/");
  if (first === "" || second === "" || rest.length > 0)
    throw new UserError(
      `Invalid argument specified for the ${which} pod [${text}]: Pod name should be of the form <namespace/pod>, or <pod> for default namespace.`,
      EXIT.usage,
    );
  return second === undefined ? { namespace: "default", name: first } : { namespace: first, name: second };
}

/** Throws OSM's sentence when there is no such pod, or it has no sidecar. */
export async function meshedPod(api: Api, name: { readonly namespace: string; readonly name: string }): Promise<Raw> {
  const pod = await api.get(PODS, name);
  if (!pod)
    throw new UserError(
      `Could not find pod ${name.name} in namespace ${name.namespace}. See what there is: kubectl get pods -n ${name.namespace}`,
    );
  if (!isMeshed(pod))
    throw new UserError(
      `Pod ${name.name} in namespace ${name.namespace} is not a part of a mesh. Add its namespace (heddle namespace add ${name.namespace}) and restart its workload.`,
    );
  return pod;
}
