/**
 * `heddle policy check-conflicts IngressBackend`: IngressBackends that name the same backend and port.
 */
import { isNotFound } from "../../sources/kubernetes/errors.ts";
import { EXIT, UserError } from "../errors.ts";
import type { Context } from "./connection.ts";
import { byName, listAt, mapAt, nameOf, stringAt, type Raw } from "./objects.ts";
import { INGRESS_BACKENDS } from "./resources.ts";

export async function checkConflicts(
  context: Context,
  kind: string,
  { namespaces }: { readonly namespaces: readonly string[] },
): Promise<number> {
  if (kind.toLowerCase() !== "ingressbackend")
    throw new UserError(`Invalid resource kind ${kind}. There is: IngressBackend`, EXIT.usage);
  const [namespace, ...more] = namespaces;
  if (namespace === undefined || more.length > 0)
    throw new UserError(
      `Requires single namespace specified by '-n|--namespaces' to check for conflicts, got ${namespaces.length}.`,
      EXIT.usage,
    );
  const { api } = await context.cluster();
  let backends: Raw[];
  try {
    backends = await api.list(INGRESS_BACKENDS, { namespace });
  } catch (error) {
    if (!isNotFound(error)) throw error;
    throw new UserError("The cluster does not know IngressBackend. Install the mesh's CRDs: heddle install");
  }
  await context.terminal.out(`${conflictLines(namespace, backends).join("\n")}\n`);
  return 0;
}

/** Pure: OSM's lines. */
export function conflictLines(namespace: string, backends: readonly Raw[]): string[] {
  const sorted = byName(backends);
  const lines = sorted.flatMap((x, i) =>
    sorted.slice(i + 1).flatMap((y) => {
      const both = shared(x, y);
      if (both.length === 0) return [];
      const head = `[+] IngressBackend ${namespace}/${nameOf(x)} conflicts with ${namespace}/${nameOf(y)}:`;
      return [head, ...both.map((one) => `Backend ${one} specified in ${nameOf(x)} and ${nameOf(y)} conflicts`), ""];
    }),
  );
  return lines.length > 0 ? lines : [`No conflicts among IngressBackend resources in namespace ${namespace}`];
}

/** Backends by name that both claim on the same port. */
function shared(x: Raw, y: Raw): string[] {
  const keys = (object: Raw) =>
    listAt(object, "spec", "backends").map((one) => `${stringAt(one, "name")}:${String(mapAt(one, "port")["number"])}`);
  const theirs = new Set(keys(y));
  return [...new Set(keys(x).filter((key) => theirs.has(key)))].map((key) => key.slice(0, key.lastIndexOf(":"))).sort();
}
