/**
 * What a sidecar does with a request's headers before it looks at rules: those that it takes away, changes and adds, and requests that it
 * answers itself. Found by asking Envoy 1.40 with the configuration that we serve; `test/live/headers.test.ts` goes on asking. Knows no policy.
 *
 * Requests are HTTP/1.1's, without a body unless their headers say that there is one. Values are bytes, a Latin-1 character each.
 */

/** Taken away from every request: they are about one connection, or Envoy's own and would be taken for its word. */
const REMOVED = [
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "x-envoy-expected-rq-timeout-ms",
  "x-envoy-force-trace",
  "x-envoy-hedge-on-per-try-timeout",
  "x-envoy-internal",
  "x-envoy-ip-tags",
  "x-envoy-max-retries",
  "x-envoy-original-url",
  "x-envoy-retriable-header-names",
  "x-envoy-retriable-status-codes",
  "x-envoy-retry-grpc-on",
  "x-envoy-retry-on",
  "x-envoy-upstream-alt-stat-name",
  "x-envoy-upstream-rq-per-try-timeout-ms",
  "x-envoy-upstream-rq-timeout-alt-response",
  "x-envoy-upstream-rq-timeout-ms",
  "x-envoy-upstream-stream-duration-ms",
  "x-forwarded-client-cert",
] as const;

/**
 * Headers that do not arrive as they are sent: taken away, or made and changed according to the rest of the request. What a rule about one of
 * them takes is not said by the header alone.
 */
export const NOT_AS_SENT: ReadonlySet<string> = new Set([
  ...REMOVED,
  "connection",
  "content-length",
  "expect",
  "http2-settings",
  "referer",
  "te",
  "upgrade",
]);

/** A request that a sidecar answers itself, whoever asks. */
export interface Unfit {
  readonly status: 400 | 403 | 404 | 501;
  /** As a sentence without a full stop. */
  readonly says: string;
}

/** By lower-case name; the authority and the path are not among them. */
export type Headers = ReadonlyMap<string, string>;

export const isUnfit = (found: object): found is Unfit => "status" in found;

/** Sidecars add it where it is missing, with a random UUID; only its form is known before. */
const ANY_REQUEST_ID = "00000000-0000-4000-8000-000000000000";

/**
 * Past one sidecar.
 * @param tls - whether the request comes through TLS: to a server's sidecar it does
 */
export function pass(sent: Headers, tls: boolean): Headers | Unfit {
  const headers = new Map(sent);
  const unfit = parse(headers) ?? nominate(headers);
  if (unfit) return unfit;
  const upgrade = upgradeOf(headers);
  if (upgrade === undefined) {
    headers.delete("connection");
    headers.delete("upgrade");
  }
  for (const name of REMOVED) headers.delete(name);
  const te = headers.get("te");
  if (te !== undefined && te !== "") {
    if (listed(te).includes("trailers")) headers.set("te", "trailers");
    else headers.delete("te");
  }
  if (headers.get("expect")?.toLowerCase() === "100-continue") headers.delete("expect");
  if (!isReferer(headers.get("referer") ?? "")) headers.delete("referer");
  if (!headers.get("x-request-id")) headers.set("x-request-id", ANY_REQUEST_ID);
  const scheme = tls ? "https" : "http";
  const proto = headers.get("x-forwarded-proto") ?? scheme;
  headers.set("x-forwarded-proto", proto);
  // HTTP/1.1 has no `:scheme`: whoever writes one means HTTP/2, where it is kept.
  const written = headers.get(":scheme") ?? proto;
  headers.set(":scheme", /^https?$/i.test(written) ? written.toLowerCase() : scheme);
  if (proto === "") return { status: 404, says: "header x-forwarded-proto is there and empty" };
  if (upgrade !== undefined && upgrade !== "websocket")
    return {
      status: 403,
      says: `it asks for an upgrade to ${JSON.stringify(upgrade)}, and only websocket is let through`,
    };
  return headers;
}

