/** A small folder of manifests: `buyer` may GET /buy on `store`, whose Service is split over two versions. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Input {
  /** Weights of store-v1 and store-v2. */
  readonly weights?: readonly [number, number];
  readonly sources?: readonly string[];
  readonly methods?: readonly string[];
  readonly more?: Readonly<Record<string, string>>;
}

const workload = (name: string, app: string): string => `
apiVersion: v1
kind: ServiceAccount
metadata: {name: ${name}, namespace: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: ${name}-0, namespace: shop, labels: {app: ${app}, version: ${name}}}
spec:
  serviceAccountName: ${name}
  containers: [{name: app, image: "example/${name}", ports: [{containerPort: 80}]}]
---`;
const service = (name: string, selector: string): string => `
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: shop}
spec: {selector: {${selector}}, ports: [{port: 80, name: http, appProtocol: http}]}
---`;

export function files({ weights = [100, 0], sources = ["buyer"], methods = ["GET"], more = {} }: Input = {}): Record<
  string,
  string
> {
  const backends = weights.map((w, i) => `{service: store-v${i + 1}, weight: ${w}}`).join(", ");
  return {
    "pods.yaml": [workload("buyer", "buyer"), workload("store-v1", "store"), workload("store-v2", "store")].join(""),
    "services.yaml": [
      service("store", "app: store"),
      service("store-v1", "version: store-v1"),
      service("store-v2", "version: store-v2"),
    ].join(""),
    "split.yaml": `
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {name: split, namespace: shop}
spec: {service: store.shop, backends: [${backends}]}
`,
    "access.yaml": `
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {name: routes, namespace: shop}
spec: {matches: [{name: buy, pathRegex: /buy, methods: [${methods.join(", ")}]}]}
---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: {name: buy, namespace: shop}
spec:
  destination: {kind: ServiceAccount, name: store-v1, namespace: shop}
  rules: [{kind: HTTPRouteGroup, name: routes, matches: [buy]}]
  sources: [${sources.map((name) => `{kind: ServiceAccount, name: ${name}, namespace: shop}`).join(", ")}]
`,
    ...more,
  };
}

/** Writes it to a new folder; the answer removes that again. */
export function folder(input?: Input): { readonly dir: string; readonly remove: () => void } {
  const dir = mkdtempSync(join(tmpdir(), "heddle-cli-"));
  for (const [name, text] of Object.entries(files(input))) writeFileSync(join(dir, name), text);
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}
