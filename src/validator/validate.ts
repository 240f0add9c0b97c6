/**
 * Whether an object may be written: decoded and compiled together with the world as the pipeline would, by the same code.
 * What is wrong in the object itself refuses it; what is missing around it is told, as it may come later.
 */
import { Decoder, refOf } from "../manifest/decode.ts";
import { kindOf, splitApiVersion } from "../manifest/kinds.ts";
import { isRaw, type Raw } from "../lib/json.ts";
import { Compiler } from "../policy/compile.ts";
import type { Change, ObjectRef, Problem, ProblemCode } from "../world/types.ts";
import { apply, type World } from "../world/world.ts";

export interface Candidate {
  readonly operation: "CREATE" | "UPDATE" | "DELETE" | "CONNECT";
  /** As it is to be; what it was before, for a DELETE. */
  readonly object: unknown;
  /** As it was, for an UPDATE. */
  readonly oldObject?: unknown;
}

export interface Verdict {
  readonly allowed: boolean;
  /** Why it is not allowed. Empty when it is. */
  readonly problems: readonly Problem[];
  /** What its author should know all the same: of this object first, then what the write does to others. */
  readonly warnings: readonly Problem[];
}

/**
 * Mistakes that lie in the object alone, so that no other object could mend them. OSM's validator refused one of them:
 * a TrafficTarget outside of its destination's namespace.
 * Not here: what is legal and only opens nothing (`nobody-allowed`), and what waits for others (`unknown-route`, `bad-backend`).
 */
const REFUSED: ReadonlySet<ProblemCode> = new Set([
  "not-an-object",
  "too-large",
  "bad-field",
  "unknown-field",
  "missing-field",
  "wrong-namespace",
  "bad-source",
  "bad-destination",
  "bad-regex",
  "bad-weight",
]);

/** Other objects' new problems that are told; more would bury them. */
const MAX_OTHERS = 10;

/** Keeps what compiling learnt, so that a validation costs what its object touches. Each answer depends on its arguments only. */
export class Validator {
  readonly #compiler = new Compiler();
  readonly #decoder = new Decoder();
  #last: { readonly world: World; readonly problems: readonly Problem[] } | undefined;

  /** Never throws for what a user wrote. */
  validate(world: World, candidate: Candidate): Verdict {
    const { operation } = candidate;
    const object = withName(candidate.object);
    const ref = refOf(object);
    // A kind that is Kubernetes' own, or that is not read: others decide about it.
    if (operation === "CONNECT" || !isOurs(object))
      return { allowed: true, problems: [], warnings: this.#others(object) };
    const base = monitoring(world, ref);
    const decoded = this.#decoder.decode(object);
    const removed = decoded.changes.map((change): Change => ({ ...change, value: undefined }));
    const after = this.#compiler.compile(apply(base, operation === "DELETE" ? removed : decoded.changes)).problems;
    const before = this.#before(base);
    const known = new Set(before.map(keyOf));
    const others = after.filter((p) => !isAbout(p, ref) && !known.has(keyOf(p))).slice(0, MAX_OTHERS);
    // An object that is going must be able to go: finalizers are removed by an UPDATE.
    if (operation === "DELETE" || isDeleted(object)) return { allowed: true, problems: [], warnings: unique(others) };

    const own = [...decoded.problems, ...after.filter((p) => isAbout(p, ref))];
    let refused = unique(own.filter(refuses));
    if (operation === "UPDATE" && refused.length > 0)
      refused = newOnly(refused, this.#ownBefore(base, candidate.oldObject));
    const told = own.filter((p) => !refused.includes(p));
    if (refused.length > 0) return { allowed: false, problems: refused, warnings: unique(told) };
    return { allowed: true, problems: [], warnings: unique([...told, ...others]) };
  }

  /** What is wrong without the candidate. */
  #before(base: World): readonly Problem[] {
    if (this.#last?.world !== base) this.#last = { world: base, problems: this.#compiler.compile(base).problems };
    return this.#last.problems;
  }

  /** What would have refused the object as it was. */
  #ownBefore(base: World, old: unknown): readonly Problem[] {
    const ref = refOf(old);
    const decoded = this.#decoder.decode(old);
    const compiled = this.#compiler.compile(apply(base, decoded.changes)).problems;
    return unique([...decoded.problems, ...compiled.filter((p) => isAbout(p, ref))].filter(refuses));
  }

  /** Only an object of a group of ours that is not read is told so. */
  #others(object: unknown): readonly Problem[] {
    if (!isRaw(object) || typeof object["apiVersion"] !== "string") return [];
    const { group } = splitApiVersion(object["apiVersion"]);
    if (!OUR_GROUPS.test(group)) return [];
    return this.#decoder.decode(object).problems;
  }
}

