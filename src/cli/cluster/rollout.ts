/**
 * What a control plane's pods are doing while helm waits for them: one line of progress, and what is wrong at the end.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Api } from "./api.ts";
import type { Terminal } from "./terminal.ts";
import { byName, fullName, nameOf, notReady, stringAt, waitingReason, waitingReasons, type Raw } from "./objects.ts";
import { PODS } from "./resources.ts";

const EVERY = 1_000;

/** `3 of 4 pods are ready; waiting for osm-injector-5d (containers not ready)`; "" before there is any. */
export function progressLine(pods: readonly Raw[]): string {
  const wanted = pods.filter((pod) => stringAt(pod, "status", "phase") !== "Succeeded");
  if (wanted.length === 0) return "";
  const waiting = wanted.flatMap((pod) => {
    const lacks = notReady(pod);
    return lacks === undefined ? [] : [`${nameOf(pod)} (${waitingReason(pod) ?? lacks})`];
  });
  const head = `${wanted.length - waiting.length} of ${wanted.length} pods are ready`;
  return waiting.length === 0 ? head : `${head}; waiting for ${waiting.join(", ")}`;
}

/** OSM's lines about pods that are not ready. */
export const statusLines = (pods: readonly Raw[]): string[] =>
  byName(pods).flatMap((pod) => {
    const lacks = notReady(pod);
    if (lacks === undefined || stringAt(pod, "status", "phase") === "Succeeded") return [];
    const [namespace, name] = fullName(pod).split("/");
    return [`Status for pod ${name} in namespace ${namespace}: ${[lacks, ...waitingReasons(pod)].join("; ")}`];
  });

/** Shows progress until `work` ends. A look that fails shows nothing new. */
export async function whileShowing<T>(
  { api, terminal, namespace }: { readonly api: Api; readonly terminal: Terminal; readonly namespace: string },
  work: Promise<T>,
): Promise<T> {
  const ended = new AbortController();
  const shown = (async () => {
    while (!ended.signal.aborted) {
      const pods = await api.list(PODS, { namespace }).catch(() => []);
      const line = progressLine(pods);
      if (line !== "" && !ended.signal.aborted) terminal.progress(line);
      await sleep(EVERY, undefined, { signal: ended.signal }).catch(() => {});
    }
  })();
  try {
    return await work;
  } finally {
    ended.abort();
    await shown;
    terminal.progress("");
  }
}
