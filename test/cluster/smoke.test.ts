/**
 * The test cluster itself: what other cluster tests rely on, and that nothing of it is left behind.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runSync } from "../../src/local/command.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import { exec, until } from "./exec.ts";
import { buildImage } from "./images.ts";
import { BRIDGE_MAC, cgroupName, hostLink, nodeNamespace, stateDirectory } from "./paths.ts";
import { cleanUpDead } from "./record.ts";
import { envoyImage, helm } from "./users-tools.ts";

const IMAGE = "heddle-smoke:test";
const NS = "smoke";
const say = (line: string): void => void process.stderr.write(`${line}\n`);

const container = (name: string, port: number, more: object = {}): object => ({
  name,
  image: IMAGE,
  args: [name, String(port)],
  imagePullPolicy: "Never",
  volumeMounts: [
    { name: "shared", mountPath: "/shared" },
    { name: "token", mountPath: "/token" },
  ],
  ...more,
});

const podSpec = (containers: object): object => ({
  terminationGracePeriodSeconds: 2,
  securityContext: { fsGroup: 1000 },
  volumes: [
    { name: "shared", emptyDir: {} },
    { name: "token", projected: { sources: [{ serviceAccountToken: { path: "token", audience: "heddle" } }] } },
  ],
  ...containers,
});

const web = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "web", namespace: NS },
  spec: {
    replicas: 1,
    selector: { matchLabels: { app: "web" } },
    template: {
      metadata: { labels: { app: "web" } },
      spec: podSpec({
        initContainers: [
          container("sidecar", 8081, {
            restartPolicy: "Always",
            startupProbe: { httpGet: { path: "/", port: 8081 }, periodSeconds: 1, failureThreshold: 60 },
          }),
        ],
        containers: [
          container("app", 8080, { readinessProbe: { httpGet: { path: "/", port: 8080 }, periodSeconds: 1 } }),
        ],
      }),
    },
  },
};
const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: NS },
  spec: { selector: { app: "web" }, ports: [{ port: 80, targetPort: 8080 }] },
};
const client = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "client", namespace: NS },
  spec: podSpec({ containers: [container("client", 8080)] }),
};

/** What is on the machine under a cluster's name. */
const traces = (id: string): string[] => [
  ...(existsSync(`/run/netns/${nodeNamespace(id)}`) ? ["network namespace"] : []),
  ...(runSync("ip", ["link", "show", hostLink(id)]) === undefined ? [] : ["link"]),
  ...globSync(`/sys/fs/cgroup/{,*/}${cgroupName(id)}`),
  ...globSync("/proc/[0-9]*/cmdline").filter((path) => {
    try {
      return readFileSync(path, "utf8").includes(stateDirectory(id));
    } catch {
      return false;
    }
  }),
  ...readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .filter((line) => line.includes(stateDirectory(id))),
  ...(existsSync(stateDirectory(id)) ? [stateDirectory(id)] : []),
];

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ say });
  const archive = await buildImage(
    join(import.meta.dirname, "smoke/Dockerfile"),
    join(import.meta.dirname, "smoke"),
    IMAGE,
    {},
    say,
  );
  await cluster.importImage(archive);
});
afterAll(() => cluster?.stop());

const inClient = (script: string): Promise<string> =>
  cluster.kubectl(["exec", "-n", NS, "client", "--", "node", "--input-type=module", "-e", script]);
const get = (url: string): Promise<unknown> =>
  inClient(`console.log(await (await fetch(${JSON.stringify(url)})).text())`).then(
    (text) => JSON.parse(text) as unknown,
  );

