/**
 * Sets of HTTP requests, and their exact algebra: a set is a finite union of boxes. Knows what a match of a route group takes, and
 * nothing of who may make a request.
 *
 * A set holds only requests that Envoy's rules can ever see (the universe), so what lies outside of it is no difference.
 */
import type { Language, Languages } from "../language/languages.ts";
import { headerMeant } from "../policy/routes.ts";
import type { HTTPMatch } from "../world/types.ts";
import { NOT_AS_SENT } from "./headers.ts";
import { AUTHORITY, Boxes, REQUEST_LIMITS, RequestsTooMany, type Box, type HeaderPart } from "./boxes.ts";

/** ORed boxes; they may overlap. Equal lists of one algebra are the same object; equal sets need not be. */
export interface RequestSet {
  readonly boxes: readonly Box[];
}

/** One request, as the server's Envoy sees it. */
export interface Request {
  readonly method: string;
  /** In normal form, without query. */
  readonly path: string;
  /** Names in lower case, each once. Without the authority. */
  readonly headers: readonly { readonly name: string; readonly value: string }[];
  readonly authority: string;
}

/** A match or an invariant is about a header that does not arrive as it is sent: the question has no answer here. */
export class HeaderNotCompared extends Error {
  constructor(header: string, who = "a match") {
    super(`${who} is about the header ${header}, which is not compared here`);
    this.name = "HeaderNotCompared";
  }
}

/** Whether what a header is at the server is said by the header alone. Of pseudo headers the authority is. */
export const isCompared = (name: string): boolean =>
  !NOT_AS_SENT.has(name) && (!name.startsWith(":") || name === AUTHORITY);

/** In the order in which a witness prefers them. */
const KNOWN_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];

/** The algebra over one table of languages; lives as long as that. Throws `LanguageTooLarge` and `RequestsTooMany` instead of working without end. */
export class Requests {
  readonly languages: Languages;
  readonly none: RequestSet;
  readonly all: RequestSet;
  /** Those whose path has a slash that is written `%2F` or `%5C`. */
  readonly escapedSlash: RequestSet;
  readonly #boxes: Boxes;
  readonly #sets = new Map<string, RequestSet>();
  readonly #ids = new Map<RequestSet, number>();
  readonly #known = new Map<string, RequestSet>();
  readonly #matches = new Map<HTTPMatch, RequestSet>();

  constructor(languages: Languages) {
    this.languages = languages;
    this.#boxes = new Boxes(languages);
    this.none = this.#set([]);
    this.all = this.with({});
    this.escapedSlash = this.with({ path: languages.regex(".*%(2[fF]|5[cC]).*") });
  }

  /** The requests that a match of a route group takes. */
  match(match: HTTPMatch): RequestSet {
    let found = this.#matches.get(match);
    if (!found) this.#matches.set(match, (found = this.#matching(match)));
    return found;
  }

  /** The requests that any of these matches takes; all when undefined. */
  matches(matches: readonly HTTPMatch[] | undefined): RequestSet {
    return matches ? this.unionOf(matches.map((match) => this.match(match))) : this.all;
  }

