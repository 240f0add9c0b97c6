/**
 * `heddle proxy status`: what each sidecar was sent, has accepted and rejects, by type of resource.
 */
import { TYPES } from "../xds/resource.ts";
import { ask, findMesh } from "./mesh-client.ts";
import { formatOf, print, printData } from "./output.ts";
import type { ProxyRow } from "./rows.ts";
import { table } from "./text.ts";

export async function proxyStatus(options: { readonly mesh?: string; readonly output: string }): Promise<number> {
  const format = formatOf(options.output, ["table", "json", "yaml"]);
  const rows = await ask<ProxyRow[]>(findMesh(options.mesh), "/api/proxies");
  if (format !== "table") await printData(format, rows);
  else if (rows.length > 0) await print(proxyTable(rows).join("\n"));
  else process.stderr.write("No proxy is connected.\n");
  return 0;
}

/** A version is a hash: its beginning tells it apart. */
const short = (version: string | undefined): string => version?.slice(0, 8) ?? "-";

export function proxyTable(rows: readonly ProxyRow[]): string[] {
  const sorted = [...rows].sort((a, b) => ((a.pod ?? a.id) < (b.pod ?? b.id) ? -1 : 1));
  const lines = sorted.flatMap((row) =>
    TYPES.flatMap((type) => {
      const status = row.types[type];
      if (!status) return [];
      const { message, pendingMs } = status;
      const says = message ?? (pendingMs === undefined ? "" : `not answered for ${Math.round(pendingMs / 100) / 10} s`);
      return [[row.pod ?? row.id, type, short(status.sent), short(status.acked), short(status.nacked), says]];
    }),
  );
  return table(["PROXY", "TYPE", "SENT", "ACKED", "NACKED", "MESSAGE"], lines);
}
