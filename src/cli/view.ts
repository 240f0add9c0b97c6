/**
 * What `heddle up` shows, as data; how it is drawn is for others. Pure.
 */
import type { FlowRow } from "./flows.ts";
import type { PodRow } from "./rows.ts";
import { bytes } from "./text.ts";

/** Something that happened, and when. */
export interface Event {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly text: string;
}

export interface View {
  /** The folder, as given. */
  readonly dir: string;
  readonly id: string;
  readonly now: number;
  /** Where debug pages are. */
  readonly url: string;
  readonly pods: readonly PodRow[];
  readonly flows: readonly FlowRow[];
  /** Calls that are not shown because there are too many flows. */
  readonly dropped: number;
  /** `split.yaml:12: error: …` */
  readonly problems: readonly string[];
  /** Newest last. */
  readonly changes: readonly Event[];
  readonly notices: readonly Event[];
}

export const target = ({ to, port }: FlowRow): string => (port === undefined ? to : `${to}:${port}`);

/** The backend, without a namespace that says nothing new. */
export function backendOf({ to, backend }: FlowRow): string {
  if (backend === undefined) return "";
  const namespace = backend.slice(0, backend.indexOf("/") + 1);
  return to.startsWith(namespace) ? backend.slice(namespace.length) : backend;
}

export const rate = (perSecond: number): string =>
  perSecond >= 100 ? String(Math.round(perSecond)) : perSecond.toFixed(1);

/** `200×41 403×2`; of TCP, the bytes. */
export function outcomesOf({ kind, outcomes, bytes: n }: FlowRow): string {
  const bad = outcomes.filter((o) => o.outcome !== "ok");
  const codes = bad.map((o) => `${o.outcome}×${o.count}`);
  return [...(kind === "tcp" ? [bytes(n)] : []), ...codes].join(" ");
}

export const milliseconds = (ms: number | undefined): string => (ms === undefined ? "" : `${ms} ms`);

export function whyNotReady(row: PodRow): string {
  if (row.terminating) return "is ending";
  return row.reason ?? (row.phase === "Running" ? "not ready yet" : row.phase.toLowerCase());
}

/** A Job's pod that is done is as it should be. */
export const isFine = (row: PodRow): boolean => row.ready || row.phase === "Succeeded";
