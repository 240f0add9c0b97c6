/**
 * `heddle plan`: what a change of manifests would mean, before it is applied.
 */
import { newAccess } from "../analysis/gate.ts";
import { changedCalls, changedIdentities } from "../analysis/plan.ts";
import { changedOpen } from "../analysis/open.ts";
import { changedProtocols } from "../analysis/protocols.ts";
import { Requests } from "../analysis/requests.ts";
import { covers } from "../analysis/callers.ts";
import { Languages } from "../language/languages.ts";
import type { ServiceName } from "../world/names.ts";
import type { Problem } from "../world/types.ts";
import type { ClusterVerbs } from "./cluster/program.ts";
import { outData } from "./cluster/terminal.ts";
import { EXIT, UserError } from "./errors.ts";
import { withView } from "./load.ts";
import { formatOf } from "./output.ts";
import { pairOfFolders, pairOver, type Pair } from "./pair.ts";
import { isEmpty, planData, planText, type Plan } from "./plan-view.ts";
import { nearest } from "./text.ts";

export interface PlanOptions {
  readonly file: readonly string[];
  readonly against: string;
  /** Undefined: the option was not given. */
  readonly forbidNewAccess?: readonly string[];
  readonly output: string;
  readonly mesh?: string;
  readonly meshName?: string;
}

/** Exit codes as terraform's `-detailed-exitcode`: 0 nothing changes, 2 something does, 1 an error, or a way that is forbidden. */
const CHANGES = 2;

/** @returns undefined when the verb's runner has told the exit code */
export async function plan(options: PlanOptions, typed: boolean, verbs: ClusterVerbs): Promise<number | undefined> {
  const format = formatOf(options.output, ["text", "json", "yaml"]);
  if (options.file.length === 0)
    throw new UserError("What is planned? Give the wanted manifests: -f FOLDER or -f FILE.");
  if (options.against !== "live") {
    if (typed || options.meshName !== undefined)
      throw new UserError("--mesh and --mesh-name go with --against live: a folder is no mesh that runs.");
    return show(await pairOfFolders(options.file, options.against), options, format, verbs);
  }
  const { mesh, meshName } = options;
  return withView(
    { ...(mesh === undefined ? {} : { mesh }), ...(meshName === undefined ? {} : { meshName }) },
    typed,
    verbs,
    async (live) => show(await pairOver(live, options.file), options, format, verbs),
  );
}

async function show(
  pair: Pair,
  { forbidNewAccess }: PlanOptions,
  format: "text" | "json" | "yaml",
  { terminal }: ClusterVerbs,
): Promise<number> {
  const requests = new Requests(new Languages());
  const { before, after } = pair;
  const guarded = servicesOf(pair, forbidNewAccess ?? []);
  if (forbidNewAccess && guarded.length === 0)
    throw new UserError(
      "--forbid-new-access names no Service, so it would guard nothing: write NAMESPACE/SERVICE or NAMESPACE/*.",
    );
  const made: Plan = {
    pair,
    changes: changedCalls(requests, before, after),
    identities: changedIdentities(before, after),
    open: changedOpen(before, after),
    protocols: changedProtocols(before, after),
    // What is the same needs no builder, which takes its time to load.
    pushes: before.world === after.world ? [] : (await import("./pushes.ts")).pushes(pair),
    problems: problemsOf(pair),
    forbidden: newAccess(requests, before, after, guarded),
  };
  if (format === "text") await terminal.out(planText(made, terminal.paint));
  else await outData(terminal, format, planData(made));
  return made.forbidden.length > 0 ? EXIT.failure : isEmpty(made) ? EXIT.ok : CHANGES;
}

/** The Services that are named, by name or pattern. One that is on neither side is a mistake: it would guard nothing. */
function servicesOf({ before, after }: Pair, patterns: readonly string[]): ServiceName[] {
  const all = new Set(
    [before, after].flatMap(({ world }) =>
      [...world.tables.Service.values()].flatMap((services) => [...services.values()].map((s) => s.name)),
    ),
  );
  return [
    ...new Set(
      patterns.flatMap((pattern) => {
        const found = [...all].filter((name) => covers(pattern, name));
        if (found.length > 0) return found;
        const near = nearest(pattern, all);
        throw new UserError(
          `--forbid-new-access ${pattern}: there is no such Service, before or after.${near ? ` Did you mean ${near}?` : ""}`,
        );
      }),
    ),
  ].sort();
}

/** Problems that the change brings, and those that it takes. Where they stand does not tell them apart. */
function problemsOf({ before, after }: Pair): Plan["problems"] {
  const key = ({ code, severity, object, path, message }: Problem) =>
    JSON.stringify([code, severity, object, path, message]);
  const [old, now] = [before, after].map((view) => new Map(view.problems.map((p) => [key(p), p]))) as [
    Map<string, Problem>,
    Map<string, Problem>,
  ];
  return {
    added: [...now].filter(([at]) => !old.has(at)).map(([, problem]) => problem),
    removed: [...old].filter(([at]) => !now.has(at)).map(([, problem]) => problem),
  };
}
