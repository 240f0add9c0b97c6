/**
 * A real API server for what only one can judge about the chart: schemas, rules, dry runs, rights. Without nodes or controllers; a test
 * that needs these runs on the test cluster.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { binary } from "../../cluster/binaries.ts";
import { kubeBinary, RealApiServer } from "../sources-kubernetes/real-api-server.ts";

/** Whether tests with an API server are to be skipped, which is said loudly. In CI its binary is built: later tests need it as well. */
export function withoutApiServer(): boolean {
  const missing = process.env["CI"] !== "true" && kubeBinary() === undefined;
  if (missing)
    console.warn(
      "SKIPPED: what only an API server can judge about the chart. Its binary is not built yet: npm run cluster builds it.",
    );
  return missing;
}

export interface ApiServer {
  /** Path of an admin's kubeconfig. */
  readonly kubeconfig: string;
  /** PEM of its CA. */
  readonly ca: string;
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

/** Rejects with the API server's last words when it does not come up. */
export async function startApiServer(): Promise<ApiServer> {
  const server = await RealApiServer.start(kubeBinary() ?? (await binary("kube", (line) => console.log(line))));
  const { server: url, ca = "", clientCertificate: cert = "", clientKey: key = "" } = server.config;
  const directory = mkdtempSync(join(tmpdir(), "heddle-chart-"));
  const kubeconfig = join(directory, "admin.kubeconfig");
  writeFileSync(kubeconfig, JSON.stringify(admin(url, ca, cert, key)), { mode: 0o600 });
  const asAdmin = new Agent({ ca, cert, key });
  const anonymous = new Agent({ ca });
  const once = (
    method: string,
    path: string,
    body: unknown,
    { contentType = "application/json", token }: CallOptions,
  ) =>
    new Promise<Reply>((resolve, reject) => {
      const headers = {
        ...(body === undefined ? {} : { "content-type": contentType }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      };
      const agent = token === undefined ? asAdmin : anonymous;
      const outgoing = request(new URL(path, url), { method, headers, agent });
      outgoing.on("error", reject);
      outgoing.on("response", (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("error", reject);
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text, json: parsed(text) }));
      });
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    });
  return {
    kubeconfig,
    ca,
    // While the storage of a fresh CRD is made ready the server says "come again" (429), as every client is used to.
    async call(method, path, body, options = {}) {
      const end = Date.now() + 15_000;
      for (;;) {
        const reply = await once(method, path, body, options);
        if (reply.status !== 429 || Date.now() > end) return reply;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    },
    async stop() {
      await server.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A kubeconfig. JSON is YAML. */
function admin(server: string, ca: string, cert: string, key: string): object {
  const data = (pem: string) => Buffer.from(pem).toString("base64");
  const user = { "client-certificate-data": data(cert), "client-key-data": data(key) };
  return {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "test", cluster: { server, "certificate-authority-data": data(ca) } }],
    users: [{ name: "admin", user }],
    contexts: [{ name: "test", context: { cluster: "test", user: "admin" } }],
    "current-context": "test",
  };
}

function parsed(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}
