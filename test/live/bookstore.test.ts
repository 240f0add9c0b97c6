/**
 * The bookstore, alive: our example and OSM's own unchanged manifests, with real Envoys that enforce what the YAML says.
 */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Authority } from "../../src/ca/authority.ts";
import { fileStore } from "../../src/ca/file-store.ts";
import { identity, podName } from "../../src/world/names.ts";
import {
  BOOKSTORE,
  cannotRunLive,
  lacking,
  LiveMesh,
  OSM_MANIFESTS,
  osmManifestsMissing,
  text,
  until,
  type PodClient,
} from "../support/live-mesh.ts";

const BUY = "http://bookstore.bookstore:14001/buy-a-book/new";
const LINE = /^heddle: [^\n]+\n$/;

/** A pod outside of the mesh, beside the others. */
const OUTSIDE = `
apiVersion: v1
kind: Pod
metadata:
  name: outside
  namespace: bookstore
  annotations: { openservicemesh.io/sidecar-injection: disabled }
spec:
  containers:
    - { name: shell, image: nothing }
---
apiVersion: v1
kind: Pod
metadata:
  name: scraped
  namespace: bookstore
  annotations: { prometheus.io/scrape: "true" }
spec:
  containers:
    - { name: shell, image: nothing }
`;

/** One more client of the database. */
const STORE_TO_DATABASE = `
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: { name: mysql-bookstore, namespace: bookwarehouse }
spec:
  destination: { kind: ServiceAccount, name: mysql, namespace: bookwarehouse }
  rules: [{ kind: TCPRoute, name: mysql }]
  sources: [{ kind: ServiceAccount, name: bookstore, namespace: bookstore }]
`;

const split = (v1: number, v2: number) => `
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: { name: bookstore-split, namespace: bookstore }
spec:
  service: bookstore.bookstore
  backends:
    - { service: bookstore-v1, weight: ${v1} }
    - { service: bookstore-v2, weight: ${v2} }
`;

interface Manifests {
  readonly apps: Readonly<Record<string, string>>;
  readonly access: string;
  readonly allowThief: string;
}

const own = (name: string) => join(BOOKSTORE, name);
const osm = (name: string) => join(OSM_MANIFESTS, name);
const named = (place: (name: string) => string, names: readonly string[]) =>
  Object.fromEntries(names.map((name) => [name, place(name)]));

const OWN: Manifests = {
  apps: named(own, ["bookbuyer.yaml", "bookthief.yaml", "bookstore.yaml", "bookwarehouse.yaml", "mysql.yaml"]),
  access: own("access.yaml"),
  // The three lines of the thief, as the example says.
  allowThief: text(own("access.yaml")).replaceAll(
    /^ {4}# ( *(?:- )?(?:kind: ServiceAccount|name: bookthief|namespace: bookthief))$/gm,
    "    $1",
  ),
};
const OSMS: Manifests = {
  apps: Object.fromEntries(
    ["bookbuyer", "bookthief", "bookstore", "bookstore-v2", "bookwarehouse", "mysql"].map((n) => [
      `apps/${n}.yaml`,
      osm(`apps/${n}.yaml`),
    ]),
  ),
  access: osm("access/traffic-access-v1.yaml"),
  allowThief: osm("access/traffic-access-v1-allow-bookthief.yaml"),
};

describe.skipIf(lacking(cannotRunLive()))("the example", () => bookstore(OWN));
describe.skipIf(lacking(cannotRunLive() ?? osmManifestsMissing()))("OSM's own manifests, unchanged", () =>
  bookstore(OSMS),
);

