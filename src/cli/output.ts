/**
 * What commands print on standard output: text, JSON or YAML, whole, and without a complaint when nobody reads on.
 */
import { UserError, EXIT } from "./errors.ts";

/** Prints lines. Resolves when they are handed over, so that a pipe gets all of them. */
export const print = (text: string): Promise<void> =>
  new Promise((resolve) =>
    process.stdout.write(text.endsWith("\n") || text === "" ? text : `${text}\n`, () => resolve()),
  );

export async function printData(format: "json" | "yaml", data: unknown): Promise<void> {
  await print(format === "json" ? JSON.stringify(data, undefined, 2) : await yaml(data));
}

/** Plain data as YAML; objects that stand there twice are written twice. */
export async function yaml(data: unknown): Promise<string> {
  const { dump } = await import("js-yaml");
  return dump(JSON.parse(JSON.stringify(data)) as object, { noRefs: true, lineWidth: 140 });
}

/** One of the formats that a command has. */
export function formatOf<F extends string>(given: string, formats: readonly F[]): F {
  const found = formats.find((format) => format === given);
  if (found === undefined)
    throw new UserError(`"${given}" is no output format here. There are: ${formats.join(", ")}.`, EXIT.usage);
  return found;
}

/** `heddle … | head` ends quietly when `head` does. */
export function endQuietlyWithoutReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") process.exit(0);
      throw error;
    });
  }
}
