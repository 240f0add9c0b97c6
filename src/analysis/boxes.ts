/**
 * Boxes of requests: a language of paths times one of methods times one of values for each header, and what is left when one is taken
 * from another. Knows what the parts of a request can be, and nothing of sets or rules.
 */
import type { Language, Languages } from "../language/languages.ts";
import { AUTHORITIES } from "./authority.ts";
import { NORMAL_PATHS } from "./normal-path.ts";

/** What a box asks of one header. */
export interface HeaderPart {
  /** In lower case; the authority is `:authority`. */
  readonly name: string;
  readonly values: Language;
  /** Whether the request may come without it. */
  readonly missing: boolean;
}

/** Requests of which each part is in a language of its own. Never empty; equal boxes of one table are the same object. */
export interface Box {
  readonly path: Language;
  readonly method: Language;
  /** In order of name, without headers that may be anything. */
  readonly headers: readonly HeaderPart[];
}

/** The sets became more than can be worked with: the question has no answer here. */
export class RequestsTooMany extends Error {
  constructor() {
    super("the rules cut the requests into more pieces than can be compared");
    this.name = "RequestsTooMany";
  }
}

/** Boxes in one set, and boxes made in one operation. */
export const REQUEST_LIMITS = { boxes: 2_000, pieces: 200_000 } as const;

export const AUTHORITY = ":authority";
/** Headers that a server always sees, and never empty: sidecars add the last two where a client sends none. */
const ALWAYS: ReadonlySet<string> = new Set([AUTHORITY, "x-forwarded-proto", "x-request-id"]);
/** RFC 9110's token. CONNECT makes no request that has a path. */
const METHODS = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
/** RFC 9110's field-value: codecs take blanks off its ends. */
const VALUES = "(?:[!-~\\x80-\\xff](?:[\\t -~\\x80-\\xff]*[!-~\\x80-\\xff])?)?";

export class Boxes {
  readonly languages: Languages;
  readonly paths: Language;
  readonly methods: Language;
  readonly authorities: Language;
  readonly #values: Language;
  readonly #some: Language;
  readonly #boxes = new Map<string, Box>();
  readonly #ids = new Map<Box, number>();
  #pieces = 0;

  constructor(languages: Languages) {
    this.languages = languages;
    this.paths = pathsOf(languages);
    this.methods = languages.difference(languages.regex(METHODS), languages.literal("CONNECT"));
    // Which ones reach a Service is said by whoever asks.
    this.authorities = languages.regex(AUTHORITIES);
    this.#values = languages.regex(VALUES);
    this.#some = languages.difference(this.#values, languages.literal(""));
  }

  /** An operation begins: its pieces are counted from here. */
  begin(): void {
    this.#pieces = 0;
  }

  id(box: Box): number {
    return this.#ids.get(box) as number;
  }

  /** What the header can be at all. */
  valuesOf(name: string): Language {
    return name === AUTHORITY ? this.authorities : ALWAYS.has(name) ? this.#some : this.#values;
  }

