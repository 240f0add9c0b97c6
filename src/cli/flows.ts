/**
 * Access log lines → flows: who calls whom, how often, with what outcome, over a sliding window. Knows no terminal and no clock but
 * the one that it is given; its memory is bounded whatever the pods write.
 */
import { namespaceOf, parseServiceHost, type PodName } from "../world/names.ts";
import { identityOfPeer, type AccessLine } from "./access-line.ts";
import { failureReason, refusedAtClient, refusedAtServer, refusedPlaintext } from "./reasons.ts";

/** What flows ask about pods. */
export interface Directory {
  /** `ns/sa`. */
  identityOf(pod: PodName): string | undefined;
  podAt(ip: string): PodName | undefined;
  /** Whether the mesh has this Service, named as `ns/name`. */
  hasService(name: string): boolean;
}

export interface FlowRow {
  /** The caller's identity, as `ns/sa`. */
  readonly from: string;
  /** The Service that was called, as `ns/name`; or what the caller wrote, when that is none. */
  readonly to: string;
  /** The called port, or the pods' when the call does not tell; undefined when neither is known. */
  readonly port?: number;
  /** The Service that a split led to, when it is not `to`. */
  readonly backend?: string;
  readonly kind: "http" | "tcp";
  /** Requests, or connections that ended, per second. */
  readonly perSecond: number;
  /** How often each status code (Envoy's response flags where there was no answer) came within the window, most frequent first. */
  readonly outcomes: readonly { readonly outcome: string; readonly count: number }[];
  /** Milliseconds; undefined when nothing came within the window. */
  readonly p50?: number;
  readonly p99?: number;
  /** Both ways, within the window. */
  readonly bytes: number;
  /** One line: why calls are refused or fail. */
  readonly reason?: string;
}

export interface FlowOptions {
  /** Milliseconds. */
  readonly now: () => number;
  readonly directory: Directory;
}

/** Milliseconds that a row's figures are about. */
export const WINDOW = 10_000;
const SLOT = 1000;
/** A flow that is silent for so many milliseconds is forgotten. */
const FORGET = 60_000;
const MAX_FLOWS = 1000;
/** Of outcomes in a slot, and of refusals. */
const MAX_KEYS = 100;

interface Slot {
  readonly index: number;
  count: number;
  bytes: number;
  readonly outcomes: Map<string, number>;
  readonly durations: Map<number, number>;
}
interface Flow {
  readonly id: Pick<FlowRow, "from" | "to" | "port" | "backend" | "kind">;
  readonly first: number;
  last: number;
  slots: Slot[];
  /** The identity that answered 403 last. */
  refuser: string | undefined;
  reason: { readonly text: string; readonly at: number } | undefined;
}

export class Flows {
  readonly #options: FlowOptions;
  readonly #flows = new Map<string, Flow>();
  /** Why servers refused, by client and server identity. */
  readonly #refusals = new Map<string, { readonly text: string; readonly at: number }>();
  #dropped = 0;

  constructor(options: FlowOptions) {
    this.#options = options;
  }

  /** Calls that are not shown because there are too many flows. */
  get dropped(): number {
    return this.#dropped;
  }

  add(pod: PodName, line: AccessLine): void {
    if (line.reporter === "source") this.#source(pod, line);
    else this.#destination(pod, line);
  }

  /** In order of caller, Service and backend. */
  rows(): FlowRow[] {
    const now = this.#options.now();
    for (const [key, flow] of this.#flows) if (now - flow.last > FORGET) this.#flows.delete(key);
    for (const [key, { at }] of this.#refusals) if (now - at > FORGET) this.#refusals.delete(key);
    return [...this.#flows.values()].map((flow) => this.#row(flow, now)).sort(byName);
  }

  #source(pod: PodName, line: AccessLine): void {
    const { directory } = this.#options;
    const from = directory.identityOf(pod) ?? pod;
    const { http, upstream, upstreamIp } = line;
    const backend = upstream?.service;
    const called = http && calledService(http.authority, namespaceOf(pod));
    const to = called?.service ?? backend ?? (http?.authority || "unknown");
    const port = called?.port ?? upstream?.port;
    const flow = this.#flow({
      from,
      to,
      kind: http ? "http" : "tcp",
      ...(port !== undefined && { port }),
      ...(backend !== undefined && backend !== to && { backend }),
    });
    if (!flow) return;
    this.#count(flow, line);
    if (line.code === 403 && http) {
      const server = upstreamIp === undefined ? undefined : directory.podAt(upstreamIp);
      if (server !== undefined) flow.refuser = directory.identityOf(server);
      if (line.details === "direct_response")
        this.#because(flow, refusedAtClient(from, http.authority, directory.hasService(to)));
    } else {
      const why = failureReason(line);
      if (why !== undefined) this.#because(flow, why);
    }
  }