describe("a whole Kubernetes", () => {
  test("has a ready node of the version that the tests are for", async () => {
    const nodes = JSON.parse(await cluster.kubectl(["get", "nodes", "-o", "json"])) as {
      items: { status: { nodeInfo: { kubeletVersion: string }; conditions: { type: string; status: string }[] } }[];
    };
    expect(nodes.items.map((node) => node.status.nodeInfo.kubeletVersion)).toEqual(["v1.36.3"]);
    expect(nodes.items[0]?.status.conditions).toContainEqual(
      expect.objectContaining({ type: "Ready", status: "True" }),
    );
  });

  test("runs a Deployment that answers through its Service's address and name", async () => {
    const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: NS } };
    for (const object of [namespace, web, service, client])
      await cluster.kubectl(["apply", "-f", "-"], JSON.stringify(object));
    await cluster.kubectl(["rollout", "status", "-n", NS, "deployment/web", "--timeout=60s"]);
    await cluster.kubectl(["wait", "-n", NS, "pod/client", "--for=condition=Ready", "--timeout=60s"]);
    const ip = (await cluster.kubectl(["get", "service", "-n", NS, "web", "-o", "jsonpath={.spec.clusterIP}"])).trim();
    expect(await get(`http://${ip}/`)).toMatchObject({ role: "app" });
    for (const name of ["web", `web.${NS}`, `web.${NS}.svc.cluster.local`])
      expect(await get(`http://${name}/`)).toMatchObject({ role: "app", host: name });
    expect(await cluster.kubectl(["logs", "-n", NS, "deployment/web", "-c", "app"])).toBe("");
  });

  test("starts a native sidecar before its application", async () => {
    expect(await get(`http://web.${NS}/`)).toMatchObject({ first: true });
  });

  test("gives a pod a projected token that the API server knows as this pod's", async () => {
    const token = await cluster.kubectl(["exec", "-n", NS, "client", "--", "cat", "/token/token"]);
    const review = await cluster.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenReview",
      spec: { token, audiences: ["heddle"] },
    });
    expect(JSON.parse(review.body)).toMatchObject({
      status: {
        authenticated: true,
        user: {
          username: `system:serviceaccount:${NS}:default`,
          extra: { "authentication.kubernetes.io/pod-name": ["client"] },
        },
      },
    });
  });

  test("lets nothing out, but a pod reaches a test's own server on the machine", async () => {
    const { createServer } = await import("node:http");
    const server = createServer((_request, response) => response.end('"machine"'));
    await once(server.listen(0, cluster.addresses.host), "listening");
    try {
      const { port } = server.address() as { port: number };
      expect(await get(`http://${cluster.addresses.host}:${port}/`)).toBe("machine");
    } finally {
      server.close();
    }
    expect(await inClient(`await fetch("http://192.0.2.1/").catch((e) => console.log(e.cause.code))`)).toMatch(
      /ENETUNREACH|EHOSTUNREACH/,
    );
  });

  test("pulls from its own registry what says Always", async () => {
    const archive = await buildImage(
      join(import.meta.dirname, "smoke/Dockerfile"),
      join(import.meta.dirname, "smoke"),
      IMAGE,
    );
    await cluster.pushImage(archive, "team/pulled:1");
    const spec = podSpec({
      containers: [container("app", 8080, { image: "team/pulled:1", imagePullPolicy: "Always" })],
    });
    const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "pulled", namespace: NS }, spec };
    await cluster.kubectl(["apply", "-f", "-"], JSON.stringify(pod));
    await cluster.kubectl(["wait", "-n", NS, "pod/pulled", "--for=condition=Ready", "--timeout=60s"]);
    const events = await cluster.kubectl(["get", "events", "-n", NS, "-o", "jsonpath={.items[*].message}"]);
    expect(events).toContain('Successfully pulled image "team/pulled:1"');
  });

  test("runs an image under a name with a digest, and Envoy's", async () => {
    const digest = `sha256:${"0123456789abcdef".repeat(4)}`;
    await cluster.importImage(await envoyImage("envoyproxy/envoy:distroless-v1.40.0", say), [
      `docker.io/envoyproxy/envoy@${digest}`,
    ]);
    const envoy = {
      name: "envoy",
      image: `envoyproxy/envoy:distroless-v1.40.0@${digest}`,
      imagePullPolicy: "IfNotPresent",
      args: ["--version"],
      securityContext: { runAsUser: 1500 },
    };
    const spec = { containers: [envoy], restartPolicy: "Never" };
    const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "envoy", namespace: NS }, spec };
    await cluster.kubectl(["apply", "-f", "-"], JSON.stringify(pod));
    await cluster.kubectl(["wait", "-n", NS, "pod/envoy", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"]);
    expect(await cluster.kubectl(["logs", "-n", NS, "envoy"])).toContain("1.40.0");
  });

  test.each([3, 4] as const)("takes a chart from helm %i", async (major) => {
    const path = await helm(major);
    expect(await exec([path, "version", "--short"])).toMatch(new RegExp(`^v${major}\\.`));
    const chart = join(import.meta.dirname, "smoke/chart");
    const env = {
      KUBECONFIG: cluster.kubeconfig,
      HELM_CACHE_HOME: cluster.directory,
      HELM_CONFIG_HOME: cluster.directory,
    };
    await exec([path, "install", `h${major}`, chart, "-n", NS, "--set", `by=helm${major}`], { env });
    const by = await cluster.kubectl(["get", "configmap", "-n", NS, `h${major}`, "-o", "jsonpath={.data.by}"]);
    expect(by).toBe(`helm${major}`);
    await exec([path, "uninstall", `h${major}`, "-n", NS], { env });
  });

  test("has a bridge whose address does not change with the pods", async () => {
    expect(await cluster.nodeExec(["ip", "-o", "link", "show", "br0"])).toContain(BRIDGE_MAC);
  });

  test("leaves nothing in the node of what is deleted", async () => {
    await cluster.kubectl(["delete", "namespace", NS, "--timeout=60s"]);
    // Tasks, not containers: the kubelet forgets an ended sandbox only once a minute.
    const left = async (): Promise<string[]> =>
      [
        ...(await cluster.ctr(["tasks", "list", "--quiet"])).split("\n"),
        ...(await cluster.nodeExec(["ip", "-o", "link", "show", "master", "br0"])).split("\n"),
        ...(await cluster.nodeExec(["iptables-save"])).split("\n").filter((line) => line.includes(`${NS}/web`)),
      ].filter((line) => line !== "");
    let last: string[] = [];
    await until(
      async () => (last = await left()).length === 0,
      () => last.join("\n"),
      30_000,
    );
  });
});

