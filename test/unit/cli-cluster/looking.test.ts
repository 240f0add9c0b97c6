/** What verbs find out: proxies, policies, verifications, health. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { placeOf } from "../../../src/cli/cluster/proxy-place.ts";
import { Bench, BUILT_IN, controller, member, namespace, pod, service } from "./heddle.ts";
import type { Json } from "./fake-api.ts";

const SMI_KINDS = [
  "/apis/access.smi-spec.io/v1alpha3/traffictargets",
  "/apis/specs.smi-spec.io/v1alpha4/httproutegroups",
  "/apis/specs.smi-spec.io/v1alpha4/tcproutes",
  "/apis/split.smi-spec.io/v1alpha2/trafficsplits",
  "/apis/config.openservicemesh.io/v1alpha2/meshconfigs",
] as const;

const target = (name: string, sources: readonly string[], rules: readonly Json[]): Json => ({
  apiVersion: "access.smi-spec.io/v1alpha3",
  kind: "TrafficTarget",
  metadata: { namespace: "shop", name },
  spec: {
    destination: { kind: "ServiceAccount", name: "store", namespace: "shop" },
    sources: sources.map((account) => ({ kind: "ServiceAccount", name: account, namespace: "street" })),
    rules,
  },
});
const routes: Json = {
  apiVersion: "specs.smi-spec.io/v1alpha4",
  kind: "HTTPRouteGroup",
  metadata: { namespace: "shop", name: "books" },
  spec: { matches: [{ name: "buy", pathRegex: "/buy", methods: ["GET"] }] },
};
const BOOKS = { kind: "HTTPRouteGroup", name: "books", matches: ["buy"] };
const meshConfig = (permissive: boolean, egress = false): Json => ({
  apiVersion: "config.openservicemesh.io/v1alpha2",
  kind: "MeshConfig",
  metadata: { namespace: "osm-system", name: "osm-mesh-config" },
  spec: { traffic: { enablePermissiveTrafficPolicyMode: permissive, enableEgress: egress } },
});

let bench: Bench;
beforeEach(async () => {
  bench = await Bench.start();
  bench.api
    .serve(...BUILT_IN, ...SMI_KINDS)
    .put(
      controller(),
      member("shop"),
      member("street"),
      pod("shop", "store-1", { account: "store", labels: { app: "store" } }),
      pod("street", "buyer-1", { account: "buyer" }),
      pod("street", "thief-1", { account: "thief" }),
      pod("street", "bare-1", { meshed: false }),
      service("shop", "store", { app: "store" }, 8080),
      routes,
    );
});
afterEach(() => bench.stop());

describe("proxy get", () => {
  const get = (...args: string[]) => bench.heddle(["proxy", "get", ...args]);

  test("asks Envoy through the API server, with a token, and prints or writes what it says", async () => {
    const dump = "x".repeat(300_000);
    bench.api.ports.set("street/buyer-1:15000", (path) => ({ body: `${path} ${dump}` }));
    const { code, out } = await get("config_dump?mask=a", "buyer-1", "-n", "street");
    expect(code).toBe(0);
    expect(out).toBe(`/config_dump?mask=a ${dump}\n`);
    const file = join(bench.home, "clusters.txt");
    expect((await get("clusters", "buyer-1", "-n", "street", "-f", file, "-p", "16000")).out).toBe("");
    expect(readFileSync(file, "utf8")).toBe(`/clusters ${dump}`);
    const forwards = bench.api.seen.filter((one) => one.method === "FORWARD");
    expect(forwards.map(({ path, token }) => ({ path, token }))).toEqual(
      ["config_dump", "clusters"].map(() => ({
        path: "/api/v1/namespaces/street/pods/buyer-1/portforward",
        token: "Bearer secret-token",
      })),
    );
  });

  test.each([
    [
      ["clusters", "nobody", "-n", "street"],
      1,
      /^Could not find pod nobody in namespace street\. See what there is: kubectl get pods/,
    ],
    [["clusters", "bare-1", "-n", "street"], 1, /^Pod bare-1 in namespace street is not a part of a mesh/],
    [
      ["clusters", "buyer-1", "-n", "street"],
      1,
      /port 15000 of pod street\/buyer-1 does not answer: nothing listens on it/,
    ],
    [["quitquitquit", "buyer-1", "-n", "street"], 2, /changes something in Envoy, and get only reads/],
  ])("%j", async (args, wanted, sentence) => {
    const { code, error } = await get(...args);
    expect(error).toMatch(sentence);
    expect(code).toBe(wanted);
  });

  test("a refusal, and an answer that is none", async () => {
    bench.api.ports.set("street/buyer-1:15000", () => ({ status: 404, body: "invalid path" }));
    expect((await get("soup", "buyer-1", "-n", "street")).error).toBe(
      'Envoy of pod street/buyer-1 answered "soup" with 404: invalid path',
    );
    bench.api.refuses = ({ method }) => (method === "FORWARD" ? 403 : undefined);
    expect((await get("stats", "buyer-1", "-n", "street")).error).toMatch(
      /cannot be reached through the API server: .*403.*Grant "create" on pods\/portforward/,
    );
  });

  test("a pod that does not run", async () => {
    const waiting = bench.api.find("/api/v1/pods", "buyer-1")!;
    waiting["status"] = { phase: "Pending" };
    expect((await get("stats", "buyer-1", "-n", "street")).error).toMatch(
      /^Pod buyer-1 in namespace street is not running/,
    );
  });
});

describe("proxy status", () => {
  test.each([
    [{ mesh: false, clusterFlag: false, localRuns: 1, kubeconfig: true }, "here"],
    [{ mesh: false, clusterFlag: false, localRuns: 0, kubeconfig: true }, "cluster"],
    [{ mesh: false, clusterFlag: false, localRuns: 0, kubeconfig: false }, "here"],
    [{ mesh: true, clusterFlag: false, localRuns: 0, kubeconfig: true }, "here"],
    [{ mesh: true, clusterFlag: true, localRuns: 1, kubeconfig: true }, "cluster"],
  ] as const)("%j is %s", (situation, place) => expect(placeOf(situation)).toBe(place));

  const row = (id: string, pod: string) => ({ id, pod, types: { CDS: { sent: "0123456789", acked: "0123456789" } } });

  test("of a cluster, from every replica of the controller", async () => {
    for (const [i, name] of ["c-0", "c-1", "c-2"].entries()) {
      bench.api.put(pod("osm-system", name, { meshed: false, labels: { app: "osm-controller" } }));
      if (i < 2) bench.api.ports.set(`osm-system/${name}:9092`, () => ({ body: [row(`p${i}`, `shop/store-${i}`)] }));
    }
    const { out, notes, code } = await bench.heddle(["proxy", "status", "--context", "test"]);
    expect(code).toBe(0);
    expect(out.split("\n")).toEqual([
      "PROXY          TYPE   SENT       ACKED      NACKED   MESSAGE",
      "shop/store-0   CDS    01234567   01234567   -",
      "shop/store-1   CDS    01234567   01234567   -",
      "",
    ]);
    expect(notes).toEqual([expect.stringMatching(/^Not asked: c-2: .*does not answer/)]);
    const json = await bench.heddle(["proxy", "status", "--mesh-name", "osm", "-o", "json"]);
    expect((JSON.parse(json.out) as Json[]).map((one) => one["id"])).toEqual(["p0", "p1"]);
  });

  test("nobody to ask, and contradictions", async () => {
    expect((await bench.heddle(["proxy", "status", "--context", "test"])).error).toMatch(/has no controller pod/);
    const both = await bench.heddle(["proxy", "status", "--context", "test", "--mesh", "a"]);
    expect(both.code).toBe(2);
    expect(both.error).toMatch(/^--mesh is a mesh on this machine/);
  });
});

describe("why", () => {
  const why = async (from: string): Promise<{ code: number; answer: Json }> => {
    const write = vi.spyOn(process.stdout, "write").mockImplementation((...args: unknown[]) => {
      (args.at(-1) as () => void)();
      return true;
    });
    try {
      const { code } = await bench.heddle([
        "why",
        from,
        "shop/store",
        "GET",
        "/buy",
        "-o",
        "json",
        "--osm-namespace",
        "osm-system",
      ]);
      return { code, answer: JSON.parse(write.mock.calls.map(([text]) => String(text)).join("")) as Json };
    } finally {
      write.mockRestore();
    }
  };

  test("of a cluster: the objects that decide, with the resourceVersion", async () => {
    const object = target("t", ["buyer"], [BOOKS]);
    bench.api.put({ ...object, metadata: { ...(object["metadata"] as Json), resourceVersion: "42" } });
    const allowed = await why("street/buyer");
    expect([allowed.code, allowed.answer["verdict"]]).toEqual([0, "allowed"]);
    const trail = allowed.answer["trail"] as Json[];
    expect(trail.map(({ kind, name }) => `${String(kind)} ${String(name)}`)).toEqual([
      "Service store",
      "TrafficTarget t",
      "HTTPRouteGroup books",
    ]);
    expect(trail[1]).toMatchObject({ resourceVersion: "42", path: "spec.rules[0]" });
    const denied = await why("street/thief");
    expect([denied.code, denied.answer["verdict"]]).toEqual([1, "denied"]);
    expect(denied.answer["nearest"]).toMatchObject([{ name: "t", differs: [{ what: "source" }] }]);
  });
});

describe("policy check-pods", () => {
  const check = (from: string, to = "shop/store-1") => bench.heddle(["policy", "check-pods", from, to]);
  const head =
    "[+] SMI traffic policy mode enabled for mesh operated by osm-controller running in osm-system namespace\n\n";

  test("allowed, by which target, and on what", async () => {
    bench.api.put(target("t", ["buyer"], [BOOKS]));
    const { code, out } = await check("street/buyer-1");
    expect(code).toBe(0);
    expect(out).toBe(
      `${head}[+] Pod 'street/buyer-1' is allowed to communicate to pod 'shop/store-1' via the SMI TrafficTarget policy "t" in namespace shop\n    port 8080 (http): GET /buy (buy of HTTPRouteGroup shop/books)\n`,
    );
  });

  test("not allowed", async () => {
    bench.api.put(target("t", ["buyer"], [BOOKS]));
    expect((await check("street/thief-1")).out).toBe(
      `${head}[+] Pod 'street/thief-1' is not allowed to communicate to pod 'shop/store-1', missing SMI TrafficTarget policy\n`,
    );
  });

  test("a target that names both and opens nothing is said to do so", async () => {
    bench.api.put(target("t", ["buyer"], [{ kind: "HTTPRouteGroup", name: "nosuch" }]));
    const { out, notes } = await check("street/buyer-1");
    expect(out).toContain("is not allowed");
    expect(notes.join()).toMatch(/TrafficTarget shop\/t: spec\.rules\[0\].*nosuch/);
  });

  test("permissive mode, in OSM's words", async () => {
    bench.api.put(meshConfig(true));
    expect((await check("street/thief-1")).out).toBe(
      "[+] Permissive mode enabled for mesh operated by osm-controller running in 'osm-system' namespace\n\n [+] Pod 'street/thief-1' is allowed to communicate to pod 'shop/store-1'\n",
    );
  });

  test("other pods' things are not asked for", async () => {
    await check("street/buyer-1");
    const lists = bench.api.seen
      .filter((one) => /\/(pods|services|traffictargets)$/.test(one.path))
      .map((one) => one.path);
    expect(lists.every((path) => path.includes("/namespaces/shop/"))).toBe(true);
  });

  test.each([
    ["street/nobody", 1, /^Could not find pod nobody in namespace street/],
    ["street/bare-1", 1, /is not a part of a mesh/],
    ["a/b/c", 2, /should be of the form <namespace\/pod>/],
    ["lonely", 1, /^Could not find pod lonely in namespace default/],
  ])("%s", async (from, wanted, sentence) => {
    const { code, error } = await check(from);
    expect(error).toMatch(sentence);
    expect(code).toBe(wanted);
  });
});

describe("policy check-conflicts", () => {
  const backend = (name: string, ...backends: [name: string, port: number][]): Json => ({
    apiVersion: "policy.openservicemesh.io/v1alpha1",
    kind: "IngressBackend",
    metadata: { namespace: "shop", name },
    spec: { backends: backends.map(([one, number]) => ({ name: one, port: { number, protocol: "http" } })) },
  });

  test("the same backend on the same port", async () => {
    bench.api.put(backend("a", ["store", 80], ["x", 1]), backend("b", ["store", 81]), backend("c", ["store", 80]));
    expect((await bench.heddle(["policy", "check-conflicts", "IngressBackend", "-n", "shop"])).out).toBe(
      "[+] IngressBackend shop/a conflicts with shop/c:\nBackend store specified in a and c conflicts\n\n",
    );
  });

  test("none", async () => {
    bench.api.put(backend("a", ["store", 80]));
    expect((await bench.heddle(["policy", "check-conflicts", "ingressbackend", "--namespaces", "shop"])).out).toBe(
      "No conflicts among IngressBackend resources in namespace shop\n",
    );
  });

  test.each([
    [["IngressBackend"], 2, /Requires single namespace specified by '-n\|--namespaces'.*got 0/],
    [["IngressBackend", "-n", "a,b"], 2, /got 2/],
    [["TrafficSplit", "-n", "a"], 2, /^Invalid resource kind TrafficSplit/],
    [["IngressBackend", "-n", "shop"], 1, /does not know IngressBackend/],
  ])("%j", async (args, wanted, sentence) => {
    const { code, error } = await bench.heddle(["policy", "check-conflicts", ...args]);
    expect(error).toMatch(sentence);
    expect(code).toBe(wanted);
  });
});

const dump = (
  clusters: readonly string[],
  chains: Record<string, string[]>,
  hosts: readonly string[],
  secret = "service-cert",
) => ({
  configs: [
    {
      dynamic_listeners: Object.entries(chains).map(([name, list]) => ({
        name,
        active_state: { listener: { name, filter_chains: list.map((one) => ({ name: one })) } },
      })),
    },
    { dynamic_active_clusters: clusters.map((name) => ({ cluster: { name } })) },
    { dynamic_route_configs: [{ route_config: { virtual_hosts: hosts.map((name) => ({ name })) } }] },
    { dynamic_active_secrets: [{ name: secret }] },
  ],
});
const RULE = "---------------------------------------------";

describe("verify connectivity", () => {
  const verify = (...args: string[]) =>
    bench.heddle(["verify", "connectivity", "--from-pod", "street/buyer-1", ...args]);
  const inside = ["--to-pod", "shop/store-1", "--to-service", "store"];
  const client = dump(["shop/store|8080"], { "outbound-listener": [] }, [
    "outbound_virtual-host|store.shop.svc.cluster.local",
  ]);
  const server = dump([], { "inbound-listener": ["inbound_shop/store_8080_http"] }, []);
  beforeEach(() => {
    bench.api.put(target("t", ["buyer"], [BOOKS]));
    bench.api.ports.set("street/buyer-1:15000", () => ({ body: client }));
    bench.api.ports.set("shop/store-1:15000", () => ({ body: server }));
  });

  test("all is well", async () => {
    const { code, out } = await verify(...inside);
    expect(out).toBe(
      `${RULE}\n[+] Context: Verify if pod "street/buyer-1" can access pod "shop/store-1" for service "shop/store"\nStatus: Success\n\n${RULE}\n`,
    );
    expect(code).toBe(0);
  });

  test("what fails is shown with reason and suggestion, and ends with 1", async () => {
    bench.api.put(meshConfig(false));
    bench.api.collections.set("/api/v1/namespaces", [member("shop"), namespace("street")]);
    const { code, out } = await verify(...inside);
    expect(code).toBe(1);
    expect(out.split("\n").slice(1)).toEqual([
      '[+] Context: Verify if pod "street/buyer-1" can access pod "shop/store-1" for service "shop/store"',
      "Status: Failure",
      "Reason: A verification step failed",
      "Suggestion: Please follow the suggestions listed in the failed steps below to resolve the issue",
      "",
      '  [+] Context: Verify if namespace "street" is monitored',
      "  Status: Failure",
      '  Reason: Missing label "openservicemesh.io/monitored-by" on namespace "street"',
      expect.stringMatching(/^ {2}Suggestion: Add label .* heddle namespace add street/),
      "",
      RULE,
      "",
    ]);
  });

  test("no policy", async () => {
    bench.api.collections.set("/apis/access.smi-spec.io/v1alpha3/traffictargets", []);
    expect((await verify(...inside)).out).toMatch(
      /Reason: missing SMI TrafficTarget policy\n.*destination ServiceAccount store and source ServiceAccount buyer/,
    );
  });

  test("Envoy that lacks something, rejects something, or does not answer", async () => {
    bench.api.ports.set("shop/store-1:15000", () => ({ body: dump([], { "inbound-listener": [] }, []) }));
    expect((await verify(...inside)).out).toContain(
      'No filter chain "inbound_shop/store_…" in listener "inbound-listener"',
    );
    const rejecting = {
      configs: [...server.configs, { dynamic_listeners: [{ name: "l", error_state: { details: "bad field" } }] }],
    };
    bench.api.ports.set("shop/store-1:15000", () => ({ body: rejecting }));
    expect((await verify(...inside)).out).toContain("Reason: Envoy rejects configuration: l: bad field");
    bench.api.ports.delete("shop/store-1:15000");
    const { out, code } = await verify(...inside);
    expect(out).toContain("Status: Unknown");
    expect(code).toBe(1);
    bench.api.ports.set("street/buyer-1:15000", () => ({ body: dump([], { "outbound-listener": [] }, [], "other") }));
    expect((await verify(...inside)).out).toContain('Envoy of pod "street/buyer-1" has no certificate');
  });

  test("a pod without sidecar, a Service that selects another pod", async () => {
    bench.api.put(service("shop", "else", { app: "else" }, 80));
    const { out } = await verify("--to-pod", "shop/store-1", "--to-service", "else");
    expect(out).toContain("Reason: The pod lacks app=else");
    const bare = await bench.heddle(["verify", "connectivity", "--from-pod", "street/bare-1", ...inside]);
    expect(bare.out).toContain('Did not find Envoy sidecar on pod "street/bare-1"');
  });

  test("out of the mesh", async () => {
    bench.api.put(meshConfig(false, false));
    const closed = await verify("--to-ext-port", "443", "--to-ext-host", "example.com");
    expect(closed.out).toContain("Reason: Egress is disabled in MeshConfig");
    bench.api.collections.set("/apis/config.openservicemesh.io/v1alpha2/meshconfigs", [meshConfig(false, true)]);
    bench.api.ports.set("street/buyer-1:15000", () => ({ body: dump(["passthrough-outbound"], {}, []) }));
    const open = await verify("--to-ext-port", "443", "--to-ext-host", "example.com");
    expect(open.out).toContain('access external service on port "example.com:443"\nStatus: Success');
    expect(open.code).toBe(0);
  });

  test.each([
    [[], /one of --to-pod\|--to-ext-port must be set/],
    [["--to-pod", "a/b", "--to-ext-port", "1"], /cannot be set with/],
    [["--to-pod", "shop/store-1"], /--to-service must be set/],
    [["--to-pod", "store-1", "--to-service", "store"], /--to-pod must be a namespaced name/],
    [["--to-pod", "shop/store-1", "--to-service", "other/store"], /--to-service must be the name of a Service in/],
  ])("%j", async (args, sentence) => {
    const { code, error } = await verify(...args);
    expect(error).toMatch(sentence);
    expect(code).toBe(2);
  });
});

describe("verify ingress", () => {
  const args = [
    "--from-service",
    "ingress/nginx",
    "--to-pod",
    "shop/store-1",
    "--to-service",
    "store",
    "--ingress-backend",
    "in",
  ];
  const accepted = { type: "Accepted", status: "True", message: "" };
  const backend = (port: number, conditions: readonly Json[] = [accepted]): Json => ({
    status: { conditions },
    apiVersion: "policy.openservicemesh.io/v1alpha1",
    kind: "IngressBackend",
    metadata: { namespace: "shop", name: "in" },
    spec: {
      backends: [{ name: "store", port: { number: port, protocol: "http" } }],
      sources: [{ kind: "Service", namespace: "ingress", name: "nginx" }],
    },
  });
  beforeEach(() =>
    bench.api.put(
      service("ingress", "nginx", { app: "nginx" }, 80),
      pod("ingress", "nginx-1", { meshed: false, labels: { app: "nginx" } }),
    ),
  );

  test("well", async () => {
    bench.api.put(backend(8080));
    const { code, out } = await bench.heddle(["verify", "ingress", ...args, "--to-port", "8080"]);
    expect(out).toContain("via ingress\nStatus: Success");
    expect(code).toBe(0);
  });

  test("an IngressBackend that is not honoured lets nobody in, whatever it says", async () => {
    bench.api.put(backend(8080, [{ ...accepted, status: "False", message: "kind: it has no effect." }]));
    const refused = await bench.heddle(["verify", "ingress", ...args, "--to-port", "8080"]);
    expect(refused.out).toContain('Reason: IngressBackend "shop/in" is not honoured: kind: it has no effect.');
    expect(refused.code).toBe(1);
    bench.api.collections.delete("/apis/policy.openservicemesh.io/v1alpha1/ingressbackends");
    bench.api.put(backend(8080, []));
    const untold = await bench.heddle(["verify", "ingress", ...args, "--to-port", "8080"]);
    expect(untold.out).toContain("via ingress\nStatus: Unknown");
  });

  test("the wrong port, and no IngressBackend", async () => {
    bench.api.put(backend(80));
    const { code, out } = await bench.heddle(["verify", "ingress", ...args, "--to-port", "8080"]);
    expect(out).toContain('Backend "store" has port 80 and protocol "http", not 8080 and "http"');
    expect(code).toBe(1);
    bench.api.collections.delete("/apis/policy.openservicemesh.io/v1alpha1/ingressbackends");
    expect((await bench.heddle(["verify", "ingress", ...args, "--to-port", "8080"])).out).toContain(
      'Reason: IngressBackend "shop/in" not found',
    );
  });

  test("what is missing on the command line", async () => {
    expect((await bench.heddle(["verify", "ingress", ...args])).code).toBe(2);
    expect((await bench.heddle(["verify", "ingress", ...args, "--to-port", "http"])).error).toMatch(
      /--to-port must be a number/,
    );
  });
});

describe("verify control-plane-health", () => {
  const part = (app: string, name: string, ready = true) =>
    pod("osm-system", name, { meshed: false, labels: { app }, ready });

  test("well, when the controller says so too", async () => {
    bench.api.put(part("osm-controller", "c-1"), part("osm-injector", "i-1"));
    bench.api.ports.set("osm-system/c-1:9091", () => ({ body: "ready" }));
    for (const verb of [["verify", "control-plane-health"], ["check"]]) {
      const { code, out } = await bench.heddle(verb);
      expect(out).toBe(`${RULE}\n[+] Context: Verify the health of OSM control plane\nStatus: Success\n\n${RULE}\n`);
      expect(code).toBe(0);
    }
  });

  test("not well", async () => {
    bench.api.put(part("osm-controller", "c-1", false));
    bench.api.ports.set("osm-system/c-1:9091", () => ({ status: 503, body: "no snapshot is published yet" }));
    const { code, out } = await bench.heddle(["verify", "control-plane-health"]);
    expect(code).toBe(1);
    expect(out).toContain("Reason: Pod not ready: osm-system/c-1 containers not ready");
    expect(out).toContain("Reason: No pods found for app osm-system/osm-injector");
    expect(out).toContain("Reason: It answers 503: no snapshot is published yet");
  });

  test("no mesh", async () => {
    bench.api.collections.set("/apis/apps/v1/deployments", []);
    expect((await bench.heddle(["verify", "control-plane-health"])).error).toBe(
      "No osm mesh control planes found. Install one: heddle install",
    );
  });
});
