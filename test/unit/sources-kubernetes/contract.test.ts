/**
 * One suite for two API servers: the fake one that all other tests use, and a real one. What is believed of the fake is so proved.
 * The real one needs the test cluster's binary: its half runs with `HEDDLE_CLUSTER=1`, as `npm run test:cluster` sets it.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { KINDS } from "../../../src/manifest/kinds.ts";
import { PrivateKey } from "../../../src/ca/private-key.ts";
import { KubernetesClient } from "../../../src/sources/kubernetes/client.ts";
import type { ClusterConfig } from "../../../src/sources/kubernetes/cluster-config.ts";
import { ApiError } from "../../../src/sources/kubernetes/errors.ts";
import { Leadership } from "../../../src/sources/kubernetes/lease.ts";
import { metadataOf, type Raw, type Resource } from "../../../src/sources/kubernetes/resource.ts";
import { secretStore } from "../../../src/roles/secret-store.ts";
import { KubernetesSource } from "../../../src/sources/kubernetes/source.ts";
import type { WatchEvent } from "../../../src/sources/kubernetes/watch.ts";
import { silent } from "../../../src/telemetry/log.ts";
import { FakeApiServer } from "../../support/fake-api-server.ts";
import { kubeBinary, RealApiServer } from "./real-api-server.ts";
import { Mirror, pod as podObject, routes, split } from "./support.ts";

const SERVICES: Resource = { group: "", version: "v1", plural: "services" };
const PODS: Resource = { group: "", version: "v1", plural: "pods" };
const ACCOUNTS: Resource = { group: "", version: "v1", plural: "serviceaccounts" };
const SPLITS: Resource = { group: "split.smi-spec.io", version: "v1alpha4", plural: "trafficsplits" };
const ROUTES: Resource = { group: "specs.smi-spec.io", version: "v1alpha4", plural: "httproutegroups" };
const CRDS: Resource = { group: "apiextensions.k8s.io", version: "v1", plural: "customresourcedefinitions" };
const NAMESPACES: Resource = { group: "", version: "v1", plural: "namespaces" };

/** An API server as the suite needs it. */
interface Subject {
  readonly config: ClusterConfig;
  install(plural: string): Promise<void>;
  uninstall(plural: string): Promise<void>;
  /** What was before now is too old afterwards; every connection breaks. */
  forget(): Promise<void>;
  /** A token of ServiceAccount `ns/sa` for an audience. */
  token(audience: string): Promise<string>;
  stop(): Promise<void>;
}

const { signal } = new AbortController();
const custom = KINDS.filter((entry) => entry.group.includes(".") && !entry.group.endsWith(".k8s.io"));

async function fakeSubject(): Promise<Subject> {
  const server = await FakeApiServer.start();
  const specs = new Map(custom.map((entry) => [entry.plural, server.of(entry.plural).spec]));
  return {
    config: { server: server.url, namespace: "default" },
    install: async (plural) => server.install(specs.get(plural)!),
    uninstall: async (plural) => server.uninstall(plural),
    async forget() {
      server.compact();
      server.cutAll();
    },
    async token(audience) {
      server.tokens.set("token", { audiences: [audience], user: { username: "system:serviceaccount:ns:sa" } });
      return "token";
    },
    stop: () => server.stop(),
  };
}

async function realSubject(binary: string): Promise<Subject> {
  const server = await RealApiServer.start(binary);
  const client = new KubernetesClient({ config: server.config });
  const served = async (plural: string, there: boolean): Promise<void> => {
    const { group, versions } = custom.find((entry) => entry.plural === plural)!;
    for (;;) {
      const found = await client.list({ group, version: versions.at(-1)!, plural }, { limit: 1 }, signal).then(
        () => true,
        (error: unknown) => !(error instanceof ApiError && error.status === 404),
      );
      if (found === there) return;
    }
  };
  const install = async (plural: string) => {
    await client.create(CRDS, crd(plural), signal);
    await served(plural, true);
  };
  const account = { metadata: { namespace: "ns", name: "sa" }, automountServiceAccountToken: false };
  await client.create(NAMESPACES, { metadata: { name: "ns" } }, signal);
  await client.create(ACCOUNTS, account, signal);
  for (const { plural } of custom) await install(plural);
  return {
    config: server.config,
    install,
    async uninstall(plural) {
      await client.delete(CRDS, { name: metadataOf(crd(plural), "name") }, signal);
      await served(plural, false);
    },
    async forget() {
      await server.compact();
      await server.killApi();
      await server.startApi();
    },
    async token(audience) {
      const body = { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: { audiences: [audience] } };
      const part = { name: "sa", subresource: "token" };
      const made = await client.create(ACCOUNTS, { ...body, metadata: { namespace: "ns" } }, signal, part);
      return String((made["status"] as Raw)["token"]);
    },
    async stop() {
      client.close();
      await server.stop();
    },
  };
}

