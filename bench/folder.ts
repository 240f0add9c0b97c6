/**
 * A folder of manifests with so many Services, as people write them: each with its Deployment, route group and TrafficTarget, in a file of
 * its own, called by five others. Everything depends on the size only.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const NAMESPACES = 20;
/** Distances to those who call. */
const CALLERS = [1, 7, 31, 64, 100] as const;

/** @param edit - what is other in the text of one file */
export function writeFolder(dir: string, services: number, edit?: { file: number; from: string; to: string }): void {
  for (let i = 0; i < NAMESPACES; i++) mkdirSync(join(dir, `ns-${i}`), { recursive: true });
  for (let i = 0; i < services; i++) {
    const text = manifests(i, services);
    if (edit?.file === i && !text.includes(edit.from)) throw new Error(`${edit.from} is not in file ${i}`);
    const written = edit?.file === i ? text.replaceAll(edit.from, edit.to) : text;
    writeFileSync(join(dir, `ns-${i % NAMESPACES}`, `app-${i}.yaml`), written);
  }
}

function manifests(i: number, services: number): string {
  const [name, namespace] = [`app-${i}`, `ns-${i % NAMESPACES}`];
  const sources = CALLERS.map((distance) => (i + distance) % services)
    .map((caller) => `    - { kind: ServiceAccount, name: app-${caller}, namespace: ns-${caller % NAMESPACES} }`)
    .join("\n");
  return `apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  selector: { app: ${name} }
  ports:
    - { name: http-web, port: 8080 }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  replicas: 1
  selector:
    matchLabels: { app: ${name} }
  template:
    metadata:
      labels: { app: ${name} }
    spec:
      serviceAccountName: ${name}
      containers:
        - name: web
          image: registry.local/${name}:v1
          ports:
            - { name: web, containerPort: 8080 }
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  matches:
    - { name: read, pathRegex: "/${name}/.*", methods: [GET] }
    - { name: write, pathRegex: "/${name}/items/[0-9]+", methods: [POST, PUT] }
---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  destination: { kind: ServiceAccount, name: ${name}, namespace: ${namespace} }
  rules:
    - { kind: HTTPRouteGroup, name: ${name}, matches: [read, write] }
  sources:
${sources}
`;
}
