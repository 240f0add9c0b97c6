/**
 * A plan as text for people and as data for programs. Pure.
 */
import type { NewAccess } from "../analysis/gate.ts";
import { openText, type changedOpen } from "../analysis/open.ts";
import type { CallChange, CallChanges, changedIdentities } from "../analysis/plan.ts";
import type { OpenPort } from "../analysis/pods.ts";
import type { ChangedProtocol } from "../analysis/protocols.ts";
import type { Answer, Share } from "../analysis/relation.ts";
import type { Protocol } from "../policy/ir.ts";
import type { Problem } from "../world/types.ts";
import { destinationText, requestText, ruleText } from "./call-text.ts";
import type { Pair } from "./pair.ts";
import { problemLine } from "./problem-line.ts";
import type { Push } from "./pushes.ts";
import { printable } from "./text.ts";

export interface Plan {
  readonly pair: Pair;
  readonly changes: CallChanges;
  readonly identities: ReturnType<typeof changedIdentities>;
  /** What no sidecar guards any more, and the other way round. */
  readonly open: ReturnType<typeof changedOpen>;
  /** Ports that speak another protocol. */
  readonly protocols: readonly ChangedProtocol[];
  readonly pushes: readonly Push[];
  readonly problems: { readonly added: readonly Problem[]; readonly removed: readonly Problem[] };
  /** What `--forbid-new-access` names and the change opens. */
  readonly forbidden: readonly NewAccess[];
}

export type Paint = (color: "green" | "red" | "yellow", text: string) => string;

/** Whether anything is other than before, for anybody. */
export const isEmpty = ({ changes, identities, open, protocols, pushes, problems }: Plan): boolean =>
  [
    changes.calls,
    changes.unknown,
    identities.added,
    identities.removed,
    open.opened,
    open.closed,
    protocols,
    pushes,
    problems.added,
    problems.removed,
  ].every((list) => list.length === 0);

/** Names in one line; more are counted. */
const MAX_NAMES = 4;

export function planText(plan: Plan, paint: Paint): string {
  const { changes, identities, open, protocols, pushes, problems, forbidden } = plan;
  const sections: [title: string, lines: readonly string[]][] = [
    ["Calls", [...changes.calls.flatMap((call) => callLines(call, plan.pair, paint)), ...unknownLines(plan, paint)]],
    [
      "Open",
      [
        ...open.opened.map((port) => paint("green", `+ everybody → ${openPort(port)}: its pods ${openText(port)}`)),
        ...open.closed.map((port) => paint("red", `- everybody → ${openPort(port)}: sidecars guard it now`)),
      ],
    ],
    ["Protocols", protocols.map((one) => paint("yellow", protocolLine(one)))],
    [
      "Identities",
      [
        ...identities.added.map((id) => paint("green", `+ ${id} comes into the mesh`)),
        ...identities.removed.map((id) => paint("red", `- ${id} leaves the mesh`)),
      ],
    ],
    ["Proxies", pushes.map((push) => pushLine(push, paint))],
    [
      "Problems",
      [
        ...problems.added.map((p) => paint(p.severity === "error" ? "red" : "yellow", `+ ${problemLine(p)}`)),
        ...problems.removed.map((p) => paint("green", `- ${problemLine(p)}`)),
      ],
    ],
    ["Forbidden", forbidden.flatMap((one) => forbiddenLines(one, plan.pair, paint))],
  ];
  const shown = sections.filter(([, lines]) => lines.length > 0);
  const body = shown.map(([title, lines]) => `${title}\n${lines.map((line) => `  ${line}`).join("\n")}\n\n`).join("");
  return `${body}${summary(plan)}`;
}

const WORDS: Readonly<
  Record<CallChange["change"], readonly [sign: string, color: Parameters<Paint>[0], says: string]>
> = {
  allowed: ["+", "green", "becomes allowed"],
  denied: ["-", "red", "is no longer allowed"],
  partly: ["~", "yellow", "is refused by others than before"],
  moved: ["~", "yellow", "goes elsewhere"],
};

