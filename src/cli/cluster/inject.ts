/**
 * `heddle inject`: manifests in, the same manifests with sidecars out, with no cluster.
 */
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { injectFile, type InjectionNote } from "../../injector/inject-file.ts";
import { INJECTOR_DEFAULTS, type InjectorSettings } from "../../injector/settings.ts";
import { EXIT, UserError } from "../errors.ts";
import { VERSION } from "../version.ts";
import { DEFAULT_NAMESPACE } from "./resources.ts";
import { controlPlaneDnsName } from "../../world/names.ts";
import type { Settings } from "./settings.ts";
import type { Terminal } from "./terminal.ts";

export interface InjectOptions {
  readonly filename: string;
  readonly namespace?: string;
  readonly envoyImage: string;
  /** Heddle's own of this version when absent. */
  readonly initImage?: string;
  readonly nativeSidecars?: boolean;
  readonly trustDomain: string;
}

/** A controller's Service in its namespace, as the chart makes it. */
export function injectorSettings(options: InjectOptions, controlPlane: string): InjectorSettings {
  const host = `osm-controller.${controlPlane}.svc.cluster.local`;
  return {
    ...INJECTOR_DEFAULTS,
    envoyImage: options.envoyImage,
    initImage: options.initImage ?? `heddle/heddle:${VERSION}`,
    nativeSidecars: options.nativeSidecars ?? true,
    trustDomain: options.trustDomain,
    controlPlane: { host, name: controlPlaneDnsName(options.trustDomain) },
  };
}

export async function injectManifests(
  { settings, terminal }: { readonly settings: Settings; readonly terminal: Terminal },
  options: InjectOptions,
): Promise<number> {
  const { filename, namespace } = options;
  const text =
    filename === "-"
      ? await standardInput()
      : await readFile(filename, "utf8").catch((error: unknown) => {
          throw (error as NodeJS.ErrnoException).code === "EISDIR"
            ? new UserError(`${filename} is a folder: give one file, or - for standard input.`)
            : error;
        });
  const { loadAll, dump } = await import("js-yaml");
  let documents: unknown[];
  try {
    documents = loadAll(text).filter((one) => one !== null && one !== undefined);
  } catch (error) {
    const where = filename === "-" ? "The standard input" : filename;
    throw new UserError(`${where} is not YAML: ${(error as Error).message.split("\n")[0]}.`);
  }
  const result = injectFile(documents, {
    settings: injectorSettings(options, settings.namespaceGiven ? settings.namespace : DEFAULT_NAMESPACE),
    secret: randomUUID(),
    ...(namespace === undefined ? {} : { namespace }),
  });
  for (const line of noteLines(result.notes)) terminal.note(line);
  await terminal.out(result.documents.map((one) => dump(one as object, { noRefs: true, lineWidth: -1 })).join("---\n"));
  return result.notes.some((one) => one.outcome === "refused") ? EXIT.failure : EXIT.ok;
}

/** Pure. */
export const noteLines = (notes: readonly InjectionNote[]): string[] =>
  notes.map(({ outcome, kind, namespace, name, message }) => {
    const says = { injected: "injected", left: "left as it is", warning: "warning", refused: "not injected" }[outcome];
    return `${kind} ${namespace}/${name}: ${says}${message === "" ? "" : `: ${message}`}`;
  });

async function standardInput(): Promise<string> {
  if (process.stdin.isTTY)
    throw new UserError("Nothing is given on standard input. Give a file: heddle inject -f FILE", EXIT.usage);
  const parts: Buffer[] = [];
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) parts.push(chunk);
  return Buffer.concat(parts).toString("utf8");
}
