/**
 * One HTTP request as the sidecars see it, and whether a match takes it: as Envoy's RE2, on bytes, against the whole text.
 * Knows no Service and no verdict.
 */
import { asBytes } from "../lib/bytes.ts";
import { matcher } from "../language/matcher.ts";
import type { HTTPMatch } from "../world/types.ts";
import { normalPath, withoutQuery } from "./normal-path.ts";

/** As its sender writes it. */
export interface Request {
  readonly method: string;
  /** With its query, if any; begins with `/`. */
  readonly path: string;
  /** In order; names in any case, a name may stand there several times. `host` is the authority. */
  readonly headers: readonly (readonly [name: string, value: string])[];
}

/** As sidecars match it: bytes, a Latin-1 character each. */
export interface Seen {
  readonly method: string;
  /** In normal form, without query. */
  readonly path: string;
  /** By lower-case name; repeated ones joined. Pseudo headers among them. */
  readonly headers: ReadonlyMap<string, string>;
}

/** Sidecars add it where it is missing, with a random UUID; only its form is known before. */
const ANY_REQUEST_ID = "00000000-0000-4000-8000-000000000000";

/** The authority that a request names; undefined: none, so that it is the one that it is sent to. */
export const authorityOf = ({ headers }: Request): string | undefined =>
  headers.findLast(([name]) => /^(host|:authority)$/i.test(name))?.[1];

/** Without a dot at the end of the name, which sidecars take off. */
export const withoutDot = (authority: string): string => authority.replace(/\.(:\d+)?$/, "$1");

/** What sidecars see of a request to this authority; undefined when they answer it with 400, whatever the policies say. */
export function seenOf(request: Request, authority: string): Seen | undefined {
  // The server's sidecar does it again, and of a few strange paths (`/%%/../%5C%32`) makes something else than the client's did: its form decides.
  const path = normalPath(normalPath(asBytes(request.path)) ?? "");
  if (path === undefined) return undefined;
  const headers = new Map<string, string>([
    [":method", request.method],
    [":path", path],
    [":scheme", "http"],
    [":authority", asBytes(withoutDot(authority))],
  ]);
  for (const [given, value] of request.headers) {
    const name = given.toLowerCase();
    if (name === "host" || name.startsWith(":")) continue;
    const before = headers.get(name);
    const bytes = asBytes(value);
    headers.set(name, before === undefined ? bytes : `${before}${name === "cookie" ? "; " : ","}${bytes}`);
  }
  if (!headers.has("x-forwarded-proto")) headers.set("x-forwarded-proto", "http");
  if (!headers.has("x-request-id")) headers.set("x-request-id", ANY_REQUEST_ID);
  return { method: request.method, path: withoutQuery(path), headers };
}

/** What of a match a request does not fit. */
export interface Misfits {
  readonly path: boolean;
  readonly method: boolean;
  /** Names; those of `missing` are not there at all. */
  readonly headers: readonly string[];
}

interface Compiled {
  readonly path: Matcher | undefined;
  /** Undefined: any. */
  readonly methods: ReadonlySet<string> | undefined;
  readonly headers: readonly { readonly name: string; readonly as: string; readonly matches: Matcher }[];
}

type Matcher = (text: string) => boolean;

const compiled = new WeakMap<HTTPMatch, Compiled>();

/** Compiled once for each match. Its patterns are known to be good (`routesOf`). */
function compile(match: HTTPMatch): Compiled {
  let made = compiled.get(match);
  if (!made) {
    const { pathRegex, methods, headers } = match;
    made = {
      path: pathRegex === undefined ? undefined : matcher(pathRegex),
      methods: methods.length === 0 || methods.includes("*") ? undefined : new Set(methods),
      headers: headers.map(({ name, regex }) => ({
        name,
        as: name === "host" ? ":authority" : name,
        matches: matcher(regex),
      })),
    };
    compiled.set(match, made);
  }
  return made;
}

/** Whether all that the match asks for holds (AND). */
export function takes(match: HTTPMatch, { method, path, headers }: Seen): boolean {
  const wanted = compile(match);
  if (wanted.methods && !wanted.methods.has(method)) return false;
  if (wanted.path && !wanted.path(path)) return false;
  return wanted.headers.every(({ as, matches }) => {
    const value = headers.get(as);
    return value !== undefined && matches(value);
  });
}

export function misfitsOf(match: HTTPMatch, { method, path, headers }: Seen): Misfits {
  const wanted = compile(match);
  return {
    path: wanted.path !== undefined && !wanted.path(path),
    method: wanted.methods !== undefined && !wanted.methods.has(method),
    headers: wanted.headers
      .filter(({ as, matches }) => !matches(headers.get(as) ?? "") || !headers.has(as))
      .map(({ name }) => name),
  };
}