function bookstore(manifests: Manifests): void {
  let live: LiveMesh;
  let buyer: PodClient;
  let thief: PodClient;
  let outside: PodClient;

  beforeAll(async () => {
    live = await LiveMesh.start({
      ...manifests.apps,
      "access.yaml": manifests.access,
      "split.yaml": split(50, 50),
      "outside.yaml": OUTSIDE,
    });
    await live.ready();
    buyer = await live.client("bookbuyer");
    thief = await live.client("bookthief");
    outside = await live.client("outside");
    await until("the buyer buys", async () => (await buyer.http(BUY)).status === 200);
  });
  afterAll(() => live?.stop());

  const access = async (file: string, status: number) => {
    live.write("access.yaml", file);
    await until(`the thief gets ${status}`, async () => (await thief.http(BUY)).status === status);
  };
  const weights = async (v1: number, v2: number) => {
    live.write("split.yaml", split(v1, v2));
    await until(`the split is ${v1}/${v2}`, async () => {
      const { identities } = await buyer.count(BUY, 40);
      const share = (identities["bookstore-v1"] ?? 0) / 40;
      return v1 === 0 ? share === 0 : v2 === 0 ? share === 1 : share > 0.2 && share < 0.8;
    });
  };

  test("the manifests have no mistakes, but for images without a command", () => {
    expect(live.mesh.problems().filter((p) => p.code !== "no-image-mapping")).toEqual([]);
  });

  test("bookbuyer buys; bookthief is answered 403 with a line of reason", async () => {
    const bought = await buyer.http(BUY);
    expect(bought.status).toBe(200);
    expect(bought.headers["identity"]).toMatch(/^bookstore-v[12]$/);
    const stolen = await thief.http(BUY);
    expect(stolen.status).toBe(403);
    expect(stolen.body).toMatch(LINE);
  });

  test("what no rule names is refused by the server: method, path, header", async () => {
    const headers = { "user-agent": "Go-http-client/1.1", "client-app": "bookbuyer" };
    const books = "http://bookstore.bookstore:14001/books-bought";
    expect((await buyer.http(books, { headers })).status).toBe(200);
    for (const refused of [
      await buyer.http(books, { headers: { ...headers, "client-app": "somebody" } }),
      await buyer.http(books),
      await buyer.http(BUY, { method: "POST" }),
      await buyer.http("http://bookstore.bookstore:14001/reset", { headers }),
    ]) {
      expect(refused.status).toBe(403);
      expect(refused.body).toMatch(LINE);
      expect(refused.body).toContain("spiffe://cluster.local/ns/bookbuyer/sa/bookbuyer");
    }
  });

  test("names of each length, and the virtual IP, lead to the same Service", async () => {
    for (const host of ["bookstore.bookstore", "bookstore.bookstore.svc", "bookstore.bookstore.svc.cluster.local"]) {
      expect((await buyer.http(`http://${host}:14001/buy-a-book/new`)).status, host).toBe(200);
    }
  });

  test("after the policy allows bookthief, it buys, and after it does not any more, it is refused", async () => {
    await access(manifests.allowThief, 200);
    await access(manifests.access, 403);
  });

  test("on one connection that is kept open, access given and access taken hold from the next request on", async () => {
    // Version 2 never sells to the thief: only version 1's verdict is to be seen.
    await weights(100, 0);
    const kept = (n = 0) => thief.http(BUY, { connection: `kept-${n}` });
    const before = await kept();
    expect(before.status).toBe(403);
    await access(manifests.allowThief, 200);
    const given = await until("the kept connection is allowed", async () => {
      const now = await kept();
      return now.status === 200 ? now : undefined;
    });
    await access(manifests.access, 403);
    const taken = await kept();
    expect(taken.status).toBe(403);
    expect([given.socket, taken.socket]).toEqual([before.socket, before.socket]);
  });

  test("the split is followed: 100/0, 50/50, 0/100 within 3 points over 2,000 requests", async () => {
    for (const [v1, v2] of [
      [100, 0],
      [50, 50],
      [0, 100],
    ] as const) {
      await weights(v1, v2);
      const { statuses, identities } = await buyer.count(BUY, 2000);
      expect(statuses).toEqual({ 200: 2000 });
      const share = ((identities["bookstore-v1"] ?? 0) / 2000) * 100;
      expect(Math.abs(share - v1), `${share} % for ${v1}/${v2}`).toBeLessThanOrEqual(v1 === 50 ? 3 : 0);
    }
  });

  test("no request fails while the split changes under load", async () => {
    const load = await buyer.load(BUY, { workers: 4 });
    for (const [v1, v2] of [
      [50, 50],
      [100, 0],
      [0, 100],
      [30, 70],
    ] as const) {
      await weights(v1, v2);
    }
    const { statuses, errors } = await load.stop();
    expect(errors).toEqual([]);
    expect(Object.keys(statuses)).toEqual(["200"]);
    expect(statuses[200]).toBeGreaterThan(100);
  });

  test("TCP to mysql's port works for bookwarehouse and for nobody else", async () => {
    const warehouse = await live.client("bookwarehouse");
    const ping = (client: PodClient, host = "mysql.bookwarehouse") => client.tcp(host, 3306, "PING\n");
    await until("bookwarehouse reaches the database", async () => (await ping(warehouse)).received !== "");
    const ip = live.pod("mysql").status?.ip ?? "";
    for (const client of [buyer, thief, outside, await live.client("bookstore/bookstore-v2")]) {
      expect((await ping(client)).received).toBe("");
      expect((await ping(client, ip)).received).toBe("");
    }
  });

  test("row 8a, difference 15: a TCP connection that is no longer allowed is closed within 5 s, and nobody else's is", async () => {
    const [warehouse, store] = [await live.client("bookwarehouse"), await live.client("bookstore/bookstore")];
    const connect = (client: PodClient, keep?: string) => client.tcp("mysql.bookwarehouse", 3306, "PING\n", keep);
    expect((await connect(warehouse, "first")).received).not.toBe("");
    live.write("more.yaml", STORE_TO_DATABASE);
    await until("bookstore reaches the database", async () => (await connect(store)).received !== "");
    expect((await connect(store, "second")).received).not.toBe("");
    const from = performance.now();
    live.remove("more.yaml");
    await store.closed("second");
    expect(performance.now() - from).toBeLessThan(5000);
    expect((await connect(store)).received).toBe("");
    // A drain takes three seconds: had the other's connection been drained too, it would be gone with this one.
    expect((await warehouse.send("first", "PING\n")).received).not.toBe("");
  });

  test("a client outside of the mesh is refused: HTTP with 403 and a reason, anything else by a closed connection", async () => {
    const ip = live.pod("bookstore/bookstore").status?.ip ?? "";
    const plain = await outside.http(`http://${ip}:14001/buy-a-book/new`);
    expect(plain.status).toBe(403);
    expect(plain.body).toMatch(LINE);
    expect((await outside.http(BUY)).status).toBe(403);
    expect((await outside.tcp(live.pod("mysql").status?.ip ?? "", 3306, "PING\n")).received).toBe("");
  });

  test("Prometheus scrapes a sidecar on port 15010, if its pod says so, and reads nothing else of it", async () => {
    const at = (pod: string, path: string) => outside.http(`http://${live.pod(pod).status?.ip}:15010${path}`);
    const page = await until("the statistics are served", async () => {
      const answer = await at("scraped", "/stats/prometheus");
      return answer.status === 200 ? answer.body : undefined;
    });
    expect(page).toContain("envoy_server_live");
    expect((await at("scraped", "/config_dump")).status).toBe(404);
    expect((await at("scraped", "/quitquitquit")).status).toBe(404);
    expect((await at("bookbuyer", "/stats/prometheus")).status).toBe(0);
  });

  test("a sidecar with a certificate of another CA is refused, one of ours is not", async () => {
    const pod = live.pod("bookstore/bookstore");
    const signal = new AbortController();
    const issue = async (where: string) => {
      const authority = await Authority.start(
        { trustDomain: "cluster.local" },
        { store: fileStore(where) },
        signal.signal,
      );
      const { chainPem, privateKey } = await authority.issueWorkload(identity("bookbuyer", "bookbuyer"));
      return { cert: chainPem, key: privateKey.revealPem() };
    };
    const call = {
      host: pod.status?.ip ?? "",
      port: 14001,
      servername: "bookstore.bookstore.svc.cluster.local",
      send: "GET /buy-a-book/new HTTP/1.1\r\nhost: bookstore\r\nconnection: close\r\n\r\n",
    };
    const ours = await outside.tls({ ...call, ...(await issue(join(live.mesh.runDir, "ca"))) });
    expect(ours.received).toMatch(/^HTTP\/1.1 200 /);
    const theirs = await outside.tls({ ...call, ...(await issue(join(live.dir, ".other-ca"))) });
    expect(theirs.received).toBe("");
    expect(theirs.error).toMatch(/unknown ca|reset|closed/i);
    signal.abort();
  });

  test("a pod that is removed comes back with a sidecar of its own", async () => {
    const name = live.pod("bookbuyer").manifest.metadata;
    live.mesh.runtime.restart(podName(name.namespace, name.name));
    await until("the pod is gone", () => live.pod("bookbuyer").status?.ready !== true);
    await live.ready();
    const again = await live.client("bookbuyer");
    await until("the new pod buys", async () => (await again.http(BUY)).status === 200);
  });
}
