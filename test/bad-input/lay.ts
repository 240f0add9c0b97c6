/**
 * Lays a broken folder of the table on disk, beside the good one. Removes nothing: who calls owns the folder.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { GOOD, type BadInput } from "./cases.ts";

export function lay(dir: string, input: BadInput): void {
  writeFileSync(join(dir, "good.yaml"), GOOD);
  for (const [path, text] of Object.entries(input.files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), text);
  }
  input.make?.(dir);
}