  /** The requests whose parts are in these languages; a header that is named is there. */
  with(parts: {
    readonly path?: Language;
    readonly method?: Language;
    readonly authority?: Language;
    readonly headers?: ReadonlyMap<string, Language>;
  }): RequestSet {
    const { languages } = this;
    const { paths, methods } = this.#boxes;
    const named = [...(parts.headers ?? []), ...(parts.authority ? [[AUTHORITY, parts.authority] as const] : [])];
    const headers = named.map(([name, values]): HeaderPart => ({
      name,
      values: languages.intersection(values, this.#boxes.valuesOf(name)),
      missing: false,
    }));
    this.#boxes.begin();
    const path = parts.path ? languages.intersection(parts.path, paths) : paths;
    const method = parts.method ? languages.intersection(parts.method, methods) : methods;
    const box = this.#boxes.make(path, method, headers);
    return this.#set(box ? [box] : []);
  }

  has({ boxes }: RequestSet, request: Request): boolean {
    const { languages } = this;
    const valueOf = (name: string): string | undefined =>
      name === AUTHORITY ? request.authority : request.headers.find((h) => h.name === name)?.value;
    // A header that a box leaves free can still not be everything.
    const possible = request.headers.every(({ name, value }) => languages.has(this.#boxes.valuesOf(name), value));
    return (
      possible &&
      boxes.some(
        (box) =>
          languages.has(box.path, request.path) &&
          languages.has(box.method, request.method) &&
          box.headers.every(({ name, values, missing }) => {
            const value = valueOf(name);
            return value === undefined ? missing : languages.has(values, value);
          }),
      )
    );
  }

  union(a: RequestSet, b: RequestSet): RequestSet {
    if (a === b || b === this.none || a === this.all) return a;
    if (a === this.none || b === this.all) return b;
    return this.#once("|", a, b, () => [...a.boxes, ...b.boxes]);
  }

  unionOf(sets: Iterable<RequestSet>): RequestSet {
    let all = this.none;
    for (const set of sets) all = this.union(all, set);
    return all;
  }

  intersection(a: RequestSet, b: RequestSet): RequestSet {
    if (a === b || b === this.all || a === this.none) return a;
    if (a === this.all || b === this.none) return b;
    return this.#once("&", a, b, () =>
      a.boxes.flatMap((box) => b.boxes.flatMap((other) => this.#boxes.common(box, other) ?? [])),
    );
  }

  difference(a: RequestSet, b: RequestSet): RequestSet {
    if (a === b || b === this.all || a === this.none) return this.none;
    if (b === this.none) return a;
    return this.#once("-", a, b, () => {
      let rest = a.boxes;
      for (const box of b.boxes) {
        rest = rest.flatMap((one) => this.#boxes.without(one, box));
        if (rest.length > REQUEST_LIMITS.boxes) throw new RequestsTooMany();
      }
      return rest;
    });
  }

  /** A number for each set: equal numbers are the same object. */
  id(set: RequestSet): number {
    return this.#ids.get(set) as number;
  }

  isEmpty(set: RequestSet): boolean {
    return set.boxes.length === 0;
  }

  includes(larger: RequestSet, smaller: RequestSet): boolean {
    return this.isEmpty(this.difference(smaller, larger));
  }

  equal(a: RequestSet, b: RequestSet): boolean {
    return a === b || (this.includes(a, b) && this.includes(b, a));
  }

  /**
   * A request of the set, the plainest that is easily found: few headers, a known method, a short path.
   * Undefined when the set is empty.
   * @param authorities - the authority is the first of these that is possible
   */
  witness({ boxes }: RequestSet, authorities: readonly string[] = []): Request | undefined {
    const { languages } = this;
    const candidates = boxes.flatMap((box): Request[] => {
      const method = KNOWN_METHODS.find((m) => languages.has(box.method, m)) ?? languages.witness(box.method);
      const path = languages.witness(box.path);
      const asked = box.headers.find((h) => h.name === AUTHORITY)?.values ?? this.#boxes.authorities;
      const authority = authorities.find((a) => languages.has(asked, a)) ?? languages.witness(asked);
      if (method === undefined || path === undefined || authority === undefined) return [];
      const headers = box.headers
        .filter((h) => h.name !== AUTHORITY && !h.missing)
        .map((h) => ({ name: h.name, value: languages.witness(h.values) ?? "" }));
      return [{ method, path, headers, authority }];
    });
    const cost = ({ method, path, headers }: Request): number =>
      1000 * headers.length + 10 * (KNOWN_METHODS.indexOf(method) + 1 || 50) + path.length;
    return candidates.sort((a, b) => cost(a) - cost(b))[0];
  }

  #matching({ pathRegex, methods, headers }: HTTPMatch): RequestSet {
    const { languages } = this;
    let method = methods.length === 0 || methods.includes("*") ? languages.all : languages.oneOf(methods);
    const asked = new Map<string, Language>();
    for (const { name: written, regex } of headers) {
      const name = headerMeant(written);
      const values = languages.regex(regex);
      if (name === ":method") method = languages.intersection(method, values);
      else if (!isCompared(name)) throw new HeaderNotCompared(name);
      else asked.set(name, languages.intersection(asked.get(name) ?? languages.all, values));
    }
    const path = pathRegex === undefined ? languages.all : languages.regex(pathRegex);
    return this.with({ path, method, headers: asked });
  }

  /** Without boxes that others contain, and with those joined that differ in one part only. */
  #simple(boxes: readonly Box[]): readonly Box[] {
    let list: readonly Box[] = [...new Set(boxes)];
    for (let again = true; again;) {
      if (list.length > REQUEST_LIMITS.boxes) throw new RequestsTooMany();
      again = false;
      const kept: Box[] = [];
      for (const box of list) {
        const at = kept.findIndex((other) => this.#boxes.joined(other, box) ?? this.#boxes.contains(other, box));
        const other = kept[at];
        if (!other) kept.push(box);
        else if (!this.#boxes.contains(other, box)) {
          kept[at] = this.#boxes.joined(other, box) ?? other;
          again = true;
        }
      }
      list = [...new Set(kept)];
    }
    return list.filter((box) => !list.some((other) => other !== box && this.#boxes.contains(other, box)));
  }

  #set(boxes: readonly Box[]): RequestSet {
    const key = boxes
      .map((box) => this.#boxes.id(box))
      .sort((a, b) => a - b)
      .join(",");
    let set = this.#sets.get(key);
    if (!set) {
      this.#sets.set(key, (set = Object.freeze({ boxes })));
      this.#ids.set(set, this.#ids.size);
    }
    return set;
  }

  #once(operator: string, a: RequestSet, b: RequestSet, make: () => readonly Box[]): RequestSet {
    const key = `${this.#ids.get(a)}${operator}${this.#ids.get(b)}`;
    let found = this.#known.get(key);
    if (!found) {
      this.#boxes.begin();
      this.#known.set(key, (found = this.#set(this.#simple(make()))));
    }
    return found;
  }
}
