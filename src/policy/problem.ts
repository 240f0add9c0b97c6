/**
 * Short ways to say what is wrong with a user's object. Sentences are written where the mistake is found.
 */
import type { ObjectRef, Problem, ProblemCode } from "../world/types.ts";

type About = { readonly namespace: string; readonly name: string };

/** Something of the user's that is not honoured. */
export const fault = (code: ProblemCode, kind: string, about: About, path: string, message: string): Problem => ({
  code,
  severity: "error",
  object: refOf(kind, about),
  path,
  message,
});

/** Something that is honoured and probably not meant. */
export const hint = (code: ProblemCode, kind: string, about: About, path: string, message: string): Problem => ({
  ...fault(code, kind, about, path, message),
  severity: "hint",
});

const refOf = (kind: string, { namespace, name }: About): ObjectRef => ({ kind, namespace, name });
