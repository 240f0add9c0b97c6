/**
 * Sidecar injection: a pod, the mesh's settings and its namespace → a JSON patch, or a sentence that says why not.
 * A pure function: nothing is written anywhere for a pod, so a dry run, a second call or a refused pod leaves nothing behind.
 */
import {
  ANNOTATION_INJECTION,
  LABEL_PROXY_UUID,
  mustInject,
  parseToggle,
  PROXY_UUID_OF_POD,
} from "../world/injection.ts";
import type { Namespace } from "../world/types.ts";
import { annotationsOf, settingsForPod } from "./annotations.ts";
import {
  envoyContainer,
  holdContainer,
  identityVolume,
  initContainer,
  pauseHook,
  PROXY_UUID_VARIABLE,
} from "./containers.ts";
import { ADMIN_PORT, INBOUND_PORT, OUTBOUND_PORT, PROXY_UID, SIDECAR_PORTS } from "./iptables.ts";
import { isRaw, type Raw } from "../lib/json.ts";
import { at, given, listAt, mapAt, quote, textAt } from "./json.ts";
import { pointer, type Operation } from "./json-patch.ts";
import { probeListeners } from "./probe-listeners.ts";
import { rewriteProbes } from "./probes.ts";
import {
  ENVOY_CONTAINER,
  HOLD_CONTAINER,
  IDENTITY_VOLUME,
  INIT_CONTAINER,
  OSM_BOOTSTRAP_VOLUME,
  type InjectorSettings,
} from "./settings.ts";

export interface InjectionRequest {
  /** As JSON, not checked yet. */
  readonly pod: unknown;
  readonly settings: InjectorSettings;
  /** The pod's. */
  readonly namespace: Namespace;
  /** Of the proxy: any fresh one, or `PROXY_UUID_OF_POD` for the template of several pods. */
  readonly uuid: string;
  /** Unguessable and fresh, for what only readers of the pod may ask its sidecar. */
  readonly secret: string;
}

export type Injection =
  /** The pod must not be created like this. One sentence for its author. */
  | { readonly refused: string }
  | {
      /** Empty: the pod stays as it is. */
      readonly patch: readonly Operation[];
      readonly injected: boolean;
      /** Sentences for the pod's author. */
      readonly warnings: readonly string[];
    };

/** Adds a sidecar where there is to be one. Never throws, whatever the pod is. */
export function inject({ pod, settings: mesh, namespace, uuid, secret }: InjectionRequest): Injection {
  if (!namespace.monitored) return alone();
  const annotations = annotationsOf(pod);
  const spec = mapAt(pod, "spec");
  const hostNetwork = at(spec, "hostNetwork") === true;
  const own = settingsForPod(mesh, annotations);
  // A pod that says in a word of its own whether it wants a sidecar must not be misread.
  const toggle = annotations[ANNOTATION_INJECTION];
  if (!hostNetwork && toggle !== undefined && parseToggle(toggle) === undefined && "refused" in own)
    return refused(own.refused);
  if (!mustInject(namespace, { annotations, hostNetwork })) {
    const wanted = hostNetwork && mustInject(namespace, { annotations, hostNetwork: false });
    return wanted ? alone("The pod uses its node's network, so it gets no sidecar and is not in the mesh.") : alone();
  }
  const reason = leftAlone(pod, spec);
  if (reason) return alone(reason);
  const existing = existingSidecar(spec);
  if (existing) return relabel(pod, existing, uuid);
  const fault = faultOf(pod);
  if (fault) return refused(`${fault}.`);
  if ("refused" in own) return refused(own.refused);
  const clash = clashOf(spec);
  if (clash) return refused(clash);
  return patchFor(pod, spec, own.settings, { namespace, uuid, secret });
}

const alone = (...warnings: string[]): Injection => ({ patch: [], injected: false, warnings });
const refused = (sentences: string): Injection => ({ refused: `No sidecar can be added to the pod: ${sentences}` });

