/**
 * Real helm, 3 and 4, and what it makes of our chart. For tests only.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { loadAll } from "js-yaml";
import { helm } from "../../cluster/users-tools.ts";

export const ROOT = resolve(import.meta.dirname, "../../..");
export const CHART = join(ROOT, "charts/heddle");
export const MAJORS = [3, 4] as const;
export type Major = (typeof MAJORS)[number];

export interface Output {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Any object of Kubernetes, as a test looks at it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

/** Runs helm with a configuration of its own. `input` is its standard input, for `--values -`. */
export async function runHelm(major: Major, args: readonly string[], input = ""): Promise<Output> {
  const path = await helm(major);
  const home = mkdtempSync(join(tmpdir(), "heddle-helm-"));
  // HOME too: what helm learns of an API server it keeps below it.
  const places = Object.fromEntries(
    ["HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"].map((name) => [name, home]),
  );
  const env = { PATH: process.env["PATH"], ...places };
  try {
    return await new Promise((done, reject) => {
      const child = spawn(path, args, { env });
      let out = "";
      let err = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
      child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
      child.on("error", reject);
      child.on("close", (code) => done({ code: code ?? 1, out, err }));
      child.stdin.on("error", () => {});
      child.stdin.end(input);
    });
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

export interface Rendering {
  readonly major?: Major;
  readonly kubeVersion?: string;
  readonly values?: object;
  readonly namespace?: string;
}

const ours = ["heddle", CHART, "--values", "-"];
const namespaceOf = ({ namespace = "heddle-system" }: Rendering): string[] => ["--namespace", namespace];

/** What `helm template` makes of these values. */
export function template(rendering: Rendering): Promise<Output> {
  const { major = 4, kubeVersion = "1.36.0", values = {} } = rendering;
  const args = ["template", ...ours, ...namespaceOf(rendering), "--kube-version", kubeVersion];
  return runHelm(major, args, JSON.stringify(values));
}

/** The objects of `template`, by kind and name: helm's order is its own. Throws with helm's sentence when it refuses. */
export async function render(rendering: Rendering = {}): Promise<readonly Manifest[]> {
  const { code, out, err } = await template(rendering);
  if (code !== 0) throw new Error(err);
  return (loadAll(out) as (Manifest | null | undefined)[])
    .filter((one): one is Manifest => Boolean(one))
    .sort((a, b) => (order(a) < order(b) ? -1 : 1));
}

const order = ({ kind, metadata }: Manifest): string => `${kind} ${metadata.namespace} ${metadata.name}`;

/** What helm prints after an installation with these values. */
export async function notes(values: object): Promise<string> {
  // Only helm 4 does this without a cluster.
  const { code, out, err } = await runHelm(
    4,
    ["install", ...ours, ...namespaceOf({}), "--dry-run=client"],
    JSON.stringify(values),
  );
  if (code !== 0) throw new Error(err);
  return out.slice(out.indexOf("NOTES:"));
}

/** The one object of a kind and name. Throws when there is none. */
export function one(objects: readonly Manifest[], kind: string, name: string): Manifest {
  const found = objects.filter((object) => object.kind === kind && object.metadata.name === name);
  if (found.length !== 1) throw new Error(`There are ${found.length} objects ${kind} ${name}.`);
  return found[0]!;
}

/** A field below a path; undefined when something on the way is missing. */
export const at = (object: unknown, ...path: readonly (string | number)[]): unknown =>
  path.reduce<unknown>((value, key) => (value as Record<string | number, unknown> | undefined)?.[key], object);