function crd(plural: string): Raw {
  const { group, kind, versions } = custom.find((entry) => entry.plural === plural)!;
  const schema = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };
  return {
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: "Namespaced",
      names: { plural, kind, singular: kind.toLowerCase() },
      versions: versions.map((name) => ({
        name,
        served: true,
        storage: name === versions.at(-1),
        schema,
        subresources: { status: {} },
      })),
    },
  };
}

const demanded = process.env["HEDDLE_CLUSTER"] === "1";
const binary = demanded ? kubeBinary() : undefined;
if (!demanded)
  console.warn("SKIPPED here: the contract against a real kube-apiserver. `npm run test:cluster` runs it.");

const service = (name: string, labels: Raw = {}): Raw => ({
  metadata: { namespace: "ns", name, labels },
  spec: {
    clusterIP: "None",
    selector: { app: name },
    ports: [{ name: "http", port: 80, protocol: "TCP", targetPort: 80 }],
  },
});

const failure = async (work: Promise<unknown>): Promise<ApiError> => {
  const error: unknown = await work.then(
    () => new Error("it worked"),
    (reason: unknown) => reason,
  );
  if (error instanceof ApiError) return error;
  throw error;
};

describe.each([
  { name: "the fake API server", make: fakeSubject, skip: false },
  {
    name: "a real API server",
    make: () => realSubject(binary ?? "missing: run `npm run cluster`"),
    skip: !binary && !demanded,
  },
])("$name", ({ make, skip }) => {
  if (skip) return test.skip("needs the test cluster's binary: npm run cluster", () => {});
  let subject: Subject;
  let client: KubernetesClient;
  let stop: AbortController;

  beforeAll(async () => {
    subject = await make();
    client = new KubernetesClient({ config: subject.config });
  }, 120_000);
  afterAll(async () => {
    client?.close();
    await subject?.stop();
  });
  beforeEach(() => {
    stop = new AbortController();
  });
  afterEach(() => stop.abort());

  /** Events until this holds of them. */
  async function watched(
    resource: Resource,
    from: string | undefined,
    until: (events: readonly WatchEvent[]) => boolean,
    selector?: string,
  ) {
    const events: WatchEvent[] = [];
    const options = { namespace: "ns", from, seconds: 60, labelSelector: selector };
    for await (const batch of client.watch(resource, options, stop.signal)) {
      events.push(...batch);
      if (until(events)) break;
    }
    return events;
  }
  const brief = (events: readonly WatchEvent[]) =>
    events.filter((e) => e.type !== "BOOKMARK").map((e) => `${e.type} ${metadataOf(e.object, "name")}`);

  test("pages are of one version, and items of Kubernetes' own kinds do not say what they are", async () => {
    for (const name of ["page-a", "page-b", "page-c"])
      await client.create(SERVICES, service(name, { test: "page" }), signal);
    const options = { namespace: "ns", labelSelector: "test=page", limit: 2 };
    const first = await client.list(SERVICES, options, signal);
    await client.delete(SERVICES, { namespace: "ns", name: "page-c" }, signal);
    const second = await client.list(SERVICES, { ...options, next: first.next }, signal);
    expect([...first.items, ...second.items].map((item) => metadataOf(item, "name"))).toEqual([
      "page-a",
      "page-b",
      "page-c",
    ]);
    expect([second.resourceVersion, second.next]).toEqual([first.resourceVersion, ""]);
    expect(first.items[0]).not.toHaveProperty("kind");
    await client.create(SPLITS, split("ns", "typed"), signal);
    const [typed] = (await client.list(SPLITS, { namespace: "ns" }, signal)).items;
    expect(typed).toMatchObject({ apiVersion: "split.smi-spec.io/v1alpha4", kind: "TrafficSplit" });
  });

  test("a watch that begins with nothing sends what is there, a bookmark that says so, then what changes", async () => {
    await client.create(ROUTES, routes("ns", "first-a"), signal);
    await client.create(ROUTES, routes("ns", "first-b"), signal);
    const ended = (e: WatchEvent) =>
      e.type === "BOOKMARK" && (e.object["metadata"] as Raw)["annotations"] !== undefined;
    let changed = false;
    const events = await watched(ROUTES, undefined, (seen) => {
      if (seen.some(ended) && !changed) {
        changed = true;
        void client.delete(ROUTES, { namespace: "ns", name: "first-a" }, signal);
      }
      return brief(seen).includes("DELETED first-a");
    });
    const end = events.findIndex(ended);
    expect(brief(events.slice(0, end)).sort()).toEqual(["ADDED first-a", "ADDED first-b"]);
    expect((events[end]!.object["metadata"] as Raw)["annotations"]).toEqual({ "k8s.io/initial-events-end": "true" });
    expect(metadataOf(events[end]!.object, "resourceVersion")).not.toBe("");
    expect(brief(events.slice(end))).toEqual(["DELETED first-a"]);
    expect(events.at(-1)?.object).toMatchObject({ kind: "HTTPRouteGroup" });
  });

  test("a watch goes on from any version it has seen; a deletion has a version of its own", async () => {
    await client.create(SERVICES, service("resume-a"), signal);
    const { resourceVersion } = await client.list(SERVICES, { namespace: "ns" }, signal);
    await client.create(SERVICES, service("resume-b"), signal);
    await client.delete(SERVICES, { namespace: "ns", name: "resume-a" }, signal);
    await client.create(SERVICES, service("resume-c"), signal);
    const all = await watched(SERVICES, resourceVersion, (seen) => brief(seen).length === 3);
    expect(brief(all)).toEqual(["ADDED resume-b", "DELETED resume-a", "ADDED resume-c"]);
    const after = metadataOf(all[1]!.object, "resourceVersion");
    expect(brief(await watched(SERVICES, after, (seen) => brief(seen).length === 1))).toEqual(["ADDED resume-c"]);
  });

  test("what a selector no longer selects is deleted to its watcher", async () => {
    await client.create(SERVICES, service("label", { watched: "yes" }), signal);
    let changed = false;
    const events = await watched(
      SERVICES,
      undefined,
      (seen) => {
        if (!changed && seen.some((e) => e.type === "BOOKMARK")) {
          changed = true;
          const applied = {
            apiVersion: "v1",
            kind: "Service",
            metadata: { namespace: "ns", name: "label", labels: { watched: "no" } },
          };
          void client.apply(SERVICES, applied, { manager: "test", force: true }, signal);
        }
        return brief(seen).length === 2;
      },
      "watched=yes",
    );
    expect(brief(events)).toEqual(["ADDED label", "DELETED label"]);
  });

  test("conflicts, and what is not there", async () => {
    const made = await client.create(SPLITS, split("ns", "clash"), signal);
    expect(await failure(client.create(SPLITS, split("ns", "clash"), signal))).toMatchObject({
      status: 409,
      reason: "AlreadyExists",
    });
    await client.replace(SPLITS, { ...made, spec: { service: "other", backends: [] } }, signal);
    expect(await failure(client.replace(SPLITS, made, signal))).toMatchObject({ status: 409, reason: "Conflict" });
    expect(
      await failure(client.delete(SPLITS, { namespace: "ns", name: "clash" }, signal, { uid: "uid" })),
    ).toMatchObject({
      status: 409,
    });
    expect(
      await client.delete(SPLITS, { namespace: "ns", name: "clash" }, signal, { uid: metadataOf(made, "uid") }),
    ).toBe(true);
    expect(await client.delete(SPLITS, { namespace: "ns", name: "clash" }, signal)).toBe(false);
    expect(await client.get(SPLITS, { namespace: "ns", name: "clash" }, signal)).toBeUndefined();
    expect(await failure(client.list({ ...SPLITS, version: "v9" }, {}, signal))).toMatchObject({ status: 404 });
    const { apiVersion: _a, kind: _k, ...untyped } = split("ns", "untyped");
    expect(await failure(client.create(SPLITS, untyped, signal))).toMatchObject({ status: 400, reason: "BadRequest" });
  });

  test("server-side apply: fields have owners, what is no longer given goes, status is a part of its own", async () => {
    const give = (labels: Raw, manager: string, force = false) => {
      const object = {
        apiVersion: "split.smi-spec.io/v1alpha4",
        kind: "TrafficSplit",
        ...split("ns", "apply"),
        metadata: { namespace: "ns", name: "apply", labels },
      };
      return client.apply(SPLITS, object, { manager, force }, signal);
    };
    await give({ a: "1", b: "1" }, "one");
    const less = await give({ a: "1" }, "one");
    expect((less["metadata"] as Raw)["labels"]).toEqual({ a: "1" });
    expect(await failure(give({ a: "2" }, "two"))).toMatchObject({ status: 409, reason: "Conflict" });
    expect(((await give({ a: "2" }, "two", true))["metadata"] as Raw)["labels"]).toEqual({ a: "2" });
    const status = (ok: string) =>
      client.apply(
        SPLITS,
        {
          apiVersion: "split.smi-spec.io/v1alpha4",
          kind: "TrafficSplit",
          metadata: { namespace: "ns", name: "apply" },
          status: { ok },
        },
        { manager: "status", subresource: "status", force: true },
        signal,
      );
    const first = await status("yes");
    expect(first).toMatchObject({ status: { ok: "yes" }, spec: { service: "root" } });
    // The same again is no write: nobody is told.
    expect(metadataOf(await status("yes"), "resourceVersion")).toBe(metadataOf(first, "resourceVersion"));
    expect(metadataOf(await status("no"), "resourceVersion")).not.toBe(metadataOf(first, "resourceVersion"));
    const nobody = {
      apiVersion: "split.smi-spec.io/v1alpha4",
      kind: "TrafficSplit",
      metadata: { namespace: "ns", name: "nobody" },
      status: { ok: "x" },
    };
    expect(await failure(client.apply(SPLITS, nobody, { manager: "s", subresource: "status" }, signal))).toMatchObject({
      status: 404,
    });
  });

  test("whose a token is, for which audience", async () => {
    const token = await subject.token("heddle");
    const good = await client.reviewToken(token, ["heddle"], signal);
    expect(good).toMatchObject({
      authenticated: true,
      username: "system:serviceaccount:ns:sa",
      audiences: ["heddle"],
      error: "",
    });
    for (const [text, audience] of [
      [token, "elsewhere"],
      ["nonsense", "heddle"],
    ] as const) {
      const bad = await client.reviewToken(text, [audience], signal);
      expect(bad).toMatchObject({ authenticated: false, username: "", audiences: [] });
      expect(bad.error).not.toBe("");
    }
  });

  test("one of two replicas leads; the other follows when it gives the Lease back", async () => {
    const ends = [new AbortController(), new AbortController()];
    const times = { duration: 3_000, renew: 2_000, retry: 100 };
    const all = ends.map(
      (_, i) =>
        new Leadership({ client, namespace: "ns", name: "lease", identity: `replica-${i}`, log: silent, times }),
    );
    const leads = (one: Leadership) => new Promise<void>((resolve) => one.onLeading(() => resolve()));
    const [a, b] = all.map(leads);
    const running = all.map((one, i) => one.start(ends[i]!.signal));
    await Promise.race([a, b]);
    expect(all.filter((one) => one.leading)).toHaveLength(1);
    const first = all[0]!.leading ? 0 : 1;
    ends[first]!.abort();
    await Promise.all([running[first], first === 0 ? b : a]);
    expect(all[1 - first]!.leading).toBe(true);
    const lease = await client.get(
      { group: "coordination.k8s.io", version: "v1", plural: "leases" },
      { namespace: "ns", name: "lease" },
      signal,
    );
    expect(lease?.["spec"]).toMatchObject({ holderIdentity: `replica-${1 - first}`, leaseTransitions: 1 });
    ends[1 - first]!.abort();
    await Promise.all(running);
  });

  test("of several roots one is stored, and everybody has it", async () => {
    const stored = await Promise.all(
      ["a", "b", "c"].map((name) =>
        secretStore({ client, namespace: "ns", signal }).createIfAbsent({
          caCrt: name,
          caKey: new PrivateKey(`key of ${name}`),
        }),
      ),
    );
    expect(new Set(stored.map((one) => one.caCrt)).size).toBe(1);
    expect(stored[0]?.caKey.revealPem()).toBe(`key of ${stored[0]?.caCrt}`);
  });

  test("a whole source: all kinds, changes, a server that forgets and breaks, CRDs that go and come", async () => {
    const waiting = new Set<() => void>();
    class Told extends Mirror {
      override apply(changes: Parameters<Mirror["apply"]>[0]): void {
        super.apply(changes);
        for (const look of waiting) look();
      }
    }
    const mirror = new Told();
    const until = (holds: () => boolean) =>
      new Promise<void>((resolve) => {
        const look = () => {
          if (!holds()) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      });
    await client.create(SPLITS, split("ns", "whole-a"), signal);
    const spec = { ...(podObject("ns", "p")["spec"] as Raw), automountServiceAccountToken: false };
    await client.create(PODS, { metadata: { namespace: "ns", name: "whole", labels: { app: "a" } }, spec }, signal);
    const source = new KubernetesSource({ client, log: silent, discoverEvery: 200 });
    await source.start(mirror, stop.signal);
    expect(mirror.syncs).toBe(1);
    expect(mirror.names("TrafficSplit")).toContain("ns/whole-a");
    expect(mirror.names("Pod")).toEqual(["ns/whole"]);
    const weight = () => mirror.world.tables.TrafficSplit.get("ns")?.get("whole-a")?.backends[0]?.weight;
    const edit = async (to: number) => {
      const object = { ...split("ns", "whole-a", to), apiVersion: "split.smi-spec.io/v1alpha4", kind: "TrafficSplit" };
      await client.apply(SPLITS, object, { manager: "test", force: true }, signal);
    };
    await edit(5);
    await until(() => weight() === 5);
    const ready = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { namespace: "ns", name: "whole" },
      status: { phase: "Running", podIP: "10.1.2.3", podIPs: [{ ip: "10.1.2.3" }] },
    };
    await client.apply(PODS, ready, { manager: "kubelet", subresource: "status" }, signal);
    await until(() => mirror.world.tables.Pod.get("ns")?.get("whole")?.ips[0] === "10.1.2.3");

    const before = mirror.changes.length;
    await subject.forget();
    await edit(6);
    await until(() => weight() === 6);
    // Nothing that was told before is told again, and nothing is withdrawn in between.
    expect(mirror.changes.slice(before).map((c) => `${c.kind} ${c.name}`)).toEqual(["TrafficSplit whole-a"]);

    await subject.uninstall("trafficsplits");
    await until(() => mirror.names("TrafficSplit").length === 0);
    await subject.install("trafficsplits");
    await client.create(SPLITS, split("ns", "whole-b"), signal);
    await until(() => mirror.names("TrafficSplit").join() === "ns/whole-b");
    expect(mirror.names("Pod")).toEqual(["ns/whole"]);
  }, 120_000);

  test("what is older than the server's memory is refused as such, list and watch", async () => {
    for (const name of ["old-a", "old-b", "old-c"]) await client.create(SERVICES, service(name), signal);
    const page = await client.list(SERVICES, { namespace: "ns", limit: 1 }, signal);
    await client.create(SERVICES, service("old-d"), signal);
    await subject.forget();
    expect(await failure(client.list(SERVICES, { namespace: "ns", limit: 1, next: page.next }, signal))).toMatchObject({
      status: 410,
      reason: "Expired",
    });
    expect(await failure(watched(SERVICES, page.resourceVersion, () => false))).toMatchObject({
      status: 410,
      reason: "Expired",
    });
  }, 60_000);
});
