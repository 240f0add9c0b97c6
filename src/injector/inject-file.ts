/**
 * Injection without a cluster: manifests in, the same manifests with sidecars out. For `heddle inject -f`. Reads no file itself.
 */
import type { Namespace } from "../world/types.ts";
import { isRaw } from "../lib/json.ts";
import { at, textAt } from "./json.ts";
import { applyPatch } from "./json-patch.ts";
import { PROXY_UUID_OF_POD } from "../world/injection.ts";
import { inject } from "./patch.ts";
import type { InjectorSettings } from "./settings.ts";

export interface FileInjection {
  /** As many as went in, in the same order. */
  readonly documents: readonly unknown[];
  /** What was done or not done, in order: one entry for each pod or template, and one for each warning. */
  readonly notes: readonly InjectionNote[];
}

export interface InjectionNote {
  /** `injected`, `left` alone, a `warning` about one of these, or `refused`: then the document is as it was, and the command fails. */
  readonly outcome: "injected" | "left" | "warning" | "refused";
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** A sentence, or "". */
  readonly message: string;
}

export interface FileInjectionOptions {
  readonly settings: InjectorSettings;
  /** Unguessable: see `InjectionRequest`. */
  readonly secret: string;
  /** Of documents that name none; "default" when absent. */
  readonly namespace?: string;
  /** What is known of namespaces; whoever injects by hand means it, so the others are in the mesh. */
  readonly namespaces?: ReadonlyMap<string, Namespace>;
}

/** Where each kind keeps the pod that it makes pods from. */
const TEMPLATES: Readonly<Record<string, readonly string[]>> = {
  "v1 Pod": [],
  "v1 ReplicationController": ["spec", "template"],
  "apps/v1 Deployment": ["spec", "template"],
  "apps/v1 ReplicaSet": ["spec", "template"],
  "apps/v1 StatefulSet": ["spec", "template"],
  "apps/v1 DaemonSet": ["spec", "template"],
  "batch/v1 Job": ["spec", "template"],
  "batch/v1 CronJob": ["spec", "jobTemplate", "spec", "template"],
};

/** Documents of other kinds, and what is none, pass as they are. Nothing that went in is changed. Never throws. */
export function injectFile(documents: readonly unknown[], options: FileInjectionOptions): FileInjection {
  const notes: InjectionNote[] = [];
  return { documents: documents.map((document) => injectDocument(document, options, notes, 0)), notes };
}

function injectDocument(
  document: unknown,
  options: FileInjectionOptions,
  notes: InjectionNote[],
  depth: number,
): unknown {
  const kind = textAt(document, "kind");
  if (!isRaw(document) || kind === "") return document;
  const items = at(document, "items");
  if (kind.endsWith("List") && Array.isArray(items)) {
    // Lists in lists are nobody's manifest.
    if (depth > 8) return document;
    return { ...document, items: items.map((item) => injectDocument(item, options, notes, depth + 1)) };
  }
  const steps = TEMPLATES[`${textAt(document, "apiVersion")} ${kind}`];
  if (!steps) return document;
  const metadata = at(document, "metadata");
  const namespace = textAt(metadata, "namespace") || (options.namespace ?? "default");
  const about = { kind, namespace, name: textAt(metadata, "name") || textAt(metadata, "generateName") };
  const template = steps.reduce(at, document as unknown);
  const facts = options.namespaces?.get(namespace) ?? {
    name: namespace,
    monitored: true,
    inject: true,
    metrics: false,
  };
  const result = inject({
    pod: template,
    settings: options.settings,
    namespace: facts,
    uuid: PROXY_UUID_OF_POD,
    secret: options.secret,
  });
  if ("refused" in result) {
    notes.push({ ...about, outcome: "refused", message: result.refused });
    return document;
  }
  if (!result.injected) {
    const [why = facts.monitored ? "It does not want a sidecar." : `Namespace ${namespace} is not in the mesh.`] =
      result.warnings;
    notes.push({ ...about, outcome: "left", message: why });
  } else {
    notes.push({ ...about, outcome: "injected", message: "" });
    for (const message of result.warnings) notes.push({ ...about, outcome: "warning", message });
  }
  return result.patch.length === 0 ? document : replaceAt(document, steps, applyPatch(template, result.patch));
}

function replaceAt(holder: unknown, steps: readonly string[], value: unknown): unknown {
  const [step, ...rest] = steps;
  if (step === undefined || !isRaw(holder)) return value;
  return { ...holder, [step]: replaceAt(holder[step], rest, value) };
}
