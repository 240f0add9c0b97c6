/**
 * What a change of the mesh means for those who call: every call that is answered otherwise afterwards, exactly, each with a request that shows it.
 * Knows both meshes, and nothing of where they came from or who is told.
 */
import { namespaceOf, type Identity } from "../world/names.ts";
import { admittedAt, identitiesOf, leadsTo, portsBehind } from "./callers.ts";
import { knownTo } from "./pods.ts";
import { looksAtRequests, relationOf, sameAnswer, type Answer, type Case } from "./relation.ts";
import { hostsOf } from "./authority.ts";
import { changedDestinations, type ServicePort } from "./destinations.ts";
import { decidedBy, type Deciding } from "./deciding.ts";
import { cannotTell } from "./limits.ts";
import type { Request, Requests, RequestSet } from "./requests.ts";
import { waysOf, type Destination, type Ground } from "./ways.ts";

/**
 * `allowed`, `denied`: the verdict changes. `partly`: allowed before and after, and other backends or pods refuse it than before.
 * `moved`: allowed before and after, and it goes elsewhere, or in other shares.
 */
export type Change = "allowed" | "denied" | "partly" | "moved";

/** Calls that are answered otherwise after the change. */
export interface CallChange {
  readonly change: Change;
  /** Clients for which it is the same change. Sorted. */
  readonly from: readonly Identity[];
  readonly to: ServicePort;
  readonly before: Side;
  readonly after: Side;
  readonly requests: RequestSet;
  /** One of them; undefined where connections count (a TCP port on both sides). */
  readonly witness?: Request;
}

export interface Side extends Answer {
  /** What lets the witness through. Empty: nothing does. */
  readonly rules: readonly Deciding[];
}

/** Calls that could not be compared. */
export interface Unknown {
  readonly from: Identity;
  readonly to: ServicePort;
  readonly why: string;
}

export interface CallChanges {
  /** By destination, then change, then client. */
  readonly calls: readonly CallChange[];
  readonly unknown: readonly Unknown[];
}

/** Every call of the mesh that is answered otherwise. Calls that are refused before and after are no change, whatever the reason. */
export function changedCalls(requests: Requests, before: Ground, after: Ground): CallChanges {
  const found = new Map<string, { change: CallChange; from: Identity[] }>();
  const unknown: Unknown[] = [];
  const everybody = [...new Set([...identitiesOf(before.mesh), ...identitiesOf(after.mesh)])].sort();
  for (const to of changedDestinations(before, after)) {
    for (const alike of alikeAt(before, after, to, everybody)) {
      try {
        for (const one of changes(requests, before, after, alike[0], to)) {
          const key = `${to.service}:${to.port} ${keyOf(requests, one)}`;
          const known = found.get(key);
          const set = known ? requests.union(known.change.requests, one.requests) : one.requests;
          const from = [...(known?.from ?? []), ...alike];
          found.set(key, { change: { ...(known?.change ?? one), requests: set }, from });
        }
      } catch (error) {
        const why = cannotTell(error);
        if (why === undefined) throw error;
        unknown.push(...alike.map((from) => ({ from, to, why })));
      }
    }
  }
  const calls = [...found.values()].map(({ change, from }) => ({ ...change, from: from.sort() }));
  return { calls: calls.sort(byPlace), unknown };
}

type Alike = readonly [Identity, ...Identity[]];

/**
 * Those who are let in by anybody behind the Service, before or after (nobody else is allowed anything there), in classes for which everything
 * is the same: the names of the Service, whether their sidecars know it, and the rules that hold for them.
 */
