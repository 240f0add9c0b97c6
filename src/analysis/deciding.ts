/**
 * Which rules let a call through: what a person reads to find the line in question.
 */
import type { Identity } from "../world/names.ts";
import type { Request, Requests } from "./requests.ts";
import type { Server } from "./ways.ts";

/** One rule that lets a call through. */
export interface Deciding {
  /** `namespace/name` of the TrafficTarget; undefined in permissive mode. */
  readonly target?: string;
  /** The route group and the match that takes the request; undefined: every request, or a connection. */
  readonly group?: string;
  readonly match?: string;
}

/** The rules of these servers that let the client's request, or connection, through; each once. */
export function decidedBy(
  requests: Requests,
  servers: readonly Pick<Server, "inbound">[],
  client: Identity,
  request: Request | undefined,
): readonly Deciding[] {
  const found = new Map<string, Deciding>();
  const add = (one: Deciding) => found.set(JSON.stringify(one), one);
  for (const { inbound } of servers) {
    for (const { target, sources, matches } of inbound?.access ?? []) {
      if (sources && !sources.includes(client)) continue;
      const named = target === undefined ? {} : { target };
      if (!matches) add(named);
      for (const match of matches ?? [])
        if (request && requests.has(requests.match(match), request))
          add({ ...named, group: match.group, match: match.name });
    }
  }
  return [...found.keys()].sort().map((key) => found.get(key) as Deciding);
}
