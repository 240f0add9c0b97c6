/** Runs a verb in this process against a fake API server, and tells what it printed, asked and ended with. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CommanderError } from "commander";
import { readConfig } from "../../../src/config.ts";
import { UserError } from "../../../src/cli/errors.ts";
import { buildProgram } from "../../../src/cli/program.ts";
import type { Json } from "./fake-api.ts";
import { FakeApi } from "./fake-api.ts";

export interface Outcome {
  readonly code: number;
  readonly out: string;
  /** Hints and progress. */
  readonly notes: readonly string[];
  /** The sentence that `run` prints behind `heddle: `. */
  readonly error: string;
  readonly questions: readonly string[];
}

export class Bench {
  readonly api: FakeApi;
  readonly home = mkdtempSync(join(tmpdir(), "heddle-cluster-"));
  readonly kubeconfig = join(this.home, "kubeconfig");
  environment: Record<string, string>;

  private constructor(api: FakeApi) {
    this.api = api;
    this.environment = { HOME: this.home, KUBECONFIG: this.kubeconfig, PATH: this.home };
    this.writeKubeconfig({ token: "secret-token" });
  }

  static async start(): Promise<Bench> {
    return new Bench(await FakeApi.start());
  }

  async stop(): Promise<void> {
    await this.api.stop();
    rmSync(this.home, { recursive: true, force: true });
  }

  writeKubeconfig(user: Json, file = this.kubeconfig): void {
    const named = (key: string, value: Json) => [{ name: "test", [key]: value }];
    const config = {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "test",
      clusters: named("cluster", { server: this.api.url }),
      users: named("user", user),
      contexts: named("context", { cluster: "test", user: "test", namespace: "default" }),
    };
    writeFileSync(file, JSON.stringify(config));
  }

  /** A helm that writes down its arguments, a line a run, and ends with `code`. */
  installHelm(version: string, code = 0, message = ""): () => string[] {
    const log = join(this.home, "helm.log");
    writeFileSync(log, "");
    const script = `#!/bin/sh
if [ "$1" = version ]; then echo ${version}; exit 0; fi
printf '%s ' "$@" >> ${log}
echo >> ${log}
${message === "" ? "" : `echo '${message}' >&2`}
exit ${code}
`;
    writeFileSync(join(this.home, "helm"), script);
    chmodSync(join(this.home, "helm"), 0o755);
    return () =>
      readFileSync(log, "utf8")
        .split("\n")
        .map((line) => line.trim())
        .filter(Boolean);
  }

  async heddle(args: readonly string[], answers: readonly string[] = []): Promise<Outcome> {
    const out: string[] = [];
    const notes: string[] = [];
    const questions: string[] = [];
    const left = [...answers];
    let code = 0;
    let error = "";
    const program = buildProgram(readConfig({}), (result) => (code = result), {
      environment: this.environment,
      terminal: {
        out: async (text) => void out.push(text.endsWith("\n") || text === "" ? text : `${text}\n`),
        note: (line) => void notes.push(line),
        progress: (line) => void (line !== "" && notes.push(line)),
        ask: async (question) => {
          questions.push(question);
          return left.shift();
        },
        paint: (_, text) => text,
      },
    });
    for (const command of [program, ...program.commands, ...program.commands.flatMap((one) => one.commands)])
      command
        .exitOverride()
        .configureOutput({ writeErr: (text) => (error += text), writeOut: (text) => void out.push(text) });
    try {
      await program.parseAsync([...args], { from: "user" });
    } catch (thrown) {
      if (thrown instanceof CommanderError) code = thrown.exitCode === 0 ? 0 : 2;
      else if (thrown instanceof UserError) [code, error] = [thrown.exitCode, thrown.message];
      else throw thrown;
    }
    return { code, out: out.join(""), notes, error, questions };
  }
}

type Meta = { readonly labels?: Json; readonly annotations?: Json };

export const namespace = (name: string, { labels = {}, annotations = {} }: Meta = {}): Json => ({
  apiVersion: "v1",
  kind: "Namespace",
  metadata: { name, labels, annotations },
});

export const member = (name: string, mesh = "osm"): Json =>
  namespace(name, {
    labels: { "openservicemesh.io/monitored-by": mesh },
    annotations: { "openservicemesh.io/sidecar-injection": "enabled" },
  });

export const controller = (
  namespace = "osm-system",
  mesh = "osm",
  labels: Json = {},
  annotations: Json = {},
): Json => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: {
    name: "osm-controller",
    namespace,
    labels: { app: "osm-controller", meshName: mesh, "app.kubernetes.io/version": "v0.1.0", ...labels },
    annotations,
  },
});

export interface PodOptions {
  readonly labels?: Json;
  readonly account?: string;
  readonly ready?: boolean;
  readonly meshed?: boolean;
  readonly containers?: readonly Json[];
}

export const pod = (namespace: string, name: string, options: PodOptions = {}): Json => {
  const { labels = {}, account = "default", ready = true, meshed = true, containers = [{ name: "app" }] } = options;
  const condition = (type: string) => ({ type, status: ready || type === "Initialized" ? "True" : "False" });
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace,
      uid: `${namespace}-${name}`,
      labels: { ...labels, ...(meshed ? { "osm-proxy-uuid": `uuid-${name}` } : {}) },
    },
    spec: {
      serviceAccountName: account,
      containers,
      ...(meshed ? { initContainers: [{ name: "envoy", restartPolicy: "Always" }] } : {}),
    },
    status: {
      phase: "Running",
      podIP: "10.0.0.1",
      podIPs: [{ ip: "10.0.0.1" }],
      conditions: ["Initialized", "ContainersReady", "Ready"].map(condition),
    },
  };
};

export const service = (namespace: string, name: string, selector: Json, port: number): Json => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace },
  spec: { selector, clusterIP: "10.96.0.1", clusterIPs: ["10.96.0.1"], ports: [{ port, targetPort: port }] },
});

/** Collections that a cluster has even when nothing is in them. */
export const BUILT_IN = [
  "/api/v1/namespaces",
  "/api/v1/pods",
  "/api/v1/services",
  "/api/v1/secrets",
  "/api/v1/events",
  "/api/v1/nodes",
  "/apis/apps/v1/deployments",
  "/apis/networking.k8s.io/v1/ingresses",
  "/apis/discovery.k8s.io/v1/endpointslices",
  "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
  "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
  "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
] as const;