/** One validation with nothing learnt before. */
export const validate = (world: World, candidate: Candidate): Verdict => new Validator().validate(world, candidate);

const OUR_GROUPS = /(^|\.)(smi-spec\.io|openservicemesh\.io)$/;

/** Whether what is wrong with it may refuse it: a kind of SMI's or OSM's, in a version that is read. */
function isOurs(object: unknown): boolean {
  if (!isRaw(object) || typeof object["apiVersion"] !== "string" || typeof object["kind"] !== "string") return false;
  const { group, version } = splitApiVersion(object["apiVersion"]);
  const entry = kindOf(group, object["kind"]);
  return group !== "" && OUR_GROUPS.test(group) && entry !== undefined && entry.versions.includes(version);
}

/** An object that gets its name from the API server has none yet. */
function withName(object: unknown): unknown {
  if (!isRaw(object) || !isRaw(object["metadata"])) return object;
  const { name, generateName } = object["metadata"] as { name?: unknown; generateName?: unknown };
  if ((name !== undefined && name !== "") || typeof generateName !== "string") return object;
  const made = `${generateName.slice(0, 247)}xxxxx`;
  return { ...object, metadata: { ...object["metadata"], name: made } satisfies Raw };
}

const isDeleted = (object: unknown): boolean =>
  isRaw(object) && isRaw(object["metadata"]) && typeof object["metadata"]["deletionTimestamp"] === "string";

/**
 * The world in which the object counts: its namespace may just have been added to the mesh and not be known here, and a mistake
 * in it is one in any case.
 */
function monitoring(world: World, ref: ObjectRef): World {
  const known = world.tables.Namespace.get("")?.get(ref.namespace);
  if (ref.kind === "MeshConfig" || ref.namespace === "" || known?.monitored) return world;
  const value = { name: ref.namespace, inject: false, metrics: false, ...known, monitored: true };
  return apply(world, [{ kind: "Namespace", namespace: "", name: ref.namespace, value }]);
}

const refuses = (problem: Problem): boolean => problem.severity === "error" && REFUSED.has(problem.code);

const isAbout = ({ object }: Problem, ref: ObjectRef): boolean =>
  object.kind === ref.kind && object.namespace === ref.namespace && object.name === ref.name;

/** Without the places in lists: an entry that moved up is not a new mistake. */
const keyOf = ({ code, object, path, message }: Problem): string =>
  [code, object.kind, object.namespace, object.name, path, message].join("\0").replaceAll(/\[\d+\]/g, "[]");

/** An object that was wrong already and is not made worse can be edited: label by label, mistake by mistake. */
function newOnly(refused: readonly Problem[], before: readonly Problem[]): Problem[] {
  const left = new Map<string, number>();
  for (const problem of before) left.set(keyOf(problem), (left.get(keyOf(problem)) ?? 0) + 1);
  return refused.filter((problem) => {
    const count = left.get(keyOf(problem)) ?? 0;
    left.set(keyOf(problem), count - 1);
    return count <= 0;
  });
}

/** Decoding and compiling may say the same of one place. */
function unique(problems: readonly Problem[]): Problem[] {
  const seen = new Map<string, Problem>();
  for (const problem of problems) {
    const key = `${problem.code}\0${problem.object.kind}/${problem.object.namespace}/${problem.object.name}\0${problem.path}\0${problem.message}`;
    if (!seen.has(key)) seen.set(key, problem);
  }
  return [...seen.values()];
}
