/**
 * Calls, and the rules that decide them, as a person writes and reads them. Pure.
 */
import type { Deciding } from "../analysis/deciding.ts";
import type { Request } from "../analysis/requests.ts";
import type { Destination } from "../analysis/ways.ts";
import { localName, namespaceOf } from "../world/names.ts";
import { printable } from "./text.ts";
import type { View } from "./load.ts";

/** `ns/svc:80`, `ns/pod/name:80`. */
export const destinationText = (to: Destination): string =>
  to.kind === "service" ? `${to.service}:${to.port}` : `${namespaceOf(to.pod)}/pod/${localName(to.pod)}:${to.port}`;

/** `GET /books/ (client-app: x)`; a connection has no words. */
export function requestText(request: Request | undefined): string {
  if (!request) return "a connection";
  const headers = request.headers.map(({ name, value }) => `${name}: ${text(value)}`);
  return printable(`${request.method} ${text(request.path)}${headers.length > 0 ? ` (${headers.join(", ")})` : ""}`);
}

/** The words behind `heddle why`. */
export function whyArguments(from: string, to: Destination, request: Request | undefined): string {
  const words = [from, destinationText(to)];
  if (request) {
    words.push(quoted(request.method), quoted(text(request.path)));
    for (const { name, value } of request.headers) words.push("-H", quoted(`${name}: ${text(value)}`));
    const plain = to.kind === "service" && request.authority === defaultAuthority(to);
    if (!plain && to.kind === "service") words.push("-H", quoted(`host: ${text(request.authority)}`));
  }
  return words.join(" ");
}

const defaultAuthority = ({ service, port }: Extract<Destination, { kind: "service" }>): string =>
  `${localName(service)}.${namespaceOf(service)}${port === 80 ? "" : `:${port}`}`;

/** For a shell. */
const quoted = (word: string): string =>
  /^[A-Za-z0-9_./:@%+=,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

/** Bytes as their writer sees them; what is no UTF-8 is shown byte for byte. */
function text(bytes: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0)));
  } catch {
    return bytes;
  }
}

/** `TrafficTarget shop/access (access.yaml:12), match read of HTTPRouteGroup shop/routes (access.yaml:3)`. */
export function ruleText({ target, group, match }: Deciding, view: Pick<View, "place">): string {
  if (target === undefined) return "permissive mode";
  const where = (kind: string, full: string): string => {
    const found = view.place(
      { kind, namespace: full.slice(0, full.indexOf("/")), name: full.slice(full.indexOf("/") + 1) },
      "",
    );
    if (!found) return "";
    return found.file === undefined ? ` (version ${found.resourceVersion})` : ` (${found.file}:${found.line})`;
  };
  const by = `TrafficTarget ${target}${where("TrafficTarget", target)}`;
  if (group === undefined) return by;
  return `${by}, match ${match} of HTTPRouteGroup ${group}${where("HTTPRouteGroup", group)}`;
}
