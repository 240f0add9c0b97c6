/**
 * `heddle get pods`: the pods of a mesh on this machine, as kubectl would list them.
 */
import { ask, findMesh } from "./mesh-client.ts";
import { formatOf, print, printData } from "./output.ts";
import type { PodRow } from "./rows.ts";
import { age, table } from "./text.ts";

export interface GetOptions {
  readonly mesh?: string;
  readonly namespace?: string;
  readonly output: string;
}

export async function getPods(options: GetOptions): Promise<number> {
  const format = formatOf(options.output, ["table", "wide", "json", "yaml"]);
  const all = await ask<PodRow[]>(findMesh(options.mesh), "/api/pods");
  const rows = all.filter((row) => options.namespace === undefined || row.namespace === options.namespace);
  if (format === "json" || format === "yaml") await printData(format, rows);
  else if (rows.length > 0) await print(podTable(rows, Date.now(), format === "wide").join("\n"));
  else
    process.stderr.write(
      options.namespace === undefined ? "The mesh has no pods.\n" : `No pods in namespace ${options.namespace}.\n`,
    );
  return 0;
}

export function podTable(rows: readonly PodRow[], now: number, wide: boolean): string[] {
  const head = [
    "NAMESPACE",
    "NAME",
    "READY",
    "STATUS",
    "RESTARTS",
    "AGE",
    "IP",
    ...(wide ? ["SERVICEACCOUNT", "CONTAINERS", "REASON"] : []),
  ];
  const sorted = [...rows].sort((a, b) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1));
  return table(
    head,
    sorted.map((row) => [
      row.namespace,
      row.name,
      row.readyContainers,
      row.terminating ? "Terminating" : row.phase,
      String(row.restarts),
      row.startedAt === undefined ? "-" : age(now - Date.parse(row.startedAt)),
      row.ip ?? "-",
      ...(wide ? [row.serviceAccount, row.containers.join(","), row.reason ?? ""] : []),
    ]),
  );
}
