/**
 * One line of a sidecar's access log as we read it: the counterpart of xds/access-log.ts. Pure; whatever is not such a line is nothing.
 */

export interface AccessLine {
  /** Who wrote it: the caller's sidecar or the called one's. */
  readonly reporter: "source" | "destination";
  /** Absent on TCP lines. */
  readonly http?: { readonly method: string; readonly path: string; readonly authority: string };
  /** 0 when no answer came. */
  readonly code: number;
  readonly details: string;
  /** Envoy's response flags, "" when there is none. */
  readonly flags: string;
  /** Milliseconds. */
  readonly duration: number;
  readonly bytes: number;
  /** Service and port of the pods that were called. */
  readonly upstream?: { readonly service: string; readonly port: number };
  /** Of the pod that was called. */
  readonly upstreamIp?: string;
  /** The caller's SPIFFE ID, on destination lines. */
  readonly peer?: string;
}

type Raw = Readonly<Record<string, unknown>>;

export function parseAccessLine(line: string): AccessLine | undefined {
  if (!line.startsWith("{") || !line.includes('"reporter"')) return undefined;
  let raw: Raw;
  try {
    raw = JSON.parse(line) as Raw;
  } catch {
    return undefined;
  }
  const { reporter } = raw;
  if (reporter !== "source" && reporter !== "destination") return undefined;
  const method = text(raw, "method");
  const upstream = clusterOf(text(raw, "upstream_cluster"));
  const upstreamIp = hostOf(text(raw, "upstream_host"));
  const peer = text(raw, "peer");
  return {
    reporter,
    code: number(raw, "response_code"),
    details: text(raw, "response_code_details"),
    flags: text(raw, "response_flags"),
    duration: number(raw, "duration"),
    bytes: number(raw, "bytes_received") + number(raw, "bytes_sent"),
    ...(method !== "" && { http: { method, path: text(raw, "path"), authority: text(raw, "authority") } }),
    ...(upstream && { upstream }),
    ...(upstreamIp !== undefined && { upstreamIp }),
    ...(peer !== "" && { peer }),
  };
}

/** Envoy writes null or `-` for what is not there. */
function text(raw: Raw, key: string): string {
  const value = raw[key];
  return typeof value === "string" && value !== "-" ? value : "";
}

function number(raw: Raw, key: string): number {
  const value = Number(raw[key] ?? 0);
  return Number.isFinite(value) ? value : 0;
}

/** `ns/svc|port` or `ns/svc|port|local`. */
function clusterOf(name: string): AccessLine["upstream"] {
  const [service = "", port] = name.split("|");
  return service.includes("/") && port !== undefined ? { service, port: Number(port) } : undefined;
}

/** `10.0.0.1:80` or `[fd00::1]:80`. */
function hostOf(address: string): string | undefined {
  const colon = address.lastIndexOf(":");
  return colon < 0 ? undefined : address.slice(0, colon).replace(/^\[|\]$/g, "");
}

/** `ns/sa` of a SPIFFE ID of our form. */
export function identityOfPeer(spiffe: string): string | undefined {
  const found = /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(spiffe);
  return found ? `${found[1]}/${found[2]}` : undefined;
}
