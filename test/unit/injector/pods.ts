/** Pods, settings and namespaces to inject into, and what a kubelet would make of the result. */
import type { Namespace } from "../../../src/world/types.ts";
import { inject, type Injection } from "../../../src/injector/patch.ts";
import { INJECTOR_DEFAULTS, type InjectorSettings } from "../../../src/injector/settings.ts";

export const SECRET = "unguessable";
export const UUID = "5a5e1c3a-0000-4000-8000-00000000abcd";

export const settings = (over: Partial<InjectorSettings> = {}): InjectorSettings => ({
  ...INJECTOR_DEFAULTS,
  envoyImage: "envoyproxy/envoy-distroless:v1.40.0",
  initImage: "heddle/heddle:0.1.0",
  controlPlane: {
    host: "osm-controller.heddle-system.svc.cluster.local",
    name: "osm-controller.osm-system.svc.cluster.local",
  },
  ...over,
});

export const shop = (over: Partial<Namespace> = {}): Namespace => ({
  name: "shop",
  monitored: true,
  inject: true,
  metrics: false,
  ...over,
});

// oxlint-disable-next-line typescript/no-explicit-any -- Kubernetes' JSON
export type Loose = any;

export const pod = (spec: Loose = {}, metadata: Loose = {}): Loose => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "bookbuyer", namespace: "shop", labels: { app: "bookbuyer" }, ...metadata },
  spec: {
    serviceAccountName: "bookbuyer",
    containers: [{ name: "app", image: "bookbuyer:1", ports: [{ name: "web", containerPort: 8080 }] }],
    ...spec,
  },
});

export const injected = (
  of: unknown,
  over: { settings?: Partial<InjectorSettings>; namespace?: Partial<Namespace>; uuid?: string } = {},
): Injection =>
  inject({
    pod: of,
    settings: settings(over.settings),
    namespace: shop(over.namespace),
    uuid: over.uuid ?? UUID,
    secret: SECRET,
  });

/**
 * RFC 6902 as it is read here, apart from the one under test: strict, and nothing but `add` and `replace`.
 */
export function apply(document: Loose, patch: readonly { op: string; path: string; value: unknown }[]): Loose {
  const root: Loose = { doc: JSON.parse(JSON.stringify(document)) };
  for (const { op, path, value } of patch) {
    const keys = ["doc", ...path.split("/").slice(1)].map((key) => key.replace(/~1/g, "/").replace(/~0/g, "~"));
    let holder: Loose = root;
    for (const key of keys.slice(0, -1)) {
      holder = holder[key];
      if (typeof holder !== "object" || holder === null) throw new Error(`${path}: nothing is there`);
    }
    const key = keys.at(-1)!;
    const fresh = JSON.parse(JSON.stringify(value));
    if (!Array.isArray(holder)) {
      if (op === "replace" && !Object.hasOwn(holder, key)) throw new Error(`${path}: nothing to replace`);
      holder[key] = fresh;
    } else if (op === "add" && key === "-") holder.push(fresh);
    else {
      if (!/^\d+$/.test(key) || Number(key) > holder.length - (op === "replace" ? 1 : 0)) throw new Error(path);
      holder.splice(Number(key), op === "replace" ? 1 : 0, fresh);
    }
  }
  return root.doc;
}

/** The pod with its sidecar. */
export function patched(of: unknown, over: Parameters<typeof injected>[1] = {}): Loose {
  const result = injected(of, over);
  if ("refused" in result) throw new Error(result.refused);
  return apply(of, result.patch);
}

export const named = (of: Loose, name: string): Loose =>
  [...(of.spec.initContainers ?? []), ...of.spec.containers].find((container: Loose) => container.name === name);

/** Arguments as the kubelet passes them on (k8s.io/kubernetes/third_party/forked/golang/expansion). */
export const expand = (text: string, variables: Readonly<Record<string, string>>): string =>
  text.replace(/\$(\$|\(([^)]*)\))/g, (whole, next: string, name: string) =>
    next === "$" ? "$" : (variables[name] ?? whole),
  );

export const VARIABLES = { PROXY_UUID: UUID, SERVICE_ACCOUNT: "bookbuyer", POD_NAMESPACE: "shop" };

/** The bootstrap that Envoy is started with. */
export function bootstrapOf(of: Loose): Loose {
  const { args } = named(of, "envoy");
  return JSON.parse(expand(args[args.indexOf("--config-yaml") + 1], VARIABLES));
}
