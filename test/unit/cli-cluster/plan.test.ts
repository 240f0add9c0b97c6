/** `heddle plan` and `heddle prove`: what they print and end with, of folders, files and a cluster. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { files, folder, type Input } from "../cli/folder.ts";
import { Bench, BUILT_IN, controller, member, pod, service } from "./heddle.ts";
import type { Json } from "./fake-api.ts";

let bench: Bench;
let endings: (() => void)[] = [];
beforeEach(async () => {
  bench = await Bench.start();
});
afterEach(async () => {
  for (const end of endings) end();
  endings = [];
  await bench.stop();
});

function made(input?: Input): string {
  const { dir, remove } = folder(input);
  endings.push(remove);
  return dir;
}
function fileOf(name: string, text: string): string {
  const dir = mkdtempSync(join(tmpdir(), "heddle-plan-"));
  endings.push(() => rmSync(dir, { recursive: true, force: true }));
  const file = join(dir, name);
  writeFileSync(file, text);
  return file;
}
/** Without folders' names, which are others in each run. */
const plain = (text: string): string => text.replaceAll(/[^\s(]*heddle-(?:cli|plan)-\w+\//g, "").trimEnd();

const TARGET = (sources: readonly string[], name = "buy"): string => `
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: {name: ${name}, namespace: shop}
spec:
  destination: {kind: ServiceAccount, name: store-v1, namespace: shop}
  rules: [{kind: HTTPRouteGroup, name: routes}]
  sources: [${sources.map((one) => `{kind: ServiceAccount, name: ${one}, namespace: shop}`).join(", ")}]
`;

describe("plan, one folder against another", () => {
  test("a port that is led past the sidecar, which no gate lets pass", async () => {
    const text = files()["pods.yaml"] ?? "";
    const past = "annotations: {openservicemesh.io/inbound-port-exclusion-list: '80'}";
    const open = made({
      more: { "pods.yaml": text.replace("{name: store-v1-0,", `{name: store-v1-0, ${past},`) },
    });
    const { code, out } = await bench.heddle([
      "plan",
      "-f",
      open,
      "--against",
      made(),
      "--forbid-new-access",
      "shop/*",
    ]);
    const because =
      "its pods lead port 80 past their sidecars by annotation openservicemesh.io/inbound-port-exclusion-list";
    expect(plain(out)).toBe(`Calls
  - shop/buyer → shop/store:80 is no longer allowed
      e.g. GET /buy
      was allowed by TrafficTarget shop/buy (access.yaml:7), match buy of HTTPRouteGroup shop/routes (access.yaml:2)
  - shop/buyer → shop/store-v1:80 is no longer allowed
      e.g. GET /buy
      was allowed by TrafficTarget shop/buy (access.yaml:7), match buy of HTTPRouteGroup shop/routes (access.yaml:2)

Open
  + everybody → shop/store-v1:80 (shop/store-v1): ${because}
  + everybody → shop/store:80 (shop/store-v1): ${because}

Forbidden
  ! everybody → shop/store, pods' port 80: ${because}
  ! everybody → shop/store-v1, pods' port 80: ${because}

Plan: 2 calls are no longer allowed, 2 ports are open to everybody.
Refused: 2 new ways to what --forbid-new-access names.`);
    expect(code).toBe(1);
    const closed = await bench.heddle(["plan", "-f", made(), "--against", open, "-o", "json"]);
    expect(closed.code).toBe(2);
    expect((JSON.parse(closed.out) as { open: { closed: unknown } }).open.closed).toMatchObject([
      { service: "shop/store-v1", port: 80, identity: "shop/store-v1", podPort: 80, because: "annotation" },
      { service: "shop/store" },
    ]);
  });

  test("access, with a call that shows it, the rules that decide, and what sidecars are sent", async () => {
    const { code, out } = await bench.heddle(["plan", "-f", made({ methods: ["GET", "PUT"] }), "--against", made()]);
    expect(plain(out)).toBe(`Calls
  + shop/buyer → shop/store:80 becomes allowed
      e.g. PUT /buy
      by TrafficTarget shop/buy (access.yaml:7), match buy of HTTPRouteGroup shop/routes (access.yaml:2)
  + shop/buyer → shop/store-v1:80 becomes allowed
      e.g. PUT /buy
      by TrafficTarget shop/buy (access.yaml:7), match buy of HTTPRouteGroup shop/routes (access.yaml:2)

Proxies
  ~ shop/store-v1-0 (shop/store-v1): 1 RDS

Plan: 2 calls become allowed, 1 proxy gets 1 resource.`);
    expect(code).toBe(2);
  });

  test("less access: what had allowed it is named", async () => {
    const { code, out } = await bench.heddle(["plan", "-f", made(), "--against", made({ methods: ["GET", "PUT"] })]);
    expect(plain(out)).toContain(`  - shop/buyer → shop/store:80 is no longer allowed
      e.g. PUT /buy
      was allowed by TrafficTarget shop/buy (access.yaml:7), match buy of HTTPRouteGroup shop/routes (access.yaml:2)`);
    expect(code).toBe(2);
  });

  test("a backend that refuses joins a split: allowed as before, and yet not", async () => {
    const { out } = await bench.heddle(["plan", "-f", made({ weights: [90, 10] }), "--against", made()]);
    expect(plain(out)).toContain(`  ~ shop/buyer → shop/store:80 is refused by others than before
      e.g. GET /buy
      shop/store-v1 100% → shop/store-v1 90%, shop/store-v2 10% (refuses it)`);
  });

  test("a port that spoke HTTP and speaks TCP, though everything is allowed as before: 2, and no gate lets it pass", async () => {
    const [access, services] = ["access.yaml", "services.yaml"].map((name) => files()[name] ?? "") as [string, string];
    const all = `apiVersion: specs.smi-spec.io/v1alpha4
kind: TCPRoute
metadata: {name: all, namespace: shop}
---${access.replace("{kind: HTTPRouteGroup, name: routes, matches: [buy]}", "{kind: TCPRoute, name: all}")}`;
    const old = made({ more: { "access.yaml": all } });
    const now = made({
      more: {
        "access.yaml": all,
        "services.yaml": services.replaceAll("name: http, appProtocol: http", "name: tcp-x"),
      },
    });
    const { code, out } = await bench.heddle(["plan", "-f", now, "--against", old]);
    expect(plain(out)).toContain(`Protocols
  ~ shop/store-v1:80 speaks TCP now, and spoke HTTP: requests are not looked at any more, connections are
  ~ shop/store-v2:80 speaks TCP now, and spoke HTTP: requests are not looked at any more, connections are
  ~ shop/store:80 speaks TCP now, and spoke HTTP: requests are not looked at any more, connections are
`);
    expect(out).toContain("Plan: 3 ports speak another protocol, ");
    expect(out).not.toContain("No change in access.");
    expect(code).toBe(2);
    const back = await bench.heddle(["plan", "-f", old, "--against", now, "-o", "json"]);
    expect((JSON.parse(back.out) as { protocols: unknown[] }).protocols[0]).toEqual({
      to: "shop/store-v1:80",
      before: ["tcp"],
      after: ["http"],
    });
    const gate = await bench.heddle(["plan", "-f", now, "--against", old, "--forbid-new-access", "shop/store-v1"]);
    expect(plain(gate.out)).toContain("! shop/buyer → shop/store-v1, pods' port 80: a connection");
    expect(gate.code).toBe(1);
  });

  test("nothing: 0. A rename: no change in access, and yet something is sent: 2", async () => {
    const same = await bench.heddle(["plan", "-f", made(), "--against", made()]);
    expect([same.code, same.out]).toEqual([0, "No change in access.\nPlan: nothing changes.\n"]);
    const access = made();
    writeFileSync(
      join(access, "access.yaml"),
      TARGET(["buyer"], "renamed") +
        `---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {name: routes, namespace: shop}
spec: {matches: [{name: another-name, pathRegex: "/b(uy)", methods: [GET]}]}
`,
    );
    const renamed = await bench.heddle(["plan", "-f", access, "--against", made()]);
    expect(renamed.out).toContain("No change in access.\nPlan: 1 proxy gets 1 resource.");
    expect(renamed.code).toBe(2);
  });

  test("identities and problems that come and go", async () => {
    const more = {
      "more.yaml": TARGET([], "nobody"),
      "pod.yaml":
        "apiVersion: v1\nkind: Pod\nmetadata: {name: new, namespace: shop}\nspec: {serviceAccountName: new, containers: [{name: a, image: b}]}\n",
    };
    const there = await bench.heddle(["plan", "-f", made({ more }), "--against", made()]);
    expect(plain(there.out)).toMatch(/Identities\n {2}\+ shop\/new comes into the mesh\n/);
    expect(plain(there.out)).toMatch(
      /Problems\n {2}\+ more.yaml:\d+: error: TrafficTarget shop\/nobody: spec.sources: the target has no sources/,
    );
    expect(plain(there.out)).toMatch(/\+ shop\/new \(shop\/new\): \d+/);
    const back = await bench.heddle(["plan", "-f", made(), "--against", made({ more })]);
    expect(plain(back.out)).toMatch(/- shop\/new leaves the mesh/);
    expect(plain(back.out)).toMatch(/ {2}- more.yaml:\d+: error: TrafficTarget shop\/nobody/);
  });

  test("-o json: the same as data", async () => {
    const { out } = await bench.heddle(["plan", "-f", made({ weights: [1, 1] }), "--against", made(), "-o", "json"]);
    const data = JSON.parse(out) as { changed: boolean; calls: Json[] };
    expect(data.changed).toBe(true);
    expect(data.calls).toMatchObject([
      {
        change: "partly",
        from: ["shop/buyer"],
        to: "shop/store:80",
        witness: { method: "GET", path: "/buy", headers: [], authority: "store.shop" },
        before: { verdict: "allowed", backends: [{ service: "shop/store-v1", weight: 100, lets: "each" }] },
        after: {
          backends: [
            { service: "shop/store-v1", weight: 50, lets: "each" },
            { service: "shop/store-v2", weight: 50, lets: "none" },
          ],
        },
      },
    ]);
  });
});

describe("plan's gate", () => {
  const gate = (wanted: string, forbidden: string) =>
    bench.heddle(["plan", "-f", wanted, "--against", made(), "--forbid-new-access", forbidden]);

  test("new access to what is named: 1, with the way and the rule", async () => {
    const { code, out } = await gate(made({ sources: ["buyer", "thief"] }), "shop/store-v1");
    expect(code).toBe(1);
    expect(plain(out)).toMatch(
      /Forbidden\n {2}! shop\/thief → shop\/store-v1, pods' port 80: GET \/buy\n.*\n {2}! shop\/thief → shop\/store-v1, pods' port 80 by way of shop\/store:80: GET \/buy/,
    );
    expect(plain(out)).toMatch(/Refused: 2 new ways to what --forbid-new-access names\.$/);
  });
  test("to something else, or less: 2", async () => {
    expect((await gate(made({ sources: ["buyer", "thief"] }), "shop/store-v2")).code).toBe(2);
    expect((await gate(made({ sources: ["thief"], methods: [] }), "shop/none,shop/store-v2")).code).toBe(1);
    expect((await gate(made({ sources: [] }), "shop/*")).code).toBe(2);
  });
  test("a Service that is not there would guard nothing: an error", async () => {
    const { code, error } = await gate(made(), "shop/stoer");
    expect([code, error]).toEqual([
      1,
      "--forbid-new-access shop/stoer: there is no such Service, before or after. Did you mean shop/store?",
    ]);
  });
});

describe("plan's mistakes end with 1: 2 says that something changes", () => {
  test.each<[string, string[], RegExp]>([
    ["no -f", [], /^What is planned\?/],
    [
      "no such folder",
      ["-f", "/nowhere", "--against", import.meta.dirname],
      /^There is no file or folder \/nowhere\.$/,
    ],
    [
      "no such folder to compare with",
      ["-f", import.meta.dirname, "--against", "/nowhere"],
      /^There is no file or folder \/nowhere\.$/,
    ],
    ["a format", ["-f", import.meta.dirname, "-o", "soup"], /is no output format/],
  ])("%s", async (_says, args, expected) => {
    const { code, error } = await bench.heddle(["plan", ...args]);
    expect(error).toMatch(expected);
    expect(code).toBe(1);
  });
});

describe("what -f is laid over", () => {
  test("a file over a folder: it replaces the object of its name, the rest stays", async () => {
    const file = fileOf("target.yaml", TARGET(["buyer", "thief"]));
    const { out } = await bench.heddle(["plan", "-f", file, "--against", made()]);
    expect(plain(out)).toMatch(/^Calls\n {2}\+ shop\/thief → shop\/store:80 becomes allowed/);
    expect(plain(out)).toMatch(/2 calls become allowed, 1 proxy gets 1 resource\.$/);
    expect(plain(out)).toContain(
      "by TrafficTarget shop/buy (target.yaml:2), match buy of HTTPRouteGroup shop/routes (access.yaml:2)",
    );
  });

  describe("a cluster", () => {
    const SMI = [
      "/apis/access.smi-spec.io/v1alpha3/traffictargets",
      "/apis/specs.smi-spec.io/v1alpha4/httproutegroups",
      "/apis/specs.smi-spec.io/v1alpha4/tcproutes",
      "/apis/split.smi-spec.io/v1alpha2/trafficsplits",
      "/apis/config.openservicemesh.io/v1alpha2/meshconfigs",
      "/apis/discovery.k8s.io/v1/endpointslices",
    ];
    const routes = {
      apiVersion: "specs.smi-spec.io/v1alpha4",
      kind: "HTTPRouteGroup",
      metadata: { namespace: "shop", name: "routes", resourceVersion: "7" },
      spec: { matches: [{ name: "buy", pathRegex: "/buy", methods: ["GET"] }] },
    };
    beforeEach(() => {
      bench.api.serve(...BUILT_IN, ...SMI).put(
        controller(),
        member("shop"),
        pod("shop", "store-v1-6c9f-abcde", {
          account: "store-v1",
          labels: { app: "store", "pod-template-hash": "6c9f" },
        }),
        pod("shop", "buyer-1", { account: "buyer", labels: { app: "buyer" } }),
        pod("shop", "thief-1", { account: "thief", labels: { app: "thief" } }),
        service("shop", "store", { app: "store" }, 80),
        routes,
      );
    });

    test("an object that is new there", async () => {
      const { code, out, error } = await bench.heddle([
        "plan",
        "--context",
        "test",
        "-f",
        fileOf("target.yaml", TARGET(["buyer"])),
      ]);
      expect(error).toBe("");
      expect(plain(out)).toContain(`Calls
  + shop/buyer → shop/store:80 becomes allowed
      e.g. GET /buy
      by TrafficTarget shop/buy (target.yaml:2), match buy of HTTPRouteGroup shop/routes (version `);
      expect(code).toBe(2);
    });

    const deployment = (app: string, account = "store-v1") => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: store-v1, namespace: shop}
spec:
  selector: {matchLabels: {app: ${app}}}
  template:
    metadata: {labels: {app: ${app}}}
    spec: {serviceAccountName: ${account}, containers: [{name: app, image: "x:v2"}]}
`;
    const shopService =
      "apiVersion: v1\nkind: Service\nmetadata: {name: store, namespace: shop}\nspec: {selector: {app: store}, ports: [{port: 80, targetPort: 80}]}\n";

    test("what is there already, in other words: nothing. Addresses and pods are the cluster's", async () => {
      const file = fileOf(
        "all.yaml",
        [
          deployment("store"),
          shopService,
          JSON.stringify({ ...routes, metadata: { namespace: "shop", name: "routes" } }),
        ].join("---\n"),
      );
      const { code, out } = await bench.heddle(["plan", "--context", "test", "-f", file]);
      expect([code, out]).toEqual([0, "No change in access.\nPlan: nothing changes.\n"]);
    });

    test("pods of another template take the place of those that run: under another account, other rules hold", async () => {
      const before = [
        "plan",
        "--context",
        "test",
        "-f",
        fileOf("target.yaml", TARGET(["buyer"]) + "---" + deployment("store", "store-v2")),
      ];
      const { out } = await bench.heddle(before);
      expect(plain(out)).not.toContain("becomes allowed");
      expect(plain(out)).toMatch(/\+ shop\/store-v2 comes into the mesh\n {2}- shop\/store-v1 leaves the mesh/);
    });

    test("a MeshConfig counts in the mesh's own namespace only", async () => {
      const config = (namespace: string) =>
        fileOf(
          "config.yaml",
          `apiVersion: config.openservicemesh.io/v1alpha2
kind: MeshConfig
metadata: {name: osm-mesh-config, namespace: ${namespace}}
spec: {traffic: {enablePermissiveTrafficPolicyMode: true}}
`,
        );
      const foreign = await bench.heddle(["plan", "--context", "test", "-f", config("shop")]);
      expect(plain(foreign.out)).toBe(`Problems
  + config.yaml:3: hint: MeshConfig shop/osm-mesh-config: metadata.namespace: the mesh reads the MeshConfig of its own namespace osm-system alone: this one changes nothing.

No change in access.
Plan: 1 new problem.`);
      const own = await bench.heddle(["plan", "--context", "test", "-f", config("osm-system")]);
      expect(own.out).toContain("+ shop/buyer, shop/store-v1, shop/thief → shop/store:80 becomes allowed");
    });

    test("a namespace's labels stay when the file does not name them", async () => {
      const file = fileOf("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n");
      expect((await bench.heddle(["plan", "--context", "test", "-f", file])).code).toBe(0);
      const out = fileOf(
        "ns.yaml",
        'apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {"openservicemesh.io/ignore": "true"}}\n',
      );
      expect((await bench.heddle(["plan", "--context", "test", "-f", out])).out).toMatch(
        /- shop\/store-v1 leaves the mesh/,
      );
    });
  });
});

describe("prove", () => {
  test("proved, refuted with a call and its rule, could not be told; the worst decides the code", async () => {
    const dir = made({ weights: [1, 1] });
    const command =
      "prove -f DIR --never shop/store-v2 shop/store */.* --never shop/buyer shop/store-v1 GET /b.* --always shop/buyer shop/store GET /buy --only shop/buyer,shop/byuer shop/*";
    // METHODS and PATHREGEX in one pair of quotes, and in none.
    const words = command.split(" ").map((word) => (word === "DIR" ? dir : word === "*/.*" ? "* /.*" : word));
    const { code, out } = await bench.heddle(words);
    expect(plain(out).replaceAll(dir, "DIR")).toBe(
      `proved    never shop/store-v2 shop/store * /.*
REFUTED   never shop/buyer shop/store-v1 GET /b.*
          shop/buyer → shop/store-v1:80: GET /buy
          is allowed by TrafficTarget shop/buy (access.yaml:7), match buy of HTTPRouteGroup shop/routes (access.yaml:2)
          heddle why shop/buyer shop/store-v1:80 GET /buy -f DIR
REFUTED   always shop/buyer shop/store GET /buy
          shop/buyer → shop/store:80: GET /buy
          is refused by shop/store-v2-0
          heddle why shop/buyer shop/store:80 GET /buy -f DIR
unknown   only shop/buyer,shop/byuer shop/*
          no account of the mesh is called shop/byuer. Did you mean shop/buyer?

1 proved for all requests, 2 refuted, 1 could not be told.`,
    );
    expect(code).toBe(1);
    expect((await bench.heddle(["prove", "-f", dir, "--never", "*", "shop/store-v2"])).code).toBe(0);
    expect((await bench.heddle(["prove", "-f", dir, "--never", "shop/nobody", "shop/store"])).code).toBe(2);
  });

  test("from a file, with its lines and its reasons", async () => {
    const file = fileOf(
      "invariants.yaml",
      `invariants:
  - never: shop/buyer
    to: shop/store-v1
    methods: [GET, HEAD]
    path: /buy
    because: the buyer goes by the front door
  - only: [shop/buyer]
    to: shop/store:80
  - always: shop/buyer
    to: shop/store
    method: GET
    path: /x/../buy
    headers: {x-trace: "1"}
`,
    );
    const { code, out } = await bench.heddle(["prove", file, "-f", made()]);
    expect(plain(out)).toContain(`invariants.yaml:2: never shop/buyer shop/store-v1 GET,HEAD /buy
          because the buyer goes by the front door
          shop/buyer → shop/store-v1:80: GET /buy`);
    expect(plain(out)).toMatch(/proved {4}invariants.yaml:7: only shop\/buyer shop\/store:80/);
    expect(plain(out)).toMatch(
      /proved {4}invariants.yaml:9: always shop\/buyer shop\/store GET \/x\/..\/buy with x-trace: 1/,
    );
    expect(code).toBe(1);
    const data = JSON.parse((await bench.heddle(["prove", file, "-f", made(), "-o", "json"])).out) as Json[];
    expect(data).toMatchObject([
      {
        kind: "never",
        line: 2,
        result: "refuted",
        counterexample: { from: "shop/buyer", to: "shop/store-v1:80", request: { path: "/buy" } },
      },
      { kind: "only", result: "proved" },
      { kind: "always", result: "proved" },
    ]);
  });

  test("every mistake of a file, with its line; and the code of what could not be told", async () => {
    const file = fileOf(
      "bad.yaml",
      `invariants:
  - never: shop/buyer
    too: shop/store
  - never: shop/a
    only: shop/b
    to: shop/c
  - always: shop/a
    to: shop/b
    path: /x
  - never: "*"
    to: shop/*
    path: "("
  - only: buyer
    to: shop/store
  - 7
`,
    );
    const { code, error } = await bench.heddle(["prove", file, "-f", made()]);
    expect(code).toBe(2);
    expect(
      plain(error)
        .split("\n")
        .map((line) => line.trim()),
    ).toEqual([
      'bad.yaml:3: "too" is not known here: did you mean "to"?',
      'bad.yaml:2: "to" is missing: NAMESPACE/SERVICE[:PORT].',
      "bad.yaml:4: an invariant has one of never, only, always.",
      "bad.yaml:7: always is about one METHOD and one PATH, or (on a TCP port) about neither.",
      expect.stringMatching(/^bad.yaml:10: the path "\(" is not a regular expression of RE2/) as unknown as string,
      'bad.yaml:13: "buyer" is no account: write NAMESPACE/SERVICEACCOUNT, NAMESPACE/* or *.',
      "bad.yaml:15: an invariant is a map, as {never: FROM, to: TO}.",
    ]);
  });

  test.each<[string, string[], RegExp]>([
    ["nothing to prove", [], /^What is to be proved\?/],
    ["too few words", ["--never", "a/b"], /^--never a\/b: it is written as --never FROM TO \[METHODS PATHREGEX\]/],
    ["a method without a path", ["--never", "a/b", "a/c", "GET"], /it is written as/],
    ["no account", ["--only", "b", "a/c"], /^--only: "b" is no account/],
    ["no Service", ["--only", "a/b", "c"], /^--only: "c" is no Service/],
    ["no path", ["--always", "a/b", "a/c", "GET", "x"], /^--always: "x" is no path of a request/],
    ["no file", ["/nowhere.yaml"], /^There is no file \/nowhere.yaml\.$/],
  ])("mistakes end with 2: %s", async (_says, args, expected) => {
    const { code, error } = await bench.heddle(["prove", "-f", made(), ...args]);
    expect(error).toMatch(expected);
    expect(code).toBe(2);
  });
});
