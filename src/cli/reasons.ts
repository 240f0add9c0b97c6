/**
 * Why a call was refused or failed, in one sentence each. Pure.
 */
import type { AccessLine } from "./access-line.ts";
import { cut } from "./text.ts";

export const refusedAtServer = (client: string, method: string, path: string, server: string): string =>
  `no TrafficTarget lets ${client} do ${method} ${cut(path.split("?")[0] ?? "", 60)} on ${server}`;

export const refusedAtClient = (client: string, authority: string, known: boolean): string =>
  known
    ? `no TrafficTarget lets ${client} call ${authority}`
    : `${authority} is not a Service of the mesh, so ${client} may not call it`;

export const refusedPlaintext = (server: string): string =>
  `${server} takes calls from sidecars of the mesh only, and these came without its TLS`;

/** What Envoy's response flags mean for somebody who reads policies, not Envoy's manual. */
const FLAGS: Readonly<Record<string, string>> = {
  UF: "no connection to a pod could be made: it does not listen, or it does not accept this client's certificate",
  UH: "no pod behind the Service is ready",
  NC: "the Service's pods are not known to this sidecar (yet)",
  NR: "nothing in the mesh has this address",
  UO: "too many requests are waiting for the Service",
  UC: "the pod ended the connection before it answered",
  UR: "the pod ended the connection before it answered",
  UT: "no answer came in time",
  URX: "no pod took the request, however often it was tried",
};

export function failureReason({ code, details, flags }: AccessLine): string | undefined {
  if (code === 503 && details === "direct_response") return "the TrafficSplit of this Service has no backend left";
  // What the server's sidecar says of its own application, it says in its own log.
  if (code > 0 && code < 500) return undefined;
  const known = flags.split(",").find((flag) => FLAGS[flag] !== undefined);
  return known === undefined ? undefined : FLAGS[known];
}
