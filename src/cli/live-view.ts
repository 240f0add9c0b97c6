/**
 * The live table of `heddle up`, as lines that fit a terminal of a given size. Pure; knows no cursor.
 */
import { styleText } from "node:util";
import { cut, clockTime, printable } from "./text.ts";
import { backendOf, isFine, milliseconds, outcomesOf, rate, target, whyNotReady, type View } from "./view.ts";

export interface Size {
  readonly columns: number;
  readonly rows: number;
  readonly color: boolean;
}

type Style = Parameters<typeof styleText>[0];
type Line = readonly [text: string, style?: Style];

export function liveLines(view: View, { columns, rows, color }: Size): string[] {
  const sections = [problems(view), notReady(view), changes(view)].filter((section) => section.length > 0);
  const top = head(view);
  // The table takes what is left, and at least half; what does not fit is counted.
  const below = sections.reduce((n, section) => n + Math.min(section.length, 7) + 1, 0);
  const space = Math.max(rows - top.length - below - 1, Math.floor(rows / 2), 4);
  const lines: Line[] = [...top, ...limited(flows(view, columns), space)];
  for (const section of sections) lines.push([""], ...limited(section, 7));
  return lines.slice(0, rows).map(([text, style]) => paint(cut(printable(text), columns), style, color));
}

const paint = (text: string, style: Style | undefined, color: boolean): string =>
  color && style !== undefined && text !== "" ? styleText(style, text, { validateStream: false }) : text;

function limited(lines: readonly Line[], most: number): Line[] {
  return lines.length <= most
    ? [...lines]
    : [...lines.slice(0, most - 1), [`  … ${lines.length - most + 1} more`, "dim"]];
}

function head({ dir, id, now, pods, url }: View): Line[] {
  const ready = pods.filter((p) => p.ready).length;
  const parts = [`heddle up ${dir}`, `mesh ${id}`, `${ready}/${pods.length} pods ready`, clockTime(now)];
  return [[parts.join("   "), "bold"], [`Ctrl-C ends it   ${url}`, "dim"], [""]];
}

const HEAD = ["FROM", "TO", "BACKEND", "REQ/S", "CODES", "P50", "P99"] as const;
/** Columns that numbers stand in, to the right. */
const NUMBERS = new Set([3, 5, 6]);
/** Columns that give way when it is narrow, in this order, and how narrow they may be. */
const GIVE: readonly (readonly [column: number, least: number])[] = [
  [2, 8],
  [1, 16],
  [0, 12],
  [4, 8],
];

function flows(view: View, columns: number): Line[] {
  if (view.flows.length === 0) return [["No calls seen yet.", "dim"]];
  const cells = view.flows.map((row) => [
    row.from,
    target(row),
    backendOf(row),
    rate(row.perSecond),
    outcomesOf(row),
    milliseconds(row.p50),
    milliseconds(row.p99),
  ]);
  const widths = fitted(
    HEAD.map((name, i) => Math.max(name.length, ...cells.map((row) => row[i]!.length))),
    columns,
  );
  const line = (row: readonly string[]): string =>
    row
      .flatMap((cell, i) =>
        widths[i] === 0 ? [] : [NUMBERS.has(i) ? cell.padStart(widths[i]!) : cut(cell, widths[i]!).padEnd(widths[i]!)],
      )
      .join("  ");
  const lines: Line[] = [[line(HEAD), "dim"]];
  for (const [i, row] of view.flows.entries()) {
    const refused = row.outcomes.some((o) => o.outcome === "403");
    const failing = row.outcomes.some(
      (o) => o.outcome !== "ok" && !(Number(o.outcome) >= 100 && Number(o.outcome) < 500),
    );
    lines.push([line(cells[i]!), refused || failing ? "red" : row.perSecond === 0 ? "dim" : undefined] as Line);
    if (row.reason !== undefined) lines.push([`  └ ${row.reason}`, "yellow"]);
  }
  if (view.dropped > 0) lines.push([`  … ${view.dropped} calls of flows beyond these`, "dim"]);
  return lines;
}

/** Widths that fit into so many columns: long columns are shortened, then latencies left out. */
function fitted(wanted: readonly number[], columns: number): number[] {
  const widths = [...wanted];
  const excess = (): number => widths.reduce((n, w) => n + (w > 0 ? w + 2 : 0), -2) - columns;
  for (const [column, least] of GIVE) {
    const over = excess();
    if (over > 0) widths[column] = Math.max(Math.min(least, widths[column]!), widths[column]! - over);
  }
  for (const column of [6, 5, 2, 4]) if (excess() > 0) widths[column] = 0;
  return widths;
}

function notReady({ pods }: View): Line[] {
  const waiting = pods.filter((p) => !isFine(p));
  return waiting.length === 0
    ? []
    : [
        ["Pods that are not ready", "bold"],
        ...waiting.map((p): Line => [`  ${p.namespace}/${p.name}  ${whyNotReady(p)}`, "yellow"]),
      ];
}

const problems = (view: View): Line[] =>
  view.problems.length === 0
    ? []
    : [
        ["Problems", "bold"],
        ...view.problems.map((text): Line => [`  ${text}`, text.includes(" hint: ") ? "dim" : "red"]),
      ];

function changes(view: View): Line[] {
  const events = [...view.changes, ...view.notices].sort((a, b) => b.at - a.at).slice(0, 6);
  return events.length === 0
    ? []
    : [["Last changes", "bold"], ...events.map(({ at, text }): Line => [`  ${clockTime(at)} ${text}`])];
}