function patchFor(
  pod: unknown,
  spec: Raw,
  settings: InjectorSettings,
  { namespace, uuid, secret }: Pick<InjectionRequest, "namespace" | "uuid" | "secret">,
): Injection {
  const grace = graceOf(spec);
  // The application keeps most of its time to end in.
  const drain = Math.min(settings.drainSeconds, Math.floor(grace / 2));
  const probes = rewriteProbes(spec, new Set(settings.inboundPortExclusions), new Set(portsOf(spec)), secret);
  const fixed = probeListeners(probes.routes, {
    ipv6: settings.ipv6,
    ...(settings.sleepAction || drain === 0 ? {} : { drain }),
  });
  const idFrom = uuid === PROXY_UUID_OF_POD ? "metadata.uid" : `metadata.labels['${LABEL_PROXY_UUID}']`;
  const envoy = envoyContainer({ settings, fixed, routes: probes.routes, idFrom, drain });
  const init = rulesOrFault(settings, probes.extraPorts);
  if (typeof init === "string") return refused(init);
  if (JSON.stringify([init, envoy]).length > MAX_TEXT)
    return refused("its probes, or the lists of what passes the sidecar by, are too long; shorten them.");
  const warnings = [...probes.warnings];
  // Probes and hooks first: their paths count containers as they are before the sidecar's come.
  const patch: Operation[] = [...probes.operations, ...holdApplications(spec, settings, drain)];
  const marks: Record<string, string> = namespace.metrics ? { ...SCRAPE } : {};
  if (settings.nativeSidecars) {
    // First of all, so that the application's own init containers call through the sidecar, and it ends last.
    patch.push(...insert(spec, ["spec"], "initContainers", [init, envoy], 0));
  } else {
    patch.push(...insert(spec, ["spec"], "initContainers", [init], "-"));
    patch.push(...insert(spec, ["spec"], "containers", [envoy, holdContainer(settings)], 0));
    const [first] = listAt(spec, "containers");
    if (!Object.hasOwn(annotationsOf(pod), DEFAULT_CONTAINER)) marks[DEFAULT_CONTAINER] = textAt(first, "name");
    if (at(spec, "restartPolicy") === "Never" || at(spec, "restartPolicy") === "OnFailure")
      warnings.push(
        "This cluster has no native sidecars (Kubernetes 1.29), so the pod goes on running when its own containers have ended.",
      );
  }
  patch.push(...insert(spec, ["spec"], "volumes", [identityVolume(settings)], "-"));
  for (const [key, value] of Object.entries(annotationsOf(pod)))
    if (Object.hasOwn(marks, key) && marks[key] !== value)
      warnings.push(
        `annotation ${key} was ${quote(value)} and is now ${quote(marks[key] ?? "")}: the sidecar is scraped.`,
      );
  patch.push(...marked(pod, { labels: { [LABEL_PROXY_UUID]: uuid }, annotations: marks }));
  return { patch, injected: true, warnings };
}

/** Linux passes no argument above 128 KiB to a program. */
const MAX_TEXT = 120_000;

/** Settings of the whole mesh may be wrong as well: then it is their author who has to be found. */
function rulesOrFault(settings: InjectorSettings, extraPorts: readonly number[]): ReturnType<typeof initContainer> {
  try {
    return initContainer(settings, extraPorts);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return `the mesh's settings (MeshConfig) cannot be used: ${error.message}; tell who runs the mesh.`;
  }
}

const DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container";
const SCRAPE: Readonly<Record<string, string>> = {
  "prometheus.io/scrape": "true",
  "prometheus.io/port": "15010",
  "prometheus.io/path": "/stats/prometheus",
};

/** Seconds; Kubernetes' default is 30. */
function graceOf(spec: Raw): number {
  const grace = at(spec, "terminationGracePeriodSeconds");
  return typeof grace === "number" && Number.isInteger(grace) && grace >= 0 ? grace : 30;
}

/**
 * An application's SIGTERM waits until clients have learnt that the pod goes and have their answers: most applications exit at once.
 * Containers with a hook of their own know better.
 */
function holdApplications(spec: Raw, settings: InjectorSettings, drain: number): Operation[] {
  if (drain === 0) return [];
  const preStop = pauseHook(settings, drain);
  return listAt(spec, "containers").flatMap((container, i): Operation[] => {
    const lifecycle = at(container, "lifecycle");
    if (given(at(lifecycle, "preStop"))) return [];
    return isRaw(lifecycle)
      ? [{ op: "add", path: pointer("spec", "containers", i, "lifecycle", "preStop"), value: preStop }]
      : [{ op: "add", path: pointer("spec", "containers", i, "lifecycle"), value: { preStop } }];
  });
}

/** Adds to a list at its beginning or end, or makes the list. */
function insert(
  holder: Raw,
  steps: readonly string[],
  key: string,
  values: readonly unknown[],
  where: 0 | "-",
): Operation[] {
  if (!Array.isArray(at(holder, key))) return [{ op: "add", path: pointer(...steps, key), value: values }];
  return values.map((value, i) => ({
    op: "add",
    path: pointer(...steps, key, where === "-" ? where : where + i),
    value,
  }));
}

/** Sets labels and annotations that are not so already. */
function marked(
  pod: unknown,
  values: Partial<Record<"labels" | "annotations", Readonly<Record<string, string>>>>,
): Operation[] {
  const metadata = at(pod, "metadata");
  const operations: Operation[] = [];
  // A pod of a template has no metadata at all, perhaps.
  if (!isRaw(metadata)) operations.push({ op: "add", path: pointer("metadata"), value: {} });
  for (const [key, wanted] of Object.entries(values)) {
    const old = at(metadata, key);
    const fresh = Object.entries(wanted).filter(([name, value]) => at(old, name) !== value);
    if (fresh.length === 0) continue;
    if (!isRaw(old)) operations.push({ op: "add", path: pointer("metadata", key), value: Object.fromEntries(fresh) });
    else
      operations.push(
        ...fresh.map(([name, value]): Operation => ({ op: "add", path: pointer("metadata", key, name), value })),
      );
  }
  return operations;
}

