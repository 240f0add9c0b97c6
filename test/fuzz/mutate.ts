/** Manifests go wrong: pieces replaced, removed, renamed, repeated, swapped and taken from elsewhere; and what is no manifest at all. */
import { set } from "../../src/manifest/reader.ts";
import { Random } from "./random.ts";
import { scene } from "./scenes.ts";

type Holder = Record<string | number, unknown>;
type Place = readonly [holder: Holder, key: string | number];

const isHolder = (value: unknown): value is Holder => typeof value === "object" && value !== null;

/** Every place in a tree, as the object that holds it and its key. */
function places(value: unknown, found: Place[] = []): Place[] {
  if (!isHolder(value) || found.length > 2_000) return found;
  for (const key of Object.keys(value)) {
    found.push([value, key]);
    places(value[key], found);
  }
  return found;
}

const put = ([holder, key]: Place, value: unknown): void => {
  if (Array.isArray(holder)) holder[Number(key)] = value;
  else set(holder, String(key), value);
};

function deep(levels: number): unknown {
  let value: unknown = "bottom";
  for (let i = 0; i < levels; i++) value = i % 2 ? [value] : { spec: value };
  return value;
}

const TEXTS = [
  "",
  " ",
  "a/b",
  "..",
  "__proto__",
  "constructor",
  "constructor/v1",
  "__proto__/v1",
  "toString",
  "None",
  "*",
  "true",
  "80",
  "65536",
  "-1",
  "NaN",
  "\u0000",
  "\ud800",
  "é",
  "a\nb",
  "\u001b[2J",
  "(",
  "(a*)*b",
  "a{1000}{1000}",
  "\\C",
  "[[:word:]]",
  "(?P<n>a)",
  "\\x{10ffff}",
  "(?i)",
  "\\Q",
  "$^",
  ".*.*.*.*=.*",
  "\\pL+",
  "a|",
  "[^]",
  "v1alpha9",
  "kube-system",
  "1e3",
  "500m",
  "1Ei",
];

/** Anything but a function or a symbol, which no document can hold. */
function junk(random: Random): unknown {
  switch (random.below(12)) {
    case 0:
      return random.of([null, undefined, true, false]);
    case 1:
      return random.of([
        0,
        -0,
        -1,
        1,
        3.5,
        80,
        65_535,
        65_536,
        2 ** 32,
        2 ** 53,
        1e300,
        Number.NaN,
        Number.POSITIVE_INFINITY,
        10n ** 30n,
      ]);
    case 2:
      return random.of<unknown>([[], {}, [[]], [null], [{}], [undefined], { "": "" }]);
    case 3:
      return random.oneIn(20) ? "x".repeat(300_000) : "y".repeat(random.of([254, 1_025, 5_000]));
    case 4:
      return Array.from({ length: random.of([3, 101, 1_001]) }, () => random.of<unknown>([80, "GET", {}]));
    case 5:
      return deep(random.of([3, 50, 400]));
    case 6: {
      const odd = {};
      for (const key of ["__proto__", "constructor", "hasOwnProperty"])
        set(odd, key, random.of<unknown>([{}, "x", { polluted: true }]));
      return odd;
    }
    case 7:
      return Object.fromEntries(random.some(1, 4, () => [random.of(TEXTS), random.of<unknown>(TEXTS)]));
    default:
      return random.of(TEXTS);
  }
}

/** Junk that is no text: what it opened would be by mistake. */
export const typeJunk = (random: Random): unknown =>
  random.of<() => unknown>([
    () => null,
    () => -5,
    () => 3.5,
    () => true,
    () => ({ odd: 1 }),
    () => [{}],
    () => [5],
    () => [null],
    () => [],
    () => deep(9),
  ])();

function misspelt(random: Random, key: string): string {
  const at = random.below(key.length + 1);
  return random.oneIn(5)
    ? "__proto__"
    : `${key.slice(0, at)}${random.of(["", "x", "-", key[at] ?? "s"])}${key.slice(at + 1)}`;
}

/** Changes one thing somewhere in these objects, in place. */
function mutate(random: Random, objects: unknown[]): void {
  const all = places(objects);
  if (all.length === 0) return;
  const place = random.of(all);
  const [holder, key] = place;
  const value = holder[key];
  switch (random.below(11)) {
    case 0:
      if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else delete holder[key];
      return;
    case 1:
      if (!Array.isArray(holder)) set(holder, misspelt(random, String(key)), value);
      if (random.oneIn(2) && !Array.isArray(holder)) delete holder[key];
      return;
    case 2:
      return put(place, typeJunk(random));
    case 3: {
      const other = random.of(all);
      const theirs = other[0][other[1]];
      if (contains(theirs, holder) || contains(value, other[0])) return;
      put(other, value);
      return put(place, theirs);
    }
    case 4: {
      const from = random.of(all);
      return put(place, structuredClone(from[0][from[1]]));
    }
    case 5:
      if (Array.isArray(value) && value.length > 0)
        value.push(...random.some(1, 2, () => structuredClone(random.of(value as unknown[]))));
      return;
    case 6:
      if (typeof value === "string") return put(place, misspelt(random, value));
      if (typeof value === "number") return put(place, value + random.of([-1, 1, 0.5, 65_536, -100]));
      return;
    case 7:
      if (isHolder(value) && !Array.isArray(value))
        set(value, random.of(["spec", "matches", "ports", "port", "odd", "__proto__"]), junk(random));
      return;
    default:
      return put(place, junk(random));
  }
}

const contains = (tree: unknown, wanted: unknown): boolean =>
  tree === wanted || (isHolder(tree) && Object.values(tree).some((child) => contains(child, wanted)));

/** Changes some characters of a text. */
export function scramble(random: Random, text: string): string {
  let out = text;
  for (let i = random.below(6); i >= 0; i--) {
    const at = random.below(out.length);
    const length = random.of([0, 1, 1, 2, 30]);
    const by = random.of([
      "",
      " ",
      "  ",
      "\n",
      ":",
      "- ",
      "{",
      "}",
      "[",
      "]",
      "&a ",
      "*a",
      "!!binary ",
      "---\n",
      "\t",
      "#",
      "'",
      '"',
      "|",
      "<<: ",
      "? ",
      out.slice(at, at + 40),
      "0x1f",
      "~",
    ]);
    out = out.slice(0, at) + by + out.slice(at + length);
  }
  return out;
}

/** The objects of one try: most often a scene with some mistakes, now and then with things that are no objects. */
export function objectsOf(seed: number): unknown[] {
  const random = new Random(seed);
  const objects = scene(random);
  for (let i = random.of([0, 1, 1, 2, 3, 8]); i > 0; i--) mutate(random, objects);
  if (random.oneIn(6)) objects.push(junk(random));
  if (random.oneIn(20)) objects.push({ apiVersion: "v1", kind: "List", items: scene(random).slice(0, 3) });
  return objects;
}