function callLines({ change, from, to, before, after, witness }: CallChange, pair: Pair, paint: Paint): string[] {
  const [sign, color, says] = WORDS[change];
  const lines = [paint(color, `${sign} ${names(from)} → ${to.service}:${to.port} ${says}`)];
  const more = (text: string) => lines.push(`    ${printable(text)}`);
  more(`${witness ? "e.g. " : ""}${requestText(witness)}`);
  if (change === "moved" || change === "partly") more(`${sharesText(before)} → ${sharesText(after)}`);
  else if (change === "allowed" && refusing(after) !== "") more(`but ${refusing(after)}`);
  const gone = before.rules.map((rule) => ruleText(rule, pair.before));
  const now = after.rules.map((rule) => ruleText(rule, pair.after));
  if (change === "allowed") for (const rule of now) more(`by ${rule}`);
  if (change === "denied") {
    for (const rule of gone) more(`was allowed by ${rule}`);
    if (after.verdict !== "denied") more(`it is ${after.verdict} now`);
  }
  return lines;
}

const SPOKEN: Readonly<Record<Protocol, string>> = {
  http: "HTTP",
  tcp: "TCP",
  "tcp-server-first": "TCP (the server talks first)",
};
const spoken = (protocols: readonly Protocol[]): string => protocols.map((one) => SPOKEN[one]).join(" and ");

function protocolLine({ to, before, after }: ChangedProtocol): string {
  const means = (): string => {
    if (after.includes("http"))
      return after.length > 1 ? ": not every sidecar looks at requests" : ": each request is looked at";
    return before.includes("http") ? ": requests are not looked at any more, connections are" : "";
  };
  return `~ ${to.service}:${to.port} speaks ${spoken(after)} now, and spoke ${spoken(before)}${means()}`;
}

const openPort = ({ service, port, identity }: OpenPort): string => `${service}:${port} (${identity})`;

const sharesText = ({ shares }: Answer): string =>
  shares.map((s) => `${s.service} ${percent(s)}${s.lets === "each" ? "" : ` (${refusal(s)})`}`).join(", ");
const refusing = ({ shares }: Answer): string =>
  shares.flatMap((s) => (s.lets === "each" ? [] : [`${s.service} (${percent(s)}) ${refusal(s)}`])).join(", ");
const refusal = ({ lets }: Share): string => (lets === "some" ? "some of its pods refuse it" : "refuses it");
const percent = (share: Share): string => `${Math.round(share.percent * 100) / 100}%`;

const unknownLines = ({ changes }: Plan, paint: Paint): string[] =>
  changes.unknown.map(({ from, to, why }) =>
    paint("yellow", printable(`? ${from} → ${to.service}:${to.port} could not be compared: ${why}`)),
  );

function pushLine({ identity, pods, sent, removed, fresh }: Push, paint: Paint): string {
  const types = Object.entries(sent).map(([type, n]) => `${n} ${type}`);
  const what = [...types, ...(removed > 0 ? [`${removed} removed`] : [])].join(", ");
  const [only, ...more] = pods;
  const who = more.length === 0 ? `${only} (${identity})` : `${pods.length} pods of ${identity}`;
  return `${fresh ? paint("green", "+") : paint("yellow", "~")} ${who}: ${what}${more.length === 0 ? "" : " each"}`;
}

function forbiddenLines(
  { from, service, to, podPort, request, rules, open, unknown }: NewAccess,
  pair: Pair,
  paint: Paint,
): string[] {
  if (unknown !== undefined)
    return [paint("red", printable(`! ${from} → ${service}: it could not be told whether this is new: ${unknown}`))];
  if (open !== undefined)
    return [
      paint("red", `! ${from} → ${service}, pods' port ${podPort}: its pods ${openText({ because: open, podPort })}`),
    ];
  const way = to ? (to.service === service ? "" : ` by way of ${destinationText({ kind: "service", ...to })}`) : "";
  const waits = to ? "" : " (no way leads there now; the pods would let it through)";
  return [
    paint("red", `! ${from} → ${service}, pods' port ${podPort}${way}: ${requestText(request)}${waits}`),
    ...rules.map((rule) => `    by ${ruleText(rule, pair.after)}`),
  ];
}

function names(list: readonly string[]): string {
  const shown = list.slice(0, MAX_NAMES).join(", ");
  return list.length > MAX_NAMES ? `${shown} and ${list.length - MAX_NAMES} more` : shown;
}

