/**
 * One HTTP request as the sidecars see it, and whether a match takes it: as Envoy's RE2, on bytes, against the whole text.
 * Knows no Service and no verdict.
 */
import { asBytes } from "../lib/bytes.ts";
import { matcher } from "../language/matcher.ts";
import { headerMeant } from "../policy/routes.ts";
import type { HTTPMatch } from "../world/types.ts";
import { AUTHORITIES } from "./authority.ts";
import { isUnfit, pass, sentOn, type Headers, type Unfit } from "./headers.ts";
import { normalPath, withoutQuery } from "./normal-path.ts";

/** As its sender writes it. */
export interface Request {
  readonly method: string;
  /** With its query, if any; begins with `/`. */
  readonly path: string;
  /** In order; names in any case, a name may stand there several times. `host` is the authority. */
  readonly headers: readonly (readonly [name: string, value: string])[];
}

/** As a sidecar matches it: bytes, a Latin-1 character each. */
export interface Seen {
  readonly method: string;
  /** In normal form, without query. */
  readonly path: string;
  /** By lower-case name; repeated ones joined. Pseudo headers among them. */
  readonly headers: Headers;
}

/** One request as it is seen on its way. */
export interface Passage {
  /** By the client's sidecar, which looks at splits. */
  readonly client: Seen;
  /** By the server's, behind the client's. */
  readonly server: Seen;
  /** By the server's when the client's takes the connection for TCP. */
  readonly alone: Seen;
}

/** The authority that a request names; undefined: none, so that it is the one that it is sent to. */
export const authorityOf = ({ headers }: Request): string | undefined =>
  headers.findLast(([name]) => /^(host|:authority)$/i.test(name))?.[1];

/** Without a dot at the end of the name, which each sidecar takes off. */
export const withoutDot = (authority: string): string => authority.replace(/\.(:[^.]*)?$/, "$1");

const AUTHORITY = new RegExp(`^(?:${AUTHORITIES})?$`);

/** What sidecars see of a request to this authority, or why they answer it themselves, whatever the policies say. */
export function passageOf(request: Request, authority: string): Passage | Unfit {
  const { method } = request;
  const path = normalPath(asBytes(request.path));
  if (path === undefined) return { status: 400, says: "a path may have neither # nor %00" };
  if (!AUTHORITY.test(authority)) return { status: 400, says: "the authority has a character that none may have" };
  const sent = joined(request.headers);
  const client = pass(sent, false);
  if (isUnfit(client)) return client;
  const [server, alone] = [pass(sentOn(method, sent, client), true), pass(sent, true)];
  if (isUnfit(server)) return server;
  if (isUnfit(alone)) return alone;
  const once = withoutDot(authority);
  const seen = (headers: Headers, name: string): Seen => {
    const pseudo = [
      [":method", method],
      [":path", path],
      [":authority", name],
    ] as const;
    return { method, path: withoutQuery(path), headers: new Map([...headers, ...pseudo]) };
  };
  return { client: seen(client, once), server: seen(server, withoutDot(once)), alone: seen(alone, once) };
}

/** Why sidecars answer a request themselves, whatever it is sent to; undefined when they do not. */
export function unfitOf(request: Request): Unfit | undefined {
  const found = passageOf(request, authorityOf(request) ?? "");
  return isUnfit(found) ? found : undefined;
}

/** Repeated ones are one value. Of the pseudo headers only HTTP/2's `:scheme` is nowhere else in a request. */
function joined(given: Request["headers"]): Headers {
  const headers = new Map<string, string>();
  for (const [written, value] of given) {
    const name = written.toLowerCase();
    if (name === "host" || (name.startsWith(":") && name !== ":scheme")) continue;
    const before = headers.get(name);
    headers.set(name, before === undefined ? asBytes(value) : `${before},${asBytes(value)}`);
  }
  return headers;
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
        as: headerMeant(name),
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