function alikeAt(before: Ground, after: Ground, to: ServicePort, everybody: readonly Identity[]): Iterable<Alike> {
  const sides = [before, after].map(({ mesh }) => ({
    mesh,
    ports: [...leadsTo(mesh, to)].flatMap((name) => portsBehind(mesh, name)),
  }));
  const admitted = sides.map(({ ports }) => admittedAt(ports));
  const clients = admitted.includes("everybody")
    ? everybody
    : [...new Set(admitted.flatMap((ids) => (ids === "everybody" ? [] : [...ids])))].sort();
  const rules = sides.flatMap(({ ports }) =>
    ports.flatMap(({ access }) => access.map(({ sources }) => sources && new Set(sources))),
  );
  const services = sides.map(({ mesh }) => ({ mesh, service: mesh.services.get(to.service) }));
  // Which pod a headless Service's clients connect to depends on all that each of them knows.
  const apart = services.some(({ service }) => service?.headless);
  const classes = new Map<string, [Identity, ...Identity[]]>();
  for (const client of clients) {
    const known = services.map(({ mesh, service }) => (service && knownTo(mesh, client)?.has(service)) ?? "-");
    const held = rules.map((sources) => (!sources || sources.has(client) ? 1 : 0)).join("");
    const key = apart ? client : `${namespaceOf(client) === namespaceOf(to.service)} ${known.join()} ${held}`;
    const list = classes.get(key);
    if (list) list.push(client);
    else classes.set(key, [client]);
  }
  return classes.values();
}

function* changes(
  requests: Requests,
  before: Ground,
  after: Ground,
  from: Identity,
  to: ServicePort,
): Generator<CallChange> {
  const destination = { kind: "service", ...to } as const;
  const [a, b] = [before, after].map((ground) => relationOf(requests, ground, from, destination)) as [
    readonly Case[],
    readonly Case[],
  ];
  const merged = new Map<string, { change: Change; old: Case; now: Case; set: RequestSet }>();
  for (const old of a) {
    for (const now of b) {
      if (sameAnswer(old.answer, now.answer)) continue;
      const set = requests.intersection(old.requests, now.requests);
      if (requests.isEmpty(set)) continue;
      const change = changeOf(old.answer, now.answer);
      const key = `${change} ${JSON.stringify([old.answer.shares, now.answer.shares])}`;
      const known = merged.get(key);
      merged.set(key, { change, old, now, set: known ? requests.union(known.set, set) : set });
    }
  }
  for (const { change, old, now, set } of merged.values()) {
    const hosts = [after, before].flatMap((ground) => httpHosts(ground, from, destination));
    const witness = hosts.length === 0 ? undefined : requests.witness(set, hosts);
    const side = (answer: Answer, { servers }: Case): Side => ({
      ...answer,
      rules: answer.verdict === "allowed" ? decidedBy(requests, servers, from, witness) : [],
    });
    yield {
      change,
      from: [from],
      to,
      requests: set,
      before: side(old.answer, old),
      after: side(now.answer, now),
      ...(witness ? { witness } : {}),
    };
  }
}

/** The names that a call goes by; none where connections count. */
function httpHosts(ground: Ground, from: Identity, to: Destination): readonly string[] {
  const found = waysOf(ground, { kind: "account", identity: from }, to);
  if (found.kind !== "ways") return [];
  return found.ways.filter(looksAtRequests).flatMap((way) => hostsOf(from, way, to));
}

function changeOf(before: Answer, after: Answer): Change {
  if (before.verdict !== "allowed") return "allowed";
  if (after.verdict !== "allowed") return "denied";
  const refusing = ({ shares }: Answer) =>
    shares
      .flatMap((share) => (share.lets === "each" ? [] : [`${share.service} ${share.lets} ${share.by.join()}`]))
      .join();
  return refusing(before) === refusing(after) ? "moved" : "partly";
}

/** What two clients must have in common for their changes to be told as one. */
const keyOf = (requests: Requests, { change, before, after, requests: set }: CallChange): string =>
  JSON.stringify([change, before, after, requests.id(set)]);

const ORDER: readonly Change[] = ["allowed", "denied", "partly", "moved"];

function byPlace(a: CallChange, b: CallChange): number {
  const key = ({ to, change, from }: CallChange) =>
    `${to.service} ${String(to.port).padStart(5, "0")} ${ORDER.indexOf(change)} ${from[0]}`;
  return key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0;
}

/** Accounts that have pods in the mesh now and had none, and the other way round. */
export function changedIdentities(
  { mesh: before }: Ground,
  { mesh: after }: Ground,
): { readonly added: readonly Identity[]; readonly removed: readonly Identity[] } {
  const [a, b] = [before, after].map((mesh) => new Set([...mesh.groups.values()].map((p) => p.identity))) as [
    Set<Identity>,
    Set<Identity>,
  ];
  return { added: [...b.difference(a)].sort(), removed: [...a.difference(b)].sort() };
}