  /** Interned; undefined when no request is in it. */
  make(path: Language, method: Language, headers: readonly HeaderPart[]): Box | undefined {
    const { none } = this.languages;
    if (path === none || method === none || headers.some((h) => !h.missing && h.values === none)) return undefined;
    if (++this.#pieces > REQUEST_LIMITS.pieces) throw new RequestsTooMany();
    const parts = headers
      .filter((h) => !samePart(h, this.#free(h.name)))
      .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    const key = [path.id, method.id, ...parts.map((h) => `${h.name} ${h.values.id} ${h.missing}`)].join("|");
    let box = this.#boxes.get(key);
    if (!box) {
      this.#boxes.set(key, (box = Object.freeze({ path, method, headers: parts })));
      this.#ids.set(box, this.#ids.size);
    }
    return box;
  }

  overlap(a: Box, b: Box): boolean {
    const { languages } = this;
    return (
      languages.overlap(a.method, b.method) &&
      b.headers.every((part) => {
        const own = this.#part(a, part.name);
        return (own.missing && part.missing) || languages.overlap(own.values, part.values);
      }) &&
      languages.overlap(a.path, b.path)
    );
  }

  /** What both take; undefined when nothing. */
  common(a: Box, b: Box): Box | undefined {
    if (a === b) return a;
    if (!this.overlap(a, b)) return undefined;
    const { languages } = this;
    const method = languages.intersection(a.method, b.method);
    const headers = new Map(a.headers.map((h) => [h.name, h]));
    for (const part of b.headers) headers.set(part.name, this.#commonPart(this.#part(a, part.name), part));
    return this.make(languages.intersection(a.path, b.path), method, [...headers.values()]);
  }

  /** `a` without `b`, as boxes that do not overlap: for each part what `b` leaves of it, the parts before it being what both take. */
  without(a: Box, b: Box): readonly Box[] {
    if (this.contains(b, a)) return [];
    const both = this.common(a, b);
    if (!both) return [a];
    const { languages } = this;
    const pieces: (Box | undefined)[] = [];
    pieces.push(this.make(a.path, languages.difference(a.method, b.method), a.headers));
    let headers = a.headers;
    for (const part of b.headers) {
      const own = this.#part(a, part.name);
      const rest = {
        name: part.name,
        values: languages.difference(own.values, part.values),
        missing: own.missing && !part.missing,
      };
      const others = headers.filter((h) => h.name !== part.name);
      pieces.push(this.make(a.path, both.method, [...others, rest]));
      headers = [...others, this.#commonPart(own, part)];
    }
    pieces.push(this.make(languages.difference(a.path, b.path), both.method, headers));
    return pieces.filter((piece) => piece !== undefined);
  }

  contains(larger: Box, smaller: Box): boolean {
    const { languages } = this;
    return (
      larger === smaller ||
      (languages.includes(larger.method, smaller.method) &&
        larger.headers.every((part) => {
          const own = this.#part(smaller, part.name);
          return (part.missing || !own.missing) && languages.includes(part.values, own.values);
        }) &&
        languages.includes(larger.path, smaller.path))
    );
  }

  /** Both as one, when they differ in one part only. */
  joined(a: Box, b: Box): Box | undefined {
    const { languages } = this;
    const names = new Set([...a.headers, ...b.headers].map((h) => h.name));
    const other = [...names].filter((name) => !samePart(this.#part(a, name), this.#part(b, name)));
    const differing = other.length + Number(a.path !== b.path) + Number(a.method !== b.method);
    if (differing > 1) return undefined;
    const headers = a.headers.filter((h) => !other.includes(h.name));
    for (const name of other) {
      const [x, y] = [this.#part(a, name), this.#part(b, name)];
      headers.push({ name, values: languages.union(x.values, y.values), missing: x.missing || y.missing });
    }
    return this.make(languages.union(a.path, b.path), languages.union(a.method, b.method), headers);
  }

  #part(box: Box, name: string): HeaderPart {
    return box.headers.find((h) => h.name === name) ?? this.#free(name);
  }

  /** A header that may be anything. */
  #free(name: string): HeaderPart {
    return { name, values: this.valuesOf(name), missing: !ALWAYS.has(name) };
  }

  #commonPart(a: HeaderPart, b: HeaderPart): HeaderPart {
    const values = this.languages.intersection(a.values, b.values);
    return { name: a.name, values, missing: a.missing && b.missing };
  }
}

const samePart = (a: HeaderPart, b: HeaderPart): boolean => a.values === b.values && a.missing === b.missing;

/** Exactly the paths that are their own normal form: no other reaches a rule. */
function pathsOf(languages: Languages): Language {
  const { all, but, also } = NORMAL_PATHS;
  let paths = languages.regex(all);
  for (const pattern of but) paths = languages.difference(paths, languages.regex(pattern));
  return languages.union(paths, languages.oneOf(also));
}