const count = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`;

/** How many calls change so: a client and a destination are one. */
const clients = ({ changes }: Plan, change: CallChange["change"]): number =>
  new Set(
    changes.calls
      .filter((call) => call.change === change)
      .flatMap(({ from, to }) => from.map((id) => `${id} ${to.service}:${to.port}`)),
  ).size;

function summary(plan: Plan): string {
  const { changes, identities, open, protocols, pushes, problems, forbidden } = plan;
  const parts: string[] = [];
  const add = (n: number, words: string) => n > 0 && parts.push(words);
  const [allowed, denied, partly, moved] = (["allowed", "denied", "partly", "moved"] as const).map((c) =>
    clients(plan, c),
  ) as [number, number, number, number];
  add(allowed, `${count(allowed, "call becomes", "calls become")} allowed`);
  add(denied, `${count(denied, "call is", "calls are")} no longer allowed`);
  add(partly, `${count(partly, "call is", "calls are")} refused by others than before`);
  add(moved, `${count(moved, "call goes", "calls go")} elsewhere`);
  add(changes.unknown.length, `${count(changes.unknown.length, "call")} could not be compared`);
  add(open.opened.length, `${count(open.opened.length, "port is", "ports are")} open to everybody`);
  add(open.closed.length, `${count(open.closed.length, "port is", "ports are")} guarded`);
  add(protocols.length, `${count(protocols.length, "port speaks", "ports speak")} another protocol`);
  add(identities.added.length, count(identities.added.length, "identity comes", "identities come"));
  add(identities.removed.length, count(identities.removed.length, "identity goes", "identities go"));
  const resources = pushes.reduce(
    (sum, p) => sum + p.pods.length * Object.values(p.sent).reduce((n, m) => n + m, 0),
    0,
  );
  const proxies = pushes.reduce((sum, p) => sum + p.pods.length, 0);
  add(proxies, `${count(proxies, "proxy gets", "proxies get")} ${count(resources, "resource")}`);
  add(problems.added.length, count(problems.added.length, "new problem"));
  add(problems.removed.length, count(problems.removed.length, "problem goes", "problems go"));
  // What is no HTTP request is let through by TCP ports only.
  const lookedAt = protocols.filter(({ before, after }) => [...before, ...after].includes("http"));
  const access =
    allowed + denied + partly + changes.unknown.length + open.opened.length + open.closed.length + lookedAt.length === 0
      ? "No change in access.\n"
      : "";
  const gate =
    forbidden.length > 0 ? `Refused: ${count(forbidden.length, "new way")} to what --forbid-new-access names.\n` : "";
  const permissive = plan.pair.after.mesh.settings.permissive
    ? "Permissive mode is on: everything inside of the mesh is allowed, whatever TrafficTargets say.\n"
    : "";
  return `${permissive}${access}${parts.length === 0 ? "Plan: nothing changes." : `Plan: ${parts.join(", ")}.`}\n${gate}`;
}

/** For programs. Weights in percent. */
export function planData(plan: Plan): unknown {
  const { changes, identities, open, protocols, pushes, problems, forbidden } = plan;
  const side = ({ verdict, shares, rules }: CallChange["before"]) => ({
    verdict,
    backends: shares.map(({ service, percent: weight, lets }) => ({ service, weight, lets })),
    rules,
  });
  return {
    changed: !isEmpty(plan),
    calls: changes.calls.map(({ change, from, to, witness, before, after }) => ({
      change,
      from,
      to: destinationText({ kind: "service", ...to }),
      ...(witness ? { witness } : {}),
      before: side(before),
      after: side(after),
    })),
    unknown: changes.unknown.map(({ from, to, why }) => ({
      from,
      to: destinationText({ kind: "service", ...to }),
      why,
    })),
    identities,
    open,
    protocols: protocols.map(({ to, ...one }) => ({ to: destinationText({ kind: "service", ...to }), ...one })),
    proxies: pushes.map(({ fresh: isNew, ...push }) => ({ ...push, new: isNew })),
    problems,
    forbidden: forbidden.map(({ to, ...one }) => ({
      ...one,
      ...(to ? { to: destinationText({ kind: "service", ...to }) } : {}),
    })),
  };
}
