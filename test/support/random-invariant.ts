/** Random invariants about the random meshes: of their accounts, Services and patterns. */
import * as fc from "fast-check";
import type { Invariant } from "../../src/analysis/prove.ts";
import { regexFault } from "../../src/policy/regex.ts";
import { CLIENTS, PATTERNS, type Ports } from "./random-mesh.ts";

const names = fc.constantFrom("*", "a/*", "b/*", ...CLIENTS);

export const randomInvariant = ({ web, db }: Ports): fc.Arbitrary<Invariant> =>
  fc
    .record({
      kind: fc.constantFrom<Invariant["kind"]>("never", "only", "always"),
      from: fc.uniqueArray(names, { minLength: 1, maxLength: 2 }),
      to: fc.constantFrom(
        "*",
        "a/*",
        "a/root",
        "a/one",
        "a/two",
        "a/three",
        "a/db",
        "b/one",
        `a/one:${web}`,
        `a/db:${db}`,
      ),
      methods: fc.constantFrom<readonly string[] | undefined>(undefined, ["GET"], ["POST", "DELETE"]),
      pathRegex: fc.constantFrom(...PATTERNS.filter((p) => regexFault(p) === undefined)),
      whole: fc.nat(3).map((n) => n === 0),
    })
    .map(({ kind, from, to, methods, pathRegex, whole }): Invariant => {
      if (whole) return { kind, from, to };
      if (kind === "always") return { kind, from, to, requests: { methods: ["GET"], path: "/a" } };
      return { kind, from, to, requests: { ...(methods ? { methods } : {}), pathRegex } };
    });