/** Pods that are not ours to change: a sentence. */
function leftAlone(pod: unknown, spec: Raw): string | undefined {
  if (Object.hasOwn(annotationsOf(pod), "kubernetes.io/config.mirror"))
    return "The pod is run by its node's kubelet from a file, so it gets no sidecar and is not in the mesh.";
  const os = textAt(at(spec, "os"), "name") || textAt(at(spec, "nodeSelector"), "kubernetes.io/os");
  if (os.toLowerCase() === "windows") return "There are no sidecars for Windows, so the pod is not in the mesh.";
  return undefined;
}

/** A container that is a sidecar's Envoy already: ours, or one that OSM has added. */
function existingSidecar(spec: Raw): Raw | undefined {
  for (const container of [...listAt(spec, "initContainers"), ...listAt(spec, "containers")]) {
    if (!isRaw(container) || textAt(container, "name") !== ENVOY_CONTAINER) continue;
    const mounts = listAt(container, "volumeMounts").map((mount) => textAt(mount, "name"));
    if (mounts.includes(IDENTITY_VOLUME) || mounts.includes(OSM_BOOTSTRAP_VOLUME)) return container;
  }
  return undefined;
}

/**
 * A pod that has its sidecar already stays as it is. A copy of a pod, as `kubectl debug --copy-to` makes it, has lost its labels:
 * it is given an id of its own.
 */
function relabel(pod: unknown, envoy: Raw, uuid: string): Injection {
  const warnings = ["The pod has a sidecar already, so it is left as it is."];
  if (textAt(mapAt(mapAt(pod, "metadata"), "labels"), LABEL_PROXY_UUID) !== "") return alone(...warnings);
  const variable = listAt(envoy, "env").find((one) => textAt(one, "name") === PROXY_UUID_VARIABLE);
  const source = textAt(at(at(variable, "valueFrom"), "fieldRef"), "fieldPath");
  const value = source === "metadata.uid" ? PROXY_UUID_OF_POD : uuid;
  return { patch: marked(pod, { labels: { [LABEL_PROXY_UUID]: value } }), injected: false, warnings };
}

/** Names, ports or a user of the pod's own that are the sidecar's: a sentence. */
function clashOf(spec: Raw): string | undefined {
  const user = `as user ${PROXY_UID}, which is the sidecar's: what it sends would pass the sidecar by; use another user.`;
  if (at(at(spec, "securityContext"), "runAsUser") === PROXY_UID) return `the pod runs ${user}`;
  const ours = [INIT_CONTAINER, ENVOY_CONTAINER, HOLD_CONTAINER];
  for (const container of [...listAt(spec, "initContainers"), ...listAt(spec, "containers")]) {
    const name = textAt(container, "name");
    if (ours.includes(name)) return `a container is named ${name}, as one of the sidecar's; give it another name.`;
    if (at(at(container, "securityContext"), "runAsUser") === PROXY_UID) return `container ${name} runs ${user}`;
    for (const port of portsOf({ containers: [container] }))
      if (RESERVED.has(port)) return `container ${name} has port ${port}, which the sidecar uses; use another one.`;
  }
  if (listAt(spec, "volumes").some((volume) => textAt(volume, "name") === IDENTITY_VOLUME))
    return `a volume is named ${IDENTITY_VOLUME}, as the sidecar's; give it another name.`;
  return undefined;
}

const RESERVED: ReadonlySet<number> = new Set([ADMIN_PORT, OUTBOUND_PORT, INBOUND_PORT, ...SIDECAR_PORTS]);

/** TCP ports that containers declare. */
function portsOf(spec: Raw): number[] {
  return [...listAt(spec, "initContainers"), ...listAt(spec, "containers")].flatMap((container) =>
    listAt(container, "ports").flatMap((port) => {
      const number = at(port, "containerPort");
      const protocol = textAt(port, "protocol") || "TCP";
      return typeof number === "number" && protocol === "TCP" ? [number] : [];
    }),
  );
}

const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

/** What makes a pod none: the API server says more of it, so this is short. */
function faultOf(pod: unknown): string | undefined {
  const spec = at(pod, "spec");
  if (!isRaw(spec)) return "it has no spec";
  const names = new Set<string>();
  for (const key of ["initContainers", "containers"]) {
    const list = at(spec, key);
    if (!given(list) && key === "initContainers") continue;
    if (!Array.isArray(list) || (list.length === 0 && key === "containers"))
      return `spec.${key} is not a list of containers`;
    for (const [i, container] of list.entries()) {
      const name = textAt(container, "name");
      if (!LABEL.test(name)) return `spec.${key}[${i}].name is not the name of a container`;
      if (names.has(name)) return `two containers are named ${name}`;
      names.add(name);
    }
  }
  if (given(at(spec, "volumes")) && !Array.isArray(at(spec, "volumes"))) return "spec.volumes is not a list";
  return undefined;
}
