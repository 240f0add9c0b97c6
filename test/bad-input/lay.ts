/**
 * Lays a broken folder of the table on disk, beside the good one, and reads it. Removes nothing: who calls owns the folder.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Readings, type Outcome } from "../../src/sources/files/once.ts";
import { GOOD, type BadInput } from "./cases.ts";

export function lay(dir: string, input: BadInput): void {
  writeFileSync(join(dir, "good.yaml"), GOOD);
  for (const [path, text] of Object.entries(input.files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), text);
  }
  input.make?.(dir);
}

export async function outcomeOf(dir: string, input: BadInput): Promise<Outcome> {
  const readings = new Readings({ pods: "10.64.0.0/16", services: "10.65.0.0/16" });
  return readings.outcome(await readings.read(dir, input.read));
}
