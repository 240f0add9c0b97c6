/** The client: what it asks, what it makes of answers, and that nothing is waited for or read without bound. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Authority } from "../../../src/ca/authority.ts";
import type { StoredRoot } from "../../../src/ca/store.ts";
import { KubernetesClient } from "../../../src/sources/kubernetes/client.ts";
import { fileToken, inClusterConfig, type ClusterConfig } from "../../../src/sources/kubernetes/cluster-config.ts";
import { ApiError, ConfigError, isConflict, isGone, isTransient } from "../../../src/sources/kubernetes/errors.ts";
import { kubeconfig } from "../../../src/sources/kubernetes/kubeconfig.ts";
import { metadataOf, pathOf } from "../../../src/sources/kubernetes/resource.ts";
import type { TransportLimits } from "../../../src/sources/kubernetes/transport.ts";
import { FakeApiServer, type FakeOptions } from "../../support/fake-api-server.ts";
import { FakeClock } from "../../support/clock.ts";
import { pod, split } from "./support.ts";

const PODS = { group: "", version: "v1", plural: "pods" };
const SPLITS = { group: "split.smi-spec.io", version: "v1alpha4", plural: "trafficsplits" };
const { signal } = new AbortController();

let server: FakeApiServer;
let clock: FakeClock;
let dir: string;
const endings: (() => unknown)[] = [];

beforeEach(() => {
  clock = new FakeClock();
  dir = mkdtempSync(join(tmpdir(), "heddle-client-"));
});
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
  rmSync(dir, { recursive: true });
});

async function begin(
  config: Partial<ClusterConfig> = {},
  limits: Partial<TransportLimits> = {},
  options: FakeOptions = {},
) {
  server = await FakeApiServer.start(options);
  endings.push(() => server.stop());
  const client = new KubernetesClient({
    config: { server: server.url, namespace: "default", ...config },
    clock,
    limits,
  });
  endings.push(() => client.close());
  return client;
}

const failure = async (work: Promise<unknown>): Promise<ApiError> => {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ApiError)) throw new Error(`not an ApiError: ${String(error)}`);
  return error;
};

test("paths of collections, objects and their parts", () => {
  expect(pathOf(PODS)).toBe("/api/v1/pods");
  expect(pathOf(PODS, { namespace: "ns", name: "p" })).toBe("/api/v1/namespaces/ns/pods/p");
  expect(pathOf(SPLITS, { namespace: "ns", name: "s" }, "status")).toBe(
    "/apis/split.smi-spec.io/v1alpha4/namespaces/ns/trafficsplits/s/status",
  );
  // Names come from objects: none of them may lead elsewhere.
  expect(pathOf(PODS, { namespace: "ns", name: "a/../b?c" })).toBe("/api/v1/namespaces/ns/pods/a%2F..%2Fb%3Fc");
  expect(() => pathOf(PODS, { namespace: "..", name: "p" })).toThrow(RangeError);
});

test("makes, reads, changes and deletes", async () => {
  const client = await begin();
  const made = await client.create(PODS, pod("ns", "p"), signal);
  expect(made).toMatchObject({ kind: "Pod", metadata: { namespace: "ns", name: "p" } });
  expect(await client.get(PODS, { namespace: "ns", name: "p" }, signal)).toEqual(made);
  expect(await client.get(PODS, { namespace: "ns", name: "q" }, signal)).toBeUndefined();
  expect(isConflict(await failure(client.create(PODS, pod("ns", "p"), signal)))).toBe(true);
  const changed = await client.replace(PODS, { ...made, extra: 1 }, signal);
  expect(isConflict(await failure(client.replace(PODS, { ...made, extra: 2 }, signal)))).toBe(true);
  const { uid, resourceVersion } = changed["metadata"] as { uid: string; resourceVersion: string };
  const earlier = metadataOf(made, "resourceVersion");
  for (const only of [{ uid: "another uid" }, { resourceVersion: earlier }])
    expect(isConflict(await failure(client.delete(PODS, { namespace: "ns", name: "p" }, signal, only)))).toBe(true);
  expect(await client.delete(PODS, { namespace: "ns", name: "p" }, signal, { uid, resourceVersion })).toBe(true);
  expect(await client.delete(PODS, { namespace: "ns", name: "p" }, signal)).toBe(false);
});

test("server-side apply owns what it gave, and takes over only when told to", async () => {
  const client = await begin();
  const give = (labels: object, manager: string, force = false) =>
    client.apply(
      SPLITS,
      { ...split("ns", "s"), metadata: { namespace: "ns", name: "s", labels } },
      { manager, force },
      signal,
    );
  await give({ a: "1", b: "1" }, "one");
  expect(await give({ a: "1" }, "one")).toMatchObject({ metadata: { labels: { a: "1" } } });
  expect((await give({ a: "1" }, "one"))["metadata"]).not.toHaveProperty("labels.b");
  expect(isConflict(await failure(give({ a: "2" }, "two")))).toBe(true);
  expect(await give({ a: "2" }, "two", true)).toMatchObject({ metadata: { labels: { a: "2" } } });
  const status = {
    apiVersion: "split.smi-spec.io/v1alpha4",
    kind: "TrafficSplit",
    metadata: { namespace: "ns", name: "s" },
    status: { ok: true },
  };
  expect(await client.apply(SPLITS, status, { manager: "s", subresource: "status" }, signal)).toMatchObject({
    spec: { service: "root" },
    status: { ok: true },
  });
  expect(server.requests.at(-1)?.headers["content-type"]).toBe("application/apply-patch+yaml");
});

test("lists in pages of one version", async () => {
  const client = await begin();
  for (const name of ["a", "b", "c"]) server.of("pods").create(pod("ns", name));
  const first = await client.list(PODS, { limit: 2 }, signal);
  server.of("pods").delete("ns/c");
  const second = await client.list(PODS, { limit: 2, next: first.next }, signal);
  expect([first.items.length, second.items.length, second.next]).toEqual([2, 1, ""]);
  expect(second.resourceVersion).toBe(first.resourceVersion);
  server.compact();
  expect(isGone(await failure(client.list(PODS, { limit: 2, next: first.next }, signal)))).toBe(true);
});

test("asks whose a token is, and says of a wrong one only that", async () => {
  const client = await begin();
  const extra = { "authentication.kubernetes.io/pod-name": ["p"] };
  server.tokens.set("good", { audiences: ["heddle"], user: { username: "system:serviceaccount:ns:sa", extra } });
  expect(await client.reviewToken("good", ["heddle"], signal)).toEqual({
    authenticated: true,
    username: "system:serviceaccount:ns:sa",
    audiences: ["heddle"],
    extra,
    error: "",
  });
  for (const [token, audience] of [
    ["good", "other"],
    ["bad", "heddle"],
  ] as const)
    expect(await client.reviewToken(token, [audience], signal)).toMatchObject({
      authenticated: false,
      username: "",
      audiences: [],
    });
  server.fault = () => ({ status: 500 });
  const error = await failure(client.reviewToken("s3cret", ["heddle"], signal));
  expect(JSON.stringify(error) + String(error.stack)).not.toContain("s3cret");
});

test("refusals are sentences that say who refused what, why, and what to do", async () => {
  const client = await begin();
  server.fault = () => ({ status: 403 });
  const refused = await failure(client.list(PODS, {}, signal));
  expect(refused.message).toBe(
    "GET /api/v1/pods: the API server answered 403 Fault: as asked. Grant this in the Role or ClusterRole of the account that asks.",
  );
  server.fault = () => ({ status: 429, retryAfter: 3 });
  const busy = await failure(client.list(PODS, {}, signal));
  expect([busy.status, busy.retryAfter, isTransient(busy), isTransient(refused)]).toEqual([429, 3_000, true, false]);
  server.fault = () => "text404";
  expect((await failure(client.list(PODS, {}, signal))).message).toContain("404 NotFound: 404 page not found");
  server.fault = () => "html";
  expect((await failure(client.list(PODS, {}, signal))).message).toBe(
    "GET /api/v1/pods: the API server's answer is not JSON.",
  );
  server.fault = () => "cut";
  expect((await failure(client.list(PODS, {}, signal))).message).toContain("broke off");
  const { port } = server;
  await server.stop();
  const away = await failure(client.list(PODS, {}, signal));
  expect(away).toMatchObject({ status: 0, reason: "ECONNREFUSED" });
  expect(away.message).toContain(`the API server at 127.0.0.1:${port} cannot be reached`);
  server = await FakeApiServer.start();
});

test("what does not answer, or does not finish, is given up", async () => {
  const client = await begin();
  server.fault = () => "hang";
  const hanging = failure(client.list(PODS, {}, signal));
  await clock.until(() => server.requests.length === 1);
  await clock.pass(30_000);
  expect(await hanging).toMatchObject({ status: 0, reason: "Timeout" });
  expect(clock.waiting).toEqual([]);
});

test("an answer above the limit is not read to its end", async () => {
  const client = await begin({}, { body: 10_000 });
  for (let i = 0; i < 50; i++) server.of("pods").create(pod("ns", `p${i}`));
  expect((await failure(client.list(PODS, {}, signal))).reason).toBe("TooLarge");
});

test("a signal ends a request at once, before it, and while it waits", async () => {
  const client = await begin();
  await expect(client.list(PODS, {}, AbortSignal.abort())).rejects.toMatchObject({ name: "AbortError" });
  expect(server.requests).toEqual([]);
  server.fault = () => "hang";
  const stop = new AbortController();
  const waiting = client.list(PODS, {}, stop.signal);
  await clock.until(() => server.requests.length === 1);
  stop.abort();
  await expect(waiting).rejects.toMatchObject({ name: "AbortError" });
});

test("a kept connection that the server has closed meanwhile costs no answer", async () => {
  const client = await begin();
  await client.list(PODS, {}, signal);
  let cut = 1;
  server.fault = () => (cut-- > 0 ? "reset" : undefined);
  expect((await client.list(PODS, {}, signal)).items).toEqual([]);
});

test("a rotated token is read again: after a minute, and at once when it is not accepted", async () => {
  const path = join(dir, "token");
  writeFileSync(path, "one\n");
  const client = await begin({ token: fileToken(path, () => clock.now()) });
  let valid = "one";
  server.accepts = (token) => token === valid || token === "one";
  await client.list(PODS, {}, signal);
  writeFileSync(path, "two\n");
  valid = "two";
  await client.list(PODS, {}, signal);
  expect(server.requests.at(-1)?.headers.authorization).toBe("Bearer one");
  await clock.pass(60_001);
  await client.list(PODS, {}, signal);
  expect(server.requests.at(-1)?.headers.authorization).toBe("Bearer two");
  writeFileSync(path, "three\n");
  server.accepts = (token) => token === "three";
  await client.list(PODS, {}, signal);
  server.accepts = () => false;
  const refused = await failure(client.list(PODS, {}, signal));
  expect(refused.status).toBe(401);
  expect(refused.message).not.toContain("three");
});

test("a token file that is away for a moment costs nothing; one that never was is a sentence", async () => {
  const path = join(dir, "token");
  writeFileSync(path, "one\n");
  const token = fileToken(path, () => clock.now());
  expect(await token.current()).toBe("one");
  rmSync(path);
  await clock.pass(70_000);
  expect(await token.current()).toBe("one");
  await expect(fileToken(join(dir, "none")).current()).rejects.toThrow(ConfigError);
});

test("in a pod the ServiceAccount's mount says all; elsewhere a sentence says what to do", async () => {
  writeFileSync(join(dir, "ca.crt"), "CA");
  writeFileSync(join(dir, "namespace"), "heddle-system\n");
  writeFileSync(join(dir, "token"), "t");
  const variables = { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "6443" };
  const config = await inClusterConfig(variables, dir);
  expect(config).toMatchObject({ server: "https://[fd00::1]:6443", ca: "CA", namespace: "heddle-system" });
  expect(await config.token?.current()).toBe("t");
  await expect(inClusterConfig({}, dir)).rejects.toThrow("This is not a pod of Kubernetes");
  await expect(inClusterConfig(variables, join(dir, "none"))).rejects.toThrow("Set automountServiceAccountToken: true");
});

test("a kubeconfig: context, files beside it, data in it, token", async () => {
  const path = join(dir, "config");
  writeFileSync(join(dir, "key.pem"), "KEY");
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const text = `
apiVersion: v1
kind: Config
current-context: one
contexts:
- {name: one, context: {cluster: c, user: u, namespace: ns}}
- {name: two, context: {cluster: c, user: t}}
- {name: three, context: {cluster: c, user: plugin}}
- {name: four, context: {cluster: c, user: nobody}}
clusters:
- {name: c, cluster: {server: "https://10.0.0.1:6443", certificate-authority-data: ${base64("CA")}, tls-server-name: kubernetes}}
users:
- {name: u, user: {client-certificate-data: ${base64("CERT")}, client-key: key.pem}}
- {name: t, user: {token: abc}}
- {name: plugin, user: {exec: {command: x}}}
`;
  writeFileSync(path, text);
  expect(await kubeconfig(path)).toEqual({
    server: "https://10.0.0.1:6443",
    namespace: "ns",
    ca: "CA",
    clientCertificate: "CERT",
    clientKey: "KEY",
    serverName: "kubernetes",
  });
  const two = await kubeconfig(path, "two");
  expect([two.namespace, await two.token?.current()]).toEqual(["default", "abc"]);
  await expect(kubeconfig(path, "three")).rejects.toThrow('user "plugin" takes its credentials from a plugin');
  await expect(kubeconfig(path, "four")).rejects.toThrow('it has no user "nobody"');
  await expect(kubeconfig(join(dir, "none"))).rejects.toThrow("cannot be used: ENOENT");
  for (const bad of [
    "",
    "[]",
    "a: {",
    "current-context: 5",
    "current-context: one\ncontexts: 7",
    "current-context: one\ncontexts: [{name: one, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: '::'}}]",
  ]) {
    writeFileSync(path, bad);
    await expect(kubeconfig(path)).rejects.toThrow(ConfigError);
  }
});

test("TLS: the server's certificate is checked against the cluster's CA and its name", async () => {
  let kept: StoredRoot | undefined;
  const store = {
    where: "memory",
    load: async () => kept,
    createIfAbsent: async (root: StoredRoot) => (kept ??= root),
  };
  const stop = new AbortController();
  endings.push(() => stop.abort());
  const authority = await Authority.start({ trustDomain: "cluster.local" }, { store }, stop.signal);
  const certificate = await authority.server(["kubernetes"], stop.signal);
  const tls = { cert: certificate.current.chainPem, key: certificate.current.privateKey.revealPem() };
  const good = { ca: authority.bundle.pem, serverName: "kubernetes" };
  const client = await begin(good, {}, { tls });
  expect((await client.list(PODS, {}, signal)).items).toEqual([]);
  const wrongs: Partial<ClusterConfig>[] = [
    { serverName: "kubernetes" },
    { ...good, serverName: "elsewhere" },
    { ca: authority.bundle.pem },
  ];
  for (const wrong of wrongs) {
    const other = new KubernetesClient({ config: { server: server.url, namespace: "d", ...wrong }, clock });
    endings.push(() => other.close());
    expect(await failure(other.list(PODS, {}, signal))).toMatchObject({ status: 0 });
  }
  expect(server.requests).toHaveLength(1);
});
