/**
 * Text → YAML documents that know on which line each of their fields stands. Knows nothing of Kubernetes.
 *
 * The schema is YAML 1.2's core schema with merge keys: strings, numbers, booleans, null; no tag makes code or an object with behaviour.
 */
import {
  constructFromEvents,
  CORE_SCHEMA,
  EVENT_ID,
  getScalarValue,
  mergeTag,
  parseEvents,
  YAMLException,
  type Event,
} from "js-yaml";

export interface Document {
  readonly value: unknown;
  /** 1-based line of its first content. */
  readonly line: number;
  /** Line of a field by its path, as `spec.rules[0]`; of the deepest part that is there. */
  lineOf(path: string): number;
}

export interface YamlError {
  readonly line: number;
  /** The parser's words, without a full stop. */
  readonly reason: string;
}

/** Values that one document may have when its aliases are written out. */
const MAX_VALUES = 500_000;
const MAX_ALIASES = 1_000;
/** Levels of a tree with its aliases written out; the parser itself allows 100 without them. */
const MAX_DEPTH = 500;
const SCHEMA = CORE_SCHEMA.withTags(mergeTag);

/** Never throws. A document with an error does not take the others of the file with it. */
export function parseYaml(text: string): {
  readonly documents: readonly Document[];
  readonly errors: readonly YamlError[];
} {
  const documents: Document[] = [];
  const errors: YamlError[] = [];
  for (const { source, line } of chunks(text)) {
    try {
      for (const events of perDocument(parseEvents(source, { maxDepth: 100 }))) {
        try {
          const document = construct(source, line, events);
          if (document) documents.push(document);
        } catch (error) {
          errors.push(errorOf(error, line));
        }
      }
    } catch (error) {
      errors.push(errorOf(error, line));
    }
  }
  return { documents, errors };
}

/** Cuts at `---` in the first column, which is a document's beginning wherever it stands, even within quotes (YAML 1.2, 9.1.2). */
function* chunks(text: string): Generator<{ source: string; line: number }> {
  let start = 0;
  let line = 1;
  const marks = [...text.matchAll(/^---(?=\s|$)/gm)].map((match) => match.index);
  for (const end of [...marks.filter((mark) => mark > 0), text.length]) {
    const source = text.slice(start, end);
    // What stands before the first `---` may be directives only: they say nothing that matters here.
    if (!source.split("\n").every((one) => /^\s*(#.*|%.*)?$/.test(one))) yield { source, line };
    line += source.split("\n").length - 1;
    start = end;
  }
}

function* perDocument(events: readonly Event[]): Generator<Event[]> {
  let start = 0;
  for (let i = 1; i <= events.length; i++) {
    if (i < events.length && events[i]?.type !== EVENT_ID.DOCUMENT) continue;
    yield events.slice(start, i);
    start = i;
  }
}

function construct(source: string, line: number, events: Event[]): Document | undefined {
  const [value] = constructFromEvents(events, { source, schema: SCHEMA, maxAliases: MAX_ALIASES });
  if (value === undefined || value === null) return undefined;
  if (values(value) > MAX_VALUES)
    throw new YAMLException(
      `more than ${MAX_VALUES} values when its aliases are written out, or an alias within itself`,
    );
  const lineAt = (offset: number) => line + newlines(source, offset);
  const first = events.find((event) => event.type !== EVENT_ID.DOCUMENT);
  return {
    value,
    line: lineAt(first ? startOf(first) : 0),
    lineOf: (path) => lineAt(offsetOf(source, events, segmentsOf(path))),
  };
}

/** Counts the values of a tree whose branches may be shared, and stops when there are too many; a cycle ends at the depth limit. */
function values(value: unknown, sum = 0, depth = 0): number {
  if (typeof value !== "object" || value === null) return sum + 1;
  if (depth > MAX_DEPTH) return MAX_VALUES + 1;
  let count = sum + 1;
  const children: readonly unknown[] = Array.isArray(value) ? value : Object.values(value);
  for (const child of children) {
    count = values(child, count, depth + 1);
    if (count > MAX_VALUES) break;
  }
  return count;
}

function errorOf(error: unknown, line: number): YamlError {
  if (error instanceof YAMLException) return { line: line + (error.mark?.line ?? 0), reason: error.reason };
  return { line, reason: error instanceof Error ? error.message : String(error) };
}

function newlines(text: string, end: number): number {
  let count = 0;
  for (let i = text.indexOf("\n"); i >= 0 && i < end; i = text.indexOf("\n", i + 1)) count++;
  return count;
}

/** `spec.rules[0].headers["user-agent"]` → its keys and indexes. */
export function segmentsOf(path: string): (string | number)[] {
  const segments: (string | number)[] = [];
  for (const [, key, index, quoted] of path.matchAll(/\.?([^.[\]]+)|\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]/g)) {
    if (key !== undefined) segments.push(key);
    else if (index !== undefined) segments.push(Number(index));
    else if (quoted !== undefined) segments.push(JSON.parse(quoted) as string);
  }
  return segments;
}

function startOf(event: Event): number {
  switch (event.type) {
    case EVENT_ID.SCALAR:
      return Math.max(0, event.valueStart);
    case EVENT_ID.SEQUENCE:
    case EVENT_ID.MAPPING:
      return Math.max(0, event.start);
    case EVENT_ID.ALIAS:
      return Math.max(0, event.anchorStart);
    default:
      return 0;
  }
}

/** Index behind the node that begins at `index`. */
function skip(events: readonly Event[], index: number): number {
  let depth = 0;
  for (let i = index; i < events.length; i++) {
    const type = events[i]?.type;
    if (type === EVENT_ID.SEQUENCE || type === EVENT_ID.MAPPING) depth++;
    else if (type === EVENT_ID.POP) depth--;
    if (depth <= 0) return i + 1;
  }
  return events.length;
}

function offsetOf(source: string, events: readonly Event[], segments: readonly (string | number)[]): number {
  let node = events.findIndex((event) => event.type !== EVENT_ID.DOCUMENT);
  let offset = node < 0 ? 0 : startOf(events[node] as Event);
  for (const segment of segments) {
    const type = events[node]?.type;
    let next = -1;
    if (typeof segment === "string" && type === EVENT_ID.MAPPING) {
      for (let key = node + 1; key < events.length && events[key]?.type !== EVENT_ID.POP;) {
        const event = events[key] as Event;
        const value = skip(events, key);
        if (event.type === EVENT_ID.SCALAR && getScalarValue(source, event) === segment) {
          next = value;
          offset = startOf(event);
          break;
        }
        key = skip(events, value);
      }
    } else if (typeof segment === "number" && type === EVENT_ID.SEQUENCE) {
      let item = node + 1;
      for (let i = 0; i < segment && events[item] && events[item]?.type !== EVENT_ID.POP; i++)
        item = skip(events, item);
      if (events[item] && events[item]?.type !== EVENT_ID.POP) {
        next = item;
        offset = startOf(events[item] as Event);
      }
    }
    if (next < 0) break;
    node = next;
  }
  return offset;
}
