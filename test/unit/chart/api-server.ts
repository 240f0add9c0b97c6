/**
 * A real etcd and API server on loopback, from the test cluster's binary, for what only an API server can judge: schemas, rules, dry runs.
 * Without nodes or controllers; a test that needs these runs on the test cluster.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, request } from "node:https";
import { binary, moduleHash } from "../../cluster/binaries.ts";
import { cacheDirectory } from "../../cluster/paths.ts";
import { makePki, kubeconfig } from "../../cluster/pki.ts";
import { writeFileSync } from "node:fs";

/** Whether the binary has been built before: that takes minutes, which a unit test should not. */
export const hasApiServer = (): boolean => existsSync(join(cacheDirectory("bin"), `kube-${moduleHash("kube")}`));

export interface ApiServer {
  readonly url: string;
  /** Path of an admin's kubeconfig. */
  readonly kubeconfig: string;
  readonly directory: string;
  call(method: string, path: string, body?: unknown, options?: CallOptions): Promise<Reply>;
  stop(): Promise<void>;
}

export interface CallOptions {
  readonly contentType?: string;
  /** Authenticates with this token instead of the admin's certificate. */
  readonly token?: string;
}

export interface Reply {
  readonly status: number;
  readonly body: string;
  /** Parsed; `{}` when it is no JSON. */
  readonly json: Record<string, unknown>;
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

/** Rejects with the API server's last words when it does not come up within a minute. */
export async function startApiServer(): Promise<ApiServer> {
  const kube = await binary("kube", () => {});
  const directory = mkdtempSync(join(tmpdir(), "heddle-api-"));
  const pki = join(directory, "pki");
  mkdirSync(pki);
  await makePki(pki, "127.0.0.1");
  const file = (name: string): string => join(pki, name);
  const [client, peer, port] = [await freePort(), await freePort(), await freePort()];
  const children: ChildProcess[] = [];
  let said = "";
  const start = (...args: string[]): void => {
    const child = spawn(kube, args, { stdio: ["ignore", "ignore", "pipe"], cwd: directory });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (said = (said + text).slice(-4000)));
    children.push(child);
  };
  const stop = async (): Promise<void> => {
    for (const child of children.toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await gone;
    }
    rmSync(directory, { recursive: true, force: true });
  };
  const urls = (value: number): string => `http://127.0.0.1:${value}`;
  start(
    "etcd",
    `--data-dir=${join(directory, "etcd")}`,
    `--listen-client-urls=${urls(client)}`,
    `--advertise-client-urls=${urls(client)}`,
    `--listen-peer-urls=${urls(peer)}`,
    `--initial-advertise-peer-urls=${urls(peer)}`,
    `--initial-cluster=default=${urls(peer)}`,
    "--unsafe-no-fsync",
    "--log-level=error",
  );
  start(
    "kube-apiserver",
    `--etcd-servers=${urls(client)}`,
    `--cert-dir=${directory}`,
    "--bind-address=127.0.0.1",
    "--advertise-address=127.0.0.1",
    `--secure-port=${port}`,
    "--service-cluster-ip-range=10.96.0.0/16",
    "--authorization-mode=RBAC",
    // Without the controllers that make default ServiceAccounts and give priorities.
    "--disable-admission-plugins=ServiceAccount",
    `--client-ca-file=${file("ca.crt")}`,
    `--tls-cert-file=${file("kube-apiserver.crt")}`,
    `--tls-private-key-file=${file("kube-apiserver.key")}`,
    "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    `--service-account-key-file=${file("sa.pub")}`,
    `--service-account-signing-key-file=${file("sa.key")}`,
  );
  const url = `https://127.0.0.1:${port}`;
  const config = join(directory, "admin.kubeconfig");
  writeFileSync(config, kubeconfig(pki, "admin", url), { mode: 0o600 });
  const ca = readFileSync(file("ca.crt"));
  const admin = new Agent({ ca, cert: readFileSync(file("admin.crt")), key: readFileSync(file("admin.key")) });
  const anonymous = new Agent({ ca });
  const call: ApiServer["call"] = (method, path, body, { contentType = "application/json", token } = {}) =>
    new Promise((resolve, reject) => {
      const headers = {
        ...(body === undefined ? {} : { "content-type": contentType }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      };
      const outgoing = request(new URL(path, url), { method, headers, agent: token === undefined ? admin : anonymous });
      outgoing.on("error", reject);
      outgoing.on("response", (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("error", reject);
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text, json: parsed(text) }));
      });
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    });
  try {
    await ready(call);
  } catch (error) {
    await stop();
    throw new Error(`The API server did not come up: ${said}`, { cause: error });
  }
  return { url, kubeconfig: config, directory, call, stop };
}

function parsed(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/** There is nothing to wait on but its own answer. */
async function ready(call: ApiServer["call"]): Promise<void> {
  const until = performance.now() + 60_000;
  for (;;) {
    const status = await call("GET", "/readyz").then(
      (reply) => reply.status,
      () => 0,
    );
    if (status === 200) return;
    if (performance.now() > until) throw new Error("no answer within 60 s");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
