/** What questions are asked about, from builders. */
import { Requests } from "../../src/analysis/requests.ts";
import type { Ground } from "../../src/analysis/ways.ts";
import { Languages } from "../../src/language/languages.ts";
import { Compiler } from "../../src/policy/compile.ts";
import { apply, EMPTY_WORLD } from "../../src/world/world.ts";
import { flat, type Changes } from "./build.ts";

/** The mesh of these objects. */
export const ground = (...changes: readonly Changes[]): Ground => grounds(changes, [])[0];

/** A mesh before and after some changes, with what they have in common shared. */
export function grounds(before: readonly Changes[], changed: readonly Changes[]): [before: Ground, after: Ground] {
  const compiler = new Compiler();
  const old = apply(EMPTY_WORLD, flat(...before));
  const now = apply(old, flat(...changed));
  const compiled = compiler.compile(old);
  return [
    { world: old, mesh: compiled.mesh },
    { world: now, mesh: compiler.compile(now).mesh },
  ];
}

export const newRequests = (): Requests => new Requests(new Languages());
