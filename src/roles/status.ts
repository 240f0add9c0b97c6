/**
 * Conditions of policy objects, as data: what the status of each object is to say, given what is wrong with it. Pure.
 */
import type { Problem } from "../world/types.ts";

export interface Condition {
  readonly type: "Accepted" | "Programmed";
  readonly status: "True" | "False";
  /** One word in CamelCase. */
  readonly reason: string;
  readonly message: string;
}

/** Longest message of a condition; Kubernetes takes 32,768. */
const MAX_MESSAGE = 4096;

/** Where an object of the mesh is: `published` to proxies, as far as it is honoured; or so wrong that nothing of it can be used (`unusable`). */
export type State = "published" | "unusable";

/**
 * `Accepted`: whether all of it is honoured; its reason is the first problem's code. `Programmed`: whether what is honoured
 * of it has been published to proxies.
 */
export function conditionsOf(
  problems: readonly Problem[],
  state: State,
): readonly [accepted: Condition, programmed: Condition] {
  const errors = problems.filter((p) => p.severity === "error");
  const hints = problems.filter((p) => p.severity === "hint");
  const [first] = errors;
  const accepted: Condition = first
    ? { type: "Accepted", status: "False", reason: camel(first.code), message: sentences(errors) }
    : {
        type: "Accepted",
        status: "True",
        reason: hints.length > 0 ? "AcceptedWithHints" : "Accepted",
        message: sentences(hints),
      };
  return [accepted, { type: "Programmed", ...PROGRAMMED[state] }];
}

const PROGRAMMED = {
  published: { status: "True", reason: "Published", message: "" },
  unusable: { status: "False", reason: "Unusable", message: "nothing of it can be used: see Accepted" },
} as const;

const camel = (code: string): string => code.replaceAll(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase());

function sentences(problems: readonly Problem[]): string {
  const text = problems.map(({ path, message }) => (path === "" ? message : `${path}: ${message}`)).join(" ");
  return text.length <= MAX_MESSAGE ? text : `${text.slice(0, MAX_MESSAGE - 1)}…`;
}

/** The conditions of a status as it stands, if it has any of ours. */
export interface Written extends Condition {
  readonly lastTransitionTime: string;
  readonly observedGeneration: number;
}

/** What is to be written, or undefined when it stands there already. A time stays while its status does. */
export function renewed(
  wanted: readonly Condition[],
  standing: readonly Written[],
  generation: number,
  now: string,
): readonly Written[] | undefined {
  const next = wanted.map((condition): Written => {
    const before = standing.find((c) => c.type === condition.type);
    const lastTransitionTime = before?.status === condition.status ? before.lastTransitionTime : now;
    return { ...condition, lastTransitionTime, observedGeneration: generation };
  });
  const same = next.every((condition) => {
    const before = standing.find((c) => c.type === condition.type);
    return (
      before !== undefined &&
      before.status === condition.status &&
      before.reason === condition.reason &&
      before.message === condition.message &&
      before.observedGeneration === generation
    );
  });
  return same ? undefined : next;
}