  /** Only what the caller's sidecar cannot know: why it was refused, and calls that came past any sidecar. */
  #destination(pod: PodName, line: AccessLine): void {
    const { directory, now } = this.#options;
    const { http, peer } = line;
    if (line.code !== 403 || !http) return;
    const server = directory.identityOf(pod) ?? pod;
    if (peer === undefined) {
      const to = calledService(http.authority, namespaceOf(pod))?.service ?? server;
      const flow = this.#flow({ from: "(outside the mesh)", to, kind: "http" });
      if (!flow) return;
      this.#count(flow, line);
      this.#because(flow, refusedPlaintext(server));
      return;
    }
    if (!line.details.startsWith("rbac_access_denied")) return;
    const client = identityOfPeer(peer) ?? peer;
    const key = `${client} ${server}`;
    if (this.#refusals.size >= MAX_KEYS && !this.#refusals.has(key)) return;
    this.#refusals.set(key, { text: refusedAtServer(client, http.method, http.path, server), at: now() });
  }

  #because(flow: Flow, text: string): void {
    flow.reason = { text, at: this.#options.now() };
  }

  #flow(id: Flow["id"]): Flow | undefined {
    const key = `${id.from} ${id.to} ${id.port ?? ""} ${id.backend ?? ""} ${id.kind}`;
    const known = this.#flows.get(key);
    if (known) return known;
    if (this.#flows.size >= MAX_FLOWS) {
      this.#dropped++;
      return undefined;
    }
    const now = this.#options.now();
    const flow: Flow = { id, first: now, last: now, slots: [], refuser: undefined, reason: undefined };
    this.#flows.set(key, flow);
    return flow;
  }

  #count(flow: Flow, { http, code, flags, duration, bytes }: AccessLine): void {
    const now = this.#options.now();
    const index = Math.floor(now / SLOT);
    flow.last = now;
    let slot = flow.slots.at(-1);
    if (slot?.index !== index) {
      slot = { index, count: 0, bytes: 0, outcomes: new Map(), durations: new Map() };
      flow.slots = [...flow.slots.filter((s) => s.index > index - WINDOW / SLOT), slot];
    }
    slot.count++;
    slot.bytes += bytes;
    increase(slot.outcomes, http && code > 0 ? String(code) : flags || "ok", 1);
    increase(slot.durations, rounded(duration), 1);
  }

  #row({ id, first, slots, refuser, reason }: Flow, now: number): FlowRow {
    const index = Math.floor(now / SLOT);
    const outcomes = new Map<string, number>();
    const durations = new Map<number, number>();
    let [count, bytes] = [0, 0];
    for (const slot of slots) {
      if (slot.index <= index - WINDOW / SLOT) continue;
      count += slot.count;
      bytes += slot.bytes;
      for (const [outcome, n] of slot.outcomes) increase(outcomes, outcome, n);
      for (const [ms, n] of slot.durations) increase(durations, ms, n);
    }
    // The window holds nine whole slots and what has passed of this one.
    const span = Math.min(WINDOW - SLOT + (now % SLOT), Math.max(now - first, SLOT));
    const [p50, p99] = [quantile(durations, count, 0.5), quantile(durations, count, 0.99)];
    const refusal =
      outcomes.has("403") && refuser !== undefined ? this.#refusals.get(`${id.from} ${refuser}`) : undefined;
    const why = [reason, refusal]
      .filter((r) => r !== undefined && now - r.at <= WINDOW)
      .sort((a, b) => b!.at - a!.at)[0];
    return {
      ...id,
      perSecond: (count * 1000) / span,
      outcomes: [...outcomes]
        .map(([outcome, n]) => ({ outcome, count: n }))
        .sort((a, b) => b.count - a.count || (a.outcome < b.outcome ? -1 : 1)),
      bytes,
      ...(p50 !== undefined && p99 !== undefined && { p50, p99 }),
      ...(why && { reason: why.text }),
    };
  }
}

/** The Service and port that a request's authority names. */
function calledService(authority: string, from: string): { service: string; port?: number } | undefined {
  const [, host = "", port] = /^(.*?)(?::(\d+))?$/.exec(authority) ?? [];
  if (/^[\d.]+$/.test(host) || host.startsWith("[")) return undefined;
  const service = parseServiceHost(host, from);
  return service && { service, ...(port !== undefined && { port: Number(port) }) };
}

function increase<K>(counts: Map<K, number>, key: K, by: number): void {
  if (!counts.has(key) && counts.size >= MAX_KEYS * 10) return;
  counts.set(key, (counts.get(key) ?? 0) + by);
}

/** Two significant digits: few different values, and exact enough for people. */
function rounded(ms: number): number {
  if (ms < 100) return Math.max(0, Math.round(ms));
  const unit = 10 ** (Math.floor(Math.log10(ms)) - 1);
  return Math.round(ms / unit) * unit;
}

function quantile(durations: ReadonlyMap<number, number>, count: number, q: number): number | undefined {
  let left = Math.ceil(count * q);
  for (const [ms, n] of [...durations].sort(([a], [b]) => a - b)) {
    left -= n;
    if (left <= 0) return ms;
  }
  return undefined;
}

function byName(a: FlowRow, b: FlowRow): number {
  const key = (row: FlowRow): string => [row.from, row.to, row.port ?? "", row.backend ?? ""].join(" ");
  return key(a) < key(b) ? -1 : 1;
}
