/**
 * A real etcd and kube-apiserver on loopback, from the binary that the test cluster builds: what the fake one is checked against.
 * Needs no root and no network namespace.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, openSync, closeSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { moduleHash } from "../../cluster/binaries.ts";
import { cacheDirectory } from "../../cluster/paths.ts";
import { makePki } from "../../cluster/pki.ts";
import { KubernetesClient } from "../../../src/sources/kubernetes/client.ts";
import { ApiError } from "../../../src/sources/kubernetes/errors.ts";
import type { ClusterConfig } from "../../../src/sources/kubernetes/cluster-config.ts";

/** The multi-call binary, if it was built; `npm run cluster` builds it. */
export function kubeBinary(): string | undefined {
  const path = join(cacheDirectory("bin"), `kube-${moduleHash("kube")}`);
  return existsSync(path) ? path : undefined;
}

export class RealApiServer {
  readonly config: ClusterConfig;
  readonly #binary: string;
  readonly #directory: string;
  readonly #ports: readonly [client: number, peer: number, api: number];
  #etcd: ChildProcess | undefined;
  #api: ChildProcess | undefined;

  private constructor(binary: string, directory: string, ports: readonly [number, number, number]) {
    this.#binary = binary;
    this.#directory = directory;
    this.#ports = ports;
    const pki = (name: string) => readFileSync(join(directory, "pki", name), "utf8");
    this.config = {
      server: `https://127.0.0.1:${ports[2]}`,
      namespace: "default",
      ca: pki("ca.crt"),
      clientCertificate: pki("admin.crt"),
      clientKey: pki("admin.key"),
    };
  }

  static async start(binary: string): Promise<RealApiServer> {
    const directory = mkdtempSync(join(tmpdir(), "heddle-api-server-"));
    await makePki(join(directory, "pki"), "127.0.0.1");
    mkdirSync(join(directory, "log"));
    const server = new RealApiServer(binary, directory, (await freePorts(3)) as [number, number, number]);
    try {
      server.#etcd = server.#spawn("etcd", server.#etcdOptions());
      await server.startApi();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  /** Resolves when it is ready. */
  async startApi(): Promise<void> {
    const api = this.#spawn("kube-apiserver", this.#apiOptions());
    this.#api = api;
    for (;;) {
      if (api.exitCode !== null) throw new Error(`kube-apiserver ended: ${this.#lastWords("kube-apiserver")}`);
      if (await this.#ready()) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** As `kill -9`. */
  async killApi(): Promise<void> {
    await end(this.#api);
    this.#api = undefined;
  }

  /** Forgets all that was before now: what the API server does every five minutes. */
  async compact(): Promise<void> {
    const call = async (path: string, body: object) => {
      const response = await fetch(`http://127.0.0.1:${this.#ports[0]}/v3/${path}`, {
        method: "POST",
        body: JSON.stringify(body),
      });
      return (await response.json()) as { header?: { revision?: string } };
    };
    const { header } = await call("kv/range", { key: Buffer.from("none").toString("base64") });
    await call("kv/compaction", { revision: header?.revision, physical: true });
  }

  async stop(): Promise<void> {
    await this.killApi();
    await end(this.#etcd);
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #spawn(part: string, options: Readonly<Record<string, string>>): ChildProcess {
    const log = openSync(join(this.#directory, "log", part), "a");
    const flags = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
    // It ends with this process, however that ends.
    const child = spawn("setpriv", ["--pdeathsig", "KILL", this.#binary, part, ...flags], {
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    return child;
  }

  #lastWords(part: string): string {
    return readFileSync(join(this.#directory, "log", part), "utf8").slice(-2_000);
  }

  async #ready(): Promise<boolean> {
    const client = new KubernetesClient({ config: this.config });
    try {
      await client.ask("/readyz", new AbortController().signal);
      return true;
    } catch (error) {
      // It says "ok", which is not JSON.
      return error instanceof ApiError && error.reason === "BadAnswer";
    } finally {
      client.close();
    }
  }

  #etcdOptions(): Record<string, string> {
    const [client, peer] = this.#ports.map((port) => `http://127.0.0.1:${port}`) as [string, string];
    return {
      "data-dir": join(this.#directory, "etcd"),
      "listen-client-urls": client,
      "advertise-client-urls": client,
      "listen-peer-urls": peer,
      "initial-advertise-peer-urls": peer,
      "initial-cluster": `default=${peer}`,
      "unsafe-no-fsync": "true",
      "log-level": "warn",
    };
  }

  #apiOptions(): Record<string, string> {
    const pki = (name: string) => join(this.#directory, "pki", name);
    return {
      "etcd-servers": `http://127.0.0.1:${this.#ports[0]}`,
      "cert-dir": join(this.#directory, "api"),
      "bind-address": "127.0.0.1",
      "advertise-address": "127.0.0.1",
      "secure-port": String(this.#ports[2]),
      "service-cluster-ip-range": "10.96.0.0/16",
      "authorization-mode": "RBAC",
      "client-ca-file": pki("ca.crt"),
      "tls-cert-file": pki("kube-apiserver.crt"),
      "tls-private-key-file": pki("kube-apiserver.key"),
      "service-account-issuer": "https://kubernetes.default.svc",
      "service-account-key-file": pki("sa.pub"),
      "service-account-signing-key-file": pki("sa.key"),
      "endpoint-reconciler-type": "none",
    };
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports: number[] = [];
  for (const server of servers) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    ports.push((server.address() as AddressInfo).port);
  }
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
  return ports;
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await ended;
}
