/**
 * `heddle version`: of Heddle and of the Node that runs it. Imports nothing that takes time.
 */
import { readFileSync } from "node:fs";
import { formatOf, print, printData } from "./output.ts";

export const VERSION: string = (
  JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }
).version;

export async function version(options: { readonly output: string }): Promise<number> {
  const format = formatOf(options.output, ["text", "json", "yaml"]);
  const data = { heddle: VERSION, node: process.versions.node, platform: `${process.platform}/${process.arch}` };
  if (format === "text") await print(`heddle ${data.heddle} (node ${data.node}, ${data.platform})`);
  else await printData(format, data);
  return 0;
}