/** Of these, HTTP/1.1 sends the next sidecar no length when there is no body. */
const WITHOUT_LENGTH: ReadonlySet<string> = new Set(["GET", "HEAD", "DELETE", "TRACE", "CONNECT"]);

/** As a client's sidecar sends them on. */
export function sentOn(method: string, sent: Headers, passed: Headers): Headers {
  // HTTP/2, where the end of a request is said by itself.
  if (sent.has(":scheme")) return passed;
  const headers = new Map(passed);
  // It is said anew by each sidecar, of x-forwarded-proto.
  headers.delete(":scheme");
  const bare = !sent.has("content-length") && !sent.has("transfer-encoding") && !headers.has("upgrade");
  if (bare && !WITHOUT_LENGTH.has(method)) headers.set("content-length", "0");
  return headers;
}

/** What only the codec looks at. */
function parse(headers: Map<string, string>): Unfit | undefined {
  const [coding, length] = ["transfer-encoding", "content-length"].map((name) => headers.get(name));
  if (length !== undefined && coding !== undefined)
    return { status: 400, says: "content-length and transfer-encoding exclude each other" };
  if (coding !== undefined && coding.toLowerCase() !== "chunked")
    return { status: 501, says: "transfer-encoding may be chunked only" };
  if (length !== undefined && (!/^\d{1,20}$/.test(length) || BigInt(length) >= 2n ** 64n))
    return { status: 400, says: "content-length is no number" };
  if (upgradeOf(headers) === "h2c") for (const name of ["upgrade", "http2-settings"]) headers.delete(name);
  return undefined;
}

const CONNECTION_TOKENS: ReadonlySet<string> = new Set([
  "close",
  "connection",
  "http2-settings",
  "keep-alive",
  "upgrade",
]);
const NEVER_NOMINATED: ReadonlySet<string> = new Set([
  "host",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-proto",
]);
const MOST_NOMINATED = 9;

/** Headers that `connection` names are for the first hop only. */
function nominate(headers: Map<string, string>): Unfit | undefined {
  const connection = headers.get("connection") ?? "";
  if (connection.split(",").filter((token) => token !== "").length > MOST_NOMINATED)
    return { status: 400, says: `header connection names more than ${MOST_NOMINATED}` };
  for (const name of listed(connection.toLowerCase())) {
    if (CONNECTION_TOKENS.has(name)) continue;
    if (NEVER_NOMINATED.has(name) || name.startsWith(":"))
      return { status: 400, says: `header connection must not name ${name}` };
    if (name === "te" && listed((headers.get("te") ?? "").toLowerCase()).includes("trailers"))
      headers.set("te", "trailers");
    else headers.delete(name);
  }
  return undefined;
}

/** In lower case; undefined: the request asks for none. */
function upgradeOf(headers: Headers): string | undefined {
  const asked = listed((headers.get("connection") ?? "").toLowerCase()).includes("upgrade");
  return asked ? headers.get("upgrade")?.toLowerCase() : undefined;
}

const listed = (value: string): readonly string[] => value.split(",").map((token) => token.trim());

/** With scheme and host, without user and fragment (an empty one passes); the port is looked at apart. */
const ABSOLUTE =
  /^[A-Za-z][A-Za-z0-9+.-]*:\/\/@?(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?(?:[/?][!"$-~]*#?)?$/;
/** No colon before the first slash. */
const RELATIVE = /^(?:[!$&-9;=?-Z_a-z~%]*|[!$&-.0-9;=?-Z_a-z~%]*\/[!$&-;=?-Z_a-z~%]*)$/;

/** Whether Envoy takes it for a referer (RFC 9110, 10.1.3), and else takes it away. */
function isReferer(value: string): boolean {
  const absolute = ABSOLUTE.exec(value);
  return absolute ? Number(absolute[1] ?? 0) <= 65_535 : RELATIVE.test(value);
}
