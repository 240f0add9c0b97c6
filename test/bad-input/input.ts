/** What a broken folder is, the good one that lies beside each, and how the objects of both are written. */
import type { ReadFile } from "../../src/sources/files/folder.ts";
import type { ProblemCode } from "../../src/world/types.ts";

export interface ExpectedProblem {
  readonly code: ProblemCode;
  /** Below the folder. */
  readonly file: string;
  readonly line?: number;
  /** Where in the object. */
  readonly path?: string;
  /** The exact sentence, with `DIR` for the folder; left out where another room words it. */
  readonly message?: string;
}

export interface BadInput {
  readonly name: string;
  /** `source`: reading says it. `compile`: reading is content, policy says it. */
  readonly stage: "source" | "compile";
  /** Path → text. `good.yaml` is laid beside them by whoever runs the case. */
  readonly files: Readonly<Record<string, string>>;
  /** What no text can be: links, pipes. */
  readonly make?: (dir: string) => void;
  /** Something that happens while a file is read. */
  readonly read?: ReadFile;
  /** All Problems of this stage, in order of file and line. */
  readonly problems: readonly ExpectedProblem[];
  /** Objects of these files that must be in force, as `Kind namespace/name`, beside those of `good.yaml`. */
  readonly stands?: readonly string[];
  /** Objects that must not be. */
  readonly falls?: readonly string[];
  /** Why it cannot be run here. */
  readonly unless?: () => string | undefined;
}

/** A good mesh of one client and one server; it must be in force beside every broken thing. */
export const GOOD = `apiVersion: v1
kind: Service
metadata: {name: server, namespace: good}
spec: {selector: {app: server}, ports: [{name: http-web, port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: good, labels: {app: server}}
spec:
  serviceAccountName: server
  containers: [{name: web, image: web, ports: [{name: web, containerPort: 8080}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: good, labels: {app: client}}
spec:
  serviceAccountName: client
  containers: [{name: client, image: client}]
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {name: routes, namespace: good}
spec: {matches: [{name: all, pathRegex: "/.*", methods: [GET]}]}
---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: {name: server, namespace: good}
spec:
  destination: {kind: ServiceAccount, name: server, namespace: good}
  rules: [{kind: HTTPRouteGroup, name: routes}]
  sources: [{kind: ServiceAccount, name: client, namespace: good}]
`;

export const GOOD_STANDS = [
  "Service good/server",
  "Pod good/server",
  "Pod good/client",
  "HTTPRouteGroup good/routes",
  "TrafficTarget good/server",
] as const;

export const target = (name: string, spec: string): string => `apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata:
  name: ${name}
  namespace: good
${spec}`;

export const routes = (name: string, spec: string): string => `apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata:
  name: ${name}
  namespace: good
${spec}`;

export const split = (spec: string): string => `apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {name: split, namespace: good}
${spec}`;

/** A spec that lacks its rules. */
export const ACCESS = `spec:
  destination: {kind: ServiceAccount, name: server, namespace: good}
  sources: [{kind: ServiceAccount, name: client, namespace: good}]
`;
