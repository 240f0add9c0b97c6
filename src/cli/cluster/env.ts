/**
 * `heddle env`: what OSM's configuration file and flags come to.
 */
import { yaml } from "../output.ts";
import type { Settings } from "./settings.ts";
import type { Terminal } from "./terminal.ts";

export async function env({
  settings,
  terminal,
}: {
  readonly settings: Settings;
  readonly terminal: Terminal;
}): Promise<number> {
  await terminal.out(`---\n${await yaml({ install: settings.install })}`);
  return 0;
}
