/**
 * What `heddle up` prints without a terminal: a line for each thing that changed since the last time. Knows no stream.
 */
import type { FlowRow } from "./flows.ts";
import { clockTime, printable } from "./text.ts";
import { backendOf, isFine, outcomesOf, rate, target, whyNotReady, type View } from "./view.ts";

/** Milliseconds between lines of one flow. */
const EVERY = 5000;

export class PlainView {
  readonly #flows = new Map<string, { readonly looks: string; readonly at: number }>();
  #pods = new Map<string, string>();
  #problems = new Set<string>();
  #seen = 0;

  /** What is new, in lines. */
  lines(view: View): string[] {
    const said = [
      ...this.#podLines(view),
      ...this.#problemLines(view),
      ...this.#events(view),
      ...this.#flowLines(view),
    ];
    return said.map((text) => printable(`${clockTime(view.now)} ${text}`));
  }

  /** That a new pod has only just begun is no news. */
  #podLines({ pods }: View): string[] {
    const lines: string[] = [];
    const now = new Map<string, string>();
    for (const pod of pods) {
      const name = `${pod.namespace}/${pod.name}`;
      const says = pod.ready ? "is ready" : isFine(pod) ? "is done" : `is not ready: ${whyNotReady(pod)}`;
      const begins = pod.phase === "Pending" && pod.reason === undefined && !this.#pods.has(name);
      if (this.#pods.get(name) !== says && !begins) lines.push(`pod ${name} ${says}`);
      now.set(name, says);
    }
    for (const name of this.#pods.keys()) if (!now.has(name)) lines.push(`pod ${name} is gone`);
    this.#pods = now;
    return lines;
  }

  #problemLines({ problems }: View): string[] {
    const now = new Set(problems);
    const lines = [...now].filter((p) => !this.#problems.has(p)).map((p) => `problem: ${p}`);
    for (const p of this.#problems) if (!now.has(p)) lines.push(`no longer a problem: ${p}`);
    this.#problems = now;
    return lines;
  }

  #events({ changes, notices }: View): string[] {
    const events = [...changes, ...notices].filter((e) => e.at > this.#seen).sort((a, b) => a.at - b.at);
    this.#seen = events.at(-1)?.at ?? this.#seen;
    return events.map((e) => e.text);
  }

  /** A flow is told again when its outcomes or the order of its rate are other than they were. */
  #flowLines({ flows, now }: View): string[] {
    const lines: string[] = [];
    const keys = new Set<string>();
    for (const row of flows) {
      const key = `${row.from} ${target(row)} ${row.backend ?? ""} ${row.kind}`;
      keys.add(key);
      const known = this.#flows.get(key);
      const looks = looksOf(row);
      if (known && (known.looks === looks || now - known.at < EVERY)) continue;
      this.#flows.set(key, { looks, at: now });
      lines.push(flowLine(row));
    }
    for (const key of this.#flows.keys()) if (!keys.has(key)) this.#flows.delete(key);
    return lines;
  }
}

/** What counts as a change: kinds of outcome, the reason, and the rate within a third. */
function looksOf({ outcomes, reason, perSecond }: FlowRow): string {
  const order = perSecond === 0 ? "none" : Math.round(Math.log(perSecond) / Math.log(1.5));
  return `${outcomes
    .map((o) => o.outcome)
    .sort()
    .join(" ")}|${reason ?? ""}|${order}`;
}

export function flowLine(row: FlowRow): string {
  const backend = backendOf(row);
  const parts = [
    `${row.from} → ${target(row)}${backend === "" ? "" : ` (${backend})`}`,
    `${rate(row.perSecond)} ${row.kind === "http" ? "requests" : "connections"}/s`,
    outcomesOf(row),
    row.p50 === undefined ? "" : `p50 ${row.p50} ms, p99 ${row.p99} ms`,
  ];
  return `${parts.filter((p) => p !== "").join("  ")}${row.reason === undefined ? "" : `  – ${row.reason}`}`;
}