const version = (): Promise<{ status: number }> => cluster.call("GET", "/version");

describe("what a test may break", () => {
  test("the API server, which comes back with all that it knew", async () => {
    await cluster.kubectl(["create", "configmap", "kept"]);
    await cluster.killApiServer();
    await expect(version()).rejects.toThrow(/ECONNREFUSED/);
    await cluster.startApiServer();
    expect(await cluster.kubectl(["get", "configmap", "kept", "-o", "name"])).toBe("configmap/kept\n");
  });

  test("etcd's history: an old watch gets 410", async () => {
    const list = JSON.parse((await cluster.call("GET", "/api/v1/configmaps?limit=1")).body) as {
      metadata: { resourceVersion: string };
    };
    const old = list.metadata.resourceVersion;
    await cluster.kubectl(["annotate", "configmap", "kept", "so=later"]);
    expect(await cluster.compactEtcd()).toBeGreaterThan(Number(old));
    await cluster.killApiServer();
    await cluster.startApiServer();
    const watch = await cluster.call("GET", `/api/v1/configmaps?watch=1&timeoutSeconds=5&resourceVersion=${old}`);
    expect(watch.body).toContain('"code":410');
  });

  test("connections to the API server, half-open and back", async () => {
    const restore = await cluster.cutApi(cluster.addresses.host);
    const answer = fetch(`${cluster.api.url}/version`, { signal: AbortSignal.timeout(1000) });
    await expect(answer).rejects.toMatchObject({ name: "TimeoutError" });
    await restore();
    expect((await version()).status).toBe(200);
  });
});

describe("a second cluster", () => {
  test("runs beside the first, and what is left when its owner is killed goes at the next start", async () => {
    const id = `${cluster.id.slice(0, 6)}x`;
    const owner = spawn(process.execPath, [join(import.meta.dirname, "main.ts"), "--id", id], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    owner.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
    try {
      await until(
        () => said.includes("is ready") || owner.exitCode !== null,
        () => said,
        60_000,
      );
      expect(said).toContain(`cluster "${id}" is ready`);
      expect((await cluster.call("GET", "/readyz")).status).toBe(200);
      owner.kill("SIGKILL");
      await once(owner, "exit");
      expect(traces(id).length).toBeGreaterThan(0);
    } finally {
      owner.kill("SIGKILL");
      expect(cleanUpDead()).toContain(id);
    }
    expect(traces(id)).toEqual([]);
    expect((await cluster.call("GET", "/readyz")).status).toBe(200);
  });

  test("of the same id says who has it", async () => {
    await expect(startCluster({ id: cluster.id })).rejects.toThrow(`it belongs to process ${process.pid}`);
    expect((await cluster.call("GET", "/readyz")).status).toBe(200);
  });
});

test("nothing is left after the end", () => {
  expect(traces(cluster.id).length).toBeGreaterThan(5);
  cluster.stop();
  expect(traces(cluster.id)).toEqual([]);
});
